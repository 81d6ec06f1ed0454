//! Which namespaces a part of the node is for.

use std::sync::Arc;

/// Some of the namespaces.
#[derive(Clone, Debug)]
pub(in crate::node) enum Namespaces {
    /// These.
    Only(Arc<[String]>),
    /// All others.
    AllBut(Arc<[String]>),
}

impl Namespaces {
    /// Whether a namespace is among them.
    pub(in crate::node) fn has(&self, namespace: &str) -> bool {
        let is_named = |names: &[String]| names.iter().any(|name| name == namespace);
        match self {
            Self::Only(names) => is_named(names),
            Self::AllBut(names) => !is_named(names),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_in_one_of_both() {
        let names: Arc<[String]> = ["/chat".to_owned()].into();
        let (only, rest) = (Namespaces::Only(names.clone()), Namespaces::AllBut(names));
        for (namespace, is_named) in [("/chat", true), ("/", false), ("/chats", false)] {
            assert_eq!((only.has(namespace), rest.has(namespace)), (is_named, !is_named), "{namespace}");
        }
    }
}

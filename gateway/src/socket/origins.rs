//! Origins at the edge: which pages may connect.

use std::sync::Arc;

use gateway_core::config::Origin;

/// The list of origins.
#[derive(Clone, Debug)]
pub(super) struct Origins(Arc<[Origin]>);

impl Origins {
    pub(super) fn new(allowed: &[Origin]) -> Self {
        Self(allowed.into())
    }

    /// Whether a page of an origin may connect. An empty list admits any: tokens say who comes in, and a page that may
    /// not poll could take a websocket anyway.
    pub(super) fn admits(&self, origin: &[u8]) -> bool {
        let is_listed = |origin: &str| self.0.iter().any(|entry| entry.admits(origin));
        self.0.is_empty() || std::str::from_utf8(origin).is_ok_and(is_listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(allowed: &[&str], origin: &[u8]) -> bool {
        let allowed: Vec<_> = allowed.iter().map(|entry| Origin::try_from((*entry).to_owned()).unwrap()).collect();
        Origins::new(&allowed).admits(origin)
    }

    #[test]
    fn only_listed_pages_may_connect() {
        let list = ["https://a.example", "https://*.b.example"];
        assert!(admits(&list, b"https://a.example") && admits(&list, b"https://x.b.example"));
        assert!(!admits(&list, b"https://c.example") && !admits(&list, b"null") && !admits(&list, b""));
        assert!(!admits(&list, b"https://\xff.b.example"), "not even text");
        assert!(admits(&[], b"https://c.example") && admits(&[], b"null"));
    }
}

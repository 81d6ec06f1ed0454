//! The tally: what routes refused, by route and code, for whoever watches.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Route;

/// Kinds of refusals that are told apart at a time. Routes and codes are few; tables that are replaced add to them.
const KINDS: usize = 1000;

/// Refusals of one kind.
#[derive(Clone, Debug)]
pub struct Tallied {
    /// The namespace of the session.
    pub namespace: Arc<str>,
    /// Which route refused; none where no route is for the event.
    pub route: Option<Arc<Route>>,
    /// Why.
    pub code: &'static str,
    /// How often.
    pub count: u64,
}

/// By namespace, by the place of the route, by code.
type Kind = (Arc<str>, Option<Arc<str>>, &'static str);

#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<(HashMap<Kind, Tallied>, u64)>);

impl Tally {
    pub(super) fn note(&self, namespace: &Arc<str>, route: Option<&Arc<Route>>, code: &'static str) {
        let kind = (namespace.clone(), route.map(|route| route.place.clone()), code);
        let (kinds, left_out) = &mut *self.0.lock();
        if kinds.len() >= KINDS && !kinds.contains_key(&kind) {
            *left_out += 1;
            return;
        }
        let tallied = || Tallied { namespace: namespace.clone(), route: route.cloned(), code, count: 0 };
        kinds.entry(kind).or_insert_with(tallied).count += 1;
    }

    /// What was noted since this was last asked, and how many are not in it.
    pub(super) fn take(&self) -> (Vec<Tallied>, u64) {
        let (kinds, left_out) = std::mem::take(&mut *self.0.lock());
        (kinds.into_values().collect(), left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_counted_once_by_its_kind_and_kinds_are_bounded() {
        let tally = Tally::default();
        for number in 0..KINDS + 5 {
            let namespace: Arc<str> = format!("/{}", number / 2).into();
            tally.note(&namespace, None, "too_fast");
        }
        let (kinds, left_out) = tally.take();
        assert_eq!((kinds.len(), left_out), (KINDS.div_ceil(2) + 3, 0));
        assert!(kinds.iter().filter(|kind| kind.count == 2).count() >= KINDS / 2);
        for number in 0..KINDS + 5 {
            tally.note(&format!("/{number}").into(), None, "too_fast");
        }
        assert_eq!(tally.take().1, 5);
        assert!(tally.take().0.is_empty());
    }
}

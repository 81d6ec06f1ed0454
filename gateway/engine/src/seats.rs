//! The seats of a connection: the namespaces in which its client has a session, or is asking for one.

use std::sync::Arc;

use crate::handler::Session;

/// Nearly always one.
#[derive(Default)]
pub(crate) struct Seats {
    seats: Vec<Seat>,
    /// How many there have been.
    count: u64,
    /// The connection is over: nobody gets in any more.
    closed: bool,
}

struct Seat {
    namespace: Arc<str>,
    number: u64,
    /// None while the client waits to be let in.
    session: Option<Arc<dyn Session>>,
}

impl Seats {
    /// Notes that the client asks for a namespace; nothing if it has asked before. The number tells this asking from
    /// later ones.
    pub(crate) fn ask(&mut self, namespace: &str) -> Option<(Arc<str>, u64)> {
        if self.closed || self.seats.iter().any(|seat| *seat.namespace == *namespace) {
            return None;
        }
        self.count += 1;
        let namespace: Arc<str> = namespace.into();
        self.seats.push(Seat { namespace: namespace.clone(), number: self.count, session: None });
        self.seats.shrink_to_fit();
        Some((namespace, self.count))
    }

    /// Lets it in; false if it is not there any more.
    pub(crate) fn take(&mut self, number: u64, session: Arc<dyn Session>) -> bool {
        let seat = self.seats.iter_mut().find(|seat| seat.number == number);
        seat.map(|seat| seat.session = Some(session)).is_some()
    }

    /// Forgets who was not let in.
    pub(crate) fn forget(&mut self, number: u64) -> bool {
        let before = self.seats.len();
        self.seats.retain(|seat| seat.number != number);
        self.seats.len() < before
    }

    pub(crate) fn find(&self, namespace: &str) -> Option<Arc<dyn Session>> {
        self.seats.iter().find(|seat| *seat.namespace == *namespace)?.session.clone()
    }

    /// Ends the session of a namespace; nothing if the client did not ask for one. One that is still being let in is
    /// forgotten, and there is no session.
    pub(crate) fn leave(&mut self, namespace: &str) -> Option<Option<Arc<dyn Session>>> {
        let place = self.seats.iter().position(|seat| *seat.namespace == *namespace)?;
        Some(self.seats.swap_remove(place).session)
    }

    /// Whether the client never asked for a session.
    pub(crate) fn is_new(&self) -> bool {
        self.count == 0
    }

    /// Whether somebody was let in, and has not left.
    pub(crate) fn has_session(&self) -> bool {
        self.seats.iter().any(|seat| seat.session.is_some())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// Ends them all, for good.
    pub(crate) fn close(&mut self) -> Vec<Arc<dyn Session>> {
        self.closed = true;
        std::mem::take(&mut self.seats).into_iter().filter_map(|seat| seat.session).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::End;
    use crate::inbound::Event;

    struct Nobody;

    impl Session for Nobody {
        fn event(self: Arc<Self>, _: Event) {}
        fn answer(&self, _: Event) {}
        fn over(&self, _: &End) {}
    }

    #[test]
    fn a_namespace_has_one_seat_and_an_old_answer_does_not_count_for_a_new_question() {
        let mut seats = Seats::default();
        let (_, first) = seats.ask("/").unwrap();
        assert!(seats.ask("/").is_none());
        assert!(seats.leave("/").is_some_and(|session| session.is_none()), "it was not let in yet");
        assert!(seats.leave("/").is_none());
        let (_, second) = seats.ask("/").unwrap();
        assert!(!seats.take(first, Arc::new(Nobody)));
        assert!(!seats.forget(first));
        assert!(seats.find("/").is_none());
        assert!(seats.take(second, Arc::new(Nobody)));
        assert!(seats.find("/").is_some() && seats.find("/n").is_none());
        seats.ask("/n").unwrap();
        assert_eq!(seats.close().len(), 1);
        assert!(seats.ask("/").is_none() && seats.is_empty());
    }
}

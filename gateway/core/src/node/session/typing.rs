//! Where a session is typing: until when, and who knows.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::domain::{Event, RoomName};

/// Where one session is typing: by room and the event that says so.
#[derive(Debug, Default)]
pub(in crate::node) struct Typing(Mutex<HashMap<(RoomName, String), Typist>>);

#[derive(Debug)]
struct Typist {
    /// When it ends by itself, or when its task looks again.
    until: Instant,
    /// When the others were told last; nothing once they were told that it ended.
    told: Option<Instant>,
    /// What they are told when it ends.
    end: Event,
}

/// What is to be done about a session that types.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::node) enum Step {
    /// The others do not know yet. `watched`: a task sees to its end already.
    Begin { watched: bool },
    /// They know, but who came since does not.
    Repeat,
    /// They were told a moment ago.
    Nothing,
}

/// What a task that sees to the end of typing finds.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::node) enum Watch {
    /// It goes on until then.
    Until(Instant),
    /// It ended just now, and the others do not know.
    Ended(Event),
    /// Nothing is left to see to.
    Over,
}

impl Typing {
    /// Notes that the session types for `ttl` from now; nothing if it does so in too many places already.
    pub(in crate::node) fn note(&self, room: &RoomName, end: &Event, ttl: Duration, limit: usize) -> Option<Step> {
        let now = Instant::now();
        let mut typists = self.0.lock();
        let count = typists.len();
        match typists.get_mut(&(room.clone(), end.name.clone())) {
            Some(typist) => {
                typist.until = now + ttl;
                typist.end = end.clone();
                let step = match typist.told {
                    None => Step::Begin { watched: true },
                    Some(told) if now < told + ttl / 2 => return Some(Step::Nothing),
                    Some(_) => Step::Repeat,
                };
                typist.told = Some(now);
                Some(step)
            }
            None if limit > 0 && count >= limit => None,
            None => {
                let typist = Typist { until: now + ttl, told: Some(now), end: end.clone() };
                typists.insert((room.clone(), end.name.clone()), typist);
                Some(Step::Begin { watched: false })
            }
        }
    }

    /// What there is to see to.
    pub(in crate::node) fn watch(&self, key: &(RoomName, String)) -> Watch {
        let mut typists = self.0.lock();
        match typists.get(key) {
            None => Watch::Over,
            Some(typist) if typist.until > Instant::now() => Watch::Until(typist.until),
            Some(_) => match typists.remove(key) {
                Some(Typist { told: Some(_), end, .. }) => Watch::Ended(end),
                _ => Watch::Over,
            },
        }
    }

    /// Ends it; what is to be told, if anybody knows. Its task goes on to its time, so that there is one at the most.
    pub(in crate::node) fn stop(&self, key: &(RoomName, String)) -> Option<Event> {
        let mut typists = self.0.lock();
        let typist = typists.get_mut(key)?;
        typist.told.take().map(|_| typist.end.clone())
    }

    /// Ends it in one room, or everywhere; where, and what is to be told there.
    pub(in crate::node) fn stop_all(&self, room: Option<&RoomName>) -> Vec<(RoomName, Event)> {
        let mut typists = self.0.lock();
        let here = typists.iter_mut().filter(|((place, _), _)| room.is_none_or(|room| room == place));
        here.filter_map(|((place, _), typist)| typist.told.take().map(|_| (place.clone(), typist.end.clone())))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(4);

    fn end() -> Event {
        Event { name: "typing".into(), args: "[false]".into(), attachments: Vec::new(), except: None, at_ms: 0 }
    }

    fn room() -> RoomName {
        RoomName::parse("r").unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_repeated_is_told_again_only_after_half_its_time_and_goes_on() {
        let (typing, key) = (Typing::default(), (room(), "typing".to_owned()));
        assert_eq!(typing.note(&room(), &end(), TTL, 1), Some(Step::Begin { watched: false }));
        tokio::time::advance(TTL / 4).await;
        assert_eq!(typing.note(&room(), &end(), TTL, 1), Some(Step::Nothing));
        tokio::time::advance(TTL / 2).await;
        assert_eq!(typing.note(&room(), &end(), TTL, 1), Some(Step::Repeat));
        let until = Instant::now() + TTL;
        assert_eq!(typing.watch(&key), Watch::Until(until));
        tokio::time::advance(TTL).await;
        assert_eq!(typing.watch(&key), Watch::Ended(end()));
        assert_eq!(typing.watch(&key), Watch::Over);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_ended_may_begin_again_under_the_same_watch() {
        let (typing, key) = (Typing::default(), (room(), "typing".to_owned()));
        typing.note(&room(), &end(), TTL, 1);
        assert_eq!(typing.stop(&key), Some(end()));
        assert_eq!(typing.stop(&key), None);
        assert_eq!(typing.note(&room(), &end(), TTL, 1), Some(Step::Begin { watched: true }));
        assert_eq!(typing.stop(&key), Some(end()));
        tokio::time::advance(TTL).await;
        assert_eq!(typing.watch(&key), Watch::Over);
    }

    #[tokio::test(start_paused = true)]
    async fn leaving_a_room_ends_it_there_and_places_are_limited() {
        let (typing, other) = (Typing::default(), RoomName::parse("other").unwrap());
        for place in [&room(), &other] {
            assert_eq!(typing.note(place, &end(), TTL, 2), Some(Step::Begin { watched: false }));
        }
        assert_eq!(typing.note(&RoomName::parse("third").unwrap(), &end(), TTL, 2), None);
        assert_eq!(typing.stop_all(Some(&room())), [(room(), end())]);
        assert_eq!(typing.stop_all(None), [(other, end())]);
        assert_eq!(typing.stop_all(None), []);
    }
}

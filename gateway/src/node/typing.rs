//! Typing: a signal that ends by itself, when it is not repeated in time or its session leaves.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use super::{Node, Session};
use crate::domain::{Event, Refusal, RoomName};

/// Where one session is typing: by room and the event that says so.
#[derive(Debug, Default)]
pub(super) struct Typing(Mutex<HashMap<(RoomName, String), Typist>>);

#[derive(Debug)]
struct Typist {
    until: Instant,
    /// When the others were told last.
    told: Instant,
    /// What they are told when it ends.
    end: Event,
}

/// What is to be done about a session that types.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// The others do not know yet.
    Begin,
    /// They know, but who came since does not.
    Repeat,
    /// They were told a moment ago.
    Nothing,
}

impl Typing {
    /// Notes that the session types for `ttl` from now; nothing if it does so in too many places already.
    fn note(&self, room: &RoomName, end: &Event, ttl: Duration, limit: usize) -> Option<Step> {
        let now = Instant::now();
        let mut typists = self.0.lock();
        let count = typists.len();
        match typists.get_mut(&(room.clone(), end.name.clone())) {
            Some(typist) => {
                typist.until = now + ttl;
                if now < typist.told + ttl / 2 {
                    return Some(Step::Nothing);
                }
                typist.told = now;
                Some(Step::Repeat)
            }
            None if limit > 0 && count >= limit => None,
            None => {
                let typist = Typist { until: now + ttl, told: now, end: end.clone() };
                typists.insert((room.clone(), end.name.clone()), typist);
                Some(Step::Begin)
            }
        }
    }

    /// When it is over unless it is repeated; nothing if it is over.
    fn until(&self, key: &(RoomName, String)) -> Option<Instant> {
        self.0.lock().get(key).map(|typist| typist.until)
    }

    /// Ends what has not been repeated; what the others are told then.
    fn expire(&self, key: &(RoomName, String)) -> Option<Event> {
        let mut typists = self.0.lock();
        typists.get(key).is_some_and(|typist| typist.until <= Instant::now()).then_some(())?;
        typists.remove(key).map(|typist| typist.end)
    }

    fn stop(&self, key: &(RoomName, String)) -> Option<Event> {
        self.0.lock().remove(key).map(|typist| typist.end)
    }

    /// Ends it in one room, or everywhere; where, and what is to be told there.
    fn stop_all(&self, room: Option<&RoomName>) -> Vec<(RoomName, Event)> {
        let mut typists = self.0.lock();
        let ended = typists.extract_if(|(place, _), _| room.is_none_or(|room| room == place));
        ended.map(|((place, _), typist)| (place, typist.end)).collect()
    }
}

impl Node {
    /// Tells a room that a session types: `begin` now, unless the room was told a moment ago, and `end` when `ttl` has
    /// passed without another call.
    ///
    /// # Errors
    /// The session types in too many places, or the other nodes cannot be reached.
    pub async fn begin_typing(
        self: &Arc<Self>,
        session: &Arc<Session>,
        room: &RoomName,
        begin: &Event,
        end: &Event,
        ttl: Duration,
    ) -> Result<(), Refusal> {
        let limit = self.limits.rooms_per_session;
        let step = session.typing.note(room, end, ttl, limit).ok_or(Refusal::TooManyRooms { limit })?;
        if step == Step::Begin {
            let (node, session, key) = (self.clone(), session.clone(), (room.clone(), end.name.clone()));
            self.tasks.spawn(async move { node.end_typing_in_time(&session, &key).await });
        }
        if step == Step::Nothing { Ok(()) } else { self.signal(room, begin).await }
    }

    async fn end_typing_in_time(&self, session: &Session, key: &(RoomName, String)) {
        while let Some(until) = session.typing.until(key) {
            sleep_until(until).await;
            if let Some(end) = session.typing.expire(key) {
                // Signals may be lost; whoever shows them lets them fade.
                self.signal(&key.0, &end).await.ok();
            }
        }
    }

    /// Ends at once what [`Self::begin_typing`] began; nothing happens if it is over.
    ///
    /// # Errors
    /// The other nodes cannot be reached.
    pub async fn end_typing(&self, session: &Session, room: &RoomName, end: &Event) -> Result<(), Refusal> {
        match session.typing.stop(&(room.clone(), end.name.clone())) {
            Some(end) => self.signal(room, &end).await,
            None => Ok(()),
        }
    }

    /// Ends all typing of a session that leaves a room, or all rooms.
    pub(super) fn leave_typing(self: &Arc<Self>, session: &Session, room: Option<&RoomName>) {
        let ended = session.typing.stop_all(room);
        if !ended.is_empty() {
            let node = self.clone();
            self.tasks.spawn(async move {
                for (room, end) in ended {
                    node.signal(&room, &end).await.ok();
                }
            });
        }
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
        assert_eq!(typing.note(&room(), &end(), TTL, 1), Some(Step::Begin));
        tokio::time::advance(TTL / 4).await;
        assert_eq!(typing.note(&room(), &end(), TTL, 1), Some(Step::Nothing));
        tokio::time::advance(TTL / 2).await;
        assert_eq!(typing.note(&room(), &end(), TTL, 1), Some(Step::Repeat));
        tokio::time::advance(TTL - Duration::from_millis(1)).await;
        assert_eq!(typing.expire(&key), None);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(typing.expire(&key), Some(end()));
        assert_eq!(typing.expire(&key), None);
    }

    #[tokio::test(start_paused = true)]
    async fn leaving_a_room_ends_it_there_and_places_are_limited() {
        let (typing, other) = (Typing::default(), RoomName::parse("other").unwrap());
        assert_eq!(typing.note(&room(), &end(), TTL, 2), Some(Step::Begin));
        assert_eq!(typing.note(&other, &end(), TTL, 2), Some(Step::Begin));
        assert_eq!(typing.note(&RoomName::parse("third").unwrap(), &end(), TTL, 2), None);
        assert_eq!(typing.stop_all(Some(&room())), [(room(), end())]);
        assert_eq!(typing.stop_all(None), [(other, end())]);
        assert_eq!(typing.stop_all(None), []);
    }
}

//! Removals: who was taken out of which room a moment ago. Sessions that are away, and come back, come without it.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::domain::{Offset, RoomName, UserId};
use crate::sessions::Record;

/// Removals that are remembered. Beyond that the oldest are forgotten: who is away comes back into those rooms.
const REMEMBERED: usize = 65_536;

/// Users that were taken out of rooms a moment ago: those of their sessions that are away, and come back, come without them.
#[derive(Debug)]
pub(super) struct Removals {
    /// For how long a session may be away and come back.
    kept: Duration,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    by_member: HashMap<(UserId, RoomName), Removal>,
    swept: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Removal {
    /// Who joined up to here was meant.
    upto: Offset,
    at: Instant,
}

impl Removals {
    pub(super) fn new(kept: Duration) -> Self {
        Self { kept, known: Mutex::new(Known { by_member: HashMap::new(), swept: Instant::now() }) }
    }

    pub(super) fn note(&self, user: &UserId, room: &RoomName, upto: Offset) {
        let now = Instant::now();
        let mut known = self.known.lock();
        // Now and then, and not each time that somebody comes back.
        if known.by_member.len() >= REMEMBERED || now - known.swept >= self.kept {
            known.by_member.retain(|_, removal| now - removal.at < self.kept);
            known.swept = now;
        }
        if known.by_member.len() >= REMEMBERED {
            let oldest = known.by_member.iter().min_by_key(|(_, removal)| removal.at).map(|(member, _)| member.clone());
            oldest.iter().for_each(|oldest| _ = known.by_member.remove(oldest));
        }
        known.by_member.insert((user.clone(), room.clone()), Removal { upto, at: now });
    }

    /// Takes out of a record the rooms that its user was taken out of since it joined them.
    pub(super) fn apply(&self, mut record: Record) -> Record {
        let known = self.known.lock();
        if let Some(user) = record.who().filter(|_| !known.by_member.is_empty()).cloned() {
            record.rooms.retain(|room| !self.took_out(&known, &user, &room.room, room.since));
        }
        record
    }

    /// Which of the rooms that a user comes back to, each with since when it was in it, it was taken out of since then.
    pub(super) fn of<'a>(
        &self,
        user: &UserId,
        rooms: impl Iterator<Item = (&'a RoomName, Offset)>,
    ) -> Vec<&'a RoomName> {
        let known = self.known.lock();
        if known.by_member.is_empty() {
            return Vec::new();
        }
        rooms.filter(|(room, since)| self.took_out(&known, user, room, *since)).map(|(room, _)| room).collect()
    }

    fn took_out(&self, known: &Known, user: &UserId, room: &RoomName, since: Offset) -> bool {
        let removal = known.by_member.get(&(user.clone(), room.clone()));
        removal.is_some_and(|removal| removal.at.elapsed() < self.kept && since <= removal.upto)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::SessionId;
    use crate::sessions::RoomRecord;

    fn record(user: &str, rooms: &[(&str, u64)]) -> Record {
        let room = |(room, since): &(&str, u64)| RoomRecord {
            room: RoomName::parse(room).unwrap(),
            since: Offset(*since),
            complete_from: Offset(*since),
            replay: 0,
            handed: Offset::START,
            via: "join".into(),
        };
        Record {
            session: SessionId::random(),
            user: UserId::parse(user),
            version: 1,
            rooms: rooms.iter().map(room).collect(),
            namespace: "/".into(),
            identified: None,
            names: Vec::new(),
            handed: Offset::START,
            complete_to: Offset::START,
            term: 1,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_away_comes_back_without_what_it_was_taken_out_of() {
        let removals = Removals::new(Duration::from_secs(60));
        let (alice, room) = (UserId::parse("alice").unwrap(), RoomName::parse("r").unwrap());
        let rooms = |record: Record| record.rooms.iter().map(|room| room.room.to_string()).collect::<Vec<_>>();
        let away = record("alice", &[("r", 7), ("s", 7)]);
        assert_eq!(rooms(removals.apply(away.clone())), ["r", "s"]);
        removals.note(&alice, &room, Offset(8));
        assert_eq!(rooms(removals.apply(away.clone())), ["s"]);
        assert_eq!(rooms(removals.apply(record("bob", &[("r", 7)]))), ["r"]);
        let other = RoomName::parse("s").unwrap();
        let of = |since: u64| removals.of(&alice, [(&room, Offset(since)), (&other, Offset(since))].into_iter());
        assert_eq!((of(8), of(9)), (vec![&room], vec![]));
        assert_eq!(rooms(removals.apply(record("alice", &[("r", 9)]))), ["r"], "it has joined again since");
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(rooms(removals.apply(away)), ["r", "s"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_is_forgotten_when_something_is_noted() {
        let removals = Removals::new(Duration::from_secs(60));
        let (alice, bob) = (UserId::parse("alice").unwrap(), UserId::parse("bob").unwrap());
        let room = RoomName::parse("r").unwrap();
        removals.note(&alice, &room, Offset(8));
        tokio::time::advance(Duration::from_secs(60)).await;
        removals.note(&bob, &room, Offset(8));
        assert_eq!(removals.known.lock().by_member.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn removals_are_bounded() {
        let removals = Removals::new(Duration::from_secs(60));
        let room = RoomName::parse("r").unwrap();
        for number in 0..REMEMBERED + 3 {
            removals.note(&UserId::parse(&number.to_string()).unwrap(), &room, Offset(8));
        }
        assert_eq!(removals.known.lock().by_member.len(), REMEMBERED);
    }
}

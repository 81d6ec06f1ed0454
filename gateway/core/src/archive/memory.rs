//! The archive of one process, gone when it ends: the oldest goes when there is more than fits.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{Archive, Ends, Entry, Gap, Page, Part, Place, Record, Taken, Why, Written, gaps_of, old_of};
use crate::domain::{Epoch, Event, Offset, Position, RoomName, UserId};
use crate::log::Range;
use crate::port::PortError;

/// What anything weighs beside what it says.
const PLACE_BYTES: usize = 250;
/// How many gaps of all rooms are remembered.
const GAPS: usize = 1_000;

/// An archive in memory.
#[derive(Debug)]
pub struct MemoryArchive {
    most_bytes: usize,
    /// The log that it follows: nothing for the main one.
    log: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    rooms: BTreeMap<RoomName, Room>,
    logs: HashMap<String, OfLog>,
    /// Where any room has something: an entry, the end of a gap, or up to where it was forgotten.
    places: BTreeSet<(Offset, RoomName)>,
    /// What all entries say.
    bytes: usize,
}

/// What is known of all of a log.
#[derive(Debug, Default)]
struct OfLog {
    /// The gaps of all its rooms.
    gaps: Gaps,
    cursor: Option<Offset>,
}

#[derive(Debug, Default)]
struct Room {
    entries: BTreeMap<Offset, Kept>,
    gaps: Gaps,
    forgotten: Option<Offset>,
}

/// By where they end and where they begin: why, and when that was found.
type Gaps = BTreeMap<(Offset, Offset), (Why, u64)>;

#[derive(Debug)]
struct Kept {
    epoch: Epoch,
    at_ms: u64,
    user: Option<UserId>,
    event: Option<Event>,
}

impl MemoryArchive {
    /// An empty one, which keeps about so many bytes: what was said, and 250 for each of its entries and gaps.
    #[must_use]
    pub fn new(most_bytes: usize) -> Self {
        Self { most_bytes, log: String::new(), state: Arc::default() }
    }
}

impl Room {
    /// Up to where it is archived.
    fn end(&self) -> Offset {
        let entry = self.entries.last_key_value().map(|(offset, _)| *offset);
        entry.max(end_of(&self.gaps)).max(self.forgotten).unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.gaps.is_empty()
    }

    fn gaps_of<'a>(&'a self, name: &'a RoomName) -> impl Iterator<Item = Gap> + 'a {
        listed(&self.gaps, Some(name))
    }

    fn entry(&self, offset: Offset) -> Option<Entry> {
        let kept = self.entries.get(&offset)?;
        let position = Position { epoch: kept.epoch, offset };
        Some(Entry { position, user: kept.user.clone(), event: kept.event.clone() })
    }
}

fn end_of(gaps: &Gaps) -> Option<Offset> {
    gaps.last_key_value().map(|((through, _), _)| *through)
}

fn listed<'a>(gaps: &'a Gaps, room: Option<&'a RoomName>) -> impl Iterator<Item = Gap> + 'a {
    let gap = move |(&(through, after), &(why, _)): (&(Offset, Offset), &(Why, u64))| Gap {
        room: room.cloned(),
        after,
        through,
        why,
    };
    gaps.iter().map(gap)
}

impl State {
    fn ends(&self, log: &str, records: &[Record]) -> Ends {
        let all = self.logs.get(log).and_then(|log| end_of(&log.gaps)).unwrap_or_default();
        let named = records.iter().filter_map(|record| match record {
            Record::Event { room, .. } => Some(room),
            Record::Gap(gap) => gap.room.as_ref(),
        });
        let end = |room: &RoomName| Some((room.clone(), self.rooms.get(room)?.end().max(all)));
        named.filter_map(end).collect()
    }

    /// A log that was never archived takes over the gaps of all rooms of the others.
    fn begin(&mut self, log: &str) {
        if self.logs.get(log).is_none_or(|known| known.cursor.is_none()) {
            let others: Vec<_> = self.logs.values().flat_map(|other| other.gaps.clone()).collect();
            self.logs.entry(log.to_owned()).or_default().gaps.extend(others);
        }
    }

    /// Whether it was not known before.
    fn note(&mut self, log: &str, gap: &Gap, now: u64) -> bool {
        let key = (gap.through, gap.after);
        let gaps = match &gap.room {
            None => &mut self.logs.entry(log.to_owned()).or_default().gaps,
            Some(name) => {
                let room = self.rooms.entry(name.clone()).or_default();
                if Some(gap.through) <= room.forgotten {
                    return false;
                }
                self.places.insert((gap.through, name.clone()));
                &mut room.gaps
            }
        };
        let is_new = !gaps.contains_key(&key);
        gaps.entry(key).or_insert((gap.why, now));
        if gap.room.is_none() && gaps.len() > GAPS {
            gaps.pop_first();
        }
        is_new
    }

    /// Whether it was not there before.
    fn keep(&mut self, name: &RoomName, position: Position, kept: Kept) -> bool {
        let room = self.rooms.entry(name.clone()).or_default();
        let is_new = room.forgotten.is_none_or(|forgotten| position.offset > forgotten)
            && !room.entries.contains_key(&position.offset);
        if is_new {
            self.bytes += kept.event.as_ref().map_or(0, Event::size);
            room.entries.insert(position.offset, kept);
            self.places.insert((position.offset, name.clone()));
        }
        is_new
    }

    /// Whether there was something to take back.
    fn take_back(&mut self, room: &RoomName, offset: Offset) -> bool {
        let kept = self.rooms.get_mut(room).and_then(|room| room.entries.get_mut(&offset));
        let Some(kept) = kept else { return false };
        kept.user = None;
        let Some(event) = kept.event.take() else { return false };
        self.bytes -= event.size();
        true
    }

    /// Has a room forgotten up to there, where it has something. How many rows went.
    fn forget(&mut self, name: &RoomName, through: Offset) -> u64 {
        let Some(room) = self.rooms.get_mut(name) else { return 0 };
        let mut went = 0;
        while let Some(entry) = room.entries.first_entry().filter(|entry| *entry.key() <= through) {
            let (offset, kept) = entry.remove_entry();
            self.bytes -= kept.event.map_or(0, |event| event.size());
            self.places.remove(&(offset, name.clone()));
            went += 1;
        }
        while let Some(gap) = room.gaps.first_entry().filter(|gap| gap.key().0 <= through) {
            let ((end, _), _) = gap.remove_entry();
            self.places.remove(&(end, name.clone()));
            went += 1;
        }
        if let Some(before) = room.forgotten.filter(|before| *before < through) {
            self.places.remove(&(before, name.clone()));
        }
        if room.forgotten < Some(through) {
            room.forgotten = Some(through);
        }
        // Where nothing else is, this is what there is to let go of.
        if let Some(forgotten) = room.forgotten.filter(|_| room.is_empty()) {
            self.places.insert((forgotten, name.clone()));
        }
        went
    }

    /// Lets the oldest go until there is no more than fits. Rooms of which nothing is left are as if they had never been.
    fn shrink(&mut self, most_bytes: usize) {
        while self.bytes + self.places.len() * PLACE_BYTES > most_bytes {
            let Some((oldest, name)) = self.places.pop_first() else { return };
            self.forget(&name, oldest);
            if self.rooms.get(&name).is_some_and(Room::is_empty)
                && let Some(forgotten) = self.rooms.remove(&name).and_then(|room| room.forgotten)
            {
                self.places.remove(&(forgotten, name));
            }
        }
    }
}

#[async_trait]
impl Archive for MemoryArchive {
    async fn write(&self, records: &[Record], cursor: Offset) -> Result<Written, PortError> {
        let mut state = self.state.lock();
        if !self.log.is_empty() && cursor > Offset::START {
            state.begin(&self.log);
        }
        let (now, mut events) = (now_ms(), 0);
        let mut gaps = gaps_of(records, state.ends(&self.log, records));
        gaps.retain(|gap| state.note(&self.log, gap, now));
        for record in records {
            let Record::Event { room, position, user, event, takes_back, .. } = record else { continue };
            let (user, event) = (user.clone(), Some(event.clone()));
            let at_ms = event.as_ref().map_or(0, |event| event.at_ms);
            events += u64::from(state.keep(room, *position, Kept { epoch: position.epoch, at_ms, user, event }));
            if let Some(taken) = takes_back {
                state.take_back(room, *taken);
            }
        }
        let followed = state.logs.entry(self.log.clone()).or_default();
        followed.cursor = followed.cursor.max(Some(cursor));
        state.shrink(self.most_bytes);
        Ok(Written { events, gaps })
    }

    async fn read(&self, name: &RoomName, range: Range, bytes: usize) -> Result<Page, PortError> {
        let (state, part, nothing) = (self.state.lock(), Part::new(range, bytes), Room::default());
        let room = state.rooms.get(name).unwrap_or(&nothing);
        let size = |kept: &Kept| kept.event.as_ref().map_or(0, Event::size);
        let (from, to) = part.bounds();
        // Nothing has the offset 0.
        let from = std::ops::Bound::Excluded(from.unwrap_or_default());
        let within = match to {
            Some(to) if to <= Offset::START => None,
            Some(to) => Some(room.entries.range((from, std::ops::Bound::Excluded(to)))),
            None => Some(room.entries.range((from, std::ops::Bound::Unbounded))),
        };
        let within = within.into_iter().flatten();
        let looked: Vec<_> = if part.is_backwards() {
            within.rev().take(part.look()).map(|(offset, kept)| (*offset, size(kept))).collect()
        } else {
            within.take(part.look()).map(|(offset, kept)| (*offset, size(kept))).collect()
        };
        let (fitting, more) = part.fit(looked.iter().map(|(_, size)| *size));
        let mut entries: Vec<_> = looked[..fitting].iter().filter_map(|(offset, _)| room.entry(*offset)).collect();
        if part.is_backwards() {
            entries.reverse();
        }
        let span = part.span(&entries, more, room.forgotten);
        let of_all = state.logs.get(&self.log).into_iter().flat_map(|log| listed(&log.gaps, None));
        let gaps = Part::touching(room.gaps_of(name).chain(of_all), span);
        Ok(Page { entries, gaps, more, forgotten: room.forgotten })
    }

    async fn cursor(&self) -> Result<Option<Offset>, PortError> {
        Ok(self.state.lock().logs.get(&self.log).and_then(|log| log.cursor))
    }

    fn of_log(&self, name: &str) -> Arc<dyn Archive> {
        Arc::new(Self { most_bytes: self.most_bytes, log: name.to_owned(), state: self.state.clone() })
    }

    async fn rooms(&self, after: Option<&RoomName>, most: usize) -> Result<Vec<RoomName>, PortError> {
        let state = self.state.lock();
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let rooms = state.rooms.range::<RoomName, _>((from, std::ops::Bound::Unbounded));
        Ok(rooms.filter(|(_, room)| !room.is_empty()).take(most).map(|(name, _)| name.clone()).collect())
    }

    async fn rooms_of(&self, user: &UserId, after: Option<&RoomName>, most: usize) -> Result<Vec<RoomName>, PortError> {
        let state = self.state.lock();
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let rooms = state.rooms.range::<RoomName, _>((from, std::ops::Bound::Unbounded));
        let has = |room: &Room| room.entries.values().any(|kept| kept.user.as_ref() == Some(user));
        Ok(rooms.filter(|(_, room)| has(room)).take(most).map(|(name, _)| name.clone()).collect())
    }

    async fn take_back(&self, what: &Taken, most: usize) -> Result<u64, PortError> {
        let mut state = self.state.lock();
        let found: Vec<_> = match what {
            Taken::One { room, offset } => vec![(room.clone(), *offset)],
            Taken::User(user) => {
                let of_them = |(name, room): (&RoomName, &Room)| {
                    let said = room.entries.iter().filter(|(_, kept)| kept.user.as_ref() == Some(user));
                    said.map(|(offset, _)| (name.clone(), *offset)).collect::<Vec<_>>()
                };
                state.rooms.iter().flat_map(of_them).collect()
            }
        };
        let taken = found.iter().take(most).filter(|(room, offset)| state.take_back(room, *offset));
        Ok(taken.count() as u64)
    }

    async fn forget(&self, name: &RoomName, older_than: Duration, most: usize) -> Result<u64, PortError> {
        let mut state = self.state.lock();
        let before = now_ms().saturating_sub(u64::try_from(older_than.as_millis()).unwrap_or(u64::MAX));
        let Some(room) = state.rooms.get(name) else { return Ok(0) };
        let entries = room.entries.iter().take(most.saturating_add(1));
        let entries = entries.map(|(offset, kept)| Place { offset: *offset, at_ms: kept.at_ms, is_gap: false });
        let gaps = room.gaps.iter().map(|((through, _), (_, at_ms))| (*through, *at_ms));
        let gaps = gaps.map(|(offset, at_ms)| Place { offset, at_ms, is_gap: true });
        let mut places: Vec<_> = entries.chain(gaps).collect();
        places.sort_by_key(|place| (place.offset, place.is_gap));
        places.truncate(most.saturating_add(1));
        let old = old_of(&places, before, most);
        Ok(if old == 0 { 0 } else { state.forget(name, places[old - 1].offset) })
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(room: &str, offset: u64, text: &str) -> Record {
        Record::Event {
            room: RoomName::trusted(room),
            position: Position { epoch: Epoch(1), offset: Offset(offset) },
            before: None,
            user: None,
            event: Event { name: "e".into(), args: text.into(), attachments: vec![], except: None, at_ms: 1 },
            takes_back: None,
        }
    }

    #[tokio::test]
    async fn what_does_not_fit_goes_and_the_oldest_first() {
        let archive = MemoryArchive::new(100 * 1_250);
        let text = "x".repeat(999);
        for offset in 1..=1_000_u64 {
            let room = if offset <= 10 { "once" } else { "often" };
            archive.write(&[said(room, offset, &text)], Offset(offset)).await.unwrap();
        }
        let all = Range::After { offset: Offset::START, limit: 10_000 };
        let page = archive.read(&RoomName::trusted("often"), all, usize::MAX).await.unwrap();
        assert!((98..=100).contains(&page.entries.len()), "{}", page.entries.len());
        let first = page.entries[0].position.offset;
        assert_eq!(page.forgotten, Some(Offset(first.0 - 1)), "that there was more is not silent");
        assert_eq!(archive.rooms(None, 10).await.unwrap(), [RoomName::trusted("often")]);
        assert_eq!(archive.state.lock().rooms.len(), 1, "a room that is gone leaves nothing");
        let state = archive.state.lock();
        assert_eq!(state.bytes, page.entries.len() * 1_000);
        assert_eq!(state.places.len(), page.entries.len());
    }

    #[tokio::test]
    async fn names_of_rooms_that_were_forgotten_do_not_collect() {
        let archive = MemoryArchive::new(100 * PLACE_BYTES);
        for offset in 1..=1_000_u64 {
            let room = format!("room {offset}");
            archive.write(&[said(&room, offset, "[]")], Offset(offset)).await.unwrap();
            assert_eq!(archive.forget(&RoomName::trusted(&room), Duration::ZERO, 10).await.unwrap(), 1);
        }
        assert!(archive.state.lock().rooms.len() <= 101);
        assert_eq!(archive.state.lock().bytes, 0);
    }

    #[tokio::test]
    async fn gaps_do_not_collect_either() {
        let archive = MemoryArchive::new(100 * PLACE_BYTES);
        for offset in 1..=5_000_u64 {
            let gap = |room: Option<&str>| {
                let room = room.map(RoomName::trusted);
                Record::Gap(Gap { room, after: Offset(offset), through: Offset(offset + 1), why: Why::Dropped })
            };
            archive.write(&[gap(None), gap(Some("room"))], Offset(offset)).await.unwrap();
        }
        let state = archive.state.lock();
        assert_eq!(state.logs[""].gaps.len(), GAPS);
        assert!(state.places.len() <= 100, "{}", state.places.len());
    }
}

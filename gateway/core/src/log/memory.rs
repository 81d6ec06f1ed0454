//! The log of embedded mode: everything in this process, gone when it ends.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use super::{
    AppendError, Appended, Budget, Dedupe, ENTRY_BYTES, FeedItem, Log, Page, Range, Retention, Terms, present,
};
use crate::domain::{Epoch, Event, Offset, Position, RoomName};
use crate::outbox::{Happening, Link, Scribe, What};
use crate::port::{Port, PortError};
use crate::traces;

/// How many items may wait for the fan-out. A publish waits when it is full, so nothing is ever missed.
const FEED_BUFFER: usize = 4096;

/// A log in memory with its own feed.
#[derive(Debug)]
pub struct MemoryLog {
    retention: Retention,
    budget: Arc<Budget>,
    scribe: Option<Arc<dyn Scribe>>,
    /// What there is for it, if that is known.
    has: Option<u64>,
    epoch: Epoch,
    began: Offset,
    state: Mutex<State>,
    feed: mpsc::Sender<FeedItem>,
    receiver: Mutex<Option<mpsc::Receiver<FeedItem>>>,
}

#[derive(Debug, Default)]
struct State {
    head: u64,
    /// When which offset was the newest, oldest first: what came after an offset is no older than its mark.
    clock: VecDeque<(Instant, Offset)>,
    rooms: HashMap<RoomName, RoomLog>,
    /// What all rooms weigh.
    bytes: usize,
    subscribed: HashSet<RoomName>,
    dedupe: HashMap<Dedupe, Offset>,
    /// Dedupe keys by age, oldest first: what to forget when.
    dedupe_ages: VecDeque<(Instant, Dedupe)>,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct RoomLog {
    events: VecDeque<(Offset, Event)>,
    /// What they weigh.
    bytes: usize,
    trimmed: bool,
    last_append: Instant,
}

impl MemoryLog {
    /// An empty log with an epoch of its own.
    #[must_use]
    pub fn new(retention: Retention) -> Self {
        let (feed, receiver) = mpsc::channel(FEED_BUFFER);
        // Above those of the process before, which clients may bring.
        let Offset(head) = present();
        let state = Mutex::new(State { head, ..State::default() });
        Self {
            retention,
            budget: Arc::new(Budget::new(&retention)),
            scribe: None,
            // The rest of the process needs some, too.
            has: machine_memory().map(|bytes| bytes / 2),
            epoch: Epoch::random(),
            began: Offset(head),
            state,
            feed,
            receiver: Mutex::new(Some(receiver)),
        }
    }

    /// The same, and outboxes are told of what is appended.
    #[must_use]
    pub fn with_outbox(self, scribe: Arc<dyn Scribe>) -> Self {
        Self { scribe: Some(scribe), ..self }
    }

    /// What it may keep in all, and what it keeps.
    #[must_use]
    pub fn budget(&self) -> Arc<Budget> {
        self.budget.clone()
    }

    /// Forgets what is old, and notes how much there is then.
    fn upkeep(&self, state: &mut State, now: Instant) {
        state.forget_the_old(now, self.retention);
        self.measure(state);
    }

    fn measure(&self, state: &State) {
        self.budget.measured(u64::try_from(state.bytes).unwrap_or(u64::MAX), self.has);
    }

    fn position(&self, offset: Offset) -> Position {
        Position { epoch: self.epoch, offset }
    }

    fn append_now(
        &self,
        room: &RoomName,
        event: &Event,
        terms: Terms<'_>,
        permit: mpsc::Permit<'_, FeedItem>,
    ) -> Result<Appended, AppendError> {
        let now = Instant::now();
        let mut state = self.state.lock();
        self.upkeep(&mut state, now);
        if let Some(known) = terms.dedupe.and_then(|key| state.dedupe.get(key)) {
            return Ok(Appended { position: self.position(*known), duplicate: true });
        }
        if !self.budget.admits(terms.reserve) {
            return Err(AppendError::Full);
        }
        if terms.known_room && !state.rooms.contains_key(room) {
            return Err(AppendError::NewRoom);
        }
        state.keep_clock(now, self.retention);
        state.head = present().0.max(state.head + 1);
        let offset = Offset(state.head);
        if let Some(key) = terms.dedupe {
            state.dedupe.insert(key.clone(), offset);
            state.dedupe_ages.push_back((now, key.clone()));
        }
        let log = state.rooms.entry(room.clone()).or_insert_with(|| RoomLog {
            events: VecDeque::new(),
            bytes: 0,
            trimmed: false,
            last_append: now,
        });
        log.last_append = now;
        let (before, last) = (log.bytes, log.events.back().map(|(offset, _)| *offset));
        if let Some(taken) = terms.takes_back {
            log.take_back(taken);
        }
        log.push(offset, event.clone());
        log.trim(self.retention);
        let after = log.bytes;
        state.bytes = state.bytes - before + after;
        self.measure(&state);
        let position = self.position(offset);
        if let Some(scribe) = self.scribe.as_ref().filter(|scribe| scribe.is_wanted()) {
            scribe.put(vec![Happening {
                session: terms.by.map(|by| by.session),
                user: terms.by.and_then(|by| by.user.cloned()),
                event: Some(event.clone()),
                link: Some(Link { epoch: self.epoch, before: last, takes_back: terms.takes_back }),
                trace: traces::current(),
                ..Happening::new(What::Published, room.clone(), offset.0, event.at_ms)
            }]);
        }
        if state.subscribed.contains(room) {
            permit.send(FeedItem::Event { room: room.clone(), position, event: event.clone() });
        }
        Ok(Appended { position, duplicate: false })
    }

    async fn permit(&self, operation: &'static str) -> Result<mpsc::Permit<'_, FeedItem>, PortError> {
        self.feed.reserve().await.map_err(|_| Port::Log.not_now(operation, "the node has stopped"))
    }
}

impl State {
    /// Sixteen marks in a retention are enough.
    fn keep_clock(&mut self, now: Instant, retention: Retention) {
        if self.clock.back().is_none_or(|(at, _)| now.duration_since(*at) >= retention.room_retention / 16) {
            self.clock.push_back((now, Offset(self.head)));
        }
    }

    fn forget_the_old(&mut self, now: Instant, retention: Retention) {
        while let Some((age, _)) = self.dedupe_ages.front()
            && now.duration_since(*age) >= retention.dedupe_window
        {
            if let Some((_, key)) = self.dedupe_ages.pop_front() {
                self.dedupe.remove(&key);
            }
        }
        while self.clock.front().is_some_and(|(at, _)| now.duration_since(*at) >= retention.room_retention) {
            self.clock.pop_front();
        }
        // Rooms are many and expire seldom: a sweep over all of them now and then costs less than an ordered index.
        let due = self.swept.is_none_or(|at| now.duration_since(at) >= retention.room_retention / 8);
        if due {
            let bytes = &mut self.bytes;
            self.rooms.retain(|_, room| {
                let stays = now.duration_since(room.last_append) < retention.room_retention;
                *bytes -= if stays { 0 } else { room.bytes };
                stays
            });
            self.swept = Some(now);
        }
    }
}

impl RoomLog {
    fn push(&mut self, offset: Offset, event: Event) {
        self.bytes += event.size() + ENTRY_BYTES;
        self.events.push_back((offset, event));
    }

    /// Removes an event, if it is there.
    fn take_back(&mut self, taken: Offset) {
        let at = self.events.binary_search_by_key(&taken, |(offset, _)| *offset);
        if let Some((_, event)) = at.ok().and_then(|at| self.events.remove(at)) {
            self.bytes -= event.size() + ENTRY_BYTES;
        }
    }

    /// Drops the oldest events of which there are too many, but the newest.
    fn trim(&mut self, retention: Retention) {
        let has_too_many = |room: &Self| {
            room.events.len() > retention.room_events
                || (retention.room_bytes > 0 && room.bytes > retention.room_bytes && room.events.len() > 1)
        };
        while has_too_many(self)
            && let Some((_, event)) = self.events.pop_front()
        {
            self.bytes -= event.size() + ENTRY_BYTES;
            self.trimmed = true;
        }
    }
}

/// How many bytes of memory the machine has, or the process may have of it.
fn machine_memory() -> Option<u64> {
    let file = |path: &str| std::fs::read_to_string(path).ok();
    let of_group = file("/sys/fs/cgroup/memory.max").and_then(|bytes| bytes.trim().parse().ok());
    let kibibytes = file("/proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    [of_group, kibibytes.map(|kibibytes| kibibytes * 1024)].into_iter().flatten().min()
}

/// How many of these events weigh no more than `bytes` together: one at least, if there is one.
fn fitting<'a>(events: impl Iterator<Item = &'a (Offset, Event)>, bytes: usize) -> usize {
    let mut used = 0;
    let fits = |(index, (_, event)): &(usize, &(Offset, Event))| {
        used += event.size();
        used <= bytes || *index == 0
    };
    events.enumerate().take_while(fits).count()
}

#[async_trait]
impl Log for MemoryLog {
    async fn append(&self, room: &RoomName, event: &Event, terms: Terms<'_>) -> Result<Appended, AppendError> {
        // The place in the feed is taken first: under the lock, offsets and feed then get the same order.
        let permit = self.permit("append").await?;
        let appended = self.append_now(room, event, terms, permit)?;
        if let Some(scribe) = &self.scribe {
            scribe.written().await;
        }
        Ok(appended)
    }

    async fn read(&self, room: &RoomName, range: Range, bytes: usize) -> Result<Page, PortError> {
        let mut state = self.state.lock();
        state.forget_the_old(Instant::now(), self.retention);
        let head = self.position(Offset(state.head));
        let floor = state.clock.front().map_or(head.offset, |(_, before)| *before);
        let Some(log) = state.rooms.get(room) else {
            return Ok(Page {
                events: Vec::new(),
                read_to: None,
                unreadable: false,
                more: false,
                trimmed: false,
                oldest: None,
                floor,
                began: self.began,
                head,
                in_doubt_before: None,
            });
        };
        let (part, more) = match range {
            Range::After { offset, limit } => {
                let start = log.events.partition_point(|(at, _)| *at <= offset);
                let end = start + fitting(log.events.range(start..).take(limit), bytes);
                (start..end, end < log.events.len())
            }
            Range::Newest { before, limit } => {
                let end = before.map_or(log.events.len(), |before| log.events.partition_point(|(at, _)| *at < before));
                let start = end - fitting(log.events.range(..end).rev().take(limit), bytes);
                (start..end, start > 0)
            }
        };
        let events: Vec<_> = log.events.range(part).cloned().collect();
        let read_to = events.last().map(|(offset, _)| *offset);
        let oldest = log.events.front().map(|(offset, _)| *offset);
        Ok(Page {
            events,
            read_to,
            unreadable: false,
            more,
            trimmed: log.trimmed,
            oldest,
            floor,
            began: self.began,
            head,
            in_doubt_before: None,
        })
    }

    async fn subscribe(&self, room: &RoomName) -> Result<(), PortError> {
        self.state.lock().subscribed.insert(room.clone());
        Ok(())
    }

    async fn unsubscribe(&self, room: &RoomName) {
        self.state.lock().subscribed.remove(room);
    }

    async fn signal(&self, room: &RoomName, event: &Event) -> Result<(), PortError> {
        let permit = self.permit("signal").await?;
        if self.state.lock().subscribed.contains(room) {
            permit.send(FeedItem::Signal { room: room.clone(), event: event.clone() });
        }
        Ok(())
    }

    async fn mark(&self, room: &RoomName, at_ms: u64) -> Result<(), PortError> {
        let permit = self.permit("mark").await?;
        let (mut state, now) = (self.state.lock(), Instant::now());
        self.upkeep(&mut state, now);
        state.keep_clock(now, self.retention);
        state.head = present().0.max(state.head);
        if state.subscribed.contains(room) {
            let position = self.position(Offset(state.head));
            permit.send(FeedItem::Mark { room: room.clone(), position, at_ms });
        }
        Ok(())
    }

    fn feed(&self) -> BoxStream<'static, FeedItem> {
        match self.receiver.lock().take() {
            Some(receiver) => ReceiverStream::new(receiver).boxed(),
            None => futures_util::stream::empty().boxed(),
        }
    }
}

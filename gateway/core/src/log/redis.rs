//! The log in Redis: a stream per room, one counter for all, one script that appends and announces.
//!
//! | key | holds |
//! |---|---|
//! | `{prefix}:log:offset` | the counter: the newest position, of an event, a mark, or whatever else must not be lost in silence |
//! | `{prefix}:log:epoch` | the epoch, 16 hexadecimal digits, the offset that it counts from, and the process of Redis that it goes on in, see `history.lua` |
//! | `{prefix}:log:writers` | a sorted set: when which node last said that it lives |
//! | `{prefix}:log:vouching` | the nodes that have yet to say whether Redis lost what they wrote |
//! | `{prefix}:log:clock` | a sorted set: when which offset was the newest, now and then |
//! | `{prefix}:log:tick` | there until the clock's next mark is due |
//! | `{prefix}:log:room:{room}` | the room's stream, entry ids `{offset}-0`, one field `e` |
//! | `{prefix}:log:once:{key}` | the offset that a dedupe key got; every append has one, so that it can be tried again |
//!
//! The channel `{prefix}:room:{room}` carries `E{epoch}{offset}:{event}` for events, `S{event}` for signals and
//! `M{epoch}{offset}:{time}` for marks.

mod lasts;
mod parts;
mod told;
mod watch;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use deadpool_redis::redis::Script;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;

use super::{AppendError, Appended, Budget, Dedupe, FeedItem, Log, Page, Range, Retention, Terms};
use crate::bus::{Bus, BusMessage};
use crate::domain::{Event, Offset, RoomName};
use crate::outbox::Wants;
use crate::port::{Port, PortError};
use crate::redis::{CommandError, Commands, History, Knowledge, Pipeline, milliseconds};
use lasts::Lasts;
use parts::Direction;
use told::Told;
use watch::watch;
use wire::{item, place};

/// How many times the time of a command an append is tried again whose fate is unknown.
const RETRY_TIMEOUTS: u32 = 2;
/// How long the key of an append is known that came without one: longer than it is tried again, and than an attempt
/// may lie in a Redis that stands still.
const DOUBT: Duration = Duration::from_secs(60);
/// How long to wait before.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// What makes two attempts the same append, and for how long.
struct Once {
    key: String,
    window: Duration,
}

/// What an attempt asks of the script, beside the event.
#[derive(Clone, Copy)]
struct Attempt {
    /// What may be appended: `any`, `known` if only to a room that has something, `nothing` if only the key is asked for.
    what: &'static str,
    /// Of how many bytes the room is to be cut down to how many, if it is to be looked at.
    weighed: Option<(usize, usize)>,
    /// The entry that is taken back.
    takes_back: Option<Offset>,
}

enum AttemptError {
    Command(CommandError),
    Refused(AppendError),
    Damaged,
}

/// A log that all nodes of a deployment share.
pub struct RedisLog {
    commands: Commands,
    bus: Arc<dyn Bus>,
    prefix: String,
    retention: Retention,
    budget: Arc<Budget>,
    wants: Option<Wants>,
    append: Pipeline,
    read: Script,
    mark: Script,
    /// This node among those that write.
    writer: String,
    history: Arc<History>,
    lasts: Arc<Lasts>,
    feed: mpsc::Sender<BusMessage>,
    receiver: Mutex<Option<mpsc::Receiver<BusMessage>>>,
    _watch: AbortOnDropHandle<()>,
}

impl std::fmt::Debug for RedisLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisLog").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl RedisLog {
    /// A log whose keys and channels start with `prefix`. `feed_buffer` is how many messages may wait for the
    /// fan-out; when it is full, the feed has a gap.
    #[must_use]
    pub fn new(commands: Commands, bus: Arc<dyn Bus>, prefix: &str, retention: Retention, feed_buffer: usize) -> Self {
        let (feed, receiver) = mpsc::channel(feed_buffer);
        let history = History::new(commands.clone(), prefix, retention.room_retention);
        let append = history.script(concat!(
            include_str!("append.lua"),
            include_str!("../outbox/put.lua"),
            include_str!("../outbox/told.lua")
        ));
        let budget = Arc::new(Budget::new(&retention));
        Self {
            _watch: commands.supervised("measure of the log", watch(commands.clone(), budget.clone())),
            budget,
            wants: None,
            append: Pipeline::new(&commands, append),
            read: history.script(include_str!("read.lua")),
            mark: history.script(include_str!("mark.lua")),
            commands,
            bus,
            prefix: prefix.to_owned(),
            retention,
            writer: format!("{:016x}", rand::random::<u64>()),
            history,
            lasts: Arc::default(),
            feed,
            receiver: Mutex::new(Some(receiver)),
        }
    }

    /// The same, and outboxes in the same Redis are told of what is appended.
    #[must_use]
    pub fn with_outbox(self, wants: Wants) -> Self {
        Self { wants: Some(wants), ..self }
    }

    /// What may be kept in all, and what Redis keeps in all, whoever's it is.
    #[must_use]
    pub fn budget(&self) -> Arc<Budget> {
        self.budget.clone()
    }

    /// The history that its offsets count in: what else is kept in this Redis goes by it.
    #[must_use]
    pub fn history(&self) -> Arc<History> {
        self.history.clone()
    }

    fn channel(&self, room: &RoomName) -> String {
        format!("{}:room:{room}", self.prefix)
    }

    /// The keys that all scripts begin with.
    fn keys(&self, room: &RoomName) -> Vec<String> {
        self.history.keys(self.room_key(room))
    }

    fn room_key(&self, room: &RoomName) -> String {
        self.history.key(&format!("room:{room}"))
    }

    /// Says that this node writes no more: nobody need wait for it to vouch.
    pub async fn close(&self) {
        let leave = self.commands.script("return redis.call('ZREM', KEYS[1], ARGV[1])");
        let left =
            self.commands.run::<i64>(&leave, |script| _ = script.key(self.history.key("writers")).arg(&self.writer));
        if let Err(error) = left.await {
            tracing::debug!(%error, "the log could not be told that this node ends");
        }
    }

    /// The key of an append that has none.
    fn own_key() -> Once {
        let key = format!("-:{:032x}", rand::random::<u128>());
        Once { key, window: DOUBT }
    }

    async fn try_append(
        &self,
        room: &RoomName,
        event: &[u8],
        once: &Once,
        attempt: Attempt,
        told: &Told<'_>,
    ) -> Result<Appended, AttemptError> {
        let mut keys = self.keys(room);
        keys.push(self.history.key(&format!("once:{}", once.key)));
        keys.extend_from_slice(&told.keys);
        let answer = self.append.run(&keys, |script| {
            script
                .arg(self.history.arguments())
                .arg(event)
                .arg(self.retention.room_events)
                .arg(self.channel(room))
                .arg(milliseconds(once.window))
                .arg(attempt.what)
                .arg(attempt.weighed.unwrap_or_default())
                .arg(attempt.takes_back.unwrap_or_default().0);
            told.add_to(script);
        });
        let (answer, process): (Bytes, Arc<str>) = answer.await.map_err(AttemptError::Command)?;
        match &*answer {
            b"full" => return Err(AttemptError::Refused(AppendError::Full)),
            b"new" => return Err(AttemptError::Refused(AppendError::NewRoom)),
            _ => {}
        }
        let (position, duplicate) = place(&answer).ok_or(AttemptError::Damaged)?;
        self.history.kept(position.offset, &process);
        Ok(Appended { position, duplicate: duplicate == b"1" })
    }
}

fn damaged(operation: &'static str) -> PortError {
    Port::Log.broken(operation, "the keys of the log hold something else")
}

#[async_trait]
impl Log for RedisLog {
    async fn append(&self, room: &RoomName, event: &Event, terms: Terms<'_>) -> Result<Appended, AppendError> {
        let admitted = self.budget.admits(terms.reserve);
        if !admitted && terms.dedupe.is_none() {
            return Err(AppendError::Full);
        }
        let event = event.encode();
        let attempt = Attempt {
            what: if !admitted {
                "nothing"
            } else if terms.known_room {
                "known"
            } else {
                "any"
            },
            weighed: self
                .retention
                .weighs(event.len())
                .then(|| (self.retention.room_bytes, self.retention.trimmed_bytes())),
            takes_back: terms.takes_back,
        };
        let once = terms.dedupe;
        let once = once
            .map_or_else(Self::own_key, |Dedupe(key)| Once { key: key.clone(), window: self.retention.dedupe_window });
        let deadline = Instant::now() + self.commands.timeout() * RETRY_TIMEOUTS;
        let mut in_doubt = false;
        let told = Told::new(self.wants.as_ref(), room, terms.by, &self.lasts);
        loop {
            let error = match self.try_append(room, &event, &once, attempt, &told).await {
                Ok(mut appended) => {
                    if told.is_archived() {
                        self.lasts.note(room, appended.position.offset);
                    }
                    if !appended.duplicate {
                        self.budget.note(event.len());
                    }
                    // What an attempt of this very call did is no duplicate.
                    appended.duplicate &= !in_doubt;
                    return Ok(appended);
                }
                Err(AttemptError::Damaged) => return Err(damaged("append").into()),
                Err(AttemptError::Refused(refused)) => return Err(refused),
                Err(AttemptError::Command(error)) => error,
            };
            // The script asks for the key before it writes: so no attempt did.
            if error.is_out_of_memory() {
                self.budget.refused_by_store();
                return Err(AppendError::Full);
            }
            // Nothing was done: the client may as well know at once. Otherwise only Redis can tell what became of it,
            // and it answers the same attempt the same way.
            in_doubt |= error.leaves_doubt();
            let error = Port::Log.failed("append", error);
            if !in_doubt || error.is_permanent() || Instant::now() >= deadline {
                return Err(error.into());
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn read(&self, room: &RoomName, range: Range, bytes: usize) -> Result<Page, PortError> {
        let (direction, bound, limit) = match range {
            Range::After { offset, limit } => (Direction::After, offset.to_string(), limit),
            Range::Newest { before, limit } => {
                (Direction::Newest, before.map(|offset| offset.to_string()).unwrap_or_default(), limit)
            }
        };
        // Before the first offset there is nothing, and Redis would refuse to look.
        let nothing = matches!(range, Range::Newest { before: Some(Offset::START), .. });
        let mut pages = self.read_parts(&[(room, bound)], direction, (limit, nothing), bytes).await?;
        pages.pop().ok_or_else(|| damaged("read"))
    }

    async fn read_each(
        &self,
        rooms: &[(&RoomName, Offset)],
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<Page>, PortError> {
        if rooms.is_empty() {
            return Ok(Vec::new());
        }
        let rooms: Vec<_> = rooms.iter().map(|(room, after)| (*room, after.to_string())).collect();
        self.read_parts(&rooms, Direction::After, (limit, false), bytes).await
    }

    async fn subscribe(&self, room: &RoomName) -> Result<(), PortError> {
        let subscribed = self.bus.subscribe(&self.channel(room), self.feed.clone()).await;
        subscribed.map_err(|error| Port::Log.failed("subscribe", error))
    }

    async fn unsubscribe(&self, room: &RoomName) {
        self.bus.unsubscribe(&self.channel(room)).await;
    }

    async fn signal(&self, room: &RoomName, event: &Event) -> Result<(), PortError> {
        let mut payload = event.encode();
        payload.insert(0, b'S');
        let sent = self.bus.publish(&self.channel(room), payload.into()).await;
        sent.map_err(|error| Port::Log.failed("signal", error))
    }

    async fn mark(&self, room: &RoomName, at_ms: u64) -> Result<(), PortError> {
        let mut knowledge = Knowledge::default();
        let answer = self.commands.run_telling_process(&self.mark, |script| {
            knowledge = self.history.knowledge();
            script
                .key(self.keys(room))
                .arg(self.history.arguments_vouching(&knowledge))
                .arg(&self.writer)
                .arg(self.channel(room))
                .arg(at_ms);
        });
        let ((), process) = answer.await.map_err(|error| Port::Log.failed("mark", error))?;
        self.history.told(&knowledge, &process);
        Ok(())
    }

    fn feed(&self) -> BoxStream<'static, FeedItem> {
        let Some(receiver) = self.receiver.lock().take() else {
            return futures_util::stream::empty().boxed();
        };
        let prefix = format!("{}:room:", self.prefix);
        let (history, lasts, wants) = (self.history.clone(), self.lasts.clone(), self.wants.clone());
        let decode = move |message| {
            let item = match message {
                BusMessage::Gap => Some(FeedItem::Gap),
                BusMessage::Message { channel, payload } => {
                    let room = channel.strip_prefix(&prefix).unwrap_or_default();
                    item(room, &payload).or_else(|| {
                        tracing::error!(room, "the feed has a message that this version cannot read");
                        // It has a place in the log. What is read there shows who misses it.
                        payload.starts_with(b"E").then_some(FeedItem::Gap)
                    })
                }
            };
            match &item {
                Some(FeedItem::Event { room, position, .. }) => {
                    history.heard(position.offset);
                    if wants.as_ref().is_some_and(|wants| wants.is_archived(room)) {
                        lasts.note(room, position.offset);
                    }
                }
                Some(FeedItem::Gap) => history.missed(),
                Some(_) | None => {}
            }
            futures_util::future::ready(item)
        };
        ReceiverStream::new(receiver).filter_map(decode).boxed()
    }
}

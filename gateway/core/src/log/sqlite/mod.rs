//! The log of one node in a file: one task writes, all that waits in one transaction, and announces what it wrote.
//!
//! `schema.sql` has the tables.

mod append;
mod history;
mod measure;
mod sweep;
mod writer;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use parking_lot::Mutex;
use sqlx::SqlitePool;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

use super::{AppendError, Appended, Budget, FeedItem, Log, Page, Range, Retention, Terms};
use crate::dates::{milliseconds, now_ms};
use crate::domain::{Event, Offset, Position, RoomName};
use crate::outbox::SqliteOutbox;
use crate::port::{Port, PortError};
use crate::recurring::Recurring;
use crate::sqlite::Database;
use crate::supervisor::Supervisor;
use history::History;
use writer::{Append, Hearers, Request, Writer};

/// What tells the file from others: `log`, and the version of its tables.
const KIND: i32 = 0x6c6f_6701;
/// How many items may wait for the fan-out. The writer waits when it is full, so nothing is ever missed.
const FEED_BUFFER: usize = 4096;
/// How many appends may wait for the writer. A publish waits when it is full.
const QUEUE: usize = 4096;
/// Connections for reading: each is a thread.
const READERS: u32 = 4;

/// A log in a database file with its own feed.
pub struct SqliteLog {
    retention: Retention,
    budget: Arc<Budget>,
    history: History,
    database: Arc<Database>,
    outbox: Option<Arc<SqliteOutbox>>,
    readers: SqlitePool,
    requests: mpsc::Sender<Request>,
    subscribed: Arc<Mutex<HashSet<RoomName>>>,
    /// The position of the last mark, which is not written down.
    marked: Arc<AtomicU64>,
    feed: mpsc::Sender<FeedItem>,
    receiver: Mutex<Option<mpsc::Receiver<FeedItem>>>,
    unreadable: Recurring,
}

impl std::fmt::Debug for SqliteLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteLog").field("database", &self.database).finish_non_exhaustive()
    }
}

impl SqliteLog {
    /// Opens a file and continues its history, or makes it with its directory and begins one.
    ///
    /// A history also begins if the machine, and not only the process, was ended since the log was opened: its last
    /// commits may not have reached the disk, and counting on would give their offsets again.
    ///
    /// # Errors
    /// The file cannot be made, opened or read, another process has it, or it is something else.
    pub async fn open(path: &Path, retention: Retention, supervisor: &Supervisor) -> Result<Self, PortError> {
        let database = Database::open(path, KIND, include_str!("schema.sql")).await;
        let database = Arc::new(database.map_err(|error| Port::Log.failed("open", error))?);
        let mut connection = database.connect().await.map_err(|error| Port::Log.failed("open", error))?;
        let opened = History::open(&mut connection).await;
        let (history, state) = opened.map_err(|error| Port::Log.failed("open", database.error(error)))?;
        let (requests, incoming) = mpsc::channel(QUEUE);
        let (feed, receiver) = mpsc::channel(FEED_BUFFER);
        let subscribed = Arc::<Mutex<HashSet<RoomName>>>::default();
        let marked = Arc::<AtomicU64>::default();
        let budget = Arc::new(Budget::new(&retention));
        let writer = Writer::new(
            database.clone(),
            connection,
            state,
            history.epoch,
            retention,
            budget.clone(),
            Hearers { subscribed: subscribed.clone(), marked: marked.clone(), feed: feed.clone() },
        );
        // It ends by itself, when it is told to or nobody can ask it any more.
        supervisor.run_owned("writer of the log", writer.run(incoming)).detach();
        Ok(Self {
            retention,
            budget,
            history,
            readers: database.readers(READERS),
            database,
            outbox: None,
            requests,
            subscribed,
            marked,
            feed,
            receiver: Mutex::new(Some(receiver)),
            unreadable: Recurring::new("skipped a record that this version cannot read"),
        })
    }

    /// The same, and outboxes in its file are told of what is appended.
    #[must_use]
    pub fn with_outbox(self, outbox: Arc<SqliteOutbox>) -> Self {
        Self { outbox: Some(outbox), ..self }
    }

    /// Its file, for outboxes in it.
    #[must_use]
    pub fn database(&self) -> Arc<Database> {
        self.database.clone()
    }

    /// What it may keep in all, and what it keeps.
    #[must_use]
    pub fn budget(&self) -> Arc<Budget> {
        self.budget.clone()
    }

    /// Writes what waits, sees to it that everything is on the disk, and lets go of the file. What is asked of the log
    /// after that fails. Without it, nothing is lost but by a power cut.
    pub async fn close(&self) {
        self.readers.close().await;
        let (done, closed) = oneshot::channel();
        if self.requests.send(Request::Close(done)).await.is_ok() {
            closed.await.ok();
        }
        self.database.unlock();
    }

    async fn try_read(&self, room: &RoomName, range: Range, bytes: usize) -> Result<Page, sqlx::Error> {
        let (query, offset, limit) = match range {
            Range::After { offset, limit } => (include_str!("after.sql"), offset, limit),
            Range::Newest { before, limit } => (include_str!("newest.sql"), before.unwrap_or(Offset(u64::MAX)), limit),
        };
        // Before reading: everything up to the mark is in the file by now.
        let marked = self.marked.load(Ordering::Acquire);
        type Row = (i64, Option<i64>, Option<bool>, Option<i64>, bool, Option<i64>, Option<Vec<u8>>);
        let rows: Vec<Row> = sqlx::query_as(query)
            .bind(room.as_str())
            .bind(now_ms().saturating_sub(milliseconds(self.retention.room_retention)))
            .bind(i64::try_from(offset.0).unwrap_or(i64::MAX))
            // One more than asked for tells whether there are more.
            .bind(i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX))
            .bind(i64::try_from(bytes).unwrap_or(i64::MAX))
            .fetch_all(&self.readers)
            .await?;
        let (head, floor, trimmed, oldest, cut, ..) = rows.first().ok_or(sqlx::Error::RowNotFound)?;
        let offset_of = |number: i64| Offset(number.cast_unsigned());
        let position = Position { epoch: self.history.epoch, offset: offset_of(*head).max(Offset(marked)) };
        let floor = floor.map_or(position.offset, offset_of);
        let cut = *cut;
        let (trimmed, oldest) = (trimmed.unwrap_or_default(), oldest.map(offset_of));
        let mut entries: Vec<_> =
            rows.into_iter().filter_map(|(.., offset, bytes)| Some((offset_of(offset?), bytes?))).collect();
        entries.sort_unstable_by_key(|(offset, _)| *offset);
        let is_one_too_many = entries.len() > limit;
        let more = cut || is_one_too_many;
        if is_one_too_many {
            let surplus = if matches!(range, Range::Newest { .. }) { 0 } else { limit };
            entries.remove(surplus);
        }
        let readable = |(offset, bytes): (Offset, Vec<u8>)| {
            let event = Event::decode(&bytes);
            if event.is_none() {
                // Of a newer version, most likely. One record must not make the whole room unreadable.
                self.unreadable.note(|what| tracing::error!(%room, %offset, "{what}"));
            }
            Some((offset, event?))
        };
        let (count, read_to) = (entries.len(), entries.last().map(|(offset, _)| *offset));
        let events: Vec<_> = entries.into_iter().filter_map(readable).collect();
        let unreadable = events.len() < count;
        Ok(Page {
            events,
            read_to,
            unreadable,
            more,
            trimmed,
            oldest,
            floor,
            began: self.history.began,
            head: position,
            in_doubt_before: None,
        })
    }
}

#[async_trait]
impl Log for SqliteLog {
    async fn append(&self, room: &RoomName, event: &Event, terms: Terms<'_>) -> Result<Appended, AppendError> {
        let Terms { dedupe, known_room, reserve, by, takes_back } = terms;
        let admitted = self.budget.admits(reserve);
        if !admitted && dedupe.is_none() {
            return Err(AppendError::Full);
        }
        let (done, answer) = oneshot::channel();
        let outbox = self.outbox.as_ref().filter(|_| admitted);
        let telling = outbox.and_then(|outbox| outbox.telling(room, event, by, takes_back.is_some())).map(Box::new);
        let (room, event, bytes, dedupe) = (room.clone(), event.clone(), event.encode(), dedupe.cloned());
        let append = Append { room, event, bytes, dedupe, known_room, admitted, telling, takes_back, done };
        let closed = || Port::Log.not_now("append", "the log is closed");
        self.requests.send(Request::Append(append)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    async fn read(&self, room: &RoomName, range: Range, bytes: usize) -> Result<Page, PortError> {
        self.try_read(room, range, bytes).await.map_err(|error| Port::Log.failed("read", self.database.error(error)))
    }

    async fn subscribe(&self, room: &RoomName) -> Result<(), PortError> {
        self.subscribed.lock().insert(room.clone());
        Ok(())
    }

    async fn unsubscribe(&self, room: &RoomName) {
        self.subscribed.lock().remove(room);
    }

    async fn signal(&self, room: &RoomName, event: &Event) -> Result<(), PortError> {
        let permit = self.feed.reserve().await.map_err(|_| Port::Log.not_now("signal", "the node has stopped"))?;
        if self.subscribed.lock().contains(room) {
            permit.send(FeedItem::Signal { room: room.clone(), event: event.clone() });
        }
        Ok(())
    }

    async fn mark(&self, room: &RoomName, at_ms: u64) -> Result<(), PortError> {
        let mark = Request::Mark { room: room.clone(), at_ms };
        self.requests.send(mark).await.map_err(|_| Port::Log.not_now("mark", "the log is closed"))
    }

    fn feed(&self) -> BoxStream<'static, FeedItem> {
        match self.receiver.lock().take() {
            Some(receiver) => ReceiverStream::new(receiver).boxed(),
            None => futures_util::stream::empty().boxed(),
        }
    }
}

//! The task that writes the log: takes what waits, commits it, and only then announces and answers.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::append::{KnownRooms, State, Written, append, keep_clock, trim, trim_bytes};
use super::history::History;
use super::measure::measure;
use super::sweep::{interval, sweep};
use crate::domain::{Epoch, Event, Offset, Position, RoomName};
use crate::log::{AppendError, Appended, Budget, Dedupe, FeedItem, Retention, present};
use crate::outbox::Telling;
use crate::port::Port;
use crate::sqlite::{Database, DatabaseError};

/// Appends in one transaction at the most, and bytes beyond which no further one is taken: more would make the first
/// wait longer and no append cheaper.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Rooms that are remembered as known: a few megabytes.
const KNOWN_ROOMS: usize = 65_536;

/// What is asked of the writer.
pub(super) enum Request {
    Append(Append),
    /// To move the position, behind what was asked before.
    Mark {
        room: RoomName,
        at_ms: u64,
    },
    /// To finish; answered when the file is free.
    Close(oneshot::Sender<()>),
}

/// An append that waits to be written.
pub(super) struct Append {
    pub(super) room: RoomName,
    pub(super) event: Event,
    pub(super) bytes: Vec<u8>,
    pub(super) dedupe: Option<Dedupe>,
    pub(super) known_room: bool,
    /// Whether there is room for it; if not, it is only asked what its key got.
    pub(super) admitted: bool,
    /// Which outboxes are told what.
    pub(super) telling: Option<Box<Telling>>,
    /// The entry that it takes back.
    pub(super) takes_back: Option<Offset>,
    pub(super) done: oneshot::Sender<Result<Appended, AppendError>>,
}

/// Who is told what was written.
pub(super) struct Hearers {
    pub(super) subscribed: Arc<Mutex<HashSet<RoomName>>>,
    pub(super) marked: Arc<AtomicU64>,
    pub(super) feed: mpsc::Sender<FeedItem>,
}

/// The one who writes.
pub(super) struct Writer {
    database: Arc<Database>,
    /// None after a failure: what became of a transaction that failed is known only by looking anew.
    connection: Option<SqliteConnection>,
    state: State,
    epoch: Epoch,
    retention: Retention,
    budget: Arc<Budget>,
    rooms: KnownRooms,
    hearers: Hearers,
    next_sweep: Instant,
    measured: Option<Instant>,
}

impl Writer {
    pub(super) fn new(
        database: Arc<Database>,
        connection: SqliteConnection,
        state: State,
        epoch: Epoch,
        retention: Retention,
        budget: Arc<Budget>,
        hearers: Hearers,
    ) -> Self {
        let (connection, next_sweep) = (Some(connection), Instant::now());
        let (rooms, measured) = (KnownRooms::new(), None);
        Self { database, connection, state, epoch, retention, budget, rooms, hearers, next_sweep, measured }
    }

    /// Writes until it is told to close, or nobody can ask any more.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut closing = None;
        while closing.is_none() {
            let first = match timeout_at(self.next_sweep, requests.recv()).await {
                Ok(None) => break,
                Ok(first) => first,
                Err(_) => None,
            };
            if self.next_sweep <= Instant::now() {
                self.sweep().await;
            }
            let (mut batch, mut bytes, mut marks) = (Vec::new(), 0, Vec::new());
            let mut next = first;
            while let Some(request) = next {
                match request {
                    Request::Append(append) => {
                        bytes += append.bytes.len();
                        batch.push(append);
                    }
                    Request::Mark { room, at_ms } => marks.push((room, at_ms)),
                    Request::Close(done) => closing = Some(done),
                }
                let full = batch.len() >= BATCH || bytes >= BATCH_BYTES || closing.is_some();
                next = if full { None } else { requests.try_recv().ok() };
            }
            if !batch.is_empty() {
                self.write(batch).await;
            }
            for (room, at_ms) in marks {
                self.mark(room, at_ms).await;
            }
            self.measure().await;
        }
        if let Some(connection) = self.connection.take()
            && let Err(error) = History::close(connection).await
        {
            let error = self.database.error(error);
            tracing::warn!(%error, "the log was not closed; if the machine is restarted now, a new history begins");
        }
        // What still waits is told so, and not kept waiting.
        drop(requests);
        if let Some(done) = closing {
            done.send(()).ok();
        }
    }

    async fn write(&mut self, batch: Vec<Append>) {
        let written = match self.connect().await {
            Ok(mut connection) => {
                if self.rooms.len() >= KNOWN_ROOMS {
                    self.rooms.clear();
                }
                let written =
                    append(&mut connection, self.state, self.epoch, self.retention, &mut self.rooms, &batch).await;
                self.settle(connection, written).await
            }
            Err(error) => Err(error),
        };
        match written {
            Ok(Written { state, places, too_long, to_weigh }) => {
                self.state = state;
                for (append, place) in batch.into_iter().zip(places) {
                    match place {
                        Ok((offset, duplicate)) => self.announce(append, offset, duplicate).await,
                        Err(refused) => _ = append.done.send(Err(refused)),
                    }
                }
                if !too_long.is_empty() || !to_weigh.is_empty() {
                    self.trim(&too_long, &to_weigh).await;
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                for append in batch {
                    append.done.send(Err(Port::Log.failed("append", error.clone()).into())).ok();
                }
            }
        }
    }

    async fn trim(&mut self, too_long: &[(i64, i64)], to_weigh: &[i64]) {
        let trimmed = match self.connect().await {
            Ok(mut connection) => {
                let trimmed = match trim(&mut connection, too_long).await {
                    Ok(()) => trim_bytes(&mut connection, self.retention, to_weigh).await,
                    failed => failed,
                };
                self.settle(connection, trimmed).await
            }
            Err(error) => Err(error),
        };
        // A later append to the room tries again.
        if let Err(error) = trimmed {
            tracing::warn!(%error, "the oldest events of a full room were not removed");
        }
    }

    async fn mark(&mut self, room: RoomName, at_ms: u64) {
        // What a transaction that failed may have written is found out first.
        let kept = match self.connect().await {
            Ok(mut connection) => {
                let kept = keep_clock(&mut connection, &mut self.state, self.retention).await;
                self.settle(connection, kept).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = kept {
            // Appends tell of it; whoever waits for the mark sees that it does not come.
            tracing::debug!(%error, "the position of the log was not moved");
            return;
        }
        self.state.head = self.state.head.max(present().0);
        self.hearers.marked.store(self.state.head, Ordering::Release);
        let position = Position { epoch: self.epoch, offset: Offset(self.state.head) };
        if self.hearers.subscribed.lock().contains(&room) {
            self.hearers.feed.send(FeedItem::Mark { room, position, at_ms }).await.ok();
        }
    }

    async fn announce(&self, append: Append, offset: Offset, duplicate: bool) {
        let position = Position { epoch: self.epoch, offset };
        if !duplicate {
            self.budget.note(append.bytes.len());
        }
        let heard = !duplicate && self.hearers.subscribed.lock().contains(&append.room);
        if heard {
            // Nobody listens when the node stops.
            self.hearers.feed.send(FeedItem::Event { room: append.room, position, event: append.event }).await.ok();
        }
        append.done.send(Ok(Appended { position, duplicate })).ok();
    }

    /// The connection, a new one if the last one failed.
    async fn connect(&mut self) -> Result<SqliteConnection, DatabaseError> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        let mut connection = self.database.connect().await?;
        let head: i64 = sqlx::query_scalar("SELECT head FROM log")
            .fetch_one(&mut connection)
            .await
            .map_err(|error| self.database.error(error))?;
        if head.cast_unsigned() > self.state.head {
            // The transaction failed and yet was committed: the readers find in the log what was never announced.
            self.state.head = head.cast_unsigned();
            self.hearers.feed.send(FeedItem::Gap).await.ok();
        }
        Ok(connection)
    }

    /// Keeps the connection if all went well.
    async fn settle<T>(
        &mut self,
        connection: SqliteConnection,
        outcome: Result<T, sqlx::Error>,
    ) -> Result<T, DatabaseError> {
        if outcome.is_ok() {
            self.connection = Some(connection);
        } else {
            // Its next owner must not wait for its locks. How it ends makes no difference.
            connection.close_hard().await.ok();
        }
        outcome.map_err(|error| self.database.error(error))
    }

    /// Looks how much there is, if that was long ago or much was written since.
    async fn measure(&mut self) {
        let is_old = self.measured.is_none_or(|at| at.elapsed() >= Budget::interval());
        if !is_old && !self.budget.is_due() {
            return;
        }
        self.measured = Some(Instant::now());
        let measured = match self.connect().await {
            Ok(mut connection) => {
                let measured = measure(&mut connection).await;
                self.settle(connection, measured).await
            }
            Err(error) => Err(error),
        };
        match measured {
            Ok((used, free)) => self.budget.measured(used, self.database.room().map(|room| used + free + room)),
            // What fails here fails for appends, too, which tell of it.
            Err(error) => tracing::debug!(%error, "the log could not be measured"),
        }
    }

    async fn sweep(&mut self) {
        self.rooms.clear();
        let swept = match self.connect().await {
            Ok(mut connection) => {
                let swept = sweep(&mut connection, self.retention).await;
                self.settle(connection, swept).await
            }
            Err(error) => Err(error),
        };
        // What failed may do so for long, as on a full disk: appends tell of it, and it has time.
        let more = swept.unwrap_or_else(|error| {
            tracing::warn!(%error, "old events were not removed");
            false
        });
        self.next_sweep = if more { Instant::now() } else { Instant::now() + interval(self.retention) };
    }
}

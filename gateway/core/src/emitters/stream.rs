//! The stream of `@socket.io/redis-streams-emitter`, read by a group of the nodes: each entry is kept once, in the order of the
//! stream, whichever nodes die.
//!
//! The node whose turn it is reads. An entry is acknowledged after it is in the log, under a key made of its id: who takes
//! over is handed first what was not acknowledged, and what of that is in the log already stays there once.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use deadpool_redis::redis::{self, Script};
use tokio::time::{Instant, sleep};

use super::turn::Turns;
use super::{Emitters, dialects};
use crate::domain::Refusal;
use crate::recurring::Recurring;
use crate::redis::{CommandError, Commands};

/// Entries that are taken at a time, and about how many bytes of them.
const BATCH: usize = 100;
const BATCH_BYTES: usize = 1024 * 1024;
/// How long to wait after there was nothing: one read costs Redis 10 µs.
const PAUSE: Duration = Duration::from_millis(25);
/// How long to wait before something is tried again.
const AGAIN: Duration = Duration::from_millis(200);
/// How long one entry is tried that cannot be kept although Redis gives this node its turn. After that it is given up: one
/// must not stop all.
const PATIENCE: Duration = Duration::from_secs(30);
/// What this dialect is called.
pub(super) const DIALECT: &str = "streams";

/// The way to the stream.
pub(super) struct Stream {
    commands: Commands,
    take: Script,
    name: String,
    group: String,
    /// Who this node is in the group.
    consumer: String,
    /// The largest entry that is looked at, in bytes.
    entry_bytes: usize,
    trouble: Recurring,
}

/// What was taken.
struct Taken {
    entries: Vec<Entry>,
    /// From where those that were handed out before go on.
    next: String,
}

/// An entry: its id, and its fields.
struct Entry {
    id: String,
    fields: Vec<(Bytes, Bytes)>,
}

/// Why a turn ended.
enum Over {
    /// It is not this node's any more.
    Elsewhere,
    Failed(CommandError),
}

impl From<CommandError> for Over {
    fn from(error: CommandError) -> Self {
        Self::Failed(error)
    }
}

impl Stream {
    /// A stream that is read by the group of a deployment, in which this node is called `consumer`. Entries of more than
    /// `entry_bytes` come without their fields.
    pub(super) fn new(commands: Commands, name: &str, group: &str, consumer: &str, entry_bytes: usize) -> Self {
        Self {
            take: commands.script(include_str!("take.lua")),
            commands,
            name: name.to_owned(),
            group: group.to_owned(),
            consumer: consumer.to_owned(),
            entry_bytes,
            trouble: Recurring::new("the stream of emitters cannot be read"),
        }
    }

    /// Makes the group if there is none. It begins with what comes from now on: what is in the stream by then was said to
    /// those who listened before.
    pub(super) async fn begin(&self) -> Result<(), CommandError> {
        self.make_group("$").await
    }

    async fn make_group(&self, from: &str) -> Result<(), CommandError> {
        let mut command = redis::cmd("XGROUP");
        command.arg("CREATE").arg(&self.name).arg(&self.group).arg(from).arg("MKSTREAM");
        match self.commands.query::<()>(&command).await {
            Err(error) if has_code(&error, "BUSYGROUP") => Ok(()),
            made => made,
        }
    }

    /// Takes what comes, or what was handed out before from an id on.
    async fn take(&self, turns: &Turns, handed_out_from: &str) -> Result<(Taken, usize), Over> {
        let (key, me) = turns.fence();
        let answer = self.commands.run(&self.take, |script| {
            script.key(key).key(&self.name);
            script.arg(me).arg(&self.group).arg(&self.consumer).arg(BATCH).arg(handed_out_from);
            script.arg(self.entry_bytes).arg(BATCH_BYTES);
        });
        type Answer = Option<(Vec<(String, Vec<Bytes>)>, String, usize)>;
        let answer: Result<Answer, _> = answer.await;
        let answer = match answer {
            Err(error) if has_code(&error, "NOGROUP") => {
                // The stream was there, and is a new one: all of it came after.
                tracing::warn!(stream = self.name, "the stream of emitters is gone, and read anew from its beginning");
                self.make_group("0").await?;
                return Ok((Taken { entries: Vec::new(), next: "0-0".into() }, 0));
            }
            answer => answer?,
        };
        let (entries, next, gone) = answer.ok_or(Over::Elsewhere)?;
        let entry = |(id, fields): (String, Vec<Bytes>)| Entry {
            id,
            fields: fields.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect(),
        };
        Ok((Taken { entries: entries.into_iter().map(entry).collect(), next }, gone))
    }

    async fn acknowledge(&self, ids: &[String]) -> Result<(), CommandError> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut command = redis::cmd("XACK");
        command.arg(&self.name).arg(&self.group).arg(ids);
        self.commands.query(&command).await
    }

    /// Takes nodes out of the group that have nothing of it.
    async fn forget_others(&self) -> Result<(), CommandError> {
        let script = self.commands.script(include_str!("forget.lua"));
        let forget = self.commands.run::<String>(&script, |script| {
            script.key(&self.name).arg(&self.group).arg(&self.consumer);
        });
        forget.await.map(drop)
    }
}

fn has_code(error: &CommandError, code: &str) -> bool {
    matches!(error, CommandError::Redis(error) if error.code() == Some(code) || error.to_string().contains(code))
}

impl Emitters {
    /// Takes the stream in this node's turns, for ever.
    pub(super) async fn take_stream(self: Arc<Self>) {
        let (Some(stream), Some(turns)) = (&self.stream, &self.turns) else { return std::future::pending().await };
        let taking = self.metrics.emitters_taking.with("stream");
        loop {
            turns.granted().await;
            tracing::info!(stream = stream.name, "this node takes the stream of emitters, for the cluster");
            taking.set(1.0);
            let over = self.take_turn(stream, turns).await;
            taking.set(0.0);
            if let Err(Over::Failed(error)) = &over {
                stream.trouble.note(|what| tracing::warn!(%error, stream = stream.name, "{what}"));
            }
            tracing::info!(stream = stream.name, "this node no longer takes the stream of emitters");
            sleep(AGAIN).await;
        }
    }

    async fn take_turn(&self, stream: &Stream, turns: &Turns) -> Result<(), Over> {
        let mut from = "0-0".to_owned();
        loop {
            let (Taken { entries, next }, gone) = stream.take(turns, &from).await?;
            self.metrics.emitters_refused.with(DIALECT, "trimmed").increment(gone as u64);
            self.keep(stream, turns, &entries).await?;
            if next == "0-0" {
                break;
            }
            from = next;
        }
        stream.forget_others().await?;
        loop {
            let (Taken { entries, .. }, _) = stream.take(turns, "").await?;
            let behind = entries.first().and_then(|entry| age(&entry.id)).unwrap_or_default();
            self.metrics.emitters_behind.set(behind.as_secs_f64());
            if entries.is_empty() {
                sleep(PAUSE).await;
            } else {
                self.keep(stream, turns, &entries).await?;
            }
        }
    }

    /// Keeps entries one after the other, then acknowledges them: those before one that could not be kept as well.
    async fn keep(&self, stream: &Stream, turns: &Turns, entries: &[Entry]) -> Result<(), Over> {
        let mut kept = Vec::with_capacity(entries.len());
        let mut over = None;
        for entry in entries {
            if let Err(ended) = self.keep_one(stream, turns, entry).await {
                over = Some(ended);
                break;
            }
            kept.push(entry.id.clone());
        }
        stream.acknowledge(&kept).await?;
        over.map_or(Ok(()), Err)
    }

    async fn keep_one(&self, stream: &Stream, turns: &Turns, entry: &Entry) -> Result<(), Over> {
        let wish = match dialects::entry(&entry.fields, &self.rules) {
            Ok(Some(wish)) => wish,
            Ok(None) => {
                self.metrics.emitters_heard.with(DIALECT, "ignored").increment(1);
                return Ok(());
            }
            Err(why) => {
                self.refuse(DIALECT, why, &entry.id);
                return Ok(());
            }
        };
        self.metrics.emitters_heard.with(DIALECT, wish.what.label()).increment(1);
        let key = format!("{}:{}", stream.name, entry.id);
        let began = Instant::now();
        while let Err(refusal) = self.keep_wish(&wish, &key, &entry.fields).await {
            if !turns.is_granted() {
                return Err(Over::Elsewhere);
            }
            // A full log is full for all.
            if refusal != Refusal::LogFull && began.elapsed() > PATIENCE {
                self.fail(DIALECT, &refusal, &entry.id);
                return Ok(());
            }
            sleep(AGAIN).await;
        }
        Ok(())
    }

    async fn keep_wish(&self, wish: &dialects::Wish, key: &str, fields: &[(Bytes, Bytes)]) -> Result<(), Refusal> {
        self.acts.for_all(wish, Some(key)).await?;
        if wish.has_sessions() { self.tell_all_nodes(fields).await } else { Ok(()) }
    }
}

/// How long ago an entry was added, by the clock of Redis.
fn age(id: &str) -> Option<Duration> {
    let (milliseconds, _) = id.split_once('-')?;
    let added = UNIX_EPOCH + Duration::from_millis(milliseconds.parse().ok()?);
    Some(SystemTime::now().duration_since(added).unwrap_or_default())
}

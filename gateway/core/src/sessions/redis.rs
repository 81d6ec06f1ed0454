//! The sessions in Redis: a hash per session, one script per operation.
//!
//! The key `{prefix}:session:{hash of pid}` has the fields `h`, the holder in 16 hexadecimal digits or nothing once it was
//! released, or `-` once it was ended; `u`, whose it is; `r`, the record; `v`, its version; `w`, who it is; `s`, its id; `n`,
//! its namespace; `t`, the term; `p`, the position of the log at which the record was kept. By who and id it is found: `{prefix}:sessions:user:{who}` is a sorted set of the hashes of
//! pids by when they may be forgotten, in ms, and `{prefix}:sessions:id:{id}` is the hash of its pid. The channel
//! `{prefix}:superseded` carries `{hash of pid}:{holder}`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use deadpool_redis::redis::Script;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;

use super::{ANNOUNCEMENTS, Claimed, Lease, Record, Sessions, Whose, holder, owner, time_held};
use crate::bus::{Bus, BusMessage};
use crate::domain::{Offset, PidHash, UserId};
use crate::formats::{Format, Formats};
use crate::port::{Port, PortError};
use crate::redis::{Commands, History, milliseconds};

/// Sessions in one renewal: a script holds up everybody else while it runs.
const BATCH: usize = 500;
/// How long to wait before subscribing is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Sessions that all nodes of a deployment share.
pub struct RedisSessions {
    commands: Commands,
    bus: Arc<dyn Bus>,
    prefix: String,
    window: Duration,
    formats: Formats,
    history: Arc<History>,
    save: Script,
    claim: Script,
    release: Script,
    renew: Script,
    forget: Script,
    taken: AtomicBool,
}

impl std::fmt::Debug for RedisSessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisSessions").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl RedisSessions {
    /// Sessions whose keys and channel start with `prefix`. `window` is how long a session may come back after its
    /// connection was lost; `formats` tells which nodes may read what this one writes; what is saved has its place in
    /// `history`.
    #[must_use]
    pub fn new(
        commands: Commands,
        bus: Arc<dyn Bus>,
        prefix: &str,
        window: Duration,
        formats: Formats,
        history: Arc<History>,
    ) -> Self {
        Self {
            bus,
            prefix: prefix.to_owned(),
            window,
            formats,
            save: history.script(include_str!("save.lua")),
            claim: commands.script(include_str!("claim.lua")),
            release: commands.script(include_str!("release.lua")),
            renew: commands.script(include_str!("renew.lua")),
            forget: history.script(include_str!("forget.lua")),
            history,
            taken: AtomicBool::new(false),
            commands,
        }
    }

    fn key(&self, pid: PidHash) -> String {
        format!("{}:session:{pid}", self.prefix)
    }

    /// What the keys begin with by which sessions are found.
    fn found(&self) -> String {
        format!("{}:sessions:", self.prefix)
    }

    fn channel(&self) -> String {
        format!("{}:superseded", self.prefix)
    }

    fn time_held(&self) -> u64 {
        milliseconds(time_held(self.window))
    }

    /// Notes the place of what was done, so that its loss would show.
    fn note(&self, place: Option<&str>, process: &Arc<str>) {
        if let Some(offset) = place.and_then(Offset::parse) {
            self.history.kept(offset, process);
        }
    }
}

#[async_trait]
impl Sessions for RedisSessions {
    async fn save(&self, lease: Lease, record: &Record) -> Result<bool, PortError> {
        let answer = self.commands.run_telling_process(&self.save, |script| {
            script.key(self.history.keys(self.key(lease.pid)));
            script
                .arg(self.history.arguments())
                .arg(holder(lease))
                .arg(owner(record.user.as_ref()))
                .arg(record.encode(self.formats.written()))
                .arg(self.time_held())
                .arg(record.version)
                .arg(self.found())
                .arg(lease.pid.to_string())
                .arg(owner(record.who()))
                .arg(record.session.to_string())
                .arg(&record.namespace)
                .arg(record.term);
        });
        let (kept_at, process): (Option<String>, Arc<str>) =
            answer.await.map_err(|error| Port::Sessions.failed("save", error))?;
        self.note(kept_at.as_deref(), &process);
        Ok(kept_at.is_some())
    }

    async fn claim(&self, lease: Lease, namespace: &str, user: Option<&UserId>) -> Result<Option<Claimed>, PortError> {
        let answer = self.commands.run(&self.claim, |script| {
            script.key(self.key(lease.pid));
            script.arg(holder(lease)).arg(owner(user)).arg(self.time_held());
            script.arg(self.channel()).arg(lease.pid.to_string()).arg(self.found()).arg(namespace);
            script.arg(Format::OLDEST.number()).arg(Format::NEWEST.number()).arg(Record::TERMS);
        });
        let claimed: Option<(Bytes, u32, String)> =
            answer.await.map_err(|error| Port::Sessions.failed("claim", error))?;
        Ok(claimed.and_then(|(bytes, term, kept_at)| {
            Some(Claimed { record: Record { term, ..Record::decode(&bytes)? }, kept_at: Offset::parse(&kept_at) })
        }))
    }

    async fn release(&self, lease: Lease, keep: bool) -> Result<(), PortError> {
        let kept = if keep { milliseconds(self.window) } else { 0 };
        let answer = self.commands.run(&self.release, |script| {
            script.key(self.key(lease.pid)).arg(holder(lease)).arg(kept).arg(self.found()).arg(lease.pid.to_string());
        });
        let _: u8 = answer.await.map_err(|error| Port::Sessions.failed("release", error))?;
        Ok(())
    }

    async fn renew(&self, leases: &[Lease]) -> Result<Vec<Lease>, PortError> {
        let mut all_lost = Vec::new();
        for batch in leases.chunks(BATCH) {
            let answer = self.commands.run(&self.renew, |script| {
                script.arg(self.time_held()).arg(self.found());
                for lease in batch {
                    script.key(self.key(lease.pid)).arg(holder(*lease)).arg(lease.pid.to_string());
                }
            });
            let lost: Vec<usize> = answer.await.map_err(|error| Port::Sessions.failed("renew", error))?;
            all_lost.extend(lost.into_iter().filter_map(|number| batch.get(number.checked_sub(1)?)));
        }
        Ok(all_lost)
    }

    async fn forget(&self, whose: &Whose) -> Result<usize, PortError> {
        let (kind, name) = match whose {
            Whose::User(user) => ("user", user.as_str().to_owned()),
            Whose::Session(session) => ("id", session.to_string()),
        };
        let answer = self.commands.run_telling_process(&self.forget, |script| {
            script.key(self.history.keys(format!("{}{kind}:{name}", self.found())));
            script.arg(self.history.arguments());
            script.arg(format!("{}:session:", self.prefix)).arg(kind).arg(name).arg(self.time_held());
        });
        let ((forgotten, done_at), process): ((usize, Option<String>), Arc<str>) =
            answer.await.map_err(|error| Port::Sessions.failed("forget", error))?;
        self.note(done_at.as_deref(), &process);
        Ok(forgotten)
    }

    fn superseded(&self) -> BoxStream<'static, Lease> {
        if self.taken.swap(true, Ordering::AcqRel) {
            return futures_util::stream::empty().boxed();
        }
        let (sink, messages) = mpsc::channel(ANNOUNCEMENTS);
        let (bus, channel) = (self.bus.clone(), self.channel());
        let subscribing = AbortOnDropHandle::new(tokio::spawn(async move {
            while let Err(error) = bus.subscribe(&channel, sink.clone()).await {
                error.tell("claims of other nodes are not heard yet");
                tokio::time::sleep(PAUSE).await;
            }
        }));
        let ended = move |message| {
            // As long as somebody listens, the task goes on trying.
            let _ = &subscribing;
            // A gap is no loss that matters: what was missed shows when renewing.
            let lease = match message {
                BusMessage::Message { payload, .. } => lease(&payload),
                BusMessage::Gap => None,
            };
            futures_util::future::ready(lease)
        };
        ReceiverStream::new(messages).filter_map(ended).boxed()
    }
}

/// Reads a message of the channel.
fn lease(payload: &[u8]) -> Option<Lease> {
    let (pid, holder) = std::str::from_utf8(payload).ok()?.split_once(':')?;
    Some(Lease { pid: PidHash::parse(pid)?, holder: u64::from_str_radix(holder, 16).ok()? })
}

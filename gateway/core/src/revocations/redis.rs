//! The revocations in Redis: one hash for all, two scripts.
//!
//! The key `{prefix}:revocations` has a field for each subject, see `Revocation::key`, with the value
//! `{before}:{until}`. The channel of the same name carries `{before}:{until}:{subject}`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use deadpool_redis::redis::Script;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;

use super::{ANNOUNCEMENTS, News, Revocation, Revocations, now};
use crate::bus::{Bus, BusMessage};
use crate::port::{Port, PortError};
use crate::redis::Commands;

/// Entries in one page, at about: a script holds up everybody else while it runs.
const PAGE: usize = 1000;
/// How long to wait before subscribing is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Revocations that all nodes of a deployment share.
pub struct RedisRevocations {
    commands: Commands,
    bus: Arc<dyn Bus>,
    /// The key, and the channel.
    name: String,
    add: Script,
    page: Script,
    taken: AtomicBool,
}

impl std::fmt::Debug for RedisRevocations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisRevocations").field("name", &self.name).finish_non_exhaustive()
    }
}

impl RedisRevocations {
    /// Revocations whose key and channel start with `prefix`.
    #[must_use]
    pub fn new(commands: Commands, bus: Arc<dyn Bus>, prefix: &str) -> Self {
        Self {
            bus,
            name: format!("{prefix}:revocations"),
            add: commands.script(include_str!("add.lua")),
            page: commands.script(include_str!("page.lua")),
            taken: AtomicBool::new(false),
            commands,
        }
    }
}

#[async_trait]
impl Revocations for RedisRevocations {
    async fn add(&self, revocation: &Revocation) -> Result<(), PortError> {
        let answer = self.commands.run(&self.add, |script| {
            script.key(&self.name).arg(revocation.key());
            script.arg(revocation.before()).arg(revocation.until).arg(now()).arg(&self.name);
        });
        let _: u8 = answer.await.map_err(|error| Port::Revocations.failed("add", error))?;
        Ok(())
    }

    async fn all(&self) -> Result<Vec<Revocation>, PortError> {
        let (mut all, mut cursor) = (Vec::new(), "0".to_owned());
        loop {
            let answer = self.commands.run(&self.page, |script| {
                script.key(&self.name).arg(&cursor).arg(now()).arg(PAGE);
            });
            let (next, found): (String, Vec<Vec<u8>>) =
                answer.await.map_err(|error| Port::Revocations.failed("load", error))?;
            all.extend(found.iter().filter_map(|entry| read(entry)));
            if next == "0" {
                return Ok(all);
            }
            cursor = next;
        }
    }

    fn changes(&self) -> BoxStream<'static, News> {
        if self.taken.swap(true, Ordering::AcqRel) {
            return futures_util::stream::empty().boxed();
        }
        let (sink, messages) = mpsc::channel(ANNOUNCEMENTS);
        let (bus, channel) = (self.bus.clone(), self.name.clone());
        let subscribing = AbortOnDropHandle::new(tokio::spawn(async move {
            while let Err(error) = bus.subscribe(&channel, sink.clone()).await {
                error.tell("revocations of other nodes are not heard yet");
                tokio::time::sleep(PAUSE).await;
            }
            // What was added before the subscription is to be read.
            sink.send(BusMessage::Gap).await.ok();
        }));
        let change = move |message| {
            // As long as somebody listens, the task goes on trying.
            let _ = &subscribing;
            match message {
                // What cannot be read may be of a newer version that has more to say.
                BusMessage::Message { payload, .. } => read(&payload).map_or(News::Gap, News::Added),
                BusMessage::Gap => News::Gap,
            }
        };
        ReceiverStream::new(messages).map(change).boxed()
    }
}

/// Reads `{before}:{until}:{subject}`.
fn read(entry: &[u8]) -> Option<Revocation> {
    let mut parts = std::str::from_utf8(entry).ok()?.splitn(3, ':');
    let (before, until, key) = (parts.next()?, parts.next()?, parts.next()?);
    Revocation::from_parts(key, before.parse().ok()?, until.parse().ok()?)
}

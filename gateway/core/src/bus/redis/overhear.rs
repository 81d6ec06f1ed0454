//! Hears channels that are not the deployment's, on a connection of its own: Redis ends a connection on which more waits than
//! it may, and what others write must not end the one on which the nodes hear each other.
//!
//! The channels are classic ones, not sharded: in a Redis Cluster each of its nodes passes them on to all others.

use std::sync::Arc;
use std::time::Duration;

use fred::prelude::{Client, ClientLike, PubsubInterface};
use fred::types::{CustomCommand, Message, Value};
use parking_lot::Mutex;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::link::{Link, Opener, Pauses};
use crate::bus::{Listened, Overheard, Overhearing};
use crate::metrics::Metrics;
use crate::recurring::Recurring;
use crate::redis::Primary;
use crate::supervisor::Supervisor;

/// Messages that may wait, and their bytes: a burst of small ones, and a few of the largest.
const QUEUE: usize = 8192;
const QUEUE_BYTES: usize = 32 * 1024 * 1024;
/// Messages that fred may hold, which has a place for each from the beginning, 220 bytes.
const RING: usize = 4096;

/// Hears channels of others, on a connection that is made again whenever it is lost.
#[must_use]
pub fn overhear(
    primary: Arc<Primary>,
    timeout: Duration,
    listened: Listened,
    metrics: Arc<Metrics>,
    supervisor: &Supervisor,
) -> Overhearing {
    let (sink, messages) = mpsc::channel(QUEUE);
    let heard = Arc::new(Mutex::new(Instant::now()));
    let opener = Opener { primary, timeout, heard: Some(heard.clone()) };
    let room = Arc::new(Semaphore::new(QUEUE_BYTES));
    let trouble = Recurring::new("channels of emitters are not heard");
    let ear = Ear { opener, heard, listened, sink, room, trouble, metrics };
    Overhearing { messages, _listener: supervisor.run_owned("listener for emitters", ear.run()) }
}

struct Ear {
    opener: Opener,
    /// When the last message came: while many do, signs of life come late.
    heard: Arc<Mutex<Instant>>,
    listened: Listened,
    sink: mpsc::Sender<Overheard>,
    /// The bytes that may still wait.
    room: Arc<Semaphore>,
    trouble: Recurring,
    metrics: Arc<Metrics>,
}

impl Ear {
    async fn run(self) {
        let mut pauses = Pauses::new();
        while !self.sink.is_closed() {
            pauses.wait().await;
            let why = match self.opener.open(RING).await {
                Ok(mut link) => self.listen(&mut link).await,
                Err(error) => error.to_string(),
            };
            self.trouble.note(|what| tracing::warn!(error = why, "{what}"));
        }
        std::future::pending().await
    }

    /// Listens until the connection is lost, and returns why.
    async fn listen(&self, link: &mut Link) -> String {
        if let Err(why) = subscribe(&link.client, &self.listened).await {
            return why;
        }
        // Both in their places among the messages, however long that takes.
        self.sink.send(Overheard::Begun).await.ok();
        let why = self.take(link).await;
        self.sink.send(Overheard::Ended).await.ok();
        why
    }

    async fn take(&self, link: &mut Link) -> String {
        loop {
            tokio::select! {
                biased;
                why = link.guard.ended() => return why,
                message = link.messages.recv() => match message {
                    Ok(message) => self.hand_on(message),
                    Err(RecvError::Lagged(count)) => self.metrics.emitters_lost.increment(count),
                    Err(RecvError::Closed) => return "the connection was lost".into(),
                },
            }
        }
    }

    /// Without waiting: while what was heard waits here, Redis would hold what is still to be heard.
    fn hand_on(&self, message: Message) {
        *self.heard.lock() = Instant::now();
        let payload = match message.value {
            Value::Bytes(bytes) => bytes,
            Value::String(text) => text.into_inner(),
            _ => return,
        };
        let (channel, bytes) = (message.channel.to_string(), payload.len());
        let overheard = if bytes > self.listened.message_bytes {
            Some(Overheard::TooLarge { channel, bytes })
        } else {
            let room = u32::try_from(bytes).ok().and_then(|bytes| self.room.clone().try_acquire_many_owned(bytes).ok());
            room.map(|held| Overheard::Message { channel, payload, held })
        };
        if overheard.is_none_or(|overheard| self.sink.try_send(overheard).is_err()) {
            self.metrics.emitters_lost.increment(1);
        }
    }
}

/// Subscribes, and makes sure of it: fred does not tell of everything that Redis refused, but Redis counts what there is.
async fn subscribe(client: &Client, listened: &Listened) -> Result<(), String> {
    let Listened { channels, patterns, .. } = listened;
    let subscribed = async {
        if !channels.is_empty() {
            client.subscribe(channels.clone()).await?;
        }
        if !patterns.is_empty() {
            client.psubscribe(patterns.clone()).await?;
        }
        // Its answer comes behind theirs.
        client.ping::<()>(None).await
    };
    let refused = |why: &str| {
        let all: Vec<_> = channels.iter().chain(patterns).map(|name| format!("&{name}")).collect();
        format!("{why}; an ACL user needs {}", all.join(" "))
    };
    match subscribed.await {
        Err(error) if error.details().contains("NOPERM") => return Err(refused(error.details())),
        subscribed => subscribed.map_err(|error| error.details().to_owned())?,
    }
    let about = CustomCommand::new_static("CLIENT", None::<u16>, false);
    // Who may not ask must believe.
    let Ok(about) = client.custom::<String, _>(about, vec!["INFO"]).await else { return Ok(()) };
    let count = |name: &str| about.split(' ').find_map(|field| field.strip_prefix(name)?.parse::<usize>().ok());
    let there = (count("sub="), count("psub="));
    if there == (Some(channels.len()), Some(patterns.len())) { Ok(()) } else { Err(refused("Redis refused some")) }
}

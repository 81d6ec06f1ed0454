//! The bus over Redis pub/sub: one connection publishes, one listens, and every channel is heard again after any
//! number of lost connections.
//!
//! Why the subscriptions are kept here: fred connects again by itself but hears nothing afterwards, and its own
//! `manage_subscriptions` sends an empty SUBSCRIBE that leaves the connection deaf after the second loss (fred 10.1.0).

mod link;
mod listener;
mod overhear;

pub use overhear::overhear;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fred::prelude::{Client, LuaInterface, PubsubInterface};
use fred::types::Value;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use self::link::{Opener, Pauses};
use self::listener::{Listener, Request};
use super::{Bus, Sink};
use crate::config;
use crate::metrics::Metrics;
use crate::port::{ErrorKind, Port, PortError};
use crate::redis::{Doubt, Primary, kind_of_words};
use crate::supervisor::Supervisor;

/// Requests that may wait for the listener.
const REQUESTS: usize = 4096;
/// How long a listening connection has to bring something before it is replaced once more.
const REPLACE: Duration = Duration::from_secs(5);
/// Messages that the publishing connection may hold: it never gets any.
const NONE: usize = 1;

/// A bus over one Redis primary.
pub struct RedisBus {
    primary: Arc<Primary>,
    publisher: watch::Receiver<Option<Voice>>,
    /// Whether the listener hears.
    hears: watch::Receiver<bool>,
    /// When the listening connection last brought something, or was replaced because it did not.
    heard: Arc<Mutex<Instant>>,
    /// Tells the listener to replace its connection.
    replace: Arc<Notify>,
    /// What the last attempt to connect failed with.
    trouble: Trouble,
    timeout: Duration,
    requests: mpsc::Sender<Request>,
    _listener: AbortOnDropHandle<()>,
    _publisher: AbortOnDropHandle<()>,
}

impl std::fmt::Debug for RedisBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisBus").finish_non_exhaustive()
    }
}

/// A connection that publishes.
#[derive(Clone)]
struct Voice {
    client: Client,
    generation: u64,
}

/// Why there is no connection.
type Trouble = Arc<Mutex<Option<String>>>;

impl RedisBus {
    /// A bus over a Redis to which nothing else of the process connects; fails if it cannot be reached now.
    ///
    /// # Errors
    /// Redis cannot be reached, or refuses the credentials.
    pub async fn connect(
        url: &str,
        settings: &config::Redis,
        metrics: Arc<Metrics>,
        supervisor: &Supervisor,
    ) -> Result<Self, PortError> {
        let primary =
            Primary::new(url, settings, metrics.clone()).map_err(|error| Port::Bus.broken("connect", error))?;
        let bus = Self::start(primary, settings, metrics, supervisor);
        bus.connected().await?;
        Ok(bus)
    }

    /// Begins to connect both connections. Until they are, and whenever they are lost, what is asked of the bus waits for
    /// the time of a command.
    #[must_use]
    pub fn start(
        primary: Arc<Primary>,
        settings: &config::Redis,
        metrics: Arc<Metrics>,
        supervisor: &Supervisor,
    ) -> Self {
        let timeout = settings.timeout;
        let (requests, incoming) = mpsc::channel(REQUESTS);
        let (heard, replace, trouble) = (Arc::new(Mutex::new(Instant::now())), Arc::default(), Trouble::default());
        let (hears, hearing) = watch::channel(false);
        let opener = Opener { primary: primary.clone(), timeout, heard: None };
        let listener = Listener {
            redis: settings.name().to_owned(),
            opener: Opener { heard: Some(heard.clone()), ..opener.clone() },
            feed_buffer: settings.feed_buffer,
            incoming,
            sinks: Default::default(),
            waiting: Vec::new(),
            abandoned: Vec::new(),
            under_way: None,
            heard: heard.clone(),
            hears,
            replace: Arc::clone(&replace),
            trouble: trouble.clone(),
            metrics,
        };
        let (voices, publisher) = watch::channel(None);
        Self {
            primary,
            publisher,
            hears: hearing,
            heard,
            replace,
            timeout,
            requests,
            _listener: supervisor.run_owned("listener of the bus", listener.run()),
            _publisher: supervisor.run_owned("publisher of the bus", speak(opener, voices, trouble.clone())),
            trouble,
        }
    }

    /// Waits for both connections, for the time of a command.
    ///
    /// # Errors
    /// They could not be made.
    pub async fn connected(&self) -> Result<(), PortError> {
        self.voice("connect", &mut self.publisher.clone()).await?;
        let mut hears = self.hears.clone();
        let connected = tokio::time::timeout(self.timeout, hears.wait_for(|hears| *hears)).await;
        connected.map_err(|_| self.away("connect")).map(drop)
    }

    /// Runs a command on the publishing connection. If there is none, there may be in a moment; if it ends, so does the
    /// command: fred would keep it, for a next connection of its own that never comes.
    async fn ask<T, F>(&self, operation: &'static str, command: impl FnOnce(Client) -> F) -> Result<T, PortError>
    where
        F: Future<Output = Result<T, fred::error::Error>>,
    {
        let mut publisher = self.publisher.clone();
        let Voice { client, generation } = self.voice(operation, &mut publisher).await?;
        tokio::select! {
            biased;
            answer = command(client) => answer.map_err(|error| self.failed(operation, generation, error)),
            _ = publisher.changed() => Err(self.away(operation)),
        }
    }

    async fn voice(
        &self,
        operation: &'static str,
        publisher: &mut watch::Receiver<Option<Voice>>,
    ) -> Result<Voice, PortError> {
        let found = tokio::time::timeout(self.timeout, publisher.wait_for(Option::is_some)).await;
        let found = found.ok().and_then(Result::ok).and_then(|voice| voice.clone());
        found.ok_or_else(|| self.away(operation))
    }

    fn away(&self, operation: &'static str) -> PortError {
        let why = self.trouble.lock().clone();
        let why = why.unwrap_or_else(|| format!("Redis did not answer within {:?}", self.timeout));
        Port::Bus.error(operation, kind_of_words(&why), why)
    }

    fn failed(&self, operation: &'static str, generation: u64, error: fred::error::Error) -> PortError {
        if let Some(doubt) = Doubt::of_text(error.details()) {
            self.primary.distrust(generation, doubt);
        }
        // If what it answered was something else than was asked for, its keys hold something else.
        let is_nonsense = *error.kind() == fred::error::ErrorKind::Parse;
        let kind = if is_nonsense { ErrorKind::Permanent } else { kind_of_words(error.details()) };
        Port::Bus.error(operation, kind, error)
    }
}

/// Keeps a connection to publish on, for ever.
async fn speak(opener: Opener, voices: watch::Sender<Option<Voice>>, trouble: Trouble) {
    let mut pauses = Pauses::new();
    loop {
        pauses.wait().await;
        match opener.open(NONE).await {
            Ok(mut link) => {
                voices.send_replace(Some(Voice { client: link.client.clone(), generation: link.generation }));
                let why = link.guard.ended().await;
                *trouble.lock() = Some(why);
                voices.send_replace(None);
            }
            Err(error) => *trouble.lock() = Some(error.to_string()),
        }
    }
}

#[async_trait]
impl Bus for RedisBus {
    async fn publish(&self, channel: &str, payload: Bytes) -> Result<(), PortError> {
        let (is_sharded, payload) = (self.primary.is_sharded(), Value::Bytes(payload));
        let publish = |client: Client| async move {
            if is_sharded { client.spublish(channel, payload).await } else { client.publish(channel, payload).await }
        };
        self.ask::<i64, _>("publish", publish).await.map(drop)
    }

    async fn subscribe(&self, channel: &str, sink: Sink) -> Result<(), PortError> {
        let (done, answer) = oneshot::channel();
        let request = Request::Subscribe { channel: channel.to_owned(), sink, done };
        let stopped = || Port::Bus.not_now("subscribe", "the node has stopped");
        let subscribed = async {
            self.requests.send(request).await.map_err(|_| stopped())?;
            answer.await.unwrap_or_else(|_| Err(stopped()))
        };
        // Connecting and subscribing have this time each.
        tokio::time::timeout(self.timeout * 2, subscribed).await.unwrap_or_else(|_| Err(self.away("subscribe")))
    }

    async fn unsubscribe(&self, channel: &str) {
        // Nothing to do if the listener is gone: with it went the subscription.
        self.requests.send(Request::Unsubscribe { channel: channel.to_owned() }).await.ok();
    }

    async fn subscribers(&self, channel: &str) -> Result<usize, PortError> {
        let is_sharded = self.primary.is_sharded();
        let count = |client: Client| async move {
            if is_sharded { client.pubsub_shardnumsub(channel).await } else { client.pubsub_numsub(channel).await }
        };
        self.ask::<(String, usize), _>("count subscribers", count).await.map(|(_, count)| count)
    }

    // Redis may have refused a subscription, which fred does not tell.
    fn listen_anew(&self) {
        let mut heard = self.heard.lock();
        if heard.elapsed() >= REPLACE && *self.hears.borrow() {
            *heard = Instant::now();
            self.replace.notify_one();
        }
    }

    async fn attest(&self, roll: &str, node: &str, hears: bool, within: Duration) -> Result<Vec<String>, PortError> {
        let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX).to_string();
        let arguments = vec![node.to_owned(), u8::from(hears).to_string(), within];
        let roll = vec![roll.to_owned()];
        self.ask("attest", |client| async move { client.eval(include_str!("../attest.lua"), roll, arguments).await })
            .await
    }
}

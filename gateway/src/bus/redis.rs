//! The bus over Redis pub/sub: one connection publishes, one listens, and every channel is heard again after any
//! number of lost connections.
//!
//! Why the subscriptions are kept here: fred connects again by itself but hears nothing afterwards, and its own
//! `manage_subscriptions` sends an empty SUBSCRIBE that leaves the connection deaf after the second loss (fred 10.1.0).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fred::prelude::{Builder, Client, ClientLike, EventInterface, LuaInterface, PubsubInterface, ReconnectPolicy};
use fred::types::{ClientState, Message, RespVersion, Value};
use futures_util::future::{BoxFuture, OptionFuture};
use parking_lot::Mutex;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;

use super::{Bus, BusError, Sink, Sinks};
use crate::config;
use crate::metrics::Metrics;
use crate::supervisor::Supervisor;

/// Channels in one SUBSCRIBE. Thousands of rooms come back in a few round trips, and none of them blocks the
/// connection for long.
const BATCH: usize = 512;
/// Requests that may wait for the listener.
const REQUESTS: usize = 4096;
/// How often sinks that were full are told of what they missed.
const TICK: Duration = Duration::from_millis(100);
/// How long a listening connection has to bring something before it is replaced once more.
const REPLACE: Duration = Duration::from_secs(5);
/// How often each connection is asked for a sign of life.
const WATCH: Duration = Duration::from_secs(1);

/// A bus over one Redis primary.
pub struct RedisBus {
    publisher: Client,
    subscriber: Client,
    /// When the listening connection last brought something, or was replaced because it did not.
    heard: Arc<Mutex<Instant>>,
    timeout: Duration,
    requests: mpsc::Sender<Request>,
    _listener: AbortOnDropHandle<()>,
    _watch: AbortOnDropHandle<()>,
}

impl std::fmt::Debug for RedisBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisBus").finish_non_exhaustive()
    }
}

enum Request {
    Subscribe { channel: String, sink: Sink, done: oneshot::Sender<Result<(), BusError>> },
    Unsubscribe { channel: String },
}

impl RedisBus {
    /// Connects both connections; fails if Redis cannot be reached now. Later losses heal by themselves.
    ///
    /// # Errors
    /// Redis cannot be reached, or refuses the credentials.
    pub async fn connect(
        url: &str,
        settings: &config::Redis,
        metrics: Arc<Metrics>,
        supervisor: &Supervisor,
    ) -> Result<Self, BusError> {
        let publisher = client(url, settings).map_err(|error| BusError::new("connect", error))?;
        let subscriber = client(url, settings).map_err(|error| BusError::new("connect", error))?;
        let reconnects = subscriber.reconnect_rx();
        let messages = subscriber.message_rx();
        for client in [&publisher, &subscriber] {
            let connected = tokio::time::timeout(settings.timeout, client.init()).await;
            let connected = connected.map_err(|_| BusError::new("connect", "timed out"))?;
            connected.map_err(|error| BusError::new("connect", error))?;
        }
        metrics.bus_connected.set(1.0);
        let (requests, incoming) = mpsc::channel(REQUESTS);
        let errors = subscriber.error_rx();
        let timeout = settings.timeout;
        let watched = [publisher.clone(), subscriber.clone()];
        let sinks = Sinks::default();
        let (listening, heard) = (subscriber.clone(), Arc::new(Mutex::new(Instant::now())));
        let listener = Listener {
            subscriber,
            incoming,
            messages,
            reconnects,
            errors,
            sinks,
            under_way: None,
            heard: heard.clone(),
            timeout,
            metrics,
        };
        Ok(Self {
            publisher,
            subscriber: listening,
            heard,
            timeout,
            requests,
            _listener: supervisor.run_owned("listener of the bus", listener.run()),
            _watch: supervisor.run_owned("watch of the bus", watch(watched, timeout)),
        })
    }
}

impl RedisBus {
    /// Replaces a listening connection that looks well but brings nothing: Redis may have refused a subscription, which
    /// fred does not tell.
    async fn listen_anew(&self) {
        let due = self.heard.lock().elapsed() >= REPLACE;
        if due && self.subscriber.state() == ClientState::Connected {
            *self.heard.lock() = Instant::now();
            reconnect(&self.subscriber, self.timeout).await;
        }
    }
}

fn client(url: &str, settings: &config::Redis) -> Result<Client, fred::error::Error> {
    let mut config = fred::types::config::Config::from_url(url)?;
    // RESP3 lets the listening connection answer PING while it is subscribed.
    config.version = RespVersion::RESP3;
    let mut builder = Builder::from_config(config);
    builder.set_policy(ReconnectPolicy::new_exponential(0, 50, 1_000, 2));
    builder.with_performance_config(|performance| {
        // fred's default of 32 loses messages in any burst of more frames than that in one socket read.
        performance.broadcast_channel_capacity = settings.feed_buffer;
        performance.default_command_timeout = settings.timeout;
    });
    builder.with_connection_config(|connection| {
        connection.connection_timeout = settings.timeout;
        // A command in flight when the connection was lost is not sent again: its fate is the caller's to settle.
        connection.max_command_attempts = 1;
        connection.max_command_buffer_len = REQUESTS;
        connection.tcp = fred::types::config::TcpConfig { nodelay: Some(true), ..Default::default() };
    });
    builder.build()
}

#[async_trait]
impl Bus for RedisBus {
    async fn publish(&self, channel: &str, payload: Bytes) -> Result<(), BusError> {
        let sent: Result<i64, _> = self.publisher.publish(channel, Value::Bytes(payload)).await;
        sent.map(|_| ()).map_err(|error| BusError::new("publish", error))
    }

    async fn subscribe(&self, channel: &str, sink: Sink) -> Result<(), BusError> {
        let (done, answer) = oneshot::channel();
        let request = Request::Subscribe { channel: channel.to_owned(), sink, done };
        self.requests.send(request).await.map_err(|_| BusError::new("subscribe", "the node has stopped"))?;
        answer.await.unwrap_or_else(|_| Err(BusError::new("subscribe", "the node has stopped")))
    }

    async fn unsubscribe(&self, channel: &str) {
        // Nothing to do if the listener is gone: with it went the subscription.
        self.requests.send(Request::Unsubscribe { channel: channel.to_owned() }).await.ok();
    }

    async fn subscribers(&self, channel: &str) -> Result<usize, BusError> {
        let answer: Result<(String, usize), _> = self.publisher.pubsub_numsub(channel).await;
        answer.map(|(_, count)| count).map_err(|error| BusError::new("count subscribers", error))
    }

    async fn attest(&self, roll: &str, node: &str, hears: bool, within: Duration) -> Result<Vec<String>, BusError> {
        let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX).to_string();
        let arguments = vec![node.to_owned(), u8::from(hears).to_string(), within];
        if !hears {
            self.listen_anew().await;
        }
        let answer = self.publisher.eval(include_str!("attest.lua"), vec![roll.to_owned()], arguments).await;
        answer.map_err(|error| BusError::new("attest", error))
    }
}

/// What became of the requests that were served together: the channels to hear, each with who asked for it.
struct Served {
    subscribed: Vec<(String, oneshot::Sender<Result<(), BusError>>)>,
    result: Result<(), fred::error::Error>,
}

/// The task that owns the listening connection.
struct Listener {
    subscriber: Client,
    incoming: mpsc::Receiver<Request>,
    messages: broadcast::Receiver<Message>,
    reconnects: broadcast::Receiver<fred::types::config::Server>,
    errors: broadcast::Receiver<(fred::error::Error, Option<fred::types::config::Server>)>,
    sinks: Sinks,
    under_way: Option<BoxFuture<'static, Served>>,
    heard: Arc<Mutex<Instant>>,
    timeout: Duration,
    metrics: Arc<Metrics>,
}

/// Ends connections that no longer answer, for ever. A half-open one would never end by itself, and fred's own check
/// starts over with every command that is written.
async fn watch(clients: [Client; 2], timeout: Duration) {
    let mut tick = tokio::time::interval(WATCH);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        for client in &clients {
            // One that is connecting has nothing to answer with, and its queue is better left empty.
            if client.state() == ClientState::Connected && client.ping::<()>(None).await.is_err() {
                reconnect(client, timeout).await;
            }
        }
    }
}

/// Ends a connection so that its successor is made. fred waits for that one, which may take as long as an outage.
async fn reconnect(client: &Client, timeout: Duration) {
    tokio::time::timeout(timeout, client.force_reconnection()).await.ok();
}

impl Listener {
    /// One loop for everything: nothing is subscribed on a new connection before this task does it, so the gap is
    /// told before the first message that came after it. Messages are delivered while a subscription is under way, but
    /// one is under way at a time, so that each channel's requests take effect in their order.
    async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        // The first connection was made before this task began and needs no healing; fred announces it all the same.
        while self.reconnects.try_recv().is_ok() {}
        loop {
            tokio::select! {
                // Losses before recoveries: where both wait, the recovery is the later one.
                biased;
                Ok((error, _)) = self.errors.recv() => {
                    self.metrics.bus_connected.set(0.0);
                    tracing::warn!(%error, "the bus lost Redis");
                }
                reconnected = self.reconnects.recv() => match reconnected {
                    Ok(_) | Err(RecvError::Lagged(_)) => self.hear_again().await,
                    Err(RecvError::Closed) => return,
                },
                Some(served) = OptionFuture::from(self.under_way.as_mut()) => self.settle(served),
                request = self.incoming.recv(), if self.under_way.is_none() => match request {
                    Some(request) => self.serve(request),
                    None => return,
                },
                message = self.messages.recv() => match message {
                    Ok(message) => self.deliver(message),
                    Err(RecvError::Lagged(count)) => {
                        self.metrics.bus_dropped.increment(count);
                        self.sinks.tell_of_gap();
                    }
                    Err(RecvError::Closed) => return,
                },
                _ = tick.tick() => self.sinks.tell_of_misses(),
            }
        }
    }

    fn deliver(&mut self, message: Message) {
        *self.heard.lock() = Instant::now();
        let payload = match message.value {
            Value::Bytes(bytes) => bytes,
            Value::String(text) => text.into_inner(),
            _ => return,
        };
        if !self.sinks.deliver(&message.channel, payload) {
            self.metrics.bus_dropped.increment(1);
        }
    }

    async fn hear_again(&mut self) {
        self.metrics.bus_reconnects.increment(1);
        // What was under way either failed with the old connection or is done on the new one.
        if let Some(under_way) = self.under_way.take() {
            let served = under_way.await;
            self.settle(served);
        }
        let channels: Vec<String> = self.sinks.by_channel.keys().cloned().collect();
        for batch in channels.chunks(BATCH) {
            if let Err(error) = hear(&self.subscriber, batch.to_vec()).await {
                // The connection is gone once more; its successor announces itself and the work begins anew. If it
                // is not gone, ending it makes that so.
                tracing::warn!(%error, "could not subscribe again");
                reconnect(&self.subscriber, self.timeout).await;
                return;
            }
        }
        self.metrics.bus_connected.set(1.0);
        self.sinks.tell_of_gap();
        tracing::info!(channels = channels.len(), "the bus hears Redis again");
    }

    /// Begins to serve a request together with all others that wait, so that a crowd joining at once costs few round
    /// trips.
    fn serve(&mut self, first: Request) {
        let mut subscribe = Vec::new();
        let mut unsubscribe = Vec::new();
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                Request::Subscribe { channel, sink, done } => {
                    self.sinks.insert(&channel, sink);
                    unsubscribe.retain(|leaving| *leaving != channel);
                    subscribe.push((channel, done));
                }
                Request::Unsubscribe { channel } => {
                    self.sinks.remove(&channel);
                    unsubscribe.push(channel);
                }
            }
            if subscribe.len() >= BATCH || unsubscribe.len() >= BATCH {
                break;
            }
            next = self.incoming.try_recv().ok();
        }
        let subscriber = self.subscriber.clone();
        self.under_way = Some(Box::pin(async move {
            if !unsubscribe.is_empty() {
                // If it fails the connection is gone, and with it the subscription.
                subscriber.unsubscribe(unsubscribe).await.ok();
            }
            let channels: Vec<String> = subscribe.iter().map(|(channel, _)| channel.clone()).collect();
            let result = if channels.is_empty() { Ok(()) } else { hear(&subscriber, channels).await };
            Served { subscribed: subscribe, result }
        }));
    }

    fn settle(&mut self, served: Served) {
        self.under_way = None;
        for (channel, done) in served.subscribed {
            let answer = match &served.result {
                Ok(()) => Ok(()),
                Err(error) => {
                    self.sinks.remove(&channel);
                    Err(BusError::new("subscribe", error.to_string()))
                }
            };
            done.send(answer).ok();
        }
    }
}

/// Subscribes, and returns when Redis has done it: fred answers a SUBSCRIBE before it is even written, but a PING behind
/// it on the same connection is answered after it.
async fn hear(subscriber: &Client, channels: Vec<String>) -> Result<(), fred::error::Error> {
    subscriber.subscribe(channels).await?;
    subscriber.ping::<()>(None).await
}

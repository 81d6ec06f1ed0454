//! The task that owns the listening connection: what is heard on it, and how it is replaced.

use std::sync::Arc;
use std::time::Duration;

use fred::prelude::{Client, ClientLike, PubsubInterface};
use fred::types::{Message, Value};
use futures_util::future::{BoxFuture, OptionFuture};
use parking_lot::Mutex;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Trouble;
use super::link::{Link, Opener, Pauses};
use crate::bus::{Sink, Sinks};
use crate::metrics::Metrics;
use crate::port::{Port, PortError};
use crate::redis::kind_of_words;

/// Channels in one SUBSCRIBE. Thousands of rooms come back in a few round trips, and none of them blocks the
/// connection for long.
const BATCH: usize = 512;
/// Messages that fred may hold for the listener, which takes them at once and hands them on, into queues of
/// `redis.feed_buffer` places that cost nothing while they are empty. fred's places all exist from the beginning, 220 bytes
/// each. It parses a megabyte at the most before it lets others run: 10,000 events.
const RING: usize = 16_384;
/// Subscriptions that may wait for a connection. When they are that many, the next ones fail at once.
const WAITING: usize = 4096;
/// How often sinks that were full are told of what they missed.
const TICK: Duration = Duration::from_millis(100);

/// Who is told what became of a subscription.
type Done = oneshot::Sender<Result<(), PortError>>;

/// What is asked of the listener.
pub(super) enum Request {
    Subscribe { channel: String, sink: Sink, done: Done },
    Unsubscribe { channel: String },
}

/// What became of the requests that were served together: the channels to hear, each with who asked for it.
pub(super) struct Served {
    subscribed: Vec<(String, Done)>,
    result: Result<(), fred::error::Error>,
}

/// The task that owns the listening connection.
pub(super) struct Listener {
    /// What the Redis is called.
    pub(super) redis: String,
    pub(super) opener: Opener,
    pub(super) feed_buffer: usize,
    pub(super) incoming: mpsc::Receiver<Request>,
    pub(super) sinks: Sinks,
    /// Subscriptions that were asked for while there was no connection.
    pub(super) waiting: Vec<(String, Sink, Done)>,
    /// Channels that were subscribed for somebody who had given up by then.
    pub(super) abandoned: Vec<String>,
    pub(super) under_way: Option<BoxFuture<'static, Served>>,
    pub(super) heard: Arc<Mutex<Instant>>,
    pub(super) hears: watch::Sender<bool>,
    pub(super) replace: Arc<Notify>,
    pub(super) trouble: Trouble,
    pub(super) metrics: Arc<Metrics>,
}

impl Listener {
    /// Connects, listens until the connection is lost, and connects again; ends with the bus.
    pub(super) async fn run(mut self) {
        let (mut pauses, mut was_connected) = (Pauses::new(), false);
        loop {
            let Some(mut link) = self.connect(&mut pauses).await else { return };
            let why = match self.begin(&mut link).await {
                Err(error) => error.details().to_owned(),
                Ok(channels) => {
                    self.metrics.redis_is_connected(&self.redis, true);
                    self.hears.send_replace(true);
                    if was_connected {
                        self.metrics.bus_reconnects.increment(1);
                        tracing::info!(redis = self.redis, channels, "the bus hears Redis again");
                    }
                    was_connected = true;
                    let Some(why) = self.listen(&mut link).await else { return };
                    why
                }
            };
            self.metrics.redis_is_connected(&self.redis, false);
            self.hears.send_replace(false);
            tracing::warn!(redis = self.redis, error = why, "the bus lost Redis");
            *self.trouble.lock() = Some(why);
        }
    }

    /// Makes a connection, however long that takes. Nothing if nobody asks any more.
    async fn connect(&mut self, pauses: &mut Pauses) -> Option<Link> {
        let (opener, ring) = (self.opener.clone(), self.feed_buffer.min(RING));
        loop {
            let mut connecting = std::pin::pin!(async {
                pauses.wait().await;
                opener.open(ring).await
            });
            let opened = loop {
                tokio::select! {
                    opened = &mut connecting => break opened,
                    request = self.incoming.recv() => self.put_off(request?),
                }
            };
            match opened {
                Ok(link) => return Some(link),
                Err(error) => {
                    tracing::debug!(%error, "the bus cannot connect");
                    *self.trouble.lock() = Some(error.to_string());
                }
            }
        }
    }

    /// Keeps a request for when there is a connection.
    fn put_off(&mut self, request: Request) {
        match request {
            Request::Subscribe { channel, sink, done } => {
                if self.waiting.len() >= WAITING {
                    self.waiting.retain(|(_, _, done)| !done.is_closed());
                }
                if self.waiting.len() < WAITING {
                    self.waiting.push((channel, sink, done));
                } else {
                    done.send(Err(Port::Bus.not_now("subscribe", "Redis is away, and too many wait for it"))).ok();
                }
            }
            Request::Unsubscribe { channel } => {
                self.sinks.remove(&channel);
                self.waiting.retain(|(waiting, ..)| *waiting != channel);
            }
        }
    }

    /// Hears all channels on a new connection. Nothing is subscribed on it before this, so the gap is told before the
    /// first message that came after it.
    async fn begin(&mut self, link: &mut Link) -> Result<usize, fred::error::Error> {
        self.abandoned.clear();
        self.waiting.retain(|(_, _, done)| !done.is_closed());
        let mut channels: Vec<String> = self.sinks.by_channel.keys().cloned().collect();
        channels.extend(self.waiting.iter().map(|(channel, ..)| channel.clone()));
        let (client, is_sharded) = (link.client.clone(), self.opener.primary.is_sharded());
        let mut early = Vec::new();
        for batch in channels.chunks(BATCH) {
            let mut hearing = std::pin::pin!(hear(&client, is_sharded, batch.to_vec()));
            loop {
                tokio::select! {
                    biased;
                    why = link.guard.ended() => return Err(lost(why)),
                    heard = &mut hearing => break heard?,
                    message = link.messages.recv() => match message {
                        Ok(message) if early.len() < self.feed_buffer => early.push(message),
                        // The gap stands before what comes from now on.
                        Ok(_) => self.drop_early(&mut early, 1),
                        Err(RecvError::Lagged(count)) => self.drop_early(&mut early, count),
                        Err(RecvError::Closed) => break hearing.await?,
                    },
                }
            }
        }
        self.sinks.tell_of_gap();
        for (channel, sink, done) in std::mem::take(&mut self.waiting) {
            self.sinks.insert(&channel, sink);
            self.answer(channel, done, Ok(()));
        }
        early.into_iter().for_each(|message| self.deliver(message));
        Ok(channels.len())
    }

    fn drop_early(&self, early: &mut Vec<Message>, count: u64) {
        self.metrics.bus_dropped.increment(count + early.len() as u64);
        early.clear();
    }

    /// One loop for everything, until the connection is lost; returns why, or nothing if nobody asks any more. Messages
    /// are delivered while a subscription is under way, but one is under way at a time, so that each channel's requests
    /// take effect in their order.
    async fn listen(&mut self, link: &mut Link) -> Option<String> {
        let Link { client, messages, guard, .. } = link;
        let over = CancellationToken::new();
        let mut tick = tokio::time::interval(TICK);
        let replace = self.replace.clone();
        let why = loop {
            tokio::select! {
                // Losses first: what is asked for from now on is for the next connection.
                biased;
                why = guard.ended() => break why,
                () = replace.notified() => break "it brought nothing".into(),
                Some(served) = OptionFuture::from(self.under_way.as_mut()) => {
                    let failed = served.result.as_ref().err().map(|error| error.details().to_owned());
                    self.settle(served);
                    // Which subscriptions there are is not known any more.
                    if let Some(why) = failed {
                        break why;
                    }
                }
                request = self.incoming.recv(), if self.under_way.is_none() => {
                    self.serve(client, Some(request?), &over);
                }
                message = messages.recv() => match message {
                    Ok(message) => {
                        self.deliver(message);
                        self.take(messages);
                    }
                    Err(RecvError::Lagged(count)) => self.lagged(count),
                    Err(RecvError::Closed) => break "the connection was lost".into(),
                },
                _ = tick.tick() => {
                    self.sinks.tell_of_misses();
                    if self.under_way.is_none() && !self.abandoned.is_empty() {
                        self.serve(client, None, &over);
                    }
                }
            }
        };
        // What came before the loss was not lost.
        while self.take(messages) {}
        // What was under way failed with the connection. fred would keep it, for a next one of its own that never comes.
        over.cancel();
        if let Some(under_way) = self.under_way.take() {
            let mut served = under_way.await;
            if served.result.is_ok() {
                served.result = Err(lost("the connection was lost"));
            }
            self.settle(served);
        }
        Some(why)
    }

    /// Takes what has come by now, as many as fred may hold, and returns whether there may be more. Without waiting, as each
    /// wait may be one for others: tokio lets a task receive a hundred before they run, and fred brings a thousand in its
    /// turn.
    fn take(&mut self, messages: &mut Receiver<Message>) -> bool {
        for _ in 0..RING {
            match messages.try_recv() {
                Ok(message) => self.deliver(message),
                Err(TryRecvError::Lagged(count)) => self.lagged(count),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return false,
            }
        }
        true
    }

    fn lagged(&mut self, count: u64) {
        self.metrics.bus_dropped.increment(count);
        self.sinks.tell_of_gap();
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

    /// Begins to serve a request together with all others that wait, so that a crowd joining at once costs few round
    /// trips.
    fn serve(&mut self, client: &Client, first: Option<Request>, over: &CancellationToken) {
        let mut subscribe = Vec::new();
        let mut unsubscribe = std::mem::take(&mut self.abandoned);
        let mut next = first;
        while let Some(request) = next {
            match request {
                // Whoever waited too long has been told that it failed.
                Request::Subscribe { done, .. } if done.is_closed() => {}
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
        if subscribe.is_empty() && unsubscribe.is_empty() {
            return;
        }
        let (client, is_sharded) = (client.clone(), self.opener.primary.is_sharded());
        let over = over.clone();
        self.under_way = Some(Box::pin(async move {
            let channels: Vec<String> = subscribe.iter().map(|(channel, _)| channel.clone()).collect();
            let serving = over.run_until_cancelled(serve(&client, is_sharded, unsubscribe, channels)).await;
            Served { subscribed: subscribe, result: serving.unwrap_or_else(|| Err(lost("the connection was lost"))) }
        }));
    }

    fn settle(&mut self, served: Served) {
        self.under_way = None;
        for (channel, done) in served.subscribed {
            let answer = match &served.result {
                Ok(()) => Ok(()),
                Err(error) => {
                    self.sinks.remove(&channel);
                    Err(Port::Bus.error("subscribe", kind_of_words(error.details()), error.details().to_owned()))
                }
            };
            self.answer(channel, done, answer);
        }
    }

    /// Tells somebody what became of a subscription. Whoever has given up hears nothing, and the channel goes.
    fn answer(&mut self, channel: String, done: Done, answer: Result<(), PortError>) {
        if let Err(Ok(())) = done.send(answer) {
            self.sinks.remove(&channel);
            self.abandoned.push(channel);
        }
    }
}

/// Leaves channels and hears others.
async fn serve(
    client: &Client,
    is_sharded: bool,
    unsubscribe: Vec<String>,
    subscribe: Vec<String>,
) -> Result<(), fred::error::Error> {
    if !unsubscribe.is_empty() {
        // If it fails the connection is gone, and with it the subscription.
        let left =
            if is_sharded { client.sunsubscribe(unsubscribe).await } else { client.unsubscribe(unsubscribe).await };
        left.ok();
    }
    if subscribe.is_empty() { Ok(()) } else { hear(client, is_sharded, subscribe).await }
}

fn lost(why: impl Into<String>) -> fred::error::Error {
    fred::error::Error::new(fred::error::ErrorKind::Canceled, why.into())
}

/// Subscribes, and returns when Redis has done it: fred answers a SUBSCRIBE before it is even written, but a PING behind
/// it on the same connection is answered after it.
async fn hear(client: &Client, is_sharded: bool, channels: Vec<String>) -> Result<(), fred::error::Error> {
    if is_sharded {
        client.ssubscribe(channels).await?;
    } else {
        client.subscribe(channels).await?;
    }
    client.ping::<()>(None).await
}

//! Emitters: back ends that speak through Redis to the clients of Socket.IO servers, with the libraries that they have. They
//! go on unchanged: each node hears their channels, and one of them reads their stream.
//!
//! What is said on channels and not kept, each node says to its own members. What is kept, one node says for all, in its
//! turn; see `turn`. What is done to sessions, each node does to its own.

mod acts;
mod dialects;
mod stream;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use self::acts::Acts;
use self::dialects::{Channels, Rules, Unheard, Wish};
use self::stream::Stream;
use self::turn::Turns;
use crate::bus::{Bus, BusMessage, Listened, Overheard, Overhearing};
use crate::config::{self, Config};
use crate::content::Bounds;
use crate::domain::Refusal;
use crate::formats::Formats;
use crate::metrics::Metrics;
use crate::node::Node;
use crate::port::PortError;
use crate::recurring::Recurring;
use crate::redis::{CommandError, Commands};
use crate::supervisor::Supervisor;

/// Wishes that other nodes pass on and that wait to be done. Beyond it they are lost.
const PASSED_ON: usize = 1024;
/// How long a node that stops goes on to take what is its to take, until another one's turn begins.
const HAND_OVER: Duration = Duration::from_secs(1);
/// What is shown of a channel's name: anybody may have made it up.
const SHOWN: usize = 80;

/// What this node hears of emitters, and does for them.
pub struct Emitters {
    settings: config::Emitters,
    channels: Channels,
    rules: Rules,
    acts: Acts,
    turns: Option<Turns>,
    stream: Option<Stream>,
    bus: Arc<dyn Bus>,
    /// The channel on which nodes pass on what all have to do.
    passing: String,
    refused: Recurring,
    pickles: Recurring,
    failed: Recurring,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Emitters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Emitters").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Why emitters cannot be heard.
#[derive(Debug, thiserror::Error)]
pub enum EmittersError {
    /// Other nodes cannot be heard.
    #[error(transparent)]
    Bus(#[from] PortError),
    /// The group of the stream cannot be made.
    #[error("emitters.stream: {0}")]
    Stream(#[from] CommandError),
}

/// What other nodes pass on.
#[derive(Debug)]
pub struct Passed(mpsc::Receiver<BusMessage>);

impl Emitters {
    /// Makes ready to hear emitters; `name` is what this node is called.
    ///
    /// # Errors
    /// Redis cannot be reached.
    pub async fn start(
        config: &Config,
        name: &str,
        node: Arc<Node>,
        bus: Arc<dyn Bus>,
        commands: Commands,
        formats: Formats,
        metrics: Arc<Metrics>,
    ) -> Result<(Arc<Self>, Passed), EmittersError> {
        let (settings, prefix) = (config.emitters.clone(), &config.redis.prefix);
        let rules = Rules { bounds: Bounds::new(&config.limits), attachments: config.limits.attachments };
        let stream = settings
            .streams
            .then(|| Stream::new(commands.clone(), &settings.stream, prefix, name, rules.message_bytes()));
        if let Some(stream) = &stream {
            stream.begin().await?;
        }
        let passing = format!("{prefix}:emitters:passed");
        let (sink, passed) = mpsc::channel(PASSED_ON);
        if stream.is_some() {
            bus.subscribe(&passing, sink).await?;
        }
        // Who takes channels must hear them; the stream alone can be taken by anybody.
        let by_ear = settings.durable;
        let turns = settings.by_turns().then(|| Turns::new(commands, prefix, settings.lease, by_ear, metrics.clone()));
        let emitters = Self {
            channels: Channels::new(&settings.prefix),
            rules,
            acts: Acts::new(node, formats),
            turns,
            stream,
            bus,
            passing,
            refused: Recurring::new("messages of emitters are refused"),
            pickles: Recurring::new("pickles of python-socketio are refused"),
            failed: Recurring::new("what an emitter said could not be done"),
            settings,
            metrics,
        };
        Ok((Arc::new(emitters), Passed(passed)))
    }

    /// What has to be listened to in Redis; nothing if that is the stream alone.
    #[must_use]
    pub fn listened(&self) -> Option<Listened> {
        let settings = &self.settings;
        let python = settings.python.then(|| settings.python_channel.clone());
        let turns = self.turns_by_ear().map(|turns| turns.channel().to_owned());
        let listened = Listened {
            channels: python.into_iter().chain(turns).collect(),
            patterns: if settings.redis { self.channels.patterns().to_vec() } else { Vec::new() },
            message_bytes: self.rules.message_bytes(),
        };
        settings.channels().then_some(listened)
    }

    /// Begins to work. `overhearing` is where what is listened to is heard.
    pub fn run(self: &Arc<Self>, passed: Passed, overhearing: Option<Overhearing>, supervisor: &Supervisor) {
        let stop = supervisor.stop().clone();
        if let Some(overhearing) = overhearing {
            supervisor.run_on("channels of emitters", self.clone().hear(overhearing, stop.clone()));
        }
        if self.turns.is_some() {
            supervisor.run_on("turns of emitters", self.clone().keep_turns(stop));
        }
        if self.stream.is_some() {
            supervisor.run("stream of emitters", self.clone().take_stream());
            supervisor.run("what other nodes pass on of emitters", self.clone().do_what_is_passed_on(passed));
        }
    }

    async fn keep_turns(self: Arc<Self>, stop: CancellationToken) {
        let Some(turns) = &self.turns else { return };
        tokio::select! {
            () = turns.keep() => {}
            () = stop.cancelled() => turns.give_back().await,
        }
    }

    /// Hears the channels, for as long as the node does, and a little longer: until another node's turn begins.
    async fn hear(self: Arc<Self>, mut overhearing: Overhearing, stop: CancellationToken) {
        loop {
            tokio::select! {
                overheard = overhearing.next() => match overheard {
                    Some(overheard) => self.overhear(overheard).await,
                    None => return,
                },
                () = stop.cancelled() => break,
            }
        }
        let deadline = Instant::now() + HAND_OVER;
        while self.turns_by_ear().is_some_and(Turns::is_ours)
            && let Ok(Some(overheard)) = timeout_at(deadline, overhearing.next()).await
        {
            self.overhear(overheard).await;
        }
    }

    async fn overhear(&self, overheard: Overheard) {
        let turns = self.turns_by_ear();
        match overheard {
            Overheard::Begun => turns.into_iter().for_each(Turns::began_to_hear),
            Overheard::Ended => turns.into_iter().for_each(Turns::stopped_hearing),
            Overheard::TooLarge { channel, bytes } => {
                tracing::debug!(bytes, "a message of an emitter is too large");
                self.refuse(self.dialect(&channel), Unheard::TooLarge, &channel);
            }
            Overheard::Message { channel, payload, held } => {
                if let Some(turns) = turns.filter(|turns| turns.channel() == channel) {
                    turns.heard(&payload);
                } else {
                    self.heed(&channel, &payload).await;
                }
                drop(held);
            }
        }
    }

    /// The turns in which channels are taken, if what comes there is kept.
    fn turns_by_ear(&self) -> Option<&Turns> {
        self.turns.as_ref().filter(|_| self.settings.durable)
    }

    fn dialect(&self, channel: &str) -> &'static str {
        if self.settings.redis && self.channels.has(channel) { "redis" } else { "python" }
    }

    async fn heed(&self, channel: &str, payload: &[u8]) {
        let dialect = self.dialect(channel);
        let wish = match dialect {
            "redis" => dialects::message(&self.channels, channel, payload, &self.rules),
            _ => dialects::manager(payload, &self.rules),
        };
        let wish = match wish {
            Ok(wish) => wish,
            Err(why) => return self.refuse(dialect, why, channel),
        };
        self.metrics.emitters_heard.with(dialect, wish.what.label()).increment(1);
        match self.turns_by_ear() {
            None => self.acts.to_rooms_here(&wish).await,
            Some(turns) if turns.is_ours() && wish.has_rooms() => {
                if let Err(refusal) = self.acts.for_all(&wish, None).await {
                    self.fail(dialect, &refusal, channel);
                }
            }
            Some(_) => {}
        }
        self.do_for_own_sessions(dialect, &wish).await;
    }

    async fn do_for_own_sessions(&self, dialect: &'static str, wish: &Wish) {
        if !self.acts.for_own_sessions(wish).await {
            self.metrics.emitters_refused.with(dialect, "failed").increment(1);
        }
    }

    /// Passes on an entry that every node has something to do for, as it is.
    async fn tell_all_nodes(&self, fields: &[(Bytes, Bytes)]) -> Result<(), Refusal> {
        let bytes = rmp_serde::to_vec(fields).map_err(|_| Refusal::Unavailable)?;
        self.bus.publish(&self.passing, bytes.into()).await.map_err(|error| {
            error.tell("what an emitter wishes could not be passed on to other nodes");
            Refusal::Unavailable
        })
    }

    async fn do_what_is_passed_on(self: Arc<Self>, mut passed: Passed) {
        while let Some(message) = passed.0.recv().await {
            // What a gap swallowed is lost, as every request of a library may be.
            let BusMessage::Message { payload, .. } = message else { continue };
            let Ok(fields) = rmp_serde::from_slice::<Vec<(Bytes, Bytes)>>(&payload) else { continue };
            if let Ok(Some(wish)) = dialects::entry(&fields, &self.rules) {
                self.do_for_own_sessions(stream::DIALECT, &wish).await;
            }
        }
        std::future::pending().await
    }

    /// Counts what is not heeded, and tells of it, once for a while.
    fn refuse(&self, dialect: &'static str, why: Unheard, place: &str) {
        self.metrics.emitters_refused.with(dialect, why.label()).increment(1);
        let place: String = place.chars().take(SHOWN).collect();
        tracing::debug!(dialect, ?place, %why, "a message of an emitter is refused");
        let series = if why == Unheard::Pickle { &self.pickles } else { &self.refused };
        series.note(|what| tracing::warn!(dialect, ?place, %why, "{what}"));
    }

    /// The same for what was heeded, and could not be done.
    fn fail(&self, dialect: &'static str, refusal: &Refusal, place: &str) {
        self.metrics.emitters_refused.with(dialect, "failed").increment(1);
        let place: String = place.chars().take(SHOWN).collect();
        self.failed.note(|what| tracing::error!(dialect, ?place, %refusal, "{what}"));
    }
}

//! Turns: one node at a time takes what emitters say into the log, for the whole cluster.
//!
//! The right to it is a lease in Redis. When a turn begins, that is told on a channel among those of the emitters, and Redis
//! has one order for all of them: so every node sees the same messages before it and the same behind it. The node whose
//! turn it was takes what stands before, and the next one what stands behind, however late either comes to it: nothing is
//! taken twice, and nothing left out. Only what is said between the death of a node and the next turn is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_redis::redis::Script;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::metrics::Metrics;
use crate::recurring::Recurring;
use crate::redis::{Commands, milliseconds};

/// How often it is asked for in the time of a lease.
const PER_LEASE: u32 = 3;
/// What is told when somebody gives the right back.
const FREE: &str = "free";

/// This node's turns.
pub(super) struct Turns {
    commands: Commands,
    script: Script,
    /// Who this node is among those that ask.
    me: String,
    keys: [String; 2],
    /// Where the beginning of turns is told.
    channel: String,
    lease: Duration,
    /// Whether this node hears what it would take. Who does not leaves it to others.
    hears: AtomicBool,
    /// Whether the next turn must be a new one: something may have been missed since the last began.
    anew: AtomicBool,
    /// Asks at once.
    ask: Notify,
    /// Until when Redis gives the right to nobody else, if this node has it.
    until: watch::Sender<Option<Instant>>,
    /// The number of the newest turn whose beginning was heard, and whether it is this node's.
    heard: Mutex<(u64, bool)>,
    trouble: Recurring,
    metrics: Arc<Metrics>,
}

impl Turns {
    /// Those of a node of the deployment whose keys begin with `prefix`. If they are `by_ear`, none begins before
    /// [`Self::began_to_hear`].
    pub(super) fn new(commands: Commands, prefix: &str, lease: Duration, by_ear: bool, metrics: Arc<Metrics>) -> Self {
        let name = |what: &str| format!("{prefix}:emitters:{what}");
        Self {
            script: commands.script(include_str!("turn.lua")),
            commands,
            me: format!("{:032x}", rand::random::<u128>()),
            keys: [name("turn"), name("turns")],
            channel: name("begun"),
            lease,
            hears: AtomicBool::new(!by_ear),
            anew: AtomicBool::new(true),
            ask: Notify::new(),
            until: watch::Sender::new(None),
            heard: Mutex::default(),
            trouble: Recurring::new("whose turn it is to take what emitters say could not be settled"),
            metrics,
        }
    }

    /// The channel on which the beginning of turns is told.
    pub(super) fn channel(&self) -> &str {
        &self.channel
    }

    /// The key that says whose turn it is, and what it holds while it is this node's.
    pub(super) fn fence(&self) -> (&str, &str) {
        (&self.keys[0], &self.me)
    }

    /// Asks for turns and keeps them, for ever.
    pub(super) async fn keep(&self) {
        let mut tick = interval(self.lease / PER_LEASE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.ask.notified() => {}
            }
            self.try_turn().await;
        }
    }

    async fn try_turn(&self) {
        if !self.hears.load(Ordering::Acquire) {
            if self.until.send_replace(None).is_some() {
                self.give_back().await;
            }
            return;
        }
        // The lease counts from when Redis gave it, which was not before this.
        let asked = Instant::now();
        let anew = self.anew.swap(false, Ordering::AcqRel);
        let answer = self.commands.run(&self.script, |script| {
            script.key(&self.keys).arg(&self.me).arg(milliseconds(self.lease)).arg(&self.channel).arg(u8::from(anew));
        });
        let answer: Result<Option<String>, _> = answer.await;
        let turn = match answer {
            Ok(turn) => turn,
            Err(error) => {
                self.trouble.note(|what| tracing::warn!(%error, "{what}"));
                None
            }
        };
        if turn.is_none() && anew {
            self.anew.store(true, Ordering::Release);
        }
        self.until.send_replace(turn.map(|_| asked + self.lease));
    }

    /// Notes that what is heard began anew: whose turn it is has to be heard again.
    pub(super) fn began_to_hear(&self) {
        self.anew.store(true, Ordering::Release);
        self.hears.store(true, Ordering::Release);
        self.end("something may have been missed");
        self.ask.notify_one();
    }

    /// Notes that nothing is heard, until it begins again: another node is to take it.
    pub(super) fn stopped_hearing(&self) {
        self.hears.store(false, Ordering::Release);
        self.end("it does not hear emitters");
        self.ask.notify_one();
    }

    /// Notes the beginning of a turn, in its place among what emitters say.
    pub(super) fn heard(&self, payload: &[u8]) {
        if payload == FREE.as_bytes() {
            return self.ask.notify_one();
        }
        let begun = std::str::from_utf8(payload).ok().and_then(|text| text.split_once(':'));
        let Some((number, whose)) = begun.and_then(|(number, whose)| Some((number.parse::<u64>().ok()?, whose))) else {
            return;
        };
        let is_ours = whose == self.me;
        {
            let mut heard = self.heard.lock();
            // What an older turn says late.
            if number <= heard.0 {
                return;
            }
            if !is_ours {
                drop(heard);
                self.end("it is another node's turn");
                heard = self.heard.lock();
            }
            *heard = (number, is_ours);
        }
        if is_ours {
            tracing::info!(turn = number, "this node takes what emitters say into the log, for the cluster");
            self.metrics.emitters_taking.with("channels").set(1.0);
        }
    }

    fn end(&self, why: &str) {
        let was_ours = std::mem::take(&mut self.heard.lock().1);
        if was_ours {
            tracing::info!(why, "this node no longer takes what emitters say");
            self.metrics.emitters_taking.with("channels").set(0.0);
        }
    }

    /// Whether what is heard now is this node's to take.
    pub(super) fn is_ours(&self) -> bool {
        self.heard.lock().1
    }

    /// Waits until Redis has given this node the right, and nobody else has it yet.
    pub(super) async fn granted(&self) {
        let mut until = self.until.subscribe();
        // The sender is this one's own.
        until.wait_for(|until| until.is_some_and(|until| until > Instant::now())).await.ok();
    }

    /// Whether Redis has given the right to this node, and to nobody else yet.
    pub(super) fn is_granted(&self) -> bool {
        self.until.borrow().is_some_and(|until| until > Instant::now())
    }

    /// Gives the right back, so that nobody has to wait for the end of the lease.
    pub(super) async fn give_back(&self) {
        let script = self.commands.script(include_str!("give_back.lua"));
        let given = self.commands.run::<u8>(&script, |script| {
            script.key(&self.keys[0]).arg(&self.me).arg(&self.channel).arg(FREE);
        });
        let given = given.await;
        if let Err(error) = given {
            tracing::debug!(%error, "the turn ends with its lease");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn turns() -> Turns {
        let settings = config::load(None, std::iter::empty()).unwrap().redis;
        let commands = Commands::new("redis://127.0.0.1:1", &settings).unwrap();
        Turns::new(commands, "p", Duration::from_secs(1), true, Arc::default())
    }

    #[tokio::test]
    async fn the_newest_turn_counts_whoever_hears_of_it_late() {
        let turns = turns();
        let begins = |number: u64, whose: &str| turns.heard(format!("{number}:{whose}").as_bytes());
        assert!(!turns.is_ours());
        begins(5, "other");
        assert!(!turns.is_ours());
        begins(6, &turns.me);
        assert!(turns.is_ours());
        begins(5, "other");
        begins(6, "other");
        assert!(turns.is_ours(), "that is over");
        for nonsense in [&b""[..], b":", b"7", b"x:y", b"-7:other", b"\xff:other", b"99999999999999999999:other"] {
            turns.heard(nonsense);
        }
        assert!(turns.is_ours());
        begins(7, "other");
        assert!(!turns.is_ours());
        begins(6, &turns.me);
        assert!(!turns.is_ours(), "what is said late of an older turn");
    }

    #[tokio::test]
    async fn who_may_have_missed_something_takes_nothing_before_its_next_turn() {
        let turns = turns();
        turns.heard(format!("1:{}", turns.me).as_bytes());
        turns.began_to_hear();
        assert!(!turns.is_ours() && turns.hears.load(Ordering::Acquire));
        turns.heard(format!("2:{}", turns.me).as_bytes());
        assert!(turns.is_ours());
        turns.stopped_hearing();
        assert!(!turns.is_ours() && !turns.is_granted());
        // Whoever does not hear does not even ask: Redis could not be reached here.
        turns.try_turn().await;
        assert!(turns.anew.load(Ordering::Acquire));
    }
}

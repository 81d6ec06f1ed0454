//! Presence in Redis: `places.lua` says which keys there are, one script per operation changes them.

mod directory;
mod upkeep;
mod wire;

use std::time::Duration;

use async_trait::async_trait;
use deadpool_redis::redis::{FromRedisValue, Script, ScriptInvocation};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Arrival, Attendee, Beat, Beating, Departed, Entry, Member, Numbered, Page, Place, Presence};
use crate::config;
use crate::domain::{RoomName, UserId};
use crate::formats::{Format, Formats};
use crate::outbox::Wants;
use crate::port::{Classified, ErrorKind, Port, PortError};
use crate::redis::{CommandError, Commands, milliseconds};
use wire::{Told, at_least_a_millisecond, departure, entry, holder, identify};

/// Places, or entries of a node, in one script: it holds up everybody else while it runs.
const BATCH: usize = 200;
/// How often an operation may find that its node was forgotten, and begin anew, before it gives up.
const TRIES: usize = 3;

/// The presence of one node of a deployment that shares a Redis.
pub struct RedisPresence {
    commands: Commands,
    /// What all keys start with.
    base: String,
    name: String,
    lease: Duration,
    page: usize,
    identity: Mutex<Identity>,
    /// What the next beat tells.
    found: Mutex<Beat>,
    /// How many connections had been lost by the last beat.
    losses: Mutex<u64>,
    formats: Formats,
    wants: Option<Wants>,
    /// The newest format in which this node has left entries.
    left: Mutex<Format>,
    enter: Script,
    enter_first: Script,
    leave: Script,
    count: Script,
    list: Script,
    beat: Script,
    settle: Script,
    held: Script,
    lay_out: Script,
    rooms: Script,
}

/// Who this node is in Redis. What is forgotten comes back under another number, so that the entries it no longer cares
/// for end with the old one.
#[derive(Clone)]
struct Identity {
    /// 16 digits and the node's name.
    node: String,
    /// Until when the lease runs in Redis's time, in milliseconds; nothing before the first beat.
    until: Option<u64>,
}

impl Identity {
    fn new(name: &str) -> Self {
        Self { node: format!("{:016x}{name}", rand::random::<u64>()), until: None }
    }
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error("Redis forgets the node as soon as it has beaten: does it evict keys?")]
    Forgetful,
    #[error("a script gave an answer that makes no sense")]
    Nonsense,
}

impl Classified for Failure {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Command(error) => error.kind(),
            // Its keys may have been lost, and not be evicted.
            Self::Forgetful => ErrorKind::Transient,
            Self::Nonsense => ErrorKind::Permanent,
        }
    }
}

impl std::fmt::Debug for RedisPresence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisPresence").field("base", &self.base).field("name", &self.name).finish_non_exhaustive()
    }
}

/// A script in which somebody comes or leaves: its last argument is [`RedisPresence::wanted`].
macro_rules! telling {
    ($file:literal) => {
        Script::new(concat!(
            include_str!("../../outbox/put.lua"),
            include_str!("../../outbox/tell.lua"),
            include_str!("../places.lua"),
            include_str!(concat!("../", $file))
        ))
    };
}

macro_rules! script {
    ($file:literal) => {
        Script::new(concat!(include_str!("../places.lua"), include_str!(concat!("../", $file))))
    };
}

impl RedisPresence {
    /// The presence of a node. Keys start with `prefix`; the name is for people. `formats` tells which nodes may read what
    /// this one writes.
    #[must_use]
    pub fn new(commands: Commands, prefix: &str, name: &str, settings: &config::Presence, formats: Formats) -> Self {
        Self {
            losses: Mutex::new(commands.losses()),
            left: Mutex::new(formats.written()),
            formats,
            wants: None,
            commands,
            base: format!("{prefix}:presence:"),
            name: name.to_owned(),
            lease: settings.lease,
            page: settings.page,
            identity: Mutex::new(Identity::new(name)),
            found: Mutex::default(),
            enter: telling!("enter.lua"),
            enter_first: telling!("enter_first.lua"),
            leave: telling!("leave.lua"),
            count: script!("count.lua"),
            list: script!("list.lua"),
            beat: script!("beat.lua"),
            settle: telling!("settle.lua"),
            held: script!("held.lua"),
            lay_out: script!("lay_out.lua"),
            rooms: script!("rooms.lua"),
        }
    }

    /// The same, and outboxes in the same Redis are told who comes and leaves.
    #[must_use]
    pub fn with_outbox(self, wants: Wants) -> Self {
        Self { wants: Some(wants), ..self }
    }

    fn wanted(&self) -> String {
        self.wants.as_ref().map(Wants::spec).unwrap_or_default()
    }

    async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        prepare: impl FnOnce(&mut ScriptInvocation<'_>),
    ) -> Result<T, CommandError> {
        let begin = |invocation: &mut ScriptInvocation<'_>| {
            invocation.arg(&self.base);
            prepare(invocation);
        };
        self.commands.run(script, begin).await
    }

    /// Renews the lease, as another instance if Redis does not know this one any more.
    async fn renew(&self) -> Result<(), Failure> {
        for _ in 0..TRIES {
            let me = self.identity.lock().clone();
            let answer = self.run(&self.beat, |script| {
                script.arg(&me.node).arg(milliseconds(self.lease).max(1));
                script.arg(me.until.map(|until| until.to_string()).unwrap_or_default());
            });
            let answer: Option<(u64, u64, Vec<String>)> = answer.await?;
            let Some((until, entries, lost)) = answer else {
                self.forget(&me.node);
                continue;
            };
            let mut identity = self.identity.lock();
            if identity.node == me.node {
                identity.until = identity.until.max(Some(until));
            }
            let mut found = self.found.lock();
            found.entries = entries;
            found.lost.extend(lost);
            return Ok(());
        }
        Err(Failure::Forgetful)
    }

    fn forget(&self, node: &str) {
        let mut identity = self.identity.lock();
        if identity.node == node {
            *identity = Identity::new(&self.name);
            self.found.lock().forgotten = true;
        }
    }

    /// Runs a script that needs a node which Redis knows.
    async fn enlisted<T>(
        &self,
        script: &Script,
        mut prepare: impl FnMut(&mut ScriptInvocation<'_>),
    ) -> Result<T, Failure>
    where
        Option<T>: FromRedisValue,
    {
        for _ in 0..TRIES {
            let me = self.identity.lock().clone();
            if me.until.is_none() {
                self.renew().await?;
                continue;
            }
            let answer = self.run(script, |invocation| {
                invocation.arg(&me.node);
                prepare(invocation);
                invocation.arg(self.wanted());
            });
            match answer.await? {
                Some(answer) => return Ok(answer),
                None => self.forget(&me.node),
            }
        }
        Err(Failure::Forgetful)
    }

    /// Takes out a batch of those whose time is over, if there may be more departures; returns whether that was all.
    async fn settle(&self, most: usize) -> Result<bool, Failure> {
        let batch = most.saturating_sub(self.found.lock().departed.len()).min(BATCH);
        if batch == 0 {
            return Ok(true);
        }
        let (done, told): (u8, Vec<Told>) =
            self.run(&self.settle, |script| _ = script.arg(batch).arg(self.wanted())).await?;
        let departed = told.into_iter().map(departure).collect::<Result<Vec<_>, _>>()?;
        self.found.lock().departed.extend(departed);
        Ok(done == 1)
    }
}

#[async_trait]
impl Presence for RedisPresence {
    async fn enter(&self, who: &Attendee, places: &[Place], arrival: Arrival) -> Result<Vec<Entry>, PortError> {
        let mut entered = Vec::with_capacity(places.len());
        for batch in places.chunks(BATCH) {
            let answer = self.enlisted(&self.enter, |script| {
                identify(script, who, &self.moment(who)).arg(u8::from(arrival == Arrival::Restored));
                for place in batch {
                    let capacity = place.capacity.map_or(-1, |capacity| i64::try_from(capacity).unwrap_or(i64::MAX));
                    script.arg(place.room.as_str()).arg(capacity);
                }
            });
            let answers: Vec<(u8, u64)> = answer.await.map_err(|error| Port::Presence.failed("enter", error))?;
            for answer in answers {
                entered.push(entry(answer).map_err(|error| Port::Presence.failed("enter", error))?);
            }
        }
        Ok(entered)
    }

    async fn enter_first(
        &self,
        who: &Attendee,
        places: &Numbered,
        capacity: usize,
        arrival: Arrival,
    ) -> Result<(u32, Entry), PortError> {
        let answer = self.enlisted(&self.enter_first, |script| {
            identify(script, who, &self.moment(who)).arg(&places.before).arg(&places.after).arg(capacity.max(1));
            script.arg(u8::from(arrival == Arrival::Restored));
        });
        let seated = answer.await.and_then(|(number, code, sequence)| Ok((number, entry((code, sequence))?)));
        seated.map_err(|error| Port::Presence.failed("enter_first", error))
    }

    async fn leave(&self, who: &Attendee, places: &[RoomName], linger: Duration) -> Result<Vec<Departed>, PortError> {
        let mut departed = Vec::new();
        for batch in places.chunks(BATCH) {
            let answer = self.run(&self.leave, |script| {
                script.arg(who.session.to_string()).arg(holder(who)).arg(self.moment(who));
                script.arg(at_least_a_millisecond(linger));
                for place in batch {
                    script.arg(place.as_str());
                }
                script.arg(self.wanted());
            });
            let answer: Result<Vec<Told>, _> = answer.await.map_err(Failure::from);
            match answer.and_then(|told| told.into_iter().map(departure).collect::<Result<Vec<_>, _>>()) {
                Ok(batch) => departed.extend(batch),
                Err(error) => {
                    // Those of the batches before have left.
                    self.found.lock().departed.append(&mut departed);
                    return Err(Port::Presence.failed("leave", error));
                }
            }
        }
        Ok(departed)
    }

    async fn count(&self, places: &[RoomName]) -> Result<Vec<u64>, PortError> {
        let mut counts = Vec::with_capacity(places.len());
        for batch in places.chunks(BATCH) {
            let answer = self.run(&self.count, |script| {
                for place in batch {
                    script.arg(place.as_str());
                }
            });
            let batch: Vec<u64> = answer.await.map_err(|error| Port::Presence.failed("count", error))?;
            counts.extend(batch);
        }
        Ok(counts)
    }

    async fn list(&self, place: &RoomName, after: Option<&str>, limit: usize) -> Result<Page, PortError> {
        let limit = limit.clamp(1, self.page);
        let answer = self.run(&self.list, |script| {
            let from = after.map_or_else(|| "-".to_owned(), |after| format!("({after}"));
            // One more than asked for tells whether there are more.
            script.arg(place.as_str()).arg(from).arg(limit + 1);
        });
        let (count, listed): (u64, Vec<(String, u64, String)>) =
            answer.await.map_err(|error| Port::Presence.failed("list", error))?;
        let has_more = listed.len() > limit;
        let members = listed.into_iter().take(limit).map(|(member, since_ms, user)| Member {
            member,
            user: UserId::parse(&user),
            since_ms,
        });
        let members: Vec<_> = members.collect();
        let next = members.last().filter(|_| has_more).map(|last| last.member.clone());
        Ok(Page { members, next, count })
    }

    async fn beat(&self, wish: Beating) -> Result<Beat, PortError> {
        if wish.anew {
            let node = self.identity.lock().node.clone();
            self.forget(&node);
        }
        let beat = async {
            self.renew().await?;
            // What does not fit in here is for the next beat, before which the lease is renewed.
            let end = Instant::now() + self.lease / 3;
            self.lay_out(end).await?;
            while !self.settle(wish.most).await? && Instant::now() < end {}
            if wish.review { self.review(Instant::now() + self.lease / 6).await } else { Ok(None) }
        };
        let held = beat.await.map_err(|error| Port::Presence.failed("beat", error))?;
        let losses = self.commands.losses();
        let in_doubt = std::mem::replace(&mut *self.losses.lock(), losses) != losses;
        let mut found = self.found.lock();
        // What an operation before had to leave here may be more than is wanted now.
        let taken = wish.most.min(found.departed.len());
        let rest = found.departed.split_off(taken);
        let beat = std::mem::replace(&mut *found, Beat { departed: rest, ..Beat::default() });
        Ok(Beat { held, in_doubt, ..beat })
    }
}

//! The outboxes in Redis: `put.lua` says which keys there are. What happens is written into them by the scripts of the log
//! and of presence, in the step in which it does; here it is read.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use deadpool_redis::redis::{Script, cmd};
use parking_lot::Mutex;

use super::{
    Batch, Claim, Decision, Fate, GivenUp, Happening, Link, Lost, Most, Outbox, Place, Standing, Waiting, Wants, What,
};
use crate::domain::{Epoch, Event, Offset, RoomName, SessionId, UserId};
use crate::port::{Port, PortError};
use crate::redis::{CommandError, Commands, milliseconds};
use crate::traces::Trace;

/// Outboxes that all nodes of a deployment share.
pub struct RedisOutbox {
    commands: Commands,
    wants: Wants,
    /// What the Redis is called, if it is not the main one.
    origin: Option<Arc<str>>,
    /// What was read last of each, by its name.
    last: Mutex<HashMap<String, LastRead>>,
    read: Script,
    settle: Script,
    let_go: Script,
    survey: Script,
    given_up: Script,
    decide: Script,
}

/// The oldest of an outbox, as it was read for a claim.
struct LastRead {
    claim: String,
    places: Vec<Place>,
    /// How many of them were taken out at once, as far as is known.
    settled: Option<usize>,
}

/// An entry as Redis has it: its id, and names and values of its fields.
type Entry = (String, Vec<Bytes>);

impl std::fmt::Debug for RedisOutbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisOutbox").field("base", &self.wants.base()).finish_non_exhaustive()
    }
}

impl RedisOutbox {
    /// The outboxes whose keys begin as `wants` says.
    #[must_use]
    pub fn new(commands: Commands, wants: Wants) -> Self {
        let page = "return redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])";
        Self {
            read: commands.script(include_str!("read.lua")),
            settle: commands.script(include_str!("settle.lua")),
            let_go: commands.script(include_str!("let_go.lua")),
            survey: commands.script(include_str!("survey.lua")),
            given_up: commands.script(page),
            decide: commands.script(concat!(include_str!("put.lua"), include_str!("decide.lua"))),
            commands,
            wants,
            origin: None,
            last: Mutex::default(),
        }
    }

    /// The same in a Redis that is not the only one of its deployment: what happens there is known again by its name, too.
    #[must_use]
    pub fn named(self, origin: &str) -> Self {
        Self { origin: Some(origin.into()), ..self }
    }

    /// What the fields of an entry say.
    fn happening(&self, fields: &[Bytes]) -> Option<Happening> {
        let happening = Fields::new(fields).happening()?;
        Some(Happening { origin: self.origin.clone(), ..happening })
    }

    fn given_up_key(&self, name: &str) -> String {
        format!("{}{name}:given-up", self.wants.base())
    }

    /// The oldest entries, so many of them.
    async fn oldest(&self, name: &str, count: usize) -> Result<Vec<Entry>, CommandError> {
        let [key, _] = self.wants.keys(name);
        self.commands.query(cmd("XRANGE").arg(key).arg("-").arg("+").arg("COUNT").arg(count)).await
    }

    /// If what is settled is the oldest of what was read last, and nothing else of that was settled before: the id before which
    /// it stands, and what it weighs. To take it out at once costs a tenth of what it costs one by one, and is the same.
    fn are_oldest(&self, name: &str, claim: &Claim, places: &[&Place], fate: Fate<'_>) -> Option<(String, u64)> {
        let end = places.last()?;
        let mut all = self.last.lock();
        let last = all.get_mut(name).filter(|last| last.claim == claim.key)?;
        let is_first = last.settled.is_none_or(|settled| settled == places.len());
        let are_oldest = last.places.iter().take(places.len()).eq(places.iter().copied());
        if !is_first || !are_oldest || fate != Fate::Delivered {
            all.remove(name);
            return None;
        }
        last.settled = Some(places.len());
        let (last_id, _) = end.0.split_once(' ')?;
        let (ms, number) = last_id.split_once('-')?;
        let weights = places.iter().map(|Place(text)| text.split_once(' ')?.1.parse::<u64>().ok());
        Some((format!("{ms}-{}", number.parse::<u64>().ok()? + 1), weights.sum::<Option<u64>>()?))
    }
}

#[async_trait]
impl Outbox for RedisOutbox {
    async fn read(&self, name: &str, claim: &Claim, most: Most) -> Result<Option<Batch>, PortError> {
        let answer = self.commands.run(&self.read, |script| {
            self.wants.keys(name).iter().for_each(|key| _ = script.key(key));
            script.arg(&claim.key).arg(milliseconds(claim.lease)).arg(most.entries).arg(most.bytes);
        });
        type Read = (usize, u64, String, Vec<Entry>, String, String, u8);
        let answer: Option<Read> = answer.await.map_err(|error| Port::Outbox.failed("read", error))?;
        let Some((waiting, dropped, now, mut entries, first, last, fits)) = answer else { return Ok(None) };
        let count = most.entries.min(waiting);
        if fits == 1 && count > 0 {
            // What comes meanwhile was not weighed: no more than there was.
            let oldest = self.oldest(name, count).await;
            entries = oldest.map_err(|error| Port::Outbox.failed("read", error))?;
        }
        let lost = first.parse().ok().zip(last.parse().ok()).map(|(first, last)| Lost::new(first, last));
        let now: u64 = now.parse().unwrap_or_default();
        let waits = |(id, fields): Entry| {
            let since = id.split('-').next().and_then(|ms| ms.parse().ok()).unwrap_or(now);
            let age = Duration::from_millis(now.saturating_sub(since));
            // Who settles it need not read it once more to know how much goes.
            let weight = Happening::OVERHEAD + fields.iter().map(Bytes::len).sum::<usize>();
            let place = Place(format!("{id} {weight}"));
            Waiting { place, age, happening: self.happening(&fields) }
        };
        let entries: Vec<_> = entries.into_iter().map(waits).collect();
        if most.entries > 0 {
            let places = entries.iter().map(|waiting| waiting.place.clone()).collect();
            let read = LastRead { claim: claim.key.clone(), places, settled: None };
            self.last.lock().insert(name.to_owned(), read);
        }
        Ok(Some(Batch { entries, waiting, dropped, lost }))
    }

    async fn settle(&self, name: &str, claim: &Claim, places: &[Place], fate: Fate<'_>) -> Result<bool, PortError> {
        let (lost, places): (Vec<_>, Vec<_>) = places.iter().partition(|place| Lost::at(place).is_some());
        let oldest = self.are_oldest(name, claim, &places, fate);
        let answer = self.commands.run(&self.settle, |script| {
            self.wants.keys(name).iter().for_each(|key| _ = script.key(key));
            script.key(self.given_up_key(name)).arg(&claim.key).arg(milliseconds(claim.lease));
            match fate {
                Fate::Delivered => script.arg("").arg(0),
                Fate::GivenUp { why, kept } => script.arg(why).arg(kept),
            };
            lost.iter().for_each(|Place(numbers)| _ = script.arg(numbers));
            match &oldest {
                Some((end, weight)) => _ = script.arg(format!("before:{end} {weight}")),
                None => places.iter().for_each(|Place(id)| _ = script.arg(id)),
            }
        });
        let settled: u8 = answer.await.map_err(|error| Port::Outbox.failed("settle", error))?;
        Ok(settled == 1)
    }

    async fn let_go(&self, name: &str, claim: &Claim) -> Result<(), PortError> {
        self.last.lock().remove(name);
        let [_, state] = self.wants.keys(name);
        let answer = self.commands.run(&self.let_go, |script| _ = script.key(state).arg(&claim.key));
        let _: u8 = answer.await.map_err(|error| Port::Outbox.failed("let_go", error))?;
        Ok(())
    }

    async fn survey(&self, wanted: &[String], keep: Duration) -> Result<Vec<Standing>, PortError> {
        let answer = self.commands.run(&self.survey, |script| {
            script.key(format!("{}names", self.wants.base())).arg(self.wants.base()).arg(milliseconds(keep));
            wanted.iter().for_each(|name| _ = script.arg(name));
        });
        type Told = (String, usize, usize, i64, usize, u64);
        let told: Vec<Told> = answer.await.map_err(|error| Port::Outbox.failed("survey", error))?;
        let standing = |(name, waiting, bytes, oldest, given_up, dropped): Told| {
            let oldest = u64::try_from(oldest).ok().map(Duration::from_millis);
            Standing { name, waiting, bytes, oldest, given_up, dropped }
        };
        let mut all: Vec<_> = told.into_iter().map(standing).collect();
        all.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    async fn given_up(&self, name: &str, after: Option<&Place>, most: usize) -> Result<Vec<GivenUp>, PortError> {
        let answer = self.commands.run(&self.given_up, |script| {
            let from = after.map_or_else(|| "-".to_owned(), |Place(id)| format!("({id}"));
            script.key(self.given_up_key(name)).arg(from).arg(most);
        });
        let entries: Vec<Entry> = answer.await.map_err(|error| Port::Outbox.failed("given_up", error))?;
        let told = |(id, fields): Entry| {
            let why = Fields::new(&fields).text("w").unwrap_or_default().to_owned();
            GivenUp { place: Place(id), why, happening: self.happening(&fields) }
        };
        Ok(entries.into_iter().map(told).collect())
    }

    async fn decide(&self, name: &str, places: &[Place], decision: Decision) -> Result<usize, PortError> {
        let bounds = self.wants.bounds(name);
        let answer = self.commands.run(&self.decide, |script| {
            self.wants.keys(name).iter().for_each(|key| _ = script.key(key));
            script.key(self.given_up_key(name)).arg(if decision == Decision::Again { "again" } else { "drop" });
            script.arg(bounds.entries).arg(bounds.bytes);
            places.iter().for_each(|Place(id)| _ = script.arg(id));
        });
        answer.await.map_err(|error| Port::Outbox.failed("decide", error))
    }
}

/// The fields of an entry by name.
struct Fields<'a>(HashMap<&'a [u8], &'a [u8]>);

impl<'a> Fields<'a> {
    fn new(fields: &'a [Bytes]) -> Self {
        Self(fields.chunks_exact(2).map(|pair| (&*pair[0], &*pair[1])).collect())
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.0.get(name.as_bytes())?).ok().filter(|text| !text.is_empty())
    }

    fn trace(&self) -> Option<Trace> {
        self.text("t").and_then(Trace::of_kept)
    }

    /// What they say to the archive; nothing if it is of another version.
    fn archived(&self, about: &str) -> Option<Happening> {
        let mut parts = about.splitn(5, ' ');
        let (epoch, number) = (Epoch::parse(parts.next()?)?, parts.next()?.parse().ok()?);
        let (before, takes_back) = (Offset::parse(parts.next()?), Offset::parse(parts.next()?));
        let event = Event::decode(self.0.get("e".as_bytes())?)?;
        let at_ms = event.at_ms;
        Some(Happening {
            user: UserId::parse(parts.next()?),
            event: Some(event),
            link: Some(Link { epoch, before, takes_back }),
            trace: self.trace(),
            ..Happening::new(What::Published, RoomName::trusted(self.text("r")?), number, at_ms)
        })
    }

    /// What they say; nothing if it is of another version.
    fn happening(&self) -> Option<Happening> {
        if let Some(about) = self.text("p") {
            return self.archived(about);
        }
        let what = What::of_word(self.text("k")?)?;
        let event = match self.0.get("e".as_bytes()) {
            Some(bytes) => Some(Event::decode(bytes)?),
            None => None,
        };
        let at_ms = match (&event, self.text("a")) {
            (Some(event), _) => event.at_ms,
            (None, at) => at?.parse().ok()?,
        };
        Some(Happening {
            session: self.text("s").and_then(SessionId::parse),
            user: self.text("u").and_then(UserId::parse),
            member: self.text("m").map(str::to_owned),
            cause: self.text("c").map(str::to_owned),
            event,
            trace: self.trace(),
            ..Happening::new(what, RoomName::trusted(self.text("r")?), self.text("n")?.parse().ok()?, at_ms)
        })
    }
}

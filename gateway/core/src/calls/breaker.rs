//! A circuit breaker: after some failures in a row nobody is let through for a while, and then one, to see. Who fails alone
//! is left alone alone.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::domain::{SessionId, UserId};

/// How many parties that fail are remembered for one back end.
const PARTIES: usize = 1024;
/// How many sources of failures are told apart; more are as good as everybody.
const SOURCES: usize = 64;
/// After how long of nobody wanting to ask a back end it is not said any more that it is left alone: its route may be gone.
const FORGOTTEN: Duration = Duration::from_secs(180);

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// Failures in a row that open it: of so many users or addresses for everybody, of one session or user for that one. 0:
    /// it never opens.
    pub failures: u32,
    /// How long nobody is let through, before one attempt is.
    pub pause: Duration,
}

impl Default for Breaker {
    /// Five failures, ten seconds.
    fn default() -> Self {
        Self { failures: 5, pause: Duration::from_secs(10) }
    }
}

/// On whose behalf a back end is asked. What one client sends may be what it fails at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The session.
    pub session: SessionId,
    /// Where it comes from.
    pub source: Source,
}

/// What one client cannot be many of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A user, by its token.
    User(UserId),
    /// An address, of IPv6 its network, of somebody without a token.
    Address(IpAddr),
    /// The gateway itself, for sessions that are gone.
    Gateway,
}

/// Who is left alone by itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Party {
    User(UserId),
    Session(SessionId),
}

impl Asker {
    fn party(&self) -> Party {
        match &self.source {
            Source::User(user) => Party::User(user.clone()),
            Source::Address(_) | Source::Gateway => Party::Session(self.session),
        }
    }
}

/// What an attempt showed about the back end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It works.
    Works,
    /// It does not.
    Fails,
}

/// What a verdict did to the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transition {
    /// For everybody.
    Opened,
    /// For the one who asked.
    OpenedForOne,
    Closed,
}

/// The breaker of one back end. Whoever wants to ask it needs a [`Permit`].
#[derive(Debug)]
pub(super) struct Circuit(Mutex<State>);

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Counts the openings. An attempt from before the last one says nothing about now.
    period: u64,
    /// Whom it failed since it last worked for anybody, and since when.
    sources: HashSet<Source>,
    parties: HashSet<Party>,
    since: Option<Instant>,
    /// When somebody wanted to ask it last while it was left alone.
    wanted: Option<Instant>,
    /// Whom it fails, each by itself.
    failing: HashMap<Party, Failing>,
}

/// Somebody for whom a back end fails.
#[derive(Debug)]
struct Failing {
    phase: Phase,
    failures: u32,
    last: Instant,
    /// Whether it is the gateway itself, for which there is nobody else.
    is_gateway: bool,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Closed,
    Open {
        until: Instant,
    },
    /// One attempt is under way that decides.
    Probing,
}

impl Failing {
    /// Whether the gateway leaves the back end alone.
    fn keeps_gateway(&self) -> bool {
        self.is_gateway && self.phase.is_open()
    }
}

impl Phase {
    /// Whether nobody is let through, or one, to see.
    fn is_open(self) -> bool {
        !matches!(self, Self::Closed)
    }

    /// Whether an attempt may be made, and whether it decides.
    fn admits(self, now: Instant) -> Option<bool> {
        match self {
            Self::Closed => Some(false),
            Self::Open { until } if now >= until => Some(true),
            Self::Open { .. } | Self::Probing => None,
        }
    }
}

impl Circuit {
    pub(super) fn new() -> Self {
        let (sources, parties, failing) = (HashSet::new(), HashSet::new(), HashMap::new());
        Self(Mutex::new(State {
            phase: Phase::Closed,
            period: 0,
            sources,
            parties,
            since: None,
            wanted: None,
            failing,
        }))
    }

    /// Whether it is left alone since it failed, by all or by the gateway itself, as far as anybody wants to ask it: it is, too,
    /// while one attempt decides.
    pub(super) fn is_open(&self) -> bool {
        let state = self.0.lock();
        let is_wanted = state.wanted.is_some_and(|wanted| wanted.elapsed() < FORGOTTEN);
        is_wanted && (state.phase.is_open() || state.failing.values().any(Failing::keeps_gateway))
    }

    /// Leave to make one attempt, unless the back end is to be left alone.
    pub(super) fn permit(&self, settings: Breaker, asker: &Asker) -> Option<Permit<'_>> {
        let (now, party) = (Instant::now(), asker.party());
        let mut state = self.0.lock();
        if state.phase.is_open() || state.failing.get(&party).is_some_and(Failing::keeps_gateway) {
            state.wanted = Some(now);
        }
        let own = state.failing.get(&party).map_or(Some(false), |failing| failing.phase.admits(now))?;
        let is_new = state.sources.len() < SOURCES && !state.sources.contains(&asker.source);
        let is_probe = match state.phase {
            // It may be others whom it fails: who comes from elsewhere may see at once.
            Phase::Open { .. } if is_new => true,
            phase => phase.admits(now)?,
        };
        if is_probe {
            state.phase = Phase::Probing;
        }
        if own && let Some(failing) = state.failing.get_mut(&party) {
            failing.phase = Phase::Probing;
        }
        let (source, period) = (asker.source.clone(), state.period);
        Some(Permit { circuit: self, settings, party, source, is_probe, is_own_probe: own, period, is_settled: false })
    }
}

/// Leave to make one attempt. If it is dropped without a verdict, because nobody waits for the answer any more, the
/// next one may try in its place.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    circuit: &'a Circuit,
    settings: Breaker,
    party: Party,
    source: Source,
    is_probe: bool,
    is_own_probe: bool,
    period: u64,
    is_settled: bool,
}

impl Permit<'_> {
    /// Says what the attempt showed.
    pub(super) fn settle(mut self, verdict: Verdict) -> Option<Transition> {
        let mut state = self.circuit.0.lock();
        if state.period != self.period || self.settings.failures == 0 {
            return None;
        }
        self.is_settled = true;
        match verdict {
            Verdict::Works => {
                state.failing.remove(&self.party);
                state.worked();
                let was = std::mem::replace(&mut state.phase, Phase::Closed);
                matches!(was, Phase::Probing).then_some(Transition::Closed)
            }
            Verdict::Fails => {
                let now = Instant::now();
                let is_alone = state.failed_for(&self.party, &self.source, self.settings, self.is_own_probe, now);
                if is_alone && self.source == Source::Gateway {
                    state.wanted = Some(now);
                }
                if state.failed(&self.party, &self.source, self.settings, now) || self.is_probe {
                    state.phase = Phase::Open { until: now + self.settings.pause };
                    state.period += 1;
                    state.wanted = Some(now);
                    return Some(Transition::Opened);
                }
                is_alone.then_some(Transition::OpenedForOne)
            }
        }
    }
}

impl State {
    fn worked(&mut self) {
        self.sources.clear();
        self.parties.clear();
        self.since = None;
    }

    /// Notes a failure; whether it fails everybody. As many users or addresses say so, or, where all seem to come from one
    /// address, as many sessions while it works for nobody.
    fn failed(&mut self, party: &Party, source: &Source, settings: Breaker, now: Instant) -> bool {
        if self.sources.len() < SOURCES {
            self.sources.insert(source.clone());
        }
        if self.parties.len() < PARTIES {
            self.parties.insert(party.clone());
        }
        let since = *self.since.get_or_insert(now);
        // One is never everybody.
        let is_enough = |count: usize| count >= (settings.failures as usize).clamp(2, SOURCES);
        is_enough(self.sources.len()) || (is_enough(self.parties.len()) && now - since >= settings.pause)
    }

    /// Notes a failure of one party; whether it is left alone from now on.
    fn failed_for(&mut self, party: &Party, source: &Source, settings: Breaker, is_probe: bool, now: Instant) -> bool {
        if self.failing.len() >= PARTIES && !self.failing.contains_key(party) {
            self.failing.retain(|_, failing| now < failing.last + settings.pause);
            if self.failing.len() >= PARTIES {
                return false;
            }
        }
        let is_gateway = *source == Source::Gateway;
        let new = Failing { phase: Phase::Closed, failures: 0, last: now, is_gateway };
        let failing = self.failing.entry(party.clone()).or_insert(new);
        (failing.failures, failing.last) = (failing.failures.saturating_add(1), now);
        let was_closed = matches!(failing.phase, Phase::Closed);
        let opens = is_probe || (was_closed && failing.failures >= settings.failures);
        if opens {
            failing.phase = Phase::Open { until: now + settings.pause };
        }
        opens
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.is_settled || !(self.is_probe || self.is_own_probe) {
            return;
        }
        let mut state = self.circuit.0.lock();
        let until = Instant::now();
        // If it opened again meanwhile, it was not by this one.
        if self.is_probe && state.period == self.period {
            state.phase = Phase::Open { until };
        }
        if self.is_own_probe
            && let Some(failing) = state.failing.get_mut(&self.party)
        {
            failing.phase = Phase::Open { until };
        }
    }
}

#[cfg(test)]
mod tests;

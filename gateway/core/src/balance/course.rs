//! The course of balancing: what a node does, by what it knows of all. Pure: the time is given, and nothing is done here.
//!
//! ```text
//!            uneven for a while              even, or a hindrance
//! Even ───────────────────────────► Moving ──────────────────────► Even
//!  ▲                                  │ no progress, or as many as may be
//!  └────────────────────────────── GivenUp
//!     other nodes, an operator, or `rest`
//! ```

use std::time::Duration;

use super::shares::{Standing, shares};

/// How long the nodes must have been uneven: by then all know it, and who is moved later came later everywhere.
const NOTICED: Duration = Duration::from_secs(3);
/// Who was asked to go is on its way for so long at most: until then it still counts for all shares.
const UNDER_WAY: Duration = Duration::from_secs(5);
/// Who was moved may be refused a few times on its way: for so long clients that come may be those.
const ON_THEIR_WAY: Duration = Duration::from_secs(30);
/// How often it is looked at whether moving helps.
const LOOK: Duration = Duration::from_secs(10);
/// So much of what is moved must have arrived where it is missing.
const PROGRESS: f64 = 0.1;
/// Moves of a round for each client too many at its beginning: some come back.
const BUDGET: f64 = 1.5;

/// What balancing goes by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// How far a node may be from its share, as a part of it.
    pub(super) tolerance: f64,
    /// Connections per second and node that has room.
    pub(super) pace: f64,
    /// Fewer per node are not balanced.
    pub(super) at_least: f64,
    /// How long nothing must have changed.
    pub(super) after: Duration,
    /// How long nothing is tried after it came to nothing.
    pub(super) rest: Duration,
}

/// Why nobody is moved, whatever the figures say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hindrance {
    /// An operator stopped it.
    Stopped,
    /// There is no other node.
    Alone,
    /// Not all nodes say how they stand.
    Incomplete,
    /// A node hands its clients over.
    Draining,
    /// Nodes have few clients.
    Few,
    /// Something changed a moment ago, or clients still come in numbers.
    Unsettled,
}

/// What is known of all nodes that clients may come to.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// The nodes; the first is this one.
    pub(super) nodes: Vec<Standing>,
    /// Names which ones they are.
    pub(super) set: u64,
    /// How many clients all of them have moved so far.
    pub(super) moved: u64,
}

/// How balancing stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Phase {
    /// Nothing may be done.
    Waiting(Hindrance),
    /// Nothing is to be done.
    Even,
    /// Clients are moved.
    Moving,
    /// It came to nothing.
    GivenUp,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Step {
    pub(super) phase: Phase,
    /// So many clients are to be asked until the next step.
    pub(super) ask: usize,
    /// Only those who came before this.
    pub(super) came_before: Duration,
    /// With so many connections the node lets nobody in whom others have room for.
    pub(super) full_at: Option<u32>,
    /// Connections beyond the node's share; negative if it has room.
    pub(super) surplus: f64,
    /// What the share is.
    pub(super) share: f64,
}

/// A round: from finding the nodes uneven to their being even, or its end for another reason.
#[derive(Clone, Copy, Debug)]
struct Round {
    /// How many this node may ask in all.
    budget: usize,
    /// When, with how many too few, and after how many moves, it was looked at last.
    looked: (Duration, f64, u64),
    /// What of a client is owed to the pace.
    owed: f64,
}

/// What a node remembers from step to step. Times are since any moment of its own.
#[derive(Debug)]
pub(super) struct Course {
    rules: Rules,
    set: u64,
    /// Since when nothing hindered, with the same nodes.
    quiet: Option<Duration>,
    uneven: Option<Duration>,
    totals: Vec<(Duration, f64)>,
    /// How many all nodes have moved, and when that changed.
    moved: (u64, Option<Duration>),
    round: Option<Round>,
    given_up: Option<Duration>,
    stepped: Option<Duration>,
}

impl Course {
    pub(super) fn new(rules: Rules) -> Self {
        let (quiet, uneven, totals) = (None, None, Vec::new());
        Self { rules, set: 0, quiet, uneven, totals, moved: (0, None), round: None, given_up: None, stepped: None }
    }

    /// Tries again what came to nothing.
    pub(super) fn try_again(&mut self) {
        self.given_up = None;
    }

    /// Nobody was left who may be asked: so many that were to be are not owed.
    pub(super) fn not_asked(&mut self, clients: usize) {
        if let Some(round) = &mut self.round {
            round.budget += clients;
        }
    }

    /// Notes how everything stands, and says what to do until the next step.
    pub(super) fn step(&mut self, now: Duration, seen: Result<View, Hindrance>) -> Step {
        let passed = now.saturating_sub(self.stepped.replace(now).unwrap_or(now)).as_secs_f64();
        let view = match seen {
            Ok(view) => view,
            Err(hindrance) => {
                (self.quiet, self.uneven, self.round) = (None, None, None);
                self.totals.clear();
                return Step::waiting(hindrance, now);
            }
        };
        if view.set != self.set || self.quiet.is_none() {
            (self.set, self.quiet) = (view.set, Some(now));
            (self.uneven, self.round, self.given_up) = (None, None, None);
        }
        let total = self.total(now, &view);
        if view.moved != self.moved.0 {
            self.moved = (view.moved, Some(now));
        }
        let shares = shares(&view.nodes, total);
        let off = |at: usize| f64::from(view.nodes[at].connections) - shares[at];
        // A single client is no unevenness, however small the shares are.
        let all_within = |part: f64| (0..shares.len()).all(|at| off(at).abs() <= (part * shares[at]).max(1.0));
        let (surplus, share) = (off(0), shares[0]);
        let idle = |phase| Step { phase, ask: 0, came_before: now, full_at: None, surplus, share };
        if all_within(self.rules.tolerance / 2.0) || (self.round.is_none() && all_within(self.rules.tolerance)) {
            (self.uneven, self.round, self.given_up) = (None, None, None);
            return idle(Phase::Even);
        }
        if total / (shares.len() as f64) < self.rules.at_least {
            (self.uneven, self.round) = (None, None);
            return idle(Phase::Waiting(Hindrance::Few));
        }
        if self.round.is_none() && self.many_come(now, total) {
            self.uneven = None;
            return idle(Phase::Waiting(Hindrance::Unsettled));
        }
        let uneven = *self.uneven.get_or_insert(now);
        let settled = self.quiet.is_some_and(|quiet| now.saturating_sub(quiet) >= self.rules.after);
        if !settled || now.saturating_sub(uneven) < NOTICED {
            return idle(Phase::Waiting(Hindrance::Unsettled));
        }
        if let Some(given_up) = self.given_up {
            if now.saturating_sub(given_up) < self.rules.rest {
                return idle(Phase::GivenUp);
            }
            // Begun anew, with those who came in the round before: they are what there is too much of where that went wrong.
            (self.given_up, self.uneven) = (None, Some(now));
            return idle(Phase::Waiting(Hindrance::Unsettled));
        }
        let missing: f64 = (0..shares.len()).map(|at| (-off(at)).max(0.0)).sum();
        let begin = Round {
            budget: (surplus.max(0.0) * BUDGET).ceil() as usize + 1,
            looked: (now, missing, view.moved),
            owed: 0.0,
        };
        let mut round = *self.round.get_or_insert(begin);
        let (looked, missed, moved) = round.looked;
        if now.saturating_sub(looked) >= LOOK {
            let wanted = (view.moved.saturating_sub(moved) as f64 * PROGRESS).max(1.0);
            if missed - missing < wanted {
                (self.round, self.given_up) = (None, Some(now));
                return idle(Phase::GivenUp);
            }
            round.looked = (now, missing, view.moved);
        }
        let ask = self.ask(&view.nodes, &shares, passed, &mut round);
        self.round = Some(round);
        // Those with least must be clearly below their share, or nobody is sent on to them.
        let has_room = (1..shares.len()).any(|at| -off(at) > (self.rules.tolerance / 4.0 * shares[at]).max(1.0));
        let full_at = has_room.then_some(share.ceil() as u32 + 1);
        Step { phase: Phase::Moving, ask, came_before: uneven, full_at, surplus, share }
    }

    /// How many clients there are: those that are on their way belong to them.
    fn total(&mut self, now: Duration, view: &View) -> f64 {
        let total = view.nodes.iter().map(|node| f64::from(node.connections)).sum();
        self.totals.retain(|(at, _)| now.saturating_sub(*at) <= UNDER_WAY);
        self.totals.push((now, total));
        self.totals.iter().map(|(_, total)| *total).fold(0.0, f64::max)
    }

    /// Whether clients come in such numbers, as after an outage, that figures of a second ago tell nothing of how even the nodes are.
    fn many_come(&self, now: Duration, total: f64) -> bool {
        if self.moved.1.is_some_and(|moved| now.saturating_sub(moved) < ON_THEIR_WAY) {
            return false;
        }
        let least = self.totals.iter().map(|(_, total)| *total).fold(total, f64::min);
        total - least > self.rules.tolerance / 2.0 * total
    }

    /// This node's part of all moves: by its part of all clients too many. Half of what is left at most, so that the last
    /// ones go slowly, and what others just did shows.
    fn ask(&self, nodes: &[Standing], shares: &[f64], passed: f64, round: &mut Round) -> usize {
        let off = |at: usize| f64::from(nodes[at].connections) - shares[at];
        let surplus = off(0);
        if surplus < 1.0 {
            return 0;
        }
        let all: f64 = (0..shares.len()).map(|at| off(at).max(0.0)).sum();
        let with_room = (1..shares.len()).filter(|&at| off(at) <= -1.0).count();
        round.owed += self.rules.pace * with_room as f64 * surplus / all * passed;
        let ask = round.owed.min((surplus / 2.0).ceil()).floor() as usize;
        let ask = ask.min(round.budget);
        // What could not be used is not saved up.
        round.owed = (round.owed - ask as f64).clamp(0.0, 1.0);
        round.budget -= ask;
        ask
    }
}

impl Step {
    fn waiting(hindrance: Hindrance, now: Duration) -> Self {
        Self { phase: Phase::Waiting(hindrance), ask: 0, came_before: now, full_at: None, surplus: 0.0, share: 0.0 }
    }
}

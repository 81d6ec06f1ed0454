//! Balance: nodes that have more than their share of the clients ask some to come back elsewhere, and send on who comes meanwhile.
//!
//! No node decides for others. Each tells all of them every second how it stands, and does its part by one formula (`course`),
//! which the same figures make agree. Who is asked goes as in a drain, and comes back with its session.

mod course;
mod door;
mod moved;
mod moving;
mod shares;
mod shown;
#[cfg(test)]
mod simulation;
mod told;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use self::course::{Course, Hindrance, Phase, Rules, Step};
pub use self::door::Door;
use self::moved::Moved;
use self::moving::Moving;
pub use self::shown::{Shown, ShownNode};
use self::told::{Book, MOVED, Order, Told};
use crate::bus::{Bus, BusMessage};
use crate::config::{self, Balancing};
use crate::metrics::Metrics;
use crate::node::{Node, Peers};
use crate::recurring::Recurring;

/// How often nodes tell each other how they stand.
const EVERY: Duration = Duration::from_secs(1);
/// Into how many parts the moves of that time are divided.
const SLOTS: u32 = 20;
/// What nodes told and was not read yet.
const HEARD: usize = 1_024;
/// How long telling may take: later it would be old.
const TELLING: Duration = Duration::from_millis(500);

/// What a node is balanced by. Implemented by the edge.
pub trait Clients: Send + Sync + 'static {
    /// How many connections there are, with a session or not yet.
    fn connections(&self) -> usize;

    /// Whether clients may come.
    fn is_open(&self) -> bool;

    /// Through which they do.
    fn door(&self) -> &Door;
}

/// Balances this node with the others.
pub struct Balance {
    settings: config::Balance,
    limit: usize,
    name: String,
    channel: String,
    parts: Parts,
    metrics: Arc<Metrics>,
    /// Tells this process from any other.
    mark: u64,
    order: Mutex<Order>,
    /// Somebody ordered something.
    ordered: Notify,
    shown: Mutex<Shown>,
}

/// What balancing goes by and acts on.
pub struct Parts {
    /// By which nodes tell each other.
    pub bus: Arc<dyn Bus>,
    /// Whose sessions are moved.
    pub node: Arc<Node>,
    /// Who counts the nodes.
    pub peers: Arc<Peers>,
    /// What `/readyz` says.
    pub ready: Arc<AtomicBool>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("ready", &self.ready).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Balance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Balance").field("shown", &*self.shown.lock()).finish_non_exhaustive()
    }
}

impl Balance {
    /// One that does nothing before it runs.
    #[must_use]
    pub fn new(config: &config::Config, name: &str, parts: Parts, metrics: Arc<Metrics>) -> Self {
        metrics.balance_state.with("off").set(1.0);
        Self {
            settings: config.balance.clone(),
            limit: config.limits.connections,
            name: name.to_owned(),
            channel: format!("{}:balance", config.redis.prefix),
            parts,
            metrics,
            mark: rand::random(),
            order: Mutex::default(),
            ordered: Notify::new(),
            shown: Mutex::new(Shown { state: "off", ..Shown::default() }),
        }
    }

    /// Balances for ever, if it is to.
    pub async fn run(self: Arc<Self>, clients: Arc<dyn Clients>) {
        if self.settings.enabled == Balancing::Off {
            return std::future::pending().await;
        }
        let (sink, mut heard) = mpsc::channel(HEARD);
        let mut work = Work::new(&self.settings);
        let (mut listens, mut tick) = (false, interval(EVERY));
        let mut slot = interval(EVERY / SLOTS);
        for it in [&mut tick, &mut slot] {
            it.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let rubbish = Recurring::new("what a node told about its connections cannot be read");
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    listens = listens || self.parts.bus.subscribe(&self.channel, sink.clone()).await.is_ok();
                    self.look(&*clients, &mut work, listens).await;
                }
                () = self.ordered.notified() => self.look(&*clients, &mut work, listens).await,
                _ = slot.tick(), if !work.moving.is_empty() => self.move_some(&mut work),
                Some(message) = heard.recv() => self.hear(message, &mut work, &rubbish),
            }
        }
    }

    /// Has all nodes move nobody until [`Self::start`].
    pub fn stop(&self) {
        self.give_order(true);
    }

    /// Has all nodes balance again, and try what came to nothing.
    pub fn start(&self) {
        self.give_order(false);
    }

    /// How it stands.
    #[must_use]
    pub fn shown(&self) -> Shown {
        self.shown.lock().clone()
    }

    fn give_order(&self, stopped: bool) {
        let number = self.order.lock().number.saturating_add(1);
        self.heed(Order { number, stopped });
        self.ordered.notify_one();
    }

    /// Takes an order over, if it is later than what is known.
    fn heed(&self, order: Order) -> bool {
        let mut known = self.order.lock();
        let is_later = order > *known;
        if is_later {
            if order.stopped != known.stopped {
                let words =
                    if order.stopped { "an operator stops balancing" } else { "an operator starts balancing again" };
                tracing::info!(order = order.number, "{words}");
            }
            *known = order;
        }
        is_later
    }

    fn hear(&self, message: BusMessage, work: &mut Work, rubbish: &Recurring) {
        let BusMessage::Message { payload, .. } = message else {
            // Who was moved meanwhile is not known, nor whether all are still there.
            return work.book.forget();
        };
        let told = match rmp_serde::from_slice::<Told>(&payload) {
            Ok(told) => told,
            Err(error) => return rubbish.note(|what| tracing::warn!(%error, "{what}")),
        };
        if told.mark == self.mark {
            return;
        }
        let now = work.now();
        told.moved.iter().take(MOVED).for_each(|session| work.moved.note(now, *session));
        if self.heed(told.order) {
            work.course.try_again();
        }
        work.book.note(now, told);
    }

    /// Tells the others how this node stands, and finds out what to do until the next look.
    async fn look(&self, clients: &dyn Clients, work: &mut Work, listens: bool) {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let order = *self.order.lock();
        let hears = !self.parts.node.hearing().deaf();
        let own = Told {
            mark: self.mark,
            node: self.name.clone(),
            connections: count(clients.connections()),
            limit: count(self.limit),
            weight: self.settings.weight,
            open: self.parts.ready.load(Ordering::Acquire) && clients.is_open() && hears,
            moves: work.moves,
            moved: work.untold.drain(..).collect(),
            order,
        };
        let told = match rmp_serde::to_vec_named(&own) {
            Ok(bytes) => timeout(TELLING, self.parts.bus.publish(&self.channel, bytes.into())).await,
            Err(_) => return,
        };
        let was_told = matches!(told, Ok(Ok(())));
        let now = work.now();
        work.moved.forget(now);
        if std::mem::replace(&mut work.order, order) != order && !order.stopped {
            work.course.try_again();
        }
        let seen = match () {
            () if order.stopped => Err(Hindrance::Stopped),
            () if !listens || !was_told => Err(Hindrance::Incomplete),
            () => work.book.view(now, &own, self.parts.peers.open()),
        };
        let step = work.course.step(now, seen);
        clients.door().fill(step.full_at);
        self.plan(&step, work);
        self.show(&step, &own, work);
    }

    /// Chooses who is asked to go until the next look.
    fn plan(&self, step: &Step, work: &mut Work) {
        work.course.not_asked(work.moving.left());
        work.moving = Moving::default();
        if step.ask == 0 {
            return;
        }
        let Some(came_before) = work.began.checked_add(step.came_before) else { return };
        let mut movable = self.parts.node.movable(came_before);
        movable.retain(|sessions| !sessions.iter().any(|session| work.moved.rests(session.id.half())));
        work.moving = Moving::of(movable, step.ask, SLOTS as usize);
        work.course.not_asked(step.ask - work.moving.left());
    }

    /// Asks some of those who were chosen to go.
    fn move_some(&self, work: &mut Work) {
        let now = work.now();
        for sessions in work.moving.next() {
            if !sessions.iter().all(|session| self.parts.node.may_go(session)) {
                work.course.not_asked(1);
                continue;
            }
            for session in &sessions {
                // The others must know before it can come to them and be asked again: they are told within a second, and it is
                // not asked there before the next round.
                work.moved.note(now, session.id.half());
                work.untold.push(session.id.half());
                session.close(crate::node::CloseReason::Balanced);
            }
            work.moves += 1;
            self.metrics.balance_moves.increment(1);
        }
    }

    fn show(&self, step: &Step, own: &Told, work: &mut Work) {
        let (state, why) = shown::words(step.phase);
        for word in crate::metrics::BALANCE_STATES {
            self.metrics.balance_state.with(word).set(f64::from(u8::from(word == state)));
        }
        self.metrics.balance_surplus.set(step.surplus.round());
        if std::mem::replace(&mut work.state, state) != state {
            let (connections, share, moves) = (own.connections, step.share.round(), work.moves - work.moves_before);
            match step.phase {
                Phase::Moving => {
                    work.moves_before = work.moves;
                    tracing::info!(connections, share, "nodes are uneven: clients are asked to come back elsewhere");
                }
                Phase::GivenUp => {
                    tracing::warn!(connections, share, moves, "balancing came to nothing and is given up for now");
                }
                Phase::Even | Phase::Waiting(_) if work.was_moving => {
                    tracing::info!(connections, share, moves, state, why, "balancing is over");
                }
                _ => {}
            }
            work.was_moving = step.phase == Phase::Moving;
        }
        let others = work.book.fresh(work.now());
        *self.shown.lock() = Shown { state, why, moves: work.moves, nodes: shown::nodes(step, own, &others) };
    }
}

/// What the task of balancing remembers.
struct Work {
    began: Instant,
    course: Course,
    book: Book,
    moved: Moved,
    moving: Moving,
    /// Who was moved and the others do not know it yet.
    untold: Vec<u64>,
    moves: u64,
    /// How many there were when the last round began.
    moves_before: u64,
    was_moving: bool,
    state: &'static str,
    order: Order,
}

impl Work {
    fn new(settings: &config::Balance) -> Self {
        let rules = Rules {
            tolerance: f64::from(settings.tolerance_percent) / 100.0,
            pace: f64::from(settings.connections_per_second),
            at_least: if settings.enabled == Balancing::On { 0.0 } else { f64::from(settings.min_connections) },
            after: settings.after,
            rest: settings.rest,
        };
        Self {
            began: Instant::now(),
            course: Course::new(rules),
            book: Book::default(),
            moved: Moved::new(settings.rest),
            moving: Moving::default(),
            untold: Vec::new(),
            moves: 0,
            moves_before: 0,
            was_moving: false,
            state: "off",
            order: Order::default(),
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

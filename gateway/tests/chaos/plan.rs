//! What a run does: its size from the environment, and the faults of the cluster and of clients from a seed.

use std::path::PathBuf;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

pub(crate) const NODES: usize = 3;

/// The size of a run. Whatever `CHAOS_…` does not say is a short run's.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) seed: u64,
    pub(crate) chaos: Duration,
    pub(crate) clients: u32,
    pub(crate) rooms: usize,
    pub(crate) rooms_each: usize,
    /// Publishes per second, by all clients together.
    pub(crate) rate: f64,
    /// How long a client's connection is left alone, in the middle.
    pub(crate) cut_every: Duration,
    /// How far faults of the cluster are apart, in the middle.
    pub(crate) fault_every: Duration,
    /// How long the log keeps anything, if not for as long as usual.
    pub(crate) retention: Option<Duration>,
    /// Another version's program. Nodes start as it, and each time anew as the other of the two; what happens to them is a
    /// rolling upgrade, and back, and nothing else.
    pub(crate) previous: Option<PathBuf>,
    /// Whether Redis loses its last writes.
    pub(crate) power_cuts: bool,
    /// Whether there are two Redis servers and Sentinels, and what happens to Redis are failovers.
    pub(crate) sentinels: bool,
    /// Whether everything dies at once, again and again, and nothing else happens to the cluster.
    pub(crate) blackouts: bool,
    /// Whether what is audited has a Redis of its own beside the main one, and either is away at times.
    pub(crate) two_redis: bool,
    /// Whether there is a database, and most rooms are archived in it.
    pub(crate) archive: bool,
    /// How many events of a room the log keeps where the archive has the others. Few, so that what is read crosses from one to
    /// the other while more leaves the log.
    pub(crate) log_events: usize,
}

impl Settings {
    pub(crate) fn from_environment() -> Self {
        let number = |name: &str, default: f64| {
            let text = std::env::var(format!("CHAOS_{name}")).ok().filter(|text| !text.is_empty());
            text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("CHAOS_{name}={text} is no number")))
        };
        let seconds = |name, default| Duration::from_secs_f64(number(name, default));
        let seed = std::env::var("CHAOS_SEED").ok().filter(|seed| !seed.is_empty());
        let clients = number("CLIENTS", 120.0);
        let previous = std::env::var_os("CHAOS_PREVIOUS").filter(|path| !path.is_empty()).map(PathBuf::from);
        Self {
            seed: seed.map_or_else(|| rand::random::<u64>() >> 16, |seed| seed.parse().unwrap()),
            chaos: seconds("SECONDS", 25.0),
            clients: clients as u32,
            rooms: number("ROOMS", 12.0) as usize,
            rooms_each: number("ROOMS_EACH", 3.0) as usize,
            rate: number("RATE", clients * 0.4),
            cut_every: seconds("CUT_EVERY", 6.0),
            fault_every: seconds("FAULT_EVERY", 1.5),
            retention: Some(seconds("RETENTION", 0.0)).filter(|retention| !retention.is_zero()),
            // The version before may know no database.
            archive: previous.is_none() && number("ARCHIVE", 1.0) > 0.0,
            log_events: number("LOG_EVENTS", 30.0) as usize,
            previous,
            power_cuts: number("POWER_CUTS", 1.0) > 0.0,
            sentinels: number("SENTINELS", 0.0) > 0.0,
            blackouts: number("BLACKOUTS", 0.0) > 0.0,
            two_redis: number("TWO_REDIS", 0.0) > 0.0,
        }
    }

    /// Whether what a room says is archived. Not all are: what is archived must not harm the others.
    pub(crate) fn is_archived(&self, room: usize) -> bool {
        self.archive && room % 3 != 2
    }

    /// The rooms that are archived.
    pub(crate) fn archived_rooms(&self) -> Vec<usize> {
        (0..self.rooms).filter(|room| self.is_archived(*room)).collect()
    }

    /// Randomness of its own for each part, so that one part's use of it does not change the others'.
    pub(crate) fn random(&self, part: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed.wrapping_mul(1_000_003).wrapping_add(part))
    }
}

/// Between a half and one and a half times as long.
pub(crate) fn about(random: &mut StdRng, middle: Duration) -> Duration {
    middle.mul_f64(random.random_range(0.5..1.5))
}

/// How a client reaches a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    Websocket,
    /// For ever, as where a proxy lets nothing else through.
    Polling,
    /// The same behind a balancer that knows nothing: each request goes to the next node, over a connection of its own.
    Wandering,
    /// It polls until it has a websocket, as official clients do by default.
    Upgrading,
}

impl Habit {
    pub(crate) fn any(random: &mut StdRng) -> Self {
        match random.random_range(0..6) {
            0..2 => Self::Websocket,
            2 => Self::Polling,
            3 => Self::Wandering,
            _ => Self::Upgrading,
        }
    }
}

/// How a client's connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// At once. Of a polling client, the poll that waits.
    Reset,
    /// In the middle of what comes: of a polling client, of the answer to its poll.
    Midway,
    /// Nothing passes any more, and the server does not learn of it for a while.
    Vanish(Duration),
    /// The client says goodbye to the transport, but not to the session.
    Goodbye,
    /// In the middle of what the client sends: of a frame, or of a request's body.
    Half,
}

impl Cut {
    pub(crate) fn any(random: &mut StdRng) -> Self {
        let until_noticed = Duration::from_secs_f64(random.random_range(1.0..20.0));
        [Self::Reset, Self::Midway, Self::Vanish(until_noticed), Self::Goodbye, Self::Half][random.random_range(0..5)]
    }

    /// As it is counted.
    pub(crate) fn name(self, is_polling: bool) -> &'static str {
        match (self, is_polling) {
            (Self::Reset | Self::Midway, false) => "client reset",
            (Self::Reset, true) => "poll aborted",
            (Self::Midway, true) => "poll aborted in its answer",
            (Self::Vanish(_), false) => "client vanished",
            (Self::Vanish(_), true) => "polling client vanished",
            (Self::Goodbye, false) => "client closed",
            (Self::Goodbye, true) => "polling client closed",
            (Self::Half, false) => "frame half sent",
            (Self::Half, true) => "body half sent",
        }
    }
}

/// How an upgrade fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpgradeFault {
    /// The websocket breaks before the probe.
    BreaksUnprobed,
    /// After the answer to the probe.
    BreaksProbed,
    /// The answer to the probe is the last thing on the websocket, while polling goes on.
    Hangs(Duration),
    /// Right after the client has gone over to it.
    BreaksUpgraded,
}

impl UpgradeFault {
    /// One for a part of all upgrades.
    pub(crate) fn perhaps(random: &mut StdRng) -> Option<Self> {
        let length = Duration::from_secs_f64(random.random_range(1.0..15.0));
        let faults = [Self::BreaksUnprobed, Self::BreaksProbed, Self::Hangs(length), Self::BreaksUpgraded];
        faults.get(random.random_range(0..2 * faults.len())).copied()
    }

    /// As it is counted.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BreaksUnprobed => "upgrade broken before its probe",
            Self::BreaksProbed => "upgrade broken after its probe",
            Self::Hangs(_) => "upgrade hung",
            Self::BreaksUpgraded => "upgrade broken when it was done",
        }
    }
}

/// The faults of clients, as they are counted: a run of some length has them all.
pub(crate) const CLIENT_FAULTS: [&str; 17] = [
    "client gave up a join",
    "client stopped reading",
    "client started anew",
    "client started anew by offsets",
    "client reset",
    "client vanished",
    "client closed",
    "frame half sent",
    "poll aborted",
    "poll aborted in its answer",
    "polling client vanished",
    "polling client closed",
    "body half sent",
    "upgrade broken before its probe",
    "upgrade broken after its probe",
    "upgrade hung",
    "upgrade broken when it was done",
];

/// How a node loses Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Partition {
    /// Nothing passes; afterwards everything that waited does, late.
    Hold,
    /// Nothing passes, and afterwards the connections are dead.
    Swallow,
    /// Connections end and new ones are refused.
    Cut,
}

/// How the database is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outage {
    /// It ends without a warning, and starts again with what it has in its files.
    Killed,
    /// Its processes stand still: connections are taken and nothing is answered.
    Frozen,
}

/// Something that is done to the cluster.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    /// SIGKILL, and a new process after a while.
    KillNode { node: usize, down: Duration },
    /// SIGTERM, and a new process after a while.
    DrainNode { node: usize, down: Duration },
    /// SIGSTOP, and SIGCONT after a while: the process wakes up in a world that went on without it.
    PauseNode { node: usize, length: Duration },
    /// Every node loses every connection to Redis.
    KillConnections,
    /// Redis ends, on request or by SIGKILL, and starts again with what it wrote to its file.
    StopRedis { politely: bool, down: Duration },
    /// The main Redis ends, where what is audited has another.
    StopMain { politely: bool, down: Duration },
    /// All nodes and Redis end at once, by SIGKILL.
    Blackout { down: Duration },
    /// Redis ends at once, and its file has lost so many of its last bytes, as after a power cut.
    LoseTail { bytes: usize, down: Duration },
    /// Sentinels make the other Redis the primary, because they are asked to or because the primary was killed.
    FailOver { politely: bool },
    /// Redis calls itself a replica for a while.
    DemoteRedis { length: Duration },
    /// Redis takes nothing more for a while.
    FillRedis { length: Duration },
    /// One node cannot reach Redis for a while.
    PartitionNode { node: usize, how: Partition, length: Duration },
    /// The database is away for a while. Nobody but who reads the archive may notice.
    StopDatabase { how: Outage, down: Duration },
}

impl Deed {
    /// Whether all nodes notice, because Redis is not as it was.
    pub(crate) fn is_of_redis(&self) -> bool {
        use Deed::{Blackout, DemoteRedis, FailOver, FillRedis, KillConnections, LoseTail, StopMain, StopRedis};
        matches!(
            self,
            KillConnections
                | StopRedis { .. }
                | StopMain { .. }
                | Blackout { .. }
                | LoseTail { .. }
                | FailOver { .. }
                | DemoteRedis { .. }
                | FillRedis { .. }
        )
    }

    /// As it is counted.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::KillNode { .. } => "node killed",
            Self::DrainNode { .. } => "node drained",
            Self::PauseNode { .. } => "node paused",
            Self::KillConnections => "Redis connections killed",
            Self::StopRedis { politely: true, .. } => "Redis stopped",
            Self::StopRedis { politely: false, .. } => "Redis killed",
            Self::StopMain { .. } => "main Redis stopped",
            Self::Blackout { .. } => "everything killed",
            Self::LoseTail { .. } => "Redis lost its last writes",
            Self::FailOver { politely: true } => "failover asked for",
            Self::FailOver { politely: false } => "primary killed",
            Self::DemoteRedis { .. } => "Redis became a replica",
            Self::FillRedis { .. } => "Redis was full",
            Self::PartitionNode { how: Partition::Hold, .. } => "node cut off from Redis (late)",
            Self::PartitionNode { how: Partition::Swallow, .. } => "node cut off from Redis (swallowed)",
            Self::PartitionNode { how: Partition::Cut, .. } => "node cut off from Redis (refused)",
            Self::StopDatabase { how: Outage::Killed, .. } => "database killed",
            Self::StopDatabase { how: Outage::Frozen, .. } => "database stood still",
        }
    }
}

/// The deeds with the pause before each.
pub(crate) fn plan(settings: &Settings) -> Vec<(Duration, Deed)> {
    let mut random = settings.random(0);
    let (mut plan, mut deck) = (Vec::new(), Vec::new());
    let mut at = Duration::ZERO;
    loop {
        let pause = about(&mut random, settings.fault_every);
        at += pause;
        if at >= settings.chaos {
            return plan;
        }
        if deck.is_empty() {
            deck = if settings.previous.is_some() {
                upgrades(&mut random)
            } else if settings.sentinels {
                failovers(&mut random, settings.archive)
            } else if settings.blackouts {
                vec![Deed::Blackout { down: about(&mut random, Duration::from_millis(500)) }]
            } else {
                every_kind(&mut random, settings)
            };
        }
        plan.extend(deck.pop().map(|deed| (pause, deed)));
    }
}

/// One node after the other is replaced, most of them in order.
fn upgrades(random: &mut StdRng) -> Vec<Deed> {
    let deed = |(node, is_killed): (usize, bool)| {
        let down = Duration::from_millis(200);
        if is_killed { Deed::KillNode { node, down } } else { Deed::DrainNode { node, down } }
    };
    (0..NODES).map(|node| (node, random.random_ratio(1, 4))).map(deed).collect()
}

/// A failover of each kind, which takes its time, and what happens to nodes meanwhile.
fn failovers(random: &mut StdRng, archive: bool) -> Vec<Deed> {
    let mut deck = Vec::new();
    for politely in [true, false] {
        let mut node = || random.random_range(0..NODES);
        let nodes = [node(), node(), node(), node()];
        let mut seconds = |range: std::ops::Range<f64>| Duration::from_secs_f64(random.random_range(range));
        let mut others = vec![
            Deed::KillNode { node: nodes[0], down: seconds(1.0..3.0) },
            Deed::DrainNode { node: nodes[1], down: seconds(0.2..2.0) },
            Deed::PauseNode { node: nodes[2], length: seconds(1.0..6.0) },
            Deed::KillNode { node: nodes[3], down: seconds(0.2..1.0) },
            Deed::KillConnections,
        ];
        others.extend(archive.then(|| outage(random)));
        others.shuffle(random);
        deck.extend(others);
        deck.push(Deed::FailOver { politely });
    }
    deck
}

fn outage(random: &mut StdRng) -> Deed {
    let how = if random.random() { Outage::Killed } else { Outage::Frozen };
    Deed::StopDatabase { how, down: Duration::from_secs_f64(random.random_range(0.5..6.0)) }
}

/// One of each kind, in any order: a run that is long enough has them all.
fn every_kind(random: &mut StdRng, settings: &Settings) -> Vec<Deed> {
    let mut node = || random.random_range(0..NODES);
    let nodes = [node(), node(), node(), node()];
    let mut seconds = |range: std::ops::Range<f64>| Duration::from_secs_f64(random.random_range(range));
    let (killed, drained, paused) = (seconds(1.0..5.0), seconds(0.2..2.0), seconds(1.0..6.0));
    let (down, partitioned) = (seconds(1.0..4.0), seconds(1.0..6.0));
    let (dark, torn, demoted, full) = (seconds(0.2..2.0), seconds(0.2..2.0), seconds(1.0..5.0), seconds(1.0..5.0));
    let how = [Partition::Hold, Partition::Swallow, Partition::Cut][random.random_range(0..3)];
    let mut deck = vec![
        Deed::KillNode { node: nodes[0], down: killed },
        Deed::DrainNode { node: nodes[1], down: drained },
        Deed::PauseNode { node: nodes[2], length: paused },
        Deed::KillConnections,
        Deed::StopRedis { politely: random.random(), down },
        Deed::PartitionNode { node: nodes[3], how, length: partitioned },
        Deed::Blackout { down: dark },
        Deed::DemoteRedis { length: demoted },
        Deed::FillRedis { length: full },
    ];
    let torn = Deed::LoseTail { bytes: random.random_range(1..20_000), down: torn };
    deck.extend(Some(torn).filter(|_| settings.power_cuts));
    deck.extend(settings.archive.then(|| outage(random)));
    if settings.two_redis {
        let down = Duration::from_secs_f64(random.random_range(1.0..6.0));
        deck.push(Deed::StopMain { politely: random.random(), down });
    }
    deck.shuffle(random);
    deck
}

#[test]
fn a_seed_is_a_plan_and_a_short_run_has_every_kind() {
    let settings = |seed| Settings { seed, ..Settings::from_environment() };
    for seed in 0..100 {
        let short = Settings {
            chaos: Duration::from_secs(28),
            fault_every: Duration::from_millis(1500),
            power_cuts: true,
            sentinels: false,
            blackouts: false,
            previous: None,
            archive: true,
            two_redis: true,
            ..settings(seed)
        };
        let deeds = plan(&short);
        let kinds: std::collections::BTreeSet<_> =
            deeds.iter().map(|(_, deed)| std::mem::discriminant(deed)).map(|kind| format!("{kind:?}")).collect();
        assert_eq!(kinds.len(), 12, "seed {seed}");
        assert_eq!(format!("{deeds:?}"), format!("{:?}", plan(&short)));
    }
    assert_ne!(format!("{:?}", plan(&settings(1))), format!("{:?}", plan(&settings(2))));
}

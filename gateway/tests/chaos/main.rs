//! The auditor: real nodes and a real Redis are killed, stopped and cut off under hundreds of clients that come and go,
//! and at the end every member of every room must have heard every event once and in order.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod archive;
mod audit;
mod books;
mod caller;
mod calls;
mod client;
mod cluster;
mod database;
mod follower;
mod harm;
mod heard;
mod historian;
mod http;
mod jobs;
mod ledger;
mod link;
mod plan;
mod proof;
mod proxy;
mod reader;
mod redis;
mod run;
mod sentinels;
mod speaker;
mod stall;
#[path = "../support/mod.rs"]
mod support;
mod torn;
mod trail;
mod transport;
mod troubles;
mod wire;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use audit::Audit;
use client::{Client, user_name};
use cluster::{Cluster, SECRET};
use follower::Follower;
use gateway_core::auth::{Grant, mint};
use gateway_core::domain::UserId;
use historian::Historian;
use parking_lot::Mutex;
use plan::{CLIENT_FAULTS, Settings};
use reader::Reader;
use run::{Phase, Run};
use speaker::Speaker;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// How long everything may take to be well again once nobody does any harm.
const HEALING: Duration = Duration::from_secs(90);
/// How often each room gets a last event, and how long everybody has to hear it.
const ROUNDS: usize = 4;
const ROUND: Duration = Duration::from_secs(20);
/// How long to wait for what should not come any more.
const AFTERMATH: Duration = Duration::from_secs(2);
/// Of so many troubles of clients, some are of every kind.
const ENOUGH_TROUBLES: f64 = 400.0;
/// Of so many publishes, some are of a user over its budget.
const ENOUGH_PUBLISHED: u64 = 500;
/// Back ends that publish, that read pages, and that listen to streams.
const SPEAKERS: u32 = 4;
const READERS: u32 = 2;
/// How many faults of the cluster there are at a time, those that wait for others to be over among them. Without a bound
/// they pile up where the machine is slow, and a cluster to which everything happens does nothing that could be wrong.
const AT_ONCE: usize = 4;
const FOLLOWERS: u32 = 4;
/// Those that read all that a room ever said, where that is kept.
const HISTORIANS: u32 = 2;
/// Of so many acknowledged events, some rooms have far more than the log keeps.
const ENOUGH_SAID: u64 = 3_000;
const PROGRESS: Duration = Duration::from_secs(30);
const SETTLE: Duration = Duration::from_secs(1);
/// Whose turn it is: each auditor has the machine to itself, as what is slow looks broken.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn every_event_reaches_every_member_once_and_in_order_whatever_fails() {
    let _turn = TURN.lock().await;
    let settings = Settings::from_environment();
    println!("{settings:?}");
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(folder.path(), &settings).await;
    let everybody = settings.clients + SPEAKERS + READERS + FOLLOWERS + HISTORIANS;
    let run = Arc::new(Run {
        audit: Mutex::new(Audit::new(&settings, everybody as usize, cluster.torn())),
        phase: watch::Sender::new(Phase::Quiet),
        calm: (0..settings.clients).map(|_| AtomicBool::default()).collect(),
        markers: AtomicUsize::default(),
        cluster,
        settings,
    });
    let auth = support::config(&[("GATEWAY_AUTH__SECRET", SECRET)]).auth;
    let token = |client| {
        let user = UserId::parse(&user_name(client)).unwrap();
        mint(&auth, &Grant::new(user, Duration::from_secs(100 * 3600))).unwrap()
    };
    let mut clients = JoinSet::new();
    for client in 0..run.settings.clients {
        clients.spawn(Client::new(client, run.clone(), token(client)).live());
    }
    if let Some(key) = run.cluster.key() {
        let first = run.settings.clients;
        for id in first..first + SPEAKERS {
            clients.spawn(Speaker::new(id, run.clone(), key).live());
        }
        let followers = first + SPEAKERS + READERS;
        let historians = everybody - HISTORIANS;
        for id in historians..everybody {
            clients.spawn(Historian::new(id, run.clone(), key).live());
        }
        for id in followers..historians {
            clients.spawn(Follower::new(id, run.clone(), key).live());
        }
        for id in first + SPEAKERS..followers {
            clients.spawn(Reader::new(id, run.clone(), key).live());
        }
    }
    let watching = tokio::spawn(watch_over(run.clone()));
    let healed = suffer_and_heal(&run).await;
    if healed.is_ok() {
        sleep(AFTERMATH).await;
        // The version before may number nothing.
        if run.settings.previous.is_none() {
            run.cluster.back_end().compare(&run).await;
        }
        ledger::compare(&run, &token).await;
        archive::compare(&run).await;
    }
    run.phase.send_replace(Phase::Over);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    watching.abort();
    for complaint in run.cluster.stop().await {
        complain(&run, &complaint);
    }
    let mut audit = run.audit.lock();
    audit.settle(true);
    let spared = spared(&run.settings, &audit);
    println!("{}", report(&run, &audit));
    let is_well = healed.is_ok() && audit.is_clean() && audit.tallied("complaints") == 0;
    if !is_well {
        println!("the logs of the processes are in {}", folder.keep().display());
    }
    if let Err(missing) = healed {
        println!("it did not heal, and what was still on its way counts as lost: {missing}");
    }
    assert!(spared.is_empty(), "what this run should have done and did not: {spared:?}");
    assert!(is_well, "seed {}: {}", run.settings.seed, audit.verdict());
}

/// Settles the books, starts nodes again that ended by themselves, and says how it goes.
async fn watch_over(run: Arc<Run>) {
    let mut said = Instant::now();
    loop {
        sleep(SETTLE).await;
        run.audit.lock().settle(false);
        run.cluster.look_at_redis().await;
        for complaint in run.cluster.revive().await {
            complain(&run, &complaint);
        }
        if said.elapsed() >= PROGRESS {
            said = Instant::now();
            println!("{}", run.audit.lock().progress());
        }
    }
}

fn complain(run: &Run, complaint: &str) {
    println!("{complaint}");
    run.audit.lock().tally("complaints", complaint);
}

/// Carries out the plan, then waits until everybody has everything; what is missing if that does not happen.
async fn suffer_and_heal(run: &Arc<Run>) -> Result<(), String> {
    let everybody_is_calm = async || run.restless().is_empty();
    until(run, "everybody joins", everybody_is_calm).await?;
    println!("everybody has joined");
    run.phase.send_replace(Phase::Chaos);
    let end = Instant::now() + run.settings.chaos;
    let mut deeds = JoinSet::new();
    for (pause, deed) in plan::plan(&run.settings) {
        sleep(pause).await;
        while deeds.len() >= AT_ONCE {
            deeds.join_next().await.transpose().unwrap();
        }
        if Instant::now() >= end {
            break;
        }
        let run = run.clone();
        deeds.spawn(async move {
            let name = deed.name();
            println!("{:9.3} {deed:?}", run.audit.lock().elapsed().as_secs_f64());
            if let Err(complaint) = run.cluster.suffer(deed).await {
                complain(&run, &complaint);
            }
            run.audit.lock().tally("faults", name);
        });
    }
    tokio::time::sleep_until(end).await;
    run.phase.send_replace(Phase::Quiet);
    while let Some(deed) = deeds.join_next().await {
        deed.unwrap();
    }
    println!("{:9.3} no more faults", run.audit.lock().elapsed().as_secs_f64());
    let nothing_is_in_doubt = async || run.restless().is_empty() && run.audit.lock().open() == 0;
    until(run, "everybody is back and every publish acknowledged", nothing_is_in_doubt).await?;
    let mut last = Ok(());
    for round in 1..=ROUNDS {
        run.phase.send_replace(Phase::Markers(round));
        let all_markers = async || run.markers.load(Ordering::Acquire) == run.rooms_in_use() * round;
        until(run, "every room's last event is acknowledged", all_markers).await?;
        // Who was told meanwhile that it misses something may miss this one. It does not miss the next.
        let everybody_has_everything = async || run.audit.lock().is_level();
        last = within(ROUND, run, "everybody has heard the last event", everybody_has_everything).await;
        match &last {
            Ok(()) => break,
            Err(missing) => println!("{missing}"),
        }
    }
    last
}

async fn until<F: Future<Output = bool>>(run: &Run, what: &str, ask: impl FnMut() -> F) -> Result<(), String> {
    within(HEALING, run, what, ask).await
}

async fn within<F: Future<Output = bool>>(
    time: Duration,
    run: &Run,
    what: &str,
    mut ask: impl FnMut() -> F,
) -> Result<(), String> {
    let deadline = Instant::now() + time;
    while !ask().await {
        if Instant::now() >= deadline {
            let restless = run.restless();
            let audit = run.audit.lock();
            return Err(format!(
                "not within {time:?}: {what}; restless are {restless:?}, {} publishes are open\n{}",
                audit.open(),
                audit.behind()
            ));
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// The faults of clients that did not happen, in a run that is long enough for all of them.
fn spared(settings: &Settings, audit: &Audit) -> Vec<&'static str> {
    let troubles = f64::from(settings.clients) * settings.chaos.div_duration_f64(settings.cut_every);
    let is_short = troubles < ENOUGH_TROUBLES;
    let mut spared: Vec<_> = CLIENT_FAULTS.into_iter().filter(|fault| audit.counted("faults", fault) == 0).collect();
    let much_was_published = audit.tallied("acknowledged") >= ENOUGH_PUBLISHED;
    if settings.previous.is_none() && much_was_published && audit.counted("refused", "publish too_much_kept") == 0 {
        spared.push("a user over its budget");
    }
    if settings.previous.is_none() && audit.counted("acknowledged", "over HTTP, again") == 0 {
        spared.push("a publish over HTTP whose answer was lost");
    }
    if settings.previous.is_none() && audit.counted("streams", "broke off") == 0 {
        spared.push("a stream that was broken off");
    }
    if settings.archive
        && audit.counted("faults", "database killed") + audit.counted("faults", "database stood still") == 0
    {
        spared.push("a database that was away");
    }
    if settings.archive && audit.tallied("acknowledged") >= ENOUGH_SAID && audit.counted("walks", "over the seam") == 0
    {
        spared.push("somebody who read out of the archive into the log");
    }
    if is_short { Vec::new() } else { spared }
}

fn report(run: &Run, audit: &Audit) -> String {
    let Settings { seed, clients, rooms, .. } = run.settings;
    format!(
        "seed {seed}, {:.0} s, {clients} clients, {rooms} rooms\n\
         published and acknowledged: {}, refused meanwhile: {}\n\
         deliveries audited: {}\n\
         dials: {} and failed {}; connections lost: {}\n\
         sessions recovered: {}; fresh: {}; rejoins: {}; gaps announced: {}\n\
         faults: {}\n\
         upgrades: {}\n\
         calls: {}\n\
         over HTTP: published {}, pages {}; streamed {}, streams {}; asked in vain: {}\n\
         archived: {}, gaps {}; read from end to end: {}\n\
         complaints: {}\n\
         {}",
        audit.elapsed().as_secs_f64(),
        audit.tallied("acknowledged"),
        audit.kinds("refused"),
        audit.deliveries(),
        audit.tallied("dials"),
        audit.kinds("dials failed"),
        audit.kinds("connections lost"),
        audit.kinds("recovered"),
        audit.kinds("fresh"),
        audit.kinds("joins"),
        audit.kinds("gaps announced"),
        audit.kinds("faults"),
        audit.kinds("upgrades"),
        audit.kinds("calls"),
        audit.counted("acknowledged", "over HTTP") + audit.counted("acknowledged", "over HTTP, again"),
        audit.kinds("pages"),
        audit.tallied("streamed"),
        audit.kinds("streams"),
        audit.kinds("asked in vain"),
        audit.tallied("archived"),
        audit.kinds("gaps of the archive"),
        audit.kinds("walks"),
        audit.kinds("complaints"),
        audit.verdict(),
    )
}

//! The auditor: real nodes and a real Redis are killed, stopped and cut off under hundreds of clients that come and go,
//! and at the end every member of every room must have heard every event once and in order.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod audit;
mod books;
mod calls;
mod client;
mod cluster;
mod harm;
mod heard;
mod http;
mod ledger;
mod link;
mod plan;
mod proof;
mod proxy;
mod redis;
mod run;
mod sentinels;
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
use gateway::auth::{Grant, mint};
use gateway::domain::UserId;
use parking_lot::Mutex;
use plan::{CLIENT_FAULTS, Settings};
use run::{Phase, Run};
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
const PROGRESS: Duration = Duration::from_secs(30);
const SETTLE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn every_event_reaches_every_member_once_and_in_order_whatever_fails() {
    let settings = Settings::from_environment();
    println!("{settings:?}");
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(folder.path(), &settings).await;
    let run = Arc::new(Run {
        audit: Mutex::new(Audit::new(settings.rooms, settings.clients as usize, cluster.torn())),
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
    let watching = tokio::spawn(watch_over(run.clone()));
    let healed = suffer_and_heal(&run).await;
    if healed.is_ok() {
        sleep(AFTERMATH).await;
        // The version before may number nothing.
        if run.settings.previous.is_none() {
            run.cluster.back_end().compare(&run).await;
        }
        ledger::compare(&run, &token).await;
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
        audit.kinds("complaints"),
        audit.verdict(),
    )
}

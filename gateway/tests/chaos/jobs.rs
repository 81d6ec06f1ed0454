//! The auditor of jobs: workers are killed, stopped and sent away, Redis restarted or failed over, under a stream of jobs; in the
//! end each was done, and none twice but those that were running when something happened.

mod books;
mod fleet;
mod worker;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use books::{Books, Fault};
use fleet::{Fleet, Server};
use gateway_core::jobs::{Backoff, JobId, Jobs, NewJob, Part, Queues, State};
use gateway_work::bullmq::BullJobs;
use parking_lot::Mutex;
use rand::Rng;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep};

use super::TURN;
use super::plan::{Settings, about};

/// How long a worker may be silent.
const LEASE: Duration = Duration::from_secs(5);
/// Jobs each second.
const RATE: f64 = 50.0;
/// How many workers there are.
const WORKERS: usize = 3;
/// What lies between faults, about.
const FAULT_EVERY: Duration = Duration::from_secs(4);
/// How long everything may take to be done when nobody does any harm any more.
const HEALING: Duration = Duration::from_secs(180);
/// What of the newest may be gone with a primary that was failed over.
const TAIL: Duration = Duration::from_secs(10);

/// What was enqueued, and when that was acknowledged.
type Made = Arc<Mutex<HashMap<JobId, (NewJob, Instant)>>>;

#[tokio::test(flavor = "multi_thread")]
async fn every_job_is_done_and_none_twice_without_a_reason() {
    let _turn = TURN.lock().await;
    let settings = Settings::from_environment();
    println!(
        "seed {}, {:?}, {}",
        settings.seed,
        settings.chaos,
        if settings.sentinels { "failovers" } else { "restarts" }
    );
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(settings.sentinels).await;
    let jobs = worker::open(&server.url());
    let (made, over) = (Made::default(), Arc::new(AtomicBool::new(false)));
    let producing = tokio::spawn(produce(jobs.clone(), made.clone(), over.clone(), settings.random(1)));
    let mut fleet = Fleet::start(folder.path(), server, WORKERS).await;
    let mut random = settings.random(2);
    let until = Instant::now() + settings.chaos;
    let first = random.random_range(0..5);
    for number in 0.. {
        // All kinds take turns, and a short run has all of them, too.
        if number >= 5 && Instant::now() >= until {
            break;
        }
        sleep(about(&mut random, FAULT_EVERY)).await;
        let worker = random.random_range(0..WORKERS);
        match (first + number) % 5 {
            0 | 3 => fleet.kill(worker).await,
            1 => fleet.stop_for_longer_than(LEASE, worker, &mut random).await,
            2 => {
                fleet.harm_the_server(&mut random).await;
                if settings.sentinels {
                    make_again(&jobs, &made).await;
                }
            }
            _ => fleet.send_away(worker).await,
        }
    }
    over.store(true, Ordering::Relaxed);
    producing.await.unwrap();
    let made: Vec<_> = made.lock().keys().cloned().collect();
    let healed = heal(&jobs, made.len() as u64).await;
    let (faults, files) = fleet.end().await;
    let books = Books::read(&files);
    println!("{}", books.report(&made, &faults));
    let wrong = books.complaints(&made, &faults);
    if healed.is_err() || !wrong.is_empty() {
        println!("the books of the workers are in {}", folder.keep().display());
    }
    healed.unwrap();
    assert!(wrong.is_empty(), "seed {}: {wrong:#?}", settings.seed);
    for kind in [Fault::is_kill, Fault::is_stop, Fault::is_server] {
        assert!(faults.iter().any(kind), "a run without one of its faults: {faults:?}");
    }
}

/// Makes jobs until it is over. Each has an id, so that one whose answer was lost can be made again.
async fn produce(jobs: BullJobs, made: Made, over: Arc<AtomicBool>, mut random: rand::rngs::StdRng) {
    for number in 0u64.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let id = JobId::new(format!("job-{number}")).unwrap();
        let delay = Duration::from_millis(if random.random_bool(0.1) { random.random_range(1..3_000) } else { 0 });
        let job = NewJob {
            id: Some(id.clone()),
            delay,
            attempts: 3,
            backoff: Backoff::Exponential(Duration::from_millis(100)),
            priority: random.random_range(0..3),
            ..NewJob::new(if random.random_bool(0.1) { "again" } else { "once" }, RawValue::NULL.to_owned())
        };
        while let Err(error) = jobs.enqueue(&worker::queue(), &job).await {
            assert!(!error.is_permanent(), "{error}");
            sleep(Duration::from_millis(100)).await;
        }
        made.lock().insert(id, (job, Instant::now()));
        sleep(Duration::from_secs_f64(1.0 / RATE)).await;
    }
}

/// After a failover the new primary may not have what the old one acknowledged last. Whoever made it makes it again: it has ids.
async fn make_again(jobs: &BullJobs, made: &Made) {
    let recent: Vec<_> =
        made.lock().values().filter(|(_, at)| at.elapsed() < FLEETING).map(|(job, _)| job.clone()).collect();
    for job in recent {
        while let Err(error) = jobs.enqueue(&worker::queue(), &job).await {
            assert!(!error.is_permanent(), "{error}");
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// How far back is made again: a failover takes its time.
const FLEETING: Duration = TAIL.saturating_mul(10);

/// Waits until all is done. What has lost its worker too often waits for somebody to act, and here somebody does.
async fn heal(jobs: &BullJobs, all: u64) -> Result<(), String> {
    let deadline = Instant::now() + HEALING;
    let (queue, part) = (worker::queue(), Part { skip: 0, most: 1_000 });
    let mut last = String::new();
    while Instant::now() < deadline {
        let standings = jobs.survey().await.unwrap_or_default();
        if let Some(standing) = standings.iter().find(|standing| standing.queue == queue) {
            last = format!("{:?} of {all}", standing.counts);
            if standing.counts.completed >= all && standing.counts.failed == 0 {
                return Ok(());
            }
        }
        for dead in jobs.list(&queue, State::Failed, part).await.unwrap_or_default() {
            println!("given up, and tried again by hand: {} because {:?}", dead.job.id, dead.why);
            jobs.retry(&queue, &dead.job.id).await.ok();
        }
        sleep(Duration::from_millis(500)).await;
    }
    Err(format!("not all was done: {last}"))
}

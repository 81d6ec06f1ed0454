//! How many jobs a second, and what an idle queue costs: `make bench-jobs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use gateway_core::jobs::SqliteJobs;
use tokio::time::{Instant, sleep};

use super::backends::{bull, memory_of};
use super::bench::{Backend, Done, Store, at_once, doing, end, new, queue};
use super::many;
use crate::support::redis::Redis;

const JOBS: usize = 20_000;
const IDLE: Duration = Duration::from_secs(20);

/// What this process has used of a processor so far, in milliseconds.
fn used_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // Behind the name, which may have spaces: user and system time are the 12th and 13th, in hundredths of a second.
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10
}

/// A figure that Redis has of itself.
async fn figure(redis: &Redis, section: &str, name: &str) -> f64 {
    let info = redis.command(&format!("INFO {section}")).await;
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().parse().unwrap()
}

async fn jobs_per_second(name: &str, store: &Store) {
    let queue = queue("measured");
    let (begun, used) = (Instant::now(), used_ms());
    let all = futures_util::stream::iter(0..JOBS).map(|_| {
        let queue = &queue;
        async move { store.jobs.enqueue(queue, &new("x")).await.unwrap() }
    });
    all.buffer_unordered(64).for_each(|_| async {}).await;
    let (took, cpu) = (begun.elapsed().as_secs_f64(), used_ms() - used);
    println!("{name}: {:.0} enqueued/s by 64 at a time, {:.0} µs of CPU each", JOBS as f64 / took, per_job(cpu));
    let done = Arc::new(AtomicUsize::new(0));
    let count = done.clone();
    let handler = doing(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        async { Ok(None) }
    });
    let (begun, used) = (Instant::now(), used_ms());
    let worker = store.jobs.work(&queue, &at_once(16), handler).await.unwrap();
    while done.load(Ordering::Relaxed) < JOBS {
        sleep(Duration::from_millis(5)).await;
    }
    let (took, cpu) = (begun.elapsed().as_secs_f64(), used_ms() - used);
    println!("{name}: {:.0} jobs/s with concurrency 16, {:.0} µs of CPU each", JOBS as f64 / took, per_job(cpu));
    end(worker).await;
}

fn per_job(cpu_ms: u64) -> f64 {
    cpu_ms as f64 * 1_000.0 / JOBS as f64
}

async fn idle(name: &str, store: &Store, redis: Option<&Redis>) {
    let (queue, done) = (queue("idle"), Done::default());
    let worker = store.jobs.work(&queue, &at_once(16), done.handler()).await.unwrap();
    sleep(Duration::from_secs(2)).await;
    let used = used_ms();
    let before = match redis {
        Some(redis) => (
            figure(redis, "stats", "total_commands_processed").await,
            figure(redis, "cpu", "used_cpu_user").await + figure(redis, "cpu", "used_cpu_sys").await,
        ),
        None => (0.0, 0.0),
    };
    sleep(IDLE).await;
    let seconds = IDLE.as_secs_f64();
    println!("{name}, idle: {:.2} ms of CPU a second", (used_ms() - used) as f64 / seconds);
    if let Some(redis) = redis {
        // What scripts call counts, too; what asks for the figures itself is taken off.
        let commands = figure(redis, "stats", "total_commands_processed").await - before.0 - 3.0;
        let cpu = figure(redis, "cpu", "used_cpu_user").await + figure(redis, "cpu", "used_cpu_sys").await - before.1;
        println!(
            "{name}, idle: {:.1} commands/s, {:.2} ms of CPU a second in Redis",
            commands / seconds,
            cpu * 1_000.0 / seconds
        );
    }
    end(worker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn throughput_and_what_an_idle_queue_costs() {
    let memory = memory_of(many::ALL).open().await;
    jobs_per_second("memory", &memory).await;
    let folder = tempfile::tempdir().unwrap();
    let file = SqliteJobs::open(&folder.path().join("jobs.sqlite"), many::ALL).await.unwrap();
    let file = Backend::shared(Store::of(file)).open().await;
    jobs_per_second("SQLite", &file).await;
    idle("SQLite", &file, None).await;
    let redis = Redis::start().await;
    let shared = Store::of(bull(&redis.url(), many::ALL));
    jobs_per_second("Redis", &shared).await;
    let used = figure(&redis, "cpu", "used_cpu_user").await + figure(&redis, "cpu", "used_cpu_sys").await;
    println!("Redis: {:.0} µs of CPU in Redis for each, from its coming to its end", used * 1e6 / JOBS as f64);
    idle("Redis", &shared, Some(&redis)).await;
}

//! Schedules: each tick once, however many nodes there are, whatever their clocks say, and whichever of them pauses or ends.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use gateway_core::config::{JobQueue, Missed, Schedule};
use gateway_core::jobs::{
    Failure, Handler, Job, JobId, Jobs, Kept, MemoryJobs, Outcome, Part, QueueName, Queues, State, Worker, Working,
};
use gateway_core::metrics::Metrics;
use gateway_core::redis::Commands;
use gateway_core::ticks::{MemoryTicks, RedisTicks, Run, SqliteTicks, Ticks};
use gateway_work::bullmq::BullJobs;
use gateway_work::schedules::{Around, Clock, Schedules, Tick};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio_util::task::AbortOnDropHandle;

use crate::support::process::Process;
use crate::support::redis::Redis;
use crate::support::{self, eventually};

const KEPT: Kept = Kept { time: Duration::from_secs(3600), most: 1_000 };
const QUEUE: &str = "default";
/// A queue on which others work.
const THEIRS: &str = "theirs";

fn schedule(name: &str, cron: &str, missed: Missed) -> Schedule {
    let text = format!("name = \"{name}\"\ncron = \"{cron}\"\nkind = \"http\"\nqueue = \"{QUEUE}\"\n");
    Schedule { missed, ..toml::from_str(&text).unwrap() }
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

type Deed = dyn Fn(&Job) -> Result<(), Failure> + Send + Sync;

/// Does whatever is scheduled, as a test wants it.
struct Doing(Box<Deed>);

#[async_trait]
impl Handler for Doing {
    async fn handle(&self, job: &Job) -> Result<Option<Box<RawValue>>, Failure> {
        (self.0)(job).map(|()| None)
    }
}

/// A node that has nothing but schedules and a worker.
struct Scheduler {
    schedules: Arc<Schedules>,
    /// How far its clock is ahead, in milliseconds.
    ahead: Arc<AtomicI64>,
    /// When its clock stands still, in milliseconds since 1970; 0 if it does not.
    frozen: Arc<AtomicU64>,
    /// It has the handler, and so must not go.
    _tick: Arc<Tick>,
    _kinds: Arc<dyn Handler>,
    _worker: Worker,
    _running: AbortOnDropHandle<()>,
}

impl Scheduler {
    async fn start(
        name: &str,
        schedules: &[Schedule],
        jobs: Arc<dyn Jobs>,
        ticks: Arc<dyn Ticks>,
        ahead: i64,
        doing: Arc<dyn Handler>,
    ) -> Self {
        let (ahead, frozen) = (Arc::new(AtomicI64::new(ahead)), Arc::new(AtomicU64::new(0)));
        let (by, still) = (ahead.clone(), frozen.clone());
        let clock: Clock = Arc::new(move || match still.load(Ordering::SeqCst) {
            0 => now_ms().saturating_add_signed(by.load(Ordering::SeqCst)),
            still => still,
        });
        let metrics = Arc::new(Metrics::new());
        let tick = Tick::new(ticks.clone(), name, metrics.clone());
        tick.done_by(&doing);
        let queue = QueueName::new(QUEUE).unwrap();
        let working = Working { concurrency: 2, ..Working::default() };
        let worker = jobs.work(&queue, &working, tick.clone()).await.unwrap();
        let mut queues = support::config(&[]).jobs;
        queues.queue.push(JobQueue { concurrency: Some(0), ..JobQueue::named(THEIRS) });
        let around = Around { queues, node: name.to_owned(), jobs, ticks, clock, metrics };
        let schedules = Schedules::new(schedules, around).unwrap();
        let running = AbortOnDropHandle::new(tokio::spawn(schedules.clone().run()));
        Self { schedules, ahead, frozen, _tick: tick, _kinds: doing, _worker: worker, _running: running }
    }

    /// As if its process were stopped: nothing passes for it.
    fn pause(&self) {
        self.frozen.store(now_ms().saturating_add_signed(self.ahead.load(Ordering::SeqCst)), Ordering::SeqCst);
    }

    fn resume(&self) {
        self.frozen.store(0, Ordering::SeqCst);
    }
}

fn nothing() -> Arc<dyn Handler> {
    Arc::new(Doing(Box::new(|_| Ok(()))))
}

/// Each tick from the first to the last, once.
fn each_once(runs: &[Run], every: u64) {
    let mut times: BTreeMap<u64, usize> = BTreeMap::new();
    for run in runs.iter().filter(|run| run.last) {
        *times.entry(run.tick).or_default() += 1;
    }
    assert!(times.values().all(|count| *count == 1), "{times:?}");
    let ticks: Vec<_> = times.keys().copied().collect();
    assert!(ticks.windows(2).all(|pair| pair[1] - pair[0] == every), "{ticks:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_are_apart_and_pauses_change_nothing() {
    let redis = Redis::start().await;
    let commands = || Commands::new(&redis.url(), &support::config(&[]).redis).unwrap();
    let schedules = [schedule("beat", "* * * * * *", Missed::Skip)];
    let ticks = Arc::new(RedisTicks::new(commands(), "t"));
    let mut nodes = Vec::new();
    for (number, ahead) in [-2_500, 0, 1_500].into_iter().enumerate() {
        let jobs = Arc::new(BullJobs::new(commands(), "t", "t-jobs", KEPT).unwrap());
        let own: Arc<dyn Ticks> = Arc::new(RedisTicks::new(commands(), "t"));
        nodes.push(Scheduler::start(&format!("n{number}"), &schedules, jobs, own, ahead, nothing()).await);
    }
    let count = || async { ticks.runs("beat", 100).await.unwrap().len() };
    eventually("it begins", || async { count().await >= 3 }).await;
    for node in &nodes {
        let before = count().await;
        node.pause();
        eventually("the others go on", || async { count().await >= before + 3 }).await;
        node.resume();
    }
    let before = count().await;
    eventually("all go on", || async { count().await >= before + 3 }).await;
    nodes.clear();
    each_once(&ticks.runs("beat", 100).await.unwrap(), 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tick_that_nobody_was_there_for_is_made_up_for_once_or_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ticks.sqlite");
    let schedules = [schedule("once", "0 0 * * * *", Missed::Once), schedule("skip", "0 0 * * * *", Missed::Skip)];
    let start = async || {
        let ticks = Arc::new(SqliteTicks::open(&path).await.unwrap());
        let node =
            Scheduler::start("n", &schedules, Arc::new(MemoryJobs::new(KEPT)), ticks.clone(), 0, nothing()).await;
        (node, ticks)
    };
    // The first time nothing was missed: before it was there it had no ticks.
    let (node, ticks) = start().await;
    let known = || async { ticks.last("once@none", 7).await.is_ok() };
    eventually("it has looked", known).await;
    // Three hours pass without it, until half past one: just after the hour a tick is late and not missed.
    node.pause();
    let hours = node.frozen.load(Ordering::SeqCst) / 3_600_000;
    node.frozen.store((hours + 3) * 3_600_000 + 1_800_000, Ordering::SeqCst);
    eventually("it is made up for", || async { ticks.runs("once", 100).await.unwrap().len() == 1 }).await;
    let tick = ticks.runs("once", 1).await.unwrap()[0].tick;
    let now = node.frozen.load(Ordering::SeqCst);
    assert!(tick % 3_600_000 == 0 && tick <= now && now - tick < 3_600_000, "the last of them: {tick}, now {now}");
    // Each of the next is one of its own.
    node.frozen.store(tick + 3_600_000, Ordering::SeqCst);
    eventually("the next one", || async { ticks.runs("once", 100).await.unwrap().len() == 2 }).await;
    eventually("for both", || async { ticks.runs("skip", 100).await.unwrap().len() == 1 }).await;
    let skipped = ticks.runs("skip", 100).await.unwrap();
    assert_eq!(skipped[0].tick, tick + 3_600_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_tried_again_and_each_attempt_is_listed() {
    let ticks = Arc::new(MemoryTicks::default());
    let done = Arc::new(Mutex::new(Vec::new()));
    let noted = done.clone();
    let doing = Doing(Box::new(move |job| {
        noted.lock().push((job.kind.clone(), job.data.get().to_owned(), job.attempt));
        match job.data.get() {
            r#"{"as":"never"}"# => Err(Failure::never("it cannot be")),
            r#"{"as":"panic"}"# => panic!("for the test"),
            _ if job.attempt == 1 => Err(Failure::after(Duration::from_millis(10), "not yet")),
            _ => Ok(()),
        }
    }));
    let named = |name: &str, says: &str| {
        let mut one = schedule(name, "0 0 1 1 *", Missed::Skip);
        one.data.insert("as".into(), says.into());
        Schedule { attempts: 2, ..one }
    };
    let schedules = [named("again", "again"), named("never", "never"), named("panic", "panic")];
    let jobs = Arc::new(MemoryJobs::new(KEPT));
    let node = Scheduler::start("n1", &schedules, jobs, ticks.clone(), 0, Arc::new(doing)).await;
    for name in ["again", "never", "panic"] {
        assert!(node.schedules.trigger(name).await.unwrap().is_some_and(|enqueued| !enqueued.known));
    }
    assert_eq!(node.schedules.trigger("none").await.unwrap(), None);
    let outcomes = || async {
        let mut all = Vec::new();
        for listed in node.schedules.list(10).await.unwrap() {
            for run in listed.runs {
                all.push((run.schedule, run.attempt, run.failed, run.last));
            }
        }
        all.sort();
        all
    };
    let failed = |why: &str| Some(why.to_owned());
    let expected = [
        ("again".to_owned(), 1, failed("not yet"), false),
        ("again".to_owned(), 2, None, true),
        ("never".to_owned(), 1, failed("it cannot be"), true),
        ("panic".to_owned(), 1, failed("its handler panicked"), false),
        ("panic".to_owned(), 2, failed("its handler panicked"), true),
    ];
    eventually("all have ended", || async { outcomes().await.len() == expected.len() }).await;
    assert_eq!(outcomes().await, expected);
    assert!(done.lock().contains(&("http".to_owned(), r#"{"as":"again"}"#.to_owned(), 2)));
    let listed = node.schedules.list(1).await.unwrap();
    assert!(listed.iter().all(|one| one.runs.len() == 1 && one.next.is_some_and(|next| next > now_ms())));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_for_good_is_done_when_somebody_tries_it_again() {
    let (ticks, jobs) = (Arc::new(MemoryTicks::default()), Arc::new(MemoryJobs::new(KEPT)));
    let mended = Arc::new(AtomicBool::new(false));
    let is_mended = mended.clone();
    let doing =
        Doing(Box::new(
            move |_| {
                if is_mended.load(Ordering::SeqCst) { Ok(()) } else { Err(Failure::never("it is away")) }
            },
        ));
    let beat = Schedule { attempts: 1, ..schedule("beat", "* * * * * *", Missed::Skip) };
    let node = Scheduler::start("n1", &[beat], jobs.clone(), ticks.clone(), 0, Arc::new(doing)).await;
    let runs = || async { ticks.runs("beat", 100).await.unwrap() };
    eventually("some have failed", || async { runs().await.len() >= 3 }).await;
    node.schedules.replace(&[]).unwrap();
    let queue = QueueName::new(QUEUE).unwrap();
    let failed = || async { jobs.list(&queue, State::Failed, Part { skip: 0, most: 100 }).await.unwrap().len() };
    eventually("all have ended", || async { failed().await == runs().await.len() }).await;
    mended.store(true, Ordering::SeqCst);
    let runs_before = runs().await;
    for run in &runs_before {
        assert!(run.last && run.failed.is_some());
        let id = JobId::new(format!("schedule-beat-{}", run.tick)).unwrap();
        assert_eq!(jobs.retry(&queue, &id).await.unwrap(), Outcome::Done);
    }
    let done = || async { runs().await.iter().filter(|run| run.failed.is_none()).count() };
    eventually("each is done", || async { done().await == runs_before.len() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn others_get_a_tick_as_it_was_configured_and_once() {
    let (ticks, jobs) = (Arc::new(MemoryTicks::default()), Arc::new(MemoryJobs::new(KEPT)));
    let mut beat = schedule("beat", "* * * * * *", Missed::Once);
    beat.queue = THEIRS.to_owned();
    beat.kind = "resize".to_owned();
    beat.data.insert("width".into(), 7.into());
    let start = async |name: &str, schedules: &[Schedule], ahead: i64| {
        Scheduler::start(name, schedules, jobs.clone(), ticks.clone(), ahead, nothing()).await
    };
    let (one, two) = (start("n1", &[beat.clone()], 0).await, start("n2", &[beat.clone()], 700).await);
    let runs = || async { ticks.runs("beat", 100).await.unwrap() };
    eventually("it is said when they were enqueued", || async { runs().await.len() >= 3 }).await;
    // From now on nothing is due for a long time, and who did the jobs has taken them out.
    let yearly = Schedule { cron: "0 0 1 1 *".to_owned(), ..beat.clone() };
    for node in [&one, &two] {
        node.schedules.replace(std::slice::from_ref(&yearly)).unwrap();
    }
    let queue = QueueName::new(THEIRS).unwrap();
    let waiting = || async { jobs.list(&queue, State::Waiting, Part { skip: 0, most: 100 }).await.unwrap() };
    eventually("each has one", || async { waiting().await.len() == runs().await.len() }).await;
    for found in waiting().await {
        assert_eq!((&*found.job.kind, found.job.data.get()), ("resize", r#"{"width":7}"#));
        jobs.remove(&queue, &found.job.id).await.unwrap();
    }
    each_once(&runs().await, 1_000);
    let triggered = one.schedules.trigger("beat").await.unwrap().unwrap();
    assert_eq!((waiting().await[0].job.id.clone(), &*waiting().await[0].job.kind), (triggered.id, "resize"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_got_was_not_missed_when_a_node_starts() {
    let (ticks, jobs) = (Arc::new(MemoryTicks::default()), Arc::new(MemoryJobs::new(KEPT)));
    let theirs = Schedule { queue: THEIRS.to_owned(), ..schedule("hourly", "0 * * * *", Missed::Once) };
    let schedules = [theirs, schedule("beat", "* * * * * *", Missed::Skip)];
    let start =
        async |ahead: i64| Scheduler::start("n", &schedules, jobs.clone(), ticks.clone(), ahead, nothing()).await;
    let beats = || async { ticks.runs("beat", 100).await.unwrap().len() };
    let node = start(0).await;
    eventually("it has looked at all", || async { beats().await >= 1 }).await;
    let ahead = 3 * 3_600_000;
    node.ahead.store(ahead, Ordering::SeqCst);
    let queue = QueueName::new(THEIRS).unwrap();
    let waiting = || async {
        let found = jobs.list(&queue, State::Waiting, Part { skip: 0, most: 100 }).await.unwrap();
        found.into_iter().map(|found| found.job.id).collect::<Vec<_>>()
    };
    eventually("it is made up for", || async { !waiting().await.is_empty() }).await;
    drop(node);
    let done = waiting().await;
    for id in &done {
        jobs.remove(&queue, id).await.unwrap();
    }
    let before = beats().await;
    let _node = start(ahead).await;
    eventually("the next one has looked at all", || async { beats().await >= before + 2 }).await;
    assert!(waiting().await.iter().all(|id| !done.contains(id)), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_schedules_take_over_without_a_restart() {
    let ticks = Arc::new(MemoryTicks::default());
    let beat = schedule("beat", "* * * * * *", Missed::Once);
    let jobs = Arc::new(MemoryJobs::new(KEPT));
    let node = Scheduler::start("n1", std::slice::from_ref(&beat), jobs, ticks.clone(), 0, nothing()).await;
    let count = |name: &'static str| {
        let ticks = ticks.clone();
        async move { ticks.runs(name, 100).await.unwrap().len() }
    };
    eventually("it begins", || async { count("beat").await >= 2 }).await;
    assert!(node.schedules.replace(&[schedule("beat", "nonsense", Missed::Once)]).is_err());
    let before = count("beat").await;
    eventually("a mistake changes nothing", || async { count("beat").await > before }).await;
    // Other times of the same name: what was before them was not missed.
    node.schedules
        .replace(&[schedule("beat", "0 0 1 1 *", Missed::Once), schedule("other", "* * * * * *", Missed::Skip)])
        .unwrap();
    eventually("the other begins", || async { count("other").await >= 3 }).await;
    let runs = ticks.runs("beat", 100).await.unwrap();
    each_once(&runs, 1_000);
    let newest = runs.iter().map(|run| run.tick).max().unwrap();
    let first = ticks.runs("other", 100).await.unwrap().iter().map(|run| run.tick).min().unwrap();
    assert!(newest <= first, "{newest} {first}");
}

/// The schedules of a file, with mails that go into the log.
fn file(path: &std::path::Path, schedules: &[(&str, &str)]) {
    let mut text = "mail.to_log = true\nmail.from = \"shop@example.com\"\n".to_owned();
    for (name, cron) in schedules {
        write!(
            text,
            "[[schedule]]\nname = \"{name}\"\ncron = \"{cron}\"\nkind = \"mail\"\n\
             data = {{ to = \"ann@example.com\", subject = \"{name}\", text = \"x\" }}\n"
        )
        .unwrap();
    }
    // As editors do: a node may read it at any moment.
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, path).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_stop_end_and_learn_of_other_schedules_do_each_tick_once() {
    let (redis, folder) = (Redis::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("gateway.toml");
    file(&path, &[("beat", "* * * * * *")]);
    let url = redis.url();
    let start = || Process::start(&[("GATEWAY_REDIS_URL", &url)], Some(&path), None);
    let (one, two, three) = (start(), start(), start());
    let commands = Commands::new(&url, &support::config(&[]).redis).unwrap();
    let ticks = RedisTicks::new(commands, "gateway");
    let count = |name: &'static str| {
        let ticks = &ticks;
        async move { ticks.runs(name, 100).await.unwrap().len() }
    };
    eventually("it begins", || async { count("beat").await >= 3 }).await;
    one.signal("-STOP");
    let before = count("beat").await;
    eventually("the others go on", || async { count("beat").await >= before + 4 }).await;
    one.signal("-CONT");
    two.signal("-KILL");
    let before = count("beat").await;
    eventually("two go on", || async { count("beat").await >= before + 4 }).await;
    file(&path, &[("other", "* * * * * *")]);
    // One learns of it while another one starts.
    one.signal("-HUP");
    let four = start();
    eventually("the other begins", || async { count("other").await >= 2 }).await;
    three.signal("-HUP");
    let before = count("other").await;
    eventually("the other goes on", || async { count("other").await >= before + 4 }).await;
    // What a node had that was killed comes back when its lease is over.
    let open = || async {
        let keys = redis.command("ZCARD gateway:open:beat").await;
        keys.trim().trim_start_matches(':') == "0"
    };
    eventually("all that was begun has ended", open).await;
    each_once(&ticks.runs("beat", 100).await.unwrap(), 1_000);
    each_once(&ticks.runs("other", 100).await.unwrap(), 1_000);
    let beats = count("beat").await;
    let others = count("other").await;
    eventually("time passes", || async { count("other").await >= others + 3 }).await;
    assert_eq!(count("beat").await, beats, "it is gone");
    drop((one, three, four));
}

//! The same queues seen by BullMQ's own libraries for Node and Python, and by Bull Board: each does what the other has made.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use gateway_core::jobs::{Backoff, Failure, Job, JobId, NewJob, Outcome, State};
use gateway_core::redis::Commands;
use gateway_core::traces::Trace;
use gateway_work::bullmq::BullJobs;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::bench::{Done, Store, at_once, doing, end, found, id, listed, named, queue, raw, state_becomes};
use super::many;
use crate::support::redis::Redis;
use crate::support::{self, eventually, http};

const PREFIX: &str = "bull";

/// A back end of others.
struct Theirs {
    _child: Child,
    stdin: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
    /// What it did while it was asked something else.
    did: Vec<Value>,
}

impl Theirs {
    async fn start(mut command: Command, redis: &Redis, queue: &str) -> Self {
        command.args([&redis.url(), PREFIX, queue]).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("`make tools` installs what is missing");
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut theirs = Self { _child: child, stdin, said: BufReader::new(stdout).lines(), did: Vec::new() };
        assert_eq!(theirs.line().await, json!({"ready": true}));
        theirs
    }

    async fn node(redis: &Redis, queue: &str) -> Self {
        let mut command = Command::new("node");
        command.arg(clients().join("jobs/bullmq.mjs"));
        Self::start(command, redis, queue).await
    }

    async fn python(redis: &Redis, queue: &str) -> Self {
        let mut command = Command::new(clients().join("../../../.tools/venv/bin/python"));
        command.arg(clients().join("jobs/bullmq_in_python.py"));
        Self::start(command, redis, queue).await
    }

    async fn line(&mut self) -> Value {
        let line = timeout(support::PATIENCE * 3, self.said.next_line()).await.expect("it says nothing");
        serde_json::from_str(&line.unwrap().expect("it has ended: `make tools` installs what it needs")).unwrap()
    }

    async fn ask(&mut self, order: &str, mut about: Value) -> Value {
        about["order"] = order.into();
        self.stdin.write_all(format!("{about}\n").as_bytes()).await.unwrap();
        loop {
            let mut line = self.line().await;
            match line.get_mut("did") {
                Some(did) => self.did.push(did.take()),
                None => return line,
            }
        }
    }

    async fn add(&mut self, kind: &str, data: Value, options: Value) -> JobId {
        let added = self.ask("add", json!({"kind": kind, "data": data, "options": options})).await;
        JobId::known(added["id"].as_str().unwrap()).unwrap()
    }

    async fn does(&mut self) -> Value {
        while self.did.is_empty() {
            let mut line = self.line().await;
            self.did.push(line["did"].take());
        }
        self.did.remove(0)
    }
}

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

fn ours(redis: &Redis) -> Store {
    let settings = support::config(&[]).redis;
    let commands = Commands::new(&redis.url(), &settings).unwrap();
    Store::of(BullJobs::new(commands, &settings.prefix, PREFIX, many::ALL).unwrap().traced())
}

/// Traces are where BullMQ's telemetry for Node has them: ours are found by it, and theirs by us.
async fn traces_go_on(redis: &Redis, theirs: &mut Theirs, name: &str) {
    let (store, queue) = (ours(redis), queue(name));
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let kept = json!({ "traceparent": parent, "tracestate": "a=1" });
    let trace = Trace::parse(parent, "a=1");
    let job = NewJob { trace: trace.clone(), ..named("traced") };
    store.jobs.enqueue(&queue, &job).await.unwrap();
    let seen = theirs.ask("find", json!({"id": "traced"})).await;
    assert_eq!(seen["state"], "waiting", "it is let go: {seen}");
    assert_eq!(serde_json::from_str::<Value>(seen["trace"].as_str().unwrap()).unwrap(), kept);
    let made = theirs.add("theirs", json!({}), json!({"telemetry": {"metadata": kept.to_string()}})).await;
    let rubbish = theirs.add("rubbish", json!({}), json!({"telemetry": {"metadata": "{\"traceparent\":7}"}})).await;
    let done = Done::default();
    let seen = done.clone();
    let handler = doing(move |job: Job| {
        seen.add(&job);
        async move { Ok(None) }
    });
    let worker = store.jobs.work(&queue, &at_once(2), handler).await.unwrap();
    for (id, expected) in [(&id("traced"), &trace), (&made, &trace), (&rubbish, &None)] {
        state_becomes(&store, &queue, id, State::Completed).await;
        assert_eq!(done.all().iter().find(|job| job.id == *id).map(|job| &job.trace), Some(expected));
    }
    end(worker).await;
}

/// What they make we do.
async fn ours_do_theirs(redis: &Redis, theirs: &mut Theirs, name: &str) {
    let (store, queue) = (ours(redis), queue(name));
    let data = json!({"to": "ä@example.org", "n": 1.5, "list": [null, true]});
    let plain = theirs.add("mail", data.clone(), json!({})).await;
    theirs.add("mail", json!(1), json!({"jobId": "order-7"})).await;
    let retried =
        theirs.add("again", json!({}), json!({"attempts": 3, "backoff": {"type": "fixed", "delay": 50}})).await;
    let dead = theirs.add("dead", json!({}), json!({"attempts": 1})).await;
    let late = theirs.add("late", json!({}), json!({"delay": 3_600_000})).await;
    assert_eq!(listed(&store, &queue, State::Delayed).await, ["late"]);
    assert!(store.jobs.enqueue(&queue, &named("order-7")).await.unwrap().known, "their id is one of ours");
    let done = Done::default();
    let seen = done.clone();
    let handler = doing(move |job: Job| {
        seen.add(&job);
        async move {
            match &*job.kind {
                "again" if job.attempt < 3 => Err(Failure::not_now("not yet")),
                "dead" => Err(Failure::never("the address is wrong")),
                _ => Ok(Some(raw(r#"{"by":"us"}"#))),
            }
        }
    });
    let worker = store.jobs.work(&queue, &at_once(2), handler).await.unwrap();
    for id in [&plain, &retried, &id("order-7")] {
        state_becomes(&store, &queue, id, State::Completed).await;
        let seen = theirs.ask("find", json!({"id": id.as_str()})).await;
        assert_eq!((&seen["state"], &seen["result"]), (&json!("completed"), &json!({"by": "us"})), "{seen}");
    }
    state_becomes(&store, &queue, &dead, State::Failed).await;
    let seen = theirs.ask("find", json!({"id": dead.as_str()})).await;
    assert_eq!((&seen["state"], &seen["why"]), (&json!("failed"), &json!("the address is wrong")));
    let first = done.all().into_iter().find(|job| job.id == plain).unwrap();
    let got: Value = serde_json::from_str(first.data.get()).unwrap();
    assert_eq!((&*first.kind, got, first.attempt, first.attempts), ("mail", data, 1, 1));
    assert_eq!(done.all().iter().filter(|job| job.id == retried).count(), 3);
    assert_eq!(store.queues.remove(&queue, &late).await.unwrap(), Outcome::Done);
    end(worker).await;
}

/// What we make they do.
async fn theirs_do_ours(redis: &Redis, theirs: &mut Theirs, name: &str, by: &str) {
    let (store, queue) = (ours(redis), queue(name));
    theirs.ask("work", json!({})).await;
    let data = r#"{"to":"ä@example.org","n":1.5,"list":[null,true]}"#;
    let job = NewJob { id: Some(id("order-8")), attempts: 3, priority: 4, ..NewJob::new("mail", raw(data)) };
    store.jobs.enqueue(&queue, &job).await.unwrap();
    let did = theirs.does().await;
    let expected: Value = serde_json::from_str(data).unwrap();
    assert_eq!((&did["id"], &did["kind"], &did["data"]), (&json!("order-8"), &json!("mail"), &expected), "{did}");
    let done = state_becomes(&store, &queue, &id("order-8"), State::Completed).await;
    assert_eq!(serde_json::from_str::<Value>(done.result.unwrap().get()).unwrap(), json!({"by": by}));
    let backoff = Backoff::Exponential(Duration::from_millis(100));
    let fails = NewJob { attempts: 2, backoff, ..named("fails") };
    store.jobs.enqueue(&queue, &fails).await.unwrap();
    for attempt in [1, 2] {
        assert_eq!(theirs.does().await["attempt"], attempt);
    }
    let failed = state_becomes(&store, &queue, &id("fails"), State::Failed).await;
    assert!(failed.why.as_deref().unwrap().contains(&format!("{by} says no")), "{failed:?}");
    let delay = Duration::from_millis(500);
    store.jobs.enqueue(&queue, &NewJob { delay, ..named("late") }).await.unwrap();
    assert_eq!(theirs.does().await["id"], "late");
    state_becomes(&store, &queue, &id("late"), State::Completed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_node_both_ways() {
    let redis = Redis::start().await;
    ours_do_theirs(&redis, &mut Theirs::node(&redis, "theirs").await, "theirs").await;
    theirs_do_ours(&redis, &mut Theirs::node(&redis, "ours").await, "ours", "node").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traces_go_on_in_node_and_from_there() {
    let redis = Redis::start().await;
    traces_go_on(&redis, &mut Theirs::node(&redis, "traced").await, "traced").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_python_both_ways() {
    let redis = Redis::start().await;
    ours_do_theirs(&redis, &mut Theirs::python(&redis, "theirs").await, "theirs").await;
    theirs_do_ours(&redis, &mut Theirs::python(&redis, "ours").await, "ours", "python").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bull_board_lists_retries_and_pauses() {
    let redis = Redis::start().await;
    let (store, queue) = (ours(&redis), queue("seen"));
    let handler = doing(|job: Job| async move {
        if job.kind == "bad" && job.attempt == 1 && job.data.get() == "{}" {
            Err(Failure::never("no"))
        } else {
            Ok(None)
        }
    });
    for name in ["good", "bad"] {
        store.jobs.enqueue(&queue, &named(name)).await.unwrap();
    }
    let worker = store.jobs.work(&queue, &at_once(1), handler).await.unwrap();
    state_becomes(&store, &queue, &id("bad"), State::Failed).await;
    end(worker).await;
    let mut theirs = Theirs::node(&redis, "seen").await;
    let port = theirs.ask("board", json!({})).await["port"].as_u64().unwrap();
    let board = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()));
    let (status, body) = http("GET", board, "/api/queues?activeQueue=seen&status=failed&page=1", "").await;
    assert!(status == 200 && body.contains("\"bad\"") && body.contains("\"failedReason\":\"no\""), "{status}: {body}");
    let put = async |path: &str| http("PUT", board, path, "Content-Length: 0\r\n").await;
    let (status, body) = put("/api/queues/seen/pause").await;
    assert_eq!(status, 200, "{body}");
    let paused = async || store.queues.survey().await.unwrap()[0].paused;
    assert!(paused().await, "what it pauses is paused for us");
    let (status, body) = put("/api/queues/seen/bad/retry").await;
    assert!((200..300).contains(&status), "{status}: {body}");
    assert_eq!(found(&store, &queue, &id("bad")).await.state, State::Waiting);
    let done = Done::default();
    let worker = store.jobs.work(&queue, &at_once(1), done.handler()).await.unwrap();
    put("/api/queues/seen/resume").await;
    eventually("it goes on", async || !paused().await).await;
    done.reach(1).await;
    state_becomes(&store, &queue, &id("bad"), State::Completed).await;
    end(worker).await;
}

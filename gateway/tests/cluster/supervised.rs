//! Tasks that must not end: if one panics, the process ends with 70 and names it.
//!
//! What makes a task panic here is what it logs: a layer of this test's process panics in whoever says a certain text.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use serde_json::{Value, json};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::connecting::lock;
use crate::support::client::Client;
use crate::support::redis::Redis;
use crate::support::{PATIENCE, eventually};

/// The text at which the process panics.
const PANIC_AT: &str = "PANIC_AT";

struct PanicAt(String);

struct Said(String);

impl tracing::field::Visit for Said {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

impl<S: tracing::Subscriber> Layer<S> for PanicAt {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut said = Said(String::new());
        event.record(&mut said);
        assert_ne!(said.0, self.0, "made to panic");
    }
}

#[test]
#[ignore = "the process of the other tests of this module"]
fn the_process() {
    let lines = tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr);
    let at = PanicAt(std::env::var(PANIC_AT).unwrap());
    tracing_subscriber::registry().with(EnvFilter::new("info")).with(lines).with(at).init();
    let config = gateway_core::config::load(None, std::env::vars()).unwrap();
    std::process::exit(gateway::process::run(gateway::process::Role::Serve, config).into());
}

/// A node in a process of its own, and what it logs.
struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Process {
    fn start(mut command: Command, settings: &[(&str, &str)]) -> Self {
        let mut child = command
            .envs([("GATEWAY_LISTEN", "127.0.0.1:0"), ("GATEWAY_ADMIN_LISTEN", "127.0.0.1:0")])
            .envs(settings.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (said, lines) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).all(|line| said.send(line).is_ok()));
        Self { child, lines }
    }

    /// One that panics in whoever says a text.
    fn panicking_at(text: &str, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "supervised::the_process", "--ignored", "--nocapture"]).env(PANIC_AT, text);
        Self::start(command, settings)
    }

    /// The next line of its log.
    fn line(&self) -> Option<Value> {
        let line = self.lines.recv_timeout(PATIENCE).ok()?;
        // What the panic itself prints is no JSON.
        Some(serde_json::from_str(&line).unwrap_or_default())
    }

    /// Reads until a line with a message, and returns its fields.
    fn wait_for(&self, message: &str) -> Value {
        loop {
            let line = self.line().unwrap_or_else(|| panic!("it never said {message:?}"));
            if line["fields"]["message"] == message {
                return line["fields"].clone();
            }
        }
    }

    /// Expects it to end because of a task.
    fn ends_for(&mut self, task: &str) {
        let fields = self.wait_for("the node ends");
        assert_eq!((&fields["task"], &fields["code"]), (&task.into(), &70.into()), "{fields}");
        assert!(fields["why"].as_str().unwrap().contains("made to panic"), "{fields}");
        assert_eq!(self.child.wait().unwrap().code(), Some(70));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_that_no_longer_listens_ends_the_node() {
    let redis = Redis::start().await;
    let mut node = Process::panicking_at("the bus lost Redis", &[("GATEWAY_REDIS_URL", &redis.url())]);
    node.wait_for("ready");
    redis.command("CLIENT KILL TYPE pubsub").await;
    node.ends_for("listener of the bus");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fan_out_that_panics_ends_the_node() {
    let redis = Redis::start().await;
    let text = "filled a gap of the feed from the log";
    let mut node = Process::panicking_at(text, &[("GATEWAY_REDIS_URL", &redis.url())]);
    node.wait_for("ready");
    // Again and again: the first time it may not have listened to anything yet.
    let killing = tokio::spawn(async move {
        loop {
            redis.command("CLIENT KILL TYPE pubsub").await;
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    });
    node.ends_for("fan-out");
    killing.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_of_the_log_that_panics_ends_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let settings = [("GATEWAY_DATA_DIR", data), ("GATEWAY_LOG__DEDUPE_WINDOW", "800ms")];
    let mut node = Process::panicking_at("old events were not removed", &settings);
    node.wait_for("ready");
    let _locked = lock(&folder.path().join("log.sqlite")).await;
    node.ends_for("writer of the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_log_nobody_reads_any_more_goes_on() {
    let command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    let mut node = Process::start(command, &[("GATEWAY_DATA_DIR", ""), ("GATEWAY_TELEMETRY__FORMAT", "json")]);
    let address = node.wait_for("ready")["address"].as_str().unwrap().parse().unwrap();
    // The reader ends with the first line that nobody takes, and the pipe with it.
    drop(std::mem::replace(&mut node.lines, mpsc::channel().1));
    let signal = |name: &str| {
        let sent = Command::new("kill").args([name, &node.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    };
    for _ in 0..3 {
        signal("-HUP");
        Client::connect(address).await;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    signal("-TERM");
    let mut ended = None;
    eventually("it has stopped", || {
        ended = node.child.try_wait().unwrap();
        std::future::ready(ended.is_some())
    })
    .await;
    let ended = ended.unwrap();
    assert_eq!((ended.code(), ended.signal()), (Some(0), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_publishes_are_a_line_and_a_count_and_say_whose_they_were() {
    const TIMES: u64 = 100;
    let mut redis = Redis::start().await;
    let settings = [
        ("GATEWAY_REDIS_URL", redis.url()),
        ("GATEWAY_NODE_NAME", "node-7".to_owned()),
        ("GATEWAY_TELEMETRY__FORMAT", "json".to_owned()),
        ("GATEWAY_LIMITS__EVENTS_PER_SECOND", "0".to_owned()),
        ("GATEWAY_LIMITS__REFUSALS_PER_SECOND", "0".to_owned()),
    ];
    let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let node = Process::start(Command::new(env!("CARGO_BIN_EXE_gateway")), &settings);
    let address = node.wait_for("ready")["address"].as_str().unwrap().parse().unwrap();
    let mut client = Client::connect(address).await;
    client.join("r").await;
    redis.stop().await;
    for _ in 0..TIMES {
        let ack = client.ask("publish", json!({ "room": "r", "data": 1 })).await;
        assert_eq!(ack["error"]["code"], "unavailable", "{ack}");
    }
    let mut firsts = Vec::new();
    let counted = loop {
        let line = node.line().expect("a count");
        let message = line["fields"]["message"].as_str().unwrap_or_default().to_owned();
        match message.as_str() {
            "the log failed" => firsts.push(line),
            "the log failed, again and again" => break line["fields"]["times"].as_u64().unwrap(),
            _ => {}
        }
    };
    let [first] = firsts.as_slice() else { panic!("one line for all of them: {firsts:#?}") };
    assert!((1..TIMES).contains(&counted), "{counted}");
    assert_eq!(first["node"], "node-7");
    let span = &first["span"];
    assert_eq!((&span["room"], &span["peer"]), (&json!("r"), &json!("127.0.0.1")), "{first}");
    assert!(span["session"].is_string(), "{first}");
}

//! Embedded mode: one process whose log and sessions survive being killed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gateway_core::bus::{MemoryBus, MemoryHub};
use gateway_core::log::{MemoryLog, Retention};
use gateway_core::metrics::Metrics;
use gateway_core::node::{Ask, Listening, Node};
use gateway_core::presence::{MemoryPlaces, MemoryPresence};
use gateway_core::sessions::MemorySessions;
use gateway_core::supervisor::Supervisor;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use crate::support;
use crate::support::client::Client;

/// A node in a process of its own.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(data: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_gateway"))
            .env("GATEWAY_LISTEN", "127.0.0.1:0")
            .env("GATEWAY_ADMIN_LISTEN", "127.0.0.1:0")
            .env("GATEWAY_DATA_DIR", data)
            .env("GATEWAY_TELEMETRY__FORMAT", "json")
            .env("GATEWAY_LIMITS__EVENTS_PER_SECOND", "0")
            .env("GATEWAY_LIMITS__BYTES_PER_SECOND", "0")
            .env("GATEWAY_LOG__ROOM_EVENTS", "100000")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = loop {
            let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            if line["fields"]["message"] == "ready" {
                break line;
            }
        };
        // Somebody must read on, or the node would wait for it.
        std::thread::spawn(move || lines.count());
        Self { child, address: ready["fields"]["address"].as_str().unwrap().parse().unwrap() }
    }
}

impl Drop for Process {
    /// SIGKILL: it has no last words.
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// All of a room's history, number by offset.
async fn history(client: &mut Client) -> BTreeMap<u64, u64> {
    let (mut found, mut after) = (BTreeMap::new(), "0".to_owned());
    loop {
        let page = client.ask("history", json!({ "room": "r", "after": after })).await;
        for event in page["events"].as_array().unwrap() {
            after = event["offset"].as_str().unwrap().to_owned();
            let earlier = found.insert(after.parse().unwrap(), event["args"][0]["data"].as_u64().unwrap());
            assert_eq!(earlier, None, "an offset twice");
        }
        if page["more"] != true {
            return found;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_being_killed_fifty_times() {
    const SEED: u64 = 11;
    let folder = tempfile::tempdir().unwrap();
    let mut random = SmallRng::seed_from_u64(SEED);
    let mut acknowledged = BTreeMap::new();
    let (mut number, mut session) = (0_u64, None::<(String, Option<String>)>);
    for round in 0..50 {
        let node = Process::start(folder.path());
        let mut client = match &session {
            None => Client::connect(node.address).await,
            Some((pid, offset)) => Client::come_back(node.address, pid, offset.as_deref()).await,
        };
        if session.is_some() {
            assert!(client.recovered(), "round {round}: {}", client.hello);
        } else {
            client.join("r").await;
        }
        let found = history(&mut client).await;
        for (offset, number) in &acknowledged {
            assert_eq!(found.get(offset), Some(number), "round {round}, seed {SEED}");
        }
        let numbers: std::collections::BTreeSet<_> = found.values().collect();
        assert_eq!(numbers.len(), found.len(), "round {round}: nothing twice");
        // More than will be answered is under way when the node dies.
        let first = number;
        for _ in 0..200 {
            let publish = json!(["publish", { "room": "r", "data": number, "id": number.to_string() }]);
            client.send(&format!("42{number}{publish}")).await;
            number += 1;
        }
        let enough = random.random_range(1..150);
        let mut answered = 0;
        while answered < enough {
            let text = client.text().await.unwrap();
            if let Some((id, answer)) = text.strip_prefix("43").and_then(|ack| ack.split_once('[')) {
                let answer: Value = serde_json::from_str(answer.trim_end_matches(']')).unwrap();
                let offset = answer["offset"].as_str().unwrap().parse::<u64>().unwrap();
                acknowledged.insert(offset, id.parse::<u64>().unwrap());
                answered += 1;
            } else {
                client.keep(&text);
            }
        }
        drop(node);
        assert!(number > first);
        session = Some((client.pid.clone(), client.offset.clone()));
    }
    assert!(acknowledged.len() > 1000, "{} were acknowledged", acknowledged.len());
}

/// There is nobody to ask.
struct Nobody;

#[async_trait]
impl Ask for Nobody {
    async fn hears(&self, _: &str, _: &str) -> bool {
        false
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_alone_knows_that_it_is_deaf_and_gives_up_if_it_is_to() {
    let config = support::config(&[]);
    let retention = Retention::of_events(config.log.room_events, config.log.room_retention, config.log.dedupe_window);
    let (log, metrics) = (Arc::new(MemoryLog::new(retention)), Arc::new(Metrics::new()));
    let sessions = Arc::new(MemorySessions::new(config.recovery.window));
    let presence = Arc::new(MemoryPresence::new(Arc::<MemoryPlaces>::default(), "n", &config.presence));
    let node = Node::new(log, sessions, presence, &config, metrics.clone(), TaskTracker::new());
    let supervisor = Supervisor::default();
    // Its fan-out does not run, so that it hears nothing.
    tokio::spawn(node.clone().mind_hearing(Listening {
        ground: config.redis.name().into(),
        is_alone: true,
        bus: Arc::new(MemoryBus::new(Arc::<MemoryHub>::default())),
        roll: "hearing".into(),
        address: "127.0.0.1:1".into(),
        ask: Arc::new(Nobody),
        drain_after: Duration::from_secs(60),
        supervisor: supervisor.clone(),
    }));
    tokio::time::sleep(Duration::from_secs(14)).await;
    assert!(!node.hearing().deaf());
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(node.hearing().deaf());
    assert!(metrics.render().contains("gateway_deaf 1\n"));
    assert!(!node.hearing().is_given_up());
    let failure = tokio::time::timeout(Duration::from_secs(70), supervisor.failed()).await.unwrap();
    assert_eq!(&*failure.task, "hearing");
}

//! Hooks in a cluster: one node at a time works on each, and whatever is killed, back ends hear of everything.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tempfile::{NamedTempFile, TempDir};

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::process::Process;
use crate::support::receiver::{Receiver, Reply};
use crate::support::redis::Redis;
use crate::support::topology::RedisCluster;

const SHORT: [(&str, &str); 8] = [
    ("GATEWAY_HOOKS__INTERVAL", "20ms"),
    ("GATEWAY_HOOKS__BACKOFF", "50ms"),
    ("GATEWAY_HOOKS__BACKOFF_MAX", "200ms"),
    ("GATEWAY_HOOKS__LEASE", "1s"),
    ("GATEWAY_HOOKS__BATCH_EVENTS", "10"),
    ("GATEWAY_PRESENCE__LEASE", "1s"),
    ("GATEWAY_PRESENCE__LINGER", "100ms"),
    ("GATEWAY_ADMIN__TOKEN", "right"),
];
const NO_LIMITS: [(&str, &str); 2] =
    [("GATEWAY_LIMITS__EVENTS_PER_SECOND", "0"), ("GATEWAY_LIMITS__BYTES_PER_SECOND", "0")];

fn configuration(url: &str) -> NamedTempFile {
    let file = NamedTempFile::with_suffix(".toml").unwrap();
    let all = ["session.connected", "session.ended", "room.joined", "room.left", "room.emptied", "publish"];
    let text = format!("[[hook]]\nname = \"all\"\nurl = {url:?}\nevents = {all:?}\nsecrets = [\"0123456789abcdef\"]\n");
    std::fs::write(file.path(), text).unwrap();
    file
}

fn start(redis: &str, config: &Path) -> Process {
    let changes: Vec<_> = SHORT.iter().chain(&NO_LIMITS).copied().chain([("GATEWAY_REDIS_URL", redis)]).collect();
    Process::start(&changes, Some(config), None)
}

/// Whether a node works on the hook.
async fn works(node: &Process) -> bool {
    let headers = "Authorization: Bearer right\r\n";
    let (status, body) = crate::support::http("GET", node.admin_address, "/hooks", headers).await;
    assert_eq!(status, 200, "{body}");
    body.contains("\"here\":true")
}

/// Publishes until it is acknowledged, on a client that may lose its node: what was acknowledged is in the log.
async fn publish(client: &mut Client, number: usize) -> String {
    format!("publish:{}", client.publish("r", json!(number)).await)
}

async fn the_node_that_works_is_killed(redis: &str) {
    // Slow enough that it is in the middle of something.
    let receiver = Receiver::answering(|_, _| {
        std::thread::sleep(Duration::from_millis(20));
        Reply::status(200)
    })
    .await;
    let config = configuration(&receiver.url());
    let mut nodes = [(); 3].map(|()| start(redis, config.path()));
    let mut expected = Vec::new();
    for round in 0..3 {
        let working = loop {
            let mut found = None;
            for (number, node) in nodes.iter().enumerate() {
                if works(node).await {
                    found = Some(number);
                }
            }
            match found {
                Some(number) => break number,
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        let other = (working + 1) % nodes.len();
        let mut client = Client::connect(nodes[other].address).await;
        client.join("r").await;
        let mut of_the_dead = Client::connect(nodes[working].address).await;
        of_the_dead.join("r").await;
        for number in 0..60 {
            expected.push(publish(&mut client, round * 100 + number).await);
            if number == 40 {
                // SIGKILL, and another comes in its place.
                nodes[working] = start(redis, config.path());
            }
        }
    }
    let published = || {
        let ids = receiver.ids().into_iter();
        ids.filter(|id| id.starts_with("publish:")).collect::<Vec<_>>()
    };
    eventually("all is heard", || async { published().len() == expected.len() }).await;
    assert_eq!(published(), expected, "in its order, each id once");
    let told = receiver.taken();
    // Who was on nodes that were killed has left by their leases, each once.
    let of = |kind: &str| {
        let of_kind = told.iter().filter(|event| event["type"] == kind);
        of_kind.map(|event| event["session"].as_str().unwrap().to_owned()).collect::<HashSet<_>>()
    };
    assert_eq!(of("session.connected").len(), 6);
    let ended = || async {
        let told = receiver.taken();
        let ended: HashSet<_> =
            told.iter().filter(|it| it["type"] == "session.ended").map(|it| it["id"].clone()).collect();
        ended.len() >= 3
    };
    eventually("sessions of dead nodes have ended", ended).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_node_is_killed_everything_is_told_once_per_id_and_in_order() {
    let redis = Redis::start().await;
    the_node_that_works_is_killed(&redis.url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_redis_cluster_too() {
    let cluster = RedisCluster::start().await;
    let receiver = Receiver::start().await;
    let config = configuration(&receiver.url());
    let node = start(&cluster.url(), config.path());
    let mut client = Client::connect(node.address).await;
    client.join("r").await;
    let expected = [publish(&mut client, 1).await, publish(&mut client, 2).await];
    receiver.takes(4).await;
    assert_eq!(receiver.ids()[2..], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_redis_that_is_killed_tells_what_it_acknowledged() {
    let away = Receiver::answering(|_, _| Reply::status(500)).await;
    let config = configuration(&away.url());
    let folder = TempDir::new().unwrap();
    let data = folder.path().to_str().unwrap().to_owned();
    let changes: Vec<_> = SHORT.iter().chain(&NO_LIMITS).copied().chain([("GATEWAY_DATA_DIR", &*data)]).collect();
    let node = Process::start(&changes, Some(config.path()), None);
    let mut client = Client::connect(node.address).await;
    client.join("r").await;
    let mut expected = Vec::new();
    for number in 0..30 {
        expected.push(publish(&mut client, number).await);
    }
    eventually("it was tried", || async { !away.requests().is_empty() }).await;
    drop(node);
    let address = away.address;
    drop(away);
    let back = Receiver::at(address, |_, _| Reply::status(200)).await;
    let _node = Process::start(&changes, Some(config.path()), None);
    back.takes(32).await;
    let ids = back.ids();
    assert!(ids[0].starts_with("session.connected:") && ids[1].starts_with("room.joined:"), "{ids:?}");
    assert_eq!(ids[2..32], expected);
}

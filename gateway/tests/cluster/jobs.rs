//! Jobs on one node and on several: whatever is killed in the middle of one, it is done; who stops lets jobs end, or hands them back.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use gateway_core::auth::make_key;
use gateway_core::config::Scope;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::process::Process;
use crate::support::receiver::{Receiver, Reply};
use crate::support::redis::Redis;
use crate::support::{eventually, http};

const SHORT: [(&str, &str); 4] = [
    ("GATEWAY_JOBS__LEASE", "1s"),
    ("GATEWAY_JOBS__BACKOFF", "50ms"),
    ("GATEWAY_DRAIN__ANNOUNCE", "0s"),
    ("GATEWAY_DRAIN__TIMEOUT", "10s"),
];

/// A configuration with a back end and a key, and the key.
fn configuration(url: &str) -> (NamedTempFile, String) {
    let (key, kept) = make_key("tests", vec![Scope::Jobs], vec!["*".into()], vec!["*".into()]);
    let back_end = format!("[[jobs.back_end]]\nname = \"b\"\nurl = {url:?}\nsecrets = [\"0123456789abcdef\"]\n");
    let file = NamedTempFile::with_suffix(".toml").unwrap();
    std::fs::write(file.path(), format!("{back_end}[[api.key]]\n{}", toml::to_string(&kept).unwrap())).unwrap();
    (file, key)
}

fn start(role: &[&str], config: &Path, changes: &[(&str, &str)]) -> Process {
    let changes: Vec<_> = SHORT.iter().chain(changes).copied().collect();
    Process::start_as(role, &changes, Some(config), None)
}

/// Asks the API of a node; returns status and body.
async fn ask(node: SocketAddr, key: &str, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(node).await.unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {key}\r\nContent-Type: \
         application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
}

async fn enqueue(node: SocketAddr, key: &str, id: &str) {
    let data = json!({ "to": "b", "body": { "events": [{ "id": id }] } });
    let job = json!({ "kind": "http", "data": data, "id": id, "attempts": 3 });
    let answer = ask(node, key, "POST", "/api/v1/jobs", &job.to_string()).await;
    assert_eq!(answer.0, 201, "{answer:?}");
}

/// Waits until a job is done; returns it.
async fn done(node: SocketAddr, key: &str, id: &str) -> Value {
    let path = format!("/api/v1/jobs/{id}");
    eventually(&format!("{id} is done"), || async { ask(node, key, "GET", &path, "").await.1["state"] == "completed" })
        .await;
    ask(node, key, "GET", &path, "").await.1
}

/// One that does not answer the first request, and takes all others.
async fn hangs_once() -> Receiver {
    Receiver::answering(|number, _| if number == 0 { Reply::Hang } else { Reply::status(204) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_in_whose_middle_its_node_is_killed_is_done_by_the_next() {
    let (receiver, folder) = (hangs_once().await, tempfile::tempdir().unwrap());
    let (config, key) = configuration(&receiver.url());
    let changes = [("GATEWAY_DATA_DIR", folder.path().to_str().unwrap())];
    let node = start(&[], config.path(), &changes);
    enqueue(node.address, &key, "one").await;
    enqueue(node.address, &key, "two").await;
    eventually("it is in the middle of it", || async { !receiver.requests().is_empty() }).await;
    drop(node);
    let node = start(&[], config.path(), &changes);
    for id in ["one", "two"] {
        done(node.address, &key, id).await;
    }
    let keys: HashSet<_> =
        receiver.requests().iter().map(|request| request.header("idempotency-key").to_owned()).collect();
    assert_eq!(keys, HashSet::from(["one".to_owned(), "two".to_owned()]), "it is known again");
    receiver.takes(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_lets_jobs_end() {
    let receiver = Receiver::answering(|_, _| Reply::Late(Duration::from_secs(3), 204)).await;
    let folder = tempfile::tempdir().unwrap();
    let (config, key) = configuration(&receiver.url());
    let changes = [("GATEWAY_DATA_DIR", folder.path().to_str().unwrap()), ("GATEWAY_JOBS__WORKERS", "1")];
    let mut node = start(&[], config.path(), &changes);
    enqueue(node.address, &key, "runs").await;
    enqueue(node.address, &key, "waits").await;
    eventually("one runs", || async { !receiver.requests().is_empty() }).await;
    node.signal("-TERM");
    assert_eq!(node.ends().await, Some(0));
    assert_eq!(
        (receiver.ids(), receiver.requests().len()),
        (vec!["runs".to_owned()], 1),
        "it has ended, and no other has begun"
    );
    let node = start(&[], config.path(), &changes);
    assert_eq!(done(node.address, &key, "runs").await["attempt"], 1);
    done(node.address, &key, "waits").await;
    assert_eq!(receiver.requests().len(), 2, "each once");
}

async fn is_handed_back(redis: Option<&Redis>) {
    let (receiver, folder) = (hangs_once().await, tempfile::tempdir().unwrap());
    let (config, key) = configuration(&receiver.url());
    let url = redis.map_or_else(String::new, Redis::url);
    let changes = [
        ("GATEWAY_DATA_DIR", folder.path().to_str().unwrap()),
        ("GATEWAY_REDIS_URL", &url),
        ("GATEWAY_DRAIN__TIMEOUT", "2s"),
    ];
    let mut node = start(&[], config.path(), &changes);
    enqueue(node.address, &key, "long").await;
    eventually("it runs", || async { !receiver.requests().is_empty() }).await;
    node.signal("-TERM");
    assert_eq!(node.ends().await, Some(0));
    assert!(node.log().contains("jobs were not done in time"), "{}", node.log());
    let node = start(&[], config.path(), &changes);
    let job = done(node.address, &key, "long").await;
    assert_eq!((&job["attempt"], &job["lost"]), (&json!(1), &json!(0)), "handing back is no attempt: {job}");
    assert_eq!(receiver.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_done_in_the_time_of_a_drain_is_handed_back() {
    is_handed_back(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_it_is_to_other_nodes() {
    is_handed_back(Some(&Redis::start().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_share_their_jobs_and_two_of_them_may_die() {
    const JOBS: usize = 150;
    let receiver = Receiver::answering(|_, _| Reply::Late(Duration::from_millis(50), 204)).await;
    let redis = Redis::start().await;
    let (config, key) = configuration(&receiver.url());
    let url = redis.url();
    let changes = [("GATEWAY_REDIS_URL", &*url), ("GATEWAY_JOBS__WORKERS", "2"), ("GATEWAY_ADMIN__TOKEN", "right")];
    let mut nodes: Vec<_> = (0..3).map(|_| start(&[], config.path(), &changes)).collect();
    for number in 0..JOBS {
        enqueue(nodes[number % 3].address, &key, &format!("job-{number}")).await;
    }
    for taken in [30, 70] {
        receiver.takes(taken).await;
        // SIGKILL: it has no last words.
        nodes.remove(0);
    }
    let last = nodes[0].address;
    eventually("all are done", || async {
        let queues = ask(last, &key, "GET", "/api/v1/queues", "").await.1;
        let default =
            queues["queues"].as_array().unwrap().iter().find(|queue| queue["name"] == "default").unwrap().clone();
        default["completed"] == JOBS
    })
    .await;
    let expected: HashSet<_> = (0..JOBS).map(|number| format!("job-{number}")).collect();
    assert_eq!(receiver.ids().into_iter().collect::<HashSet<_>>(), expected);
    let doubles = receiver.taken().len() - JOBS;
    assert!(doubles <= 4, "{doubles} were done twice, and two nodes had two each");
    let (status, page) = http("GET", nodes[0].admin_address, "/admin/queues", "Authorization: Bearer right\r\n").await;
    assert!(status == 200 && page.contains(&JOBS.to_string()), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_may_only_work() {
    let receiver = Receiver::start().await;
    let redis = Redis::start().await;
    let (config, key) = configuration(&receiver.url());
    let url = redis.url();
    let idle = [("GATEWAY_REDIS_URL", &*url), ("GATEWAY_JOBS__WORKERS", "0")];
    let node = start(&[], config.path(), &idle);
    enqueue(node.address, &key, "one").await;
    let waits = ask(node.address, &key, "GET", "/api/v1/jobs/one", "").await.1;
    assert_eq!(waits["state"], "waiting", "nobody works yet");
    let mut worker = start(&["work"], config.path(), &[("GATEWAY_REDIS_URL", &*url)]);
    done(node.address, &key, "one").await;
    assert_eq!(worker.address.port(), 0, "no client comes in");
    assert_eq!(http("GET", worker.admin_address, "/readyz", "").await.0, 200);
    assert_eq!(http("GET", worker.admin_address, "/livez", "").await.0, 200);
    let figures = http("GET", worker.admin_address, "/metrics", "").await.1;
    for line in ["gateway_works_only 1\n", "gateway_jobs_done_total{kind=\"http\",outcome=\"done\"} 1\n"] {
        assert!(figures.contains(line), "{line} in {figures}");
    }
    eventually("it is none that clients may come to", || async {
        let figures = http("GET", node.admin_address, "/metrics", "").await.1;
        figures.contains("gateway_cluster_nodes 1\n") && figures.contains("gateway_works_only 0\n")
    })
    .await;
    worker.signal("-TERM");
    assert_eq!(worker.ends().await, Some(0));
    enqueue(node.address, &key, "two").await;
    assert_eq!(ask(node.address, &key, "GET", "/api/v1/jobs/two", "").await.1["state"], "waiting");
}

#[test]
fn a_process_that_would_do_nothing_says_so() {
    for (changes, word) in [
        (vec![], "redis_url"),
        (vec![("GATEWAY_REDIS_URL", "redis://127.0.0.1:1"), ("GATEWAY_JOBS__WORKERS", "0")], "jobs.workers"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        let ended = command.arg("work").env("GATEWAY_DATA_DIR", "").envs(changes).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.code() == Some(64) && said.contains(word), "{said}");
    }
}

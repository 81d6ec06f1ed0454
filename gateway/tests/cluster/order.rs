//! Order: a back end is told of what happens to a member of a place in the order in which it happened, or can tell.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use futures_util::SinkExt;
use gateway::app::Gateway;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use crate::support::client::Client;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::{self, eventually, metric};

/// A back end that is told of things, and answers when it may.
struct BackEnd {
    told: Mutex<Vec<Told>>,
    answers: Semaphore,
}

#[derive(Clone, Debug)]
struct Told {
    event: String,
    sequence: u64,
}

impl BackEnd {
    /// Starts one; returns its URL too.
    async fn start() -> (Arc<Self>, String) {
        let back_end = Arc::new(Self { told: Mutex::default(), answers: Semaphore::new(0) });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/told", listener.local_addr().unwrap());
        let router = Router::new().fallback(Self::tell).with_state(back_end.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (back_end, url)
    }

    async fn tell(State(back_end): State<Arc<Self>>, headers: HeaderMap, body: Bytes) -> &'static str {
        let body: Value = serde_json::from_slice(&body).unwrap();
        let event = body["event"].as_str().unwrap().to_owned();
        let sequence = headers["gateway-sequence"].to_str().unwrap().parse().unwrap();
        back_end.told.lock().push(Told { event, sequence });
        back_end.answers.acquire().await.unwrap().forget();
        "{}"
    }

    fn events(&self) -> Vec<String> {
        self.told.lock().iter().map(|told| told.event.clone()).collect()
    }

    async fn hears(&self, events: &[&str]) {
        eventually(&format!("it is told {events:?}"), || async { self.events() == events }).await;
    }

    fn is_in_order(&self) -> bool {
        self.told.lock().is_sorted_by(|one, next| one.sequence < next.sequence)
    }
}

const ROUTES: &str = r#"
[[route]]
event = "sit"
action = "join"
room = "{arg.room}"

[[route]]
event = "rise"
action = "leave"
room = "{arg.room}"

[[route]]
event = "$join"
action = "call"
url = "{env.URL}"
timeout = "10s"

[[route]]
event = "$leave"
action = "call"
url = "{env.URL}"
timeout = "10s"
"#;

async fn node(redis: &str, url: &str, folder: &tempfile::TempDir) -> Gateway {
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, ROUTES.replace("{env.URL}", url)).unwrap();
    let own = [
        ("GATEWAY_LISTEN", "127.0.0.1:0"),
        ("GATEWAY_ADMIN_LISTEN", "127.0.0.1:0"),
        ("GATEWAY_DATA_DIR", ""),
        ("GATEWAY_REDIS_URL", redis),
        ("GATEWAY_PRESENCE__LEASE", "3s"),
        ("GATEWAY_PRESENCE__LINGER", "200ms"),
    ];
    let all = support::NO_LIMITS.iter().chain(&own).map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Gateway::start(gateway_core::config::load(Some(&file), all).unwrap(), 20_000).await.unwrap()
}

/// Asks without waiting for the answer: it comes when the back end has answered.
async fn emit(client: &mut Client, event: &str) {
    client.send(&format!("42{}", json!([event, { "room": "r" }]))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_comes_back_while_its_leaving_is_told_is_told_after_it() {
    let redis = Redis::start().await;
    let (folder, (back_end, url)) = (tempfile::tempdir().unwrap(), BackEnd::start().await);
    let node = node(&redis.url(), &url, &folder).await;
    let mut client = Client::connect(node.address).await;
    emit(&mut client, "sit").await;
    back_end.hears(&["$join"]).await;
    back_end.answers.add_permits(1);
    let Client { pid, socket, .. } = client;
    drop(socket);
    // Its time is over, and the back end does not answer.
    back_end.hears(&["$join", "$leave"]).await;
    let mut client = Client::come_back(node.address, &pid, Some("0")).await;
    assert!(client.recovered());
    // It is there again, as others can see, and it leaves and comes again.
    let members = || async { redis.command("ZCARD gateway:presence:members:r").await == ":1\r\n" };
    eventually("it is there again", members).await;
    emit(&mut client, "rise").await;
    emit(&mut client, "sit").await;
    // Long enough for what is told before its time: the back end is on this machine.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(back_end.events(), ["$join", "$leave"], "nothing overtakes what is being told");
    let all = ["$join", "$leave", "$join", "$leave", "$join"];
    for told in 3..=all.len() {
        back_end.answers.add_permits(1);
        back_end.hears(&all[..told]).await;
    }
    back_end.answers.add_permits(10);
    assert!(back_end.is_in_order(), "{:?}", back_end.told.lock());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_came_back_and_was_gone_before_its_session_began_is_told_of_all_the_same() {
    let redis = Redis::start().await;
    let proxy = Proxy::before(&redis).await;
    let (folder, (back_end, url)) = (tempfile::tempdir().unwrap(), BackEnd::start().await);
    let node = node(&proxy.url(), &url, &folder).await;
    back_end.answers.add_permits(10);
    let mut client = Client::connect(node.address).await;
    emit(&mut client, "sit").await;
    let (pid, offset) = (client.pid.clone(), client.offset.clone());
    back_end.hears(&["$join"]).await;
    drop(client);
    back_end.hears(&["$join", "$leave"]).await;
    let nobody = || async { metric(&node, "gateway_connections{transport=\"websocket\"}") == 0.0 };
    eventually("nobody is connected", nobody).await;
    proxy.hold(true);
    let (mut socket, _) =
        connect_async(format!("ws://{}/socket.io/?EIO=4&transport=websocket", node.address)).await.unwrap();
    let packet = format!("40{}", json!({ "pid": pid, "offset": offset }));
    socket.send(Message::text(packet)).await.unwrap();
    // The node has taken it, and waits for Redis.
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(socket);
    tokio::time::sleep(Duration::from_millis(200)).await;
    proxy.hold(false);
    back_end.hears(&["$join", "$leave", "$join", "$leave"]).await;
    assert!(back_end.is_in_order(), "{:?}", back_end.told.lock());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_different_nodes_tell_a_back_end_knows_which_came_last() {
    let redis = Redis::start().await;
    let (back_end, url) = BackEnd::start().await;
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let nodes = [node(&redis.url(), &url, &folders[0]).await, node(&redis.url(), &url, &folders[1]).await];
    let mut client = Client::connect(nodes[0].address).await;
    emit(&mut client, "sit").await;
    back_end.hears(&["$join"]).await;
    // The connection breaks while its first node still tells of its coming, and it goes on at the other.
    let Client { pid, socket, .. } = client;
    drop(socket);
    let mut client = Client::come_back(nodes[1].address, &pid, Some("0")).await;
    assert!(client.recovered(), "{}", client.hello);
    emit(&mut client, "rise").await;
    back_end.hears(&["$join", "$leave"]).await;
    assert!(back_end.is_in_order(), "{:?}", back_end.told.lock());
    // Redis loses everything; numbers go on from where they were.
    back_end.answers.add_permits(100);
    redis.command("FLUSHALL").await;
    let sat = async |client: &mut Client| client.ask("sit", json!({ "room": "r" })).await["ok"] == true;
    let deadline = tokio::time::Instant::now() + support::PATIENCE;
    while !sat(&mut client).await {
        assert!(tokio::time::Instant::now() < deadline);
    }
    eventually("its coming is told", || async { back_end.events().len() >= 3 }).await;
    assert!(back_end.is_in_order(), "{:?}", back_end.told.lock());
    for node in nodes {
        node.stop().await;
    }
}

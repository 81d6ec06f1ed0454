//! More than one Redis: namespaces that have one of their own, and what becomes of the others when it is away, slow, another
//! one, or has lost its data.

mod ended;
mod forms;
mod kept;
mod starting;

use std::time::Duration;

use gateway::app::{Gateway, StartError};
use serde_json::json;
use tempfile::NamedTempFile;
use tokio::time::Instant;

use crate::support::client::Client;
use crate::support::proxy::Proxy;
use crate::support::receiver::Receiver;
use crate::support::redis::Redis;
use crate::support::{self, NO_LIMITS, PATIENCE, eventually, http, metric, node};

const CHAT: &str = "/chat";

/// Routes of the native profile, in `/` and in `/chat`.
fn routes(more: &str) -> NamedTempFile {
    let file = NamedTempFile::with_suffix(".toml").unwrap();
    let native = include_str!("../../../profiles/native.toml");
    let chat = native.replace("[[route]]\n", "[[route]]\nnamespace = \"/chat\"\n");
    std::fs::write(file.path(), format!("{native}{chat}{more}")).unwrap();
    file
}

/// A deployment whose `/chat` has a Redis of its own.
struct World {
    routes: NamedTempFile,
    main: String,
    chat: String,
}

impl World {
    fn new(main: &str, chat: &str) -> Self {
        Self::with_routes(main, chat, "")
    }

    fn with_routes(main: &str, chat: &str, more: &str) -> Self {
        Self { routes: routes(more), main: main.to_owned(), chat: chat.to_owned() }
    }

    fn changes<'a>(&'a self, name: &'a str, changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let own = [
            ("GATEWAY_REDIS_URL", &*self.main),
            ("GATEWAY_REDIS__OF__CHAT__URL", &*self.chat),
            ("GATEWAY_REDIS__OF__CHAT__NAMESPACES", CHAT),
            ("GATEWAY_PROFILE", self.routes.path().to_str().unwrap()),
            ("GATEWAY_NODE_NAME", name),
        ];
        NO_LIMITS.iter().copied().chain(own).chain(changes.iter().copied()).collect()
    }

    async fn node(&self, name: &str, changes: &[(&str, &str)]) -> Gateway {
        node(&self.changes(name, changes)).await
    }

    async fn try_node(&self, name: &str, changes: &[(&str, &str)]) -> Result<Gateway, StartError> {
        Gateway::start(support::config(&self.changes(name, changes)), 20_000).await
    }

    async fn nodes(&self, changes: &[(&str, &str)]) -> [Gateway; 2] {
        [self.node("node-0", changes).await, self.node("node-1", changes).await]
    }
}

async fn member(node: &Gateway, namespace: &str) -> Client {
    let mut client = Client::connect_to(node.address, namespace).await;
    client.join("r").await;
    client
}

/// For how long a node has heard nothing, by Redis.
fn silences(node: &Gateway) -> String {
    let all = ["main", "chat"].map(|redis| {
        let silence = metric(node, &format!("gateway_redis_canary_silence_seconds{{redis={redis:?}}}"));
        format!("{redis} {silence:.1} s")
    });
    all.join(", ")
}

async fn has_keys(redis: &Redis, pattern: &str) -> bool {
    !redis.command(&format!("KEYS {pattern}")).await.starts_with("*0")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_namespace_says_and_who_is_in_it_is_in_its_own_redis() {
    let (main, chat) = (Redis::start().await, Redis::start().await);
    let world = World::new(&main.url(), &chat.url());
    let nodes = world.nodes(&[]).await;
    for namespace in ["/", CHAT] {
        let (mut one, mut two) = (member(&nodes[0], namespace).await, member(&nodes[1], namespace).await);
        for number in 0..20 {
            let author = if number % 2 == 0 { &mut one } else { &mut two };
            let offset: u64 = author.publish("r", json!([namespace, number])).await.parse().unwrap();
            assert_eq!(one.message().await, (json!([namespace, number]), offset));
            assert_eq!(two.message().await, (json!([namespace, number]), offset));
        }
        let (own, other) = if namespace == "/" { (&main, &chat) } else { (&chat, &main) };
        let room = if namespace == "/" { "gateway:log:room:r" } else { "gateway:log:room:*chat*r" };
        assert!(has_keys(own, room).await && !has_keys(other, room).await, "the log of {namespace}");
        let counted = one.ask("presence", json!({ "room": "r" })).await;
        assert_eq!(counted["count"], 2, "{counted}");
        // What it missed comes from there, too, on another node.
        let (pid, heard) = (one.pid.clone(), one.offset.clone());
        drop(one);
        let missed = two.publish("r", json!("missed")).await;
        let mut back =
            Client::try_connect_to(nodes[1].address, namespace, json!({ "pid": pid, "offset": heard })).await.unwrap();
        assert!(back.recovered(), "{}", back.hello);
        assert_eq!(back.message().await, (json!("missed"), missed.parse().unwrap()));
    }
    assert!(has_keys(&main, "gateway:session:*").await && has_keys(&chat, "gateway:session:*").await);
    assert!(has_keys(&chat, "gateway:presence:*").await);
    assert!(!has_keys(&chat, "gateway:jobs*").await && !has_keys(&chat, "gateway:revo*").await);
    // One that is no deployment's has both: what each keeps is shown by name.
    for name in ["main", "chat"] {
        assert_eq!(metric(&nodes[0], &format!("gateway_redis_connected{{redis={name:?}}}")), 1.0);
    }
    assert_eq!(metric(&nodes[0], "gateway_redis_disagreement"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_away_stops_its_own_namespaces_alone() {
    let (main, mut chat) = (Redis::start().await, Redis::start().await);
    let world = World::new(&main.url(), &chat.url());
    let nodes = world.nodes(&[("GATEWAY_REDIS__TIMEOUT", "500ms"), ("GATEWAY_CANARY__DEAF_AFTER", "3s")]).await;
    let (mut one, mut two) = (member(&nodes[0], CHAT).await, member(&nodes[1], CHAT).await);
    let (mut three, mut four) = (member(&nodes[0], "/").await, member(&nodes[1], "/").await);
    one.publish("r", json!("before")).await;
    assert_eq!((one.message().await.0, two.message().await.0), (json!("before"), json!("before")));
    for round in 0..2 {
        chat.stop().await;
        let ack = one.ask("publish", json!({ "room": "r", "data": "away" })).await;
        assert_eq!(ack["error"]["code"], "unavailable", "{ack}");
        assert!(ack["error"]["retryAfterMs"].as_u64().unwrap() > 0);
        eventually("the node says which is away", || async {
            metric(&nodes[0], "gateway_redis_connected{redis=\"chat\"}") == 0.0
        })
        .await;
        assert_eq!(metric(&nodes[0], "gateway_redis_connected{redis=\"main\"}"), 1.0);
        assert_eq!(metric(&nodes[0], "gateway_bus_connected"), 0.0);
        // The others are unmoved: they publish, come, and come back.
        for number in 0..20 {
            let offset: u64 = three.publish("r", json!([round, number])).await.parse().unwrap();
            assert_eq!(three.message().await, (json!([round, number]), offset));
            assert_eq!(four.message().await, (json!([round, number]), offset));
        }
        let mut newcomer = Client::connect_to(nodes[1].address, "/").await;
        newcomer.join("s").await;
        newcomer.publish("s", json!("new")).await;
        // Longer than a node that hears nothing is believed to hear: as no node does, it is no reason to send clients away.
        eventually("the silence is long", || async {
            for node in &nodes {
                let (status, why) = http("GET", node.admin_address, "/readyz", "").await;
                assert_eq!(status, 200, "not even for a moment: {why} {}", silences(node));
            }
            metric(&nodes[0], "gateway_redis_canary_silence_seconds{redis=\"chat\"}") > 4.0
        })
        .await;
        for node in &nodes {
            assert_eq!(http("GET", node.admin_address, "/readyz", "").await.0, 200, "it stays ready");
            assert_eq!(metric(node, "gateway_deaf"), 0.0);
        }
        // On a busy machine its own signal may take long by the main one, too, for once.
        eventually("each is told by itself", || async {
            let hears = async |path| http("GET", nodes[0].admin_address, path, "").await.0;
            (hears("/hearing?redis=chat").await, hears("/hearing").await) == (503, 200)
        })
        .await;
        chat.start_again().await;
        let back = two.publish_until_acknowledged(json!(["back", round])).await;
        assert_eq!(one.message().await, (json!(["back", round]), back), "the connection is the one that there was");
        assert_eq!(two.message().await, (json!(["back", round]), back));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_redis_that_hangs_holds_up_nobody_else() {
    let (main, chat) = (Redis::start().await, Redis::start().await);
    let proxy = Proxy::before(&chat).await;
    let world = World::new(&main.url(), &proxy.url());
    // Longer than anything may take that does not wait for it.
    let node = world.node("node", &[("GATEWAY_REDIS__TIMEOUT", "12s")]).await;
    let (mut stuck, mut free) = (member(&node, CHAT).await, member(&node, "/").await);
    proxy.shut(true);
    proxy.freeze();
    stuck.send("42/chat,700[\"publish\",{\"room\":\"r\",\"data\":1}]").await;
    for number in 0..200 {
        let offset: u64 = free.publish("r", json!(number)).await.parse().unwrap();
        assert_eq!(free.message().await, (json!(number), offset));
    }
    let mut newcomer = Client::connect_to(node.address, "/").await;
    newcomer.join("s").await;
    newcomer.publish("s", json!(1)).await;
    assert!(stuck.is_quiet(Duration::from_millis(1)).await, "it waited for longer than all of these");
    proxy.freeze();
    proxy.shut(false);
    let ack = stuck.text().await.unwrap();
    assert!(ack.starts_with("43/chat,700"), "{ack}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_with_several_namespaces_waits_for_the_one_that_is_away() {
    let (main, mut chat) = (Redis::start().await, Redis::start().await);
    let world = World::new(&main.url(), &chat.url());
    let node = world.node("node", &[("GATEWAY_REDIS__TIMEOUT", "1s")]).await;
    let mut client = member(&node, "/").await;
    chat.stop().await;
    client.send("40/chat,{}").await;
    for number in 0..20 {
        client.publish("r", json!(number)).await;
        assert_eq!(client.message().await.0, json!(number));
    }
    // Who wants nothing else comes back for it by itself.
    let alone = Client::try_connect_to(node.address, CHAT, json!({})).await;
    assert!(alone.is_err_and(|why| why.starts_with("closed")));
    chat.start_again().await;
    loop {
        let text = client.text().await.expect("the connection goes on");
        if text.starts_with("40/chat,{\"sid\"") {
            break;
        }
        assert!(!text.starts_with("44"), "{text}");
    }
    client.publish("r", json!("still there")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_while_connections_were_lost_comes_from_its_own_log() {
    let (main, chat) = (Redis::start().await, Redis::start().await);
    let world = World::new(&main.url(), &chat.url());
    let nodes = world.nodes(&[]).await;
    let (mut one, mut two) = (member(&nodes[0], CHAT).await, member(&nodes[1], CHAT).await);
    let mut other = member(&nodes[0], "/").await;
    for round in 0..3 {
        chat.command("CLIENT KILL TYPE pubsub SKIPME yes").await;
        for number in 0..20 {
            let data = json!([round, number]);
            let offset = one.publish_until_acknowledged(data.clone()).await;
            assert_eq!(one.message().await, (data.clone(), offset), "round {round}");
            assert_eq!(two.message().await, (data, offset), "round {round}");
        }
    }
    other.publish("r", json!("calm")).await;
    assert_eq!(other.message().await.0, json!("calm"));
    for node in &nodes {
        assert_eq!(metric(node, "gateway_bus_reconnects_total"), 3.0, "of one bus");
        assert_eq!(metric(node, "gateway_feed_gaps_total{result=\"lost\"}"), 0.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_loses_its_data_tells_its_own_clients_alone() {
    let (main, mut chat) = (Redis::start().await, Redis::start().await);
    let world = World::new(&main.url(), &chat.url());
    let nodes = world.nodes(&[]).await;
    let (mut there, mut elsewhere) = (member(&nodes[0], CHAT).await, member(&nodes[0], "/").await);
    let (mut away, mut unmoved) = (member(&nodes[1], CHAT).await, member(&nodes[1], "/").await);
    for (author, receiver) in [(&mut there, &mut away), (&mut elsewhere, &mut unmoved)] {
        author.publish("r", json!("kept")).await;
        assert_eq!((author.message().await.0, receiver.message().await.0), (json!("kept"), json!("kept")));
    }
    let pids = [&away, &unmoved].map(|client| (client.pid.clone(), client.offset.clone()));
    drop((away, unmoved));
    chat.stop().await;
    chat.lose_everything();
    chat.start_again().await;
    // Of the room that it joined, and of those that it is in by itself.
    let mut told = there.event().await;
    while told[1]["room"] != "r" {
        assert_eq!(told[0], "gateway:gap", "{told}");
        told = there.event().await;
    }
    assert_eq!(told[0], "gateway:gap", "{told}");
    there.publish_until_acknowledged(json!("after")).await;
    let mut heard = there.event().await;
    while heard[0] == "gateway:gap" {
        heard = there.event().await;
    }
    assert_eq!((&heard[0], &heard[1]["data"]), (&json!("message"), &json!("after")), "{heard}");
    let [(pid, heard), (other_pid, other_heard)] = pids;
    let back = Client::try_connect_to(nodes[0].address, CHAT, json!({ "pid": pid, "offset": heard })).await.unwrap();
    assert!(!back.recovered(), "{}", back.hello);
    let back = Client::try_connect_to(nodes[0].address, "/", json!({ "pid": other_pid, "offset": other_heard }))
        .await
        .unwrap();
    assert!(back.recovered(), "{}", back.hello);
    assert!(elsewhere.is_quiet(Duration::from_millis(100)).await, "nothing is said where nothing was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_starts_while_one_is_missing_unless_it_must_not() {
    let (main, mut chat) = (Redis::start().await, Redis::start().await);
    let world = World::new(&main.url(), &chat.url());
    chat.stop().await;
    let required = [("GATEWAY_REDIS__REQUIRED_AT_START", "true")];
    let failed = world.try_node("node", &required).await.unwrap_err();
    assert!(
        matches!(failed, StartError::Unavailable(_)) && failed.to_string().starts_with("redis.of.chat.url: "),
        "{failed}"
    );
    let node = world.node("node", &[]).await;
    assert_eq!(http("GET", node.admin_address, "/readyz", "").await.0, 200);
    let mut client = member(&node, "/").await;
    client.publish("r", json!(1)).await;
    chat.start_again().await;
    let deadline = Instant::now() + PATIENCE;
    let mut late = loop {
        // As clients do, it comes again.
        match Client::try_connect_to(node.address, CHAT, json!({})).await {
            Ok(client) => break client,
            Err(why) => assert!(Instant::now() < deadline, "not let in: {why}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    late.join("r").await;
    late.publish_until_acknowledged(json!(2)).await;
    assert_eq!(late.message().await.0, json!(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_are_told_of_every_namespace_while_one_is_away() {
    let receiver = Receiver::start().await;
    let hook = format!(
        "[[hook]]\nname = \"all\"\nurl = {:?}\nevents = [\"publish\"]\nsecrets = [\"0123456789abcdef\"]\n",
        receiver.url()
    );
    let (main, mut chat) = (Redis::start().await, Redis::start().await);
    let world = World::with_routes(&main.url(), &chat.url(), &hook);
    let quick =
        [("GATEWAY_HOOKS__INTERVAL", "20ms"), ("GATEWAY_REDIS__TIMEOUT", "500ms"), ("GATEWAY_ADMIN__TOKEN", "right")];
    let node = world.node("node", &quick).await;
    let (mut there, mut here) = (member(&node, CHAT).await, member(&node, "/").await);
    let mut expected = vec![
        format!("publish:{}:chat", there.publish("r", json!(1)).await),
        format!("publish:{}", here.publish("r", json!(2)).await),
    ];
    receiver.takes(2).await;
    chat.stop().await;
    expected.push(format!("publish:{}", here.publish("r", json!(3)).await));
    receiver.takes(3).await;
    chat.start_again().await;
    expected.push(format!("publish:{}:chat", there.publish_until_acknowledged(json!(4)).await));
    receiver.takes(4).await;
    let mut ids = receiver.ids();
    ids.sort_unstable();
    ids.dedup();
    expected.sort_unstable();
    assert_eq!(ids, expected);
    let (status, listed) = http("GET", node.admin_address, "/hooks", "Authorization: Bearer right\r\n").await;
    assert!(status == 200 && listed.matches("\"name\":\"all\"").count() == 1, "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_s_sessions_are_ended_in_every_namespace() {
    let (main, chat) = (Redis::start().await, Redis::start().await);
    let world = World::new(&main.url(), &chat.url());
    let nodes = world.nodes(&[("GATEWAY_ADMIN__TOKEN", "right")]).await;
    let at = async |node: &Gateway, namespace: &str| Client::connect_to(node.address, namespace).await;
    let mut clients = [at(&nodes[0], "/").await, at(&nodes[1], CHAT).await];
    for client in &mut clients {
        let ack = client.ask("identify", json!({ "user": "alice" })).await;
        assert_eq!(ack["ok"], true, "{ack}");
        client.join("r").await;
    }
    let pids = clients.each_ref().map(|client| client.pid.clone());
    let (status, body) =
        http("DELETE", nodes[0].admin_address, "/users/alice/sockets", "Authorization: Bearer right\r\n").await;
    assert_eq!(status, 204, "{body}");
    for ((mut client, pid), namespace) in clients.into_iter().zip(pids).zip(["/", CHAT]) {
        loop {
            match client.text().await {
                Some(text) if text.starts_with("41") => break,
                Some(_) => {}
                None => break,
            }
        }
        let again =
            Client::try_connect_to(nodes[1].address, namespace, json!({ "pid": pid, "offset": "0" })).await.unwrap();
        assert!(!again.recovered(), "{namespace}: {}", again.hello);
    }
}

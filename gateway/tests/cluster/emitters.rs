//! Emitters of back ends: what they write into Redis reaches the clients of all nodes, once; what is kept is kept once,
//! whichever nodes die; and whatever anybody writes there harms nobody.

use std::time::Duration;

use futures_util::FutureExt;
use gateway::app::Gateway;
use gateway_core::formats::Format;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::process::Process;
use crate::support::redis::Redis;
use crate::support::topology::RedisCluster;
use crate::support::{eventually, http, metric};
use crate::{cluster, cluster_at};

pub(crate) const REDIS: (&str, &str) = ("GATEWAY_EMITTERS__REDIS", "true");
const PYTHON: (&str, &str) = ("GATEWAY_EMITTERS__PYTHON", "true");
pub(crate) const STREAMS: (&str, &str) = ("GATEWAY_EMITTERS__STREAMS", "true");
pub(crate) const DURABLE: (&str, &str) = ("GATEWAY_EMITTERS__DURABLE", "true");
pub(crate) const LEASE: (&str, &str) = ("GATEWAY_EMITTERS__LEASE", "1s");
/// How long nothing comes before a test believes that nothing will.
pub(crate) const QUIET: Duration = Duration::from_millis(300);

/// Nodes that hear emitters, once all do.
pub(crate) async fn hearing(redis: &Redis, size: usize, changes: &[(&str, &str)]) -> Vec<Gateway> {
    let nodes = cluster(redis, size, changes).await;
    eventually("all nodes listen", || async {
        let clients = redis.command("CLIENT LIST TYPE pubsub").await;
        let of_patterns = changes.contains(&REDIS);
        // The connection of the bus hears channels of the deployment alone, and many.
        let listens = |line: &&str| line.contains(if of_patterns { " psub=2 " } else { " sub=1 psub=0 " });
        clients.lines().filter(listens).count() >= size
    })
    .await;
    if changes.contains(&DURABLE) {
        eventually("one node takes", || async { takes(&nodes, "channels").len() == 1 }).await;
    }
    nodes
}

/// Which nodes take, of what.
pub(crate) fn takes(nodes: &[Gateway], of: &str) -> Vec<usize> {
    let series = format!("gateway_emitters_taking{{of=\"{of}\"}}");
    (0..nodes.len()).filter(|number| metric(&nodes[*number], &series) > 0.0).collect()
}

/// Waits until events that leave out several may be written: all nodes are known to read them.
async fn agreed(nodes: &[Gateway]) {
    eventually("all write the newest", || async {
        nodes.iter().all(|node| metric(node, "gateway_format") == f64::from(Format::NEWEST.number()))
    })
    .await;
}

pub(crate) async fn emit(redis: &Redis, data: Value, options: Value) {
    let message = json!(["emitter", { "type": 2, "data": data, "nsp": "/" }, options]);
    redis.send(&[b"PUBLISH", b"socket.io#/#", &rmp_serde::to_vec_named(&message).unwrap()]).await;
}

async fn request(redis: &Redis, request: Value) {
    redis.send(&[b"PUBLISH", b"socket.io-request#/#", request.to_string().as_bytes()]).await;
}

/// Adds an entry as the library does; returns its id.
pub(crate) async fn add(redis: &Redis, kind: &str, data: &Value) -> String {
    let data = data.to_string();
    let fields: [&[u8]; 8] = [b"uid", b"emitter", b"nsp", b"/", b"type", kind.as_bytes(), b"data", data.as_bytes()];
    let command = [&[&b"XADD"[..], b"socket.io", b"MAXLEN", b"~", b"10000", b"*"][..], &fields].concat();
    redis.send(&command).await.lines().nth(1).unwrap_or_default().to_owned()
}

pub(crate) fn broadcast(data: Value, rooms: Value) -> Value {
    let mut entry = json!({ "packet": { "type": 2, "nsp": "/" }, "opts": { "except": [], "flags": {} } });
    entry["packet"]["data"] = data;
    entry["opts"]["rooms"] = rooms;
    entry
}

pub(crate) async fn refused(nodes: &[Gateway], dialect: &str, reason: &str) -> f64 {
    let series = format!("gateway_emitters_refused_total{{dialect=\"{dialect}\",reason=\"{reason}\"}}");
    nodes.iter().map(|node| metric(node, &series)).sum()
}

/// A client on each node, in the rooms that are named.
pub(crate) async fn clients(nodes: &[Gateway], rooms: &[&[&str]]) -> Vec<Client> {
    let mut clients = Vec::new();
    for (node, rooms) in nodes.iter().cycle().zip(rooms) {
        let mut client = Client::connect(node.address).await;
        for room in *rooms {
            client.join(room).await;
        }
        clients.push(client);
    }
    clients
}

/// What clients hear next, without the offsets of what is kept.
pub(crate) async fn hear(clients: &mut [Client], who: &[usize], expected: &Value) {
    for number in who {
        let mut event = clients[*number].event().await;
        let length = expected.as_array().unwrap().len();
        if let Some(event) = event.as_array_mut() {
            assert!(event.len() <= length + 1, "{event:?}");
            event.truncate(length);
        }
        assert_eq!(event, *expected, "client {number}");
    }
}

pub(crate) async fn all_are_quiet(clients: &mut [Client]) {
    for (number, client) in clients.iter_mut().enumerate() {
        assert!(client.is_quiet(QUIET).await, "client {number} hears more");
    }
}

/// What an emitter may say, and who hears it: the same whether it is kept or not.
async fn everybody_hears_once(changes: &[(&str, &str)]) {
    let redis = Redis::start().await;
    let nodes = hearing(&redis, 3, changes).await;
    agreed(&nodes).await;
    let mut clients = clients(&nodes, &[&["a"], &["b"], &["a", "b"], &["a", "c"], &[]]).await;
    emit(&redis, json!(["one", 1]), json!({ "rooms": ["a"] })).await;
    hear(&mut clients, &[0, 2, 3], &json!(["one", 1])).await;
    emit(&redis, json!(["several", { "n": 1 }]), json!({ "rooms": ["a", "b", "nobody"] })).await;
    hear(&mut clients, &[0, 1, 2, 3], &json!(["several", { "n": 1 }])).await;
    emit(&redis, json!(["but", 1]), json!({ "rooms": ["a", "b"], "except": ["c"] })).await;
    hear(&mut clients, &[0, 1, 2], &json!(["but", 1])).await;
    emit(&redis, json!(["all", 1]), json!({ "rooms": [] })).await;
    hear(&mut clients, &[0, 1, 2, 3, 4], &json!(["all", 1])).await;
    let sid = clients[2].sid.clone();
    emit(&redis, json!(["all but", 1]), json!({ "rooms": [], "except": [sid, "c"] })).await;
    hear(&mut clients, &[0, 1, 4], &json!(["all but", 1])).await;
    emit(&redis, json!(["alone", 1]), json!({ "rooms": [sid] })).await;
    hear(&mut clients, &[2], &json!(["alone", 1])).await;
    emit(&redis, json!(["with one", 1]), json!({ "rooms": [sid, "b"] })).await;
    hear(&mut clients, &[1, 2], &json!(["with one", 1])).await;
    emit(&redis, json!(["volatile", 1]), json!({ "rooms": ["a"], "flags": { "volatile": true, "compress": false } }))
        .await;
    hear(&mut clients, &[0, 2, 3], &json!(["volatile", 1])).await;
    all_are_quiet(&mut clients).await;
    // new Emitter(client).to("a").emit("bytes", Buffer.from([0, 255]))
    let bytes = b"\x93\xa7emitter\x83\xa4type\x02\xa4data\x92\xa5bytes\xc4\x02\x00\xff\xa3nsp\xa1/\x83\xa5rooms\x91\xa1a\xa5flags\x80\xa6except\x90";
    redis.send(&[b"PUBLISH", b"socket.io#/#a#", bytes]).await;
    for number in [0, 2, 3] {
        let text = clients[number].text().await.unwrap();
        assert!(text.starts_with(r#"451-["bytes",{"_placeholder":true,"num":0}"#), "{text}");
    }
    let heard: f64 =
        nodes.iter().map(|node| metric(node, "gateway_emitters_heard_total{dialect=\"redis\",what=\"emit\"}")).sum();
    assert_eq!(heard, 27.0, "nine events, on three nodes");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_emitted_is_heard_once_on_every_node() {
    everybody_hears_once(&[REDIS]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_emitted_and_kept_is_heard_once_on_every_node() {
    everybody_hears_once(&[REDIS, DURABLE, LEASE]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_are_moved_and_disconnected_on_every_node() {
    let redis = Redis::start().await;
    let nodes = hearing(&redis, 3, &[REDIS]).await;
    let mut clients = clients(&nodes, &[&["a"], &["a"], &["b"]]).await;
    // What is asked for first is done first.
    request(&redis, json!({ "type": 2, "opts": { "rooms": ["a"], "except": [] }, "rooms": ["x", "y"] })).await;
    emit(&redis, json!(["in x", 1]), json!({ "rooms": ["x"] })).await;
    hear(&mut clients, &[0, 1], &json!(["in x", 1])).await;
    let sid = clients[0].sid.clone();
    request(&redis, json!({ "type": 3, "opts": { "rooms": ["a"], "except": [sid] }, "rooms": ["x"] })).await;
    emit(&redis, json!(["in x", 2]), json!({ "rooms": ["x"] })).await;
    hear(&mut clients, &[0], &json!(["in x", 2])).await;
    all_are_quiet(&mut clients).await;
    // It comes back into a room that a back end put it into, on another node, and hears what was published there meanwhile.
    let (pid, offset) = (clients[0].pid.clone(), clients[0].offset.clone());
    let gone = clients.remove(0);
    drop(gone);
    clients[0].publish("y", json!("missed")).await;
    clients[0].message().await;
    let mut back = Client::come_back(nodes[2].address, &pid, offset.as_deref()).await;
    assert!(back.recovered(), "{}", back.hello);
    assert_eq!(back.message().await.0, "missed");
    emit(&redis, json!(["in x", 3]), json!({ "rooms": ["x"] })).await;
    hear(std::slice::from_mut(&mut back), &[0], &json!(["in x", 3])).await;
    // Who is disconnected does not come back.
    request(&redis, json!({ "type": 4, "opts": { "rooms": ["y"], "except": [] }, "close": false })).await;
    for client in [&mut back, &mut clients[0]] {
        assert_eq!(client.text().await.as_deref(), Some("41"));
        assert_eq!(client.text().await, None);
    }
    let again = Client::come_back(nodes[0].address, &back.pid, back.offset.as_deref()).await;
    assert!(!again.recovered());
    assert!(clients[1].is_quiet(QUIET).await, "it was in none of these rooms");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_comes_in_order_with_offsets_over_a_hand_over_and_is_recovered() {
    let redis = Redis::start().await;
    let mut nodes = hearing(&redis, 3, &[REDIS, DURABLE, LEASE]).await;
    let taking = takes(&nodes, "channels")[0];
    let (first, second) = ((taking + 1) % 3, (taking + 2) % 3);
    let mut live = Client::connect(nodes[first].address).await;
    let mut away = Client::connect(nodes[second].address).await;
    for client in [&mut live, &mut away] {
        client.join("r").await;
    }
    emit(&redis, json!(["n", -1]), json!({ "rooms": ["r"] })).await;
    assert_eq!(away.event().await[1], json!(-1));
    let (pid, offset) = (away.pid.clone(), away.offset.clone());
    assert!(offset.is_some(), "what is kept has an offset");
    drop(away);
    // The node whose turn it is ends in order while it is spoken to: nothing is lost, and nothing taken twice.
    let address = nodes[second].address;
    let ending = nodes.remove(taking);
    let stopped = tokio::spawn(ending.stop());
    for number in 0..400 {
        emit(&redis, json!(["n", number]), json!({ "rooms": ["r"] })).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    stopped.await.unwrap();
    let mut last = 0;
    assert_eq!(live.event().await[1], json!(-1));
    for number in 0..400 {
        let event = live.event().await;
        assert_eq!(event[1], json!(number), "{event}");
        let offset: u64 = event[2].as_str().unwrap().parse().unwrap();
        assert!(offset > last);
        last = offset;
    }
    eventually("another node takes", || async { takes(&nodes, "channels").len() == 1 }).await;
    let mut back = Client::come_back(address, &pid, offset.as_deref()).await;
    assert!(back.recovered(), "{}", back.hello);
    for number in 0..400 {
        assert_eq!(back.event().await[1], json!(number));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn python_is_heard_and_its_pickles_are_not_opened() {
    let redis = Redis::start().await;
    let nodes = hearing(&redis, 2, &[PYTHON]).await;
    let mut clients = clients(&nodes, &[&["r"], &["r"]]).await;
    let publish = |message: Value| {
        let redis = &redis;
        async move { redis.send(&[b"PUBLISH", b"socketio", message.to_string().as_bytes()]).await }
    };
    let sid = clients[0].sid.clone();
    let emit = json!({ "method": "emit", "event": "e", "data": [1], "namespace": "/", "room": "r", "skip_sid": null });
    publish(emit.clone()).await;
    hear(&mut clients, &[0, 1], &json!(["e", 1])).await;
    let mut but_one = emit.clone();
    but_one["skip_sid"] = json!(sid);
    publish(but_one).await;
    hear(&mut clients, &[1], &json!(["e", 1])).await;
    publish(json!({ "method": "enter_room", "sid": sid, "room": "x", "namespace": "/" })).await;
    let mut in_x = emit;
    in_x["room"] = json!("x");
    publish(in_x.clone()).await;
    hear(&mut clients, &[0], &json!(["e", 1])).await;
    publish(json!({ "method": "close_room", "room": "x", "namespace": "/" })).await;
    publish(in_x).await;
    redis.send(&[b"PUBLISH", b"socketio", b"\x80\x04\x95\x13\x00\x00\x00\x00\x00\x00\x00}\x94s."]).await;
    redis.send(&[b"PUBLISH", b"socketio", b"{"]).await;
    eventually("both are refused on both nodes", || async {
        refused(&nodes, "python", "pickle").await == 2.0 && refused(&nodes, "python", "malformed").await == 2.0
    })
    .await;
    all_are_quiet(&mut clients).await;
    publish(json!({ "method": "disconnect", "sid": sid, "namespace": "/" })).await;
    assert_eq!(clients[0].text().await.as_deref(), Some("41"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_written_there_harms_nobody() {
    let redis = Redis::start().await;
    let nodes = hearing(&redis, 2, &[REDIS, PYTHON]).await;
    let mut clients = clients(&nodes, &[&["r"], &["r"]]).await;
    let large = vec![b'x'; 10 * 1024 * 1024];
    let deep = [vec![0x91; 200_000], vec![0xc0]].concat();
    let claims = b"\x93\xa1e\xdf\xff\xff\xff\xff".to_vec();
    let rooms: Vec<_> = (0..1000).collect();
    let many = json!(["", { "type": 2, "data": ["e"], "nsp": "/" }, { "rooms": rooms }]);
    let many = rmp_serde::to_vec_named(&many).unwrap();
    for channel in [&b"socket.io#/#"[..], b"socket.io-request#/#", b"socket.io#", b"socket.io#\xff\xfe", b"socketio"] {
        for payload in [&large[..], &deep, &claims, &many, b"", b"{}", b"[[[[", b"\xc1"] {
            redis.send(&[b"PUBLISH", channel, payload]).await;
        }
    }
    for name in ["disconnect", "refused", "gateway:gap", "", "\n"] {
        emit(&redis, json!([name, 1]), json!({ "rooms": ["r"] })).await;
    }
    for room in [json!(""), json!("\u{1}everybody:/"), json!({ "a": 1 }), json!("x".repeat(256))] {
        emit(&redis, json!(["e", 1]), json!({ "rooms": [room] })).await;
    }
    emit(&redis, json!(["e", "x".repeat(70_000)]), json!({ "rooms": ["r"] })).await;
    emit(&redis, json!(["good", 1]), json!({ "rooms": ["r"] })).await;
    hear(&mut clients, &[0, 1], &json!(["good", 1])).await;
    all_are_quiet(&mut clients).await;
    for (reason, at_least) in
        [("too_large", 8.0), ("malformed", 8.0), ("bad_event", 10.0), ("bad_room", 8.0), ("too_many_rooms", 2.0)]
    {
        let count = refused(&nodes, "redis", reason).await;
        assert!(count >= at_least, "{reason}: {count}");
    }
    for node in &nodes {
        assert_eq!(http("GET", node.admin_address, "/readyz", "").await.0, 200);
        assert!(node.supervisor().failed().now_or_never().is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_redis_cluster_emitters_may_speak_through_any_of_its_nodes() {
    let redis = RedisCluster::start().await;
    let stream = ("GATEWAY_EMITTERS__STREAM", "{gateway}socket.io");
    let nodes = cluster_at(&redis.url(), 2, &[REDIS, DURABLE, STREAMS, stream, LEASE]).await;
    eventually("one node takes", || async {
        takes(&nodes, "channels").len() == 1 && takes(&nodes, "stream").len() == 1
    })
    .await;
    let mut clients = clients(&nodes, &[&["r"], &["r"]]).await;
    let data = broadcast(json!(["entry", 1]), json!(["r"])).to_string();
    for primary in &redis.primaries {
        emit(primary, json!(["kept", 1]), json!({ "rooms": ["r"] })).await;
        hear(&mut clients, &[0, 1], &json!(["kept", 1])).await;
        // Only the node that has the key takes it.
        let entry: [&[u8]; 11] = [
            b"XADD",
            b"{gateway}socket.io",
            b"*",
            b"uid",
            b"emitter",
            b"nsp",
            b"/",
            b"type",
            b"3",
            b"data",
            data.as_bytes(),
        ];
        if !primary.send(&entry).await.starts_with("-MOVED") {
            hear(&mut clients, &[0, 1], &json!(["entry", 1])).await;
        }
    }
    all_are_quiet(&mut clients).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_ear_is_cut_off_leaves_its_turn_to_another() {
    let redis = Redis::start().await;
    let nodes = hearing(&redis, 2, &[REDIS, DURABLE, ("GATEWAY_EMITTERS__LEASE", "60s")]).await;
    let mut clients = clients(&nodes, &[&["r"], &["r"]]).await;
    for turn in 0..3 {
        // All connections that listen; the lease would last.
        redis.command("CLIENT KILL TYPE pubsub").await;
        eventually("one node takes", || async { takes(&nodes, "channels").len() == 1 }).await;
        eventually("what is said is heard", || {
            let (redis, nodes) = (&redis, &nodes);
            async move {
                emit(redis, json!(["n", turn]), json!({ "rooms": ["r"] })).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
                nodes.iter().all(|node| metric(node, "gateway_feed_items_total{kind=\"event\"}") > f64::from(turn))
            }
        })
        .await;
    }
    for client in &mut clients {
        while client.event().await[1] != json!(2) {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_acl_user_may_not_hear_is_told() {
    let redis = Redis::start().await;
    let user = "ACL SETUSER gate on >secret ~gateway:* &gateway:* +@all -@dangerous +info +config|get";
    assert!(redis.command(user).await.starts_with("+OK"));
    let url = redis.url().replace("redis://", "redis://gate:secret@");
    let settings = [("GATEWAY_REDIS_URL", &*url), ("GATEWAY_NODE_NAME", "deaf"), REDIS];
    let node = Process::start(&settings, None, None);
    eventually("it says what it needs", || async { node.log().contains("an ACL user needs &socket.io#* ") }).await;
    assert_eq!(http("GET", node.admin_address, "/readyz", "").await.0, 200);
    redis.command("ACL SETUSER gate &socket.io#* &socket.io-request#*").await;
    let mut client = Client::connect(node.address).await;
    eventually("it listens", || async { redis.command("CLIENT LIST TYPE pubsub").await.contains(" psub=2 ") }).await;
    emit(&redis, json!(["heard", 1]), json!({})).await;
    assert_eq!(client.event().await[0], "heard");
}

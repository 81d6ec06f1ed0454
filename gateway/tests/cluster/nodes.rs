//! Several nodes in this process over a real Redis: what crosses between nodes, and what Redis outages do to it.

use std::time::Duration;

use gateway::app::Gateway;
use gateway_core::auth::{Grant, mint};
use serde_json::json;

use crate::cluster;
use crate::support::client::Client;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::{self, eventually, http, metric, node};

#[tokio::test(flavor = "multi_thread")]
async fn every_member_on_every_node_hears_everything_once_and_in_the_same_order() {
    let redis = Redis::start().await;
    let nodes = cluster(&redis, 3, &[]).await;
    let mut clients = Vec::new();
    for number in 0..9 {
        let mut client = Client::connect(nodes[number % 3].address).await;
        client.join("r").await;
        clients.push(client);
    }
    for round in 0..20 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(&format!("42{}", json!(["publish", { "room": "r", "data": [number, round] }]))).await;
        }
    }
    let mut heard = Vec::new();
    for client in &mut clients {
        let mut own = Vec::new();
        for _ in 0..180 {
            own.push(client.message().await);
        }
        assert!(own.is_sorted_by_key(|(_, offset)| *offset), "offsets grow");
        heard.push(own);
    }
    assert!(heard.windows(2).all(|pair| pair[0] == pair[1]), "everybody heard the same");
    for number in 0..9 {
        let of_one: Vec<_> =
            heard[0].iter().filter(|(data, _)| data[0] == number).map(|(data, _)| data[1].clone()).collect();
        assert_eq!(of_one, (0..20).map(|round| json!(round)).collect::<Vec<_>>(), "each publisher's order is kept");
    }
    for client in &mut clients {
        assert!(client.is_quiet(Duration::from_millis(50)).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_members_hears_nothing_of_a_room() {
    let redis = Redis::start().await;
    let nodes = cluster(&redis, 2, &[("GATEWAY_ROOMS__LINGER", "200ms")]).await;
    let (mut member, mut other) = (Client::connect(nodes[0].address).await, Client::connect(nodes[1].address).await);
    member.join("r").await;
    let channels = || async { redis.command("PUBSUB NUMSUB gateway:room:r").await };
    assert!(channels().await.contains(":1\r\n"));
    for number in 0..100 {
        member.publish("r", json!(number)).await;
    }
    let events = |node: &Gateway| metric(node, "gateway_feed_items_total{kind=\"event\"}");
    eventually("the member's node heard all", || async { events(&nodes[0]) == 100.0 }).await;
    assert_eq!(events(&nodes[1]), 0.0, "and the other one nothing");
    // A member makes the node listen; after the last one left it goes silent again.
    other.join("r").await;
    assert!(channels().await.contains(":2\r\n"));
    other.ask("leave", json!({ "room": "r" })).await;
    eventually("the node no longer listens", || async { channels().await.contains(":1\r\n") }).await;
    assert_eq!(metric(&nodes[1], "gateway_subscriptions"), 1.0, "but to what is for everybody");
    // And it can come back.
    other.join("r").await;
    let offset = member.publish("r", json!("again")).await;
    assert_eq!(other.message().await, (json!("again"), offset.parse().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_connections_heal_twice_and_the_gap_is_filled_from_the_log() {
    let redis = Redis::start().await;
    let nodes = cluster(&redis, 3, &[]).await;
    let mut members = Vec::new();
    for node in &nodes {
        let mut member = Client::connect(node.address).await;
        member.join("r").await;
        member.join("s").await;
        members.push(member);
    }
    for round in 0..3 {
        // Killing and publishing without a pause between them: what is published falls into the gap.
        let kinds: &[&str] = if round == 1 { &["normal", "pubsub"] } else { &["pubsub"] };
        for kind in kinds {
            redis.command(&format!("CLIENT KILL TYPE {kind} SKIPME yes")).await;
        }
        let mut published = Vec::new();
        for number in 0..20 {
            let room = if number % 2 == 0 { "r" } else { "s" };
            let data = json!([round, number]);
            // Refused while its own connections heal: tried again until it is kept.
            loop {
                let ack =
                    members[0].ask("publish", json!({ "room": room, "data": data, "id": data.to_string() })).await;
                if ack["ok"] == true {
                    published.push((data, ack["offset"].as_str().unwrap().parse::<u64>().unwrap()));
                    break;
                }
                assert_eq!(ack["error"]["code"], "unavailable", "{ack}");
            }
        }
        for member in &mut members {
            for expected in &published {
                assert_eq!(member.message().await, *expected, "round {round}");
            }
        }
    }
    for node in &nodes {
        assert!(metric(node, "gateway_bus_reconnects_total") >= 3.0);
        assert!(metric(node, "gateway_feed_gaps_total{result=\"filled\"}") >= 3.0);
        assert_eq!(metric(node, "gateway_feed_gaps_total{result=\"lost\"}"), 0.0);
        assert_eq!(metric(node, "gateway_bus_connected"), 1.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_goes_away_and_comes_back_costs_refusals_and_no_connections() {
    let mut redis = Redis::start().await;
    let nodes = cluster(&redis, 2, &[("GATEWAY_REDIS__TIMEOUT", "500ms")]).await;
    let (mut one, mut two) = (Client::connect(nodes[0].address).await, Client::connect(nodes[1].address).await);
    one.join("r").await;
    two.join("r").await;
    one.publish("r", json!("before")).await;
    redis.stop().await;
    let ack = one.ask("publish", json!({ "room": "r", "data": "away" })).await;
    assert_eq!(ack["error"]["code"], "unavailable", "{ack}");
    assert!(ack["error"]["retryAfterMs"].as_u64().unwrap() > 0);
    let ack = two.ask("join", json!({ "room": "another" })).await;
    assert_eq!(ack["error"]["code"], "unavailable", "{ack}");
    eventually("the node says that the bus is away", || async { metric(&nodes[0], "gateway_bus_connected") == 0.0 })
        .await;
    assert_eq!(http("GET", nodes[0].admin_address, "/readyz", "").await.0, 200, "it stays ready");
    redis.start_again().await;
    let kept = one.ask("publish", json!({ "room": "r", "data": "tried again", "id": "1" }));
    let mut ack = kept.await;
    while ack["ok"] != true {
        assert_eq!(ack["error"]["code"], "unavailable", "{ack}");
        ack = one.ask("publish", json!({ "room": "r", "data": "tried again", "id": "1" })).await;
    }
    for client in [&mut one, &mut two] {
        assert_eq!(client.message().await.0, "before");
        assert_eq!(client.message().await.0, "tried again");
    }
    assert_eq!(two.ask("join", json!({ "room": "another" })).await["ok"], true);
    for node in &nodes {
        assert_eq!(node.sessions(), 1, "nobody was thrown out");
        eventually("the canary is heard again", || async { metric(node, "gateway_canary_silence_seconds") < 2.0 })
            .await;
        eventually("nodes see each other", || async { metric(node, "gateway_cluster_nodes") == 2.0 }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_lost_its_data_is_a_new_history_and_nodes_follow_it() {
    let mut redis = Redis::start().await;
    let nodes = cluster(&redis, 2, &[]).await;
    let (mut one, mut two) = (Client::connect(nodes[0].address).await, Client::connect(nodes[1].address).await);
    one.join("r").await;
    two.join("r").await;
    for number in 0..10 {
        one.publish("r", json!(number)).await;
        two.message().await;
    }
    redis.kill();
    redis.lose_everything();
    redis.start_again().await;
    let mut ack = one.ask("publish", json!({ "room": "r", "data": "new" })).await;
    while ack["ok"] != true {
        ack = one.ask("publish", json!({ "room": "r", "data": "new" })).await;
    }
    let mut told = [two.event().await, two.event().await];
    let through = told.each_mut().map(|gap| gap[1].as_object_mut().unwrap().remove("through").unwrap());
    let gap = json!(["gateway:gap", { "room": "r", "reason": "history" }]);
    let everybody = json!(["gateway:gap", { "room": null, "reason": "history" }]);
    assert!(told.contains(&gap) && told.contains(&everybody), "a gap is never silent: {told:?}");
    let (data, offset) = two.message().await;
    assert_eq!(data, "new");
    assert!(through.iter().all(|through| through.as_str().unwrap().parse::<u64>().unwrap() < offset), "{through:?}");
    eventually("the loss is counted", || async {
        metric(&nodes[1], "gateway_feed_gaps_total{result=\"lost\"}") >= 1.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_and_end_a_user_s_sockets_on_all_nodes() {
    let redis = Redis::start().await;
    let secrets = [("GATEWAY_AUTH__SECRET", "s"), ("GATEWAY_ADMIN__TOKEN", "t")];
    let nodes = cluster(&redis, 3, &secrets).await;
    let auth = support::config(&secrets).auth;
    let token = |user| {
        let user = gateway_core::domain::UserId::parse(user).unwrap();
        json!({ "token": mint(&auth, &Grant::new(user, Duration::from_secs(60))).unwrap() })
    };
    let mut alice = Vec::new();
    for node in &nodes {
        alice.push(Client::try_connect(node.address, token("alice")).await.unwrap());
    }
    let mut bob = Client::try_connect(nodes[1].address, token("bob")).await.unwrap();
    assert!(Client::try_connect(nodes[1].address, json!({})).await.is_err_and(|error| error.contains("unauthorized")));
    let path = "/users/alice/sockets";
    let bearer = "Authorization: Bearer t\r\n";
    assert_eq!(http("GET", nodes[0].admin_address, path, "").await.0, 401);
    assert_eq!(http("GET", nodes[0].admin_address, path, "Authorization: Bearer x\r\n").await.0, 401);
    let (status, body) = http("GET", nodes[0].admin_address, path, bearer).await;
    let seen: serde_json::Value = serde_json::from_str(&body).unwrap();
    let everywhere = json!({ "node-0": 1, "node-1": 1, "node-2": 1 });
    assert_eq!((status, &seen["sockets"], &seen["nodes"]), (200, &json!(3), &everywhere), "{body}");
    assert_eq!(http("DELETE", nodes[2].admin_address, path, bearer).await.0, 204);
    for client in &mut alice {
        assert_eq!(client.text().await.as_deref(), Some("41"), "told to stay away");
        assert_eq!(client.text().await, None, "and the transport ends");
    }
    assert_eq!(bob.ask("join", json!({ "room": "r" })).await["ok"], true, "others stay");
    eventually("all are gone", || async { nodes.iter().map(Gateway::sessions).sum::<usize>() == 1 }).await;
    for node in &nodes {
        assert_eq!(metric(node, "gateway_connections_closed_total{transport=\"websocket\",reason=\"kicked\"}"), 1.0);
    }
    // Control survives lost connections too.
    redis.command("CLIENT KILL TYPE pubsub").await;
    redis.command("CLIENT KILL TYPE normal SKIPME yes").await;
    let all_heard = || async {
        let (_, body) = http("GET", nodes[0].admin_address, "/users/bob/sockets", bearer).await;
        body.contains("\"sockets\":1")
    };
    eventually("bob is seen from another node again", all_heard).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_admin_token_there_are_no_session_controls() {
    let node = node(&[]).await;
    assert_eq!(http("GET", node.admin_address, "/users/alice/sockets", "Authorization: Bearer \r\n").await.0, 404);
    assert_eq!(http("DELETE", node.admin_address, "/users/alice/sockets", "").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_whose_log_is_damaged_does_not_silence_the_node() {
    let redis = Redis::start().await;
    let nodes = cluster(&redis, 2, &[]).await;
    let (mut one, mut two) = (Client::connect(nodes[0].address).await, Client::connect(nodes[1].address).await);
    for room in ["damaged", "r"] {
        one.join(room).await;
        two.join(room).await;
    }
    redis.command("SET gateway:log:room:damaged nonsense").await;
    redis.command("CLIENT KILL TYPE pubsub").await;
    one.publish("r", json!("heard")).await;
    let gap = json!(["gateway:gap", { "room": "damaged", "reason": "unreadable" }]);
    assert_eq!(two.event().await, gap);
    assert_eq!(two.message().await.0, "heard");
    let lost = || async { metric(&nodes[1], "gateway_feed_gaps_total{result=\"lost\"}") == 1.0 };
    eventually("the loss is counted, after it was told", lost).await;
    let reads = metric(&nodes[1], "gateway_log_errors_total{op=\"read\"}");
    assert_eq!(reads, 1.0, "trying again would not help");
    let ack = one.ask("publish", json!({ "room": "damaged", "data": 1 })).await;
    assert_eq!(ack["error"]["code"], "unavailable", "{ack}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_gap_missed_is_delivered_in_rounds_if_it_is_more_than_fits_into_memory() {
    const EVENTS: u64 = 700;
    let redis = Redis::start().await;
    let proxy = Proxy::before(&redis).await;
    // A client that does not read for a while, and a room that is cut, are not what this is about.
    let patient = [
        ("GATEWAY_LIMITS__BACKLOG_BYTES", "200000000"),
        ("GATEWAY_REDIS__TIMEOUT", "2s"),
        ("GATEWAY_LOG__ROOM_BYTES", "0"),
    ];
    let (near, far) = (redis.url(), proxy.url());
    let with = |url: &str| {
        let changes: Vec<_> = patient.iter().copied().chain([("GATEWAY_REDIS_URL", url)]).collect();
        let changes: Vec<_> = changes.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        async move {
            let changes: Vec<_> = changes.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            node(&changes).await
        }
    };
    let (one, apart) = (with(&near).await, with(&far).await);
    let (mut speaker, mut listener) = (Client::connect(one.address).await, Client::connect(apart.address).await);
    for room in ["a", "b", "c"] {
        speaker.join(room).await;
        listener.join(room).await;
    }
    proxy.shut(true);
    let large = "x".repeat(60_000);
    for number in 0..EVENTS {
        let room = ["a", "b", "c"][usize::try_from(number * number % 3).unwrap()];
        speaker.publish(room, json!([number, large])).await;
    }
    proxy.shut(false);
    let mut last = 0;
    for number in 0..EVENTS {
        let (data, offset) = listener.message().await;
        assert_eq!(data[0], number);
        assert!(offset > last, "one order over all rooms");
        last = offset;
    }
    assert!(metric(&apart, "gateway_feed_gap_rounds_total") >= 2.0, "it does not fit at once");
    speaker.publish("a", json!("after it")).await;
    assert_eq!(listener.message().await.0, "after it");
}

//! The primary changes: behind one address, by Sentinels, in a Redis Cluster. Nodes go on with the new one.

use std::time::Duration;

use gateway::app::Gateway;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::client::Client;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::topology::{RedisCluster, Sentinels, replica_of};
use crate::support::{PATIENCE, eventually, metric};
use crate::{cluster, cluster_at};

/// How long nodes may take to go on after the new primary can be found and answers.
const HEALED: Duration = Duration::from_secs(5);

/// A member on each node, in one room.
async fn members(nodes: &[Gateway]) -> Vec<Client> {
    let mut members = Vec::new();
    for node in nodes {
        // As clients do, it comes again while Redis is away.
        let deadline = Instant::now() + PATIENCE;
        let mut member = loop {
            match Client::try_connect(node.address, json!({})).await {
                Ok(member) => break member,
                Err(why) => assert!(Instant::now() < deadline, "not let in: {why}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        member.join("r").await;
        members.push(member);
    }
    members
}

/// Waits for the message that everybody is to hear next; notices of gaps are for others to judge.
async fn hears(member: &mut Client, data: &Value) {
    loop {
        let event = member.event().await;
        if event[0] == "message" && event[1]["data"] == *data {
            return;
        }
        assert!(event[0] == "gateway:gap", "{event}");
    }
}

/// Whether everybody hears what somebody on each node publishes, and newcomers can join.
async fn all_go_on(nodes: &[Gateway], members: &mut [Client], what: &str) {
    for speaker in 0..members.len() {
        let data = json!([what, speaker]);
        members[speaker].publish_until_acknowledged(data.clone()).await;
        for member in members.iter_mut() {
            hears(member, &data).await;
        }
    }
    for node in nodes {
        Client::connect(node.address).await.join("r").await;
        assert_eq!(metric(node, "gateway_bus_connected"), 1.0);
    }
}

fn distrusted(node: &Gateway) -> f64 {
    let reasons = ["readonly", "replica", "masterdown", "loading", "moved", "run_id"];
    reasons.iter().map(|reason| metric(node, &format!("gateway_redis_distrusted_total{{reason=\"{reason}\"}}"))).sum()
}

/// How many connections of nodes a server has.
async fn connections(redis: &Redis) -> usize {
    let list = redis.command("CLIENT LIST").await;
    // Whoever asks, and what Redis servers have with each other, do not count.
    let of_nodes = |line: &&str| {
        line.contains("id=")
            && !line.contains("cmd=client|list")
            && !line.contains("flags=M")
            && !line.contains("flags=S")
    };
    list.lines().filter(of_nodes).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_becomes_a_replica_is_left_by_all_connections() {
    let one = Redis::start().await;
    let two = replica_of(&one).await;
    let proxy = Proxy::before(&one).await;
    let nodes = cluster_at(&proxy.url(), 2, &[]).await;
    let mut members = members(&nodes).await;
    all_go_on(&nodes, &mut members, "before").await;
    // There and back: what heals once has to heal again.
    for (round, [old, new]) in [[&one, &two], [&two, &one]].into_iter().enumerate() {
        eventually("the replica has everything", || async { old.command("WAIT 1 1000").await.starts_with(":1") }).await;
        new.command("REPLICAOF NO ONE").await;
        proxy.point_to(new);
        old.command(&format!("REPLICAOF 127.0.0.1 {}", new.port())).await;
        let began = Instant::now();
        let data = json!(["after", round]);
        members[0].publish_until_acknowledged(data.clone()).await;
        assert!(began.elapsed() < HEALED, "healed after {:?}", began.elapsed());
        for member in &mut members {
            hears(member, &data).await;
        }
        all_go_on(&nodes, &mut members, &format!("round {round}")).await;
        eventually("nobody stays with the old one", || async { connections(old).await == 0 }).await;
    }
    for node in &nodes {
        assert!(distrusted(node) >= 2.0);
    }
}

/// What a member is told next of its room, or hears: the offset up to which something may be missing, or the data.
async fn told(member: &mut Client) -> Result<u64, Value> {
    loop {
        let event = member.event().await;
        match event[0].as_str() {
            Some("message") => return Err(event[1]["data"].clone()),
            Some("gateway:gap") if event[1]["room"] == "r" => {
                assert_eq!(event[1]["reason"], "history", "{event}");
                return Ok(event[1]["through"].as_str().unwrap().parse().unwrap());
            }
            _ => assert_eq!((&event[0], &event[1]["room"]), (&json!("gateway:gap"), &Value::Null), "{event}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_told_what_an_old_primary_took_before_they_hear_anything_newer() {
    let old = Redis::start().await;
    let new = replica_of(&old).await;
    let ways = [Proxy::before(&old).await, Proxy::before(&old).await];
    let settings = [("GATEWAY_REDIS__TIMEOUT", "500ms")];
    let mut nodes = cluster_at(&ways[0].url(), 1, &settings).await;
    nodes.extend(cluster_at(&ways[1].url(), 1, &settings).await);
    let mut members = members(&nodes).await;
    all_go_on(&nodes, &mut members, "before").await;
    eventually("the replica has everything", || async { old.command("WAIT 1 1000").await.starts_with(":1") }).await;
    new.command("REPLICAOF NO ONE").await;
    // One node finds the new primary, and the other goes on with the old one.
    ways[1].point_to(&new);
    ways[1].freeze();
    let kept = members[1].publish_until_acknowledged(json!("kept")).await;
    let lost = members[0].publish_until_acknowledged(json!("lost")).await;
    assert!(kept < lost);
    hears(&mut members[0], &json!("lost")).await;
    ways[0].point_to(&new);
    ways[0].freeze();
    members[1].publish_until_acknowledged(json!("after")).await;
    let through = told(&mut members[1]).await.expect("nothing of the new one before the notice");
    assert!(through > lost);
    assert_eq!(told(&mut members[1]).await, Err(json!("kept")));
    assert_eq!(told(&mut members[1]).await, Err(json!("after")));
    // Whoever heard what is lost hears nothing that would come out of order.
    let through = told(&mut members[0]).await.expect("it misses something");
    assert!(through > lost);
    assert_eq!(told(&mut members[0]).await, Err(json!("after")));
    all_go_on(&nodes, &mut members, "all is well").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_node_leaves_a_replica_too() {
    let one = Redis::start().await;
    let two = replica_of(&one).await;
    let proxy = Proxy::before(&one).await;
    let nodes = cluster_at(&proxy.url(), 1, &[]).await;
    let before = metric(&nodes[0], "gateway_bus_reconnects_total");
    two.command("REPLICAOF NO ONE").await;
    proxy.point_to(&two);
    one.command(&format!("REPLICAOF 127.0.0.1 {}", two.port())).await;
    eventually("the bus is at the new one", || async {
        connections(&two).await >= 2 && metric(&nodes[0], "gateway_bus_reconnects_total") > before
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_behind_the_address_is_noticed_by_the_first_new_connection() {
    let (one, two) = (Redis::start().await, Redis::start().await);
    let proxy = Proxy::before(&one).await;
    let nodes = cluster_at(&proxy.url(), 1, &[]).await;
    proxy.point_to(&two);
    // What commands use is lost, what the bus uses is not: without more they would be on different servers.
    one.command("CLIENT KILL TYPE normal SKIPME yes").await;
    let mut member = members(&nodes).await.remove(0);
    all_go_on(&nodes, std::slice::from_mut(&mut member), "after").await;
    eventually("the listening connection followed", || async { connections(&one).await == 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_tell_where_the_new_primary_is() {
    let mut one = Redis::start().await;
    let two = replica_of(&one).await;
    let sentinels = Sentinels::watch(&one, Duration::from_secs(1)).await;
    let nodes = cluster_at(&sentinels.url(), 2, &[]).await;
    let mut members = members(&nodes).await;
    all_go_on(&nodes, &mut members, "before").await;
    one.command("WAIT 1 1000").await;
    one.kill();
    eventually("the Sentinels have another primary", || async {
        two.command("INFO replication").await.contains("role:master")
    })
    .await;
    let began = Instant::now();
    members[1].publish_until_acknowledged(json!("after")).await;
    assert!(began.elapsed() < HEALED, "healed after {:?}", began.elapsed());
    for member in &mut members {
        hears(member, &json!("after")).await;
    }
    all_go_on(&nodes, &mut members, "new").await;
    // The old one comes back as a primary, for the moment until a Sentinel makes it a replica. Nobody goes there.
    one.start_again().await;
    all_go_on(&nodes, &mut members, "back").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_cluster_serves_from_one_slot_and_its_replica_takes_over() {
    let mut redis = RedisCluster::start().await;
    // The slot of {two} is the replicated primary's.
    let changes = [("GATEWAY_REDIS__PREFIX", "{two}:gateway"), ("GATEWAY_PRESENCE__LEASE", "2s")];
    let nodes = cluster_at(&redis.url(), 2, &changes).await;
    let mut members = members(&nodes).await;
    all_go_on(&nodes, &mut members, "before").await;
    assert_eq!(redis.primaries[1].command("DBSIZE").await, ":0\r\n");
    let channels = redis.primaries[0].command("PUBSUB SHARDCHANNELS").await;
    assert!(channels.contains("{two}:gateway:room:r"), "{channels}");
    assert_eq!(redis.primaries[0].command("PUBSUB CHANNELS").await, "*0\r\n", "nothing crosses the whole cluster");
    redis.primaries[0].command("WAIT 1 1000").await;
    redis.primaries[0].kill();
    eventually("the replica has taken over", || async {
        redis.replica.command("INFO replication").await.contains("role:master")
    })
    .await;
    let began = Instant::now();
    members[0].publish_until_acknowledged(json!("after")).await;
    assert!(began.elapsed() < HEALED, "healed after {:?}", began.elapsed());
    for member in &mut members {
        hears(member, &json!("after")).await;
    }
    all_go_on(&nodes, &mut members, "new").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_loads_its_data_is_waited_for() {
    // Reading its file takes about two seconds, in which it answers now and then: with LOADING.
    let mut redis = Redis::start_with(&["--key-load-delay", "100"]).await;
    let nodes = cluster(&redis, 2, &[]).await;
    let mut members = members(&nodes).await;
    all_go_on(&nodes, &mut members, "before").await;
    redis.command("EVAL \"for i=1,20000 do redis.call('SET','filler',i) end\" 0").await;
    redis.kill();
    let ((), offset) =
        tokio::join!(redis.start_again(), members[0].publish_until_acknowledged(json!("while it loads")));
    assert!(offset > 0);
    for member in &mut members {
        hears(member, &json!("while it loads")).await;
    }
    all_go_on(&nodes, &mut members, "after").await;
}

//! What the doctor finds of Redis: one that was not set up, and each of several.

use super::{WELL, doctor};
use crate::support::redis::{Redis, free_port};

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_was_not_set_up() {
    let wrong = [
        "--appendonly",
        "no",
        "--save",
        "",
        "--maxmemory-policy",
        "allkeys-lru",
        "--timeout",
        "30",
        "--maxclients",
        "20",
    ];
    let redis = Redis::start_with(&wrong).await;
    redis.command("ACL SETUSER gate on >hunter2 ~gateway:* &gateway:* +@all -@dangerous +info +config|get").await;
    let url = format!("redis://gate:hunter2@127.0.0.1:{}", redis.port());
    let nobody = format!("--node=127.0.0.1:{}", free_port());
    let found = doctor(&[&nobody], &[("GATEWAY_REDIS_URL", &url)]).await;
    assert_eq!(found.code, 2);
    found.assert("redis.eviction", "error", "allkeys-lru");
    found.assert("redis.persistence", "warning", "writes nothing to a disk");
    found.assert("redis.unbounded", "warning", "no maxmemory");
    found.assert("redis.output_buffer", "warning", "32 MiB");
    found.assert("redis.timeout", "warning", "idle for so many seconds");
    found.assert("redis.connections", "warning", "of 20 connections");
    found.assert("redis.replicas", "note", "nobody");
    // Keys of queues do not begin as the others do.
    found.assert("redis.rights", "error", "permissions to access");
    found.assert("node.reachable", "error", "refused");
    found.assert("limits", "skipped", "no node is on this machine");
    found.assert("balancer", "skipped", "--via");
    redis.command("ACL SETUSER gate resetchannels &other:* -config|get").await;
    let found = doctor(&[&nobody], &[("GATEWAY_REDIS_URL", &url)]).await;
    found.assert("redis.rights", "error", "channel");
    found.assert("redis.settings", "warning", "cannot all be read");
    found.assert("redis.output_buffer", "skipped", "CONFIG GET");
    let away = format!("redis://127.0.0.1:{}", free_port());
    doctor(&[&nobody], &[("GATEWAY_REDIS_URL", &away)]).await.assert("redis.reachable", "error", "refused");
    let found =
        doctor(&[&nobody], &[("GATEWAY_REDIS_URL", &format!("redis://gate:hunter3@127.0.0.1:{}", redis.port()))]).await;
    found.assert("redis.reachable", "error", "WRONGPASS");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_several_is_looked_at_by_itself() {
    let (main, chat) =
        (Redis::start_with(&WELL).await, Redis::start_with(&["--maxmemory-policy", "allkeys-lru"]).await);
    let (main, chat) = (main.url(), chat.url());
    let nobody = format!("--node=127.0.0.1:{}", free_port());
    let seen = async |url: &str| {
        let changes = [
            ("GATEWAY_REDIS_URL", &*main),
            ("GATEWAY_REDIS__OF__CHAT__URL", url),
            ("GATEWAY_REDIS__OF__CHAT__NAMESPACES", "/chat"),
        ];
        doctor(&[&nobody], &changes).await
    };
    let found = seen(&chat).await;
    let evictions = found.every("redis.eviction");
    assert_eq!(evictions.len(), 2, "{:#}", found.report);
    let (of_main, of_chat) = (evictions[0], evictions[1]);
    assert_eq!((&of_main["status"], &of_chat["status"]), (&"ok".into(), &"error".into()), "{:#}", found.report);
    assert!(of_chat["about"].as_str().unwrap().starts_with("Redis of chat at "), "{of_chat}");
    // Only the deployment's Redis has queues: what is forgotten about them there is no fault of the other.
    found.assert("redis.rights", "ok", "");
    let away = seen(&format!("redis://127.0.0.1:{}", free_port())).await;
    away.assert("redis.reachable", "error", "refused");
    let about = away.every("redis.reachable")[0]["about"].clone();
    assert_eq!(about, "redis.of.chat.url");
    assert_eq!(away.every("redis.eviction").len(), 1, "the main one is looked at all the same: {:#}", away.report);
}

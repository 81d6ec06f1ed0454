//! Nodes with several Redis begin, or say why not: what is wrong with their configuration, or what they would contradict.

use gateway::app::{Gateway, StartError};
use serde_json::json;

use super::{CHAT, World, member};
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::{self, node};

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_at_the_start_in_words() {
    let (main, chat) = (Redis::start().await, Redis::start_with(&["--requirepass", "right"]).await);
    let world = World::new(&main.url(), &chat.url());
    let words = |failed: Result<Gateway, StartError>| match failed {
        Err(StartError::Configuration(words)) => words,
        other => panic!("{other:?}"),
    };
    let told = words(world.try_node("node", &[]).await);
    assert!(told.starts_with("redis.of.chat.url: ") && told.contains("NOAUTH"), "{told}");
    let free = Redis::start().await;
    let world = World::new(&main.url(), &free.url());
    let told = words(world.try_node("node", &[("GATEWAY_REDIS__OF__CHAT__NAMESPACES", "/chat, /nowhere")]).await);
    assert_eq!(told, "redis.of.chat.namespaces: no route is in \"/nowhere\"; there are: /, /chat");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_disagree_do_not_begin() {
    let (main, chat, other) = (Redis::start().await, Redis::start().await, Redis::start().await);
    let world = World::new(&main.url(), &chat.url());
    let first = world.node("node-0", &[]).await;
    // By another address it is still the same.
    let proxy = Proxy::before(&chat).await;
    let second = World::new(&main.url(), &proxy.url()).node("node-1", &[]).await;
    let elsewhere = World::new(&main.url(), &other.url());
    let failed = elsewhere.try_node("node-2", &[]).await.unwrap_err();
    let words = failed.to_string();
    assert!(words.contains("has another Redis for the namespace /chat than this node"), "{words}");
    assert!(words.contains("node-0") || words.contains("node-1"), "{words}");
    // One that has none for a namespace has the main one for it.
    let profile = elsewhere.routes.path().to_str().unwrap();
    let changes =
        [("GATEWAY_REDIS_URL", &*world.main), ("GATEWAY_PROFILE", profile), ("GATEWAY_DRAIN__ANNOUNCE", "0s")];
    node(&changes[..1]).await.stop().await;
    let failed = Gateway::start(support::config(&changes), 20_000).await.unwrap_err().to_string();
    assert!(failed.contains("for the namespace /chat"), "{failed}");
    first.stop().await;
    second.stop().await;
    // Those that are gone contradict nobody.
    let third = elsewhere.node("node-2", &[]).await;
    member(&third, CHAT).await.publish("r", json!(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_redis_under_two_addresses_is_noticed() {
    let redis = Redis::start().await;
    let proxy = Proxy::before(&redis).await;
    // Channels do not heed the number of a database.
    for chat in [proxy.url(), format!("{}/3", proxy.url())] {
        let world = World::new(&redis.url(), &chat);
        let words = world.try_node("node", &[]).await.unwrap_err().to_string();
        assert!(words.contains("redis.of: the Redis of /chat is the same as the main one"), "{words}");
        // With a prefix of its own it may be.
        let node = world.node("node", &[("GATEWAY_REDIS__OF__CHAT__PREFIX", "chat")]).await;
        member(&node, CHAT).await.publish("r", json!(1)).await;
        node.stop().await;
    }
}

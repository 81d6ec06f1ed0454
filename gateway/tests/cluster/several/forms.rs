//! One of several Redis in another form than one server: behind Sentinels, and in shards.

use std::time::Duration;

use serde_json::json;

use super::{CHAT, World, member};
use crate::support::eventually;
use crate::support::redis::Redis;
use crate::support::topology::{RedisCluster, Sentinels, replica_of};

#[tokio::test(flavor = "multi_thread")]
async fn one_may_have_sentinels_and_fail_over() {
    let (main, one) = (Redis::start().await, Redis::start().await);
    let _two = replica_of(&one).await;
    let sentinels = Sentinels::watch(&one, Duration::from_secs(1)).await;
    let world = World::new(&main.url(), &sentinels.url());
    let nodes = world.nodes(&[]).await;
    let (mut speaker, mut member_there, mut unmoved) =
        (member(&nodes[0], CHAT).await, member(&nodes[1], CHAT).await, member(&nodes[0], "/").await);
    speaker.publish_until_acknowledged(json!("before")).await;
    assert_eq!(member_there.message().await.0, json!("before"));
    eventually("the replica has everything", || async { one.command("WAIT 1 1000").await.starts_with(":1") }).await;
    sentinels.fail_over().await;
    speaker.publish_until_acknowledged(json!("after")).await;
    loop {
        let event = member_there.event().await;
        if event[0] == "message" {
            assert_eq!(event[1]["data"], "after");
            break;
        }
        assert_eq!(event[0], "gateway:gap", "{event}");
    }
    unmoved.publish("r", json!(1)).await;
    assert_eq!(unmoved.message().await.0, json!(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_may_be_a_cluster() {
    let (main, chat) = (Redis::start().await, RedisCluster::start().await);
    let world = World::new(&main.url(), &chat.url());
    let nodes = world.nodes(&[]).await;
    let (mut one, mut two) = (member(&nodes[0], CHAT).await, member(&nodes[1], CHAT).await);
    for number in 0..20 {
        let offset = one.publish_until_acknowledged(json!(number)).await;
        assert_eq!((one.message().await, two.message().await), ((json!(number), offset), (json!(number), offset)));
    }
}

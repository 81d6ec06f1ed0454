//! What the log in Redis does when a replica becomes the primary and nodes hear of it at different times.

use std::time::Duration;

use gateway_core::log::{Page, RedisLog};
use tokio::time::Instant;

use crate::restarts::{append, mark, node, node_at, page};
use crate::support;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::topology::replica_of;

/// A replica that has become the primary, and two nodes that have written: one of them has found it, the other not yet.
struct Split {
    _old: Redis,
    new: Redis,
    way_of_one: Proxy,
    _way_of_two: Proxy,
    one: RedisLog,
    two: RedisLog,
    before: Page,
}

impl Split {
    async fn happen() -> Self {
        let old = Redis::start().await;
        let new = replica_of(&old).await;
        let (way_of_one, way_of_two) = (Proxy::before(&old).await, Proxy::before(&old).await);
        let ((one, _), (two, _)) = (node_at(&way_of_one.url()).await, node_at(&way_of_two.url()).await);
        for log in [&one, &two] {
            mark(log).await;
            append(log).await;
        }
        let before = page(&one).await;
        assert!(old.command("WAIT 1 5000").await.starts_with(":1"));
        new.command("REPLICAOF NO ONE").await;
        way_of_two.point_to(&new);
        way_of_two.freeze();
        mark(&two).await;
        Self { _old: old, new, way_of_one, _way_of_two: way_of_two, one, two, before }
    }
}

#[tokio::test]
async fn what_the_old_primary_still_took_after_the_new_one_had_begun_is_told_of() {
    let Split { _old, new, way_of_one, one, two, before, .. } = Split::happen().await;
    let kept = append(&two).await;
    // One node has not heard of it, and the old primary neither.
    let lost = append(&one).await;
    assert!(kept < lost, "an offset alone does not tell that it is missing");
    way_of_one.point_to(&new);
    way_of_one.freeze();
    mark(&one).await;
    let after = page(&two).await;
    assert_ne!(after.head.epoch, before.head.epoch);
    assert!(after.began > lost && !after.reaches_back_to(lost), "{after:?}, {lost}");
}

#[tokio::test]
async fn while_somebody_may_be_with_the_old_primary_all_is_in_doubt_and_what_it_took_is_lost_with_who_wrote_it() {
    let Split { _old, new: _new, one, two, before, .. } = Split::happen().await;
    append(&two).await;
    // Its clients have heard it; nobody else ever learns of it.
    let lost = append(&one).await;
    drop(one);
    let doubted = page(&two).await;
    assert_eq!(doubted.head.epoch, before.head.epoch);
    assert!(
        doubted.in_doubt_before.is_some_and(|before| lost < before),
        "who heard it stands within the doubt: {doubted:?}"
    );
    let deadline = Instant::now() + support::PATIENCE;
    while page(&two).await.in_doubt_before.is_some() {
        assert!(Instant::now() < deadline, "nobody gives up waiting");
        mark(&two).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let after = page(&two).await;
    assert_ne!(after.head.epoch, before.head.epoch);
    assert!(after.began > lost && !after.reaches_back_to(lost), "{after:?}, {lost}");
}

#[tokio::test]
async fn who_comes_from_the_old_primary_is_handed_nothing_of_the_new_one_as_if_nothing_were_lost() {
    let old = Redis::start().await;
    let new = replica_of(&old).await;
    let way = Proxy::before(&old).await;
    let (log, _) = node_at(&way.url()).await;
    append(&log).await;
    let before = page(&log).await;
    assert!(old.command("WAIT 1 5000").await.starts_with(":1"));
    new.command("REPLICAOF NO ONE").await;
    // It has not marked yet: nobody waits for it to vouch.
    append(&node(&new).await).await;
    let lost = append(&log).await;
    append(&node(&new).await).await;
    way.point_to(&new);
    way.freeze();
    let after = page(&log).await;
    assert!(after.head.epoch != before.head.epoch && after.began > lost, "{after:?}, {lost}");
}

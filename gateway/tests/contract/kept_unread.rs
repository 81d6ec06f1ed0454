//! Counts of unread notifications that are kept: what any node does shows at once on all that hear each other.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use gateway_core::bus::{Bus, MemoryBus, MemoryHub, RedisBus};
use gateway_core::domain::UserId;
use gateway_core::metrics::Metrics;
use gateway_core::notifications::{
    KeptNotifications, Marked, MemoryNotifications, New, NotificationId, Notifications, Which,
};
use gateway_core::port::Port;
use gateway_core::supervisor::Supervisor;
use gateway_store::Store;

use crate::notifications::the_contract;
use crate::support::databases::store;
use crate::support::postgres::Postgres;
use crate::support::redis::Redis;
use crate::support::{self, eventually};

const LONG: Duration = Duration::from_secs(3_600);

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn new(receiver: &str) -> New {
    New {
        id: NotificationId::new(SystemTime::now()),
        receiver: user(receiver),
        sender: None,
        message: "1".into(),
        data: None,
        at_ms: 1,
        until_ms: None,
        key: None,
        collapse: None,
    }
}

/// One node's notifications, with counts that are kept.
struct Node {
    kept: Arc<KeptNotifications>,
    metrics: Arc<Metrics>,
    heeds: tokio::task::JoinHandle<()>,
}

impl Node {
    async fn over(notifications: Arc<dyn Notifications>, bus: Arc<dyn Bus>) -> Self {
        let metrics = Arc::new(Metrics::new());
        let kept = Arc::new(KeptNotifications::new(notifications, bus, "test", LONG, metrics.clone()));
        let heard = kept.hear().await.unwrap();
        let node = Self { heeds: tokio::spawn(kept.clone().heed(heard)), kept, metrics };
        // Until it heeds what others do, it keeps nothing.
        eventually("it keeps counts", || async {
            node.unread("nobody").await;
            node.counted("hit") > 0
        })
        .await;
        node
    }

    async fn unread(&self, name: &str) -> u64 {
        self.kept.unread(&user(name)).await.unwrap()
    }

    async fn tell(&self, name: &str) -> NotificationId {
        let new = new(name);
        self.kept.add(std::slice::from_ref(&new), 1_000).await.unwrap();
        new.id
    }

    fn counted(&self, result: &str) -> u64 {
        let series = format!("gateway_cache_requests_total{{cache=\"unread\",result=\"{result}\"}} ");
        let text = self.metrics.render();
        text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.heeds.abort();
    }
}

async fn two_nodes() -> (Node, Node, Arc<MemoryNotifications>) {
    let (store, hub) = (Arc::new(MemoryNotifications::new(1 << 20)), Arc::<MemoryHub>::default());
    let bus = || Arc::new(MemoryBus::new(hub.clone()));
    (Node::over(store.clone(), bus()).await, Node::over(store.clone(), bus()).await, store)
}

/// A bus of its own to a Redis.
async fn redis_bus(redis: &Redis) -> Arc<dyn Bus> {
    let (settings, metrics) = (support::config(&[]).redis, Arc::new(Metrics::new()));
    Arc::new(RedisBus::connect(&redis.url(), &settings, metrics, &Supervisor::default()).await.unwrap())
}

#[tokio::test]
async fn with_counts_that_are_kept_the_contract_holds() {
    let (one, ..) = two_nodes().await;
    the_contract(&*one.kept, &*one.kept).await;
    let server = Postgres::start().await;
    let Store { notifications, .. } = store(&server.url()).await;
    let node = Node::over(notifications, Arc::new(MemoryBus::new(Arc::default()))).await;
    the_contract(&*node.kept, &*node.kept).await;
}

#[tokio::test]
async fn what_a_node_does_it_counts_at_once_and_others_as_soon_as_they_hear() {
    let (one, two, _) = two_nodes().await;
    assert_eq!((one.unread("ann").await, two.unread("ann").await), (0, 0));
    let first = one.tell("ann").await;
    assert_eq!(one.unread("ann").await, 1);
    eventually("the other one counts it", || async { two.unread("ann").await == 1 }).await;
    two.tell("ann").await;
    assert_eq!(two.unread("ann").await, 2);
    eventually("and the first one what that did", || async { one.unread("ann").await == 2 }).await;
    assert_eq!(two.kept.mark_read(&user("ann"), Marked::One(&first)).await.unwrap(), [first]);
    assert_eq!(two.unread("ann").await, 1);
    eventually("it was read", || async { one.unread("ann").await == 1 }).await;
    let page = one.kept.list(&user("ann"), Which { after: None, unread: true, limit: 9 }).await.unwrap();
    assert!(one.kept.remove(&user("ann"), &page.notifications[0].new.id).await.unwrap());
    assert_eq!(one.unread("ann").await, 0);
    eventually("it is gone", || async { two.unread("ann").await == 0 }).await;
    let all: Vec<_> = (0..1_000).map(|number| new(&format!("user {number}"))).collect();
    join_all(all.iter().map(|new| two.unread(new.receiver.as_str()))).await;
    one.kept.add(&all, 10).await.unwrap();
    for new in &all {
        eventually("each of many is counted", || async { two.unread(new.receiver.as_str()).await == 1 }).await;
    }
}

#[tokio::test]
async fn what_nobody_has_changed_is_not_counted_again() {
    let (one, two, store) = two_nodes().await;
    assert_eq!(two.unread("last").await, 0);
    for name in ["ann", "last"] {
        one.tell(name).await;
    }
    // What is heeded comes in order.
    eventually("all is heeded", || async { two.unread("last").await == 1 }).await;
    assert_eq!((one.unread("ann").await, two.unread("ann").await), (1, 1));
    // Behind both, as somebody with tools of their own.
    store.add(&[new("ann")], 10).await.unwrap();
    for node in [&one, &two] {
        let asked = node.counted("miss");
        for _ in 0..100 {
            assert_eq!(node.unread("ann").await, 1);
        }
        assert_eq!(node.counted("miss"), asked);
        // What changes nothing is no change.
        assert!(node.kept.mark_read(&user("bob"), Marked::All).await.unwrap().is_empty());
        assert!(!node.kept.remove(&user("ann"), &new("ann").id).await.unwrap());
        assert_eq!(node.unread("ann").await, 1);
    }
    one.kept.upkeep().await;
    assert!(
        one.metrics.render().lines().any(|line| {
            line.strip_prefix("gateway_cache_bytes{cache=\"unread\"} ").is_some_and(|bytes| bytes != "0")
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_told_something_counts_it_however_many_count() {
    let (one, _, _) = two_nodes().await;
    let one = Arc::new(one);
    let all = (0..200).map(|_| {
        let one = one.clone();
        tokio::spawn(async move {
            one.tell("ann").await;
            one.unread("ann").await
        })
    });
    let mut counts: Vec<_> = join_all(all).await.into_iter().map(Result::unwrap).collect();
    counts.sort_unstable();
    assert!(counts.iter().enumerate().all(|(index, count)| *count > index as u64), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_have_missed_something_counts_everything_anew() {
    let redis = Redis::start().await;
    let store = Arc::new(MemoryNotifications::new(1 << 20));
    let near = Node::over(store.clone(), redis_bus(&redis).await).await;
    let far = Node::over(store.clone(), redis_bus(&redis).await).await;
    for count in 1..=5 {
        near.tell("ann").await;
        eventually("it is heard", || async { far.unread("ann").await == 2 * count - 1 }).await;
        redis.command("CLIENT KILL TYPE pubsub").await;
        near.tell("ann").await;
        eventually("it is counted when it hears again", || async { far.unread("ann").await == 2 * count }).await;
    }
    // Who cannot tell others has done it all the same.
    drop(redis);
    far.tell("ann").await;
    assert_eq!(far.unread("ann").await, 11);
}

#[tokio::test]
async fn what_cannot_be_counted_is_told_and_counted_when_it_can() {
    let mut server = Postgres::start().await;
    let config = support::databases::settings(&server.url(), "2s");
    let Store { notifications, .. } = Store::open(&config).await.unwrap().unwrap();
    let node = Node::over(notifications, Arc::new(MemoryBus::new(Arc::default()))).await;
    node.tell("ann").await;
    server.kill();
    let error = node.kept.unread(&user("ann")).await.unwrap_err();
    assert_eq!((error.port, error.operation), (Port::Notifications, "unread"), "{error}");
    server.start_again().await;
    eventually("it is counted", || async { node.kept.unread(&user("ann")).await.is_ok_and(|count| count == 1) }).await;
}

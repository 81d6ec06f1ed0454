//! The contract of the bus, run against every backend.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gateway_core::bus::{Bus, BusMessage, MemoryBus, MemoryHub, RedisBus};
use gateway_core::metrics::Metrics;
use gateway_core::port::{ErrorKind, Port};
use gateway_core::supervisor::Supervisor;
use tokio::sync::mpsc;

use crate::support;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;

fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn next(messages: &mut mpsc::Receiver<BusMessage>) -> BusMessage {
    tokio::time::timeout(support::PATIENCE, messages.recv()).await.expect("nothing came").unwrap()
}

fn message(channel: &str, payload: &str) -> BusMessage {
    BusMessage::Message { channel: channel.into(), payload: text(payload) }
}

async fn messages_reach_every_subscriber_in_order(one: &dyn Bus, two: &dyn Bus) {
    let (sink, mut near) = mpsc::channel(1000);
    one.subscribe("a", sink.clone()).await.unwrap();
    one.subscribe("b", sink).await.unwrap();
    let (sink, mut far) = mpsc::channel(1000);
    two.subscribe("a", sink).await.unwrap();
    assert_eq!((one.subscribers("a").await.unwrap(), one.subscribers("b").await.unwrap()), (2, 1));
    assert_eq!(one.subscribers("nobody").await.unwrap(), 0);
    for number in 0..200 {
        one.publish(if number % 2 == 0 { "a" } else { "b" }, text(&number.to_string())).await.unwrap();
    }
    for number in 0..200 {
        let channel = if number % 2 == 0 { "a" } else { "b" };
        assert_eq!(next(&mut near).await, message(channel, &number.to_string()));
        if channel == "a" {
            assert_eq!(next(&mut far).await, message("a", &number.to_string()));
        }
    }
}

async fn an_unsubscribed_channel_goes_silent_and_can_come_back(one: &dyn Bus, two: &dyn Bus) {
    let (sink, mut messages) = mpsc::channel(10);
    one.subscribe("gone", sink.clone()).await.unwrap();
    one.unsubscribe("gone").await;
    support::eventually("nobody hears it", || async { two.subscribers("gone").await.unwrap() == 0 }).await;
    two.publish("gone", text("unheard")).await.unwrap();
    one.subscribe("gone", sink).await.unwrap();
    two.publish("gone", text("heard")).await.unwrap();
    assert_eq!(next(&mut messages).await, message("gone", "heard"));
}

async fn a_full_sink_finds_a_gap_and_others_do_not_notice(one: &dyn Bus, two: &dyn Bus) {
    let (small, mut slow) = mpsc::channel(2);
    let (large, mut fast) = mpsc::channel(100);
    one.subscribe("slow", small.clone()).await.unwrap();
    one.subscribe("slow too", small).await.unwrap();
    one.subscribe("fast", large).await.unwrap();
    for number in 0..10 {
        two.publish("slow", text(&number.to_string())).await.unwrap();
        two.publish("fast", text(&number.to_string())).await.unwrap();
    }
    for number in 0..10 {
        assert_eq!(next(&mut fast).await, message("fast", &number.to_string()));
    }
    assert_eq!(next(&mut slow).await, message("slow", "0"));
    assert_eq!(next(&mut slow).await, message("slow", "1"));
    // The gap is told on whichever channel of the sink speaks next, before what it says.
    two.publish("slow too", text("later")).await.unwrap();
    assert_eq!(next(&mut slow).await, BusMessage::Gap);
    two.publish("slow too", text("last")).await.unwrap();
    while next(&mut slow).await != message("slow too", "last") {}
}

async fn nodes_attest_that_they_hear_and_learn_which_others_do(one: &dyn Bus, two: &dyn Bus) {
    let within = Duration::from_millis(600);
    assert!(one.attest("roll", "one", true, within).await.unwrap().is_empty(), "a node is no witness of its own");
    assert_eq!(two.attest("roll", "two", false, within).await.unwrap(), ["one"]);
    assert!(one.attest("roll", "one", true, within).await.unwrap().is_empty());
    assert_eq!(two.attest("roll", "two", true, within).await.unwrap(), ["one"]);
    assert!(two.attest("another roll", "two", true, within).await.unwrap().is_empty());
    assert_eq!(one.attest("roll", "one", false, within).await.unwrap(), ["two"]);
    assert!(two.attest("roll", "two", true, within).await.unwrap().is_empty(), "it said that it does not hear");
    tokio::time::sleep(within * 2).await;
    assert!(one.attest("roll", "one", true, within).await.unwrap().is_empty(), "that was long ago");
}

async fn the_whole_contract(one: Arc<dyn Bus>, two: Arc<dyn Bus>) {
    messages_reach_every_subscriber_in_order(&*one, &*two).await;
    an_unsubscribed_channel_goes_silent_and_can_come_back(&*one, &*two).await;
    a_full_sink_finds_a_gap_and_others_do_not_notice(&*one, &*two).await;
    nodes_attest_that_they_hear_and_learn_which_others_do(&*one, &*two).await;
}

#[tokio::test]
async fn memory() {
    let hub = Arc::<MemoryHub>::default();
    the_whole_contract(Arc::new(MemoryBus::new(hub.clone())), Arc::new(MemoryBus::new(hub))).await;
}

async fn redis_bus(redis: &Redis, feed_buffer: usize) -> (Arc<RedisBus>, Arc<Metrics>) {
    let mut settings = support::config(&[]).redis;
    settings.feed_buffer = feed_buffer;
    let metrics = Arc::new(Metrics::new());
    (
        Arc::new(RedisBus::connect(&redis.url(), &settings, metrics.clone(), &Supervisor::default()).await.unwrap()),
        metrics,
    )
}

#[tokio::test]
async fn redis() {
    let redis = Redis::start().await;
    the_whole_contract(redis_bus(&redis, 65_536).await.0, redis_bus(&redis, 65_536).await.0).await;
}

#[tokio::test]
async fn redis_is_heard_again_after_every_lost_connection() {
    let mut redis = Redis::start().await;
    let (bus, _) = redis_bus(&redis, 65_536).await;
    let (sink, mut messages) = mpsc::channel(10_000);
    // More channels than one batch, so that healing takes several.
    for number in 0..1_200 {
        bus.subscribe(&format!("room {number}"), sink.clone()).await.unwrap();
    }
    for round in 0..4 {
        match round {
            0 | 1 => drop(redis.command("CLIENT KILL TYPE pubsub").await),
            2 => drop(redis.command("CLIENT KILL SKIPME yes").await),
            _ => {
                redis.stop().await;
                redis.start_again().await;
            }
        }
        assert_eq!(next(&mut messages).await, BusMessage::Gap, "round {round}");
        for channel in ["room 0", "room 700", "room 1199"] {
            let payload = format!("round {round}");
            support::eventually("it can publish again", || async {
                bus.publish(channel, text(&payload)).await.is_ok()
            })
            .await;
            loop {
                let heard = next(&mut messages).await;
                if heard == message(channel, &payload) {
                    break;
                }
                assert_eq!(heard, BusMessage::Gap, "round {round}");
            }
        }
    }
}

#[tokio::test]
async fn a_burst_larger_than_the_buffer_is_a_gap_and_not_a_hole() {
    let redis = Redis::start().await;
    let (bus, metrics) = redis_bus(&redis, 64).await;
    let (sink, mut messages) = mpsc::channel(100_000);
    bus.subscribe("burst", sink).await.unwrap();
    let script = "EVAL \"for i=1,20000 do redis.call('PUBLISH','burst',i) end return 1\" 0";
    assert!(redis.command(script).await.starts_with(":1"));
    bus.publish("burst", text("end")).await.unwrap();
    let (mut heard, mut gaps) = (0, 0);
    loop {
        match next(&mut messages).await {
            BusMessage::Gap => gaps += 1,
            BusMessage::Message { payload, .. } if payload == "end" => break,
            BusMessage::Message { .. } => heard += 1,
        }
    }
    assert!(heard == 20_000 || gaps > 0, "{heard} heard, and nothing said about the rest");
    let dropped =
        metrics.render().lines().any(|line| line.starts_with("gateway_bus_dropped_total") && !line.ends_with(" 0"));
    assert!(heard == 20_000 || dropped, "what was dropped is counted");
}

/// All of a burst that the buffer has room for is heard, whoever runs when.
async fn a_burst_that_fits_is_heard_whole() {
    const EVENTS: usize = 60_000;
    let redis = Redis::start().await;
    let (bus, metrics) = redis_bus(&redis, 65_536).await;
    let (sink, mut messages) = mpsc::channel(65_536);
    bus.subscribe("gateway:room:burst", sink).await.unwrap();
    let event = format!("E{:016x}{:016}:{}", 7, 7, "x".repeat(60));
    let script =
        format!("EVAL \"for i=1,{EVENTS} do redis.call('PUBLISH','gateway:room:burst',i..':{event}') end return 1\" 0");
    assert!(redis.command(&script).await.starts_with(":1"));
    // Nobody takes anything until all has come.
    bus.publish("gateway:room:burst", text("end")).await.unwrap();
    let dropped =
        || metrics.render().lines().any(|line| line.starts_with("gateway_bus_dropped_total ") && !line.ends_with(" 0"));
    support::eventually("all has come", || async { messages.len() > EVENTS || dropped() }).await;
    for number in 1..=EVENTS {
        let BusMessage::Message { payload, .. } = next(&mut messages).await else { panic!("a gap before {number}") };
        assert!(payload.starts_with(format!("{number}:").as_bytes()), "{payload:?} instead of {number}");
    }
    assert_eq!(next(&mut messages).await, message("gateway:room:burst", "end"));
}

#[tokio::test]
async fn a_burst_that_fits_is_heard_whole_on_one_thread() {
    a_burst_that_fits_is_heard_whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_that_fits_is_heard_whole_on_two_threads() {
    a_burst_that_fits_is_heard_whole().await;
}

#[tokio::test]
async fn a_redis_that_is_not_there_is_an_error_and_not_a_wait() {
    let settings = support::config(&[("GATEWAY_REDIS__TIMEOUT", "300ms")]).redis;
    let started = tokio::time::Instant::now();
    let failed =
        RedisBus::connect("redis://127.0.0.1:1", &settings, Arc::new(Metrics::new()), &Supervisor::default()).await;
    let error = failed.unwrap_err();
    assert_eq!((error.port, error.kind), (Port::Bus, ErrorKind::Transient), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn what_fails_says_whether_trying_again_may_help() {
    let mut redis = Redis::start().await;
    redis.command("ACL SETUSER mute on >secret ~* &* +@all -publish").await;
    let settings = support::config(&[("GATEWAY_REDIS__TIMEOUT", "300ms")]).redis;
    let url = format!("redis://mute:secret@127.0.0.1:{}", redis.port());
    let bus = RedisBus::connect(&url, &settings, Arc::new(Metrics::new()), &Supervisor::default()).await.unwrap();
    let error = bus.publish("a", text("unheard")).await.unwrap_err();
    assert_eq!((error.operation, error.kind), ("publish", ErrorKind::Permanent), "{error}");
    assert!(error.to_string().contains("NOPERM"), "{error}");
    redis.stop().await;
    let (sink, _messages) = mpsc::channel(1);
    for error in [bus.publish("a", text("unheard")).await.unwrap_err(), bus.subscribe("a", sink).await.unwrap_err()] {
        assert_eq!(error.kind, ErrorKind::Transient, "{error}");
    }
    redis.start_again().await;
    // It comes back without its users.
    let refused =
        async || bus.publish("a", text("unheard")).await.is_err_and(|error| error.kind == ErrorKind::Permanent);
    support::eventually("who may not come in is told so", refused).await;
}

#[tokio::test]
async fn half_open_connections_are_noticed_and_replaced() {
    let redis = Redis::start().await;
    let proxy = Proxy::before(&redis).await;
    let settings = support::config(&[("GATEWAY_REDIS__TIMEOUT", "500ms")]).redis;
    let metrics = Arc::new(Metrics::new());
    let bus = RedisBus::connect(&proxy.url(), &settings, metrics, &Supervisor::default()).await.unwrap();
    let (sink, mut messages) = mpsc::channel(1_000);
    bus.subscribe("a", sink).await.unwrap();
    for round in 0..2 {
        proxy.freeze();
        assert_eq!(next(&mut messages).await, BusMessage::Gap, "round {round}");
        redis.command(&format!("PUBLISH a {round}")).await;
        while next(&mut messages).await != message("a", &round.to_string()) {}
        support::eventually("it publishes again", || async { bus.publish("a", text("own")).await.is_ok() }).await;
        while next(&mut messages).await != message("a", "own") {}
    }
}

#[tokio::test]
async fn messages_are_delivered_while_a_subscription_is_under_way() {
    let redis = Redis::start().await;
    let proxy = Proxy::before(&redis).await;
    let settings = support::config(&[("GATEWAY_REDIS__TIMEOUT", "60s")]).redis;
    let slow =
        RedisBus::connect(&proxy.url(), &settings, Arc::new(Metrics::new()), &Supervisor::default()).await.unwrap();
    let (other, _) = redis_bus(&redis, 65_536).await;
    let (sink, mut messages) = mpsc::channel(1_000);
    slow.subscribe("talk", sink.clone()).await.unwrap();
    proxy.hold(true);
    let joining = slow.subscribe("new", sink.clone());
    tokio::pin!(joining);
    for number in 0..50 {
        other.publish("talk", text(&number.to_string())).await.unwrap();
        tokio::select! {
            biased;
            heard = next(&mut messages) => assert_eq!(heard, message("talk", &number.to_string())),
            _ = &mut joining => panic!("Redis cannot have heard of it"),
        }
    }
    // What one channel is asked for keeps its order behind it.
    let leaving = async {
        slow.unsubscribe("new").await;
        slow.subscribe("new", sink.clone()).await.unwrap();
    };
    proxy.hold(false);
    let (joined, ()) = tokio::join!(joining, leaving);
    joined.unwrap();
    other.publish("new", text("heard")).await.unwrap();
    assert_eq!(next(&mut messages).await, message("new", "heard"));
}

#[tokio::test]
async fn a_subscription_that_a_lost_connection_took_along_is_settled_before_the_gap() {
    let redis = Redis::start().await;
    let proxy = Proxy::before(&redis).await;
    let settings = support::config(&[("GATEWAY_REDIS__TIMEOUT", "500ms")]).redis;
    let bus =
        RedisBus::connect(&proxy.url(), &settings, Arc::new(Metrics::new()), &Supervisor::default()).await.unwrap();
    let (sink, mut messages) = mpsc::channel(1_000);
    bus.subscribe("a", sink.clone()).await.unwrap();
    for round in 0..3 {
        let channel = format!("b{round}");
        proxy.hold(true);
        let cut = async {
            proxy.freeze();
            proxy.hold(false);
        };
        let (joined, ()) = tokio::join!(bus.subscribe(&channel, sink.clone()), cut);
        assert_eq!(next(&mut messages).await, BusMessage::Gap, "round {round}");
        if joined.is_err() {
            support::eventually("it can subscribe again", || async {
                bus.subscribe(&channel, sink.clone()).await.is_ok()
            })
            .await;
        }
        for heard in ["a", &channel] {
            redis.command(&format!("PUBLISH {heard} {round}")).await;
            while next(&mut messages).await != message(heard, &round.to_string()) {}
        }
    }
}

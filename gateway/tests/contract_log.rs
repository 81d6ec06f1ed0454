//! The contract of the log, run against every backend.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use gateway::bus::RedisBus;
use gateway::domain::{Event, Offset, RoomName};
use gateway::log::{Dedupe, FeedItem, Log, MemoryLog, Page, Range, RedisLog, Retention};
use gateway::metrics::Metrics;
use gateway::redis::Commands;
use support::redis::Redis;

const RETENTION: Retention =
    Retention { room_events: 200, room_retention: Duration::from_secs(3), dedupe_window: Duration::from_secs(1) };

fn room(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

fn event(text: &str) -> Event {
    Event {
        name: "message".into(),
        args: format!("[{text:?}]"),
        attachments: vec![Bytes::from_static(b"\x00\xff")],
        except: None,
        at_ms: 1,
    }
}

fn texts(page: &Page) -> Vec<&str> {
    page.events.iter().map(|(_, event)| event.args.trim_matches(['[', ']', '"'])).collect()
}

async fn append(log: &dyn Log, name: &str, text: &str) -> Offset {
    log.append(&room(name), &event(text), None).await.unwrap().position.offset
}

async fn after(log: &dyn Log, name: &str, offset: Offset, limit: usize) -> Page {
    log.read(&room(name), Range::After { offset, limit }).await.unwrap()
}

async fn newest(log: &dyn Log, name: &str, before: Option<Offset>, limit: usize) -> Page {
    log.read(&room(name), Range::Newest { before, limit }).await.unwrap()
}

async fn next(feed: &mut BoxStream<'static, FeedItem>) -> FeedItem {
    tokio::time::timeout(support::PATIENCE, feed.next()).await.expect("nothing in the feed").unwrap()
}

async fn offsets_grow_over_all_rooms_and_pages_tell_where_the_log_stands(log: &dyn Log) {
    let first = append(log, "a", "a1").await;
    let second = append(log, "b", "b1").await;
    let third = append(log, "a", "a2").await;
    assert!(first < second && second < third);
    let page = after(log, "a", Offset::START, 10).await;
    assert_eq!(texts(&page), ["a1", "a2"]);
    assert_eq!(page.events[0].1, event("a1"), "an event comes back as it went in");
    assert_eq!((page.head.offset, page.oldest, page.more, page.trimmed), (third, Some(first), false, false));
    let empty = newest(log, "nobody spoke here", None, 10).await;
    assert_eq!((empty.events.len(), empty.head.offset, empty.oldest, empty.more), (0, third, None, false));
}

async fn pages_go_both_ways(log: &dyn Log) {
    let mut offsets = Vec::new();
    for number in 0..7 {
        offsets.push(append(log, "pages", &number.to_string()).await);
    }
    let page = after(log, "pages", offsets[1], 3).await;
    assert_eq!((texts(&page), page.more), (vec!["2", "3", "4"], true));
    let page = after(log, "pages", offsets[4], 3).await;
    assert_eq!((texts(&page), page.more), (vec!["5", "6"], false));
    let page = newest(log, "pages", None, 3).await;
    assert_eq!((texts(&page), page.more), (vec!["4", "5", "6"], true));
    let page = newest(log, "pages", Some(offsets[2]), 3).await;
    assert_eq!((texts(&page), page.more), (vec!["0", "1"], false));
    let page = newest(log, "pages", None, 0).await;
    assert_eq!((page.events.len(), page.more), (0, true));
    for offset in [Offset(u64::MAX - 1), Offset(u64::MAX)] {
        let beyond = after(log, "pages", offset, 3).await;
        assert_eq!((beyond.events.len(), beyond.more), (0, false));
    }
    let before_all = newest(log, "pages", Some(Offset::START), 3).await;
    assert_eq!((before_all.events.len(), before_all.more), (0, false));
}

async fn a_dedupe_key_appends_once_until_it_is_forgotten(log: &dyn Log) {
    let key = Dedupe("u:alice:1".into());
    let first = log.append(&room("once"), &event("x"), Some(&key)).await.unwrap();
    let again = log.append(&room("once"), &event("x"), Some(&key)).await.unwrap();
    assert!(!first.duplicate && again.duplicate);
    assert_eq!(first.position, again.position);
    let other = log.append(&room("once"), &event("y"), Some(&Dedupe("u:bob:1".into()))).await.unwrap();
    assert!(!other.duplicate);
    assert_eq!(texts(&after(log, "once", Offset::START, 10).await), ["x", "y"]);
    tokio::time::sleep(RETENTION.dedupe_window + Duration::from_millis(100)).await;
    assert!(!log.append(&room("once"), &event("x"), Some(&key)).await.unwrap().duplicate);
}

async fn the_feed_has_subscribed_rooms_only_and_in_order(log: &dyn Log, feed: &mut BoxStream<'static, FeedItem>) {
    append(log, "heard", "before").await;
    log.subscribe(&room("heard")).await.unwrap();
    log.subscribe(&room("heard too")).await.unwrap();
    let mut expected = Vec::new();
    for number in 0..50 {
        let name = if number % 2 == 0 { "heard" } else { "heard too" };
        append(log, "unheard", "nobody").await;
        expected.push((room(name), append(log, name, &number.to_string()).await));
    }
    let key = Dedupe("s:1:1".into());
    let once = log.append(&room("heard"), &event("once"), Some(&key)).await.unwrap();
    log.append(&room("heard"), &event("once"), Some(&key)).await.unwrap();
    expected.push((room("heard"), once.position.offset));
    for (name, offset) in expected {
        match next(feed).await {
            FeedItem::Event { room, position, .. } => assert_eq!((room, position.offset), (name, offset)),
            other => panic!("{other:?}"),
        }
    }
    log.signal(&room("heard"), &event("wave")).await.unwrap();
    assert_eq!(next(feed).await, FeedItem::Signal { room: room("heard"), event: event("wave") });
    log.unsubscribe(&room("heard")).await;
    log.subscribe(&room("heard")).await.unwrap();
    append(log, "heard", "again").await;
    assert!(matches!(next(feed).await, FeedItem::Event { event, .. } if event.args == "[\"again\"]"));
    assert!(!texts(&after(log, "heard", Offset::START, 100).await).contains(&"wave"), "signals are not kept");
}

async fn a_room_keeps_its_newest_events_and_says_that_older_ones_went(log: &dyn Log) {
    let first = append(log, "full", "0").await;
    let mut last = first;
    for number in 1..RETENTION.room_events * 3 {
        last = append(log, "full", &number.to_string()).await;
    }
    let page = after(log, "full", Offset::START, 10_000).await;
    assert!(page.events.len() >= RETENTION.room_events, "{} kept", page.events.len());
    assert!(page.trimmed && page.oldest > Some(first));
    assert!(!page.reaches_back_to(first));
    assert!(page.reaches_back_to(page.oldest.unwrap()));
    assert!(page.reaches_back_to(last));
}

async fn a_room_is_forgotten_after_its_retention(log: &dyn Log) {
    append(log, "old", "x").await;
    tokio::time::sleep(RETENTION.room_retention + Duration::from_millis(500)).await;
    let page = after(log, "old", Offset::START, 10).await;
    assert_eq!((page.events.len(), page.oldest), (0, None));
    assert!(!page.reaches_back_to(Offset::START), "what was forgotten is not claimed");
    // Not even when the room speaks again.
    append(log, "old", "y").await;
    let page = after(log, "old", Offset::START, 10).await;
    assert_eq!(texts(&page), ["y"]);
    assert!(!page.reaches_back_to(Offset::START));
}

async fn a_young_offset_reaches_back_in_a_room_that_was_silent_since(log: &dyn Log) {
    let start = append(log, "elsewhere", "x").await;
    append(log, "elsewhere", "y").await;
    assert!(after(log, "silent", start, 10).await.reaches_back_to(start), "nothing was said and nothing is kept");
    append(log, "silent", "first").await;
    let page = after(log, "silent", start, 10).await;
    assert_eq!(texts(&page), ["first"]);
    assert!(page.reaches_back_to(start));
    assert!(!page.reaches_back_to(Offset(page.head.offset.0 + 1)), "an offset from the future");
}

async fn the_whole_contract(log: Arc<dyn Log>) {
    let mut feed = log.feed();
    offsets_grow_over_all_rooms_and_pages_tell_where_the_log_stands(&*log).await;
    pages_go_both_ways(&*log).await;
    a_dedupe_key_appends_once_until_it_is_forgotten(&*log).await;
    the_feed_has_subscribed_rooms_only_and_in_order(&*log, &mut feed).await;
    a_room_keeps_its_newest_events_and_says_that_older_ones_went(&*log).await;
    a_young_offset_reaches_back_in_a_room_that_was_silent_since(&*log).await;
    a_room_is_forgotten_after_its_retention(&*log).await;
}

async fn redis_log(redis: &Redis, prefix: &str) -> RedisLog {
    let settings = support::config(&[]).redis;
    let bus = RedisBus::connect(&redis.url(), &settings, Arc::new(Metrics::new())).await.unwrap();
    let commands = Commands::new(&redis.url(), &settings).unwrap();
    RedisLog::new(commands, Arc::new(bus), prefix, RETENTION, settings.feed_buffer)
}

#[tokio::test]
async fn memory() {
    the_whole_contract(Arc::new(MemoryLog::new(RETENTION))).await;
}

#[tokio::test]
async fn redis() {
    let redis = Redis::start().await;
    the_whole_contract(Arc::new(redis_log(&redis, "contract").await)).await;
}

#[tokio::test]
async fn two_nodes_share_one_redis_log_and_deployments_do_not() {
    let redis = Redis::start().await;
    let (one, two) = (redis_log(&redis, "shared").await, redis_log(&redis, "shared").await);
    let stranger = redis_log(&redis, "other").await;
    let (mut feed, mut strange_feed) = (two.feed(), stranger.feed());
    two.subscribe(&room("r")).await.unwrap();
    stranger.subscribe(&room("r")).await.unwrap();
    let offset = append(&one, "r", "hello").await;
    assert!(matches!(next(&mut feed).await, FeedItem::Event { position, .. } if position.offset == offset));
    assert_eq!(texts(&after(&two, "r", Offset::START, 10).await), ["hello"]);
    append(&stranger, "r", "mine").await;
    assert!(matches!(next(&mut strange_feed).await, FeedItem::Event { event, .. } if event.args == "[\"mine\"]"));
}

#[tokio::test]
async fn a_redis_that_lost_its_data_has_another_epoch() {
    let redis = Redis::start().await;
    let log = redis_log(&redis, "epoch").await;
    for _ in 0..5 {
        append(&log, "r", "old").await;
    }
    let before = newest(&log, "r", None, 0).await.head;
    redis.command("FLUSHALL").await;
    let page = newest(&log, "r", None, 10).await;
    assert_ne!(page.head.epoch, before.epoch);
    assert!(page.head.offset > before.offset, "the new history counts from above the old one");
    assert_eq!(page.events.len(), 0);
    append(&log, "r", "new").await;
    assert!(!after(&log, "r", before.offset, 10).await.reaches_back_to(before.offset));
}

#[tokio::test]
async fn a_redis_that_lost_its_last_writes_does_not_give_their_offsets_again() {
    let redis = Redis::start().await;
    let (log, other) = (redis_log(&redis, "rollback").await, redis_log(&redis, "rollback").await);
    let kept = append(&log, "r", "kept").await;
    let lost = append(&log, "r", "lost").await;
    let epoch = newest(&log, "r", None, 0).await.head.epoch;
    // What a power cut does to the last second, or a failover to the last writes.
    redis.command(&format!("SET rollback:log:offset {kept}")).await;
    redis.command(&format!("XDEL rollback:log:room:r {lost}-0")).await;
    let new = append(&log, "r", "new").await;
    assert!(new > lost);
    let page = after(&other, "r", kept, 10).await;
    assert_ne!(page.head.epoch, epoch, "every node learns that history was lost");
    assert_eq!(texts(&page), ["new"]);
}

#[tokio::test]
async fn a_lost_epoch_alone_does_not_stop_the_log() {
    let redis = Redis::start().await;
    let log = redis_log(&redis, "evicted").await;
    for _ in 0..5 {
        append(&log, "r", "old").await;
    }
    let before = newest(&log, "r", None, 0).await.head;
    redis.command("DEL evicted:log:epoch").await;
    assert!(append(&log, "r", "new").await > before.offset);
    assert_eq!(texts(&after(&log, "r", before.offset, 10).await), ["new"]);
}

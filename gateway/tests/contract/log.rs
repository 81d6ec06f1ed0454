//! The contract of the log, run against every backend.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use gateway_core::bus::RedisBus;
use gateway_core::domain::{Event, Offset, RoomName};
use gateway_core::log::{
    AppendError, Appended, Dedupe, FeedItem, Log, MemoryLog, Page, Range, RedisLog, Retention, SqliteLog, Terms,
};
use gateway_core::metrics::Metrics;
use gateway_core::port::PortError;
use gateway_core::redis::Commands;
use gateway_core::supervisor::Supervisor;

use crate::support;
use crate::support::redis::Redis;

pub(crate) const RETENTION: Retention = Retention::of_events(200, Duration::from_secs(3), Duration::from_secs(1));

pub(crate) fn room(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

pub(crate) fn event(text: &str) -> Event {
    Event {
        name: "message".into(),
        args: format!("[{text:?}]"),
        attachments: vec![Bytes::from_static(b"\x00\xff")],
        except: None,
        at_ms: 1,
    }
}

pub(crate) fn texts(page: &Page) -> Vec<&str> {
    page.events.iter().map(|(_, event)| event.args.trim_matches(['[', ']', '"'])).collect()
}

pub(crate) async fn append(log: &dyn Log, name: &str, text: &str) -> Offset {
    log.append(&room(name), &event(text), Terms::default()).await.unwrap().position.offset
}

pub(crate) async fn after(log: &dyn Log, name: &str, offset: Offset, limit: usize) -> Page {
    log.read(&room(name), Range::After { offset, limit }, usize::MAX).await.unwrap()
}

pub(crate) async fn newest(log: &dyn Log, name: &str, before: Option<Offset>, limit: usize) -> Page {
    log.read(&room(name), Range::Newest { before, limit }, usize::MAX).await.unwrap()
}

pub(crate) async fn next(feed: &mut BoxStream<'static, FeedItem>) -> FeedItem {
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

async fn several_rooms_are_read_as_each_of_them_is(log: &dyn Log) {
    let names = ["many 1", "many 2", "many 3", "many 4"].map(room);
    let mut offsets = Vec::new();
    for number in 0..12 {
        // The last has nothing.
        offsets.push(append(log, names[number % 3].as_str(), &number.to_string()).await);
    }
    assert_eq!(log.read_each(&[], 10, 1_000).await.unwrap(), []);
    // Beside others, twice, from different places on.
    let wanted =
        [(0, Offset::START), (3, Offset::START), (1, offsets[4]), (2, offsets[11]), (0, offsets[0]), (1, offsets[1])];
    let wanted = wanted.map(|(name, after): (usize, Offset)| (&names[name], after));
    for (limit, bytes) in [(2, usize::MAX), (100, usize::MAX), (0, usize::MAX), (100, 1)] {
        let pages = log.read_each(&wanted, limit, bytes).await.unwrap();
        assert_eq!(pages.len(), wanted.len());
        for (page, (name, offset)) in pages.iter().zip(wanted) {
            let alone = log.read(name, Range::After { offset, limit }, bytes).await.unwrap();
            assert_eq!(*page, alone, "{name} after {offset}, {limit} of at most {bytes} bytes");
        }
    }
    // What fits is shared, where a log reads them together: each has one at least, and says that there is more.
    let few = event("0").size() * 3;
    for (page, (name, offset)) in log.read_each(&wanted, 100, few).await.unwrap().iter().zip(wanted) {
        let all = log.read(name, Range::After { offset, limit: 100 }, usize::MAX).await.unwrap().events;
        let read = page.events.len();
        assert!(all.starts_with(&page.events) && (read > 0 || all.is_empty()), "{page:?}");
        assert_eq!(page.more, read < all.len());
    }
}

async fn what_is_taken_back_is_gone_and_nothing_else(log: &dyn Log) {
    let began = append(log, "elsewhere", "kept").await;
    let mut offsets = Vec::new();
    for number in 0..3 {
        offsets.push(append(log, "taken", &number.to_string()).await);
    }
    let take = async |name: &str, text: &str, taken: Offset| {
        let terms = Terms { takes_back: Some(taken), ..Terms::default() };
        log.append(&room(name), &event(text), terms).await.unwrap().position.offset
    };
    let told = take("taken", "deleted", offsets[1]).await;
    let page = after(log, "taken", Offset::START, 10).await;
    assert_eq!(texts(&page), ["0", "2", "deleted"]);
    assert!(!page.trimmed && page.is_whole_after(began), "nothing was dropped: {page:?}");
    take("elsewhere", "not mine", offsets[0]).await;
    take("taken", "twice", offsets[1]).await;
    take("taken", "never there", Offset(told.0 + 1)).await;
    take("taken", "oldest", offsets[0]).await;
    let page = after(log, "taken", Offset::START, 10).await;
    assert_eq!(texts(&page), ["2", "deleted", "twice", "never there", "oldest"]);
    assert!(!page.trimmed && page.is_whole_after(began), "{page:?}");
    assert_eq!(texts(&after(log, "elsewhere", Offset::START, 10).await), ["kept", "not mine"]);
}

async fn a_dedupe_key_appends_once_until_it_is_forgotten(log: &dyn Log) {
    let key = Dedupe("u:alice:1".into());
    let first = log.append(&room("once"), &event("x"), Terms::once(&key)).await.unwrap();
    let again = log.append(&room("once"), &event("x"), Terms::once(&key)).await.unwrap();
    assert!(!first.duplicate && again.duplicate);
    assert_eq!(first.position, again.position);
    let other = log.append(&room("once"), &event("y"), Terms::once(&Dedupe("u:bob:1".into()))).await.unwrap();
    assert!(!other.duplicate);
    assert_eq!(texts(&after(log, "once", Offset::START, 10).await), ["x", "y"]);
    tokio::time::sleep(RETENTION.dedupe_window + Duration::from_millis(100)).await;
    assert!(!log.append(&room("once"), &event("x"), Terms::once(&key)).await.unwrap().duplicate);
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
    let once = log.append(&room("heard"), &event("once"), Terms::once(&key)).await.unwrap();
    log.append(&room("heard"), &event("once"), Terms::once(&key)).await.unwrap();
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

async fn what_is_appended_at_once_has_one_order(log: &Arc<dyn Log>, feed: &mut BoxStream<'static, FeedItem>) {
    log.subscribe(&room("crowd")).await.unwrap();
    let appending = (0..1_000).map(|number| {
        let log = log.clone();
        tokio::spawn(async move {
            // Every event is sent twice, by two who do not know of each other.
            let key = Dedupe(format!("crowd\0{}", number / 2));
            log.append(&room("crowd"), &event(&(number / 2).to_string()), Terms::once(&key)).await.unwrap()
        })
    });
    let appended = futures_util::future::try_join_all(appending.collect::<Vec<_>>()).await.unwrap();
    assert_eq!(appended.iter().filter(|appended| appended.duplicate).count(), 500);
    assert!(appended.chunks(2).all(|twins| twins[0].position == twins[1].position));
    let mut expected: Vec<_> = appended.iter().map(|appended| appended.position.offset).collect();
    expected.sort();
    expected.dedup();
    assert_eq!(expected.len(), 500);
    for offset in expected {
        let heard = next(feed).await;
        assert!(matches!(&heard, FeedItem::Event { position, .. } if position.offset == offset), "{heard:?}");
    }
    log.unsubscribe(&room("crowd")).await;
}

async fn a_page_has_no_more_bytes_than_it_may_but_one_event(log: &dyn Log) {
    let text = |number: usize| format!("{number}{}", "x".repeat(1_000));
    let mut offsets = Vec::new();
    for number in 0..10 {
        offsets.push(append(log, "large", &text(number)).await);
    }
    let read = async |range, bytes| log.read(&room("large"), range, bytes).await.unwrap();
    let numbers =
        |page: &Page| page.events.iter().map(|(_, event)| event.args.as_bytes()[2] - b'0').collect::<Vec<_>>();
    let range = Range::After { offset: offsets[1], limit: 100 };
    for (bytes, expected) in [(3_500, vec![2, 3, 4]), (1, vec![2]), (0, vec![2]), (100_000, (2..10).collect())] {
        let page = read(range, bytes).await;
        assert_eq!((numbers(&page), page.more), (expected.clone(), expected.len() < 8), "{bytes} bytes");
        assert_eq!(page.read_to, page.events.last().map(|(offset, _)| *offset));
    }
    let range = Range::Newest { before: Some(offsets[9]), limit: 100 };
    for (bytes, expected) in [(3_500, vec![6, 7, 8]), (1, vec![8]), (100_000, (0..9).collect())] {
        let page = read(range, bytes).await;
        assert_eq!((numbers(&page), page.more), (expected.clone(), expected.len() < 9), "{bytes} bytes");
    }
    let page = read(Range::After { offset: offsets[1], limit: 2 }, 100_000).await;
    assert_eq!((numbers(&page), page.more), (vec![2, 3], true));
}

async fn a_mark_moves_the_position_and_comes_behind_what_was_appended(
    log: &dyn Log,
    feed: &mut BoxStream<'static, FeedItem>,
) {
    log.subscribe(&room("marks")).await.unwrap();
    let event = append(log, "marks", "x").await;
    log.mark(&room("marks"), 17).await.unwrap();
    assert!(matches!(next(feed).await, FeedItem::Event { position, .. } if position.offset == event));
    let marked = match next(feed).await {
        FeedItem::Mark { room: at, position, at_ms: 17 } if at == room("marks") => position,
        other => panic!("{other:?}"),
    };
    let page = newest(log, "marks", None, 10).await;
    assert!(marked.offset > event && page.head == marked, "{marked:?} {page:?}");
    assert!(page.reaches_back_to(marked.offset));
    assert_eq!(texts(&page), ["x"], "it is no event");
    assert!(append(log, "marks", "y").await > marked.offset);
    // What is still on its way when nobody wants it any more may never come.
    next(feed).await;
    log.unsubscribe(&room("marks")).await;
}

async fn no_offset_is_below_the_time_when_it_was_given(log: &dyn Log) {
    for _ in 0..3 {
        let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
        let offset = append(log, "time", "x").await;
        assert!(u128::from(offset.0) >= before, "{offset} at {before}");
    }
}

async fn who_hears_nothing_for_long_stands_at_a_mark(log: &dyn Log) {
    let start = append(log, "quiet", "x").await;
    let mut other = start;
    for _ in 0..8 {
        other = append(log, "elsewhere", "y").await;
        tokio::time::sleep(RETENTION.room_retention / 6).await;
    }
    assert!(!after(log, "quiet", start, 10).await.reaches_back_to(start));
    log.mark(&room("any"), 1).await.unwrap();
    let head = eventually_above(log, other).await;
    append(log, "elsewhere", "z").await;
    assert!(after(log, "quiet", head, 10).await.reaches_back_to(head));
}

/// The log's position once a mark has moved it.
async fn eventually_above(log: &dyn Log, offset: Offset) -> Offset {
    let deadline = tokio::time::Instant::now() + support::PATIENCE;
    loop {
        let head = newest(log, "any", None, 0).await.head.offset;
        if head > offset {
            return head;
        }
        assert!(tokio::time::Instant::now() < deadline, "the mark does not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn the_whole_contract(log: Arc<dyn Log>) {
    let mut feed = log.feed();
    no_offset_is_below_the_time_when_it_was_given(&*log).await;
    a_mark_moves_the_position_and_comes_behind_what_was_appended(&*log, &mut feed).await;
    offsets_grow_over_all_rooms_and_pages_tell_where_the_log_stands(&*log).await;
    pages_go_both_ways(&*log).await;
    several_rooms_are_read_as_each_of_them_is(&*log).await;
    what_is_taken_back_is_gone_and_nothing_else(&*log).await;
    a_page_has_no_more_bytes_than_it_may_but_one_event(&*log).await;
    a_dedupe_key_appends_once_until_it_is_forgotten(&*log).await;
    the_feed_has_subscribed_rooms_only_and_in_order(&*log, &mut feed).await;
    what_is_appended_at_once_has_one_order(&log, &mut feed).await;
    a_room_keeps_its_newest_events_and_says_that_older_ones_went(&*log).await;
    a_young_offset_reaches_back_in_a_room_that_was_silent_since(&*log).await;
    a_room_is_forgotten_after_its_retention(&*log).await;
    who_hears_nothing_for_long_stands_at_a_mark(&*log).await;
}

pub(crate) async fn redis_log(redis: &Redis, prefix: &str) -> RedisLog {
    let settings = support::config(&[]).redis;
    let bus =
        RedisBus::connect(&redis.url(), &settings, Arc::new(Metrics::new()), &Supervisor::default()).await.unwrap();
    let commands = Commands::new(&redis.url(), &settings).unwrap();
    RedisLog::new(commands, Arc::new(bus), prefix, RETENTION, settings.feed_buffer)
}

#[tokio::test]
async fn memory() {
    the_whole_contract(Arc::new(MemoryLog::new(RETENTION))).await;
}

#[tokio::test]
async fn sqlite() {
    let folder = tempfile::tempdir().unwrap();
    the_whole_contract(Arc::new(sqlite_log(folder.path()).await)).await;
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

pub(crate) async fn sqlite_log(folder: &Path) -> SqliteLog {
    SqliteLog::open(&folder.join("data/log.sqlite"), RETENTION, &Supervisor::default()).await.unwrap()
}

/// An append that the log could not do.
pub(crate) fn failure(append: Result<Appended, AppendError>) -> PortError {
    match append {
        Err(AppendError::Failed(error)) => error,
        other => panic!("it did not fail: {other:?}"),
    }
}

//! The contract of the log, run against every backend.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use gateway::bus::RedisBus;
use gateway::domain::{Event, Offset, RoomName};
use gateway::log::{
    AppendError, Appended, Dedupe, FeedItem, Log, MemoryLog, Page, Range, RedisLog, Retention, SqliteLog, Terms,
};
use gateway::metrics::Metrics;
use gateway::port::{ErrorKind, Port, PortError};
use gateway::redis::Commands;
use gateway::supervisor::Supervisor;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};

use crate::support;
use crate::support::proxy::{Cut, Proxy};
use crate::support::redis::Redis;

const RETENTION: Retention = Retention::of_events(200, Duration::from_secs(3), Duration::from_secs(1));

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
    log.append(&room(name), &event(text), Terms::default()).await.unwrap().position.offset
}

async fn after(log: &dyn Log, name: &str, offset: Offset, limit: usize) -> Page {
    log.read(&room(name), Range::After { offset, limit }, usize::MAX).await.unwrap()
}

async fn newest(log: &dyn Log, name: &str, before: Option<Offset>, limit: usize) -> Page {
    log.read(&room(name), Range::Newest { before, limit }, usize::MAX).await.unwrap()
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
    log.unsubscribe(&room("marks")).await;
    next(feed).await;
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
    a_page_has_no_more_bytes_than_it_may_but_one_event(&*log).await;
    a_dedupe_key_appends_once_until_it_is_forgotten(&*log).await;
    the_feed_has_subscribed_rooms_only_and_in_order(&*log, &mut feed).await;
    what_is_appended_at_once_has_one_order(&log, &mut feed).await;
    a_room_keeps_its_newest_events_and_says_that_older_ones_went(&*log).await;
    a_young_offset_reaches_back_in_a_room_that_was_silent_since(&*log).await;
    a_room_is_forgotten_after_its_retention(&*log).await;
    who_hears_nothing_for_long_stands_at_a_mark(&*log).await;
}

async fn redis_log(redis: &Redis, prefix: &str) -> RedisLog {
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

const LONG: Retention = Retention::of_events(200, Duration::from_secs(3_600), Duration::from_secs(600));

async fn sqlite_log(folder: &Path) -> SqliteLog {
    SqliteLog::open(&folder.join("data/log.sqlite"), RETENTION, &Supervisor::default()).await.unwrap()
}

/// Opens a file that a log may be about to leave.
async fn open_again(path: &Path) -> SqliteLog {
    let deadline = tokio::time::Instant::now() + support::PATIENCE;
    loop {
        match SqliteLog::open(path, LONG, &Supervisor::default()).await {
            Ok(log) => return log,
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Another connection to the file of a log.
async fn beside(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

async fn run(connection: &mut SqliteConnection, sql: &'static str) {
    sqlx::raw_sql(sql).execute(connection).await.unwrap();
}

#[tokio::test]
async fn a_log_in_a_file_goes_on_where_it_was_however_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.sqlite");
    let mut log = SqliteLog::open(&path, LONG, &Supervisor::default()).await.unwrap();
    let key = Dedupe("u:alice:1".into());
    let first = log.append(&room("r"), &event("0"), Terms::once(&key)).await.unwrap();
    let mut expected = vec!["0".to_owned()];
    let mut last = first.position.offset;
    let before = newest(&log, "r", None, 0).await;
    assert!(before.began < last && before.began.0 > 1_700_000_000_000_000, "offsets count from the time");
    for round in 1..5 {
        if round % 2 == 0 {
            log.close().await;
            assert!(log.append(&room("r"), &event("x"), Terms::default()).await.is_err(), "it is closed");
            assert!(log.read(&room("r"), Range::Newest { before: None, limit: 1 }, usize::MAX).await.is_err());
        }
        drop(log);
        log = open_again(&path).await;
        let page = newest(&log, "r", None, 100).await;
        assert_eq!(texts(&page), expected);
        assert_eq!((page.head.epoch, page.began), (before.head.epoch, before.began));
        assert!(page.head.offset >= last && page.reaches_back_to(last) && page.reaches_back_to(first.position.offset));
        let again = log.append(&room("r"), &event("0"), Terms::once(&key)).await.unwrap();
        assert!(again.duplicate && again.position == first.position);
        last = append(&log, "r", &round.to_string()).await;
        assert!(last > page.head.offset);
        expected.push(round.to_string());
    }
}

#[tokio::test]
async fn a_power_cut_begins_a_history_above_what_may_be_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.sqlite");
    let log = SqliteLog::open(&path, LONG, &Supervisor::default()).await.unwrap();
    let last = append(&log, "r", "kept").await;
    let before = newest(&log, "r", None, 0).await;
    log.close().await;
    run(&mut beside(&path).await, "UPDATE log SET boot = 'an earlier start of the machine'").await;
    let log = SqliteLog::open(&path, LONG, &Supervisor::default()).await.unwrap();
    let page = newest(&log, "r", None, 10).await;
    assert_eq!(texts(&page), ["kept"]);
    assert_ne!(page.head.epoch, before.head.epoch);
    assert!(page.began > last && page.head.offset == page.began);
    assert!(!page.reaches_back_to(last) && page.reaches_back_to(page.head.offset));
    assert!(append(&log, "r", "new").await > page.began);
}

#[tokio::test]
async fn an_append_that_fails_is_told_leaves_nothing_and_the_next_works() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.sqlite");
    let log = SqliteLog::open(&path, LONG, &Supervisor::default()).await.unwrap();
    let mut feed = log.feed();
    log.subscribe(&room("r")).await.unwrap();
    let mut last = append(&log, "r", "0").await;
    next(&mut feed).await;
    let mut file = beside(&path).await;
    for round in 1..4 {
        // At another place of the transaction each time.
        match round {
            1 => run(&mut file, "CREATE TRIGGER t BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no'); END").await,
            2 => run(&mut file, "CREATE TRIGGER t BEFORE UPDATE ON log BEGIN SELECT RAISE(ROLLBACK, 'no'); END").await,
            _ => run(&mut file, "ALTER TABLE once RENAME TO twice").await,
        }
        let key = Dedupe(format!("key {round}"));
        for _ in 0..3 {
            let error = log.append(&room("r"), &event("lost"), Terms::once(&key)).await.unwrap_err().to_string();
            assert!(error.starts_with("append: ") && error.contains("log.sqlite"), "{error}");
        }
        match round {
            1 | 2 => run(&mut file, "DROP TRIGGER t").await,
            _ => run(&mut file, "ALTER TABLE twice RENAME TO once").await,
        }
        let appended = log.append(&room("r"), &event(&round.to_string()), Terms::once(&key)).await.unwrap();
        assert!(!appended.duplicate, "a failed append leaves no key");
        assert!(appended.position.offset > last);
        last = appended.position.offset;
        assert!(matches!(next(&mut feed).await, FeedItem::Event { position, .. } if position == appended.position));
    }
    assert_eq!(texts(&newest(&log, "r", None, 10).await), ["0", "1", "2", "3"]);
}

#[tokio::test]
async fn what_was_committed_and_never_announced_is_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.sqlite");
    let log = SqliteLog::open(&path, LONG, &Supervisor::default()).await.unwrap();
    let mut feed = log.feed();
    log.subscribe(&room("r")).await.unwrap();
    let last = append(&log, "r", "0").await;
    next(&mut feed).await;
    let mut file = beside(&path).await;
    // As if the transaction that is answered with an error had been committed in spite of it.
    run(&mut file, "CREATE TRIGGER t BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no'); END").await;
    log.append(&room("r"), &event("lost"), Terms::default()).await.unwrap_err();
    run(&mut file, "DROP TRIGGER t; UPDATE log SET head = head + 3600000000").await;
    assert_eq!(append(&log, "r", "1").await.0, last.0 + 3_600_000_001, "no offset is given twice");
    assert_eq!(next(&mut feed).await, FeedItem::Gap);
    assert!(matches!(next(&mut feed).await, FeedItem::Event { .. }));
}

#[tokio::test]
async fn a_clock_that_is_set_back_makes_no_promises() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.sqlite");
    let log = SqliteLog::open(&path, LONG, &Supervisor::default()).await.unwrap();
    append(&log, "r", "0").await;
    log.close().await;
    // What was written is a day ahead of the clock.
    run(&mut beside(&path).await, "UPDATE clock SET at = at + 86400000").await;
    let log = open_again(&path).await;
    let second = append(&log, "r", "1").await;
    let third = append(&log, "other", "2").await;
    let page = newest(&log, "nobody spoke here", None, 10).await;
    assert!(page.floor < second && page.floor > page.began, "what came before may be of any age");
    assert!(page.reaches_back_to(second) && page.reaches_back_to(third));
}

#[tokio::test]
async fn what_is_too_old_leaves_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/log.sqlite");
    let log = sqlite_log(folder.path()).await;
    for number in 0..3_000 {
        let (name, key) = (format!("room {}", number % 50), Dedupe(number.to_string()));
        log.append(&room(&name), &event("x"), Terms::once(&key)).await.unwrap();
    }
    let mut file = beside(&path).await;
    let deadline = tokio::time::Instant::now() + support::PATIENCE;
    loop {
        let rows: i64 = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM rooms) + (SELECT count(*) FROM once)
             + (SELECT count(*) FROM gone) + (SELECT count(*) FROM clock)",
        )
        .fetch_one(&mut file)
        .await
        .unwrap();
        if rows == 0 {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{rows} rows are left");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    append(&log, "room 0", "y").await;
    assert_eq!(texts(&newest(&log, "room 0", None, 10).await), ["y"]);
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |name: &'static str| {
        let path = folder.path().join(name);
        async move {
            let error = SqliteLog::open(&path, LONG, &Supervisor::default()).await.unwrap_err();
            // Of all of these, only another process may go away by itself.
            assert_eq!(error.is_permanent(), name != "used.sqlite", "{error}");
            error.to_string()
        }
    };
    let log = SqliteLog::open(&folder.path().join("used.sqlite"), LONG, &Supervisor::default()).await.unwrap();
    assert!(refused("used.sqlite").await.contains("used.sqlite is in use by another process"));
    append(&log, "r", "still works").await;

    std::fs::write(folder.path().join("damaged.sqlite"), [7; 8_192]).unwrap();
    let error = refused("damaged.sqlite").await;
    assert!(error.contains("damaged.sqlite: ") && error.contains("it is damaged"), "{error}");

    run(&mut beside_new(&folder.path().join("foreign.sqlite")).await, "CREATE TABLE recipes (name TEXT)").await;
    assert!(refused("foreign.sqlite").await.contains("another kind or version"));
    run(&mut beside_new(&folder.path().join("newer.sqlite")).await, "PRAGMA user_version = 1").await;
    assert!(refused("newer.sqlite").await.contains("another kind or version"));

    std::fs::create_dir(folder.path().join("folder.sqlite")).unwrap();
    let error = refused("folder.sqlite").await;
    assert!(error.contains("folder.sqlite: Is a directory"), "{error}");
    std::fs::write(folder.path().join("file"), "").unwrap();
    let error = refused("file/log.sqlite").await;
    assert!(error.contains("/file: ") && error.contains("the gateway's user needs"), "{error}");
}

async fn beside_new(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap()
}

#[tokio::test]
async fn damage_that_shows_later_is_told_and_is_not_the_end_of_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.sqlite");
    let log = SqliteLog::open(&path, LONG, &Supervisor::default()).await.unwrap();
    for number in 0..200 {
        append(&log, "r", &format!("{number} {}", "x".repeat(1_000))).await;
    }
    log.close().await;
    let length = std::fs::metadata(&path).unwrap().len();
    assert!(length > 100_000, "{length} bytes");
    // The beginning, which opening looks at, is left as it is.
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[65_536..].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let log = SqliteLog::open(&path, LONG, &Supervisor::default()).await.unwrap();
    let error =
        log.read(&room("r"), Range::After { offset: Offset::START, limit: 1_000 }, usize::MAX).await.unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
    assert_eq!((error.port, error.kind), (Port::Log, ErrorKind::Permanent));
}

/// An append that the log could not do.
fn failure(append: Result<Appended, AppendError>) -> PortError {
    match append {
        Err(AppendError::Failed(error)) => error,
        other => panic!("it did not fail: {other:?}"),
    }
}

#[tokio::test]
async fn what_fails_in_redis_says_whether_trying_again_may_help() {
    let mut redis = Redis::start().await;
    let log = redis_log(&redis, "kinds").await;
    append(&log, "good", "kept").await;
    redis.command("SET kinds:log:room:bad occupied").await;
    redis.command("SET kinds:log:writers occupied").await;
    let all = Range::After { offset: Offset::START, limit: 10 };
    for error in [
        log.read(&room("bad"), all, usize::MAX).await.unwrap_err(),
        failure(log.append(&room("bad"), &event("lost"), Terms::default()).await),
        log.mark(&room("good"), 1).await.unwrap_err(),
    ] {
        assert_eq!((error.port, error.kind), (Port::Log, ErrorKind::Permanent), "{error}");
    }
    assert_eq!(texts(&after(&log, "good", Offset::START, 10).await), ["kept"], "others are not damaged");
    redis.stop().await;
    for error in [
        log.read(&room("bad"), all, usize::MAX).await.unwrap_err(),
        failure(log.append(&room("good"), &event("lost"), Terms::default()).await),
        log.signal(&room("good"), &event("lost")).await.unwrap_err(),
        log.subscribe(&room("good")).await.unwrap_err(),
        log.mark(&room("good"), 1).await.unwrap_err(),
    ] {
        assert_eq!((error.port, error.kind), (Port::Log, ErrorKind::Transient), "{error}");
    }
}

#[tokio::test]
async fn an_append_that_cannot_work_is_not_tried_until_its_time_is_over() {
    let redis = Redis::start().await;
    let proxy = Proxy::before(&redis).await;
    // Tries would go on for twice as long.
    let log = log_with(&proxy, &redis, "useless", &[("GATEWAY_REDIS__TIMEOUT", "600s")]).await;
    append(&log, "good", "first").await;
    redis.command("SET useless:log:room:bad occupied").await;
    proxy.lose_an_answer();
    let terms = Terms::default();
    let (room, event) = (room("bad"), event("lost"));
    let appended = tokio::time::timeout(support::PATIENCE, log.append(&room, &event, terms)).await;
    let error = failure(appended.expect("it is given up"));
    assert!(!proxy.will_cut(), "the first answer was lost, and only the second said why");
    assert!(error.is_permanent() && error.to_string().contains("WRONGTYPE"), "{error}");
}

#[tokio::test]
async fn only_its_owner_may_read_a_log() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let log = sqlite_log(folder.path()).await;
    append(&log, "r", "secret").await;
    for entry in std::fs::read_dir(folder.path().join("data")).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", entry.file_name());
    }
}

#[tokio::test]
async fn an_append_whose_answer_got_lost_is_settled_and_not_guessed() {
    let redis = Redis::start().await;
    let proxy = Proxy::before(&redis).await;
    let settings = support::config(&[]).redis;
    let bus =
        RedisBus::connect(&redis.url(), &settings, Arc::new(Metrics::new()), &Supervisor::default()).await.unwrap();
    let commands = Commands::new(&proxy.url(), &settings).unwrap();
    let log = RedisLog::new(commands, Arc::new(bus), "doubt", RETENTION, settings.feed_buffer);
    append(&log, "r", "0").await;
    for (number, key) in [(1, None), (2, Some(Dedupe("u:alice:2".into())))] {
        proxy.lose_an_answer();
        let appended = log
            .append(&room("r"), &event(&number.to_string()), Terms { dedupe: key.as_ref(), ..Terms::default() })
            .await
            .unwrap();
        assert!(!proxy.will_cut(), "it was lost");
        assert!(!appended.duplicate, "it was appended by this call, whichever attempt did it");
        assert_eq!(newest(&log, "r", None, 1).await.events[0].0, appended.position.offset);
    }
    assert_eq!(texts(&after(&log, "r", Offset::START, 10).await), ["0", "1", "2"], "each once");
}

/// A log that reaches Redis for its commands through a proxy, and hears it directly.
async fn log_behind(proxy: &Proxy, redis: &Redis, prefix: &str) -> RedisLog {
    log_with(proxy, redis, prefix, &[]).await
}

async fn log_with(proxy: &Proxy, redis: &Redis, prefix: &str, changes: &[(&str, &str)]) -> RedisLog {
    let settings = support::config(changes).redis;
    let bus =
        RedisBus::connect(&redis.url(), &settings, Arc::new(Metrics::new()), &Supervisor::default()).await.unwrap();
    let commands = Commands::new(&proxy.url(), &settings).unwrap();
    RedisLog::new(commands, Arc::new(bus), prefix, RETENTION, settings.feed_buffer)
}

/// Appends numbers in one instant, to the rooms that `rooms` says.
async fn append_at_once(
    log: &RedisLog,
    numbers: std::ops::Range<usize>,
    rooms: fn(usize) -> &'static str,
) -> Vec<Result<Appended, AppendError>> {
    let appends = numbers.map(|number| async move {
        log.append(&room(rooms(number)), &event(&number.to_string()), Terms::default()).await
    });
    futures_util::future::join_all(appends).await
}

#[tokio::test]
async fn appends_of_a_moment_share_a_round_trip_and_each_has_its_own_answer() {
    let redis = Redis::start().await;
    let proxy = Proxy::before(&redis).await;
    let log = log_behind(&proxy, &redis, "together").await;
    append(&log, "good", "first").await;
    redis.command("SET together:log:room:bad occupied").await;
    let before = proxy.script_reads();
    let answers = append_at_once(&log, 0..100, |number| if number % 10 == 3 { "bad" } else { "good" }).await;
    let reads = proxy.script_reads() - before;
    assert!(reads < 10, "100 appends were sent in {reads} pieces");
    let mut expected = vec!["first".to_owned()];
    let mut last = Offset::START;
    for (number, answer) in answers.into_iter().enumerate() {
        if number % 10 == 3 {
            let error = failure(answer);
            assert!(error.is_permanent() && error.to_string().contains("WRONGTYPE"), "{error}");
        } else {
            let appended = answer.unwrap();
            assert!(!appended.duplicate && appended.position.offset > last, "{number}: {appended:?}");
            last = appended.position.offset;
            expected.push(number.to_string());
        }
    }
    assert_eq!(texts(&after(&log, "good", Offset::START, 200).await), expected);
    assert_eq!(newest(&log, "good", None, 1).await.events[0].0, last, "the last answer was the last append's");
}

#[tokio::test]
async fn appends_of_an_interval_share_a_round_trip_and_the_first_goes_out_at_once() {
    let redis = Redis::start().await;
    let proxy = Proxy::before(&redis).await;
    let settings = [("GATEWAY_REDIS__PIPELINE_INTERVAL", "4s"), ("GATEWAY_REDIS__TIMEOUT", "20s")];
    let log = Arc::new(log_with(&proxy, &redis, "interval", &settings).await);
    newest(&*log, "r", None, 1).await;
    let started = tokio::time::Instant::now();
    let first = append(&*log, "r", "first").await;
    assert!(started.elapsed() < Duration::from_secs(4));
    let (before, mut later) = (proxy.script_reads(), Vec::new());
    for number in 0..5 {
        let (log, asking) = (log.clone(), log.clone());
        later.push(tokio::spawn(async move { append(&*log, "r", &number.to_string()).await }));
        // Long enough for it to go out, if it did not wait.
        assert_eq!(newest(&*asking, "r", None, 1).await.events[0].0, first);
    }
    let offsets = futures_util::future::try_join_all(later).await.unwrap();
    assert!(offsets.is_sorted() && offsets[0] > first);
    assert_eq!(proxy.script_reads() - before, 5 + 1, "five times it was asked, and once appended");
}

#[tokio::test]
async fn a_connection_that_breaks_off_among_appends_loses_and_doubles_none() {
    let redis = Redis::start().await;
    let proxy = Proxy::before(&redis).await;
    let log = log_behind(&proxy, &redis, "broken").await;
    append(&log, "r", "first").await;
    let mut expected = vec!["first".to_owned()];
    let cuts =
        [Cut::Request(1), Cut::Request(3_000), Cut::Request(9_001), Cut::Answer(0), Cut::Answer(70), Cut::Answer(701)];
    for (round, cut) in cuts.into_iter().enumerate() {
        proxy.cut(cut);
        let numbers = round * 30..(round + 1) * 30;
        expected.extend(numbers.clone().map(|number| number.to_string()));
        let mut offsets = Vec::new();
        for answer in append_at_once(&log, numbers, |_| "r").await {
            let appended = answer.unwrap();
            assert!(!appended.duplicate, "{cut:?}: it was appended by this call, whichever attempt did it");
            offsets.push(appended.position.offset);
        }
        assert!(!proxy.will_cut(), "{cut:?}");
        let page = after(&log, "r", Offset::START, 1_000).await;
        let mut kept: Vec<_> = texts(&page).into_iter().map(str::to_owned).collect();
        let told = page.events[1 + round * 30..].iter().map(|(offset, _)| *offset);
        offsets.sort();
        assert_eq!(told.collect::<Vec<_>>(), offsets, "{cut:?}: where they are is what was answered");
        kept.sort();
        let mut sorted = expected.clone();
        sorted.sort();
        assert_eq!(kept, sorted, "{cut:?}: each once");
    }
}

#[tokio::test]
async fn a_redis_that_forgot_the_script_gets_it_again() {
    let redis = Redis::start().await;
    let log = redis_log(&redis, "forgotten").await;
    for round in 0..3 {
        assert!(redis.command("SCRIPT FLUSH").await.starts_with("+OK"));
        for answer in append_at_once(&log, round * 20..(round + 1) * 20, |_| "r").await {
            assert!(!answer.unwrap().duplicate);
        }
    }
    let expected: Vec<_> = (0..60).map(|number: usize| number.to_string()).collect();
    assert_eq!(texts(&after(&log, "r", Offset::START, 100).await), expected);
}

#[tokio::test]
async fn a_connection_in_use_is_not_asked_for_a_sign_of_life() {
    let redis = Redis::start().await;
    let log = redis_log(&redis, "asked").await;
    let pings = || async {
        let stats = redis.command("INFO commandstats").await;
        let calls = stats.split_once("cmdstat_ping:calls=").map(|(_, rest)| rest.split_once(',').unwrap().0);
        calls.map_or(0, |calls| calls.parse::<u32>().unwrap())
    };
    let before = pings().await;
    for _ in 0..200 {
        append(&log, "r", "x").await;
        newest(&log, "r", None, 1).await;
    }
    // The bus asks its own two connections every second.
    let asked = pings().await - before;
    assert!(asked < 50, "{asked} times for 400 commands");
}

#[tokio::test]
async fn the_clock_is_marked_when_a_mark_is_due_and_not_with_every_append() {
    let redis = Redis::start().await;
    let log = redis_log(&redis, "clock").await;
    let marks = || async {
        redis.command("ZCARD clock:log:clock").await.trim().trim_start_matches(':').parse::<u32>().unwrap()
    };
    for number in 0..100 {
        append(&log, "r", &number.to_string()).await;
    }
    assert!((1..10).contains(&marks().await), "{}", marks().await);
    // A sixteenth of the retention later the next is due.
    let before = marks().await;
    support::eventually("the next mark", || async {
        append(&log, "r", "x").await;
        marks().await > before
    })
    .await;
    // A new history has a mark from its first event on.
    redis.command("DEL clock:log:epoch").await;
    let first = append(&log, "r", "new").await;
    let page = after(&log, "silent", first, 1).await;
    assert!(page.floor < first && page.reaches_back_to(first), "{page:?}");
}

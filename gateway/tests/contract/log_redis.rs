//! The log in Redis: what Redis loses, forgets or cannot do, and appends that share a round trip.

use std::sync::Arc;
use std::time::Duration;

use gateway_core::bus::RedisBus;
use gateway_core::domain::Offset;
use gateway_core::log::{AppendError, Appended, Dedupe, Log, Range, RedisLog, Terms};
use gateway_core::metrics::Metrics;
use gateway_core::port::{ErrorKind, Port};
use gateway_core::redis::Commands;
use gateway_core::supervisor::Supervisor;

use crate::log::{RETENTION, after, append, event, failure, newest, redis_log, room, texts};
use crate::support;
use crate::support::proxy::{Cut, Proxy};
use crate::support::redis::Redis;

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

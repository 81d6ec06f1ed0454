//! The log in a file: however its process ended, whatever became of the file, and by which clock.

use std::path::Path;
use std::time::Duration;

use gateway_core::domain::Offset;
use gateway_core::log::{Dedupe, FeedItem, Log, Range, Retention, SqliteLog, Terms};
use gateway_core::port::{ErrorKind, Port};
use gateway_core::supervisor::Supervisor;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};

use crate::log::{append, event, newest, next, room, sqlite_log, texts};
use crate::support;

const LONG: Retention = Retention::of_events(200, Duration::from_secs(3_600), Duration::from_secs(600));

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

//! A log in a file on a disk without room: in a process of its own, because the limit is the process's.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use gateway_core::archive::{self, Archive};
use gateway_core::domain::{Epoch, Event, Offset, Pid, Position, RoomName, SessionId};
use gateway_core::log::{AppendError, FeedItem, Log, Range, Retention, SqliteLog, Terms};
use gateway_core::sessions::{Lease, Record, Sessions, SqliteSessions};
use gateway_core::supervisor::Supervisor;
use gateway_store::DatabaseFile;
use gateway_store::archive::SqliteArchive;
use rlimit::Resource;
use tokio::signal::unix::{SignalKind, signal};

const RETENTION: Retention = Retention::of_events(10_000, Duration::from_secs(3_600), Duration::from_secs(600));
/// What the kernel sends who writes beyond the limit of `RLIMIT_FSIZE`.
const SIGXFSZ: i32 = 25;

#[tokio::test]
async fn a_full_disk_refuses_and_heals() {
    // Heard, so that it does not end the process; the write then fails.
    let _signals = signal(SignalKind::from_raw(SIGXFSZ)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.sqlite");
    let room = RoomName::parse("r").unwrap();
    let event = |number: usize| Event {
        name: "message".into(),
        args: format!("[{number},{:?}]", "x".repeat(5_000)),
        attachments: Vec::new(),
        except: None,
        at_ms: 1,
    };
    let log = SqliteLog::open(&path, RETENTION, &Supervisor::default()).await.unwrap();
    let mut feed = log.feed();
    log.subscribe(&room).await.unwrap();
    let (_, most) = Resource::FSIZE.get().unwrap();
    let mut acknowledged = Vec::new();
    let mut number = 0;
    for round in 1..4 {
        Resource::FSIZE.set(round * 600_000, most).unwrap();
        // Giving up a connection may make a little room at first.
        let mut errors = Vec::new();
        while errors.len() < 5 {
            number += 1;
            match log.append(&room, &event(number), Terms::default()).await {
                Ok(appended) => {
                    acknowledged.push((appended.position.offset, event(number)));
                    errors.clear();
                }
                Err(AppendError::Failed(error)) if !error.is_permanent() => errors.push(error.to_string()),
                Err(error) => panic!("there may be room again: {error}"),
            }
            assert!(number < 10_000, "nothing limits it");
        }
        assert!(errors.iter().all(|error| error.contains("log.sqlite") && error.contains("disk")), "{errors:#?}");
        let newest = log.read(&room, Range::Newest { before: None, limit: 1 }, usize::MAX).await.unwrap();
        assert_eq!(newest.events.last(), acknowledged.last(), "reading goes on");
        Resource::FSIZE.set(most, most).unwrap();
        number += 1;
        let appended = log.append(&room, &event(number), Terms::default()).await.unwrap();
        acknowledged.push((appended.position.offset, event(number)));
    }
    let page = log.read(&room, Range::After { offset: Offset::START, limit: 10_000 }, usize::MAX).await.unwrap();
    assert!(page.events == acknowledged, "what was acknowledged is there, and nothing else");
    assert!(acknowledged.is_sorted_by_key(|(offset, _)| *offset));
    for (offset, _) in &acknowledged {
        let heard = tokio::time::timeout(Duration::from_secs(20), feed.next()).await.unwrap().unwrap();
        assert!(matches!(&heard, FeedItem::Event { position, .. } if position.offset == *offset), "{heard:?}");
    }
    log.close().await;
    drop(log);
    let log = SqliteLog::open(&path, RETENTION, &Supervisor::default()).await.unwrap();
    let page = log.read(&room, Range::After { offset: Offset::START, limit: 10_000 }, usize::MAX).await.unwrap();
    assert!(page.events == acknowledged, "the file is sound");
    sessions_are_claimed_on_a_full_disk(folder.path(), most).await;
    an_archive_goes_on_when_there_is_room_again(folder.path(), most).await;
}

/// In the same test: the limit is the process's.
async fn sessions_are_claimed_on_a_full_disk(folder: &Path, most: u64) {
    let sessions = SqliteSessions::open(&folder.join("sessions.sqlite"), Duration::from_secs(60)).await.unwrap();
    let (session, namespace) = (SessionId::random(), "/".to_owned());
    let (rooms, names) = (Vec::new(), Vec::new());
    let (handed, complete_to, user, identified, term) = (Offset::START, Offset::START, None, None, 0);
    let record = Record { session, user, version: 1, rooms, namespace, names, identified, handed, complete_to, term };
    let lease = Lease::new(Pid::random());
    assert!(sessions.save(lease, &record).await.unwrap());
    Resource::FSIZE.set(1, most).unwrap();
    let error = sessions.save(lease, &record).await.unwrap_err();
    assert!(!error.is_permanent(), "there may be room again");
    let error = error.to_string();
    assert!(error.contains("sessions.sqlite") && error.contains("disk"), "{error}");
    let rival = Lease::new(lease.pid);
    let claim = tokio::time::timeout(Duration::from_secs(1), sessions.claim(rival, "/", None));
    let claimed = Record { term: Record::TERMS, ..record.clone() };
    assert_eq!(claim.await.expect("it waits for no write").unwrap(), Some(claimed.into()));
    Resource::FSIZE.set(most, most).unwrap();
    assert!(!sessions.save(lease, &record).await.unwrap(), "it is the other one's, although nobody could write it");
    assert!(sessions.save(rival, &record).await.unwrap());
    sessions.close().await;
}

/// In the same test, too.
async fn an_archive_goes_on_when_there_is_room_again(folder: &Path, most: u64) {
    let (file, _) = DatabaseFile::open(&folder.join("database.sqlite")).await.unwrap();
    let archive = SqliteArchive::new(file.clone());
    let room = RoomName::parse("r").unwrap();
    let said = |offset: u64| archive::Record::Event {
        room: room.clone(),
        position: Position { epoch: Epoch(1), offset: Offset(offset) },
        before: (offset > 1).then(|| Offset(offset - 1)),
        user: None,
        event: Event {
            name: "message".into(),
            args: format!("[{:?}]", "x".repeat(5_000)),
            attachments: Vec::new(),
            except: None,
            at_ms: 1,
        },
        takes_back: None,
    };
    Resource::FSIZE.set(600_000, most).unwrap();
    let mut offset = 1;
    let error = loop {
        match archive.write(&[said(offset), said(offset + 1)], Offset(offset + 1)).await {
            Ok(_) => offset += 2,
            Err(error) => break error,
        }
        assert!(offset < 10_000, "nothing limits it");
    };
    assert!(!error.is_permanent(), "there may be room again: {error}");
    assert!(error.to_string().contains("database.sqlite") && error.to_string().contains("disk"), "{error}");
    let range = Range::After { offset: Offset::START, limit: 10_000 };
    let written = archive.read(&room, range, usize::MAX).await.unwrap().entries.len() as u64;
    assert_eq!(written, offset - 1, "of a batch that failed nothing is there");
    Resource::FSIZE.set(most, most).unwrap();
    let again = archive.write(&[said(offset), said(offset + 1)], Offset(offset + 1)).await.unwrap();
    assert_eq!((again.events, again.gaps.len()), (2, 0));
    file.close().await;
}

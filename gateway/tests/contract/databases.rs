//! What databases do to a gateway: they are away, slow, restarted in the middle of something, read-only, full, somebody else's.

mod exchange;
mod files;
mod lag;
mod mongodb;
mod nodes;
mod pages;
mod postgres;
mod rows;

use std::time::Duration;

use gateway_core::archive::{Archive, Record};
use gateway_core::domain::{Epoch, Event, Offset, Position, RoomName, UserId};
use gateway_core::log::Range;
use gateway_core::notifications::{New, NotificationId};
use gateway_core::port::{ErrorKind, Port, PortError};
use gateway_store::Store;
use tokio::time::Instant;

use crate::support::PATIENCE;
use crate::support::databases::store;

/// The events of one room, with places from 1 on, in batches.
fn batches(count: u64, size: u64) -> Vec<Vec<Record>> {
    let record = |offset: u64| Record::Event {
        room: RoomName::trusted("batches"),
        position: Position { epoch: Epoch(7), offset: Offset(offset) },
        before: (offset > 1).then(|| Offset(offset - 1)),
        user: UserId::parse("ann"),
        event: Event {
            name: "message".into(),
            args: format!("[{offset},{:?}]", "x".repeat(250)),
            attachments: vec![],
            except: None,
            at_ms: 1_700_000_000_000 + offset,
        },
        takes_back: None,
    };
    let starts = (1..=count).step_by(usize::try_from(size).unwrap());
    starts.map(|from| (from..(from + size).min(count + 1)).map(record).collect()).collect()
}

fn last(batch: &[Record]) -> Offset {
    let Some(Record::Event { position, .. }) = batch.last() else { panic!("no event") };
    position.offset
}

async fn write(store: &Store, batch: &[Record]) -> Result<u64, PortError> {
    store.archive.write(batch, last(batch)).await.map(|written| written.events)
}

/// All that the room has is there, in order, and nothing is missing.
async fn is_whole(archive: &dyn Archive, count: u64) {
    let range = Range::After { offset: Offset::START, limit: 1_000_000 };
    let page = archive.read(&RoomName::trusted("batches"), range, usize::MAX).await.unwrap();
    let offsets: Vec<_> = page.entries.iter().map(|entry| entry.position.offset.0).collect();
    assert_eq!(offsets, (1..=count).collect::<Vec<_>>());
    assert_eq!(page.gaps, []);
    assert_eq!(archive.cursor().await.unwrap(), Some(Offset(count)));
}

/// Where namespaces have a Redis of their own, each log is archived by itself.
async fn has_archives_of_logs(store: &Store) {
    let chat = store.archive.of_log("chat");
    chat.write(&[], Offset(7)).await.unwrap();
    assert_eq!(chat.cursor().await.unwrap(), Some(Offset(7)));
}

/// How long something took: usually, almost always, and at the most.
fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1_000.0;
    format!("median {:.2} ms, p99 {:.2} ms, slowest {:.2} ms", at(50), at(99), at(100))
}

fn notification() -> New {
    New {
        id: NotificationId::new(std::time::SystemTime::now()),
        receiver: UserId::parse("ann").unwrap(),
        sender: None,
        message: "1".into(),
        data: None,
        at_ms: 1,
        until_ms: None,
        key: None,
        collapse: None,
    }
}

/// What is asked fails so, with these words for operators, of both ports.
async fn fails(store: &Store, kind: ErrorKind, words: &str) {
    let archive = store.archive.write(&[], Offset(1)).await.unwrap_err();
    let notifications = store.notifications.add(&[notification()], 10).await.unwrap_err();
    for (error, port, operation) in [(archive, Port::Archive, "write"), (notifications, Port::Notifications, "add")] {
        assert_eq!((error.port, error.operation, error.kind), (port, operation, kind), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

/// Several that start at once make the tables once.
async fn make_tables_at_once(url: &str) {
    let mut stores = Vec::new();
    for _ in 0..5 {
        stores.push(store(url).await);
    }
    let migrated = futures_util::future::join_all(stores.iter().map(Store::migrate)).await;
    let migrated: Vec<_> = migrated.into_iter().map(Result::unwrap).collect();
    assert_eq!(migrated.iter().filter(|migrated| migrated.from == 0).count(), 1, "{migrated:?}");
    let again = store(url).await.migrate().await.unwrap();
    assert_eq!((again.from, again.to), (migrated[0].to, migrated[0].to));
    for store in &stores {
        store.archive.write(&[], Offset(1)).await.unwrap();
        store.close().await;
    }
}

/// Writes all batches, each until it is written. Each tenth is under way when `trouble` begins.
async fn written_through(store: &Store, batches: &[Vec<Record>], mut trouble: impl AsyncFnMut()) {
    for (number, batch) in batches.iter().enumerate() {
        // As long as the machine may take for a server that starts, and then for what waits for it.
        let deadline = Instant::now() + PATIENCE * 3;
        let writing = async {
            while let Err(error) = write(store, batch).await {
                assert!(error.kind == ErrorKind::Transient && Instant::now() < deadline, "{error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if number % 10 == 5 { _ = tokio::join!(writing, trouble()) } else { writing.await }
    }
}

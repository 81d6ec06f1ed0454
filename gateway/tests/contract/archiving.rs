//! How what is published gets into the archive, over every log and outbox: once, in order, and never in anybody's way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use gateway_core::archive::{Archive, Gap, MemoryArchive, Page, Record, Taken, Why, Written};
use gateway_core::config;
use gateway_core::domain::{Event, Offset, RoomName, UserId};
use gateway_core::log::{Range, Terms};
use gateway_core::metrics::Metrics;
use gateway_core::outbox::{By, Wants};
use gateway_core::port::{Port, PortError};
use gateway_core::traces::Traces;
use gateway_work::archiving::Archiving;
use tokio_util::sync::CancellationToken;

use crate::outbox::{Deployment, in_file, in_memory, in_redis, wants};
use crate::support::redis::Redis;
use crate::support::{self, eventually};

/// A real archive whose database can be away.
struct Database {
    archive: MemoryArchive,
    away: AtomicBool,
}

impl Database {
    fn new() -> Arc<Self> {
        Arc::new(Self { archive: MemoryArchive::new(64 << 20), away: AtomicBool::new(false) })
    }

    fn is_away(&self, operation: &'static str) -> Result<(), PortError> {
        let is_away = self.away.load(Ordering::Acquire);
        if is_away { Err(Port::Archive.not_now(operation, "nobody answers")) } else { Ok(()) }
    }

    async fn all(&self, name: &str) -> Page {
        let room = RoomName::parse(name).unwrap();
        let range = Range::After { offset: Offset::START, limit: 1_000 };
        self.archive.read(&room, range, usize::MAX).await.unwrap()
    }

    async fn offsets(&self, name: &str) -> Vec<u64> {
        self.all(name).await.entries.iter().map(|entry| entry.position.offset.0).collect()
    }
}

#[async_trait]
impl Archive for Database {
    async fn write(&self, records: &[Record], cursor: Offset) -> Result<Written, PortError> {
        self.is_away("write")?;
        self.archive.write(records, cursor).await
    }

    async fn read(&self, room: &RoomName, range: Range, bytes: usize) -> Result<Page, PortError> {
        self.is_away("read")?;
        self.archive.read(room, range, bytes).await
    }

    async fn cursor(&self) -> Result<Option<Offset>, PortError> {
        self.is_away("cursor")?;
        self.archive.cursor().await
    }

    fn of_log(&self, name: &str) -> Arc<dyn Archive> {
        self.archive.of_log(name)
    }

    async fn rooms(&self, after: Option<&RoomName>, most: usize) -> Result<Vec<RoomName>, PortError> {
        self.archive.rooms(after, most).await
    }

    async fn rooms_of(&self, user: &UserId, after: Option<&RoomName>, most: usize) -> Result<Vec<RoomName>, PortError> {
        self.archive.rooms_of(user, after, most).await
    }

    async fn take_back(&self, what: &Taken, most: usize) -> Result<u64, PortError> {
        self.archive.take_back(what, most).await
    }

    async fn forget(&self, room: &RoomName, older_than: Duration, most: usize) -> Result<u64, PortError> {
        self.archive.forget(room, older_than, most).await
    }
}

/// A node that archives, until it is stopped.
struct Node {
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Node {
    fn start(it: &Deployment, database: &Arc<Database>) -> Self {
        let mut settings: config::Archive = support::config(&[]).archive;
        settings.interval = Duration::from_millis(10);
        (settings.backoff, settings.backoff_max) = (Duration::from_millis(10), Duration::from_millis(50));
        settings.batch_events = 3;
        settings.lease = Duration::from_secs(2);
        let (metrics, stop) = (Arc::new(Metrics::new()), CancellationToken::new());
        let to: (Arc<dyn Archive>, _, _) = (database.clone(), it.outbox.clone(), it.log.clone());
        let archiving = Archiving::new(config::Redis::MAIN, to, &settings, metrics.clone(), Traces::default());
        let task = tokio::spawn(archiving.run(stop.clone()));
        Self { metrics, stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    fn shows(&self, series: &str) -> bool {
        let text = self.metrics.render();
        text.lines().any(|line| line == series)
    }
}

macro_rules! over_every_store {
    ($($name:ident,)+) => {
        mod memory {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                super::$name(in_memory(&wants())).await;
            })+
        }
        mod sqlite {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                let folder = tempfile::tempdir().unwrap();
                super::$name(in_file(&folder.path().join("log.sqlite"), &wants()).await.0).await;
            })+
        }
        mod redis {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                let redis = Redis::start().await;
                super::$name(in_redis(&redis, "test", &wants()).await).await;
            })+
        }
    };
}

over_every_store! {
    what_is_published_is_archived_once_and_in_order,
    a_database_that_is_away_is_waited_for,
    what_does_not_fit_while_it_is_away_is_a_gap,
    another_node_goes_on_where_one_stopped,
}

fn event(text: &str) -> Event {
    Event { name: "message".into(), args: format!("[{text:?}]"), attachments: vec![], except: None, at_ms: 17 }
}

async fn publish(it: &Deployment, name: &str, terms: Terms<'_>) -> u64 {
    let room = RoomName::parse(name).unwrap();
    it.log.append(&room, &event("x"), terms).await.unwrap().position.offset.0
}

async fn what_is_published_is_archived_once_and_in_order(it: Deployment) {
    let database = Database::new();
    let node = Node::start(&it, &database);
    let user = UserId::parse("alice").unwrap();
    let by = Some(By { session: gateway_core::domain::SessionId::random(), user: Some(&user) });
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        first.push(publish(&it, "kept-a", Terms { by, ..Terms::default() }).await);
        publish(&it, "other", Terms::default()).await;
        second.push(publish(&it, "kept-b", Terms::default()).await);
        // Five may wait here.
        let last = *second.last().unwrap();
        eventually("it is archived", || async { database.offsets("kept-b").await.last() == Some(&last) }).await;
    }
    assert_eq!((database.offsets("kept-a").await, database.offsets("kept-b").await), (first.clone(), second.clone()));
    let page = database.all("kept-a").await;
    assert!(page.gaps.is_empty() && page.entries.iter().all(|entry| entry.user.as_ref() == Some(&user)));
    assert!(database.all("other").await.entries.is_empty(), "nobody asked for it");
    let taken = Terms { takes_back: Some(Offset(first[3])), ..Terms::default() };
    let told = publish(&it, "kept-a", taken).await;
    eventually("it is archived", || async { database.offsets("kept-a").await.last() == Some(&told) }).await;
    assert_eq!(database.all("kept-a").await.entries[3].event, None, "it was taken back");
    let quiet = publish(&it, "other", Terms::default()).await;
    eventually("the archive is as far as the log, although nothing of that is archived", || async {
        database.cursor().await.unwrap() >= Some(Offset(quiet))
    })
    .await;
    assert!(node.shows("gateway_archive_events_total 41") && node.shows("gateway_archive_waiting 0"));
    assert!(node.shows("gateway_archive_gaps_total{why=\"missing\"} 0"));
    node.stop().await;
}

async fn a_database_that_is_away_is_waited_for(it: Deployment) {
    let database = Database::new();
    database.away.store(true, Ordering::Release);
    let node = Node::start(&it, &database);
    let mut expected = Vec::new();
    for _ in 0..5 {
        expected.push(publish(&it, "kept-a", Terms::default()).await);
    }
    eventually("it is missed", || async { node.shows("gateway_archive_waiting 5") }).await;
    assert!(database.offsets("kept-a").await.is_empty());
    assert!(!node.shows("gateway_archive_errors_total{op=\"cursor\"} 0"), "it is counted");
    database.away.store(false, Ordering::Release);
    eventually("all is there", || async { database.offsets("kept-a").await == expected }).await;
    eventually("nothing waits", || async { node.shows("gateway_archive_waiting 0") }).await;
    node.stop().await;
}

async fn what_does_not_fit_while_it_is_away_is_a_gap(it: Deployment) {
    let database = Database::new();
    let node = Node::start(&it, &database);
    let before = publish(&it, "kept-a", Terms::default()).await;
    eventually("it works", || async { database.offsets("kept-a").await == [before] }).await;
    database.away.store(true, Ordering::Release);
    let mut offsets = Vec::new();
    for _ in 0..8 {
        offsets.push(publish(&it, "kept-a", Terms::default()).await);
    }
    let quiet = publish(&it, "kept-quiet", Terms::default()).await;
    database.away.store(false, Ordering::Release);
    eventually("what fits is there", || async { database.offsets("kept-a").await.len() == 6 }).await;
    eventually("nothing waits", || async { node.shows("gateway_archive_waiting 0") }).await;
    let after = publish(&it, "kept-a", Terms::default()).await;
    eventually("it goes on", || async { database.offsets("kept-a").await.last() == Some(&after) }).await;
    let gap = Gap { room: None, after: Offset(offsets[5] - 1), through: Offset(quiet), why: Why::Dropped };
    let expected = Gap { after: database.all("kept-a").await.gaps[0].after, ..gap };
    assert_eq!(database.all("kept-a").await.gaps, std::slice::from_ref(&expected), "once, and for no other reason");
    assert!((offsets[4]..offsets[5]).contains(&expected.after.0), "{expected:?} of {offsets:?}");
    assert_eq!(database.all("kept-quiet").await.gaps, [expected], "where nothing came that would show it");
    assert!(node.shows("gateway_archive_gaps_total{why=\"dropped\"} 1"));
    node.stop().await;
}

async fn another_node_goes_on_where_one_stopped(it: Deployment) {
    let database = Database::new();
    let (one, other) = (Node::start(&it, &database), Node::start(&it, &database));
    let mut expected = vec![publish(&it, "kept-a", Terms::default()).await];
    eventually("one of them archives", || async { database.offsets("kept-a").await == expected }).await;
    let is_one = one.shows("gateway_archive_events_total 1");
    assert_ne!(is_one, other.shows("gateway_archive_events_total 1"), "not both");
    let (works, waits) = if is_one { (one, other) } else { (other, one) };
    works.stop().await;
    for _ in 0..4 {
        expected.push(publish(&it, "kept-a", Terms::default()).await);
    }
    eventually("the other goes on", || async { database.offsets("kept-a").await == expected }).await;
    assert!(database.all("kept-a").await.gaps.is_empty());
    assert!(waits.shows("gateway_archive_events_total 4"));
    waits.stop().await;
}

#[tokio::test]
async fn a_redis_that_lost_everything_is_a_gap_of_all_rooms() {
    let redis = Redis::start().await;
    let it = in_redis(&redis, "test", &wants()).await;
    let database = Database::new();
    let node = Node::start(&it, &database);
    let before = publish(&it, "kept-a", Terms::default()).await;
    eventually("it works", || async { database.offsets("kept-a").await == [before] }).await;
    redis.command("FLUSHALL").await;
    let after = publish(&it, "kept-b", Terms::default()).await;
    eventually("it goes on", || async { database.offsets("kept-b").await == [after] }).await;
    eventually("and what was lost is told", || async {
        let gaps = database.all("kept-a").await.gaps;
        gaps.len() == 1 && gaps[0].why == Why::NewHistory && gaps[0].room.is_none() && gaps[0].through.0 < after
    })
    .await;
    assert!(node.shows("gateway_archive_gaps_total{why=\"new_history\"} 1"));
    assert_eq!(it.wants.names(), [Wants::ARCHIVE]);
    node.stop().await;
}

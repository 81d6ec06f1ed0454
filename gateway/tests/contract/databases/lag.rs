//! How long what is published takes into each database while 2,000 events are a second: `make bench-store`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use gateway_core::archive::{Archive, Page, Record, Taken, Written};
use gateway_core::config::Redis as Settings;
use gateway_core::domain::{Offset, RoomName, UserId};
use gateway_core::log::{Range, Terms};
use gateway_core::metrics::Metrics;
use gateway_core::outbox::{Bounds, Pattern, Wants};
use gateway_core::port::PortError;
use gateway_core::traces::Traces;
use gateway_work::archiving::Archiving;
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::rows::event;
use super::spread;
use crate::outbox::{Deployment, in_file, in_redis};
use crate::support::databases::{store, store_in};
use crate::support::ferretdb::FerretDb;
use crate::support::postgres::Postgres;
use crate::support::redis::Redis;
use crate::support::{config, eventually};

/// Events a second, for how many seconds, and in how many rooms.
const RATE: u64 = 2_000;
const SECONDS: u64 = 20;
const ROOMS: u64 = 50;
/// How often some are published.
const TICK: Duration = Duration::from_millis(5);

fn wants() -> Wants {
    let bounds = Bounds { entries: 1_000_000, bytes: 1 << 30 };
    Wants::new("test", bounds).with_archive(vec![Pattern::new("kept-*")], bounds)
}

/// A log in a file whose outbox for the archive has room for all that is measured.
pub(super) async fn in_a_file(path: &Path) -> Deployment {
    in_file(path, &wants()).await.0
}

/// The same in Redis.
pub(super) async fn in_a_redis(redis: &Redis) -> Deployment {
    in_redis(redis, "test", &wants()).await
}

/// An archive that notes when what was there.
struct Observed {
    archive: Arc<dyn Archive>,
    written: Mutex<Vec<(Offset, Instant)>>,
}

#[async_trait]
impl Archive for Observed {
    async fn write(&self, records: &[Record], cursor: Offset) -> Result<Written, PortError> {
        let written = self.archive.write(records, cursor).await?;
        let now = Instant::now();
        let offsets = records.iter().filter_map(|record| match record {
            Record::Event { position, .. } => Some((position.offset, now)),
            Record::Gap(_) => None,
        });
        self.written.lock().extend(offsets);
        Ok(written)
    }

    async fn read(&self, room: &RoomName, range: Range, bytes: usize) -> Result<Page, PortError> {
        self.archive.read(room, range, bytes).await
    }

    async fn cursor(&self) -> Result<Option<Offset>, PortError> {
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

/// From the answer to a publish to its being in the database.
async fn measure(name: &str, it: Deployment, archive: Arc<dyn Archive>) {
    archive.cursor().await.unwrap();
    let observed = Arc::new(Observed { archive, written: Mutex::default() });
    let (stop, metrics) = (CancellationToken::new(), Arc::new(Metrics::new()));
    let settings = config(&[]).archive;
    let to: (Arc<dyn Archive>, _, _) = (observed.clone(), it.outbox.clone(), it.log.clone());
    let archiving = Archiving::new(Settings::MAIN, to, &settings, metrics, Traces::default());
    let task = tokio::spawn(archiving.run(stop.clone()));
    let mut appended = Vec::new();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let at_once = RATE * u64::try_from(TICK.as_millis()).unwrap() / 1_000;
    let begun = Instant::now();
    for turn in 0..RATE * SECONDS / at_once {
        tick.tick().await;
        let log = &it.log;
        let publishing = (turn * at_once..(turn + 1) * at_once).map(|number| async move {
            let room = RoomName::parse(&format!("kept-{}", number % ROOMS)).unwrap();
            let done = log.append(&room, &event(number), Terms::default()).await.unwrap();
            (done.position.offset, Instant::now())
        });
        appended.extend(join_all(publishing).await);
    }
    let rate = appended.len() as f64 / begun.elapsed().as_secs_f64();
    eventually("all is archived", || async { observed.written.lock().len() >= appended.len() }).await;
    stop.cancel();
    task.await.unwrap();
    let mut written = observed.written.lock().clone();
    written.sort();
    appended.sort();
    let offsets = |all: &[(Offset, Instant)]| all.iter().map(|(offset, _)| *offset).collect::<Vec<_>>();
    assert_eq!(offsets(&written), offsets(&appended), "each once");
    let lags = written.iter().zip(&appended).map(|((_, there), (_, said))| there.saturating_duration_since(*said));
    println!("{name}: {rate:.0} events/s, archived after {}", spread(lags.collect()));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures: `make bench-store`"]
async fn measured_lag() {
    let folder = tempfile::tempdir().unwrap();
    let file = store_in(folder.path()).await;
    measure("sqlite", in_a_file(&folder.path().join("log.sqlite")).await, file.archive).await;
    let (redis, postgres) = (Redis::start().await, Postgres::start_with(&["fsync=on"]).await);
    measure("redis and postgres", in_a_redis(&redis).await, store(&postgres.url()).await.archive).await;
    let (redis, ferretdb) = (Redis::start().await, FerretDb::start().await);
    measure("redis and ferretdb", in_a_redis(&redis).await, store(&ferretdb.url_of("lag")).await.archive).await;
}

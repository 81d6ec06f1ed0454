//! How many rows a second each database takes, beside what the log takes that they come from: `make bench-store`.

use futures_util::{StreamExt, stream};
use gateway_core::domain::{Event, RoomName};
use gateway_core::log::{Log, Terms};
use gateway_store::Store;
use tokio::time::Instant;

use super::lag::{in_a_file, in_a_redis};
use super::{batches, last};
use crate::support::databases::{store, store_in};
use crate::support::ferretdb::FerretDb;
use crate::support::postgres::Postgres;
use crate::support::redis::Redis;

/// Events of each measurement, by the size of its batches.
const MEASURED: [(u64, u64); 3] = [(1, 500), (100, 20_000), (500, 100_000)];
/// Events that are appended to each log, and how many of them at the same time.
const APPENDED: (u64, usize) = (60_000, 256);

async fn measure(name: &str, make: impl AsyncFn(u64) -> Store, share: u64) {
    for (size, count) in MEASURED {
        let store = make(size).await;
        store.migrate().await.unwrap();
        let batches = batches((count / share).max(size), size);
        let begun = Instant::now();
        for batch in &batches {
            store.archive.write(batch, last(batch)).await.unwrap();
        }
        let rows = batches.iter().map(Vec::len).sum::<usize>();
        println!("{name}: batches of {size}: {:.0} rows/s", rows as f64 / begun.elapsed().as_secs_f64());
        store.close().await;
    }
}

/// What the log takes, of a room that nobody archives and of one that is archived.
async fn measure_log(name: &str, log: &dyn Log) {
    let (count, at_once) = APPENDED;
    for (what, room) in [("as it is", "other"), ("with the outbox of the archive", "kept-a")] {
        let room = RoomName::parse(room).unwrap();
        let begun = Instant::now();
        let appending = stream::iter(0..count).map(|number| {
            let room = &room;
            async move { log.append(room, &event(number), Terms::default()).await.unwrap() }
        });
        appending.buffer_unordered(at_once).for_each(|_| std::future::ready(())).await;
        println!("{name}: the log, {what}: {:.0} events/s", count as f64 / begun.elapsed().as_secs_f64());
    }
}

/// As those that are archived.
pub(super) fn event(number: u64) -> Event {
    let args = format!("[{number},{:?}]", "x".repeat(250));
    Event { name: "message".into(), args, attachments: vec![], except: None, at_ms: 1_700_000_000_000 + number }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures: `make bench-store`"]
async fn measured_rows_per_second() {
    let folder = tempfile::tempdir().unwrap();
    measure_log("sqlite", &*in_a_file(&folder.path().join("log.sqlite")).await.log).await;
    let redis = Redis::start().await;
    measure_log("redis", &*in_a_redis(&redis).await.log).await;
    measure("sqlite", async |size| store_in(&folder.path().join(size.to_string())).await, 1).await;

    let server = Postgres::start_with(&["fsync=on"]).await;
    let make = async |size: u64| {
        server.run_in("postgres", &[&format!("CREATE DATABASE size{size}")]).await;
        store(&server.url_of(&format!("size{size}"))).await
    };
    measure("postgres", make, 1).await;

    let server = FerretDb::start().await;
    measure("ferretdb", async |size| store(&server.url_of(&format!("size{size}"))).await, 20).await;
}

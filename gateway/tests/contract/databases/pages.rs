//! How long a page of a room takes of which a million events are archived, and over HTTP: `make bench-store`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gateway::app::Gateway;
use gateway_core::auth::make_key;
use gateway_core::config::Scope;
use gateway_core::domain::{Offset, RoomName};
use gateway_core::log::Range;
use gateway_store::Store;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{batches, last, spread};
use crate::support::databases::{store, store_in};
use crate::support::postgres::Postgres;
use crate::support::{NO_LIMITS, config, eventually, metric};

/// Pages of each kind, and how many events they have.
const PAGES: u64 = 1_000;
const LIMIT: usize = 100;

/// How many are archived: less, to try it.
fn events() -> u64 {
    std::env::var("BENCH_EVENTS").map_or(1_000_000, |count| count.parse().unwrap())
}

/// A kind of pages, and where each of them is.
type Kind = (&'static str, Box<dyn Fn(u64) -> Range>);

fn pages(count: u64) -> [Kind; 5] {
    let after = |offset: u64| Range::After { offset: Offset(offset), limit: LIMIT };
    let before = |before: Option<u64>| Range::Newest { before: before.map(Offset), limit: LIMIT };
    // All over the room, each elsewhere.
    let somewhere = move |turn: u64| (turn * 7_919 * 127) % (count - 200) + 100;
    [
        ("the first", Box::new(move |_| after(0))),
        ("in the middle, forwards", Box::new(move |turn| after(somewhere(turn)))),
        ("in the middle, backwards", Box::new(move |turn| before(Some(somewhere(turn) + 100)))),
        ("the last that goes forwards", Box::new(move |_| after(count - 100))),
        ("the newest", Box::new(move |_| before(None))),
    ]
}

async fn fill(store: &Store, count: u64) {
    let begun = Instant::now();
    for batch in batches(count, 5_000) {
        store.archive.write(&batch, last(&batch)).await.unwrap();
    }
    println!("{}: {count} events written in {:.1} s", store.kind(), begun.elapsed().as_secs_f64());
}

/// Lets go of it, archived as far as a log that begins in a moment: nothing is missing between the two.
async fn leave(store: &Store) {
    let soon = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(600);
    store.archive.write(&[], Offset(u64::try_from(soon.as_micros()).unwrap())).await.unwrap();
    store.close().await;
}

async fn through_the_store(store: &Store, count: u64) {
    let room = RoomName::trusted("batches");
    for (what, range_of) in pages(count) {
        let mut times = Vec::new();
        for turn in 0..PAGES {
            let begun = Instant::now();
            let page = store.archive.read(&room, range_of(turn), usize::MAX).await.unwrap();
            times.push(begun.elapsed());
            assert_eq!(page.entries.len(), LIMIT, "{what}");
        }
        println!("{}: {what}: {}", store.kind(), spread(times));
    }
}

/// A node over the same database, asked by a back end on one connection.
async fn over_http(changes: &[(&str, &str)], count: u64) {
    let changes: Vec<_> = NO_LIMITS.iter().chain(changes).copied().collect();
    let mut config = config(&changes);
    let (secret, key) = make_key("bench", Scope::ALL.to_vec(), vec!["*".into()], vec!["*".into()]);
    config.api.key = vec![key];
    config.archive.rooms = vec!["batches".into()];
    let node = Gateway::start(config, 100).await.unwrap();
    eventually("it has its database", || async { metric(&node, "gateway_database_up") > 0.5 }).await;
    let mut connection = BufReader::new(TcpStream::connect(node.api_address).await.unwrap());
    connection.get_ref().set_nodelay(true).unwrap();
    for (what, range_of) in pages(count) {
        let mut times = Vec::new();
        for turn in 0..PAGES {
            let query = match range_of(turn) {
                Range::After { offset, limit } => format!("after={offset}&limit={limit}"),
                Range::Newest { before: Some(before), limit } => format!("before={before}&limit={limit}"),
                Range::Newest { before: None, limit } => format!("limit={limit}"),
            };
            let begun = Instant::now();
            let page = ask(&mut connection, &format!("/api/v1/rooms/batches/events?{query}"), &secret).await;
            times.push(begun.elapsed());
            let page: Value = serde_json::from_slice(&page).unwrap();
            assert_eq!(page["events"].as_array().map(Vec::len), Some(LIMIT), "{what}: {page}");
            assert_ne!(page["complete"], false, "{what}");
        }
        println!("over HTTP: {what}: {}", spread(times));
    }
    node.stop().await;
}

async fn ask(connection: &mut BufReader<TcpStream>, path: &str, secret: &str) -> Vec<u8> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\n\r\n");
    connection.get_mut().write_all(request.as_bytes()).await.unwrap();
    let (mut length, mut line) = (None, String::new());
    loop {
        line.clear();
        connection.read_line(&mut line).await.unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = Some(value.trim().parse().unwrap());
        }
    }
    let mut body = vec![0; length.unwrap()];
    connection.read_exact(&mut body).await.unwrap();
    body
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures: `make bench-store`"]
async fn measured_pages_of_a_million() {
    let count = events();
    let folder = tempfile::tempdir().unwrap();
    let file = store_in(folder.path()).await;
    fill(&file, count).await;
    through_the_store(&file, count).await;
    leave(&file).await;
    over_http(&[("GATEWAY_DATA_DIR", folder.path().to_str().unwrap())], count).await;

    let server = Postgres::start_with(&["fsync=on"]).await;
    let served = store(&server.url()).await;
    fill(&served, count).await;
    // As its own upkeep would in a minute.
    server.run_in("postgres", &["ANALYZE"]).await;
    through_the_store(&served, count).await;
    leave(&served).await;
    over_http(&[("GATEWAY_DATABASE__URL", &server.url())], count).await;
}

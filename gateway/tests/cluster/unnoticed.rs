//! Publishing does not notice the archive's database: while it stands still or is gone, acks come as soon as before, and what was
//! said meanwhile is archived when it is back.

use std::time::Duration;

use gateway::app::Gateway;
use gateway_core::domain::{Offset, RoomName};
use gateway_core::log::Range;
use serde_json::json;
use tokio::time::{Instant, interval};

use crate::cluster;
use crate::support::client::Client;
use crate::support::databases::store;
use crate::support::postgres::Postgres;
use crate::support::redis::Redis;
use crate::support::{eventually, metric};

const PUBLISHES: usize = 300;
const EVERY: Duration = Duration::from_millis(5);
/// By how much later acks may come than with the database. A busy machine takes its time now and then; the database would take
/// `database.timeout`.
const LATER: Duration = Duration::from_millis(500);
const LITTLE_LATER: Duration = Duration::from_millis(100);

/// How long acks took.
#[derive(Clone, Copy, Debug)]
struct Acks {
    median: Duration,
    p99: Duration,
}

/// Publishes at a pace, on one node and the other in turn.
async fn publish(clients: &mut [Client], said: &mut Vec<u64>) -> Acks {
    let mut pace = interval(EVERY);
    let mut took = Vec::new();
    for number in 0..PUBLISHES {
        pace.tick().await;
        let began = Instant::now();
        let which = number % clients.len();
        let offset = clients[which].publish("chat", json!(number)).await;
        took.push(began.elapsed());
        said.push(offset.parse().unwrap());
    }
    took.sort_unstable();
    Acks { median: took[PUBLISHES / 2], p99: took[PUBLISHES * 99 / 100] }
}

fn waiting(nodes: &[Gateway]) -> f64 {
    nodes.iter().map(|node| metric(node, "gateway_archive_waiting")).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_come_as_soon_while_the_database_is_away() {
    let (redis, mut server) = (Redis::start().await, Postgres::start().await);
    let url = server.url();
    let changes = [
        ("GATEWAY_DATABASE__URL", url.as_str()),
        ("GATEWAY_DATABASE__TIMEOUT", "2s"),
        ("GATEWAY_ARCHIVE__ROOMS", "chat"),
        ("GATEWAY_ARCHIVE__LEASE", "1s"),
        ("GATEWAY_ARCHIVE__BACKOFF_MAX", "200ms"),
    ];
    let nodes = cluster(&redis, 2, &changes).await;
    let (mut clients, mut said) = (Vec::new(), Vec::new());
    for node in &nodes {
        let mut client = Client::connect(node.address).await;
        client.join("chat").await;
        clients.push(client);
    }
    let before = publish(&mut clients, &mut said).await;
    eventually("all is archived", || async { waiting(&nodes) < 0.5 }).await;
    server.freeze();
    let frozen = publish(&mut clients, &mut said).await;
    eventually("it waits for the database", || async { waiting(&nodes) > 0.5 }).await;
    server.thaw();
    eventually("it waits no more", || async { waiting(&nodes) < 0.5 }).await;
    server.kill();
    let gone = publish(&mut clients, &mut said).await;
    eventually("it waits for the database again", || async { waiting(&nodes) > 0.5 }).await;
    server.start_again().await;
    println!("acks: {before:?} before, {frozen:?} while it stood still, {gone:?} while it was gone");
    for during in [frozen, gone] {
        assert!(during.p99 <= before.p99 + LATER, "{during:?}, before {before:?}");
        assert!(during.median <= before.median + LITTLE_LATER, "{during:?}, before {before:?}");
    }
    let archive = store(&url).await.archive;
    let last = Offset(*said.last().unwrap());
    eventually("all is archived in the end", || async {
        archive.cursor().await.is_ok_and(|cursor| cursor >= Some(last))
    })
    .await;
    let range = Range::After { offset: Offset::START, limit: 4 * PUBLISHES };
    let page = archive.read(&RoomName::parse("chat").unwrap(), range, usize::MAX).await.unwrap();
    let archived: Vec<_> = page.entries.iter().map(|entry| entry.position.offset.0).collect();
    assert_eq!((archived, page.gaps), (said, vec![]), "each once, in order");
    for node in nodes {
        node.stop().await;
    }
}

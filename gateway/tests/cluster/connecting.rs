//! Connecting waits for no write: not for a disk that is slow, nor for a database that somebody has locked.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use sqlx::{Connection, Executor, SqliteConnection};
use tokio::time::Instant;

use crate::support::client::Client;
use crate::support::{eventually, node};

/// What a connection may take while nothing can be written. Others of the machine included.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Keeps everybody from writing to a database, as long as it lives.
pub(crate) async fn lock(path: &Path) -> SqliteConnection {
    let mut connection = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    // Whoever writes at this moment goes first.
    connection.execute("PRAGMA busy_timeout = 5000").await.unwrap();
    connection.execute("BEGIN EXCLUSIVE").await.unwrap();
    connection
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_come_and_come_back_while_nothing_can_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [("GATEWAY_DATA_DIR", folder.path().to_str().unwrap())];
    let gateway = node(&settings).await;
    let mut away = Client::connect(gateway.address).await;
    away.join("r").await;
    let mut speaker = Client::connect(gateway.address).await;
    speaker.join("r").await;
    speaker.publish("r", json!("missed")).await;
    let (pid, offset) = (away.pid.clone(), away.offset.clone());
    drop(away);
    eventually("it is away", || async { gateway.sessions() == 1 }).await;

    let locked = [lock(&folder.path().join("sessions.sqlite")).await, lock(&folder.path().join("log.sqlite")).await];
    for _ in 0..5 {
        let started = Instant::now();
        Client::connect(gateway.address).await;
        assert!(started.elapsed() < AT_ONCE, "it took {:?} to connect", started.elapsed());
    }
    let started = Instant::now();
    let mut back = Client::come_back(gateway.address, &pid, offset.as_deref()).await;
    assert!(started.elapsed() < AT_ONCE, "it took {:?} to come back", started.elapsed());
    assert!(back.recovered(), "{}", back.hello);
    assert_eq!(back.message().await.0, "missed");
    // The same again: who claimed it is known although nobody could write it down.
    let started = Instant::now();
    let mut again = Client::come_back(gateway.address, &pid, back.offset.as_deref()).await;
    assert!(started.elapsed() < AT_ONCE, "it took {:?} to come back twice", started.elapsed());
    assert!(again.recovered(), "{}", again.hello);
    while back.text().await.is_some() {}
    for connection in locked {
        connection.close().await.unwrap();
    }

    // What could not be written then is written now: it survives the node.
    speaker.publish("r", json!("heard")).await;
    assert_eq!(again.message().await.0, "heard");
    assert_eq!(again.ask("join", json!({ "room": "s" })).await["ok"], true);
    let (pid, offset) = (again.pid.clone(), again.offset.clone());
    gateway.stop().await;
    let gateway = node(&settings).await;
    let last = Client::come_back(gateway.address, &pid, offset.as_deref()).await;
    assert!(last.recovered(), "{}", last.hello);
    let rooms = last.hello[1]["rooms"].as_array().unwrap();
    assert!(rooms.contains(&json!("r")) && rooms.contains(&json!("s")), "{}", last.hello);
}

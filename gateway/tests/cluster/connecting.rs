//! Connecting waits for no write: not for a disk that is slow, nor for a database that somebody has locked.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use sqlx::{Connection, Executor, SqliteConnection};
use tokio::time::Instant;

use crate::support::client::Client;
use crate::support::process::Process;
use crate::support::{NO_LIMITS, PATIENCE, eventually, node};

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

/// The library that makes syncs slow.
fn slow_syncs(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/slow_syncs.c");
    let library = folder.join("slow_syncs.so");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    assert!(compiled.unwrap().success(), "the linker's own compiler does not compile");
    library
}

/// Of which file the node has ever waited for the disk.
fn synced(folder: &Path, name: &str) -> usize {
    let notes = std::fs::read_to_string(folder.join("syncs")).unwrap_or_default();
    notes.lines().filter(|line| line.contains(name)).count()
}

/// Fills the log until it is told to stop; the longest that an answer took.
async fn fill(mut speaker: Client, mut stop: tokio::sync::oneshot::Receiver<()>) -> Duration {
    let (padding, mut longest) = ("x".repeat(60_000), Duration::ZERO);
    while stop.try_recv().is_err() {
        let started = Instant::now();
        speaker.publish("r", json!(padding)).await;
        longest = longest.max(started.elapsed());
    }
    longest
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_come_and_come_back_while_each_sync_takes_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let (syncs, data) = (folder.path().to_str().unwrap().to_owned(), folder.path().join("data"));
    let library = slow_syncs(folder.path());
    let settings = [
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("SLOW_SYNCS", syncs.as_str()),
        ("GATEWAY_DATA_DIR", data.to_str().unwrap()),
    ];
    let settings: Vec<_> = NO_LIMITS.into_iter().chain(settings).collect();
    let process = Process::start(&settings, None, None);
    let speaker = {
        let mut speaker = Client::connect(process.address).await;
        speaker.join("r").await;
        speaker
    };
    std::fs::write(folder.path().join("now"), "").unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let filling = tokio::spawn(fill(speaker, stopped));
    let deadline = Instant::now() + 2 * PATIENCE;
    let (mut longest, mut came) = (Duration::ZERO, 0_u32);
    // Until both files were synced more than once, which is when what was written ahead goes to its place.
    while synced(folder.path(), "log.sqlite") < 3 || synced(folder.path(), "sessions.sqlite") < 3 {
        assert!(Instant::now() < deadline, "after {came} clients nothing was synced");
        let arriving = (0..8).map(|_| async {
            let started = Instant::now();
            let client = Client::connect(process.address).await;
            let connected = started.elapsed();
            let (pid, offset) = (client.pid.clone(), client.offset.clone());
            drop(client);
            let started = Instant::now();
            let back = Client::come_back(process.address, &pid, offset.as_deref()).await;
            assert!(back.recovered() || back.hello[1]["reason"] == "unknown", "{}", back.hello);
            connected.max(started.elapsed())
        });
        longest = futures_util::future::join_all(arriving).await.into_iter().fold(longest, Duration::max);
        came += 8;
    }
    stop.send(()).unwrap();
    let published = filling.await.unwrap();
    assert!(published > Duration::from_millis(900), "nobody waited for the disk: {published:?}");
    assert!(longest < Duration::from_millis(900), "of {came} clients one waited {longest:?}");
}

//! PostgreSQL.

use std::time::Duration;

use gateway_core::domain::{Offset, RoomName};
use gateway_core::port::ErrorKind::{Permanent, Transient};
use gateway_store::Store;

use super::{batches, fails, has_archives_of_logs, is_whole, make_tables_at_once, write, written_through};
use crate::support::databases::{settings, store};
use crate::support::postgres::Postgres;
use crate::support::proxy::Proxy;
use crate::support::redis::free_port;
use crate::support::{config, eventually};

async fn impatient(url: &str) -> Store {
    Store::open(&settings(url, "500ms")).await.unwrap().unwrap()
}

#[tokio::test]
async fn one_that_is_away_is_waited_for() {
    let mut server = Postgres::start().await;
    let store = impatient(&server.url()).await;
    server.kill();
    fails(&store, Transient, "no connection within 500ms").await;
    server.start_again().await;
    eventually("it is back", || async { store.archive.write(&[], Offset(1)).await.is_ok() }).await;
    server.kill();
    fails(&store, Transient, "PostgreSQL: ").await;
    server.start_again().await;
    eventually("it is back", || async { store.archive.write(&[], Offset(2)).await.is_ok() }).await;
}

#[tokio::test]
async fn one_of_the_version_before_is_brought_up_to_date_with_what_is_in_it() {
    let server = Postgres::start().await;
    let before = Store::open(&settings(&server.url(), "5s")).await.unwrap().unwrap();
    for batch in &batches(50, 10) {
        write(&before, batch).await.unwrap();
    }
    let undo = ["DROP TABLE gateway_archive_cursors", "UPDATE gateway_schema SET version = 1"];
    server.run_in("postgres", &undo).await;
    let store = Store::open(&settings(&server.url(), "5s")).await.unwrap().unwrap();
    assert_eq!(store.migrate().await.unwrap().to_string(), "went from version 1 to version 2");
    is_whole(&*store.archive, 50).await;
    has_archives_of_logs(&store).await;
}

#[tokio::test]
async fn one_that_is_slow_is_given_up_and_tried_again() {
    let server = Postgres::start().await;
    let proxy = Proxy::before_port(server.port()).await;
    let url = format!("postgres://gateway@127.0.0.1:{}/postgres", proxy.port());
    let store = impatient(&url).await;
    eventually("it answers", || async { store.archive.write(&[], Offset(1)).await.is_ok() }).await;
    proxy.hold(true);
    fails(&store, Transient, "within 500ms").await;
    proxy.hold(false);
    eventually("it answers again", || async { store.archive.write(&[], Offset(2)).await.is_ok() }).await;
    // As behind a firewall that forgot the connections that there are.
    proxy.freeze();
    eventually("it answers over others", || async { store.archive.write(&[], Offset(3)).await.is_ok() }).await;
    assert_eq!(store.archive.cursor().await.unwrap(), Some(Offset(3)));
}

#[tokio::test]
async fn one_that_is_restarted_in_the_middle_gets_all_of_it_once() {
    let mut server = Postgres::start().await;
    let store = Store::open(&settings(&server.url(), "5s")).await.unwrap().unwrap();
    let batches = batches(900, 30);
    let restart = async || {
        server.kill();
        server.start_again().await;
    };
    written_through(&store, &batches, restart).await;
    is_whole(&*store.archive, 900).await;
}

#[tokio::test]
async fn one_that_only_reads_is_read() {
    let mut server = Postgres::start().await;
    let store = store(&server.url()).await;
    let batches = batches(10, 10);
    write(&store, &batches[0]).await.unwrap();
    server.kill();
    server.start_again_with(&["default_transaction_read_only=on"]).await;
    eventually("it is there", || async { store.archive.cursor().await.is_ok() }).await;
    is_whole(&*store.archive, 10).await;
    fails(&store, Transient, "it only reads").await;
    // A room that has nothing old, or nothing at all, is looked at without a lock.
    let century = Duration::from_secs(100 * 365 * 86_400);
    for room in ["batches", "nowhere"] {
        assert_eq!(store.archive.forget(&RoomName::trusted(room), century, 10).await.unwrap(), 0);
    }
    let old = store.archive.forget(&RoomName::trusted("batches"), Duration::ZERO, 10).await.unwrap_err();
    assert_eq!((old.operation, old.kind), ("forget", Transient), "{old}");
    server.kill();
    server.start_again_with(&[]).await;
    eventually("it writes", || async { store.archive.write(&[], Offset(11)).await.is_ok() }).await;
}

#[tokio::test]
async fn one_whose_disk_is_full_is_waited_for() {
    let server = Postgres::start().await;
    let store = store(&server.url()).await;
    let batches = batches(30, 10);
    write(&store, &batches[0]).await.unwrap();
    // What it says then, in the middle of a batch: there is no small disk to be had for it.
    let says = "CREATE FUNCTION says_full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION 'could not extend file \"base/1/2\": No space left on device' USING ERRCODE = 'disk_full'; END $$";
    let here = "CREATE TRIGGER is_full BEFORE INSERT ON gateway_archive FOR EACH ROW WHEN (NEW.log_offset = 15)
        EXECUTE FUNCTION says_full()";
    server.run_in("postgres", &[says, here]).await;
    for _ in 0..2 {
        let error = write(&store, &batches[1]).await.unwrap_err();
        assert_eq!(error.kind, Transient, "{error}");
        assert!(error.to_string().contains("No space left on device (53100); make room on its disk"), "{error}");
        is_whole(&*store.archive, 10).await;
    }
    server.run_in("postgres", &["DROP TRIGGER is_full ON gateway_archive"]).await;
    for batch in &batches[1..] {
        write(&store, batch).await.unwrap();
    }
    is_whole(&*store.archive, 30).await;
}

#[tokio::test]
async fn what_is_wrong_is_said_with_what_to_do() {
    let server = Postgres::start().await;
    fails(&store(&server.url_of("nowhere")).await, Permanent, "create the database that database.url names").await;
    let stranger = server.url().replace("gateway@", "stranger:hunter2@");
    fails(&store(&stranger).await, Permanent, "look at the user and the password").await;

    server.run_in("postgres", &["CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0"]).await;
    fails(&store(&server.url_of("latin")).await, Permanent, "encoding is LATIN1").await;

    // Who may not make tables uses those of somebody who may.
    server.run_in("postgres", &["CREATE ROLE guest LOGIN"]).await;
    let guest = server.url().replace("gateway@", "guest@");
    fails(&store(&guest).await, Permanent, "run `gateway migrate` as somebody who has it").await;
    store(&server.url()).await.migrate().await.unwrap();
    server.run_in("postgres", &["GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest"]).await;
    assert_eq!(store(&guest).await.archive.cursor().await.unwrap(), None);
    fails(&store(&guest).await, Permanent, "permission denied").await;

    server.run_in("postgres", &["UPDATE gateway_schema SET version = 99"]).await;
    fails(&store(&server.url()).await, Permanent, "made by a newer version of the gateway").await;
}

#[tokio::test]
async fn tables_are_made_once_however_many_start() {
    let server = Postgres::start().await;
    make_tables_at_once(&server.url()).await;
}

#[tokio::test]
async fn tls_is_checked() {
    let mut server = Postgres::start().await;
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let issued = rcgen::generate_simple_self_signed(names).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let folder = server.folder().to_owned();
    let path = |name: &str| folder.join(name);
    let (certificate, key, trusted, distrusted) = (path("crt"), path("key"), path("ca"), path("other"));
    std::fs::write(&certificate, issued.cert.pem()).unwrap();
    std::fs::write(&trusted, issued.cert.pem()).unwrap();
    std::fs::write(&distrusted, other.cert.pem()).unwrap();
    std::fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
    server.own(&certificate);
    server.own(&key);
    let files = [("ssl_cert_file", &certificate), ("ssl_key_file", &key)];
    let files = files.map(|(name, path)| format!("{name}={}", path.display()));
    server.kill();
    server.start_again_with(&["ssl=on", &files[0], &files[1]]).await;
    let open = |ca: std::path::PathBuf, url: String| async move {
        let ca = ca.to_str().unwrap().to_owned();
        let changes = [("GATEWAY_DATABASE__URL", url.as_str()), ("GATEWAY_DATABASE__TLS_CA", ca.as_str())];
        Store::open(&config(&changes)).await.unwrap().unwrap()
    };
    open(trusted.clone(), server.url()).await.archive.write(&[], Offset(1)).await.unwrap();
    // What the file says wins: nobody is spoken with in the clear.
    open(trusted, format!("{}?sslmode=disable", server.url())).await.archive.write(&[], Offset(2)).await.unwrap();
    let in_use = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                  WHERE application_name = 'gateway' AND ssl";
    assert_ne!(server.run_in("postgres", &[in_use]).await, ["0"]);
    fails(&open(distrusted, server.url()).await, Permanent, "certificate").await;
    let (nothing, url) = (path("nothing").display().to_string(), server.url());
    let changes = [("GATEWAY_DATABASE__URL", url.as_str()), ("GATEWAY_DATABASE__TLS_CA", nothing.as_str())];
    let said = Store::open(&config(&changes)).await.unwrap_err().to_string();
    assert!(said.starts_with("database.tls_ca: ") && said.contains(&nothing), "{said}");
}

#[tokio::test]
async fn nobody_is_there_at_an_address_that_nobody_has() {
    let url = format!("postgres://gateway:hunter2@127.0.0.1:{}/d", free_port());
    fails(&impatient(&url).await, Transient, "no connection within 500ms").await;
    assert!(!impatient(&url).await.migrate().await.unwrap_err().to_string().contains("hunter2"));
}

//! SQLite.

use gateway_core::domain::Offset;
use gateway_core::port::{Classified, ErrorKind};
use gateway_store::{DatabaseFile, Store};
use sqlx::{ConnectOptions, Connection};

use super::{batches, has_archives_of_logs, is_whole, write};
use crate::support::config;
use crate::support::databases::store_in;

#[tokio::test]
async fn what_was_written_survives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path()).await;
    assert_eq!(store.migrate().await.unwrap().to_string(), "made version 2");
    let batches = batches(100, 10);
    for batch in &batches {
        write(&store, batch).await.unwrap();
    }
    let config = config(&[("GATEWAY_DATA_DIR", folder.path().to_str().unwrap())]);
    let second = Store::open(&config).await.unwrap_err().to_string();
    assert!(second.contains("in use by another process"), "{second}");
    drop(store);
    let store = store_in(folder.path()).await;
    assert_eq!(store.migrate().await.unwrap().to_string(), "is of version 2 already");
    is_whole(&*store.archive, 100).await;
    store.close().await;
    assert!(store.archive.write(&[], Offset(1)).await.is_err(), "it is closed");
    store_in(folder.path()).await;
}

#[tokio::test]
async fn a_file_of_the_version_before_is_brought_up_to_date_with_what_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path()).await;
    for batch in &batches(50, 10) {
        write(&store, batch).await.unwrap();
    }
    store.close().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("database.sqlite"));
    let mut connection = options.connect().await.unwrap();
    let before = "DROP TABLE gateway_archive_cursors; PRAGMA user_version = 1734631937";
    sqlx::raw_sql(before).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let store = store_in(folder.path()).await;
    assert_eq!(store.migrate().await.unwrap().to_string(), "went from version 1 to version 2");
    is_whole(&*store.archive, 50).await;
    has_archives_of_logs(&store).await;
}

#[tokio::test]
async fn what_is_something_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("database.sqlite");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let set = |version: i32| {
        let options = options.clone();
        async move {
            let mut connection = options.connect().await.unwrap();
            let set = sqlx::AssertSqlSafe(format!("PRAGMA user_version = {version}"));
            sqlx::raw_sql(set).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
    };
    let (file, _) = DatabaseFile::open(&path).await.unwrap();
    file.close().await;
    for (version, words) in [
        (0x6764_6203, "written by a newer version of the gateway"),
        (0x6764_62ff, "written by a newer version of the gateway"),
        (0x6764_6301, "of another kind or version"),
        (1, "of another kind or version"),
        (-1, "of another kind or version"),
        (0, "of another kind or version"),
    ] {
        set(version).await;
        let error = DatabaseFile::open(&path).await.unwrap_err();
        assert!(error.to_string().contains(words), "{version}: {error}");
        assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
    }
    set(0x6764_6202).await;
    let (file, _) = DatabaseFile::open(&path).await.unwrap();
    file.close().await;
    std::fs::write(
        &path,
        "no database, but as long as the header of one would be: one hundred bytes and some more of them",
    )
    .unwrap();
    let error = DatabaseFile::open(&path).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
    assert!(error.to_string().contains("it is damaged"), "{error}");
}

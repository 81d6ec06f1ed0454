//! Every backend of the notifications.

use gateway_core::notifications::MemoryNotifications;
use gateway_store::Store;
use sqlx::{ConnectOptions, Connection};

use super::{many, now_ms, owners, the_contract};
use crate::support::databases::{store, store_in};
use crate::support::ferretdb::FerretDb;
use crate::support::postgres::Postgres;

/// How many one user has: most of them there already, as of other days.
const MANY: usize = 100_000;
const ADDED: usize = 1_000;

#[tokio::test]
async fn memory() {
    let store = MemoryNotifications::new(256 << 20);
    the_contract(&store, &store).await;
    owners::it_is_known_whose_one_is(&store, &store).await;
    many::one_user_may_have(0, MANY, &store).await;
}

#[tokio::test]
async fn sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let Store { notifications, owners, .. } = store_in(folder.path()).await;
    the_contract(&*notifications, &*notifications).await;
    owners::it_is_known_whose_one_is(&*notifications, &*owners).await;
}

#[tokio::test]
async fn sqlite_with_many() {
    let folder = tempfile::tempdir().unwrap();
    store_in(folder.path()).await.close().await;
    let file = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("database.sqlite"));
    let mut connection = file.connect().await.unwrap();
    let fill = "WITH RECURSIVE all_of_them (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM all_of_them WHERE n < ?1 - 1)
        INSERT INTO gateway_notifications (id, receiver, message, at_ms) SELECT printf('%024x', n), 'crowded', n, ?2
        FROM all_of_them";
    let there = MANY - ADDED;
    sqlx::query(fill)
        .bind(i64::try_from(there).unwrap())
        .bind(i64::try_from(now_ms()).unwrap())
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let Store { notifications, .. } = store_in(folder.path()).await;
    many::one_user_may_have(there, MANY, &*notifications).await;
}

#[tokio::test]
async fn postgres() {
    let server = Postgres::start().await;
    let (one, two) = (store(&server.url()).await, store(&server.url()).await);
    the_contract(&*one.notifications, &*two.notifications).await;
    owners::it_is_known_whose_one_is(&*one.notifications, &*two.owners).await;
}

#[tokio::test]
async fn postgres_with_many() {
    let server = Postgres::start().await;
    let store = store(&server.url()).await;
    store.migrate().await.unwrap();
    let there = MANY - ADDED;
    let fill = format!(
        "INSERT INTO gateway_notifications (id, receiver, message, at_ms)
         SELECT lpad(to_hex(n), 24, '0'), 'crowded', n, {} FROM generate_series(0, {there} - 1) AS n",
        now_ms()
    );
    server.run_in("postgres", &[&fill, "ANALYZE"]).await;
    many::one_user_may_have(there, MANY, &*store.notifications).await;
}

/// FerretDB looks at all documents for most of what it is asked, so each part has a server of its own.
mod mongodb {
    use super::super::{many, owners, what_is_added_is_listed, what_is_past_its_time_is_not_read_any_more};
    use super::{FerretDb, Store, store};

    /// Two ways to the same notifications.
    async fn stores() -> (FerretDb, Store, Store) {
        let server = FerretDb::start().await;
        let url = server.url_of("contract");
        let (one, two) = (store(&url).await, store(&url).await);
        (server, one, two)
    }

    #[tokio::test]
    async fn listed() {
        let (_server, one, two) = stores().await;
        what_is_added_is_listed(&*one.notifications, &*two.notifications).await;
    }

    #[tokio::test]
    async fn at_once() {
        let (_server, one, two) = stores().await;
        many::many_at_once_are_each_added_once(&*one.notifications, &*two.notifications).await;
    }

    #[tokio::test]
    async fn past() {
        let (_server, one, two) = stores().await;
        what_is_past_its_time_is_not_read_any_more(&*one.notifications, &*two.notifications).await;
        owners::it_is_known_whose_one_is(&*one.notifications, &*two.owners).await;
    }

    #[tokio::test]
    async fn with_many() {
        let (_server, one, _) = stores().await;
        // It is not what people run: more would only wait for it.
        many::one_user_may_have(0, 60, &*one.notifications).await;
    }
}

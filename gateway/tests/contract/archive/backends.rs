//! Every backend of the archive.

use gateway_core::archive::MemoryArchive;

use super::the_contract;
use crate::support::databases::{store, store_in};
use crate::support::ferretdb::FerretDb;
use crate::support::postgres::Postgres;

#[tokio::test]
async fn memory() {
    let archive = MemoryArchive::new(256 << 20);
    the_contract(&archive, &archive).await;
}

#[tokio::test]
async fn sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let archive = store_in(folder.path()).await.archive;
    the_contract(&*archive, &*archive).await;
}

#[tokio::test]
async fn postgres() {
    let server = Postgres::start().await;
    let (one, two) = (store(&server.url()).await, store(&server.url()).await);
    the_contract(&*one.archive, &*two.archive).await;
}

/// FerretDB looks at all documents of a collection for most of what it is asked, so each part has a server of its own.
mod mongodb {
    use super::super::{gaps, logs, retention, what_is_written_is_read, writers};
    use super::{FerretDb, store};

    macro_rules! parts {
        ($($name:ident: $part:path,)+) => {
            $(#[tokio::test]
            async fn $name() {
                let server = FerretDb::start().await;
                let url = server.url_of("contract");
                let (one, two) = (store(&url).await, store(&url).await);
                Box::pin($part(&*one.archive, &*two.archive)).await;
            })+
        };
    }

    parts! {
        written: what_is_written_is_read,
        written_again: writers::who_writes_again_or_at_once_changes_nothing,
        gone: retention::what_is_taken_back_or_forgotten_is_gone,
        missing: gaps::what_is_missing_is_said,
        several: logs::several_logs_are_in_one_place,
    }
}

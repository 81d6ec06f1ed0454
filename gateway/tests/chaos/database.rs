//! The database of a run, in which most rooms are archived: a PostgreSQL that is killed or stands still now and then.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use gateway_store::Store;
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::client::room_name;
use super::plan::{Outage, Settings};
use super::support::databases::store;
use super::support::postgres::Postgres;

pub(crate) struct Database {
    url: String,
    server: Mutex<Postgres>,
}

impl Database {
    /// Starts one, and has a file tell nodes what is archived in it.
    pub(crate) async fn start(file: &Path, settings: &Settings) -> Self {
        let server = Postgres::start().await;
        let rooms: Vec<_> = settings.archived_rooms().into_iter().map(room_name).collect();
        let mut file = std::fs::File::options().append(true).open(file).unwrap();
        let events = settings.log_events;
        // What fails is tried again soon, and a node that is gone is soon followed by another one: a run is short.
        write!(
            file,
            "\n[archive]\nrooms = {rooms:?}\nlease = \"1500ms\"\nbackoff_max = \"500ms\"\n\n\
             [database]\ntimeout = \"2s\"\n\n[log]\nroom_events = {events}\n"
        )
        .unwrap();
        Self { url: server.url(), server: Mutex::new(server) }
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// Has it be away for a while.
    pub(crate) async fn stop(&self, how: Outage, down: Duration) {
        let mut server = self.server.lock().await;
        match how {
            Outage::Killed => {
                server.kill();
                sleep(down).await;
                server.start_again().await;
            }
            Outage::Frozen => {
                server.freeze();
                sleep(down).await;
                server.thaw();
            }
        }
    }

    /// What is in it, read past all nodes.
    pub(crate) async fn open(&self) -> Store {
        store(&self.url).await
    }
}

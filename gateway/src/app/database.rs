//! The database of a node: opened at its start, and watched. Publishing never waits for it.

use std::sync::Arc;
use std::time::Duration;

use super::StartError;
use gateway_core::config::Config;
use gateway_core::metrics::Metrics;
use gateway_store::{OpenError, Store};

/// How often it is looked whether the database answers.
const WATCH: Duration = Duration::from_secs(5);

/// Opens the database that is configured, and makes its tables, if it is there. If it is not, the node starts without it, and
/// whoever first needs it makes them.
pub(super) async fn open(config: &Config) -> Result<Option<Store>, StartError> {
    let store = match Store::open(config).await {
        Ok(store) => store,
        Err(error @ OpenError::File(_)) => return Err(StartError::Unavailable(error.into())),
        Err(error) => return Err(StartError::Configuration(error.to_string())),
    };
    let Some(store) = store else { return Ok(None) };
    // Whoever waits for the lock of another node that makes them need not wait here.
    match tokio::time::timeout(config.database.timeout * 2, store.migrate()).await {
        Ok(Ok(migrated)) if migrated.from != migrated.to => tracing::info!(database = store.kind(), "{migrated}"),
        Ok(Ok(_)) => {}
        Ok(Err(error)) if error.is_permanent() => {
            return Err(StartError::Configuration(format!("database.url: {error}")));
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "the database does not answer; the node starts without it and goes on trying");
        }
        Err(_) => tracing::warn!("the tables of the database are not ready; the node starts and goes on trying"),
    }
    Ok(Some(store))
}

/// Notes whether the database answers, for ever, and tells when that changes.
pub(super) async fn watch(store: Option<Store>, metrics: Arc<Metrics>) {
    let Some(store) = store else {
        // Nothing is wrong with what is not there.
        metrics.database_up.set(1.0);
        return std::future::pending().await;
    };
    let mut told: Option<String> = None;
    let mut tick = tokio::time::interval(WATCH);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        match store.archive.cursor().await {
            Ok(_) => {
                metrics.database_up.set(1.0);
                if told.take().is_some() {
                    tracing::info!(database = store.kind(), "the database answers again");
                }
            }
            Err(error) => {
                metrics.database_up.set(0.0);
                let text = error.to_string();
                // It says so again when it is something else.
                if told.as_ref() != Some(&text) {
                    error.tell("the database does not answer");
                    told = Some(text);
                }
            }
        }
    }
}

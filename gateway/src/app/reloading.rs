//! Reading again what may change while a node runs: routes with their hooks, keys of back ends, schedules.

use std::path::PathBuf;
use std::sync::Arc;

use super::post::check_schedules;
use crate::audit::{By, audit};
use gateway_core::auth::ApiKeys;
use gateway_core::config;
use gateway_core::routes::{RouteTable, Router};
use gateway_work::hooks::Hooks;
use gateway_work::jobs::BackEnds;
use gateway_work::schedules::Schedules;

/// What is read again, and whose it is.
#[derive(Debug)]
pub(super) struct Reloading {
    pub(super) router: Arc<Router>,
    pub(super) keys: Arc<ApiKeys>,
    pub(super) hooks: Arc<Hooks>,
    pub(super) back_ends: BackEnds,
    pub(super) schedules: Arc<Schedules>,
    pub(super) jobs: config::Jobs,
    /// The profile and the file that routes, hooks and keys are read from.
    pub(super) routes: (String, Option<PathBuf>),
}

impl Reloading {
    fn table(&self) -> anyhow::Result<RouteTable> {
        let (profile, file) = &self.routes;
        let table = RouteTable::load(profile, file.as_deref())?;
        table.check_jobs(&self.jobs).map_err(anyhow::Error::msg)?;
        Ok(table)
    }

    /// What of the routes would come, and what would go, if they were read now.
    pub(super) fn differences(&self) -> anyhow::Result<(Vec<String>, Vec<String>)> {
        Ok(self.table()?.differences(&self.router.table()))
    }

    /// Takes what there is now. Sessions stay; a mistake in any changes nothing.
    pub(super) fn reload(&self, by: By<'_>) -> anyhow::Result<()> {
        let table = self.table();
        audit(by, "reload", "routes", if table.is_ok() { "done" } else { "failed: there are mistakes" });
        let table = table?;
        if let Some(file) = &self.routes.1 {
            // Keys are in files alone: the environment has no words for them.
            let config = config::load(Some(file), std::env::vars()).map_err(|error| error.to_string());
            let replaced = config.and_then(|config| {
                check_schedules(&config)?;
                self.back_ends.replace(&config.jobs)?;
                self.schedules.replace(&config.schedule)?;
                self.keys.replace(&config.api.key)
            });
            let outcome = if replaced.is_ok() { "done" } else { "failed: there are mistakes" };
            if replaced != Ok(false) {
                audit(by, "reload", "keys", outcome);
            }
            replaced.map_err(anyhow::Error::msg)?;
        }
        self.hooks.replace(table.hooks());
        self.router.replace(table);
        self.router.recount();
        Ok(())
    }
}

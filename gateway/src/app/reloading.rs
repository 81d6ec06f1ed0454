//! Reading again what may change while a node runs: routes with their hooks, keys of back ends, schedules.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::value::to_raw_value;

use super::post::check_schedules;
use crate::audit::{By, audit};
use gateway_core::auth::ApiKeys;
use gateway_core::config::{self, Config};
use gateway_core::routes::{RouteTable, Router};
use gateway_work::hooks::Hooks;
use gateway_work::jobs::{BackEnds, Kind};
use gateway_work::mail::Mail;
use gateway_work::schedules::Schedules;

/// What is read again, and whose it is.
#[derive(Debug)]
pub(super) struct Reloading {
    pub(super) router: Arc<Router>,
    pub(super) keys: Arc<ApiKeys>,
    pub(super) hooks: Arc<Hooks>,
    pub(super) back_ends: BackEnds,
    pub(super) schedules: Arc<Schedules>,
    pub(super) mail: Arc<Mail>,
    pub(super) jobs: config::Jobs,
    /// The profile and the file that routes, hooks and keys are read from.
    pub(super) routes: (String, Option<PathBuf>),
}

impl Reloading {
    /// What there is now, looked at whole: with a mistake in any of it there is nothing.
    fn read(&self) -> anyhow::Result<(RouteTable, Option<Config>)> {
        let (profile, file) = &self.routes;
        let table = RouteTable::load(profile, file.as_deref())?;
        table.check_jobs(&self.jobs).map_err(anyhow::Error::msg)?;
        // Keys are in files alone: the environment has no words for them.
        let Some(file) = file else { return Ok((table, None)) };
        let mut config = config::load(Some(file), std::env::vars())?;
        // Queues are as they were when the node began, and so is who works on them.
        config.jobs = config::Jobs { back_end: config.jobs.back_end, ..self.jobs.clone() };
        let check = || {
            BackEnds::new(&config.jobs)?;
            ApiKeys::check(&config.api.key)?;
            check_schedules(&config)?;
            self.check_mails(&config)
        };
        check().map_err(anyhow::Error::msg)?;
        Ok((table, Some(config)))
    }

    /// Templates are as they were when the node began, too.
    fn check_mails(&self, config: &Config) -> Result<(), String> {
        for schedule in &config.schedule {
            if schedule.kind == "mail" && self.jobs.is_ours(&schedule.queue) {
                let wrong = |why: String| format!("schedule {}: data: {why}", schedule.name);
                let data = to_raw_value(&schedule.data).map_err(|error| wrong(error.to_string()))?;
                self.mail.check(&data).map_err(wrong)?;
            }
        }
        Ok(())
    }

    /// What of the routes would come, and what would go, if everything were read now.
    pub(super) fn differences(&self) -> anyhow::Result<(Vec<String>, Vec<String>)> {
        Ok(self.read()?.0.differences(&self.router.table()))
    }

    /// Takes what there is now. Sessions stay; a mistake in any changes nothing.
    pub(super) fn reload(&self, by: By<'_>) -> anyhow::Result<()> {
        let read = self.read();
        audit(by, "reload", "routes", if read.is_ok() { "done" } else { "failed: there are mistakes" });
        let (table, config) = read?;
        if let Some(config) = config {
            let replace = || {
                self.back_ends.replace(&config.jobs)?;
                self.schedules.replace(&config.schedule)?;
                self.keys.replace(&config.api.key)
            };
            if replace().map_err(anyhow::Error::msg)? {
                audit(by, "reload", "keys", "done");
            }
        }
        self.hooks.replace(table.hooks());
        self.router.replace(table);
        self.router.recount();
        Ok(())
    }
}

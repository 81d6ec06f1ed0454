//! Mail, Novu and schedules of a node: what they are built of, and what is looked at before.

use std::sync::Arc;

use anyhow::Context;
use serde_json::value::{RawValue, to_raw_value};

use crate::http::Background;
use gateway_core::auth::ApiKeys;
use gateway_core::calls::Caller;
use gateway_core::config::Config;
use gateway_core::contacts::Contacts;
use gateway_core::content::Bounds;
use gateway_core::desk::Desk;
use gateway_core::inbox::{Absence, Inbox};
use gateway_core::jobs::{ABSENT, Backoff, Handler, Jobs, QueueName, SCHEDULE};
use gateway_core::metrics::Metrics;
use gateway_core::node::SenderLimiter;
use gateway_core::repeats::Repeats;
use gateway_core::ticks::Ticks;
use gateway_work::absent::{Absent, Around, Links};
use gateway_work::jobs::{BackEnds, Http, Kinds, Notify, Publish, Upkeep};
use gateway_work::mail::{Mail, Receivers, Templates};
use gateway_work::novu::Novu;
use gateway_work::once::Once;
use gateway_work::schedules::{self, Schedules, Tick};

/// Looks whether mail can be sent and schedules run as it is configured.
///
/// # Errors
/// What is wrong, in words that name the setting.
pub(super) fn check_post(config: &Config) -> Result<(), String> {
    Mail::check(&config.mail)?;
    Novu::check(&config.novu)?;
    check_queue("mail.queue", config, &config.mail.queue, "mail")?;
    check_schedules(config)
}

/// Looks whether schedules can be read, and have somebody who does them.
pub(super) fn check_schedules(config: &Config) -> Result<(), String> {
    Schedules::check(&config.schedule)?;
    for schedule in &config.schedule {
        let what = format!("schedule {}", schedule.name);
        check_queue(&what, config, &schedule.queue, &schedule.kind)?;
        // What others do is theirs to say.
        if config.jobs.is_ours(&schedule.queue) {
            let data = to_raw_value(&schedule.data).map_err(|error| format!("{what}: data: {error}"))?;
            check_data(config, &schedule.kind, &data).map_err(|why| format!("{what}: data: {why}"))?;
        }
    }
    Ok(())
}

/// Looks whether nodes of a configuration could do a job of this kind with these data, before there are any: what is scheduled
/// is said long before it is done.
fn check_data(config: &Config, kind: &str, data: &RawValue) -> Result<(), String> {
    let bounds = || Bounds::new(&config.limits);
    match kind {
        "http" => Http::check_data(&BackEnds::new(&config.jobs)?, data),
        "publish" => Publish::check_data(&bounds(), data),
        "notify" => Notify::check_data(&bounds(), data),
        "upkeep" => Upkeep::check_data(config.archive.any(), data),
        "mail" => Mail::check_data(&Templates::read(&config.mail.templates)?, data),
        "novu" => Novu::check_data(data),
        _ => Err(format!("nobody but the gateway makes jobs of the kind {kind}")),
    }
}

fn check_queue(what: &str, config: &Config, queue: &str, kind: &str) -> Result<(), String> {
    Desk::check(&config.jobs, queue, kind).map_err(|why| format!("{what}: {why}"))
}

/// What of a node sends mail and has things done by the clock.
pub(super) struct Post {
    receivers: Arc<Receivers>,
    pub(super) contacts: Arc<dyn Contacts>,
    links: Option<Arc<Links>>,
    pub(super) schedules: Arc<Schedules>,
    pub(super) absent: Option<Arc<Absent>>,
    pub(super) mail: Arc<Mail>,
    novu: Arc<Novu>,
    tick: Arc<Tick>,
}

/// What it is built on.
pub(super) struct Materials {
    pub(super) jobs: Arc<dyn Jobs>,
    pub(super) ticks: Arc<dyn Ticks>,
    pub(super) contacts: Arc<dyn Contacts>,
    /// What was done within `mail.once`.
    pub(super) done: Arc<dyn Repeats>,
    pub(super) caller: Arc<Caller>,
}

/// What looks later after users that are told something, if who is away gets mail.
pub(super) fn absence(config: &Config, jobs: &Arc<dyn Jobs>) -> anyhow::Result<Option<Absence>> {
    let (settings, mail) = (&config.notifications.mail, &config.mail);
    if !settings.is_on() {
        return Ok(None);
    }
    let queue = QueueName::new(mail.queue.clone()).context("mail.queue")?;
    let backoff = Backoff::Exponential(mail.backoff);
    Ok(Some(Absence::new(jobs.clone(), queue, settings.after, mail.attempts, backoff)))
}

impl Post {
    pub(super) fn new(
        config: &Config,
        name: &str,
        materials: Materials,
        inbox: &Arc<Inbox>,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let Materials { jobs, ticks, contacts, done, caller } = materials;
        let receivers = Arc::new(Receivers::new(&config.mail));
        let once = Once::new(done);
        let mail =
            Mail::new(&config.mail, receivers.clone(), once.clone(), metrics.clone()).map_err(anyhow::Error::msg)?;
        let novu = Novu::new(&config.novu, caller, mail.clone(), receivers.clone(), once, metrics.clone());
        let novu = novu.map_err(anyhow::Error::msg)?;
        let tick = Tick::new(ticks.clone(), name, metrics.clone());
        let around = schedules::Around {
            queues: config.jobs.clone(),
            node: name.to_owned(),
            jobs: jobs.clone(),
            ticks,
            clock: schedules::clock(),
            metrics: metrics.clone(),
        };
        let schedules = Schedules::new(&config.schedule, around).map_err(anyhow::Error::msg)?;
        let settings = &config.notifications.mail;
        let links = settings.is_on().then(|| Arc::new(Links::new(settings)));
        let absent = match (absence(config, &jobs)?, &links) {
            (Some(absence), Some(links)) => {
                let around = Around {
                    inbox: inbox.clone(),
                    contacts: contacts.clone(),
                    mail: mail.clone(),
                    links: links.clone(),
                    metrics: metrics.clone(),
                };
                Some(Absent::new(around, absence, settings.most))
            }
            _ => None,
        };
        Ok(Self { receivers, contacts, links, schedules, absent, mail, novu, tick })
    }

    /// What answers front ends that ask for mail.
    pub(super) fn background(&self, config: &Config, desk: Arc<Desk>, keys: Arc<ApiKeys>) -> Background {
        Background {
            desk,
            keys,
            receivers: self.receivers.clone(),
            schedules: self.schedules.clone(),
            contacts: self.contacts.clone(),
            links: self.links.clone(),
            limiter: SenderLimiter::per_minute(config.mail.sender_per_minute),
        }
    }

    /// Adds what it does to the kinds of jobs.
    pub(super) fn join(&self, kinds: Kinds) -> Kinds {
        let kinds = kinds.with("mail", self.mail.clone()).with("novu", self.novu.clone());
        let kinds = kinds.with(SCHEDULE, self.tick.clone());
        match &self.absent {
            Some(absent) => kinds.with(ABSENT, absent.clone()),
            None => kinds,
        }
    }

    /// Has what schedules want done by all kinds.
    pub(super) fn done_by(&self, kinds: &Arc<dyn Handler>) {
        self.tick.done_by(kinds);
    }
}

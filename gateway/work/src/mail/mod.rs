//! Mail: letters are made of templates or of texts, and handed over to an SMTP server; each is a job.

mod letter;
mod receivers;
mod templates;
mod transport;

pub use letter::{Letter, Unsubscribe, check_address};
pub use receivers::Receivers;
pub use templates::Templates;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::value::RawValue;
use tokio::time::Instant;

use self::letter::{Sender, Written};
use self::transport::Transport;
use gateway_core::config;
use gateway_core::jobs::{Failure, Handler, Job};
use gateway_core::metrics::Metrics;
use gateway_core::recurring::Recurring;

use crate::jobs::Kind;
use crate::once::{Once, Turn};

/// What sends mail.
pub struct Mail {
    /// From whom letters are and where they go, if they go anywhere.
    way: Option<(Sender, Transport)>,
    templates: Templates,
    receivers: Arc<Receivers>,
    once: Once,
    trouble: Recurring,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail").field("way", &self.way).finish_non_exhaustive()
    }
}

impl Mail {
    /// Mail as it is configured; nothing is connected with yet.
    ///
    /// # Errors
    /// What is wrong with it, in words that name the setting, or the file and the line of a template.
    pub fn new(
        settings: &config::Mail,
        receivers: Arc<Receivers>,
        once: Once,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, String> {
        let way = if settings.is_on() { Some((Sender::read(settings)?, Transport::new(settings)?)) } else { None };
        Ok(Arc::new(Self {
            way,
            templates: Templates::read(&settings.templates)?,
            receivers,
            once,
            trouble: Recurring::new("mail cannot be handed over"),
            metrics,
        }))
    }

    /// Looks whether mail can be sent as it is configured, without connecting with anything.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn check(settings: &config::Mail) -> Result<(), String> {
        if settings.is_on() {
            Sender::read(settings)?;
            Transport::check(settings)?;
        }
        Templates::read(&settings.templates).map(drop)
    }

    /// Connects with the server that is configured, as whom the configuration names, and sends nothing. Which one it is, if there
    /// is one.
    ///
    /// # Errors
    /// It is away, or does not let the gateway in; in words.
    pub async fn probe(settings: &config::Mail) -> Option<Result<String, String>> {
        if !settings.is_on() {
            return None;
        }
        Some(match Transport::new(settings) {
            Ok(transport) => transport.probe().await,
            Err(why) => Err(why),
        })
    }

    /// Looks whether a letter can be written of such data.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check_data(templates: &Templates, data: &RawValue) -> Result<(), String> {
        let letter = Letter::read(data)?;
        letter.check()?;
        match &letter.template {
            Some(name) if !templates.has(name) => Err(format!("there is no template {name:?}")),
            _ => Ok(()),
        }
    }

    /// Whether there is a template of this name.
    #[must_use]
    pub fn has_template(&self, name: &str) -> bool {
        self.templates.has(name)
    }

    /// Sends a letter; `id` tells one that is sent again from another.
    ///
    /// # Errors
    /// It was not taken, with whether trying again may help.
    pub async fn send(&self, id: &str, letter: &Letter) -> Result<(), Failure> {
        let nowhere = || Failure::never("mail goes nowhere: mail.host is empty");
        let (sender, transport) = self.way.as_ref().ok_or_else(nowhere)?;
        let written = letter.write(&self.templates, sender, id).map_err(Failure::never)?;
        self.receivers.admit(&written.address).map_err(Failure::never)?;
        let turn = self.once.begin(letter.once.as_deref(), id).await?;
        if let Turn::Over(why) = turn {
            tracing::info!(job = id, why, "a mail is not sent");
            self.metrics.mails.with("repeated").increment(1);
            return Ok(());
        }
        let sent = self.hand_over(transport, &written).await;
        self.once.end(turn, sent.is_ok()).await;
        if sent.is_ok() {
            self.receivers.count(&written.address);
        }
        sent
    }

    async fn hand_over(&self, transport: &Transport, written: &Written) -> Result<(), Failure> {
        let begun = Instant::now();
        let sent = transport.send(written).await;
        self.metrics.mail_duration.record(begun.elapsed().as_secs_f64());
        let result = match &sent {
            Ok(()) => "sent",
            Err(failure) if failure.again == gateway_core::jobs::Again::Never => "refused",
            Err(_) => "failed",
        };
        self.metrics.mails.with(result).increment(1);
        if let Err(failure) = &sent {
            self.trouble.note(|what| tracing::warn!(why = %failure, "{what}"));
        }
        sent
    }
}

impl Kind for Mail {
    fn check(&self, data: &RawValue) -> Result<(), String> {
        Self::check_data(&self.templates, data)
    }
}

/// The kind `mail`.
#[async_trait]
impl Handler for Mail {
    async fn handle(&self, job: &Job) -> Result<Option<Box<RawValue>>, Failure> {
        let letter = Letter::read(&job.data).map_err(Failure::never)?;
        self.send(job.id.as_str(), &letter).await.map(|()| None)
    }
}

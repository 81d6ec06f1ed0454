//! Archiving: what is published in the rooms that are archived is taken from its outbox into the archive, by one node at a time,
//! and forgotten when it is old enough.

mod exchange;
mod records;
mod retention;
mod writer;

pub use exchange::{ExchangeError, Exchanged, export, import};

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use self::writer::Writer;
use gateway_core::archive::Archive;
use gateway_core::config;
use gateway_core::log::Log;
use gateway_core::metrics::Metrics;
use gateway_core::outbox::Outbox;
use gateway_core::port::{Port, PortError};
use gateway_core::recurring::Recurring;
use gateway_core::traces::Traces;

/// The archiving of a log. In a cluster one node at a time does it, for each log.
pub struct Archiving {
    /// What the log's Redis is called.
    redis: String,
    archive: Arc<dyn Archive>,
    outbox: Arc<dyn Outbox>,
    log: Arc<dyn Log>,
    settings: config::Archive,
    metrics: Arc<Metrics>,
    traces: Traces,
    /// Whether it is this node's turn.
    writes: AtomicBool,
    trouble: Recurring,
}

impl fmt::Debug for Archiving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archiving").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Archiving {
    /// What takes from the outbox of the archive what the log in a Redis put there; [`Self::run`] does it.
    #[must_use]
    pub fn new(
        redis: &str,
        (archive, outbox, log): (Arc<dyn Archive>, Arc<dyn Outbox>, Arc<dyn Log>),
        settings: &config::Archive,
        metrics: Arc<Metrics>,
        traces: Traces,
    ) -> Arc<Self> {
        Arc::new(Self {
            redis: redis.to_owned(),
            archive,
            outbox,
            log,
            settings: settings.clone(),
            metrics,
            traces,
            writes: AtomicBool::new(false),
            trouble: Recurring::new("the archive is not written, and what is published waits for it"),
        })
    }

    /// Archives and forgets, until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let writer = Writer::new(self.clone()).run(stop.clone());
        // What is too old of any room is so in all archives: they are in one place.
        if self.redis == config::Redis::MAIN {
            let retention = stop.run_until_cancelled(self.clone().forget_forever());
            tokio::join!(writer, retention);
        } else {
            writer.await;
        }
    }

    fn writes_here(&self) -> bool {
        self.writes.load(Ordering::Acquire)
    }

    /// Notes whose turn it is. Who does not write has no figures.
    fn turn(&self, is_here: bool) {
        self.writes.store(is_here, Ordering::Release);
        if !is_here {
            self.metrics.archive_waits(&self.redis, 0, Some(Duration::ZERO));
        }
    }

    fn note(&self, error: &PortError) {
        match error.port {
            Port::Archive => self.metrics.archive_errors.with(error.operation).increment(1),
            Port::Outbox => self.metrics.outbox_errors.with(error.operation).increment(1),
            _ => self.metrics.log_errors.with(error.operation).increment(1),
        }
        self.trouble.note(|what| error.tell(what));
    }
}

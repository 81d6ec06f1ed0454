//! How pooled connections are made, and when a used one is asked for a sign of life.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deadpool::managed::{self, RecycleResult};
use deadpool_redis::redis::aio::{MultiplexedConnection, SendError};
use deadpool_redis::redis::{self, AsyncConnectionConfig, Client, ProtocolVersion, PushInfo, PushKind, RedisError};
use deadpool_redis::{Manager, Metrics};

/// How long a connection may have been idle and be used without being asked: less than what lies between nodes and Redis
/// takes to forget it.
const FRESH: Duration = Duration::from_secs(5);

/// A connection, and how many had been lost when it was last known to work.
pub(super) struct Known {
    pub(super) connection: MultiplexedConnection,
    /// The run id of the process of Redis at its other end, or nothing if it did not say.
    pub(super) process: String,
    losses: u64,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("losses", &self.losses).finish_non_exhaustive()
    }
}

/// The manager of `deadpool-redis`, which sends a PING before each use. Asking again is only worth a round trip when a
/// connection of this node was lost since, or when this one was idle.
#[derive(Debug)]
pub(super) struct Connections {
    manager: Manager,
    losses: Arc<AtomicU64>,
}

impl Connections {
    /// Connections to a server; making one takes at most `timeout`, and so does an answer.
    pub(super) fn new(url: &str, timeout: Duration) -> Result<Self, RedisError> {
        let losses = Arc::<AtomicU64>::default();
        let lost = losses.clone();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout))
            .set_push_sender(move |pushed: PushInfo| {
                if pushed.kind == PushKind::Disconnection {
                    lost.fetch_add(1, Ordering::AcqRel);
                }
                Ok::<(), SendError>(())
            });
        // Only with RESP3 is the end of a connection told.
        let info = Client::open(url)?.get_connection_info().clone();
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        Ok(Self { manager: Manager::new_with_config(info.set_redis_settings(settings), config)?, losses })
    }

    /// How many were lost so far.
    pub(super) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Acquire)
    }

    /// Whether no connection was lost since this one was known to work.
    pub(super) fn trusts(&self, known: &Known) -> bool {
        known.losses == self.losses.load(Ordering::Acquire)
    }

    /// Has every connection asked before it is used again: one did not answer.
    pub(super) fn distrust(&self) {
        self.losses.fetch_add(1, Ordering::AcqRel);
    }
}

impl managed::Manager for Connections {
    type Type = Known;
    type Error = RedisError;

    async fn create(&self) -> Result<Known, RedisError> {
        let losses = self.losses.load(Ordering::Acquire);
        let mut connection = self.manager.create().await?;
        let info: Result<String, _> = redis::cmd("INFO").arg("server").query_async(&mut connection).await;
        let process = match info {
            Ok(info) => {
                info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap_or_default().trim().to_owned()
            }
            // A user who may not ask; then lost writes show by what nodes know alone.
            Err(error) if error.code() == Some("NOPERM") => String::new(),
            Err(error) => return Err(error),
        };
        Ok(Known { connection, process, losses })
    }

    async fn recycle(&self, known: &mut Known, metrics: &Metrics) -> RecycleResult<RedisError> {
        let losses = self.losses.load(Ordering::Acquire);
        if known.losses != losses || metrics.last_used() >= FRESH {
            self.manager.recycle(&mut known.connection, metrics).await.inspect_err(|_| self.distrust())?;
            known.losses = losses;
        }
        Ok(())
    }
}

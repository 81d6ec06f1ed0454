//! Ways: connections to other nodes. So many, each used by one request at a time; those that nobody uses are kept for a while.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use engine::{NoWay, Place, Tag, Way};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::dial::{DialError, dial};
use super::nodes::Nodes;
use gateway_core::metrics::Metrics;
use gateway_core::recurring::Recurring;

/// The connections of this node to others.
pub(super) struct Ways {
    places: Arc<Semaphore>,
    idle: Mutex<HashMap<Tag, Vec<Idle>>>,
    timeout: Duration,
    kept: Duration,
    trouble: Recurring,
    metrics: Arc<Metrics>,
}

struct Idle {
    stream: TcpStream,
    held: Held,
    since: Instant,
}

/// Counts a connection.
struct Held {
    _permit: OwnedSemaphorePermit,
    metrics: Arc<Metrics>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.metrics.passing_connections.decrement(1.0);
    }
}

impl std::fmt::Debug for Ways {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ways").field("free", &self.places.available_permits()).finish_non_exhaustive()
    }
}

impl Ways {
    pub(super) fn new(places: usize, timeout: Duration, kept: Duration, metrics: Arc<Metrics>) -> Self {
        let trouble = Recurring::new("a client's request could not be passed on to its node");
        Self { places: Arc::new(Semaphore::new(places)), idle: Mutex::default(), timeout, kept, trouble, metrics }
    }

    /// A way to the node of a tag.
    pub(super) async fn to(self: &Arc<Self>, tag: Tag, nodes: &Nodes) -> Result<Way, NoWay> {
        if let Some(way) = self.unused(tag) {
            return Ok(way);
        }
        let node = nodes.get(tag)?;
        let Some(_dialling) = nodes.dialling(&node).await else { return Err(NoWay::Gone) };
        // Others may have left one meanwhile, or learned that there is none.
        if let Some(way) = self.unused(tag) {
            return Ok(way);
        }
        nodes.get(tag)?;
        let held = self.place().ok_or(NoWay::Full)?;
        match dial(&node.address, tag, &nodes.secrets, self.timeout).await {
            Ok(stream) => Ok(self.way(tag, stream, held)),
            Err(error) => {
                let why = match error {
                    DialError::Gone(_) => NoWay::Gone,
                    DialError::Full(_) => NoWay::Full,
                    DialError::Failed(_) => NoWay::Failed,
                };
                // A node that is full serves those that have a way to it.
                if why != NoWay::Full {
                    nodes.note_trouble(tag, why);
                }
                self.trouble.note(|what| tracing::warn!(%error, "{what}"));
                Err(why)
            }
        }
    }

    fn way(self: &Arc<Self>, tag: Tag, stream: TcpStream, held: Held) -> Way {
        Way { stream, place: Box::new(Taken { ways: self.clone(), tag, held }) }
    }

    /// One that is there and that nobody uses.
    fn unused(self: &Arc<Self>, tag: Tag) -> Option<Way> {
        loop {
            let Idle { stream, held, .. } = self.idle.lock().get_mut(&tag)?.pop()?;
            // Nothing is said while nothing is asked: what is there to be read is the end.
            let is_alive = stream.try_read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
            if is_alive {
                return Some(self.way(tag, stream, held));
            }
        }
    }

    /// A free place, or that of a connection that nobody uses.
    fn place(&self) -> Option<Held> {
        let permit = self.places.clone().try_acquire_owned().ok().or_else(|| {
            let oldest = self.evict();
            drop(oldest?);
            self.places.clone().try_acquire_owned().ok()
        })?;
        self.metrics.passing_connections.increment(1.0);
        Some(Held { _permit: permit, metrics: self.metrics.clone() })
    }

    fn evict(&self) -> Option<Idle> {
        let mut idle = self.idle.lock();
        let line = idle.values_mut().filter(|line| !line.is_empty()).min_by_key(|line| line[0].since)?;
        Some(line.remove(0))
    }

    /// Ends those that nobody has used for a while; to be called now and then.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        self.idle.lock().retain(|_, line| {
            line.retain(|idle| now - idle.since < self.kept);
            !line.is_empty()
        });
    }
}

/// A connection that is used.
struct Taken {
    ways: Arc<Ways>,
    tag: Tag,
    held: Held,
}

impl Place for Taken {
    fn give_back(self: Box<Self>, stream: TcpStream) {
        let Self { ways, tag, held } = *self;
        ways.idle.lock().entry(tag).or_default().push(Idle { stream, held, since: Instant::now() });
    }
}

//! Orders of operators to this node that are not about sessions: handing its clients over and taking some again, and reading
//! its routes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::reloading::Reloading;
use crate::audit::By;
use crate::socket::SocketServer;
use gateway_core::control::{Orders, Reloaded, Standing};
use gateway_core::metrics::Metrics;
use gateway_core::node::Peers;
use gateway_core::supervisor::Supervisor;

/// Heeds the orders of operators.
#[derive(Debug)]
pub(super) struct NodeOrders {
    server: SocketServer,
    peers: Arc<Peers>,
    ready: Arc<AtomicBool>,
    reloading: Arc<Reloading>,
    metrics: Arc<Metrics>,
    supervisor: Supervisor,
    /// Cancelled when it takes clients again, if it takes none. When the node stops it heeds nothing any more.
    empty: Mutex<Option<CancellationToken>>,
    stopping: AtomicBool,
}

impl NodeOrders {
    /// Nothing was ordered yet.
    pub(super) fn new(
        server: &SocketServer,
        peers: &Arc<Peers>,
        ready: &Arc<AtomicBool>,
        reloading: &Arc<Reloading>,
        metrics: &Arc<Metrics>,
        supervisor: &Supervisor,
    ) -> Self {
        Self {
            server: server.clone(),
            peers: peers.clone(),
            ready: ready.clone(),
            reloading: reloading.clone(),
            metrics: metrics.clone(),
            supervisor: supervisor.clone(),
            empty: Mutex::default(),
            stopping: AtomicBool::new(false),
        }
    }

    /// The node stops: whatever was ordered before.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        if let Some(empty) = &*self.empty.lock() {
            empty.cancel();
        }
    }
}

impl Orders for NodeOrders {
    fn standing(&self) -> Standing {
        let draining = self.metrics.draining.get() > 0 || self.empty.lock().is_some();
        Standing { ready: self.ready.load(Ordering::Acquire), draining }
    }

    fn drain(&self) {
        let mut empty = self.empty.lock();
        if empty.is_some() || self.stopping.load(Ordering::Acquire) {
            return;
        }
        let until = CancellationToken::new();
        *empty = Some(until.clone());
        self.ready.store(false, Ordering::Release);
        let (server, peers) = (self.server.clone(), self.peers.clone());
        self.supervisor.tasks().spawn(async move { until.run_until_cancelled(server.stay_empty(&peers)).await });
        tracing::info!("an operator has this node hand its clients over");
    }

    fn resume(&self) {
        let mut empty = self.empty.lock();
        if self.stopping.load(Ordering::Acquire) {
            return;
        }
        let Some(until) = empty.take() else { return };
        until.cancel();
        self.server.admit_again();
        self.ready.store(true, Ordering::Release);
        let peers = self.peers.clone();
        self.supervisor.tasks().spawn(async move { peers.stay().await });
        tracing::info!("an operator has this node take clients again");
    }

    fn reload(&self, dry: bool) -> BoxFuture<'static, Reloaded> {
        let reloading = self.reloading.clone();
        // Files are read.
        let work = tokio::task::spawn_blocking(move || -> Result<Reloaded, String> {
            let (added, removed) = reloading.differences().map_err(|error| error.to_string())?;
            if !dry {
                reloading.reload(By::Cluster).map_err(|error| error.to_string())?;
                tracing::info!("routes reloaded");
            }
            Ok(Reloaded { added, removed, error: None })
        });
        async move {
            let failed = |error| Reloaded { error: Some(error), ..Reloaded::default() };
            let reloaded = work.await.unwrap_or_else(|error| Err(format!("reading them failed: {error}")));
            reloaded.unwrap_or_else(failed)
        }
        .boxed()
    }
}

//! The routes of the admin listener: few until the node has started, then all.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{ServiceExt, service_fn};

use super::listener::AdminListener;
use crate::metrics::Metrics;

/// A served admin listener, whose routes can be replaced.
#[derive(Clone, Debug)]
pub struct AdminRoutes {
    current: Arc<ArcSwap<Router>>,
    address: SocketAddr,
}

impl AdminRoutes {
    /// Serves a listener until `stop`: the process is alive and not ready, and has metrics.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn serve(
        listener: TcpListener,
        metrics: Arc<Metrics>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> io::Result<Self> {
        let text = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
        let starting = Router::new()
            .route("/livez", get(|| async { "alive\n" }))
            .route("/readyz", get(|| async { (StatusCode::SERVICE_UNAVAILABLE, "not ready: starting\n") }))
            .route("/metrics", get(move || async move { (text, metrics.render()) }));
        let routes = Self { address: listener.local_addr()?, current: Arc::new(ArcSwap::from_pointee(starting)) };
        let current = routes.current.clone();
        let service = service_fn(move |request: Request| {
            let router = Router::clone(&current.load());
            router.oneshot(request)
        });
        let stopped = stop.clone().cancelled_owned();
        tasks.spawn(async move {
            let service = Router::new().fallback_service(service);
            let served = axum::serve(AdminListener::new(listener), service).with_graceful_shutdown(stopped).await;
            if let Err(error) = served {
                tracing::error!(%error, "the admin listener ended");
            }
        });
        Ok(routes)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves other routes from now on.
    pub fn replace(&self, routes: Router) {
        self.current.store(Arc::new(routes));
    }
}

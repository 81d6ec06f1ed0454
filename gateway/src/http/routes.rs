//! The routes of the admin listener: few until the node has started, then all.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use tokio::net::TcpListener;
use tower::{ServiceExt, service_fn};

use super::hosts::{Hosts, only_by_name};
use super::serving::{AdminLimits, serve_admin};
use gateway_core::metrics::Metrics;
use gateway_core::supervisor::Supervisor;

/// A served admin listener, whose routes can be replaced.
#[derive(Clone, Debug)]
pub struct AdminRoutes {
    current: Arc<ArcSwap<Router>>,
    address: SocketAddr,
}

impl AdminRoutes {
    /// Serves a listener until `stop`, to whoever calls it by one of its names: the process is alive and not ready, and has
    /// metrics.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn serve(
        listener: TcpListener,
        hosts: Hosts,
        limits: AdminLimits,
        metrics: Arc<Metrics>,
        supervisor: &Supervisor,
    ) -> io::Result<Self> {
        let text = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
        let shown = metrics.clone();
        let starting = Router::new()
            .route("/livez", get(|| async { "alive\n" }))
            .route("/readyz", get(|| async { (StatusCode::SERVICE_UNAVAILABLE, "not ready: starting\n") }))
            .route("/metrics", get(move || async move { (text, shown.render()) }));
        let routes = Self { address: listener.local_addr()?, current: Arc::new(ArcSwap::from_pointee(starting)) };
        let current = routes.current.clone();
        let service = service_fn(move |request: Request| {
            let router = Router::clone(&current.load());
            router.oneshot(request)
        });
        let service = Router::new().fallback_service(service).layer(from_fn_with_state(hosts, only_by_name));
        let (tasks, stop) = (supervisor.tasks().clone(), supervisor.stop().clone());
        supervisor.run_on("admin listener", serve_admin(listener, service, limits, metrics, tasks, stop));
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

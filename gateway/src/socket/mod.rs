//! EDGE: Socket.IO. The only folder that names socketioxide and engineioxide; everything behind it knows sessions.

mod address;
mod announce;
mod connect;
mod drain;
mod guard;
mod handshake;
mod inlet;
mod link;
mod listener;
mod origins;
mod outlet;
mod proxy_header;
mod welcome;

pub use listener::serve;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::body::Body;
use http::Request;
use parking_lot::Mutex;
use socketioxide::adapter::LocalAdapter;
use socketioxide::service::SocketIoService;
use socketioxide::socket::Sid;
use socketioxide::{ParserConfig, SocketIo};
use tokio_util::task::TaskTracker;
use tower::Service;

use self::connect::{Connecting, Start};
use self::link::Links;
use self::origins::Origins;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::node::{AddressLimiter, HandshakeLimiter, Limiters, Places};
use crate::routes::{RouteTable, Router};

/// Where Socket.IO is served.
const PATH: &str = "/socket.io";

type Adapter = LocalAdapter;
type SocketIoHttp = SocketIoService<NotFound, Adapter>;

/// What the parts of this folder share.
pub struct Edge {
    settings: Config,
    router: Arc<Router>,
    addresses: AddressLimiter,
    links: Arc<Links>,
    /// The connections of this node from their handshake on, with a session or not yet.
    connections: Arc<Places>,
    handshakes: HandshakeLimiter,
    limiters: Limiters,
    origins: Origins,
    /// Sessions whose clients do not know yet that they are connected.
    starting: Mutex<HashMap<(Sid, Arc<str>), Start>>,
    draining: AtomicBool,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
}

impl std::fmt::Debug for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edge").finish_non_exhaustive()
    }
}

/// The Socket.IO server of a node: takes HTTP requests, turns connections into sessions.
#[derive(Clone)]
pub struct SocketServer {
    edge: Arc<Edge>,
    service: SocketIoHttp,
    io: SocketIo<Adapter>,
    /// The namespaces into which clients may come.
    open: Arc<Mutex<HashSet<Arc<str>>>>,
}

impl std::fmt::Debug for SocketServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SocketServer").finish_non_exhaustive()
    }
}

impl SocketServer {
    /// Builds the server. Its namespaces are open before it accepts anything: a client that came earlier would be told
    /// that its namespace does not exist, and would give up.
    #[must_use]
    pub fn start(config: &Config, router: Arc<Router>, metrics: Arc<Metrics>, tasks: TaskTracker) -> Self {
        let links = Links::new(metrics.clone());
        let edge = Arc::new(Edge {
            router,
            addresses: AddressLimiter::new(&config.limits),
            links: links.clone(),
            connections: Arc::new(Places::new(config.limits.connections)),
            handshakes: HandshakeLimiter::new(&config.limits),
            limiters: Limiters::new(&config.limits, metrics.clone()),
            origins: Origins::new(&config.socket.origins),
            starting: Mutex::default(),
            draining: AtomicBool::new(false),
            metrics,
            tasks,
            settings: config.clone(),
        });
        let (limits, timing) = (&config.limits, &config.socket);
        // Binary attachments are bounded twice: by how many, and by their sum.
        let parser = ParserConfig::common()
            .max_incoming_binaries(limits.attachments)
            .max_incoming_binary_buf_size(limits.message_bytes)
            .packet_completion_timeout(timing.connect_timeout);
        let (service, io) = SocketIo::builder()
            .with_parser(parser)
            .max_payload(limits.message_bytes as u64)
            .ws_max_message_size(limits.message_bytes)
            .ws_max_frame_size(limits.message_bytes)
            // The default of 4 KiB is most of what an idle connection would hold.
            .ws_read_buffer_size(1024)
            .max_buffer_size(limits.outbox_packets)
            .ping_interval(timing.ping_interval)
            .ping_timeout(timing.ping_timeout)
            .connect_timeout(timing.connect_timeout)
            .build_with_inner_svc(NotFound);
        links.close_polling_with(Arc::new({
            let (service, tasks) = (service.clone(), edge.tasks.clone());
            move |sid, after| {
                tasks.spawn(close_polling(service.clone(), sid, after));
            }
        }));
        let server = Self { edge, service, io, open: Arc::default() };
        server.open_namespaces(&server.edge.router.table());
        server
    }

    /// Lets clients into the namespaces of a route table that are not open yet. One that the table no longer has
    /// stays open for who is in it, and lets nobody in.
    pub fn open_namespaces(&self, table: &RouteTable) {
        let mut open = self.open.lock();
        for namespace in table.namespaces().map(|namespace| namespace.name.clone()) {
            if open.insert(namespace.clone()) {
                let connecting = Connecting { edge: self.edge.clone(), namespace: namespace.clone() };
                self.io.ns::<_, ()>(namespace.to_string(), connecting);
            }
        }
    }

    /// How many sessions are connected to this node.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.edge.router.node().roster().len()
    }

    /// Forgets what is no longer needed and publishes the sizes; to be called every few seconds.
    pub fn upkeep(&self) {
        self.edge.links.forget_dead();
        self.edge.router.node().close_aged();
        self.edge.limiters.upkeep();
        let rates = self.edge.router.forget_idle();
        self.edge.metrics.rate_limit_keys.with("route").set(u32::try_from(rates).unwrap_or(u32::MAX));
        let keys = self.edge.addresses.forget_idle();
        self.edge.metrics.rate_limit_keys.with("address_handshakes").set(u32::try_from(keys).unwrap_or(u32::MAX));
    }
}

/// Says an Engine.IO close in the client's name; the session then ends as if the client had closed it.
async fn close_polling(mut service: SocketIoHttp, sid: Sid, after: Duration) {
    tokio::time::sleep(after).await;
    let uri = format!("{PATH}/?EIO=4&transport=polling&sid={sid}");
    let Ok(request) = Request::post(uri).body(Body::from("1")) else { return };
    // The answer is for the client, which did not ask.
    let _: Result<http::Response<_>, _> = service.call(request).await;
}

/// What socketioxide asks for paths that are not its own. It is given only its own.
#[derive(Clone, Debug)]
pub struct NotFound;

impl<B: Send + 'static> Service<Request<B>> for NotFound {
    type Response = http::Response<Body>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        let mut response = http::Response::new(Body::empty());
        *response.status_mut() = http::StatusCode::NOT_FOUND;
        std::future::ready(Ok(response))
    }
}

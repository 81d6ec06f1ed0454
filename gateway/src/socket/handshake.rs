//! The handshake: which new connections are let in, and what of their requests is kept.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use axum::body::Body;
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, ORIGIN, RETRY_AFTER,
    SEC_WEBSOCKET_KEY,
};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use socketioxide::socket::Sid;
use tower::{Layer, Service, ServiceExt, service_fn};

use super::announce::Announcement;
use super::connect::Handshake;
use super::guard::IoControl;
use super::{Edge, PATH, SocketServer, address};
use crate::domain::{Refusal, Worded};
use crate::node::{Place, Places};

/// The TCP connection that a request came over.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) io: Arc<IoControl>,
}

/// What the query of an Engine.IO request says, as far as it matters here.
struct Query {
    sid: Option<Sid>,
    websocket: bool,
}

impl Query {
    fn of<B>(request: &Request<B>) -> Self {
        let pairs = || request.uri().query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        let value = |name: &str| pairs().find(|(key, _)| *key == name).map(|(_, value)| value);
        Self { sid: value("sid").and_then(|sid| sid.parse().ok()), websocket: value("transport") == Some("websocket") }
    }
}

/// Headers that Engine.IO needs. All others are dropped, the token among them.
const KEPT: [HeaderName; 2] = [SEC_WEBSOCKET_KEY, CONTENT_TYPE];

/// The token that a client sends in the header that is made for it.
fn bearer(headers: &HeaderMap) -> Option<Box<str>> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().into())
}

/// Copies what is needed. Header values and the URI are slices of the connection's 16 KiB read buffer, which would
/// live as long as the session that keeps them.
fn slim<B>(request: Request<B>) -> Request<B> {
    let (mut parts, body) = request.into_parts();
    let mut headers = HeaderMap::with_capacity(KEPT.len());
    for name in KEPT {
        let copied = parts.headers.get(&name).and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok());
        if let Some(value) = copied {
            headers.insert(name, value);
        }
    }
    parts.headers = headers;
    if let Ok(uri) = parts.uri.to_string().parse() {
        parts.uri = uri;
    }
    Request::from_parts(parts, body)
}

impl SocketServer {
    /// Whether a path is this server's.
    pub(super) fn serves(path: &str) -> bool {
        path.strip_prefix(PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Answers an Engine.IO request, or a browser's question whether it may send one.
    pub(super) async fn answer(self, request: Request<Incoming>, peer: Peer) -> Result<Response<Body>, Infallible> {
        let edge = self.edge.clone();
        if !edge.origins.admit(request.headers()) {
            let is_handshake = Query::of(&request).sid.is_none() && request.method() != Method::OPTIONS;
            edge.count_refused(&Refusal::ForbiddenOrigin, is_handshake);
            return Ok(refused(&edge.router.worded(&Refusal::ForbiddenOrigin)));
        }
        if !request.headers().contains_key(ORIGIN) {
            return self.engine(request, peer).await;
        }
        let engine = service_fn(move |request| self.clone().engine(request, peer.clone()));
        // Around refusals too: a browser would otherwise show its own error in their place.
        edge.origins.cors().layer(engine).oneshot(request).await
    }

    async fn engine(mut self, request: Request<Incoming>, peer: Peer) -> Result<Response<Body>, Infallible> {
        let query = Query::of(&request);
        let is_handshake = query.sid.is_none();
        let handshake = if is_handshake {
            let io = query.websocket.then(|| peer.io.clone());
            match self.edge.let_in(request.headers(), &peer, io) {
                Ok(handshake) => Some(handshake),
                Err(refusal) => {
                    self.edge.count_refused(&refusal, true);
                    return Ok(refused(&self.edge.router.worded(&refusal)));
                }
            }
        } else {
            None
        };
        let mut request = slim(request);
        if let Some(handshake) = handshake {
            request.extensions_mut().insert(Arc::new(handshake));
        }
        // A body that never comes would hold its connection for ever. A poll may wait: it holds its own only.
        let is_upload = request.method() == Method::POST;
        let answer = self.service.call(request);
        let response = if is_upload {
            match tokio::time::timeout(self.edge.settings.socket.header_timeout, answer).await {
                Ok(response) => response?,
                Err(_) => return Ok(too_slow()),
            }
        } else {
            answer.await?
        };
        if is_handshake {
            let result = if response.status().is_client_error() { "bad_request" } else { "ok" };
            self.edge.metrics.handshakes.with(result).increment(1);
        } else if let Some(sid) = query.sid
            && response.status() == StatusCode::SWITCHING_PROTOCOLS
        {
            self.edge.links.upgraded(sid, &peer.io);
        }
        let is_poll = !is_upload && !query.websocket;
        let announcements =
            query.sid.filter(|_| is_poll).map_or_else(Vec::new, |sid| self.edge.links.announcements(sid));
        Ok(announced(response.map(Body::new), &announcements).await)
    }
}

/// A poll's answer, with the CONNECT replies completed that are in there.
async fn announced(response: Response<Body>, announcements: &[Arc<Announcement>]) -> Response<Body> {
    if announcements.is_empty() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // The engine has it in memory already, and bounds it.
    let Ok(mut body) = axum::body::to_bytes(body, usize::MAX).await else {
        return Response::from_parts(parts, Body::empty());
    };
    for announcement in announcements {
        body = announcement.in_body(&body).unwrap_or(body);
    }
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(body))
}

impl Edge {
    /// Transient trouble is refused here and not later: the official client tries a failed handshake again.
    fn let_in(&self, headers: &HeaderMap, peer: &Peer, io: Option<Arc<IoControl>>) -> Result<Handshake, Refusal> {
        if self.draining.load(Ordering::Acquire) {
            return Err(Refusal::Draining);
        }
        let place = Place::take(&self.connections).ok_or(Refusal::Capacity)?;
        let client = address::of_client(peer.address.ip(), headers, &self.settings.trusted_proxies);
        let allowed = self.addresses.check(client);
        self.count_decision("address_handshakes", allowed.is_ok());
        // After the address: one that floods must not use up what the others need.
        allowed?;
        let among_its_address = self.limiters.connection(client)?;
        let allowed = self.handshakes.check();
        self.count_decision("node_handshakes", allowed.is_ok());
        allowed?;
        let namespaces = Arc::new(Places::new(self.settings.limits.namespaces_per_connection));
        let places = (place, among_its_address);
        let (bearer, link, connects) = (bearer(headers), OnceLock::new(), AtomicU32::new(0));
        Ok(Handshake { io, bearer, link, connects, client, namespaces, _places: places })
    }

    fn count_refused(&self, refusal: &Refusal, is_handshake: bool) {
        if is_handshake {
            self.metrics.handshakes.with(refusal.code()).increment(1);
        }
        self.metrics.refusals.with(refusal.code()).increment(1);
    }

    fn count_decision(&self, limiter: &str, allowed: bool) {
        let decision = if allowed { "allow" } else { "deny" };
        self.metrics.rate_limit_decisions.with(limiter, decision).increment(1);
    }
}

/// The answer to a request whose body did not come in time.
fn too_slow() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::REQUEST_TIMEOUT;
    response
}

/// A refusal as an HTTP response, in the form of an ack.
fn refused(worded: &Worded<'_>) -> Response<Body> {
    let refusal = worded.refusal;
    let status = match refusal {
        Refusal::RateLimited { .. } | Refusal::TooManyConnections => StatusCode::TOO_MANY_REQUESTS,
        Refusal::ForbiddenOrigin => StatusCode::FORBIDDEN,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let body = serde_json::to_string(worded).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(wait) = refusal.retry_after() {
        // Whole seconds, rounded up: the header knows no others.
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_millis().div_ceil(1000).max(1) as u64));
    }
    response
}

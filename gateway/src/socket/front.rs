//! The front: which new connections are let in, and what is said to those that are not.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use bytes::Bytes;
use engine::{Answer, Handler, Misuse, Side, Transport};
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use tower::ServiceExt;

use super::guest::{Guest, Held};
use super::{BackEnds, Edge, address};
use gateway_core::auth::Brought;
use gateway_core::domain::{Refusal, Worded};
use gateway_core::node::Slot;

/// The largest answer of the web page's server that is passed on.
const MAX_WEB_BYTES: usize = 16 * 1024 * 1024;

/// Lets connections in.
pub(super) struct Front {
    edge: Arc<Edge>,
    web: axum::Router,
    back_ends: Arc<dyn BackEnds>,
}

impl Front {
    pub(super) fn new(edge: Arc<Edge>, web: axum::Router, back_ends: Arc<dyn BackEnds>) -> Self {
        Self { edge, web, back_ends }
    }

    fn is_for_back_ends(&self, request: &Parts) -> bool {
        self.back_ends.is_for(request, request.extensions.get::<Side>().is_some())
    }
}

impl Handler for Front {
    fn admit_origin(&self, origin: &[u8], is_handshake: bool) -> Result<(), Box<Answer>> {
        if self.edge.origins.admits(origin) {
            return Ok(());
        }
        self.edge.count_refused(&Refusal::ForbiddenOrigin, is_handshake);
        Err(Box::new(refused(&self.edge.router.worded(&Refusal::ForbiddenOrigin))))
    }

    fn open(&self, request: &Parts, peer: SocketAddr, _: Transport) -> Result<Arc<dyn engine::Guest>, Box<Answer>> {
        let edge = &self.edge;
        let client = address::of_client(peer.ip(), &request.headers, &edge.settings.trusted_proxies);
        match edge.let_in(client) {
            Ok(slots) => {
                edge.metrics.handshakes.with("ok").increment(1);
                Ok(Arc::new(Guest::new(edge.clone(), client, Brought::read(&edge.settings.auth, request), slots)))
            }
            Err(refusal) => {
                edge.count_refused(&refusal, true);
                Err(Box::new(refused(&edge.router.worded(&refusal))))
            }
        }
    }

    fn admit_stranger(&self, peer: SocketAddr, request: Option<&Parts>) -> Result<(), Box<Answer>> {
        let edge = &self.edge;
        let proxies = &edge.settings.trusted_proxies;
        let for_back_ends = request.filter(|request| self.is_for_back_ends(request));
        if for_back_ends.is_some_and(|request| self.back_ends.is_known(request)) {
            return Ok(());
        }
        let client = match request {
            Some(request) => address::of_client(peer.ip(), &request.headers, proxies),
            // For whom a proxy sent it cannot be told, and all its clients would pay for one.
            None if address::is_trusted(peer.ip(), proxies) => return Ok(()),
            None => peer.ip(),
        };
        let allowed = edge.strangers.check(client);
        edge.count_decision("address_requests", allowed.is_ok());
        // A listener of the API's own is no place for front ends.
        let is_beside_clients = |request: &&Parts| request.extensions.get::<Side>().is_none();
        let is_below_api = request.filter(is_beside_clients).is_some_and(|request| below_api(request.uri.path()));
        let answer = |refusal: Refusal, is_front_ends: bool| {
            edge.count_refused(&refusal, false);
            Box::new(match for_back_ends {
                Some(request) => self.back_ends.refused(request, &refusal),
                None if is_front_ends => too_many(&refusal),
                None => refused(&edge.router.worded(&refusal)),
            })
        };
        allowed.map_err(|refusal| answer(refusal, is_below_api))?;
        // A browser asks by itself whether a page may ask, and the page cannot read why it was told no.
        if is_below_api && request.is_some_and(|request| request.method != Method::OPTIONS) {
            let allowed = edge.http.check(client);
            edge.count_decision("address_http", allowed.is_ok());
            allowed.map_err(|refusal| answer(refusal, true))?;
        }
        Ok(())
    }

    fn misused(&self, misuse: Misuse) {
        if misuse == Misuse::Handshake {
            self.edge.metrics.handshakes.with("bad_request").increment(1);
        }
        let kind = match misuse {
            Misuse::Handshake => "handshake",
            Misuse::Request => "request",
            Misuse::Http => "http",
        };
        self.edge.metrics.bad_requests.with(kind).increment(1);
    }

    fn elsewhere(&self, request: Request<Bytes>, peer: SocketAddr) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
        let (parts, body) = request.into_parts();
        if self.is_for_back_ends(&parts) {
            let client = address::of_client(peer.ip(), &parts.headers, &self.edge.settings.trusted_proxies);
            return self.back_ends.answer(Request::from_parts(parts, body), client);
        }
        let (web, request) = (self.web.clone(), Request::from_parts(parts, body));
        Box::pin(async move {
            let Ok(response) = web.oneshot(request.map(Body::from)).await;
            let (parts, body) = response.into_parts();
            match axum::body::to_bytes(body, MAX_WEB_BYTES).await {
                Ok(body) => Response::from_parts(parts, body),
                Err(_) => {
                    let mut response = Response::new(Bytes::new());
                    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                    response
                }
            }
        })
    }

    fn unread(&self, request: &Parts, answer: Answer) -> Answer {
        if self.is_for_back_ends(request) { self.back_ends.unread(request, answer) } else { answer }
    }
}

impl Edge {
    /// Transient trouble is refused here and not later: the official client tries a failed handshake again.
    fn let_in(&self, client: std::net::IpAddr) -> Result<Held, Refusal> {
        if self.draining.load(Ordering::Acquire) || self.router.node().hearing().is_given_up() {
            return Err(Refusal::Draining);
        }
        if self.starting.load(Ordering::Acquire) {
            return Err(Refusal::Unavailable);
        }
        if !self.door.lets_in(client, self.connections.taken()) {
            return Err(Refusal::Elsewhere);
        }
        let slot = Slot::take(&self.connections).ok_or(Refusal::Capacity)?;
        let allowed = self.addresses.check(client);
        self.count_decision("address_handshakes", allowed.is_ok());
        // After the address: one that floods must not use up what the others need.
        allowed?;
        let among_its_address = self.limiters.connection(client)?;
        let allowed = self.handshakes.check();
        self.count_decision("node_handshakes", allowed.is_ok());
        allowed?;
        Ok((slot, among_its_address))
    }

    pub(super) fn count_refused(&self, refusal: &Refusal, is_handshake: bool) {
        if is_handshake {
            self.metrics.handshakes.with(refusal.code()).increment(1);
        }
        self.metrics.refusals.with(refusal.code()).increment(1);
    }

    pub(super) fn count_decision(&self, limiter: &str, allowed: bool) {
        let decision = if allowed { "allow" } else { "deny" };
        self.metrics.rate_limit_decisions.with(limiter, decision).increment(1);
    }
}

/// Whether a path is one at which front ends ask over HTTP.
fn below_api(path: &str) -> bool {
    let is_below = |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    ["/api", "/jobs", "/trigger-job"].into_iter().any(is_below)
}

/// What a front end is told that asks too often, as it knows it from elsewhere.
fn too_many(refusal: &Refusal) -> Answer {
    let mut response = Response::new(Bytes::from_static(Refusal::TOO_MANY_REQUESTS.as_bytes()));
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    retry_after(&mut response, refusal);
    response
}

/// A refusal as an HTTP response, in the form of an ack.
pub(super) fn refused(worded: &Worded<'_>) -> Answer {
    let refusal = worded.refusal;
    let status = match refusal {
        Refusal::RateLimited { .. } | Refusal::TooManyConnections => StatusCode::TOO_MANY_REQUESTS,
        Refusal::ForbiddenOrigin => StatusCode::FORBIDDEN,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let body = serde_json::to_string(worded).unwrap_or_default();
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    retry_after(&mut response, refusal);
    response
}

fn retry_after(response: &mut Answer, refusal: &Refusal) {
    if let Some(wait) = refusal.retry_after() {
        // Whole seconds, rounded up: the header knows no others.
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_millis().div_ceil(1000).max(1) as u64));
    }
}

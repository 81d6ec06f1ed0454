//! Users over HTTP: their notifications, as front ends ask for them. Who somebody is says the token that a socket would bring.
//!
//! Every request is let in here, by its page's origin and its token, and answered by one function.

mod answer;
mod asked;
mod jobs;
mod notifications;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue, ORIGIN};
use http::request::Parts;
use http::{HeaderName, Method, Request, Response, StatusCode};
use serde_json::value::RawValue;

use self::answer::{Answered, Denial, preflight, shared_with};
use self::asked::Asked;
pub use self::jobs::Background;
use self::jobs::Errand;
use gateway_core::auth::{Brought, Candidate, Denied, Identity, Occasion};
use gateway_core::config::Config;
use gateway_core::domain::Refusal;
use gateway_core::inbox::Inbox;
use gateway_core::metrics::Metrics;
use gateway_core::node::FailureLimiter;
use gateway_core::routes::Router;

/// What a body may have beside what is told, in bytes.
const ENVELOPE_BYTES: usize = 8 * 1024;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What is counted as a request for mail and jobs; all else is one for notifications.
const ERRANDS: [&str; 4] = ["send_email", "schedule_email", "trigger", "unsubscribe"];

/// What a node answers users.
#[derive(Debug)]
pub struct Users {
    config: Config,
    router: Arc<Router>,
    inbox: Arc<Inbox>,
    background: Background,
    failures: FailureLimiter,
    is_serving: AtomicBool,
    metrics: Arc<Metrics>,
}

/// Somebody who was let in.
struct Caller {
    identity: Identity,
    address: IpAddr,
    /// Whether nobody has to prove who they are.
    is_open: bool,
}

impl Users {
    /// One that answers that it cannot yet.
    #[must_use]
    pub fn new(
        config: &Config,
        router: Arc<Router>,
        inbox: Arc<Inbox>,
        background: Background,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let failures = FailureLimiter::new(&config.limits);
        let is_serving = AtomicBool::new(false);
        Arc::new(Self { config: config.clone(), router, inbox, background, failures, is_serving, metrics })
    }

    /// Answers from now on.
    pub fn serve(&self) {
        self.is_serving.store(true, Ordering::Release);
    }

    /// Whether a request is for it.
    #[must_use]
    pub fn is_for(&self, request: &Parts) -> bool {
        let path = request.uri.path();
        let errand = Errand::of(path).is_some_and(|errand| errand.is_served(&self.config));
        errand || (self.config.notifications.http && Asked::is_below(path))
    }

    /// The largest body of any request, in bytes.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        self.config.limits.message_bytes + ENVELOPE_BYTES
    }

    /// Forgets what is no longer needed; to be called every few seconds.
    pub fn upkeep(&self) {
        self.failures.forget_idle();
        self.inbox.upkeep();
        let remembered = self.background.limiter.forget_idle();
        self.metrics.rate_limit_keys.with("mail_sender").set(u32::try_from(remembered).unwrap_or(u32::MAX));
    }

    /// The answer to a request that was refused before it was looked at.
    #[must_use]
    pub fn refused(&self, request: &Parts, refusal: &Refusal) -> Response<Bytes> {
        // It is counted where it is refused.
        let mut answered = Answered::from(Denial::of(&self.router.worded(refusal)));
        if matches!(refusal, Refusal::RateLimited { .. }) {
            answered = answered.in_words(Refusal::TOO_MANY_REQUESTS);
        }
        self.finish("unknown", answered, &request.headers)
    }

    /// The answer to a request whose body could not be read, where the server says what with a status.
    #[must_use]
    pub fn unread(&self, request: &Parts, status: StatusCode) -> Response<Bytes> {
        let denial = match status {
            StatusCode::PAYLOAD_TOO_LARGE => self.denied(&Refusal::TooLarge { limit: self.body_bytes() }),
            StatusCode::SERVICE_UNAVAILABLE => self.denied(&Refusal::Unavailable),
            _ => Denial::new(status, "bad_http", "the request could not be read"),
        };
        self.finish("unknown", denial.into(), &request.headers)
    }

    /// Answers a request of somebody at an address.
    pub async fn answer(self: Arc<Self>, request: Request<Bytes>, from: IpAddr) -> Response<Bytes> {
        let (parts, body) = request.into_parts();
        let errand = Errand::of(parts.uri.path());
        if errand == Some(Errand::Unsubscribe) {
            return self.end_mails(&parts, &body).await;
        }
        // A browser asks with the cookies of its user, whatever page it is: what the page may not read it may not do either.
        if !self.admits_page(&parts.headers) {
            return self.finish("unknown", self.denied(&Refusal::ForbiddenOrigin).into(), &parts.headers);
        }
        if parts.method == Method::OPTIONS {
            return shared_with(preflight(&parts.headers), &parts.headers);
        }
        if let Some(errand) = errand {
            let answered = self.run_errand(errand, &parts, &body, from).await;
            return self.finish(errand.name(), answered.unwrap_or_else(Answered::from), &parts.headers);
        }
        let (name, answered) = match Asked::read(&parts) {
            Ok(asked) => (asked.name(), self.respond(&parts, asked, &body, from).await),
            Err(denial) => ("unknown", Err(denial)),
        };
        self.finish(name, answered.unwrap_or_else(Answered::from), &parts.headers)
    }

    async fn run_errand(&self, errand: Errand, parts: &Parts, body: &Bytes, from: IpAddr) -> Result<Answered, Denial> {
        if !self.is_serving.load(Ordering::Acquire) {
            return Err(self.denied(&Refusal::Unavailable));
        }
        self.do_errand(errand, parts, body, from).await
    }

    /// Whoever has a link needs no token, whatever page it was on.
    async fn end_mails(&self, parts: &Parts, body: &Bytes) -> Response<Bytes> {
        if !self.is_serving.load(Ordering::Acquire) {
            let denial = self.denied(&Refusal::Unavailable);
            return self.finish("unsubscribe", denial.into(), &parts.headers);
        }
        let response = self.unsubscribe(parts, body).await;
        self.count("unsubscribe", response.status());
        response
    }

    async fn respond(&self, parts: &Parts, asked: Asked, body: &Bytes, from: IpAddr) -> Result<Answered, Denial> {
        if !self.is_serving.load(Ordering::Acquire) {
            return Err(self.denied(&Refusal::Unavailable));
        }
        let caller = self.let_in(parts, from).await.map_err(|refusal| self.denied(&refusal))?;
        self.run(&caller, asked, parts, body).await
    }

    /// Whether a page that asks may, as far as it is one.
    fn admits_page(&self, request: &HeaderMap) -> bool {
        let origins = &self.config.socket.origins;
        let is_listed =
            |origin: &HeaderValue| origin.to_str().is_ok_and(|text| origins.iter().any(|it| it.admits(text)));
        origins.is_empty() || request.get_all(ORIGIN).iter().all(is_listed)
    }

    /// Finds out who asks. Where no keys exist it is nobody, and nobody has to be.
    async fn let_in(&self, parts: &Parts, address: IpAddr) -> Result<Caller, Refusal> {
        let entry = self.router.entry();
        if !entry.configured() {
            return Ok(Caller { identity: Identity::default(), address, is_open: true });
        }
        let allowed = self.failures.check(address);
        let decision = if allowed.is_ok() { "allow" } else { "deny" };
        self.metrics.rate_limit_decisions.with("address_failures", decision).increment(1);
        allowed?;
        let brought = Brought::read(&self.config.auth, parts);
        let candidate = Candidate {
            occasion: Occasion::Connect,
            namespace: self.inbox.namespace(),
            address,
            token: brought.token(),
            auth: RawValue::NULL,
            brought: &brought,
        };
        match entry.admit(&candidate).await {
            // Who may come in without a token has no notifications.
            Ok(admitted) if admitted.identity.user.is_none() => Err(Refusal::TokenRequired),
            Ok(admitted) => Ok(Caller { identity: admitted.identity, address, is_open: false }),
            Err(Denied { refusal, .. }) => {
                if matches!(refusal, Refusal::Unauthorized | Refusal::TokenRevoked | Refusal::Rejected(_)) {
                    self.failures.failed(address);
                }
                Err(refusal)
            }
        }
    }

    /// A refusal in the words that clients read.
    fn denied(&self, refusal: &Refusal) -> Denial {
        self.metrics.refusals.with(refusal.code()).increment(1);
        Denial::of(&self.router.worded(refusal))
    }

    /// The same for who may not, in words that say what.
    fn forbidden(&self, words: &str) -> Denial {
        let code = Refusal::NotAllowed.code();
        self.metrics.refusals.with(code).increment(1);
        Denial::new(StatusCode::FORBIDDEN, code, words)
    }

    fn finish(&self, name: &'static str, answered: Answered, request: &HeaderMap) -> Response<Bytes> {
        let response = answered.into_response();
        self.count(name, response.status());
        if self.admits_page(request) { shared_with(response, request) } else { response }
    }

    fn count(&self, name: &'static str, status: StatusCode) {
        let status = status.as_u16();
        tracing::debug!(operation = name, status, "a user asked");
        let class = match status {
            500.. => "5xx",
            400..500 => "4xx",
            _ => "2xx",
        };
        let requests =
            if ERRANDS.contains(&name) { &self.metrics.job_requests } else { &self.metrics.notification_requests };
        requests.with(name, class).increment(1);
    }
}

/// As what it is done once, however often it is sent, if it says so.
fn once_as(request: &Parts) -> Option<String> {
    request.headers.get(IDEMPOTENCY_KEY).and_then(|key| key.to_str().ok()).map(str::to_owned)
}

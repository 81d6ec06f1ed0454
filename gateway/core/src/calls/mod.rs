//! Calls: asking back ends over HTTP on behalf of clients. Patience, persistence and restraint live here; what is
//! asked, and who may, is the routes'.

mod attempt;
mod breaker;
mod endpoint;
mod kept;
mod post;
mod seen;

pub use attempt::{Rejection, fit};
pub use breaker::{Asker, Breaker, Source};
pub use endpoint::{Endpoint, EndpointError, Purpose};
pub use kept::{Keeping, Name};
pub use post::{Untaken, Why};
/// So that others need not name the library.
pub use reqwest::{Client, Url};

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use http::HeaderValue;
use http::header::HeaderName;
use parking_lot::Mutex;
use reqwest::ClientBuilder;
use reqwest::redirect::Policy;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::answers::Answers;
use crate::calls::attempt::{Failure, Kind, attempt};
use crate::calls::breaker::{Circuit, Transition, Verdict};
use crate::calls::endpoint::shown;
use crate::calls::kept::KeptAnswers;
use crate::config::Calls;
use crate::domain::Refusal;
use crate::metrics::Metrics;
use crate::recurring::Recurring;
use crate::traces::Traces;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const USER_AGENT: &str = concat!("gateway/", env!("CARGO_PKG_VERSION"));

/// Shorter than what servers commonly grant an idle connection: one that they are about to close costs an attempt.
const IDLE: Duration = Duration::from_secs(15);
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// The longest wait that a client is told, however long the back end's is.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// Asks back ends. One for each node: it keeps their connections, their breakers and their bounds.
pub struct Caller {
    client: Client,
    settings: Calls,
    metrics: Arc<Metrics>,
    traces: Traces,
    /// One entry for each URL of the route tables that this node has had.
    back_ends: Mutex<HashMap<String, Arc<BackEnd>>>,
    failures: Recurring,
    kept: KeptAnswers,
    store_failures: Recurring,
}

/// What is known about one back end, whichever routes ask it.
struct BackEnd {
    circuit: Circuit,
    slots: Semaphore,
    /// What it has been asked for, of which several may share it.
    purposes: AtomicU8,
}

/// Why asking brought nothing.
#[derive(Debug)]
pub enum Unanswered {
    /// The back end said no (4xx).
    Rejected(Rejection),
    /// There was no answer that makes sense.
    Refused(Refusal),
}

impl From<Unanswered> for Refusal {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Rejected(rejection) => Self::Rejected(rejection.words()),
            Unanswered::Refused(refusal) => refusal,
        }
    }
}

/// What is asked, the same for every attempt.
struct Ask<'a> {
    endpoint: &'a Endpoint,
    asker: &'a Asker,
    key: HeaderValue,
    /// Random, for finding the call in the logs of both sides.
    id: HeaderValue,
    body: Bytes,
}

impl Caller {
    /// A caller that knows no back end yet.
    ///
    /// # Errors
    /// If there is no TLS to be had at all.
    pub fn new(settings: &Calls, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        Ok(Self {
            client: client()?,
            settings: settings.clone(),
            kept: KeptAnswers::new(settings.cache_bytes, metrics.clone()),
            metrics,
            traces: Traces::default(),
            back_ends: Mutex::default(),
            failures: Recurring::new("a call failed"),
            store_failures: Recurring::new("the store of answers failed, and each node asks for itself"),
        })
    }

    /// The same, with a store of answers that it shares with other nodes.
    #[must_use]
    pub fn sharing(self, answers: Arc<dyn Answers>) -> Self {
        Self { kept: self.kept.shared_by(answers), ..self }
    }

    /// Publishes what the answers take that are kept, and which back ends are left alone; to be called every few seconds.
    pub async fn upkeep(&self) {
        self.count_open();
        self.kept.upkeep().await;
    }

    /// Publishes how many back ends are left alone. One that is asked for several things counts for each.
    fn count_open(&self) {
        let open =
            |back_end: &Arc<BackEnd>| back_end.circuit.is_open().then(|| back_end.purposes.load(Ordering::Relaxed));
        let open: Vec<u8> = self.back_ends.lock().values().filter_map(open).collect();
        for purpose in Purpose::ALL {
            let count = open.iter().filter(|purposes| *purposes & purpose.bit() != 0).count();
            self.metrics.call_breakers_open.with(purpose.as_str()).set(count as f64);
        }
    }

    /// Posts `body`, which must be JSON, and returns what the back end answers: its JSON, or `null` if it has nothing
    /// to say. If it fails for `asker` alone, it is left alone by that one alone. `key` goes into the `Idempotency-Key` of every attempt, so that a back end that knows it does the thing
    /// once. Dropping the future gives everything back.
    ///
    /// # Errors
    /// - [`Refusal::Rejected`]: the back end said no (4xx), in its own words where they are short and plain;
    /// - [`Refusal::RateLimited`]: it said "later" (429), and later is when the time for the call is over;
    /// - [`Refusal::Unavailable`]: no attempt brought an answer that makes sense, or it was left alone after that
    ///   happened too often;
    /// - [`Refusal::Overloaded`]: as many calls to it are under way as there may be;
    /// - [`Refusal::BadRequest`]: the key cannot be a header.
    pub async fn call(
        &self,
        endpoint: &Endpoint,
        asker: &Asker,
        key: &str,
        body: String,
    ) -> Result<Box<RawValue>, Refusal> {
        self.ask(endpoint, asker, key, body).await.map_err(Refusal::from)
    }

    /// The same for who wants to know how the back end said no.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn ask(
        &self,
        endpoint: &Endpoint,
        asker: &Asker,
        key: &str,
        body: String,
    ) -> Result<Box<RawValue>, Unanswered> {
        let key = HeaderValue::from_str(key)
            .map_err(|_| Unanswered::Refused(Refusal::bad_request("an id of printable ASCII characters")))?;
        let back_end = self.back_end(endpoint);
        let Ok(_slot) = back_end.slots.try_acquire() else {
            self.metrics.calls.with("overloaded").increment(1);
            return Err(Unanswered::Refused(Refusal::Overloaded));
        };
        let id = format!("{:032x}", rand::random::<u128>());
        let id = HeaderValue::from_str(&id).expect("digits are fine in a header");
        let ask = Ask { endpoint, asker, key, id, body: body.into() };
        let mut pending = Pending::new(&self.metrics);
        match self.persist(&ask, &back_end.circuit).await {
            Ok(answer) => {
                pending.result = "ok";
                Ok(answer)
            }
            Err(None) => {
                pending.result = "open";
                Err(Unanswered::Refused(Refusal::Unavailable))
            }
            Err(Some(failure)) => {
                pending.result = result(&failure.kind);
                Err(unanswered(failure, &ask, &self.failures))
            }
        }
    }

    fn back_end(&self, endpoint: &Endpoint) -> Arc<BackEnd> {
        let mut back_ends = self.back_ends.lock();
        let slots = self.settings.in_flight.min(Semaphore::MAX_PERMITS);
        let make = || {
            let purposes = AtomicU8::new(0);
            Arc::new(BackEnd { circuit: Circuit::new(), slots: Semaphore::new(slots), purposes })
        };
        let back_end = back_ends.entry(endpoint.identity()).or_insert_with(make);
        back_end.purposes.fetch_or(endpoint.purpose.bit(), Ordering::Relaxed);
        back_end.clone()
    }

    /// Tries until there is an answer, or no sense in going on. The error is the last failure, if there was one.
    async fn persist(&self, ask: &Ask<'_>, circuit: &Circuit) -> Result<Box<RawValue>, Option<Failure>> {
        let endpoint = ask.endpoint;
        let deadline = Instant::now() + endpoint.budget();
        let mut backoff =
            ExponentialBuilder::new().with_min_delay(endpoint.backoff).with_jitter().without_max_times().build();
        let mut last = None;
        for number in 1..=endpoint.attempts {
            let Some(permit) = circuit.permit(endpoint.breaker, ask.asker) else { break };
            if number > 1 {
                self.metrics.call_retries.increment(1);
            }
            let patience = endpoint.timeout.min(deadline.saturating_duration_since(Instant::now()));
            let (span, mut status) = (seen::request(endpoint, number), None);
            let attempt = attempt(&self.client, ask, self.settings.answer_bytes, &mut status);
            let asked = timeout(patience, span.within(attempt)).await;
            let asked = asked.unwrap_or_else(|_| Err(Failure::timed_out(patience)));
            seen::ended(span, status, asked.as_ref().err().map(|failure| result(&failure.kind)));
            let verdict = asked.as_ref().map_or_else(Failure::verdict, |_| Verdict::Works);
            self.report(endpoint, ask.asker, permit.settle(verdict));
            let failure = match asked {
                Ok(answer) => return Ok(answer),
                Err(failure) if !failure.is_passing() => return Err(Some(failure)),
                Err(failure) => failure,
            };
            tracing::debug!(back_end = shown(&endpoint.url), request = ?ask.id, number, failure.reason, "an attempt");
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = wait(failure.retry_after, backoff.next().unwrap_or(endpoint.backoff), left);
            last = Some(failure);
            match wait {
                Some(wait) if number < endpoint.attempts => tokio::time::sleep(wait).await,
                _ => break,
            }
        }
        Err(last)
    }

    fn report(&self, endpoint: &Endpoint, asker: &Asker, change: Option<Transition>) {
        let Some(change) = change else { return };
        let by = match change {
            Transition::Opened => "all",
            Transition::OpenedForOne => "one",
            Transition::Closed => {
                tracing::info!(back_end = shown(&endpoint.url), "works again");
                return self.count_open();
            }
        };
        self.metrics.call_breaker_openings.with(by).increment(1);
        if by == "all" || asker.source == Source::Gateway {
            let (back_end, of) = (shown(&endpoint.url), endpoint.purpose.as_str());
            tracing::warn!(back_end, of, pause = ?endpoint.breaker.pause, "fails again and again, and is left alone");
        }
        self.count_open();
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// A client for HTTP as all requests of the gateway have it: it follows no redirects and unpacks nothing.
///
/// Proxies are taken from `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, as everywhere. Without certificates of authorities on
/// this system, only `http://` can be asked, and the log says so.
///
/// # Errors
/// If there is no TLS to be had at all.
pub fn client() -> anyhow::Result<Client> {
    match builder().build() {
        Ok(client) => Ok(client),
        Err(error) => {
            tracing::warn!(error = ?error, "calls over https will fail: are the CA certificates installed?");
            Ok(builder().tls_certs_only([]).build()?)
        }
    }
}

fn builder() -> ClientBuilder {
    Client::builder()
        .user_agent(USER_AGENT)
        .redirect(Policy::none())
        .referer(false)
        // A few bytes may unfold to gigabytes: what is encoded is not taken, whatever the library is built with.
        .no_gzip()
        .no_brotli()
        .no_deflate()
        .no_zstd()
        .pool_idle_timeout(IDLE)
        .tcp_keepalive(KEEP_ALIVE)
        .tcp_nodelay(true)
}

/// How long to wait before the next attempt: never more than half of the time that is left, unless the back end says
/// so; and nothing if there is no time for what it says.
fn wait(retry_after: Option<Duration>, backoff: Duration, left: Duration) -> Option<Duration> {
    let wait = backoff.min(left / 2).max(retry_after.unwrap_or_default());
    (wait < left).then_some(wait)
}

/// What metrics call it.
fn result(kind: &Kind) -> &'static str {
    match kind {
        Kind::Rejected(_) => "rejected",
        Kind::Postponed => "postponed",
        Kind::TimedOut => "timeout",
        Kind::Failed | Kind::Moved => "failed",
    }
}

/// What the client reads, and what the operator does.
fn unanswered(failure: Failure, ask: &Ask<'_>, failures: &Recurring) -> Unanswered {
    let (back_end, reason, request) = (shown(&ask.endpoint.url), failure.reason, &ask.id);
    match failure.kind {
        Kind::Rejected(rejection) => {
            tracing::debug!(back_end, reason, ?request, "a back end refused");
            Unanswered::Rejected(rejection)
        }
        Kind::Postponed => {
            tracing::debug!(back_end, reason, ?request, "a back end wants to be asked later");
            let later = |after: Duration| Refusal::RateLimited { retry_after: after.min(LONGEST_WAIT) };
            Unanswered::Refused(failure.retry_after.map_or(Refusal::Unavailable, later))
        }
        Kind::TimedOut | Kind::Failed | Kind::Moved => {
            // Whoever looks for one request finds it at this level, however many fail.
            tracing::debug!(back_end, reason, ?request, "a call failed");
            failures.note(|what| tracing::warn!(back_end, reason, ?request, "{what}"));
            Unanswered::Refused(Refusal::Unavailable)
        }
    }
}

/// A call under way. What came of it is counted when it ends, however it ends.
struct Pending<'a> {
    metrics: &'a Metrics,
    since: Instant,
    result: &'static str,
}

impl<'a> Pending<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        metrics.calls_in_flight.increment(1.0);
        Self { metrics, since: Instant::now(), result: "cancelled" }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.metrics.calls_in_flight.decrement(1.0);
        self.metrics.calls.with(self.result).increment(1);
        // Neither of these says how long back ends take.
        if !["cancelled", "open"].contains(&self.result) {
            self.metrics.call_duration.record(self.since.elapsed().as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::wait;
    use std::time::Duration;

    #[test]
    fn waiting_leaves_time_for_the_attempt() {
        let ms = Duration::from_millis;
        assert_eq!(wait(None, ms(100), ms(5_000)), Some(ms(100)));
        assert_eq!(wait(None, ms(100), ms(100)), Some(ms(50)));
        assert_eq!(wait(None, ms(100), Duration::ZERO), None);
        assert_eq!(wait(Some(ms(10)), ms(100), ms(5_000)), Some(ms(100)));
        assert_eq!(wait(Some(ms(3_000)), ms(100), ms(5_000)), Some(ms(3_000)));
        assert_eq!(wait(Some(ms(5_000)), ms(100), ms(5_000)), None);
    }
}

//! The hook: a back end that is asked about everybody who wants in. What it says of a token is used again for a while.

mod answer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderValue};
use moka::Expiry;
use moka::future::Cache;
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use self::answer::{Limits, Said, Verdict};
use super::brought::Facts;
use super::entry::{Admitted, Candidate, Denied, Occasion};
use super::{Identity, Revoked};
use crate::calls::{Asker, Breaker, Caller, Endpoint, Purpose, Source, Unanswered};
use crate::config::{self, Config};
use crate::domain::{Refusal, SessionId, network};
use crate::metrics::Metrics;
use crate::recurring::Recurring;
use crate::traces::Kind;

/// How long to wait before it is asked again, at least: its client waits meanwhile.
const BACKOFF: Duration = Duration::from_millis(100);

/// By what an answer is found again: the hash of all that was asked.
type Key = [u8; 32];

/// A back end that decides who comes in.
pub struct Hook {
    caller: Arc<Caller>,
    endpoint: Endpoint,
    limits: Limits,
    /// How long an answer about a token is kept at the most.
    kept: Duration,
    answers: Cache<Key, Arc<Verdict>>,
    /// Those who ask it at the same time. Who comes in waits for its turn, as being turned away costs more.
    turns: Semaphore,
    trouble: Recurring,
    metrics: Arc<Metrics>,
}

/// What it is asked: the body of the request.
#[derive(Serialize)]
struct Question<'a> {
    event: &'static str,
    namespace: &'a str,
    /// As the client sent it.
    token: Option<&'a str>,
    /// Who the token says it is, if keys have checked it.
    user: Option<&'a str>,
    roles: &'a [String],
    auth: &'a RawValue,
    address: String,
    #[serde(flatten)]
    facts: &'a Facts,
}

/// Answers live as long as they say.
struct ByVerdict;

#[expect(clippy::disallowed_types, reason = "the cache has this clock")]
impl Expiry<Key, Arc<Verdict>> for ByVerdict {
    fn expire_after_create(&self, _: &Key, verdict: &Arc<Verdict>, _: std::time::Instant) -> Option<Duration> {
        Some(verdict.keep)
    }
}

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hook").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Hook {
    /// The one that is configured; none if none is.
    ///
    /// # Errors
    /// What is wrong with it, in words that name the setting.
    pub fn new(config: &Config, caller: Arc<Caller>, metrics: Arc<Metrics>) -> Result<Option<Self>, String> {
        let settings = &config.auth.hook;
        if settings.url.is_empty() {
            return Ok(None);
        }
        let endpoint = endpoint(settings)?;
        let weigh = |_: &Key, verdict: &Arc<Verdict>| verdict.weight();
        Ok(Some(Self {
            caller,
            endpoint,
            limits: Limits {
                rooms: config.limits.rooms_per_session,
                data_bytes: config.limits.message_bytes,
                json_depth: config.limits.json_depth,
            },
            kept: settings.kept,
            answers: Cache::builder().max_capacity(settings.kept_bytes).weigher(weigh).expire_after(ByVerdict).build(),
            turns: Semaphore::new(config.calls.in_flight.min(Semaphore::MAX_PERMITS)),
            trouble: Recurring::new("auth.hook decides nothing, and clients have to come back"),
            metrics,
        }))
    }

    /// Looks whether the one that is configured can be asked.
    ///
    /// # Errors
    /// What is wrong with it, in words that name the setting.
    pub fn check(settings: &config::AuthHook) -> Result<(), String> {
        if settings.url.is_empty() { Ok(()) } else { endpoint(settings).map(drop) }
    }

    /// What it says about a client of which `known` is known by its token.
    pub(super) async fn decide(
        &self,
        candidate: &Candidate<'_>,
        known: Identity,
        revoked: &Revoked,
    ) -> Result<Admitted, Denied> {
        let nothing = Facts::default();
        let question = Question {
            event: match candidate.occasion {
                Occasion::Connect => "connect",
                Occasion::Refresh => "refresh",
            },
            namespace: candidate.namespace,
            token: candidate.token,
            user: known.user.as_ref().map(crate::domain::UserId::as_str),
            roles: &known.roles,
            auth: candidate.auth,
            address: candidate.address.to_string(),
            facts: candidate.brought.facts.as_deref().unwrap_or(&nothing),
        };
        let body = serde_json::to_string(&question).map_err(|_| Refusal::Unauthorized)?;
        let mut decided = self.recall_or_ask(candidate, &known, &body).await?;
        if decided.is_old && revoked.covers(&decided.verdict.identity(&known)) {
            // What it said before somebody took the user's tokens back says nothing about now.
            self.answers.invalidate(&key(&body)).await;
            decided = self.recall_or_ask(candidate, &known, &body).await?;
        }
        let identity = decided.verdict.identity(&known);
        if identity.token.is_some() && !revoked.loaded() {
            return Err(Refusal::Unavailable.into());
        }
        if revoked.covers(&identity) {
            // Times are whole seconds. Of what was said in the second of a revocation nobody knows which came first, and in the
            // next one it is asked anew; a token from before it stays revoked.
            let was_before = known.token.is_some();
            return Err(if was_before { Refusal::TokenRevoked } else { Refusal::Unavailable }.into());
        }
        let Verdict { rooms, data, .. } = &*decided.verdict;
        Ok(Admitted { identity, rooms: rooms.clone(), data: data.clone() })
    }

    /// Those who want to know the same at the same time share an answer, if it is about a token: without one, nothing tells
    /// two clients apart.
    async fn recall_or_ask(&self, candidate: &Candidate<'_>, known: &Identity, body: &str) -> Result<Decided, Denied> {
        if candidate.token.is_none() || self.kept.is_zero() {
            let verdict = self.ask(candidate, known, body).await?;
            return Ok(Decided { verdict: Arc::new(verdict), is_old: false });
        }
        let is_new = AtomicBool::new(false);
        let asking = async {
            is_new.store(true, Ordering::Relaxed);
            self.ask(candidate, known, body).await.map(Arc::new)
        };
        let verdict = self.answers.try_get_with(key(body), Box::pin(asking)).await;
        let verdict = verdict.map_err(|denied: Arc<Denied>| (*denied).clone())?;
        let is_old = !is_new.into_inner();
        if is_old {
            self.metrics.auth_hook_answers.with("kept").increment(1);
        }
        Ok(Decided { verdict, is_old })
    }

    async fn ask(&self, candidate: &Candidate<'_>, known: &Identity, body: &str) -> Result<Verdict, Denied> {
        let count = |result: &str| self.metrics.auth_hook_answers.with(result).increment(1);
        let turn = timeout(self.endpoint.timeout, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            count("unavailable");
            self.trouble.note(|what| tracing::warn!(why = "too many clients wait for its answers", "{what}"));
            return Err(Refusal::Unavailable.into());
        };
        let proven = known.user.clone().map(Source::User);
        let source = proven.unwrap_or_else(|| Source::Address(network(candidate.address)));
        let asker = Asker { session: SessionId::random(), source };
        let attempt = format!("{:032x}", rand::random::<u128>());
        // Whoever comes brings no trace that could be believed.
        let span = self.caller.traces().begin(None, Kind::Server, "connect");
        // Most clients come without being asked about, and should not carry what that needs.
        let asked = Box::pin(self.caller.ask(&self.endpoint, &asker, &attempt, body.to_owned()));
        let answered = span.within(asked).await;
        let said = match answered {
            Ok(answer) => Said::read(&answer, candidate.namespace, known, &self.limits),
            Err(Unanswered::Rejected(rejection)) => Said::refused(&rejection, &self.limits),
            Err(Unanswered::Refused(_)) => {
                // Whatever it is, it may be otherwise in a moment, and why was logged where it was seen.
                count("unavailable");
                return Err(Refusal::Unavailable.into());
            }
        };
        match said {
            Ok(Said::Yes(verdict)) => {
                count("yes");
                Ok(verdict.kept_for(self.kept, known))
            }
            Ok(Said::No(denied)) => {
                count("no");
                Err(denied)
            }
            Err(why) => {
                count("unusable");
                self.trouble.note(|what| tracing::warn!(why, "{what}"));
                Err(Refusal::Unavailable.into())
            }
        }
    }
}

/// What was decided, and whether that was before it was asked for.
struct Decided {
    verdict: Arc<Verdict>,
    is_old: bool,
}

fn endpoint(settings: &config::AuthHook) -> Result<Endpoint, String> {
    let wrong = |why: &str| format!("auth.hook.url: {why}");
    // Why not may repeat what is secret in it.
    let url = settings.url.expose().parse().map_err(|_| wrong("is not a URL"))?;
    let mut endpoint = Endpoint::new(url);
    endpoint.purpose = Purpose::Auth;
    endpoint.timeout = settings.timeout;
    endpoint.attempts = settings.attempts;
    endpoint.backoff = BACKOFF.min(settings.timeout);
    endpoint.breaker = Breaker { failures: settings.failures, pause: settings.pause };
    if !settings.token.is_empty() {
        let value = HeaderValue::try_from(format!("Bearer {}", settings.token.expose()));
        let mut value = value.map_err(|_| "auth.hook.token: cannot stand in a header".to_owned())?;
        value.set_sensitive(true);
        endpoint.headers.insert(AUTHORIZATION, value);
    }
    endpoint.check().map_err(|error| wrong(&error.to_string()))?;
    Ok(endpoint)
}

fn key(body: &str) -> Key {
    Sha256::digest(body.as_bytes()).into()
}

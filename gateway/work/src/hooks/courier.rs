//! The courier of one hook: reads what waits, posts it, and says what became of it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use tokio::time::{Instant, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::letter::letter;
use super::pace::Pace;
use super::{Hooks, Outboxes, sign};
use gateway_core::calls::{Asker, Breaker, Endpoint, Source, Untaken, Why};
use gateway_core::domain::SessionId;
use gateway_core::outbox::{Batch, Claim, Fate, Happening, Most, Place, Waiting};
use gateway_core::port::PortError;
use gateway_core::recurring::Recurring;
use gateway_core::routes::Hook;
use gateway_core::traces::Kind;

const SIGNATURE: HeaderName = HeaderName::from_static("x-gateway-signature");
const HOOK: HeaderName = HeaderName::from_static("x-gateway-hook");

/// How soon the store is asked again that did not do something.
const SOON: Duration = Duration::from_secs(1);
/// How long letting go may take.
const LETTING_GO: Duration = Duration::from_millis(500);

/// Somebody else works on the hook by now.
struct Lost;

/// Works on one hook as long as its claim holds, and else waits for its turn.
pub(super) struct Courier {
    hooks: Arc<Hooks>,
    hook: Arc<Hook>,
    source: Arc<Outboxes>,
    endpoint: Endpoint,
    claim: Claim,
    /// As whom it is known to the breaker.
    asker: Asker,
    pace: Pace,
    untaken: Recurring,
    given_up: Recurring,
    dropped: Recurring,
}

impl Courier {
    pub(super) fn new(hooks: Arc<Hooks>, hook: Arc<Hook>, source: Arc<Outboxes>) -> Self {
        let mut endpoint = hook.endpoint.clone();
        // It is not to be left alone for longer than it would be waited for anyway.
        let Breaker { failures, pause } = endpoint.breaker;
        endpoint.breaker = Breaker { failures, pause: pause.min(hooks.settings.backoff_max) };
        Self {
            endpoint,
            claim: Claim::new(hooks.settings.lease),
            asker: Asker { session: SessionId::random(), source: Source::Gateway },
            pace: Pace::new(&hooks.settings),
            untaken: Recurring::new("the back end of a hook does not take what it is told"),
            given_up: Recurring::new("what a hook was to be told is given up"),
            dropped: Recurring::new("as much waits for a hook as may wait, and what happens is dropped"),
            hooks,
            hook,
            source,
        }
    }

    /// Works until `end`, and then lets go.
    pub(super) async fn run(mut self, end: CancellationToken) {
        end.run_until_cancelled(self.work()).await;
        let name = &self.hook.name;
        self.hooks.figures.forget(name, &self.source.name);
        // If it does not work, the lease runs out.
        timeout(LETTING_GO, self.source.outbox.let_go(name, &self.claim)).await.ok();
    }

    async fn work(&mut self) {
        loop {
            let pause = match self.round().await {
                Ok(Ok(pause)) => pause,
                Ok(Err(Lost)) => {
                    self.hooks.figures.forget(&self.hook.name, &self.source.name);
                    sleep(self.claim.lease() / 3).await;
                    continue;
                }
                Err(error) => {
                    self.hooks.note(&error);
                    SOON
                }
            };
            self.rest(pause).await;
        }
    }

    /// Delivers some of what waits. Returns how long to wait before the next.
    async fn round(&mut self) -> Result<Result<Duration, Lost>, PortError> {
        let settings = &self.hooks.settings;
        let most = Most { entries: self.pace.at_once(), bytes: settings.batch_bytes };
        let Some(batch) = self.source.outbox.read(&self.hook.name, &self.claim, most).await? else {
            return Ok(Err(Lost));
        };
        self.note_standing(&batch, batch.entries.first().map(|first| first.age));
        if batch.entries.is_empty() {
            return Ok(Ok(settings.interval));
        }
        let (mut places, mut happenings) = (Vec::new(), Vec::new());
        let (mut late, mut unreadable) = (Vec::new(), Vec::new());
        for Waiting { place, age, happening } in batch.entries {
            match happening {
                None => unreadable.push(place),
                Some(_) if age >= settings.keep => late.push(place),
                Some(happening) => {
                    places.push(place);
                    happenings.push(happening);
                }
            }
        }
        for (reason, places, why) in [
            ("late", late, "it was not taken for as long as hooks.keep"),
            ("unreadable", unreadable, "this version cannot read it"),
        ] {
            if !places.is_empty() && self.give_up(&places, reason, why).await.is_err() {
                return Ok(Err(Lost));
            }
        }
        if happenings.is_empty() {
            return Ok(Ok(Duration::ZERO));
        }
        Ok(self.deliver(&places, &happenings).await)
    }

    async fn deliver(&mut self, places: &[Place], happenings: &[Happening]) -> Result<Duration, Lost> {
        let posted = self.post(happenings).await?;
        let metrics = &self.hooks.metrics;
        metrics
            .hook_attempts
            .with(posted.as_ref().map_or_else(|untaken| untaken.why.as_str(), |()| "taken"))
            .increment(1);
        let Err(Untaken { why, reason, retry_after, .. }) = posted else {
            metrics.hook_events_delivered.increment(places.len() as u64);
            self.pace.taken();
            return self.settle(places, Fate::Delivered).await.map(|()| Duration::ZERO);
        };
        let (hook, back_end) = (&*self.hook.name, self.endpoint.shown());
        tracing::debug!(hook, back_end, reason, events = places.len(), "a back end did not take what it was told");
        match why {
            Why::Refused if places.len() > 1 => {
                self.pace.split(places.len());
                Ok(Duration::ZERO)
            }
            Why::Refused => {
                let id = happenings.first().map(Happening::id).unwrap_or_default();
                self.given_up.note(|what| tracing::warn!(hook, back_end, id, reason, "{what}"));
                self.give_up(places, "refused", &reason).await?;
                Ok(self.pace.refused())
            }
            Why::Postponed | Why::Redirected | Why::TimedOut | Why::Failed | Why::Open => {
                // After a time in which much has come to wait, a back end that needs long for each would never have done with as many
                // as a request may have; and one that fails of one of them does not fail of all.
                if matches!(why, Why::TimedOut | Why::Failed) {
                    self.pace.split(places.len());
                }
                self.untaken.note(|what| tracing::warn!(hook, back_end, reason, "{what}"));
                Ok(self.pace.failed(retry_after))
            }
        }
    }

    /// Posts, and keeps the claim meanwhile.
    async fn post(&self, happenings: &[Happening]) -> Result<Result<(), Untaken>, Lost> {
        let body = letter(&self.hook.name, happenings);
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let signature = sign(&self.hook.secrets, seconds, &body);
        let header = |text: &str| HeaderValue::from_str(text).expect("names and digits are fine in a header");
        let headers = HeaderMap::from_iter([(SIGNATURE, header(&signature)), (HOOK, header(&self.hook.name))]);
        let traces = happenings.iter().map(|happening| happening.trace.as_ref());
        let mut span = self.hooks.caller.traces().resume_all(traces, Kind::Consumer, "deliver");
        if span.is_recorded() {
            span.rename(|| format!("deliver {}", self.hook.name));
            span.say("messaging.batch.message_count", happenings.len());
        }
        // What rests in it would make every future around it large.
        let mut attempt = Box::pin(span.within(self.hooks.caller.post(&self.endpoint, &self.asker, headers, body)));
        let every = self.claim.lease() / 3;
        let mut tick = interval_at(Instant::now() + every, every);
        loop {
            tokio::select! {
                posted = &mut attempt => return Ok(posted),
                _ = tick.tick() => self.renew().await?,
            }
        }
    }

    /// Waits, and keeps the claim meanwhile: somebody else would try at once what is to be tried later.
    async fn rest(&self, pause: Duration) {
        let (end, every) = (Instant::now() + pause, self.claim.lease() / 3);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            sleep(left.min(every)).await;
            if left <= every || self.renew().await.is_err() {
                return;
            }
        }
    }

    /// Whether the claim still holds, as far as can be known.
    async fn renew(&self) -> Result<(), Lost> {
        match self.source.outbox.read(&self.hook.name, &self.claim, Most::NOTHING).await {
            Ok(Some(batch)) => {
                self.note_standing(&batch, None);
                Ok(())
            }
            Ok(None) => Err(Lost),
            Err(error) => {
                self.hooks.note(&error);
                Ok(())
            }
        }
    }

    fn note_standing(&self, batch: &Batch, oldest: Option<Duration>) {
        self.hooks.figures.note(&self.hook.name, &self.source.name, batch.waiting, oldest);
        if batch.dropped > 0 {
            self.hooks.metrics.hook_events_dropped.increment(batch.dropped);
            let (hook, events, waiting) = (&*self.hook.name, batch.dropped, batch.waiting);
            self.dropped.note(|what| tracing::error!(hook, events, waiting, "{what}"));
        }
    }

    async fn give_up(&self, places: &[Place], reason: &str, why: &str) -> Result<(), Lost> {
        let (hook, events) = (&*self.hook.name, places.len());
        if reason != "refused" {
            self.given_up.note(|what| tracing::warn!(hook, events, why, "{what}"));
        }
        self.settle(places, Fate::GivenUp { why, kept: self.hooks.settings.given_up }).await?;
        self.hooks.metrics.hook_events_given_up.with(reason).increment(places.len() as u64);
        Ok(())
    }

    /// Says what became of what was read, until the store knows: else it would be delivered again.
    async fn settle(&self, places: &[Place], fate: Fate<'_>) -> Result<(), Lost> {
        loop {
            match self.source.outbox.settle(&self.hook.name, &self.claim, places, fate).await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(Lost),
                Err(error) => self.hooks.note(&error),
            }
            sleep(SOON).await;
        }
    }
}

//! `http`: a back end is called, signed as hooks are, and again until it takes it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Kind, read};
use crate::hooks::sign;
use gateway_core::calls::{Asker, Caller, Endpoint, Purpose, Source, Url, Why};
use gateway_core::config::{self, Secret};
use gateway_core::domain::SessionId;
use gateway_core::jobs::{Failure, Handler, Job};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const SIGNATURE: HeaderName = HeaderName::from_static("x-gateway-signature");
const JOB: HeaderName = HeaderName::from_static("x-gateway-job");
const QUEUE: HeaderName = HeaderName::from_static("x-gateway-queue");
const ATTEMPT: HeaderName = HeaderName::from_static("x-gateway-attempt");

/// The longest that a back end can ask to be left alone.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);
/// What of a text stands in a header as it is, so that no two texts look the same there.
const PLAIN: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'"').add(b',').add(b';');

/// The back ends that jobs may call, by name. Cloning gives another handle of the same.
#[derive(Clone)]
pub struct BackEnds(Arc<ArcSwap<HashMap<String, Arc<BackEnd>>>>);

struct BackEnd {
    endpoint: Endpoint,
    secrets: Vec<Secret>,
}

impl fmt::Debug for BackEnds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.load().keys()).finish()
    }
}

impl BackEnds {
    /// Those of the configuration.
    ///
    /// # Errors
    /// What is wrong, in words that name the setting.
    pub fn new(settings: &config::Jobs) -> Result<Self, String> {
        Ok(Self(Arc::new(ArcSwap::from_pointee(back_ends(settings)?))))
    }

    /// Goes on with others. What is under way ends as it began.
    ///
    /// # Errors
    /// As [`Self::new`]; then nothing has changed.
    pub fn replace(&self, settings: &config::Jobs) -> Result<(), String> {
        self.0.store(Arc::new(back_ends(settings)?));
        Ok(())
    }

    fn find(&self, name: &str) -> Result<Arc<BackEnd>, String> {
        let all = self.0.load();
        all.get(name).cloned().ok_or_else(|| {
            let mut known: Vec<_> = all.keys().map(String::as_str).collect();
            known.sort_unstable();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            format!("there is no back end {name:?} ([[jobs.back_end]]); there are: {known}")
        })
    }
}

fn back_ends(settings: &config::Jobs) -> Result<HashMap<String, Arc<BackEnd>>, String> {
    let back_end = |it: &config::BackEnd| {
        let wrong = |why: String| format!("jobs.back_end: ({:?}) url {why}", it.name);
        let url: Url = it.url.expose().parse().map_err(|_| wrong("is none of http or https".into()))?;
        let mut endpoint = Endpoint::new(url);
        (endpoint.timeout, endpoint.attempts, endpoint.purpose) = (it.timeout, 1, Purpose::Jobs);
        endpoint.check().map_err(|error| wrong(format!("cannot be called: {error}")))?;
        Ok((it.name.clone(), Arc::new(BackEnd { endpoint, secrets: it.secrets.clone() })))
    };
    settings.back_end.iter().map(back_end).collect()
}

/// Calls back ends.
#[derive(Debug)]
pub struct Http {
    back_ends: BackEnds,
    caller: Arc<Caller>,
    /// As whom it is known to breakers.
    asker: Asker,
}

/// What a job of this kind is about.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Data<'a> {
    /// The name of a back end.
    to: String,
    /// What it is sent, as it was written; `null` if nothing is.
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
}

impl Http {
    /// Somebody who calls these.
    #[must_use]
    pub fn new(back_ends: BackEnds, caller: Arc<Caller>) -> Self {
        let asker = Asker { session: SessionId::random(), source: Source::Gateway };
        Self { back_ends, caller, asker }
    }

    /// Looks whether one of these back ends can be called with such data.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check_data(back_ends: &BackEnds, data: &RawValue) -> Result<(), String> {
        let data: Data<'_> = read(data)?;
        back_ends.find(&data.to).map(drop)
    }
}

impl Kind for Http {
    fn check(&self, data: &RawValue) -> Result<(), String> {
        Self::check_data(&self.back_ends, data)
    }
}

#[async_trait]
impl Handler for Http {
    async fn handle(&self, job: &Job) -> Result<Option<Box<RawValue>>, Failure> {
        let data: Data<'_> = read(&job.data).map_err(Failure::never)?;
        // Whoever took it out of the configuration may put it back.
        let back_end = self.back_ends.find(&data.to).map_err(Failure::not_now)?;
        let body = Bytes::from(data.body.unwrap_or(RawValue::NULL).get().to_owned());
        let headers = headers(job, &back_end.secrets, &body);
        let posted = self.caller.post(&back_end.endpoint, &self.asker, headers, body).await;
        let Err(untaken) = posted else { return Ok(None) };
        let why = format!("{}: {}", back_end.endpoint.shown(), untaken.reason);
        Err(match (untaken.why, untaken.retry_after) {
            (Why::Refused, _) => Failure::never(why),
            (_, Some(wait)) => Failure::after(wait.min(LONGEST_WAIT), why),
            (_, None) => Failure::not_now(why),
        })
    }
}

fn headers(job: &Job, secrets: &[Secret], body: &[u8]) -> HeaderMap {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let header = |text: &str| {
        let text = utf8_percent_encode(text, PLAIN).to_string();
        HeaderValue::from_str(&text).expect("what is encoded is fine in a header")
    };
    let signature = HeaderValue::from_str(&sign(secrets, seconds, body)).expect("digits are fine in a header");
    HeaderMap::from_iter([
        (IDEMPOTENCY_KEY, header(&idempotency_key(job))),
        (SIGNATURE, signature),
        (JOB, header(job.id.as_str())),
        (QUEUE, header(job.queue.as_str())),
        (ATTEMPT, HeaderValue::from(job.attempt)),
    ])
}

/// The job's id. Those that queues give by themselves are numbers, which other queues give as well.
fn idempotency_key(job: &Job) -> String {
    let id = job.id.as_str();
    if id.bytes().all(|byte| byte.is_ascii_digit()) { format!("{}:{id}", job.queue) } else { id.to_owned() }
}

#[cfg(test)]
mod tests {
    use gateway_core::jobs::{Backoff, JobId, QueueName};

    use super::*;

    fn settings(url: &str) -> config::Jobs {
        let mut settings = config::load(None, std::iter::empty()).unwrap().jobs;
        let back_end = format!("name = \"billing\"\nurl = {url:?}\nsecrets = [\"0123456789abcdef\"]");
        settings.back_end = vec![toml::from_str(&back_end).unwrap()];
        settings
    }

    #[test]
    fn only_back_ends_that_have_a_name_are_called() {
        let back_ends = BackEnds::new(&settings("http://billing.test/jobs")).unwrap();
        let http = Http::new(
            back_ends.clone(),
            Arc::new(Caller::new(&config::load(None, std::iter::empty()).unwrap().calls, Arc::default()).unwrap()),
        );
        let check = |data: &str| http.check(&RawValue::from_string(data.to_owned()).unwrap());
        assert_eq!(check(r#"{"to":"billing","body":[1.10]}"#), Ok(()));
        assert_eq!(check(r#"{"to":"billing"}"#), Ok(()));
        for (data, word) in [
            (r#"{"to":"http://evil.test/"}"#, "there are: billing"),
            (r#"{"to":"billing","url":"http://evil.test/"}"#, "unknown field"),
            ("{}", "missing field `to`"),
            (r#"["billing", 1]"#, "object"),
        ] {
            assert!(check(data).unwrap_err().contains(word), "{data}");
        }
        let none = config::load(None, std::iter::empty()).unwrap().jobs;
        back_ends.replace(&none).unwrap();
        assert!(check(r#"{"to":"billing"}"#).unwrap_err().contains("there are: none"));
        assert!(back_ends.replace(&settings("http://")).unwrap_err().starts_with("jobs.back_end: (\"billing\")"));
    }

    #[test]
    fn whatever_a_job_is_called_its_headers_are_headers() {
        let job = |queue: &str, id: &str| Job {
            id: JobId::known(id).unwrap(),
            queue: QueueName::new(queue).unwrap(),
            kind: "http".into(),
            data: RawValue::NULL.to_owned(),
            attempt: 2,
            attempts: 3,
            backoff: Backoff::Fixed(Duration::ZERO),
            lost: 0,
            priority: 0,
            enqueued_at_ms: 0,
            trace: None,
        };
        let key =
            |queue: &str, id: &str| headers(&job(queue, id), &[], b"")[IDEMPOTENCY_KEY].to_str().unwrap().to_owned();
        assert_eq!(
            (key("q", "order-7"), key("q", "7"), key("m\u{fc}ll\n", "7")),
            ("order-7".into(), "q:7".into(), "m%C3%BCll%0A:7".into())
        );
        assert_ne!(key("q", "a b"), key("q", "a%20b"));
        assert_eq!(headers(&job("a\r\nX: y", "\u{1f600}"), &[], b"")[JOB], "%F0%9F%98%80");
    }
}

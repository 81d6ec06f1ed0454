//! Novu: workflows of its are triggered; each trigger is a job.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::jobs::Kind;
use crate::mail::{Letter, Mail, Receivers};
use crate::once::{Once, Turn};
use gateway_core::calls::{Asker, Caller, Endpoint, Purpose, Source, Untaken, Why};
use gateway_core::config;
use gateway_core::domain::SessionId;
use gateway_core::jobs::{Failure, Handler, Job};
use gateway_core::metrics::Metrics;

/// The longest that Novu may have a trigger wait: what it asks for beyond that is a mistake of somebody.
const LONGEST: Duration = Duration::from_secs(3600);

/// What triggers workflows.
pub struct Novu {
    /// Nothing without a key.
    endpoint: Option<Endpoint>,
    caller: Arc<Caller>,
    mail: Arc<Mail>,
    receivers: Arc<Receivers>,
    once: Once,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Novu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Novu").field("is_on", &self.endpoint.is_some()).finish_non_exhaustive()
    }
}

/// What a job of the kind `novu` is about, as Novu's clients write it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trigger {
    /// The workflow.
    name: String,
    to: Subscriber,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    payload: Value,
    /// Of all triggers with the same text here, one is sent within `mail.once`.
    #[serde(default, skip_serializing)]
    once: Option<String>,
}

/// Who is told; what else Novu keeps of subscribers goes there as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Subscriber {
    subscriber_id: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(flatten)]
    more: serde_json::Map<String, Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(flatten)]
    trigger: &'a Trigger,
    /// A second one of the same id is not sent again.
    transaction_id: &'a str,
}

/// What Novu answers, as it stands or in `data`.
#[derive(Deserialize)]
struct Answer {
    acknowledged: Option<bool>,
    status: Option<String>,
    #[serde(default)]
    error: Value,
}

impl Novu {
    /// As it is configured. Without a key triggers become mails.
    ///
    /// # Errors
    /// What is wrong with it, in words that name the setting.
    pub fn new(
        settings: &config::Novu,
        caller: Arc<Caller>,
        mail: Arc<Mail>,
        receivers: Arc<Receivers>,
        once: Once,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, String> {
        Ok(Arc::new(Self { endpoint: endpoint(settings)?, caller, mail, receivers, once, metrics }))
    }

    /// Looks whether Novu can be asked as it is configured.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn check(settings: &config::Novu) -> Result<(), String> {
        endpoint(settings).map(drop)
    }

    /// Looks whether such data trigger something.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check_data(data: &RawValue) -> Result<(), String> {
        let trigger = Trigger::read(data)?;
        match &trigger.to.email {
            Some(email) => crate::mail::check_address(email).map_err(|why| format!("to.email: {why}")),
            None => Ok(()),
        }
    }

    async fn trigger(&self, endpoint: &Endpoint, id: &str, trigger: &Trigger) -> Result<(), Failure> {
        if let Some(email) = &trigger.to.email {
            self.receivers.admit(email).map_err(Failure::never)?;
        }
        let body = serde_json::to_vec(&Body { trigger, transaction_id: id })
            .map_err(|error| Failure::never(error.to_string()))?;
        let asker = Asker { session: SessionId::random(), source: Source::Gateway };
        let answer = self.caller.post_and_hear(endpoint, &asker, HeaderMap::new(), Bytes::from(body)).await;
        match answer {
            Ok(answer) => decide(&answer),
            Err(untaken) => Err(failure(&untaken)),
        }?;
        if let Some(email) = &trigger.to.email {
            self.receivers.count(email);
        }
        Ok(())
    }

    /// The same as a mail, for deployments without Novu.
    async fn mail(&self, id: &str, trigger: &Trigger) -> Result<(), Failure> {
        let Some(email) = &trigger.to.email else {
            return Err(Failure::never("without novu.api_key it would be a mail, but to.email is missing"));
        };
        if !self.mail.has_template(&trigger.name) {
            let why = format!("without novu.api_key it would be a mail, but there is no template {:?}", trigger.name);
            return Err(Failure::never(why));
        }
        let data = serde_json::json!({ "payload": trigger.payload, "to": trigger.to });
        let letter = Letter { to: email.clone(), template: Some(trigger.name.clone()), data, ..Letter::default() };
        self.mail.send(id, &letter).await
    }
}

fn endpoint(settings: &config::Novu) -> Result<Option<Endpoint>, String> {
    if !settings.is_on() {
        return Ok(None);
    }
    let url = format!("{}/v1/events/trigger", settings.url.trim_end_matches('/'));
    let mut endpoint = Endpoint::parse(&url).map_err(|why| format!("novu.url: {why}"))?;
    let key = format!("ApiKey {}", settings.api_key.expose()).parse();
    let mut key: http::HeaderValue = key.map_err(|_| "novu.api_key: cannot stand in a header of HTTP")?;
    key.set_sensitive(true);
    endpoint.headers.insert(AUTHORIZATION, key);
    endpoint.timeout = settings.timeout;
    (endpoint.attempts, endpoint.purpose) = (1, Purpose::Novu);
    endpoint.check().map_err(|error| format!("novu.timeout: {error}"))?;
    Ok(Some(endpoint))
}

/// What Novu says of a trigger that it took: that is not always that anybody is told.
fn decide(answer: &[u8]) -> Result<(), Failure> {
    let value: Value = serde_json::from_slice(answer).unwrap_or_default();
    let value = value.get("data").filter(|data| data.is_object()).cloned().unwrap_or(value);
    let Ok(Answer { acknowledged, status, error }) = serde_json::from_value(value) else {
        return Err(Failure::not_now("Novu answers something that is none of its answers"));
    };
    let status = status.unwrap_or_default();
    match (acknowledged, &*status) {
        (Some(true), "processed") => Ok(()),
        // It has gone wrong there, and may go better.
        (_, "error" | "") => Err(Failure::not_now(format!("Novu did not process it{}", more(&error)))),
        (Some(false) | None, "processed") => {
            Err(Failure::not_now(format!("Novu did not acknowledge it{}", more(&error))))
        }
        (_, other) => Err(Failure::never(format!("Novu does not process it: {other}{}", more(&error)))),
    }
}

fn more(error: &Value) -> String {
    let words: Vec<_> = match error {
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        Value::String(one) => vec![one],
        _ => Vec::new(),
    };
    if words.is_empty() {
        String::new()
    } else {
        format!(": {}", words.join("; ").chars().take(500).collect::<String>())
    }
}

fn failure(untaken: &Untaken) -> Failure {
    let words = format!("Novu: {}", untaken.reason);
    match (untaken.why, untaken.status.map(|status| status.as_u16())) {
        // Its key is wrong, or not paid for: that is for an operator, and no reason to lose it.
        (Why::Refused, Some(401..=403)) => Failure::not_now(format!("{words}: look at novu.api_key")),
        (Why::Refused, _) => Failure::never(words),
        _ => match untaken.retry_after {
            Some(wait) => Failure::after(wait.min(LONGEST), words),
            None => Failure::not_now(words),
        },
    }
}

impl Trigger {
    fn read(data: &RawValue) -> Result<Self, String> {
        serde_json::from_str(data.get()).map_err(|error| format!("the data of this job triggers nothing: {error}"))
    }
}

impl Kind for Novu {
    fn check(&self, data: &RawValue) -> Result<(), String> {
        Self::check_data(data)
    }
}

/// The kind `novu`.
#[async_trait]
impl Handler for Novu {
    async fn handle(&self, job: &Job) -> Result<Option<Box<RawValue>>, Failure> {
        let trigger = Trigger::read(&job.data).map_err(Failure::never)?;
        let id = job.id.as_str();
        let turn = self.once.begin(trigger.once.as_deref(), id).await?;
        if let Turn::Over(why) = turn {
            tracing::info!(job = id, why, "a workflow is not triggered");
            self.metrics.triggers.with("repeated").increment(1);
            return Ok(Some(serde_json::value::to_raw_value(why).unwrap_or_default()));
        }
        let done = match &self.endpoint {
            Some(endpoint) => self.trigger(endpoint, id, &trigger).await,
            None => self.mail(id, &trigger).await,
        };
        self.once.end(turn, done.is_ok()).await;
        let result = match &done {
            Ok(()) => "done",
            Err(failure) if failure.again == gateway_core::jobs::Again::Never => "refused",
            Err(_) => "failed",
        };
        self.metrics.triggers.with(result).increment(1);
        done.map(|()| None)
    }
}

#[cfg(test)]
mod tests {
    use gateway_core::jobs::Again;

    use super::*;

    #[test]
    fn the_body_decides_and_not_the_status() {
        for (answer, expected) in [
            (r#"{"data":{"acknowledged":true,"status":"processed","transactionId":"x"}}"#, None),
            (r#"{"acknowledged":true,"status":"processed"}"#, None),
            (r#"{"data":{"acknowledged":false,"status":"processed"}}"#, Some(Again::ByBackoff)),
            (r#"{"data":{"status":"processed"}}"#, Some(Again::ByBackoff)),
            (r#"{"data":{"acknowledged":true,"status":"error","error":["no provider"]}}"#, Some(Again::ByBackoff)),
            (r#"{"data":{"acknowledged":true,"status":"trigger_not_active"}}"#, Some(Again::Never)),
            (r#"{"data":{"acknowledged":true,"status":"subscriber_id_missing"}}"#, Some(Again::Never)),
            (r#"{"ok":true}"#, Some(Again::ByBackoff)),
            ("<html>", Some(Again::ByBackoff)),
            ("", Some(Again::ByBackoff)),
        ] {
            assert_eq!(decide(answer.as_bytes()).err().map(|failure| failure.again), expected, "{answer}");
        }
        let said = decide(br#"{"data":{"acknowledged":true,"status":"error","error":["no provider"]}}"#).unwrap_err();
        assert!(said.why.contains("no provider"), "{said}");
    }

    #[test]
    fn a_refusal_lasts_and_too_many_wait() {
        let untaken = |why, status: u16, retry_after| {
            let status = http::StatusCode::from_u16(status).ok();
            failure(&Untaken { why, reason: "it answers".into(), retry_after, status }).again
        };
        let seconds = Duration::from_secs;
        assert_eq!(untaken(Why::Refused, 400, None), Again::Never);
        assert_eq!(untaken(Why::Refused, 401, None), Again::ByBackoff);
        assert_eq!(untaken(Why::Postponed, 429, Some(seconds(7))), Again::After(seconds(7)));
        assert_eq!(untaken(Why::Postponed, 429, Some(seconds(86_400))), Again::After(LONGEST));
        assert_eq!(untaken(Why::Failed, 503, None), Again::ByBackoff);
        assert_eq!(untaken(Why::TimedOut, 0, None), Again::ByBackoff);
    }
}

//! What front ends ask for beside notifications: mail, now or later, and having a schedule run; and the end of mails.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::answer::{Answered, Denial};
use super::{Caller, Users, once_as};
use gateway_core::auth::{ApiKey, ApiKeys};
use gateway_core::config::{self, Scope};
use gateway_core::contacts::{Contacts, Mark};
use gateway_core::desk::{Desk, Hand, Wish};
use gateway_core::domain::{Refusal, UserId};
use gateway_core::jobs::Backoff;
use gateway_core::node::{SenderLimiter, now_ms};
use gateway_work::absent::Links;
use gateway_work::mail::{Letter, Receivers};
use gateway_work::schedules::Schedules;

const BODY: &str = "the body is {email, subject, message}, and delay in milliseconds for a mail that is sent later";
const NO_MAIL: &str = "this deployment sends no mail";
const NO_ROLE: &str = "your token does not let you have mail sent";
const NOT_YOU: &str =
    "a key of the HTTP API with the scope jobs, or a token with a role of schedule_roles, may do this";
/// The longest time for which a mail may wait.
const LATEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// The page has nothing but itself.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'";

/// What answers these requests.
pub struct Background {
    /// Where jobs are handed in.
    pub desk: Arc<Desk>,
    /// Keys of the HTTP API.
    pub keys: Arc<ApiKeys>,
    /// Who may get mail.
    pub receivers: Arc<Receivers>,
    /// What can be triggered.
    pub schedules: Arc<Schedules>,
    /// Who wants mail.
    pub contacts: Arc<dyn Contacts>,
    /// Links in mails, if who is away gets any.
    pub links: Option<Arc<Links>>,
    /// How many mails one may have sent.
    pub limiter: SenderLimiter,
}

impl std::fmt::Debug for Background {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Background")
    }
}

/// One of these requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    SendMail,
    ScheduleMail,
    Trigger,
    Unsubscribe,
}

/// Who is let in.
enum Guest {
    Key,
    User(Caller),
}

/// What front ends send for a mail. They know of more fields than count here.
#[derive(Deserialize)]
struct Email {
    email: String,
    subject: String,
    message: Value,
    #[serde(default)]
    delay: Value,
}

#[derive(Default, Deserialize)]
struct Which {
    #[serde(default, alias = "schedule")]
    name: Option<String>,
}

#[derive(Serialize)]
struct Done {
    message: String,
}

impl Errand {
    /// That of a path.
    pub(super) fn of(path: &str) -> Option<Self> {
        // As routers of front ends' servers have it, a slash at the end changes nothing.
        match path.strip_suffix('/').unwrap_or(path) {
            "/jobs/send-email" => Some(Self::SendMail),
            "/jobs/schedule-email" => Some(Self::ScheduleMail),
            "/trigger-job" => Some(Self::Trigger),
            Links::PATH => Some(Self::Unsubscribe),
            _ => None,
        }
    }

    /// The word for it in metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::SendMail => "send_email",
            Self::ScheduleMail => "schedule_email",
            Self::Trigger => "trigger",
            Self::Unsubscribe => "unsubscribe",
        }
    }

    /// Whether it is served here.
    pub(super) fn is_served(self, config: &config::Config) -> bool {
        match self {
            Self::SendMail | Self::ScheduleMail | Self::Trigger => config.mail.http,
            Self::Unsubscribe => config.notifications.mail.is_on(),
        }
    }
}

impl Users {
    /// Does one of these errands.
    pub(super) async fn do_errand(
        &self,
        errand: Errand,
        parts: &Parts,
        body: &Bytes,
        from: std::net::IpAddr,
    ) -> Result<Answered, Denial> {
        if parts.method != Method::POST {
            return Err(Denial::method("POST"));
        }
        let guest = match self.key(&parts.headers) {
            Some(key) if key.has(Scope::Jobs) => Guest::Key,
            Some(_) => return Err(self.forbidden("the key lacks the scope jobs")),
            None => Guest::User(self.let_in(parts, from).await.map_err(|refusal| self.denied(&refusal))?),
        };
        match errand {
            Errand::Trigger => self.trigger(&guest, body).await,
            _ => self.mail(&guest, errand == Errand::ScheduleMail, parts, body).await,
        }
    }

    fn key(&self, headers: &HeaderMap) -> Option<Arc<ApiKey>> {
        let (scheme, text) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        self.background.keys.find(text.trim()).filter(|_| scheme.eq_ignore_ascii_case("bearer"))
    }

    async fn mail(&self, guest: &Guest, later: bool, parts: &Parts, body: &Bytes) -> Result<Answered, Denial> {
        let settings = &self.config.mail;
        if !settings.is_on() {
            return Err(Denial::new(StatusCode::NOT_IMPLEMENTED, "no_mail", NO_MAIL));
        }
        let bad = |words: String| self.denied(&Refusal::bad_request(words));
        let sent: Email = object(parts, body)?.ok_or_else(|| bad(BODY.into()))?;
        let delay = if later { delay(&sent.delay).ok_or_else(|| bad(BODY.into()))? } else { Duration::ZERO };
        let message = match sent.message {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let data = serde_json::json!({ "subject": sent.subject, "message": message });
        let letter = Letter { to: sent.email, template: Some("message".into()), data, ..Letter::default() };
        let address = letter.check().map_err(bad)?;
        let hand = match guest {
            Guest::Key => Hand::back_end(),
            Guest::User(caller) => {
                self.may_mail(caller, &address)?;
                Hand::over_http(caller.identity.user.as_ref(), caller.address)
            }
        };
        let data = to_raw_value(&letter).map_err(|_| self.denied(&Refusal::Unavailable))?;
        let id = once_as(parts);
        let wish = Wish {
            delay,
            attempts: Some(settings.attempts),
            backoff: Some(Backoff::Exponential(settings.backoff)),
            id,
            ..Wish::new(&*settings.queue, "mail", data)
        };
        let handed_in = self.background.desk.hand_in(&hand, wish).await;
        handed_in.map_err(|not_taken| self.denied(&not_taken.into()))?;
        let message = if later {
            format!("Email scheduled to be sent in {} seconds", delay.as_secs_f64())
        } else {
            "Email task added to queue".to_owned()
        };
        Ok(Answered::json(StatusCode::OK, &Done { message }))
    }

    /// Whoever has mail sent is no back end: only to whom it may go, and not too much.
    fn may_mail(&self, caller: &Caller, address: &str) -> Result<(), Denial> {
        let (roles, background) = (&self.config.mail.roles, &self.background);
        if !caller.is_open && !roles.is_empty() && !caller.identity.roles.iter().any(|role| roles.contains(role)) {
            return Err(self.forbidden(NO_ROLE));
        }
        if !background.receivers.may(address) {
            return Err(self.forbidden("this deployment sends no mail to this address"));
        }
        // Where nobody proves who they are a name is no allowance.
        let user: Option<&UserId> = caller.identity.user.as_ref().filter(|_| !caller.is_open);
        let Some(decided) = background.limiter.take(user, caller.address) else { return Ok(()) };
        let decision = if decided.is_ok() { "allow" } else { "deny" };
        self.metrics.rate_limit_decisions.with("mail_sender", decision).increment(1);
        decided.map_err(|refusal| self.denied(&refusal))
    }

    async fn trigger(&self, guest: &Guest, body: &Bytes) -> Result<Answered, Denial> {
        if let Guest::User(caller) = guest {
            let roles = &self.config.schedule_roles;
            // Where nobody proves who they are nobody is an operator.
            if caller.is_open || !caller.identity.roles.iter().any(|role| roles.contains(role)) {
                return Err(self.forbidden(NOT_YOU));
            }
        }
        let schedules = &self.background.schedules;
        let bad = |words: String| self.denied(&Refusal::bad_request(words));
        let which = if body.trim_ascii().is_empty() { Ok(Which::default()) } else { serde_json::from_slice(body) };
        let which: Which = which.map_err(|_| bad("the body is {name}, a schedule".into()))?;
        let names = schedules.names();
        let name = match (which.name, &names[..]) {
            (Some(name), _) => name,
            (None, [only]) => only.clone(),
            (None, _) => return Err(bad(format!("the body is {{name}}, one of: {}", names.join(", ")))),
        };
        let triggered = schedules.trigger(&name).await.map_err(|refusal| self.denied(&refusal))?;
        if triggered.is_none() {
            return Err(Denial::new(StatusCode::NOT_FOUND, "no_schedule", format!("there is no schedule {name:?}")));
        }
        tracing::info!(schedule = name, "a schedule was triggered");
        Ok(Answered::json(StatusCode::OK, &Done { message: "Job triggered".to_owned() }))
    }

    /// Who reads the list of notifications has heard of them, and gets no mail.
    pub(super) async fn note_seen(&self, user: &UserId) {
        if self.background.links.is_none() {
            return;
        }
        if let Err(error) = self.background.contacts.mark(user, Mark::Seen, now_ms()).await {
            self.metrics.contact_errors.with(error.operation).increment(1);
            tracing::debug!(%error, "that a user has read notifications is not noted");
        }
    }

    /// The end of mails: a page with a button for people, and one request for programs (RFC 8058).
    pub(super) async fn unsubscribe(&self, parts: &Parts, body: &Bytes) -> Response<Bytes> {
        let query = parts.uri.query().unwrap_or_default();
        let user = self.background.links.as_ref().and_then(|links| links.read(query));
        let Some(user) = user else {
            let words = "This link is not whole, or from long ago. Open the one of your last mail.";
            return shown(StatusCode::NOT_FOUND, words, None);
        };
        let wants = body.windows(7).any(|part| part == b"again=1");
        match parts.method {
            Method::GET | Method::HEAD => {
                // Programs that look at links must not end anything.
                shown(StatusCode::OK, "Do you want no more mails about what you missed?", Some(("", "No more mails")))
            }
            Method::POST => match self.background.contacts.subscribe(&user, wants).await {
                Ok(()) if wants => shown(StatusCode::OK, "You get mails again.", None),
                Ok(()) => {
                    tracing::info!(user = user.as_str(), "a user wants no mails any more");
                    shown(StatusCode::OK, "You get no more mails.", Some(("again", "I want them again")))
                }
                Err(error) => {
                    self.metrics.contact_errors.with(error.operation).increment(1);
                    error.tell("a user who wants no mails cannot be noted");
                    shown(StatusCode::SERVICE_UNAVAILABLE, "That could not be noted. Try again in a while.", None)
                }
            },
            _ => shown(StatusCode::METHOD_NOT_ALLOWED, "Open this link in a browser.", None),
        }
    }
}

/// A body that is an object of JSON; nothing if it is another one.
fn object<T: for<'a> Deserialize<'a>>(parts: &Parts, body: &Bytes) -> Result<Option<T>, Denial> {
    let kind = parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        let words = "the body of this request is JSON: send Content-Type: application/json";
        return Err(Denial::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "wrong_type", words));
    }
    // A list would be read as its fields in their order.
    let object = serde_json::from_slice::<&RawValue>(body).ok().filter(|body| body.get().starts_with('{'));
    Ok(object.and_then(|body| serde_json::from_str(body.get()).ok()))
}

/// A delay in milliseconds: a number, or a text with one, as forms have it.
fn delay(value: &Value) -> Option<Duration> {
    let ms = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    Duration::try_from_secs_f64((ms / 1000.0).max(-1.0)).ok().filter(|delay| *delay <= LATEST)
}

/// A page for people.
fn shown(status: StatusCode, words: &str, button: Option<(&str, &str)>) -> Response<Bytes> {
    // All of it is written here: nothing that comes from outside is shown.
    let form = button.map_or_else(String::new, |(name, label)| {
        let hidden = if name.is_empty() {
            String::new()
        } else {
            format!("<input type=\"hidden\" name=\"{name}\" value=\"1\">")
        };
        format!("<form method=\"post\">{hidden}<button>{label}</button></form>")
    });
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta name=\"robots\" content=\"noindex\"><title>Mails</title><style>body{{font:18px/1.5 system-ui,sans-serif;\
         max-width:32rem;margin:15vh auto;padding:0 1.5rem;color:#1f2933}}button{{font:inherit;padding:.5em 1.2em;border:0;\
         border-radius:6px;background:#2457d6;color:#fff}}</style></head><body><p>{words}</p>{form}</body></html>\n"
    );
    let mut response = Response::new(Bytes::from(page));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(http::header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_milliseconds_as_front_ends_write_them() {
        let ms = Duration::from_millis;
        for (value, expected) in [
            (serde_json::json!(5000), Some(ms(5000))),
            (serde_json::json!(1500.5), Some(Duration::from_micros(1_500_500))),
            (serde_json::json!("2500"), Some(ms(2500))),
            (serde_json::json!(0), Some(ms(0))),
            (serde_json::json!(-1), None),
            (serde_json::json!(1e300), None),
            (serde_json::json!("soon"), None),
            (serde_json::json!(null), None),
            (serde_json::json!([1]), None),
        ] {
            assert_eq!(delay(&value), expected, "{value}");
        }
    }

    #[test]
    fn an_errand_is_known_by_its_path() {
        for (path, errand) in [
            ("/jobs/send-email", Some(Errand::SendMail)),
            ("/jobs/schedule-email/", Some(Errand::ScheduleMail)),
            ("/trigger-job", Some(Errand::Trigger)),
            ("/unsubscribe", Some(Errand::Unsubscribe)),
            ("/jobs", None),
            ("/jobs/send-emails", None),
            ("/unsubscribe/me", None),
        ] {
            assert_eq!(Errand::of(path), errand, "{path}");
        }
    }
}

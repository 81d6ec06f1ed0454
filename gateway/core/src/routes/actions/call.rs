//! `call`: asking a back end over HTTP.

use std::borrow::Cow;
use std::fmt::{self, Formatter};
use std::iter;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::header::HeaderName;
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::kind::Kind;
use crate::calls::{Asker, Breaker, Endpoint, Keeping, Source, Url};
use crate::config::shown_url;
use crate::domain::{Refusal, SessionId, network};
use crate::routes::Answer;
use crate::routes::context::Run;
use crate::routes::names::Lifecycle;
use crate::routes::reader::{Reader, with_default};
use crate::routes::template::{Context, Json, Template};

const BODY: &str = "body = { event = \"{event}\", namespace = \"{namespace}\", args = \"{args}\", \
                    user = \"{user.id?}\", session = \"{session.id}\" }";
/// No client sent arguments, but there may be a room.
const LIFECYCLE_BODY: &str = "body = { event = \"{event}\", namespace = \"{namespace}\", user = \"{user.id?}\", \
                              session = \"{session.id}\" }";
const ROOM_BODY: &str = "body = { event = \"{event}\", namespace = \"{namespace}\", room = \"{room}\", \
                         user = \"{user.id?}\", session = \"{session.id}\" }";

/// What is kept is for other sessions, too, or for other users.
const KEPT_BODY: &str =
    "body = { event = \"{event}\", namespace = \"{namespace}\", args = \"{args}\", user = \"{user.id?}\" }";
const SHARED_BODY: &str = "body = { event = \"{event}\", namespace = \"{namespace}\", args = \"{args}\" }";
/// Placeholders that are something else each time.
const NEVER_AGAIN: [&str; 2] = ["{session.", "{now"];

const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3_600);
const MAX_FAILURES: u64 = 1_000_000;

/// By it a back end can tell which of two things happened later to a member of a place.
const SEQUENCE: HeaderName = HeaderName::from_static("gateway-sequence");

const HEADER: &str = "something of it cannot stand in a header of HTTP";

/// Tell a back end over HTTP.
#[derive(Debug)]
pub struct Call {
    /// Where, as it was written: what came from the environment is not shown.
    url: Template,
    /// Where and how, but for headers that depend on the event.
    pub endpoint: Box<Endpoint>,
    /// Headers by name.
    pub headers: Vec<(HeaderName, Template)>,
    /// The JSON that is posted.
    pub body: Json,
    /// How its answers are kept, if they are.
    pub cache: Option<Cache>,
}

/// How answers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cache {
    /// For how long at the most.
    pub time: Duration,
    /// Whether they are for everybody, and not for the user that asked.
    pub shared: bool,
}

impl Kind for Call {
    const NAME: &'static str = "call";
    const ON: &'static [Lifecycle] = &Lifecycle::ALL;

    fn compile(reader: &mut Reader<'_>) -> Option<Self> {
        let url = reader.keys.required("url", "it is where the back end is asked", &reader.context());
        let url = url.and_then(|url| Some((usable(reader, &url)?, url))).map(|(parsed, url)| (url, parsed));
        let context = Context { counts: true, ..reader.context() };
        let headers = headers(reader, &context);
        let cache = cache(reader);
        let default = match reader.subject.lifecycle {
            None if cache.is_some_and(|cache| cache.shared) => SHARED_BODY,
            None if cache.is_some() => KEPT_BODY,
            None => BODY,
            Some(lifecycle) if lifecycle.has_room() => ROOM_BODY,
            Some(_) => LIFECYCLE_BODY,
        };
        let body = if reader.keys.has("body") {
            reader.keys.json("body", &context)
        } else {
            reader.keys.know("body");
            Some(with_default(default, |body| {
                Json::compile(body, &context).expect("the defaults fit where they are used")
            }))
        };
        let timeout = reader.keys.duration("timeout", Duration::from_millis(100), MINUTE);
        let attempts = reader.keys.number("attempts", 10);
        let backoff = reader.keys.duration("backoff", MILLISECOND, MINUTE);
        let breaker = breaker(reader);
        let (url, parsed) = url?;
        let mut endpoint = Box::new(Endpoint::new(parsed));
        endpoint.timeout = timeout.unwrap_or(endpoint.timeout);
        endpoint.attempts = attempts.map_or(endpoint.attempts, |attempts| count(attempts).get());
        endpoint.backoff = backoff.unwrap_or(endpoint.backoff);
        endpoint.breaker = breaker;
        if let Err(error) = endpoint.check() {
            reader.keys.error("url", error.to_string());
            return None;
        }
        let call = Self { url, endpoint, headers, body: body?, cache };
        if cache.is_some() {
            for template in call.templates().map(ToString::to_string) {
                if let Some(name) = NEVER_AGAIN.iter().find(|name| template.contains(**name)) {
                    let why = format!("the back end is sent {name}…}}, so no answer is ever one to the same question");
                    reader.keys.error("cache", why);
                }
            }
        }
        Some(call)
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        iter::once(&self.url).chain(self.headers.iter().map(|(_, value)| value)).chain(self.body.templates())
    }

    fn show(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Endpoint { attempts, breaker, .. } = *self.endpoint;
        let (timeout, backoff) =
            (humantime::format_duration(self.endpoint.timeout), humantime::format_duration(self.endpoint.backoff));
        let pause = humantime::format_duration(breaker.pause);
        write!(f, " {} body {}", shown_url(&self.url.to_string()), self.body)?;
        write!(f, " timeout {timeout}, {attempts} attempts, backoff {backoff}")?;
        write!(f, ", pause {pause} after {} failures", breaker.failures)?;
        if let Some(Cache { time, shared }) = self.cache {
            let whose = if shared { "everybody" } else { "each user" };
            write!(f, ", kept {} for {whose}", humantime::format_duration(time))?;
        }
        // Their values are often secrets that were written down.
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        if headers.is_empty() { Ok(()) } else { write!(f, ", headers {}", headers.join(", ")) }
    }

    async fn run(&self, run: &mut Run<'_>, _: &Arc<str>) -> Result<Option<Answer>, Refusal> {
        let body = self.body.render(&run.scope)?;
        // Whoever is asked twice for one event can tell by it.
        let key = format!("{:032x}", rand::random::<u128>());
        let mut endpoint = Cow::Borrowed(&*self.endpoint);
        for (name, value) in &self.headers {
            let value = value.text(&run.scope)?;
            let value = HeaderValue::from_str(&value).map_err(|_| Refusal::bad_request(HEADER))?;
            endpoint.to_mut().headers.insert(name, value);
        }
        if let Some(sequence) = run.sequence {
            endpoint.to_mut().headers.insert(SEQUENCE, sequence.into());
        }
        let (caller, asker) = (&run.router.caller, asker(run));
        let Some(cache) = self.cache else {
            let data = caller.call(&endpoint, &asker, &key, body).await?;
            return Ok(Some(Answer::new(&Answered { ok: true, data: &data })));
        };
        let whose = if cache.shared { String::new() } else { whose(&asker) };
        let keeping = Keeping { name: name(&endpoint, &body, &whose), time: cache.time };
        let data = caller.recall_or_call(keeping, &endpoint, &asker, &key, body).await?;
        Ok(Some(Answer::new(&Answered { ok: true, data: &data })))
    }
}

fn cache(reader: &mut Reader<'_>) -> Option<Cache> {
    let time = reader.keys.duration("cache", Duration::from_millis(100), DAY);
    let shared = reader.keys.boolean("shared").unwrap_or_default();
    if reader.subject.lifecycle.is_some() {
        for key in ["cache", "shared"] {
            reader.keys.without_effect(key, "nobody waits for an answer to what happens by itself");
        }
        return None;
    }
    if !reader.keys.has("cache") {
        reader.keys.without_effect("shared", "without cache nothing is kept");
    }
    time.map(|time| Cache { time, shared })
}

/// Who else may have an answer that is not for everybody: the same user, if that is proven, or nobody but the session.
fn whose(asker: &Asker) -> String {
    match &asker.source {
        Source::User(user) => format!("user {}", user.as_str()),
        Source::Address(_) | Source::Gateway => format!("session {}", asker.session),
    }
}

/// By what an answer is found again. With their lengths in front, no texts read like others.
fn name(endpoint: &Endpoint, body: &str, whose: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    for text in [endpoint.url.as_str(), body, whose] {
        add(text.as_bytes());
    }
    for (name, value) in &endpoint.headers {
        add(name.as_str().as_bytes());
        add(value.as_bytes());
    }
    hash.finalize().into()
}

fn usable(reader: &Reader<'_>, url: &Template) -> Option<Url> {
    let Some(text) = url.fixed() else {
        reader.keys.error(
            "url",
            "can have {env.NAME} but nothing that depends on the event, so that no client decides who is called",
        );
        return None;
    };
    let usable = text.parse::<Url>().ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if usable.is_none() {
        reader.keys.error(
            "url",
            format!(
                "{:?} is not a URL of http or https, like \"http://127.0.0.1:8080/hook\"",
                shown_url(&url.to_string())
            ),
        );
    }
    usable
}

fn headers(reader: &mut Reader<'_>, context: &Context<'_>) -> Vec<(HeaderName, Template)> {
    const KEPT: [&str; 5] = ["host", "content-length", "content-type", "transfer-encoding", "connection"];
    let Some(keys) = reader.keys.table("headers") else { return Vec::new() };
    let mut headers = Vec::new();
    for (name, value) in keys.entries() {
        let header = HeaderName::try_from(name).ok();
        let Some(header) = header.filter(|header| !KEPT.contains(&header.as_str())) else {
            keys.error(name, "is not the name of a header that can be set");
            continue;
        };
        headers.extend(keys.parse_at(name, value, context).map(|template| (header, template)));
    }
    headers
}

fn breaker(reader: &mut Reader<'_>) -> Breaker {
    let (mut failures, mut pause) = (None, None);
    if let Some(mut keys) = reader.keys.table("breaker") {
        failures = keys.number("failures", MAX_FAILURES);
        pause = keys.duration("pause", Duration::from_millis(100), MINUTE * 60);
        keys.finish("breaker");
    }
    let usual = Breaker::default();
    let failures = failures.map_or(usual.failures, |failures| count(failures).get());
    Breaker { failures, pause: pause.unwrap_or(usual.pause) }
}

fn count(number: u64) -> NonZeroU32 {
    u32::try_from(number).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN)
}

/// What a client says about itself does not count: it may say something else each time.
fn asker(run: &Run<'_>) -> Asker {
    let Some(session) = run.session else {
        let session = SessionId::parse(run.scope.session).unwrap_or_else(SessionId::random);
        return Asker { session, source: Source::Gateway };
    };
    let proven = session.identity().user.clone().filter(|_| session.has_token());
    let source = proven.map_or_else(|| Source::Address(network(session.address)), Source::User);
    Asker { session: session.id, source }
}

/// What a back end answered.
#[derive(Serialize)]
struct Answered<'a> {
    ok: bool,
    data: &'a RawValue,
}

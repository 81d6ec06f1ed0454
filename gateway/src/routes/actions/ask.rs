//! `call` and `log`: telling those behind the gateway.

use std::borrow::Cow;

use http::HeaderValue;
use http::header::HeaderName;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::calls::{Asker, Source};
use crate::domain::{Refusal, SessionId, network};
use crate::routes::Answer;
use crate::routes::context::Run;
use crate::routes::table::{Call, Log, LogLevel};

/// By it a back end can tell which of two things happened later to a member of a place.
const SEQUENCE: HeaderName = HeaderName::from_static("gateway-sequence");

const HEADER: &str = "something of it cannot stand in a header of HTTP";

/// What a back end answered.
#[derive(Serialize)]
struct Answered<'a> {
    ok: bool,
    data: &'a RawValue,
}

pub(in crate::routes) async fn call(run: &Run<'_>, call: &Call) -> Result<Answer, Refusal> {
    let body = call.body.render(&run.scope)?;
    // Whoever is asked twice for one event can tell by it.
    let key = format!("{:032x}", rand::random::<u128>());
    let mut endpoint = Cow::Borrowed(&call.endpoint);
    for (name, value) in &call.headers {
        let value = value.text(&run.scope)?;
        let value = HeaderValue::from_str(&value).map_err(|_| Refusal::bad_request(HEADER))?;
        endpoint.to_mut().headers.insert(name, value);
    }
    if let Some(sequence) = run.sequence {
        endpoint.to_mut().headers.insert(SEQUENCE, sequence.into());
    }
    let data = run.router.caller.call(&endpoint, &asker(run), &key, body).await?;
    Ok(Answer::new(&Answered { ok: true, data: &data }))
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

pub(in crate::routes) fn log(run: &Run<'_>, log: &Log) -> Result<(), Refusal> {
    // As `Debug`: what a client wrote must not look like lines of the log.
    let message = log.message.text(&run.scope)?;
    let (session, event) = (run.scope.session, run.scope.event);
    match log.level {
        LogLevel::Error => tracing::error!(session, event, ?message, "a route logs"),
        LogLevel::Warn => tracing::warn!(session, event, ?message, "a route logs"),
        LogLevel::Info => tracing::info!(session, event, ?message, "a route logs"),
        LogLevel::Debug => tracing::debug!(session, event, ?message, "a route logs"),
        LogLevel::Trace => tracing::trace!(session, event, ?message, "a route logs"),
    }
    Ok(())
}

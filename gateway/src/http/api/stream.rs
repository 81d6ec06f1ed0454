//! A room as a stream of server-sent events: for back ends that listen, and for curl.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{Stream, stream};
use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::call::Call;
use super::contract::{FromOffset, InNamespace, OfRoom};
use super::problem::{Kind, Problem};
use super::state::ApiState;
use gateway_core::domain::Offset;
use gateway_core::service::{Heard, Missing, Tap};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Has nginx hand on what there is.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");
/// How soon a reader comes back whose stream has ended.
const BEGINNING: &str = "retry: 1000\n\n";
const HEARTBEAT: &str = ": nothing new\n\n";
/// What is written at a time, about.
const PIECE: usize = 64 * 1024;
/// By which rooms are told that something is missing.
const GAP: &str = "\"gateway:gap\"";

/// Among the extensions of an answer: the rest of its body, as it comes.
#[derive(Clone)]
pub struct EventStream(Arc<Mutex<Option<Pieces>>>);

type Pieces = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

impl EventStream {
    /// The body, once.
    #[must_use]
    pub fn take(&self) -> Option<Pieces> {
        self.0.lock().take()
    }
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EventStream(…)")
    }
}

/// What a room said.
#[derive(Serialize)]
struct Said<'a> {
    event: &'a RawValue,
    args: &'a [&'a RawValue],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<String>,
}

/// What a reader is told whose offset not everything is there after: as members are.
#[derive(Serialize)]
struct Gap<'a> {
    room: Option<&'a str>,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    through: Option<String>,
}

/// Streams what a room says as server-sent events, from an offset on or from now on: each with its offset as `id`, and
/// `{event, args, attachments?}` as `data`; what is ephemeral without `id`. An event called `gap` says that something is
/// missing before the next one, and with `through` perhaps up to that offset. It goes on until the reader goes, does not keep up, or the node leaves.
#[utoipa::path(
    get, path = "/api/v1/rooms/{room}/stream", tag = "events",
    params(OfRoom, InNamespace, FromOffset),
    responses(
        (status = 200, description = "What the room says.", body = String, content_type = "text/event-stream",
         example = "id: 1795345614052000\ndata: {\"event\":\"invoice\",\"args\":[{\"number\":7}]}\n\n"),
    ),
)]
pub(super) async fn stream(State(state): State<ApiState>, call: Call, headers: HeaderMap) -> Result<Response, Problem> {
    let room = call.room()?;
    let after = last_event_id(&headers)?.or(call.offset("after")?);
    let (tap, missing) = state.service().stream(&room, after, call.asker().from).await?;
    let mut first = BEGINNING.to_owned();
    if let Some(Missing { why, through }) = missing {
        let gap = Gap { room: room.shown(), reason: why.reason(), through: through.map(|offset| offset.to_string()) };
        event(&mut first, None, Some("gap"), &serde_json::to_string(&gap).unwrap_or_default());
    }
    let heartbeat = state.heartbeat();
    let pieces = stream::unfold((tap, Some(first)), move |(tap, first)| async move {
        let piece = match first {
            Some(first) => first,
            None => next(&tap, heartbeat).await?,
        };
        Some((Bytes::from(piece), (tap, None)))
    });
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (UNBUFFERED, HeaderValue::from_static("no")),
    ];
    let mut response = headers.into_response();
    response.extensions_mut().insert(EventStream(Arc::new(Mutex::new(Some(Box::pin(pieces))))));
    Ok(response)
}

/// Where a reader that comes back goes on: browsers' `EventSource` and its kin send it by themselves, over what the URL says.
fn last_event_id(headers: &HeaderMap) -> Result<Option<Offset>, Problem> {
    let Some(value) = headers.get(LAST_EVENT_ID).filter(|value| !value.is_empty()) else { return Ok(None) };
    let offset = value.to_str().ok().and_then(Offset::parse);
    let words = "Last-Event-ID is no offset: a decimal number of at most 64 bits";
    offset.map(Some).ok_or_else(|| Problem::new(Kind::BadParameter, words))
}

/// What waits, or the next that comes; a sign of life if that takes long. Nothing at the end.
async fn next(tap: &Tap, heartbeat: Duration) -> Option<String> {
    let Ok(heard) = timeout(heartbeat, tap.next()).await else { return Some(HEARTBEAT.to_owned()) };
    let mut piece = String::new();
    write(&mut piece, &heard?);
    while piece.len() < PIECE
        && let Some(heard) = tap.try_next()
    {
        write(&mut piece, &heard);
    }
    Some(piece)
}

fn write(to: &mut String, heard: &Heard) {
    let Ok(parts) = serde_json::from_str::<Vec<&RawValue>>(&heard.text) else { return };
    let Some((name, args)) = parts.split_first() else { return };
    if name.get() == GAP {
        return event(to, heard.offset, Some("gap"), args.first().map_or("{}", |lost| lost.get()));
    }
    let attachments = heard.attachments.iter().map(|bytes| STANDARD.encode(bytes)).collect();
    let said = Said { event: name, args, attachments };
    event(to, heard.offset, None, &serde_json::to_string(&said).unwrap_or_default());
}

/// One event. Its data may have line breaks, as JSON between values may: each line is a line of data, and the reader puts them
/// together with one between them.
fn event(to: &mut String, id: Option<Offset>, kind: Option<&str>, data: &str) {
    use std::fmt::Write;
    if let Some(kind) = kind {
        writeln!(to, "event: {kind}").expect("a String takes everything");
    }
    if let Some(id) = id {
        writeln!(to, "id: {id}").expect("a String takes everything");
    }
    for line in data.split(['\r', '\n']) {
        writeln!(to, "data: {line}").expect("a String takes everything");
    }
    to.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, attachments: &[&'static [u8]], offset: Option<u64>) -> String {
        let attachments = attachments.iter().map(|bytes| Bytes::from_static(bytes)).collect();
        let mut to = String::new();
        write(&mut to, &Heard { text: text.into(), attachments, offset: offset.map(Offset) });
        to
    }

    #[test]
    fn what_a_room_says_is_one_event() {
        let plain = "id: 7\ndata: {\"event\":\"a\",\"args\":[1,\"x\"]}\n\n";
        assert_eq!(written(r#"["a",1,"x"]"#, &[], Some(7)), plain);
        assert_eq!(written(r#"["a"]"#, &[], None), "data: {\"event\":\"a\",\"args\":[]}\n\n", "a signal");
        let binary = written(r#"["a",{"_placeholder":true,"num":0}]"#, &[b"\x01\x02"], None);
        assert!(binary.contains(r#""attachments":["AQI="]"#), "{binary}");
        let gap = written(r#"["gateway:gap",{"room":"r","reason":"history"}]"#, &[], None);
        assert_eq!(gap, "event: gap\ndata: {\"room\":\"r\",\"reason\":\"history\"}\n\n");
    }

    #[test]
    fn no_line_break_within_data_ends_an_event_or_forges_one() {
        let text = "[\"a\",{\n\n\"b\":\r\n\rid: 1\n:2}]";
        // It is no JSON, and says nothing.
        assert_eq!(written(text, &[], Some(7)), "");
        let written = written("[\"a\",{\n\n\"b\":\r\n\r2}]", &[], Some(7));
        let lines: Vec<_> = written.trim_end().lines().collect();
        assert!(lines[1..].iter().all(|line| line.starts_with("data: ")), "{written:?}");
        let data: Vec<_> = lines[1..].iter().map(|line| &line[6..]).collect();
        let read: serde_json::Value = serde_json::from_str(&data.join("\n")).unwrap();
        assert_eq!(read, serde_json::json!({ "event": "a", "args": [{ "b": 2 }] }));
    }
}

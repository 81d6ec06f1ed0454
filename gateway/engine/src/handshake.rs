//! The handshake: what a request of a client says, and what it is answered.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::{Method, Response, StatusCode, Version};
use sha1::{Digest, Sha1};

use crate::frame::{Opcode, frame};
use crate::handler::{Answer, Transport};
use crate::http::lists;
use crate::passing::{TAG_BYTES, Tag};
use crate::polling;
use crate::settings::Settings;

/// How paths end at which Socket.IO is served, with or without a slash behind it. What stands before is a front end's or a
/// proxy's own.
const PATH: &str = "/socket.io";
/// What the answer to a websocket's key is made with (RFC 6455, section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// What a client of Socket.IO 2 understands: Engine.IO 3 opens, and an ERROR packet of its Socket.IO says why nothing
/// follows. Its `error` event has the text.
const TO_OUTDATED: [&str; 2] = [
    r#"0{"sid":"none","upgrades":[],"pingInterval":25000,"pingTimeout":5000}"#,
    r#"44"This server speaks Socket.IO 3 and 4 (Engine.IO 4), and this client Socket.IO 2: upgrade it to version 4""#,
];
/// Where the answer to a handshake over polling says the connection's id once more: balancers read headers, and not bodies. A
/// page of another origin has no cookie by which they could know the next poll.
const CONNECTION_ID: HeaderName = HeaderName::from_static("x-engine-sid");
/// Bytes of an id: the tag of its server, and what nobody guesses.
const ID_BYTES: usize = TAG_BYTES + 16;

/// The id of a connection. Over polling it is all that a request needs to speak for it, so it is random and secret, but for the
/// tag of the server that has the connection, in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Id([u8; ID_BYTES]);

impl Id {
    /// One of a server.
    pub(crate) fn random(of: Tag) -> Self {
        let mut bytes: [u8; ID_BYTES] = rand::random();
        bytes[..TAG_BYTES].copy_from_slice(&of.0);
        Self(bytes)
    }

    /// Whose it is.
    pub(crate) fn tag(self) -> Tag {
        Tag(std::array::from_fn(|at| self.0[at]))
    }

    fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// A number by which connections are spread evenly.
    pub(crate) fn spread(self) -> usize {
        self.0[ID_BYTES - 1].into()
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// Whether a path is Socket.IO's.
pub(crate) fn is_ours(path: &str) -> bool {
    path.strip_suffix('/').unwrap_or(path).ends_with(PATH)
}

/// Why a request is no good, with Engine.IO's code for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    UnknownTransport = 0,
    UnknownSession = 1,
    Method = 2,
    BadRequest = 3,
    UnsupportedVersion = 5,
}

impl Refused {
    /// As Engine.IO's own server says it.
    pub(crate) fn answer(self) -> Answer {
        let message = match self {
            Self::UnknownTransport => "Transport unknown",
            Self::UnknownSession => "Session ID unknown",
            Self::Method => "Bad handshake method",
            Self::BadRequest => "Bad request",
            Self::UnsupportedVersion => "Unsupported protocol version",
        };
        let body = format!("{{\"code\":{},\"message\":\"{message}\"}}", self as u8);
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// What a request's query says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) transport: Transport,
    /// The connection that it is for; none for a handshake.
    pub(crate) id: Option<Id>,
    /// It is a handshake of Engine.IO 3, over a transport on which it can be told so.
    pub(crate) is_outdated: bool,
}

impl Query {
    pub(crate) fn read(parts: &Parts) -> Result<Self, Refused> {
        let query = parts.uri.query().unwrap_or_default();
        let value = |name| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value).filter(|value| !value.is_empty())
        };
        let transport = match value("transport") {
            Some("polling") => Transport::Polling,
            Some("websocket") => Transport::Websocket,
            _ => return Err(Refused::UnknownTransport),
        };
        // Some clients send an empty one where they have none.
        let id = match value("sid") {
            Some(id) => Some(Id::parse(id).ok_or(Refused::UnknownSession)?),
            None => None,
        };
        let version = value("EIO");
        let is_outdated = id.is_none() && transport == Transport::Websocket && version == Some("3");
        if id.is_none() && version != Some("4") && !is_outdated {
            return Err(Refused::UnsupportedVersion);
        }
        Ok(Self { transport, id, is_outdated })
    }
}

/// A valid request for a websocket, as its answer.
///
/// # Errors
/// It is none: nothing has changed for the client.
pub(crate) fn accept_websocket(parts: &Parts) -> Result<Answer, Refused> {
    let headers = &parts.headers;
    let is_upgrade = parts.method == Method::GET
        && parts.version == Version::HTTP_11
        && lists(headers, &UPGRADE, "websocket")
        && lists(headers, &CONNECTION, "upgrade");
    let one = |name: HeaderName| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none())
    };
    let version = one(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    let key = one(SEC_WEBSOCKET_KEY).filter(|key| STANDARD.decode(key).is_ok_and(|key| key.len() == 16));
    let Some(key) = key.filter(|_| is_upgrade && version) else { return Err(Refused::BadRequest) };
    let accept = STANDARD.encode(Sha1::new().chain_update(key.as_bytes()).chain_update(GUID).finalize());
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(&accept).expect("base64 is a header's value"));
    // A client that offers some insists on one of them.
    let offered = headers.get(SEC_WEBSOCKET_PROTOCOL).and_then(|offered| offered.to_str().ok());
    let first = offered.and_then(|offered| offered.split(',').next()).map(str::trim).filter(|name| !name.is_empty());
    if let Some(name) = first.and_then(|name| HeaderValue::from_str(name).ok()) {
        answer.insert(SEC_WEBSOCKET_PROTOCOL, name);
    }
    Ok(response)
}

/// All that a websocket of Engine.IO 3 is sent.
pub(crate) fn farewell_to_outdated() -> Vec<u8> {
    let [open, error] = TO_OUTDATED.map(|text| frame(Opcode::Text, text.as_bytes()));
    [open, error, frame(Opcode::Close, &[])].concat()
}

/// The first packet of a connection.
pub(crate) fn open_packet(id: Id, transport: Transport, settings: &Settings) -> String {
    let upgrades = if transport == Transport::Polling { "[\"websocket\"]" } else { "[]" };
    let (interval, timeout) = (settings.ping_interval.as_millis(), settings.ping_timeout.as_millis());
    let payload = settings.payload_bytes;
    format!(
        "0{{\"sid\":\"{id}\",\"upgrades\":{upgrades},\"pingInterval\":{interval},\"pingTimeout\":{timeout},\
         \"maxPayload\":{payload}}}"
    )
}

/// The same as an answer over polling, with the id where a balancer finds it.
pub(crate) fn open_polling(id: Id, settings: &Settings) -> Answer {
    let mut answer = polling::answer(open_packet(id, Transport::Polling, settings));
    let named = HeaderValue::try_from(id.to_string()).expect("base64 is a header's value");
    answer.headers_mut().insert(CONNECTION_ID, named);
    answer
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    fn query(query: &str) -> Result<Query, Refused> {
        Query::read(&Request::get(format!("/socket.io/?{query}")).body(()).unwrap().into_parts().0)
    }

    #[test]
    fn queries_as_clients_write_them() {
        let tag = Tag::random();
        let id = Id::random(tag);
        assert_eq!((id.tag(), id.to_string().len()), (tag, 28));
        let (polling, websocket) = (Transport::Polling, Transport::Websocket);
        let read = |transport, id| Ok(Query { transport, id, is_outdated: false });
        assert_eq!(query("EIO=4&transport=polling&t=abc"), read(polling, None));
        assert_eq!(query("EIO=4&transport=websocket&sid="), read(websocket, None));
        assert_eq!(query(&format!("transport=websocket&EIO=4&sid={id}")), read(websocket, Some(id)));
        let outdated = Query { transport: websocket, id: None, is_outdated: true };
        assert_eq!(query("EIO=3&transport=websocket"), Ok(outdated));
        assert_eq!(query("EIO=2&transport=websocket"), Err(Refused::UnsupportedVersion));
        assert_eq!(query("EIO=3&transport=polling"), Err(Refused::UnsupportedVersion));
        assert_eq!(query("transport=polling"), Err(Refused::UnsupportedVersion));
        assert_eq!(query("EIO=4"), Err(Refused::UnknownTransport));
        assert_eq!(query("EIO=4&transport=webtransport"), Err(Refused::UnknownTransport));
        // With 20 characters it is one of a version that named no server.
        for id in ["abc", "../..", &"x".repeat(20), &"x".repeat(27), &"x".repeat(29), &"x".repeat(100)] {
            assert_eq!(query(&format!("EIO=4&transport=polling&sid={id}")), Err(Refused::UnknownSession));
        }
    }

    #[test]
    fn paths_of_other_things_are_theirs() {
        assert!(is_ours("/socket.io") && is_ours("/socket.io/") && is_ours("/chat/socket.io/"));
        assert!(!is_ours("/socket.io/socket.io.js") && !is_ours("/socket.iox") && !is_ours("/"));
    }

    fn websocket(change: impl FnOnce(&mut Parts)) -> Result<Answer, Refused> {
        let request = Request::get("/socket.io/")
            .header(UPGRADE, "WebSocket")
            .header(CONNECTION, "keep-alive, Upgrade")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==");
        let mut parts = request.body(()).unwrap().into_parts().0;
        change(&mut parts);
        accept_websocket(&parts)
    }

    #[test]
    fn a_websocket_is_accepted_as_the_rfc_has_it() {
        let answer = websocket(|_| {}).unwrap();
        assert_eq!(answer.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let offered = |parts: &mut Parts| {
            parts.headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("chat.v1, json"));
        };
        assert_eq!(websocket(offered).unwrap().headers()[SEC_WEBSOCKET_PROTOCOL], "chat.v1");
    }

    #[test]
    fn what_is_no_websocket_is_a_bad_request() {
        let without = |name: HeaderName| {
            websocket(move |parts| {
                parts.headers.remove(&name);
            })
        };
        let with = |name: HeaderName, value: &'static str| {
            websocket(move |parts| {
                parts.headers.insert(name, HeaderValue::from_static(value));
            })
        };
        let twice = websocket(|parts| {
            parts.headers.append(SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        });
        for refused in [
            without(UPGRADE),
            without(CONNECTION),
            without(SEC_WEBSOCKET_KEY),
            without(SEC_WEBSOCKET_VERSION),
            with(SEC_WEBSOCKET_VERSION, "8"),
            with(SEC_WEBSOCKET_KEY, "c2hvcnQ="),
            with(UPGRADE, "h2c"),
            websocket(|parts| parts.method = Method::POST),
            websocket(|parts| parts.version = Version::HTTP_10),
            twice,
        ] {
            assert_eq!(refused.unwrap_err(), Refused::BadRequest);
        }
    }

    proptest! {
        #[test]
        fn any_query_is_read_or_refused(text in "[a-zA-Z0-9=&_%.-]{0,80}") {
            _ = query(&text);
        }
    }
}

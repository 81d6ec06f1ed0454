//! Onward: a request goes to the server that has its connection, and the answer to the client, piece by piece.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, StatusCode};
use tokio::time::{Instant, sleep_until};

use super::{BAD, FAULT, FOR, HALF, NoWay, Passage, Passed, Tag, Way};
use crate::handler::{Misuse, Transport};
use crate::handshake::{Query, Refused};
use crate::http::{ACKNOWLEDGED, BadRequest, Body, HURRY, Head, Relayed, Timing, Wire};
use crate::reply::Reply;
use crate::server::Shared;

/// How much longer than its connection may take the answer of another server may.
const MARGIN: Duration = Duration::from_secs(5);
/// What is between a client and this server, or said anew.
const NOT_PASSED: [HeaderName; 9] = [
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// How the answer begins of who does not know a connection: see [`Refused::answer`].
const UNKNOWN: &[u8] = b"{\"code\":1,";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Poll,
    Post,
    Upgrade,
}

/// A request to be passed on.
struct Request<'a> {
    head: &'a Head,
    peer: SocketAddr,
    kind: Kind,
    body: Body,
    /// What is wrong with the body.
    fault: Option<Fault>,
}

#[derive(Clone, Copy)]
enum Fault {
    Half,
    Bad(BadRequest),
}

impl Shared {
    /// Passes on a request for a connection of another server.
    pub(crate) async fn pass_on(
        self: &Arc<Self>,
        passage: &Arc<dyn Passage>,
        wire: &mut Wire,
        (head, peer, query): (&Head, SocketAddr, &Query),
        to: Tag,
    ) -> Reply {
        let kind = match (query.transport, &head.parts.method) {
            (Transport::Polling, &Method::GET) => Kind::Poll,
            (Transport::Polling, &Method::POST) => Kind::Post,
            (Transport::Websocket, &Method::GET) => Kind::Upgrade,
            _ => return self.refuse(head, peer, Refused::BadRequest, Misuse::Request),
        };
        let unknown = |passed| {
            passage.passed(passed, None);
            self.refuse(head, peer, Refused::UnknownSession, Misuse::Request)
        };
        if !passage.knows(to).await {
            return unknown(Passed::Gone);
        }
        let (mut body, mut fault) = (Body::default(), None);
        if kind == Kind::Post {
            match wire.body(head, self.settings.payload_bytes, &self.budget).await {
                Ok(Some(whole)) => body = whole,
                Ok(None) => fault = Some(Fault::Half),
                Err(bad) => fault = Some(Fault::Bad(bad)),
            }
        }
        let began = Instant::now();
        let way = match passage.way(to).await {
            Ok(way) => way,
            Err(NoWay::Gone) => return unknown(Passed::Gone),
            Err(NoWay::Failed) => return unknown(Passed::Failed),
            Err(NoWay::Full) => {
                passage.passed(Passed::Refused, None);
                return Reply::Last(passage.full());
            }
        };
        let request = Request { head, peer, kind, body, fault };
        let (passed, reply) = self.ask(way, wire, &request).await;
        passage.passed(passed, (kind != Kind::Poll).then(|| began.elapsed()));
        reply.unwrap_or_else(|| self.refuse(head, peer, Refused::UnknownSession, Misuse::Request))
    }

    /// Asks another server. Without a reply the client has not been told anything.
    async fn ask(self: &Arc<Self>, way: Way, wire: &mut Wire, request: &Request<'_>) -> (Passed, Option<Reply>) {
        let settings = &self.settings;
        let (write, long) = (settings.write_timeout, settings.header_timeout);
        let mut far = Wire::new(way.stream, Timing { request: long, idle: long, write });
        if far.write_all(&request.bytes()).await.is_err() {
            return (Passed::Failed, None);
        }
        match request.fault {
            None => {}
            // The other server ends the connection, as this one would have.
            Some(Fault::Half) => return (Passed::Aborted, Some(Reply::Gone)),
            Some(Fault::Bad(bad)) => {
                self.handler.misused(Misuse::Http);
                return (Passed::Answered, Some(Reply::Last(bad.answer())));
            }
        }
        let waits = match request.kind {
            Kind::Poll => settings.ping_interval + settings.ping_timeout,
            Kind::Post => settings.ping_timeout,
            Kind::Upgrade => Duration::ZERO,
        };
        let deadline = Instant::now() + waits + MARGIN;
        let is_poll = request.kind == Kind::Poll;
        let _waiting = is_poll.then(|| self.onward.poll());
        let mut is_told = false;
        let answer = loop {
            tokio::select! {
                biased;
                answer = far.answer_head() => break answer,
                // The other server sees its poll aborted, as if the client had come to it.
                () = wire.gone(), if is_poll => return (Passed::Aborted, Some(Reply::Gone)),
                () = self.onward.hurry.notified(), if is_poll && !is_told => {
                    is_told = true;
                    // A connection that is over shows when the answer is read.
                    far.write_all(&[HURRY]).await.ok();
                }
                () = sleep_until(deadline) => return (Passed::Failed, None),
            }
        };
        let Ok((parts, length)) = answer else { return (Passed::Failed, None) };
        if parts.status == StatusCode::SWITCHING_PROTOCOLS && request.kind == Kind::Upgrade {
            return match wire.relay(&mut far, (&parts, None), true).await {
                Relayed::Whole => (Passed::Answered, Some(Reply::Tunnel(far, way.place))),
                Relayed::FarBroke => (Passed::Failed, Some(Reply::Gone)),
                Relayed::NearBroke => (Passed::Aborted, Some(Reply::Gone)),
            };
        }
        let is_good = parts.status == StatusCode::OK;
        let goes_on = is_good && request.head.keep_alive && !wire.has_untaken;
        let is_unknown = parts.status == StatusCode::BAD_REQUEST && far.buffer.starts_with(UNKNOWN);
        match wire.relay(&mut far, (&parts, Some(length)), goes_on).await {
            Relayed::FarBroke => return (Passed::Failed, Some(Reply::Gone)),
            // Without its acknowledgement the other server takes the poll's packets for lost.
            Relayed::NearBroke => return (Passed::Aborted, Some(Reply::Gone)),
            Relayed::Whole => {}
        }
        let is_kept = !(is_poll && is_good) || far.write_all(&[ACKNOWLEDGED]).await.is_ok();
        if is_kept && far.buffer.is_empty() {
            way.place.give_back(far.stream);
        }
        (if is_unknown { Passed::Gone } else { Passed::Answered }, Some(Reply::Passed(goes_on)))
    }
}

impl Request<'_> {
    fn bytes(&self) -> Vec<u8> {
        let parts = &self.head.parts;
        let mut bytes = Vec::with_capacity(1024 + self.body.bytes.len());
        let mut say = |piece: &[u8]| bytes.extend_from_slice(piece);
        say(parts.method.as_str().as_bytes());
        say(b" ");
        say(parts.uri.path_and_query().map_or("/", |path| path.as_str()).as_bytes());
        say(b" HTTP/1.1\r\n");
        if !parts.headers.contains_key(HOST) {
            say(b"host: passed\r\n");
        }
        for (name, value) in &parts.headers {
            if NOT_PASSED.contains(name) || *name == FOR || *name == FAULT {
                continue;
            }
            say(name.as_str().as_bytes());
            say(b": ");
            say(value.as_bytes());
            say(b"\r\n");
        }
        if self.kind == Kind::Upgrade {
            say(b"connection: upgrade\r\n");
            for value in parts.headers.get_all(UPGRADE) {
                say(b"upgrade: ");
                say(value.as_bytes());
                say(b"\r\n");
            }
        }
        if let Some(fault) = self.fault {
            let word = if matches!(fault, Fault::Half) { HALF } else { BAD };
            say(format!("{FAULT}: {word}\r\n").as_bytes());
        }
        say(format!("{FOR}: {}\r\ncontent-length: {}\r\n\r\n", self.peer, self.body.bytes.len()).as_bytes());
        say(&self.body.bytes);
        bytes
    }
}

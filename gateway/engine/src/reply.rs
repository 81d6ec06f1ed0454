//! Replies: what becomes of a request, by whose it is.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderMap, ORIGIN};
use http::{Method, Request};

use crate::connection::Inner;
use crate::cors;
use crate::handler::{Answer, End, Guest, Misuse, Side, Transport};
use crate::handshake::{self, Id, Query, Refused};
use crate::http::{Body, Head, Wire};
use crate::outbox::{Poll, Way};
use crate::passing::Place;
use crate::polling;
use crate::server::Shared;

/// What becomes of a request.
pub(crate) enum Reply {
    /// It is answered, and another may follow.
    Answer(Answer),
    /// It is answered, and nothing else is read.
    Last(Answer),
    /// A poll is answered; what is in it is lost if that fails.
    Poll(Answer, Arc<Inner>),
    /// The stream becomes a websocket, of a new connection or of one that polls.
    Open(Answer, Arc<dyn Guest>),
    Upgrade(Answer, Arc<Inner>),
    /// The stream becomes a websocket only to be told that its client is too old.
    Outdated(Answer),
    /// Another server has answered it, and the client has that; another may follow, or nothing.
    Passed(bool),
    /// The stream becomes a websocket of another server.
    Tunnel(Wire, Box<dyn Place>),
    /// There is nobody to answer.
    Gone,
}

impl Shared {
    pub(crate) async fn reply(self: &Arc<Self>, wire: &mut Wire, head: &Head, peer: SocketAddr) -> Reply {
        let parts = &head.parts;
        if parts.extensions.get::<Side>().is_some() || !handshake::is_ours(parts.uri.path()) {
            return match self.handler.admit_stranger(peer, Some(parts)) {
                Ok(()) => self.reply_elsewhere(wire, head, peer).await,
                Err(answer) => Reply::Last(*answer),
            };
        }
        let query = Query::read(parts);
        let is_handshake = matches!(query, Ok(Query { id: None, .. })) && parts.method != Method::OPTIONS;
        for origin in parts.headers.get_all(ORIGIN) {
            if let Err(answer) = self.handler.admit_origin(origin.as_bytes(), is_handshake) {
                return self.turn_away(head, peer, *answer);
            }
        }
        let reply = if parts.method == Method::OPTIONS {
            match self.handler.admit_stranger(peer, Some(parts)) {
                Ok(()) => Reply::Answer(cors::preflight(&parts.headers)),
                Err(answer) => Reply::Last(*answer),
            }
        } else {
            match query {
                // Behind its head come frames, and nothing else.
                Ok(Query { transport: Transport::Websocket, id, .. }) if wire.has_untaken => {
                    let misuse = if id.is_some() { Misuse::Request } else { Misuse::Handshake };
                    self.refuse(head, peer, Refused::BadRequest, misuse)
                }
                Ok(query) => self.reply_to(wire, head, peer, &query).await,
                Err(refused) => self.refuse(head, peer, refused, Misuse::Handshake),
            }
        };
        reply.shared_with(&parts.headers)
    }

    pub(crate) fn refuse(&self, head: &Head, peer: SocketAddr, refused: Refused, misuse: Misuse) -> Reply {
        self.handler.misused(misuse);
        self.turn_away(head, peer, refused.answer())
    }

    /// Whoever asks for what is not here may have a body on the way that nobody reads.
    fn turn_away(&self, head: &Head, peer: SocketAddr, answer: Answer) -> Reply {
        let admitted = self.handler.admit_stranger(peer, Some(&head.parts));
        Reply::Last(admitted.map_or_else(|instead| *instead, |()| answer))
    }

    pub(crate) async fn reply_to(
        self: &Arc<Self>,
        wire: &mut Wire,
        head: &Head,
        peer: SocketAddr,
        query: &Query,
    ) -> Reply {
        let parts = &head.parts;
        let Some(id) = query.id else { return self.reply_to_handshake(head, peer, query) };
        let Some(connection) = self.connections.find(id) else {
            return match &self.passage {
                // What was passed on is for this server, or for nobody.
                Some(passage) if !wire.is_passed && id.tag() != self.tag => {
                    // Most requests are not passed on, and should not carry what that needs.
                    Box::pin(self.pass_on(passage, wire, (head, peer, query), id.tag())).await
                }
                _ => self.refuse(head, peer, Refused::UnknownSession, Misuse::Request),
            };
        };
        match (query.transport, &parts.method) {
            (Transport::Websocket, _) => match handshake::accept_websocket(parts) {
                Ok(answer) if connection.begin_upgrade() => Reply::Upgrade(answer, connection),
                Ok(_) => self.refuse(head, peer, Refused::BadRequest, Misuse::Request),
                Err(refused) => self.refuse(head, peer, refused, Misuse::Request),
            },
            (Transport::Polling, &Method::GET) => match polling::poll(&connection, wire).await {
                Some(answer) => Reply::Poll(answer, connection),
                None => Reply::Gone,
            },
            (Transport::Polling, &Method::POST) => {
                let Some(posting) = connection.begin_post() else {
                    // Which of them would come first? Engine.IO's own server ends it, too.
                    connection.end_now(End::BadPacket);
                    return Reply::Last(Refused::BadRequest.answer());
                };
                let body = wire.body(head, self.settings.payload_bytes, &self.budget).await;
                drop(posting);
                match body {
                    Ok(Some(body)) => Reply::Answer(polling::receive(&connection, &body.bytes).await),
                    Ok(None) => {
                        // Half a body: what was in it is lost.
                        connection.end_now(End::Broken);
                        Reply::Gone
                    }
                    Err(bad) => {
                        connection.end_now(End::BadPacket);
                        self.handler.misused(Misuse::Http);
                        Reply::Last(bad.answer())
                    }
                }
            }
            _ => self.refuse(head, peer, Refused::BadRequest, Misuse::Request),
        }
    }

    fn reply_to_handshake(self: &Arc<Self>, head: &Head, peer: SocketAddr, query: &Query) -> Reply {
        let (parts, transport) = (&head.parts, query.transport);
        if parts.method != Method::GET {
            return self.refuse(head, peer, Refused::Method, Misuse::Handshake);
        }
        let websocket = match transport {
            Transport::Polling => None,
            Transport::Websocket => match handshake::accept_websocket(parts) {
                Ok(answer) if query.is_outdated => {
                    self.handler.misused(Misuse::Handshake);
                    return match self.handler.admit_stranger(peer, Some(parts)) {
                        Ok(()) => Reply::Outdated(answer),
                        Err(answer) => Reply::Last(*answer),
                    };
                }
                Ok(answer) => Some(answer),
                Err(refused) => return self.refuse(head, peer, refused, Misuse::Handshake),
            },
        };
        let guest = match self.handler.open(parts, peer, transport) {
            Ok(guest) => guest,
            Err(answer) => return Reply::Answer(*answer),
        };
        match websocket {
            Some(answer) => Reply::Open(answer, guest),
            None => {
                let id = Id::random(self.tag);
                let connection = Inner::new(self.clone(), id, guest, Way::Polling(Poll::default()));
                self.connections.insert(&connection);
                let answer = handshake::open_polling(id, &self.settings);
                Reply::Poll(answer, connection)
            }
        }
    }

    async fn reply_elsewhere(&self, wire: &mut Wire, head: &Head, peer: SocketAddr) -> Reply {
        match wire.body(head, self.settings.body_bytes, &self.budget).await {
            Ok(Some(Body { bytes, charge: _charge })) => {
                let request = Request::from_parts(head.parts.clone(), Bytes::from(bytes));
                Reply::Answer(self.handler.elsewhere(request, peer).await)
            }
            Ok(None) => Reply::Gone,
            Err(bad) => {
                self.handler.misused(Misuse::Http);
                Reply::Last(self.handler.unread(&head.parts, bad.answer()))
            }
        }
    }
}

impl Reply {
    /// With what browsers need to know before they let a page of another origin read it.
    pub(crate) fn shared_with(self, request: &HeaderMap) -> Self {
        match self {
            Self::Answer(answer) => Self::Answer(cors::shared_with(answer, request)),
            Self::Last(answer) => Self::Last(cors::shared_with(answer, request)),
            Self::Poll(answer, connection) => Self::Poll(cors::shared_with(answer, request), connection),
            other => other,
        }
    }
}

//! Opening: streams that become websockets, of a new connection or of one that polls.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::Response;
use tokio::net::tcp::OwnedReadHalf;

use crate::connection::Inner;
use crate::handler::{Answer, End, Guest, Transport};
use crate::handshake::{self, Id};
use crate::http::{Wire, write_head};
use crate::inbound::Parser;
use crate::outbox::Way;
use crate::packet::Packet;
use crate::server::Shared;
use crate::websocket::{self, Role};

impl Shared {
    /// Opens a connection over a websocket.
    pub(crate) async fn open<P: Send + 'static>(
        self: &Arc<Self>,
        mut wire: Wire,
        answer: &Answer,
        guest: Arc<dyn Guest>,
        place: P,
    ) {
        let id = Id::random(self.tag);
        let packet = handshake::open_packet(id, Transport::Websocket, &self.settings);
        let mut bytes = head_of(answer);
        // With the first packet in the same piece: both are small.
        bytes.extend_from_slice(Packet::engine(&packet).frames(Parser::Json));
        if wire.write_all(&bytes).await.is_err() {
            return guest.over(&End::Broken);
        }
        let Wire { stream, buffer, .. } = wire;
        let (read, write) = stream.into_split();
        let connection = Inner::new(self.clone(), id, guest, Way::Websocket(write));
        self.connections.insert(&connection);
        self.run(connection, read, Role::Carrier, buffer, place);
    }

    /// Lets a websocket try to take over from polling, which came here or to another server that passes it on.
    pub(crate) async fn upgrade<P: Send + 'static>(
        self: &Arc<Self>,
        mut wire: Wire,
        answer: &Answer,
        to: Arc<Inner>,
        is_passed: bool,
        place: P,
    ) {
        to.is_passed.store(is_passed, Ordering::Relaxed);
        if wire.write_all(&head_of(answer)).await.is_err() {
            return to.candidate_failed();
        }
        let Wire { stream, buffer, .. } = wire;
        let (read, write) = stream.into_split();
        self.run(to, read, Role::Candidate(write), buffer, place);
    }

    fn run<P: Send + 'static>(
        &self,
        connection: Arc<Inner>,
        read: OwnedReadHalf,
        role: Role,
        buffer: Vec<u8>,
        place: P,
    ) {
        self.tasks.spawn(async move {
            let _place = place;
            websocket::run(connection, read, role, buffer).await;
        });
    }
}

pub(crate) fn head_of(answer: &Answer) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    let mut parts = Response::new(()).into_parts().0;
    parts.status = answer.status();
    parts.headers = answer.headers().clone();
    write_head(&mut bytes, &parts, None);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

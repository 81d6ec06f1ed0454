//! Taken: requests that another server passes on are served as if their clients had come here.

use std::net::SocketAddr;
use std::time::Duration;

use http::request::Parts;
use http::{Method, StatusCode};
use tokio::net::TcpStream;

use super::{FAULT, FOR, HALF};
use crate::handler::{End, Misuse};
use crate::handshake::{Query, Refused};
use crate::http::{Timing, Wire};
use crate::reply::Reply;
use crate::server::Server;
use crate::settings::Settings;

/// How long another server may keep a connection that it does not use. It ends them long before.
const IDLE: Duration = Duration::from_secs(600);

impl Server {
    /// Serves a stream by which another server passes on requests; it has proven that it is one. `read` was read of it already,
    /// and `place` is held as long as the stream is.
    ///
    /// Only connections of this server are found here, and none is opened. Who asks is whoever the other server says: an answer
    /// to a poll whose arrival it does not confirm is lost, and the connection with it.
    pub async fn serve_passed<P: Send + 'static>(&self, stream: TcpStream, read: Vec<u8>, place: P) {
        let shared = &self.0;
        let Settings { header_timeout, write_timeout, .. } = shared.settings;
        let mut wire = Wire::passed(stream, read, Timing { request: header_timeout, idle: IDLE, write: write_timeout });
        loop {
            let head = tokio::select! {
                head = wire.head(&shared.passed_idle) => head,
                () = shared.stop.cancelled() => return,
            };
            let Ok(Some(mut head)) = head else { return };
            let Some((peer, fault)) = introduced(&mut head.parts) else { return };
            let query = Query::read(&head.parts);
            let connection = query.as_ref().ok().and_then(|query| shared.connections.find(query.id?));
            if let Some(fault) = fault {
                connection.inspect(|connection| connection.end_now(fault));
                return;
            }
            if head.parts.method == Method::POST && connection.is_none() {
                // Nobody wants it, and behind it comes the next request.
                if !matches!(wire.body(&head, shared.settings.payload_bytes, &shared.budget).await, Ok(Some(_))) {
                    return;
                }
            }
            let reply = match query {
                Ok(query) if query.id.is_some() => shared.reply_to(&mut wire, &head, peer, &query).await,
                _ => shared.refuse(&head, peer, Refused::UnknownSession, Misuse::Request),
            };
            let (answer, poll) = match reply.shared_with(&head.parts.headers) {
                Reply::Answer(answer) | Reply::Last(answer) => (answer, None),
                Reply::Poll(answer, connection) => (answer, Some(connection)),
                Reply::Upgrade(answer, connection) => {
                    return shared.upgrade(wire, &answer, connection, true, place).await;
                }
                Reply::Gone | Reply::Open(..) | Reply::Outdated(_) | Reply::Passed(_) | Reply::Tunnel(..) => return,
            };
            let poll = poll.filter(|_| answer.status() == StatusCode::OK);
            let patience = wire.patience(answer.body().len()) * 2;
            let is_written = wire.answer(Some(&head), answer, true).await;
            if let Some(connection) = poll
                && !(is_written && wire.acknowledged(patience).await)
            {
                connection.end_now(End::Broken);
                return;
            }
            // What of a body was not read is not to be taken for a request.
            if !is_written || wire.has_untaken {
                return;
            }
        }
    }
}

/// Who asks, and what ends the connection if the request has no body although it had one. The headers that say so are taken out.
fn introduced(parts: &mut Parts) -> Option<(SocketAddr, Option<End>)> {
    let peer = parts.headers.remove(FOR)?.to_str().ok()?.parse().ok()?;
    let fault = parts.headers.remove(FAULT).map(|fault| if fault == HALF { End::Broken } else { End::BadPacket });
    Some((peer, fault))
}

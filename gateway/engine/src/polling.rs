//! Polling: requests of a client without a stream of its own, and how a websocket takes over from them.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::{sleep, timeout};

use crate::connection::Inner;
use crate::handler::{Answer, End};
use crate::handshake::Refused;
use crate::heartbeat::millis;
use crate::http::Wire;
use crate::outbox::{Phase, Way};
use crate::payload::{self, Part, Payload};
use crate::websocket::ENVELOPE;

/// How long a poll waits when an upgrade has begun, if nothing comes: as long as with Socket.IO's own server. A client
/// whose connections all break in that time loses its poll, too, and notices; answered before, it would not.
const NOOP_AFTER: Duration = Duration::from_millis(100);

/// An answer of Engine.IO.
pub(crate) fn answer(body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(body.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What came of a poll.
enum Polled {
    Payload(Payload),
    /// A websocket has taken over.
    Nothing,
    /// A websocket is about to: the client waits for the answer to this poll.
    Probed,
    /// The connection is over.
    Closed,
}

/// Answers a client's poll as soon as there is something to say; nothing if the client has gone.
pub(crate) async fn poll(connection: &Arc<Inner>, wire: &mut Wire) -> Option<Answer> {
    let before = match &mut connection.out.lock().way {
        Way::Polling(poll) => Some((std::mem::replace(&mut poll.pending, true), poll.probed)),
        Way::Websocket(_) => None,
    };
    // Without a way to poll it is the last poll of a client whose websocket was quicker.
    let Some((is_pending, mut is_probed)) = before else { return Some(Refused::BadRequest.answer()) };
    if is_pending {
        // Which of them would get what? Engine.IO's own server ends it, too.
        connection.end_now(End::BadPacket);
        return Some(Refused::BadRequest.answer());
    }
    let _pending = Pending(connection);
    loop {
        let polled = tokio::select! {
            biased;
            polled = polled(connection, is_probed) => polled,
            () = wire.gone() => {
                if !wire.is_hurried() {
                    connection.end_now(End::Broken);
                    return None;
                }
                Polled::Nothing
            }
            () = sleep(NOOP_AFTER), if is_probed => Polled::Nothing,
        };
        return Some(match polled {
            Polled::Payload(payload) => answer(payload.into_body()),
            Polled::Nothing => answer("6"),
            Polled::Closed => answer("1"),
            Polled::Probed => {
                is_probed = true;
                continue;
            }
        });
    }
}

/// A poll that waits.
struct Pending<'a>(&'a Arc<Inner>);

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Way::Polling(poll) = &mut self.0.out.lock().way {
            poll.pending = false;
        }
    }
}

async fn polled(connection: &Arc<Inner>, is_probed: bool) -> Polled {
    poll_fn(|context| {
        connection.poll_waker.register(context.waker());
        let mut out = connection.out.lock();
        if out.phase == Phase::Closed {
            return Poll::Ready(Polled::Closed);
        }
        if out.waiting().packets > 0 && matches!(out.way, Way::Polling(_)) {
            let payload = out.take_payload();
            out.written += payload.len() as u64;
            return Poll::Ready(Polled::Payload(payload));
        }
        match &mut out.way {
            Way::Websocket(_) => Poll::Ready(Polled::Nothing),
            Way::Polling(poll) if poll.probed && !is_probed => Poll::Ready(Polled::Probed),
            Way::Polling(_) => Poll::Pending,
        }
    })
    .await
}

/// A body that is being read.
pub(crate) struct Posting<'a>(&'a Inner);

impl Drop for Posting<'_> {
    fn drop(&mut self) {
        self.0.is_posting.store(false, Ordering::Release);
    }
}

/// Takes the body of a client's request: any number of packets.
pub(crate) async fn receive(connection: &Arc<Inner>, body: &[u8]) -> Answer {
    let refused = |connection: &Arc<Inner>, end| {
        connection.end_now(end);
        Refused::BadRequest.answer()
    };
    if !connection.guest.admits(payload::count(body), body.len()) {
        return refused(connection, End::Flooding);
    }
    connection.received.fetch_add(body.len() as u64, Ordering::Relaxed);
    let Ok(body) = std::str::from_utf8(body) else { return refused(connection, End::BadPacket) };
    let limit = connection.shared.settings.message_bytes + ENVELOPE;
    for part in payload::parts(body) {
        wait_for_pause(connection).await;
        if connection.phase() != Phase::Open {
            return Refused::UnknownSession.answer();
        }
        let goes_on = match part {
            Some(Part::Text(text)) if text.len() <= limit => connection.text(text),
            Some(Part::Binary(bytes)) if bytes.len() <= limit => connection.bytes(&bytes),
            _ => connection.misbehaved(),
        };
        if !goes_on && connection.was_wrong() {
            return Refused::BadRequest.answer();
        }
    }
    answer("ok")
}

/// The client waits for its answer while nothing of it is to be read.
async fn wait_for_pause(connection: &Arc<Inner>) {
    if !connection.is_paused() {
        return;
    }
    let paused = async {
        loop {
            let resumed = connection.resumed.notified();
            if !connection.is_paused() || connection.phase() != Phase::Open {
                return;
            }
            resumed.await;
        }
    };
    // Whoever pauses longer than a client may be silent has forgotten it.
    timeout(connection.shared.settings.ping_timeout, paused).await.ok();
}

impl Inner {
    /// A body of the client is to be read; nothing while another one is.
    pub(crate) fn begin_post(&self) -> Option<Posting<'_>> {
        let is_free = !self.is_posting.swap(true, Ordering::AcqRel);
        is_free.then(|| Posting(self))
    }

    /// A websocket asks to take over. False if another one does, or has.
    pub(crate) fn begin_upgrade(&self) -> bool {
        let mut out = self.out.lock();
        let is_open = out.phase == Phase::Open;
        let Way::Polling(poll) = &mut out.way else { return false };
        if !is_open || poll.upgrading {
            return false;
        }
        poll.upgrading = true;
        let by = self.shared.clock.now().saturating_add(millis(self.shared.settings.connect_timeout));
        self.upgrade_by.store(by, Ordering::Relaxed);
        true
    }

    /// It works: the client stops polling as soon as its polls are answered.
    pub(crate) fn probed(&self) {
        if let Way::Polling(poll) = &mut self.out.lock().way {
            poll.probed = true;
        }
        self.poll_waker.wake();
    }

    /// It takes over, with all that waits. False if the connection is ending.
    pub(crate) fn upgrade(self: &Arc<Self>, stream: OwnedWriteHalf) -> bool {
        {
            let mut out = self.out.lock();
            if out.phase != Phase::Open {
                return false;
            }
            out.upgrade(stream);
        }
        self.upgrade_by.store(u64::MAX, Ordering::Relaxed);
        self.heard(false);
        self.poll_waker.wake();
        self.guest.upgraded();
        self.flush();
        true
    }

    /// It did not: polling goes on as if nothing had been.
    pub(crate) fn candidate_failed(&self) {
        self.upgrade_by.store(u64::MAX, Ordering::Relaxed);
        if let Way::Polling(poll) = &mut self.out.lock().way {
            (poll.upgrading, poll.probed) = (false, false);
        }
    }
}

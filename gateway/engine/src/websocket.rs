//! Websockets: the one task of a connection, which reads, and writes what had to wait; first perhaps as a candidate that
//! is to take over from polling.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::budget::Charge;
use crate::connection::Inner;
use crate::frame::{self, Decoder, FrameError, Message, Next, Opcode, Receiver};
use crate::handler::End;
use crate::outbox::{Phase, Way};

/// Read at a time.
const PIECE: usize = 16 * 1024;

thread_local! {
    /// What a worker reads into. Nothing stays in it: connections own no buffer while nothing is unfinished.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; PIECE].into());
}

/// Serves a websocket until its end. `read` is what came behind the request for it.
pub(crate) async fn run(connection: Arc<Inner>, stream: OwnedReadHalf, role: Role, mut read: Vec<u8>) {
    let mut websocket =
        Websocket { connection, stream, role, decoder: Decoder::default(), charge: None, has_more: false };
    let is_over = !websocket.feed(&mut read) && websocket.is_done();
    drop(read);
    if !is_over {
        poll_fn(|context| websocket.poll(context)).await;
    }
    websocket.depart();
}

/// What a websocket is to its connection.
#[derive(Debug)]
pub(crate) enum Role {
    /// Wants to take over from polling, and has its own way to the client until then.
    Candidate(OwnedWriteHalf),
    /// Carries the connection.
    Carrier,
}

struct Websocket {
    connection: Arc<Inner>,
    stream: OwnedReadHalf,
    role: Role,
    decoder: Decoder,
    charge: Option<Charge>,
    /// The decoder has messages that had to wait.
    has_more: bool,
}

impl Websocket {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.connection.stream_waker.register(context.waker());
        loop {
            if matches!(self.role, Role::Candidate(_)) && self.candidate_is_late() {
                return Poll::Ready(());
            }
            let phase = self.connection.phase();
            if matches!(self.role, Role::Carrier) && phase != Phase::Closed && self.write(context).is_err() {
                return Poll::Ready(());
            }
            // What is not read yet will not be read any more; but the end of the stream is waited for, or the last
            // words might be lost with what lies in the way.
            if phase == Phase::Closing || (phase == Phase::Open && self.connection.is_paused()) {
                return Poll::Pending;
            }
            if self.has_more && phase == Phase::Open {
                if !self.feed(&mut []) && self.is_done() {
                    return Poll::Ready(());
                }
                continue;
            }
            let is_read = SCRATCH.with_borrow_mut(|scratch| {
                let mut piece = ReadBuf::new(scratch);
                match Pin::new(&mut self.stream).poll_read(context, &mut piece) {
                    Poll::Pending => None,
                    Poll::Ready(Ok(())) if piece.filled().is_empty() => Some(Err(End::Cut)),
                    Poll::Ready(Err(_)) => Some(Err(self.connection.broken())),
                    Poll::Ready(Ok(())) if phase == Phase::Closed => Some(Ok(true)),
                    Poll::Ready(Ok(())) => Some(Ok(self.feed(piece.filled_mut()))),
                }
            });
            match is_read {
                None => return Poll::Pending,
                Some(Ok(true)) => {}
                Some(Ok(false)) => {
                    if self.is_done() {
                        return Poll::Ready(());
                    }
                }
                Some(Err(end)) => {
                    if matches!(self.role, Role::Carrier) {
                        self.connection.end_now(end);
                    }
                    return Poll::Ready(());
                }
            }
        }
    }

    /// Whether nothing is left to do when nothing more is wanted. Of a connection that is ending the stream is watched to
    /// its end.
    fn is_done(&self) -> bool {
        matches!(self.role, Role::Candidate(_)) || self.connection.phase() == Phase::Open
    }

    fn candidate_is_late(&self) -> bool {
        let connection = &self.connection;
        connection.phase() != Phase::Open
            || connection.shared.clock.now() >= connection.upgrade_by.load(Ordering::Relaxed)
    }

    /// Writes what waits, as far as the socket takes it.
    fn write(&self, context: &mut Context<'_>) -> Result<(), ()> {
        while self.connection.waits_for_stream() {
            match self.stream.as_ref().poll_write_ready(context) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(())) => _ = self.connection.flush(),
                Poll::Ready(Err(_)) => {
                    self.connection.end_now(self.connection.broken());
                    return Err(());
                }
            }
        }
        Ok(())
    }

    /// Takes what was read. False if nothing more is wanted.
    fn feed(&mut self, bytes: &mut [u8]) -> bool {
        self.connection.received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let limit = self.connection.shared.settings.message_bytes + ENVELOPE;
        let mut ears = Ears { connection: &self.connection, role: &mut self.role, next: Next::More };
        let fed = self.decoder.feed(bytes, limit, &mut ears);
        self.has_more = ears.next == Next::Wait;
        let goes_on = ears.next != Next::Nothing;
        let fed = fed.and_then(|()| self.account());
        if let Err(error) = fed {
            tracing::debug!(%error, "a client broke the websocket protocol");
            self.refuse(error);
            return false;
        }
        goes_on
    }

    /// Counts what is held of what is unfinished.
    fn account(&mut self) -> Result<(), FrameError> {
        let held = self.decoder.held();
        let is_granted = match &mut self.charge {
            _ if held == 0 => {
                self.charge = None;
                true
            }
            Some(charge) => charge.change_to(held),
            None => {
                self.charge = self.connection.shared.budget.charge(held);
                self.charge.is_some()
            }
        };
        if is_granted { Ok(()) } else { Err(FrameError::Budget) }
    }

    /// Says why it ends. The connection ends with its carrier, but a candidate only for what costs others.
    fn refuse(&self, error: FrameError) {
        let close = frame::frame(Opcode::Close, &error.close_code().to_be_bytes());
        let end = if error == FrameError::TooFast { End::Flooding } else { End::BadPacket };
        match &self.role {
            Role::Candidate(stream) => {
                stream.try_write(&close).ok();
                if error == FrameError::TooFast {
                    self.connection.end_now(end);
                }
            }
            Role::Carrier => {
                self.connection.say_last(&close);
                self.connection.end_now(end);
            }
        }
    }

    /// A candidate that fails changes nothing.
    fn depart(self) {
        if let Role::Candidate(_) = self.role {
            self.connection.candidate_failed();
        }
    }
}

/// What a message may have around what it carries: types, a namespace, an id.
pub(crate) const ENVELOPE: usize = 256;

/// Hears the messages of a websocket.
struct Ears<'a> {
    connection: &'a Arc<Inner>,
    role: &'a mut Role,
    next: Next,
}

impl Receiver for Ears<'_> {
    fn admits(&mut self, bytes: usize) -> bool {
        self.connection.guest.admits(1, bytes)
    }

    fn receive(&mut self, message: Message<'_>) -> Next {
        let goes_on = match self.role {
            Role::Candidate(_) => self.audition(&message),
            Role::Carrier => self.carry(&message),
        };
        self.next = match goes_on {
            false => Next::Nothing,
            true if self.connection.is_paused() => Next::Wait,
            true => Next::More,
        };
        self.next
    }
}

impl Ears<'_> {
    fn audition(&mut self, message: &Message<'_>) -> bool {
        let Role::Candidate(stream) = &*self.role else { return false };
        let say = |bytes: &[u8]| stream.try_write(bytes).is_ok_and(|written| written == bytes.len());
        match message {
            Message::Text("2probe") => {
                self.connection.probed();
                say(&frame::frame(Opcode::Text, b"3probe"))
            }
            // Some clients leave the probe out.
            Message::Text("5") => {
                let Role::Candidate(stream) = std::mem::replace(self.role, Role::Carrier) else { return false };
                self.connection.upgrade(stream)
            }
            Message::Ping(payload) => say(&frame::frame(Opcode::Pong, payload)),
            Message::Pong => true,
            Message::Text(_) | Message::Binary(_) | Message::Close => false,
        }
    }

    fn carry(&mut self, message: &Message<'_>) -> bool {
        // What was sent before an end is read together with what comes after it.
        match message {
            Message::Text(text) => self.connection.text(text) && self.connection.phase() == Phase::Open,
            Message::Binary(bytes) => self.connection.bytes(bytes) && self.connection.phase() == Phase::Open,
            Message::Ping(payload) => {
                self.connection.heard(false);
                // If it cannot be written, the connection is over.
                self.connection.pong(payload).is_ok()
            }
            Message::Pong => {
                self.connection.heard(false);
                true
            }
            Message::Close => {
                self.connection.say_last(&frame::frame(Opcode::Close, &1000_u16.to_be_bytes()));
                self.connection.end_now(End::Closed);
                false
            }
        }
    }
}

impl Inner {
    /// Writes the very last frame, if nothing is in its way.
    fn say_last(&self, bytes: &[u8]) {
        let out = self.out.lock();
        if let Way::Websocket(stream) = &out.way
            && out.waiting().packets == 0
        {
            stream.try_write(bytes).ok();
        }
    }
}

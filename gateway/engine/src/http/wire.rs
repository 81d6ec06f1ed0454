//! The wire: one client's TCP connection while it speaks HTTP.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::StreamExt;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE};
use http::{Response, StatusCode, Version};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::body::Chunks;
use super::{BadRequest, Framing, HURRY, Head, Idle, head};
use crate::budget::{Budget, Charge};
use crate::handler::Pieces;

/// Read at a time.
const PIECE: usize = 4 * 1024;
/// Answers up to here are sent together with their head.
const SMALL: usize = 16 * 1024;
/// The slowest line on which large bodies and answers arrive, in bytes a second.
const SLOWEST: usize = 16 * 1024;

/// How long what may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// From the first byte of a request to the end of its head, and again for its body: longer for what has come of that.
    pub(crate) request: Duration,
    /// Between requests.
    pub(crate) idle: Duration,
    /// For writing an answer.
    pub(crate) write: Duration,
}

/// A request's body.
#[derive(Debug, Default)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    /// Its part of the budget.
    pub(crate) charge: Option<Charge>,
}

#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    /// What was read and not used yet.
    pub(crate) buffer: Vec<u8>,
    timing: Timing,
    is_first: bool,
    /// The last request has a body that was not taken in whole. Nothing behind its head is a request then.
    pub(crate) has_untaken: bool,
    /// At the other end is another server, which passes on what clients ask.
    pub(crate) is_passed: bool,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, timing: Timing) -> Self {
        Self { stream, buffer: Vec::new(), timing, is_first: true, has_untaken: false, is_passed: false }
    }

    /// One to another server, of which something was read already.
    pub(crate) fn passed(stream: TcpStream, buffer: Vec<u8>, timing: Timing) -> Self {
        Self { is_passed: true, buffer, ..Self::new(stream, timing) }
    }

    /// The next request's head; nothing if the client has gone, or was idle too long.
    pub(crate) async fn head(&mut self, idle: &Idle) -> Result<Option<Head>, BadRequest> {
        loop {
            if self.is_passed && self.buffer.starts_with(&[HURRY]) {
                // Said while the answer was on its way that needed no other word.
                self.buffer.remove(0);
            }
            if !self.buffer.is_empty() {
                break;
            }
            let stay = idle.enter();
            // Who has only just connected has something to ask.
            let patience = if std::mem::take(&mut self.is_first) { self.timing.request } else { self.timing.idle };
            tokio::select! {
                () = stay.evicted() => return Ok(None),
                read = timeout(patience, self.read_more()) => match read {
                    Ok(Ok(1..)) => {}
                    Ok(Ok(0) | Err(_)) | Err(_) => return Ok(None),
                },
            }
        }
        self.is_first = false;
        let deadline = Instant::now() + self.timing.request;
        loop {
            if let Some((head, length)) = Head::read(&self.buffer, self.is_passed)? {
                self.buffer.drain(..length);
                self.has_untaken = head.framing != Framing::Length(0);
                if self.buffer.is_empty() {
                    self.buffer = Vec::new();
                }
                return Ok(Some(head));
            }
            match timeout_at(deadline, self.read_more()).await {
                Ok(Ok(0) | Err(_)) => return Ok(None),
                Ok(Ok(_)) => {}
                Err(_) => return Err(BadRequest::TooSlow),
            }
        }
    }

    /// A request's body, of at most `limit` bytes. What has come of it counts against the budget, and not what is only said to come.
    pub(crate) async fn body(
        &mut self,
        head: &Head,
        limit: usize,
        budget: &Arc<Budget>,
    ) -> Result<Option<Body>, BadRequest> {
        match head.framing {
            Framing::Length(0) => return Ok(Some(Body::default())),
            Framing::Length(length) if length > limit => return Err(BadRequest::BodyTooLarge),
            Framing::Length(_) | Framing::Chunked => {}
        }
        if head.expects_continue && self.buffer.is_empty() {
            self.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.ok();
        }
        let mut charge = budget.charge(0).ok_or(BadRequest::Budget)?;
        let began = Instant::now();
        let (mut bytes, mut chunks) = (Vec::new(), Chunks::default());
        loop {
            let is_whole = match head.framing {
                Framing::Chunked => chunks.take(&mut self.buffer, &mut bytes, limit)?,
                Framing::Length(length) if self.buffer.len() >= length => {
                    let rest = self.buffer.split_off(length);
                    bytes = std::mem::replace(&mut self.buffer, rest);
                    true
                }
                Framing::Length(_) => false,
            };
            let held = bytes.len() + if is_whole { 0 } else { self.buffer.len() };
            if !charge.change_to(held) {
                return Err(BadRequest::Budget);
            }
            if is_whole {
                self.has_untaken = false;
                return Ok(Some(Body { bytes, charge: Some(charge) }));
            }
            match timeout_at(began + self.timing.request + on_slow_line(held), self.read_more()).await {
                Ok(Ok(0) | Err(_)) => return Ok(None),
                Ok(Ok(_)) => {}
                Err(_) => return Err(BadRequest::TooSlow),
            }
        }
    }

    /// Reads what there is; memory is only taken when something is.
    pub(super) async fn read_more(&mut self) -> io::Result<usize> {
        loop {
            self.stream.readable().await?;
            let mut piece = [0; PIECE];
            match self.stream.try_read(&mut piece) {
                Ok(length) => {
                    self.buffer.extend_from_slice(&piece[..length]);
                    return Ok(length);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns when the client has closed the connection. What it sends meanwhile is kept, as far as it may. Another server can only
    /// say that it is in a hurry, and then it has not gone: see [`Self::is_hurried`].
    pub(crate) async fn gone(&mut self) {
        poll_fn(|context| {
            loop {
                // It may have come in one piece with the request.
                if self.is_passed && !self.buffer.is_empty() {
                    return Poll::Ready(());
                }
                if self.buffer.len() >= head::MAX_BYTES {
                    return Poll::Pending;
                }
                match self.stream.poll_read_ready(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Ready(Ok(())) => {}
                }
                let mut piece = [0; 512];
                match self.stream.try_read(&mut piece) {
                    Ok(0) => return Poll::Ready(()),
                    Ok(length) => self.buffer.extend_from_slice(&piece[..length]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return Poll::Ready(()),
                }
            }
        })
        .await;
    }

    /// Whether the other server wants an answer now; asked when [`Self::gone`] has returned.
    pub(crate) fn is_hurried(&mut self) -> bool {
        let is_hurried = self.is_passed && self.buffer == [HURRY];
        if is_hurried {
            self.buffer.clear();
        }
        is_hurried
    }

    /// How long it may take to write or to read so much: longer for what is large, or clients with a slow line would never get it.
    pub(crate) fn patience(&self, length: usize) -> Duration {
        self.timing.write + on_slow_line(length)
    }

    /// Answers a request; with `keep_alive` another one may follow. False if the answer could not be written.
    pub(crate) async fn answer(&mut self, head: Option<&Head>, response: Response<Bytes>, keep_alive: bool) -> bool {
        let is_old = head.is_some_and(|head| head.parts.version == Version::HTTP_10);
        let is_bodiless = head.is_some_and(|head| head.parts.method == http::Method::HEAD);
        let (parts, body) = response.into_parts();
        let mut bytes = Vec::with_capacity(256 + if body.len() <= SMALL { body.len() } else { 0 });
        write_head(&mut bytes, &parts, Some(body.len()));
        if !keep_alive {
            bytes.extend_from_slice(b"connection: close\r\n");
        } else if is_old {
            bytes.extend_from_slice(b"connection: keep-alive\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        if is_bodiless {
            return self.write_all(&bytes).await.is_ok();
        }
        if body.len() <= SMALL {
            bytes.extend_from_slice(&body);
            return self.write_all(&bytes).await.is_ok();
        }
        self.write_all(&bytes).await.is_ok() && self.write_all(&body).await.is_ok()
    }

    /// Answers with a body that comes in pieces, until it ends, the client goes, or the server stops.
    pub(crate) async fn stream(
        &mut self,
        head: &Head,
        response: Response<Bytes>,
        mut pieces: Pieces,
        stop: &CancellationToken,
    ) {
        let (parts, _) = response.into_parts();
        let is_chunked = head.parts.version != Version::HTTP_10;
        let mut bytes = Vec::with_capacity(512);
        write_head(&mut bytes, &parts, None);
        bytes.extend_from_slice(b"connection: close\r\n");
        if is_chunked {
            bytes.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        while self.write_all(&bytes).await.is_ok() {
            let piece = tokio::select! {
                biased;
                () = stop.cancelled() => None,
                () = self.gone() => return,
                piece = pieces.next() => piece,
            };
            let Some(piece) = piece else {
                if is_chunked {
                    self.write_all(b"0\r\n\r\n").await.ok();
                }
                return;
            };
            bytes.clear();
            if is_chunked {
                bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            }
            bytes.extend_from_slice(&piece);
            if is_chunked {
                bytes.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Writes, within [a time](Self::patience).
    pub(crate) async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let patience = self.patience(bytes.len());
        let writing = async {
            while !bytes.is_empty() {
                match self.stream.try_write(bytes) {
                    Ok(written) => bytes = &bytes[written..],
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.stream.writable().await?,
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        timeout(patience, writing).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// How long so much is on its way at the worst.
fn on_slow_line(length: usize) -> Duration {
    Duration::from_millis((length.saturating_mul(1000) / SLOWEST) as u64)
}

/// Writes the status line and the headers, but not the empty line after them. `length` is the body's.
pub(crate) fn write_head(to: &mut Vec<u8>, parts: &http::response::Parts, length: Option<usize>) {
    let status = parts.status;
    to.extend_from_slice(b"HTTP/1.1 ");
    to.extend_from_slice(status.as_str().as_bytes());
    to.push(b' ');
    to.extend_from_slice(status.canonical_reason().unwrap_or("Status").as_bytes());
    to.extend_from_slice(b"\r\n");
    let mut line = |name: &str, value: &[u8]| {
        to.extend_from_slice(name.as_bytes());
        to.extend_from_slice(b": ");
        to.extend_from_slice(value);
        to.extend_from_slice(b"\r\n");
    };
    for (name, value) in &parts.headers {
        if *name != CONTENT_LENGTH && *name != CONNECTION || status == StatusCode::SWITCHING_PROTOCOLS {
            line(name.as_str(), value.as_bytes());
        }
    }
    let has_body = status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED && !status.is_informational();
    if let Some(length) = length.filter(|_| has_body) {
        line(CONTENT_LENGTH.as_str(), length.to_string().as_bytes());
    }
    line(DATE.as_str(), httpdate::fmt_http_date(SystemTime::now()).as_bytes());
}

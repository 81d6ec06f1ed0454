//! The guarded IO: a client's TCP stream that can be ended, paused and timed from outside.
//!
//! engineioxide 0.17 cannot end a connection whose client does not read: its writer waits in a write while it holds
//! the lock that closing needs, so that the session, its rooms and every broadcast to it live on. Owning the stream
//! is the way out.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};

use super::announce::Announcement;
use crate::metrics::Metrics;

const OPEN: u8 = 0;
const SOFT: u8 = 1;
const HARD: u8 = 2;

/// How long a soft close waits before the reader sees the end. As soon as it does, the engine stops writing, so
/// this is what the writer has for the packets that were queued before.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// The handle by which others rule over a [`GuardedIo`].
#[derive(Debug, Default)]
pub(super) struct IoControl {
    mode: AtomicU8,
    paused: AtomicBool,
    stalled: AtomicBool,
    gone: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
    /// Whether there is an announcement to make; looked at with every write.
    announcing: AtomicBool,
    announcements: Mutex<Vec<Arc<Announcement>>>,
}

impl IoControl {
    /// Nothing more is read, and after [`LAST_WORDS`] the reader sees the end of the stream. What was queued for a
    /// client that reads is written by then.
    pub(super) fn close_softly(&self) {
        self.end(SOFT);
    }

    /// Reads and writes fail from now on; what is queued is lost.
    pub(super) fn kill(&self) {
        self.end(HARD);
    }

    fn end(&self, mode: u8) {
        self.mode.fetch_max(mode, Ordering::AcqRel);
        self.reader.wake();
        self.writer.wake();
    }

    /// Reads nothing more until [`Self::resume`]; the client's TCP window fills and it has to wait.
    pub(super) fn pause(&self) {
        self.paused.store(true, Ordering::Release);
    }

    /// Reads again.
    pub(super) fn resume(&self) {
        if self.paused.swap(false, Ordering::AcqRel) {
            self.reader.wake();
        }
    }

    /// Has a CONNECT reply that is yet to be written carry more than socketioxide gives it.
    pub(super) fn announce(&self, announcement: Arc<Announcement>) {
        self.announcements.lock().push(announcement);
        self.announcing.store(true, Ordering::Release);
    }

    /// Where in these bytes the next announcement is to be made, if in them.
    fn announcement_in(&self, bytes: &[u8]) -> Option<(usize, usize, Vec<u8>)> {
        if !self.announcing.load(Ordering::Acquire) {
            return None;
        }
        let mut announcements = self.announcements.lock();
        announcements.retain(|announcement| !announcement.made());
        let found =
            announcements.iter().filter_map(|announcement| Some((announcement, announcement.in_stream(bytes)?)));
        let first = found.min_by_key(|(_, (place, ..))| *place).map(|(announcement, found)| {
            announcement.note_made();
            found
        });
        if announcements.is_empty() {
            self.announcing.store(false, Ordering::Release);
        }
        first
    }

    /// Whether the stream is no more.
    #[must_use]
    pub(super) fn gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Whether it ended because the client did not read.
    #[must_use]
    pub(super) fn stalled(&self) -> bool {
        self.stalled.load(Ordering::Acquire)
    }
}

/// A stream under an [`IoControl`], which also ends itself when one write waits longer than `write_timeout`.
#[derive(Debug)]
pub(super) struct GuardedIo<T> {
    inner: T,
    control: Arc<IoControl>,
    metrics: Arc<Metrics>,
    write_timeout: Duration,
    /// Runs while a write waits. Made when the first one does: most connections never need it.
    patience: Option<Pin<Box<Sleep>>>,
    /// Runs from a soft close to the end that the reader sees.
    last_words: Option<Pin<Box<Sleep>>>,
    /// What is written in the place of bytes that were taken already.
    instead: Vec<u8>,
    /// The connection's place among those that the process can hold, given back when the stream is dropped.
    _place: Option<OwnedSemaphorePermit>,
}

impl<T> GuardedIo<T> {
    /// Guards a stream.
    pub(super) fn new(
        inner: T,
        write_timeout: Duration,
        metrics: Arc<Metrics>,
        place: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            inner,
            control: Arc::default(),
            metrics,
            write_timeout,
            patience: None,
            last_words: None,
            instead: Vec::new(),
            _place: place,
        }
    }

    /// Its handle.
    #[must_use]
    pub(super) fn control(&self) -> Arc<IoControl> {
        self.control.clone()
    }

    /// Accounts for the result of a write: progress clears the clock, waiting starts it, waiting too long ends all.
    fn watched<R>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if result.is_ready() {
            self.patience = None;
            return result;
        }
        let write_timeout = self.write_timeout;
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(write_timeout)));
        ready!(patience.as_mut().poll(cx));
        self.control.stalled.store(true, Ordering::Release);
        self.control.kill();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn refuse_if_killed(&self, cx: &Context<'_>) -> io::Result<()> {
        self.control.writer.register(cx.waker());
        if self.control.mode.load(Ordering::Acquire) == HARD {
            Err(io::ErrorKind::ConnectionAborted.into())
        } else {
            Ok(())
        }
    }
}

impl<T: AsyncWrite + Unpin> GuardedIo<T> {
    fn write_counted(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = result {
            self.metrics.sent_bytes.increment(count as u64);
        }
        self.watched(cx, result)
    }

    /// Writes what stands in the place of other bytes, which must come before anything else.
    fn write_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.instead.is_empty() {
            let instead = std::mem::take(&mut self.instead);
            let result = self.write_counted(cx, &instead);
            self.instead = instead;
            match ready!(result)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => drop(self.instead.drain(..written)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<T> Drop for GuardedIo<T> {
    fn drop(&mut self) {
        self.control.gone.store(true, Ordering::Release);
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for GuardedIo<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.control.reader.register(cx.waker());
        match self.control.mode.load(Ordering::Acquire) {
            OPEN => {}
            SOFT => {
                let last_words = self.last_words.get_or_insert_with(|| Box::pin(sleep(LAST_WORDS)));
                return last_words.as_mut().poll(cx).map(Ok);
            }
            _ => return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
        }
        if self.control.paused.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buffer);
        self.metrics.received_bytes.increment((buffer.filled().len() - before) as u64);
        result
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for GuardedIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.refuse_if_killed(cx)?;
        ready!(self.write_instead(cx))?;
        match self.control.announcement_in(bytes) {
            None => self.write_counted(cx, bytes),
            Some((place, length, instead)) => {
                // Kept until what stands before it is written; the rest of these bytes comes again.
                self.instead = [&bytes[..place], &instead].concat();
                // Nobody waits for these bytes any more: what cannot be written now is written by the next write or flush.
                if let Poll::Ready(Err(error)) = self.write_instead(cx) {
                    return Poll::Ready(Err(error));
                }
                Poll::Ready(Ok(place + length))
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.refuse_if_killed(cx)?;
        if !self.instead.is_empty() || self.control.announcing.load(Ordering::Acquire) {
            let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
            return self.poll_write(cx, first);
        }
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        if let Poll::Ready(Ok(count)) = result {
            self.metrics.sent_bytes.increment(count as u64);
        }
        self.watched(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.refuse_if_killed(cx)?;
        ready!(self.write_instead(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    fn guarded(buffer: usize) -> (GuardedIo<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (near, far) = duplex(buffer);
        (GuardedIo::new(near, Duration::from_secs(10), Arc::new(Metrics::new()), None), far)
    }

    #[tokio::test]
    async fn a_soft_close_ends_reading_and_still_writes() {
        let (mut io, mut far) = guarded(64);
        let control = io.control();
        let reading = tokio::spawn(async move {
            let end = io.read(&mut [0; 8]).await.unwrap();
            io.write_all(b"farewell").await.unwrap();
            end
        });
        control.close_softly();
        assert_eq!(reading.await.unwrap(), 0);
        let mut text = String::new();
        far.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "farewell");
    }

    #[tokio::test]
    async fn killing_wakes_a_writer_that_waits() {
        let (mut io, _far) = guarded(4);
        let control = io.control();
        let writing = tokio::spawn(async move { io.write_all(&[0; 1024]).await });
        tokio::task::yield_now().await;
        control.kill();
        assert_eq!(writing.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert!(!control.stalled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_waits_too_long_ends_the_connection() {
        let (mut io, _far) = guarded(4);
        let control = io.control();
        let error = io.write_all(&[0; 1024]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(control.stalled());
        assert!(io.read(&mut [0; 8]).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn slow_progress_is_progress() {
        let (mut io, mut far) = guarded(4);
        let writing = tokio::spawn(async move { io.write_all(&[0; 64]).await });
        for _ in 0..16 {
            tokio::time::sleep(Duration::from_secs(9)).await;
            far.read_exact(&mut [0; 4]).await.unwrap();
        }
        writing.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_paused_stream_reads_on_after_it_is_resumed() {
        let (mut io, mut far) = guarded(64);
        let control = io.control();
        control.pause();
        far.write_all(b"hello").await.unwrap();
        let reading = tokio::spawn(async move {
            let mut text = [0; 5];
            io.read_exact(&mut text).await.unwrap();
            text
        });
        tokio::task::yield_now().await;
        assert!(!reading.is_finished());
        control.resume();
        assert_eq!(&reading.await.unwrap(), b"hello");
    }
}

//! The stream of an operator: one whose peer does not read is ended, so that nothing waits for it for ever, and so is one
//! that has to make room.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// How long one write may wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// A stream that is over, in both directions, once a write has waited too long or somebody says so. It keeps a place.
#[derive(Debug)]
pub(super) struct Impatient<S, P> {
    stream: S,
    end: CancellationToken,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    _place: P,
    /// Since a write waits: when it has waited too long.
    waiting: Option<Pin<Box<Sleep>>>,
    over: bool,
    reader: Option<Waker>,
}

impl<S, P> Impatient<S, P> {
    pub(super) fn new(stream: S, end: CancellationToken, place: P) -> Self {
        let ended = Box::pin(end.clone().cancelled_owned());
        Self { stream, end, ended, _place: place, waiting: None, over: false, reader: None }
    }

    /// The stream itself, with patience, and whose place is free.
    pub(super) fn into_stream(self) -> S {
        self.stream
    }

    /// Whether the stream is over. Only whoever reads is woken when somebody says so: somebody always does.
    fn is_over(&self) -> bool {
        self.over || self.end.is_cancelled()
    }

    fn give_up(&mut self) -> io::Error {
        self.over = true;
        // It would wait for a peer that may never say anything again.
        self.reader.take().into_iter().for_each(Waker::wake);
        io::ErrorKind::TimedOut.into()
    }

    /// What a write comes to that ended in this way, or waits.
    fn written<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.waiting = None;
            return result;
        }
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
        ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Err(self.give_up()))
    }
}

impl<S: AsyncRead + Unpin, P: Unpin> AsyncRead for Impatient<S, P> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_over() || self.ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if result.is_pending() {
            self.reader = Some(cx.waker().clone());
        }
        result
    }
}

impl<S: AsyncWrite + Unpin, P: Unpin> AsyncWrite for Impatient<S, P> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_over() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_over() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.written(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};
    use tokio::time::{Instant, advance};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_ends_both_directions() {
        let (stream, _peer) = duplex(10);
        let (mut reader, mut writer) = split(Impatient::new(stream, CancellationToken::new(), ()));
        let reading = tokio::spawn(async move { reader.read_u8().await });
        let began = Instant::now();
        let wrote = writer.write_all(&[0; 100]).await;
        assert_eq!((wrote.unwrap_err().kind(), began.elapsed()), (io::ErrorKind::TimedOut, PATIENCE));
        assert_eq!(reading.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(writer.write_all(&[0]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_reads_slowly_is_waited_for() {
        let (stream, mut peer) = duplex(10);
        let mut stream = Impatient::new(stream, CancellationToken::new(), ());
        let writing = tokio::spawn(async move { stream.write_all(&[0; 100]).await });
        for _ in 0..10 {
            advance(PATIENCE / 2).await;
            peer.read_exact(&mut [0; 10]).await.unwrap();
        }
        writing.await.unwrap().unwrap();
    }
    #[tokio::test(start_paused = true)]
    async fn one_that_has_to_go_goes_at_once_and_leaves_its_place() {
        let (stream, _peer) = duplex(10);
        let (end, place) = (CancellationToken::new(), std::sync::Arc::new(()));
        let mut stream = Impatient::new(stream, end.clone(), place.clone());
        let reading = tokio::spawn(async move { stream.read_u8().await });
        tokio::task::yield_now().await;
        end.cancel();
        assert_eq!(reading.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(std::sync::Arc::strong_count(&place), 1);
    }
}

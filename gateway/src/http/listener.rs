//! The connections of the admin listener: one whose peer does not read is ended, so that nothing waits for it for ever.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep};

/// How long one write may wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// Accepts the connections of operators.
#[derive(Debug)]
pub(super) struct AdminListener(TcpListener);

impl AdminListener {
    /// Accepts those of a listener.
    pub(super) fn new(listener: TcpListener) -> Self {
        Self(listener)
    }
}

impl Listener for AdminListener {
    type Io = Impatient<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        (Impatient::new(stream), address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A stream that is over, in both directions, once a write has waited too long.
#[derive(Debug)]
pub(super) struct Impatient<S> {
    stream: S,
    /// Since a write waits: when it has waited too long.
    waiting: Option<Pin<Box<Sleep>>>,
    over: bool,
    reader: Option<Waker>,
}

impl<S> Impatient<S> {
    fn new(stream: S) -> Self {
        Self { stream, waiting: None, over: false, reader: None }
    }

    fn end(&mut self) -> io::Error {
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
        Poll::Ready(Err(self.end()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.over {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if result.is_pending() {
            self.reader = Some(cx.waker().clone());
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.over {
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
        if self.over {
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
        let (mut reader, mut writer) = split(Impatient::new(stream));
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
        let mut stream = Impatient::new(stream);
        let writing = tokio::spawn(async move { stream.write_all(&[0; 100]).await });
        for _ in 0..10 {
            advance(PATIENCE / 2).await;
            peer.read_exact(&mut [0; 10]).await.unwrap();
        }
        writing.await.unwrap().unwrap();
    }
}

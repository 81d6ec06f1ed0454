//! Requests as a client makes them: a connection of its own for each, so that a balancer decides anew every time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use http::header::{CONNECTION, HOST, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Error as WebSocketError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

/// How long a connection and an answer to it may take, if nothing is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// No answer that is read is larger.
const ANSWER_BYTES: usize = 16 << 20;

/// A way that bytes go, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A websocket of this kind.
pub(super) type WebSocket = WebSocketStream<Box<dyn Stream>>;

/// An address that clients use.
#[derive(Clone, Debug)]
pub(super) struct Site {
    /// `host`, or `host:port` where the scheme does not say it.
    pub(super) authority: String,
    host: String,
    port: u16,
    tls: Option<Arc<rustls::ClientConfig>>,
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// With which status.
    pub(super) status: StatusCode,
    /// The headers.
    pub(super) headers: HeaderMap,
    /// What followed.
    pub(super) body: String,
}

impl Site {
    /// Reads `http://host[:port]` or `https://host[:port]`; `tls` is how the second is spoken.
    ///
    /// # Errors
    /// It is something else.
    pub(super) fn parse(url: &str, tls: &Arc<rustls::ClientConfig>) -> Result<Self, String> {
        let wrong = || format!("{url:?} is not like https://chat.example or http://10.0.0.1:3000");
        let uri: Uri = url.trim_end_matches('/').parse().map_err(|_| wrong())?;
        let port = match uri.scheme_str() {
            Some("http") => 80,
            Some("https") => 443,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().filter(|it| !it.as_str().contains('@')).ok_or_else(wrong)?;
        if !matches!(uri.path(), "" | "/") {
            return Err(format!("{url:?} has a path: clients find Socket.IO at /socket.io/"));
        }
        let tls = (port == 443).then(|| tls.clone());
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        Ok(Self { port: authority.port_u16().unwrap_or(port), authority: authority.to_string(), host, tls })
    }

    /// A plain one.
    #[must_use]
    pub(super) fn plain(host: &str, port: u16) -> Self {
        let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        Self { authority, host: host.to_owned(), port, tls: None }
    }

    /// Whether it is encrypted.
    #[must_use]
    pub(super) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// The name that its certificate is to be for.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn name(&self) -> Result<ServerName<'static>, String> {
        ServerName::try_from(self.host.clone()).map_err(|_| format!("{} is no name for a certificate", self.host))
    }

    /// A connection to it, without what may be spoken over it.
    ///
    /// # Errors
    /// There is none to be had.
    pub(super) async fn dial(&self) -> io::Result<TcpStream> {
        let dialled = tokio::time::timeout(PATIENCE, TcpStream::connect((&*self.host, self.port))).await;
        let stream = dialled.unwrap_or_else(|_| Err(io::Error::other(format!("no connection within {PATIENCE:?}"))))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn open(&self) -> Result<Box<dyn Stream>, String> {
        let stream = self.dial().await.map_err(|error| error.to_string())?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let secured = tokio::time::timeout(PATIENCE, TlsConnector::from(tls.clone()).connect(self.name()?, stream));
        match secured.await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => Err(format!("TLS: {error}")),
            Err(_) => Err(format!("TLS: no answer within {PATIENCE:?}")),
        }
    }

    /// Asks, over a connection of its own, and waits for so long at the most.
    ///
    /// # Errors
    /// There was no answer, in words.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: &str,
        patience: Duration,
    ) -> Result<Answer, String> {
        let late = |_| format!("no answer within {patience:?}");
        tokio::time::timeout(patience, self.ask_now(method, path, headers, body)).await.map_err(late)?
    }

    async fn ask_now(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: &str,
    ) -> Result<Answer, String> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, &self.authority);
        request = request.header(CONNECTION, HeaderValue::from_static("close"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).map_err(|error| error.to_string())?;
        let stream = TokioIo::new(self.open().await?);
        let words = |error: hyper::Error| format!("the connection ended without an answer ({error})");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.map_err(words)?;
        let exchange = async move {
            let (head, body) = sender.send_request(request).await.map_err(words)?.into_parts();
            let body = to_bytes(Body::new(body), ANSWER_BYTES).await;
            let body = body.map_err(|error| format!("the answer broke off ({error})"))?;
            let body = String::from_utf8_lossy(&body).into_owned();
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        // How the connection ends after that is of no interest.
        let (answer, _) = tokio::join!(exchange, connection);
        answer
    }

    /// Asks without saying anything.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(super) async fn get(&self, path: &str) -> Result<Answer, String> {
        self.ask(Method::GET, path, &[], "", PATIENCE).await
    }

    /// A websocket at a path.
    ///
    /// # Errors
    /// There is none: with the status, if there was an answer.
    pub(super) async fn websocket(&self, path: &str) -> Result<WebSocket, String> {
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        let url = format!("{scheme}://{}{path}", self.authority);
        let request = url.into_client_request().map_err(|error| error.to_string())?;
        let stream = self.open().await?;
        let upgraded = tokio::time::timeout(PATIENCE, client_async(request, stream)).await;
        match upgraded.map_err(|_| format!("no answer within {PATIENCE:?}"))? {
            Ok((socket, _)) => Ok(socket),
            Err(WebSocketError::Http(answer)) => Err(format!("the answer is {} in place of 101", answer.status())),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The first words of an answer, for people.
#[must_use]
pub(super) fn first_words(body: &str) -> String {
    let line = body.lines().next().unwrap_or_default();
    let short: String = line.chars().filter(|letter| !letter.is_control()).take(120).collect();
    if short.is_empty() { "nothing".into() } else { format!("{short:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let tls = crate::doctor::tls::client(None).unwrap().0;
        let site = |url: &str| Site::parse(url, &tls);
        let read = site("https://chat.example/").unwrap();
        assert_eq!((read.host.as_str(), read.port, read.is_secure()), ("chat.example", 443, true));
        let read = site("http://[::1]:3000").unwrap();
        assert_eq!((read.host.as_str(), read.port, read.authority.as_str()), ("::1", 3000, "[::1]:3000"));
        for wrong in ["chat.example", "ftp://chat.example", "https://me:pw@chat.example", "https://chat.example/app"] {
            assert!(site(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Site::plain("::1", 9100).authority, "[::1]:9100");
    }
}

//! Dialling: a connection to another node, which has proven that it is that before anything of a client goes there.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use engine::Tag;
use http::header::{CONNECTION, HOST, UPGRADE};
use http::{Request, StatusCode};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::proof::{Prover, Said, Secrets, nonce};

/// Where nodes let each other in, on the admin listener.
pub const PATH: &str = "/passing";
/// What becomes of a connection there.
pub const PROTOCOL: &str = "passing-1";
/// Which node is looked for.
pub const TO: &str = "passing-to";
/// What each of the two says that nobody can have foreseen.
pub const NONCE: &str = "passing-nonce";
/// What the one proves by it that is connected to. The other one's proof is the first line on the connection.
pub const PROOF: &str = "passing-proof";

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// Nobody is there, or another node.
    #[error("{0}")]
    Gone(String),
    /// It has as many connections of other nodes as it may have.
    #[error("{0}")]
    Full(String),
    /// Whoever is there does not answer as a node of this deployment does.
    #[error("{0}")]
    Failed(String),
}

/// Connects to the node of a tag.
pub(super) async fn dial(
    address: &str,
    tag: Tag,
    secrets: &Secrets,
    patience: Duration,
) -> Result<TcpStream, DialError> {
    let dialling = call(address, tag, secrets);
    let late = || DialError::Failed(format!("{address} does not answer within {patience:?}"));
    timeout(patience, dialling).await.unwrap_or_else(|_| Err(late()))
}

async fn call(address: &str, tag: Tag, secrets: &Secrets) -> Result<TcpStream, DialError> {
    let stream = TcpStream::connect(address).await.map_err(|error| unreachable(address, &error))?;
    stream.set_nodelay(true).ok();
    let failed = |error: &dyn std::fmt::Display| DialError::Failed(format!("{address}: {error}"));
    let (mut sender, connection) =
        handshake::<_, String>(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    let mut connection = std::pin::pin!(connection.with_upgrades());
    let (to, asked) = (tag.to_string(), nonce());
    let request = Request::get(PATH)
        .header(HOST, address)
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, PROTOCOL)
        .header(TO, &to)
        .header(NONCE, &asked)
        .body(String::new())
        .map_err(|error| failed(&error))?;
    let mut has_ended = false;
    let asking = sender.send_request(request);
    let answer = beside(asking, connection.as_mut(), &mut has_ended).await.map_err(|error| failed(&error))?;
    match answer.status() {
        StatusCode::SWITCHING_PROTOCOLS => {}
        StatusCode::MISDIRECTED_REQUEST => return Err(DialError::Gone(format!("{address} is another node"))),
        StatusCode::SERVICE_UNAVAILABLE => {
            return Err(DialError::Full(format!("{address} has too many connections of other nodes")));
        }
        status => return Err(failed(&format!("it answers {status}"))),
    }
    let said_there = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (answered, proof) = (said_there(NONCE).to_owned(), said_there(PROOF).to_owned());
    let said = Said { to: &to, address, asked: &asked, answered: &answered };
    if !secrets.is_proof(proof.as_bytes(), Prover::Answerer, &said) {
        return Err(failed(&"it does not know the secret of this deployment, or calls itself by another address"));
    }
    let upgrading = hyper::upgrade::on(answer);
    let upgraded = beside(upgrading, connection, &mut has_ended).await.map_err(|error| failed(&error))?;
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().map_err(|_| failed(&"not a stream of its own"))?;
    if !parts.read_buf.is_empty() {
        return Err(failed(&"it speaks before it is asked"));
    }
    let mut stream = parts.io.into_inner();
    let proof = secrets.prove(Prover::Asker, &said);
    stream.write_all(format!("{proof}\n").as_bytes()).await.map_err(|error| failed(&error))?;
    Ok(stream)
}

/// Does something that needs the connection to be driven, which may end first.
async fn beside<T, C: Future>(work: impl Future<Output = T>, mut connection: Pin<&mut C>, has_ended: &mut bool) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            _ = connection.as_mut(), if !*has_ended => *has_ended = true,
        }
    }
}

/// Where nobody listens, or there is no such host, there is no node. Anything else may be over in a moment.
fn unreachable(address: &str, error: &io::Error) -> DialError {
    let words = format!("{address}: {error}");
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable | io::ErrorKind::NotFound => {
            DialError::Gone(words)
        }
        _ => DialError::Failed(words),
    }
}

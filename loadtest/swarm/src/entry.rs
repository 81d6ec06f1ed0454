//! How a client enters a room: session, `join` in the instant of CONNECT, ack.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, timeout};

use crate::dial::{DialError, Dialer};
use crate::packet::{Answer, Packet, read_answer};
use crate::session::{Closed, Session};

const JOIN_ACK_ID: u64 = 0;

#[derive(Debug, Error)]
pub(crate) enum EntryError {
    #[error("not connected: {0}")]
    NotConnected(#[from] DialError),
    #[error("closed while joining: {0}")]
    Closed(#[from] Closed),
    #[error("join refused: {0}")]
    Refused(String),
    #[error("join not answered in time")]
    Unanswered,
}

/// A session that is in its room, and how long the join took to be acked.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) session: Session,
    pub(crate) ack_latency: Duration,
}

/// The join is written in the same turn in which CONNECT was read: the earliest that any client
/// can speak, and so the hardest on a server that sets its handlers up after CONNECT.
pub(crate) async fn enter(dialer: &Dialer, client: u32, room: &str, deadline: Duration) -> Result<Entry, EntryError> {
    let mut session = dialer.dial(client).await?;
    let asked = Instant::now();
    let request = serde_json::json!(["join", { "room": room }]);
    session.send(format!("42{JOIN_ACK_ID}{request}")).await?;
    match timeout(deadline, join_answer(&mut session)).await {
        Ok(Ok(Ok(_offset))) => Ok(Entry { session, ack_latency: asked.elapsed() }),
        Ok(Ok(Err(code))) => Err(EntryError::Refused(code)),
        Ok(Err(closed)) => Err(closed.into()),
        Err(_) => Err(EntryError::Unanswered),
    }
}

/// A prefix for room names that keeps runs apart; a process id would not, since every container has
/// a process 1.
pub(crate) fn fresh_prefix(scenario: &str) -> String {
    let number = RandomState::new().hash_one(scenario);
    format!("{scenario}-{number:016x}")
}

async fn join_answer(session: &mut Session) -> Result<Answer, Closed> {
    loop {
        let frame = session.read().await?;
        match Packet::parse(&frame) {
            Packet::Ack { id: JOIN_ACK_ID, arguments } => return Ok(read_answer(arguments)),
            other => session.absorb(other).await?,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;
    use futures_util::{SinkExt, StreamExt};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_tungstenite::accept_async;
    use tokio_tungstenite::tungstenite::protocol::Message;

    use super::{Entry, EntryError, enter};
    use crate::args::Arguments;
    use crate::dial::Dialer;

    const DEADLINE: Duration = Duration::from_millis(300);
    const OPEN: &str = r#"0{"sid":"a","pingInterval":25000,"pingTimeout":20000}"#;
    const CONNECT: &str = r#"40{"sid":"b"}"#;

    /// What one client says to a gateway that is overloaded at first, and then sends `packets`,
    /// each after the client has spoken; and whether the client comes in.
    async fn meet(packets: &[&str]) -> anyhow::Result<(Result<Entry, EntryError>, Vec<String>)> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let source = ["--source-addresses", "1"];
        let arguments = ["swarm", "idle", "--url", &url, "--token", "t"];
        let arguments = Arguments::try_parse_from(arguments.into_iter().chain(source))?;
        let dialer = Dialer::new(arguments.scenario.target().expect("idle connects"), 1).await?;

        let (entry, heard) = tokio::join!(enter(&dialer, 0, "r", DEADLINE), async {
            let (mut stream, peer) = listener.accept().await?;
            assert_eq!(peer.ip().to_string(), "127.0.0.2");
            assert!(stream.read(&mut [0; 1_024]).await? > 0);
            let refusal = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(refusal).await?;

            let mut websocket = accept_async(listener.accept().await?.0).await?;
            let mut heard = Vec::new();
            for packet in packets {
                websocket.send(Message::text(*packet)).await?;
                let spoken = tokio::time::timeout(DEADLINE * 2, websocket.next()).await;
                if let Ok(Some(Ok(Message::Text(packet)))) = spoken {
                    heard.push(packet.to_string());
                }
            }
            anyhow::Ok(heard)
        });
        assert_eq!(dialer.retries(), 1);
        Ok((entry, heard?))
    }

    #[tokio::test]
    async fn comes_in_and_answers_a_ping_on_the_way() -> anyhow::Result<()> {
        let ack = r#"430[{"ok":true,"room":"r","offset":"0"}]"#;
        let (entry, heard) = meet(&[OPEN, CONNECT, "2", ack]).await?;
        assert_eq!(entry?.session.ping_timeout(), Duration::from_secs(20));
        let join = r#"420["join",{"room":"r"}]"#;
        assert_eq!(heard, [r#"40{"token":"t"}"#, join, "3"]);
        Ok(())
    }

    #[tokio::test]
    async fn tells_the_ways_of_not_coming_in_apart() -> anyhow::Result<()> {
        let refused = r#"430[{"ok":false,"error":{"code":"room_limit","message":""}}]"#;
        let (entry, _) = meet(&[OPEN, CONNECT, refused]).await?;
        assert!(matches!(entry, Err(EntryError::Refused(code)) if code == "room_limit"));
        let (entry, _) = meet(&[OPEN, CONNECT, "6"]).await?;
        assert!(matches!(entry, Err(EntryError::Unanswered)));
        let (entry, _) = meet(&[OPEN, CONNECT, "41"]).await?;
        assert!(matches!(entry, Err(EntryError::Closed(_))));
        let (entry, _) = meet(&[OPEN, r#"44{"message":"no"}"#]).await?;
        assert!(matches!(entry, Err(EntryError::NotConnected(_))));
        Ok(())
    }
}

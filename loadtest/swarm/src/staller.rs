//! A client that stops reading, and how it learns that the server has given it up.

use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use serde::Serialize;
use socket2::SockRef;
use tokio::time::{Instant, sleep};

use crate::session::Session;

/// The kernel doubles it, and has a floor of about 2 KiB.
const RECEIVE_BUFFER_BYTES: usize = 4_096;

/// Also the resolution of the time until the close.
const PROBE_EVERY: Duration = Duration::from_millis(50);

/// A masked, empty websocket pong. RFC 6455 allows it unasked and wants no answer to it; it is no
/// Engine.IO pong, so the client does not keep itself alive with it.
const UNASKED_PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];

/// How the server ended a connection that was not read from.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GivenUp {
    /// Since the stall began
    pub(crate) seconds: f64,
    pub(crate) error: String,
}

/// Reads nothing for `length`; `None` if the server still held the connection at the end.
///
/// The end of a connection cannot be seen by looking at an unread socket: the server's FIN stands
/// in line behind the data that does not fit. Writing makes it visible: for a socket that was
/// closed with data unsent, the server's kernel answers any further byte with RST, and that one
/// overtakes the line and fails the next write.
pub(crate) async fn stall(session: Session, length: Duration) -> io::Result<Option<GivenUp>> {
    let mut stream = session.into_stream().into_std()?;
    // Only now, not at connect: a small window would have slowed the client down before its time.
    SockRef::from(&stream).set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    let begun = Instant::now();
    while begun.elapsed() < length {
        let given_up = match stream.take_error()? {
            Some(error) => Some(error),
            None => stream.write(&UNASKED_PONG).err(),
        };
        match given_up {
            Some(error) if error.kind() != ErrorKind::WouldBlock => {
                return Ok(Some(GivenUp { seconds: begun.elapsed().as_secs_f64(), error: error.kind().to_string() }));
            }
            _ => sleep(PROBE_EVERY).await,
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use socket2::SockRef;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::stall;
    use crate::session::Session;

    async fn connection() -> std::io::Result<(Session, TcpStream)> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let client = TcpStream::connect(listener.local_addr()?).await?;
        let (server, _) = listener.accept().await?;
        let websocket = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        Ok((Session::new(websocket), server))
    }

    /// Writes until nothing fits any more, and some into the kernel's own buffer.
    async fn fill(server: &mut TcpStream) {
        let chunk = vec![0; 65_536];
        let patience = Duration::from_millis(200);
        while timeout(patience, server.write_all(&chunk)).await.is_ok() {}
    }

    #[tokio::test]
    async fn sees_a_close_behind_unread_data() -> anyhow::Result<()> {
        let (session, mut server) = connection().await?;
        fill(&mut server).await;
        let (ended, ()) = tokio::join!(stall(session, Duration::from_secs(5)), async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            // What the client has written must be read: left unread it would turn the close into
            // a reset, the easy case of the test below.
            let mut probes = [0; 1_024];
            let _ = server.try_read(&mut probes);
            drop(server);
        });
        let seconds = ended?.map_or(f64::MAX, |given_up| given_up.seconds);
        assert!((0.3..1.0).contains(&seconds), "{seconds}");
        Ok(())
    }

    #[tokio::test]
    async fn sees_a_reset() -> anyhow::Result<()> {
        let (session, mut server) = connection().await?;
        fill(&mut server).await;
        SockRef::from(&server).set_linger(Some(Duration::ZERO))?;
        drop(server);
        let ended = stall(session, Duration::from_secs(5)).await?;
        assert!(ended.is_some_and(|given_up| given_up.seconds < 1.0));
        Ok(())
    }

    #[tokio::test]
    async fn sees_a_close_with_nothing_unread() -> anyhow::Result<()> {
        let (session, server) = connection().await?;
        drop(server);
        assert!(stall(session, Duration::from_secs(5)).await?.is_some());
        Ok(())
    }

    #[tokio::test]
    async fn an_open_connection_is_not_given_up() -> anyhow::Result<()> {
        let (session, mut server) = connection().await?;
        fill(&mut server).await;
        assert!(stall(session, Duration::from_millis(500)).await?.is_none());
        Ok(())
    }
}

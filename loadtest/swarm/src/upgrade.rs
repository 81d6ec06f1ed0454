//! The way that official clients take by default: a session over long-polling first, then a websocket in its place.

use std::io::{Error, ErrorKind};

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::http::StatusCode;

use crate::dial::DialError;
use crate::packet::Packet;
use crate::session::Session;

/// Between the packets of one polling answer.
const SEPARATOR: char = '\u{1e}';
const PROBE: &str = "2probe";
const PROBED: &str = "3probe";
const UPGRADE: &str = "5";

/// An HTTP request of a polling session, on a connection of its own: kept alive it would weigh something, too, and not
/// only the websocket would be measured.
#[derive(Debug)]
pub(crate) struct Poll<'a> {
    /// What the `Host` header says
    pub(crate) host: &'a str,
    /// Of the session; `None` opens one
    pub(crate) sid: Option<&'a str>,
    /// Packets to send; `None` asks for some
    pub(crate) body: Option<&'a str>,
}

impl Poll<'_> {
    /// The body of the answer.
    pub(crate) async fn send(&self, mut stream: TcpStream) -> Result<String, DialError> {
        let sid = self.sid.map(|sid| format!("&sid={sid}")).unwrap_or_default();
        let (method, body) = self.body.map_or(("GET", ""), |body| ("POST", body));
        let request = format!(
            "{method} /socket.io/?EIO=4&transport=polling{sid} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        read_answer(&answer)
    }
}

/// The body of a whole answer; a status that is not 200 is an error.
fn read_answer(answer: &str) -> Result<String, DialError> {
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(DialError::Io(ErrorKind::UnexpectedEof))?;
    let status = head.split(' ').nth(1).and_then(|status| StatusCode::from_bytes(status.as_bytes()).ok());
    match status {
        Some(StatusCode::OK) => Ok(body.to_owned()),
        Some(status) => Err(DialError::Handshake(status)),
        None => Err(Error::from(ErrorKind::InvalidData).into()),
    }
}

/// The session's id in the answer that opened it.
pub(crate) fn read_sid(answer: &str) -> Result<String, DialError> {
    #[derive(Deserialize)]
    struct Handshake {
        sid: String,
    }
    let opened = answer.split(SEPARATOR).find_map(|packet| match Packet::parse(packet) {
        Packet::Open(handshake) => serde_json::from_str::<Handshake>(handshake).ok(),
        _ => None,
    });
    opened.map(|Handshake { sid }| sid).ok_or_else(|| Error::from(ErrorKind::InvalidData).into())
}

/// Whether CONNECT was answered in this poll; an error if it was refused.
pub(crate) fn is_connected(answer: &str) -> Result<bool, DialError> {
    for packet in answer.split(SEPARATOR) {
        match Packet::parse(packet) {
            Packet::Connect(_) => return Ok(true),
            Packet::ConnectError(reason) => return Err(DialError::ConnectError(reason.to_owned())),
            _ => {}
        }
    }
    Ok(false)
}

/// Makes a websocket that was opened with the session's id the session's transport.
pub(crate) async fn upgrade(session: &mut Session) -> Result<(), DialError> {
    session.send(PROBE).await?;
    while session.read().await? != PROBED {}
    Ok(session.send(UPGRADE).await?)
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::http::StatusCode;

    use super::{is_connected, read_answer, read_sid};
    use crate::dial::DialError;

    #[test]
    fn reads_what_a_poll_is_answered() -> Result<(), DialError> {
        let body = read_answer("HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n0{\"sid\":\"abc\"}")?;
        assert_eq!(read_sid(&body)?, "abc");
        assert!(!is_connected("2\u{1e}6")?);
        assert!(is_connected("2\u{1e}40{\"sid\":\"x\"}")?);
        Ok(())
    }

    #[test]
    fn tells_what_went_wrong() {
        let refused = read_answer("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
        assert!(matches!(refused, Err(DialError::Handshake(StatusCode::SERVICE_UNAVAILABLE))));
        assert!(matches!(read_answer("HTTP/1.1 200 OK\r\n"), Err(DialError::Io(_))));
        assert!(read_sid("2").is_err());
        assert!(matches!(is_connected(r#"44{"message":"no"}"#), Err(DialError::ConnectError(_))));
    }
}

//! What two servers say to each other beside HTTP: how an answer of the one becomes an answer of the other.

use std::io;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, DATE, HeaderName, HeaderValue};
use http::response::Parts;
use http::{Response, StatusCode};
use tokio::time::timeout;

use super::head::MAX_BYTES;
use super::wire::{Wire, write_head};

/// After an answer to a poll: it has arrived where it belongs.
pub(crate) const ACKNOWLEDGED: u8 = b'+';
/// While a poll waits: it is to be answered now, even if there is nothing to say.
pub(crate) const HURRY: u8 = b'h';

/// Header lines of an answer.
const MAX_HEADERS: usize = 32;

/// What became of an answer on its way to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relayed {
    Whole,
    /// The other server broke off.
    FarBroke,
    /// The client could not be written to.
    NearBroke,
}

impl Wire {
    /// The head of another server's answer, and how long its body is.
    pub(crate) async fn answer_head(&mut self) -> io::Result<(Parts, usize)> {
        loop {
            if let Some((parts, body, head)) = read(&self.buffer)? {
                self.buffer.drain(..head);
                return Ok((parts, body));
            }
            if self.buffer.len() > MAX_BYTES {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if self.read_more().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Gives the client an answer of another server, whose head was read: in one piece if it is small, otherwise as it comes.
    /// Without a length there is no body.
    pub(crate) async fn relay(
        &mut self,
        far: &mut Self,
        (parts, length): (&Parts, Option<usize>),
        keep_alive: bool,
    ) -> Relayed {
        let mut bytes = Vec::with_capacity(512);
        write_head(&mut bytes, parts, length);
        if !keep_alive {
            bytes.extend_from_slice(b"connection: close\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        let mut left = length.unwrap_or(0);
        loop {
            let piece = far.buffer.len().min(left);
            bytes.extend(far.buffer.drain(..piece));
            left -= piece;
            if !bytes.is_empty() {
                if self.write_all(&bytes).await.is_err() {
                    return Relayed::NearBroke;
                }
                bytes.clear();
            }
            if left == 0 {
                return Relayed::Whole;
            }
            match timeout(far.patience(left), far.read_more()).await {
                Ok(Ok(1..)) => {}
                Ok(Ok(0) | Err(_)) | Err(_) => return Relayed::FarBroke,
            }
        }
    }

    /// Whether the other server says within a time that the answer has arrived.
    pub(crate) async fn acknowledged(&mut self, patience: Duration) -> bool {
        let reading = async {
            loop {
                while !self.buffer.is_empty() {
                    match self.buffer.remove(0) {
                        // It was said while the answer was on its way.
                        HURRY => {}
                        said => return said == ACKNOWLEDGED,
                    }
                }
                if !self.read_more().await.is_ok_and(|read| read > 0) {
                    return false;
                }
            }
        };
        timeout(patience, reading).await.unwrap_or(false)
    }
}

/// An answer's head at the beginning of `bytes`: what it says, how long its body is, and how long it is itself.
fn read(bytes: &[u8]) -> io::Result<Option<(Parts, usize, usize)>> {
    let bad = || io::Error::from(io::ErrorKind::InvalidData);
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    let head = match answer.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(bad()),
    };
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = answer.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or_else(bad)?;
    let mut length = (parts.status == StatusCode::SWITCHING_PROTOCOLS).then_some(0);
    for header in answer.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| bad())?;
        let value = HeaderValue::from_bytes(header.value).map_err(|_| bad())?;
        if name == CONTENT_LENGTH {
            length = Some(value.to_str().ok().and_then(|length| length.parse().ok()).ok_or_else(bad)?);
        } else if name != DATE {
            // This server has the time, too.
            parts.headers.append(name, value);
        }
    }
    Ok(Some((parts, length.ok_or_else(bad)?, head)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_answer_is_read_and_its_body_is_left() {
        let text = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\ndate: now\r\n\r\nok";
        let (parts, length, head) = read(text.as_bytes()).unwrap().unwrap();
        assert_eq!((parts.status, length, &text[head..]), (StatusCode::OK, 2, "ok"));
        assert_eq!(parts.headers.len(), 1, "{:?}", parts.headers);
        assert!(read(&text.as_bytes()[..30]).unwrap().is_none());
    }

    #[test]
    fn what_has_no_length_is_no_answer() {
        for text in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", "SSH-2.0-x\r\n\r\n"] {
            assert!(read(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            _ = read(&bytes);
            _ = read(&[b"HTTP/1.1 200 OK\r\n".to_vec(), bytes].concat());
        }
    }
}

//! HTTP as polling clients and back ends speak it: one TCP connection, one request at a time.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// What a client's kernel takes in while the client does not read. Small, so that the server notices.
const RECEIVE_BUFFER: u32 = 8 * 1024;
/// How long an answer may take to begin before its reading is given up on purpose, and how much of it is read then.
const BEGINS: Duration = Duration::from_secs(1);
const BEGINNING: usize = 200;

/// A TCP connection of a client.
pub(super) async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    let broken = |error: std::io::Error| error.kind().to_string();
    let socket = TcpSocket::new_v4().map_err(broken)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER).map_err(broken)?;
    let stream = socket.connect(address).await.map_err(broken)?;
    stream.set_nodelay(true).map_err(broken)?;
    Ok(stream)
}

pub(super) struct Http {
    stream: TcpStream,
    /// What of the request is not sent yet.
    unsent: Bytes,
    /// What came of the answer.
    buffer: Vec<u8>,
    /// Whether an answer is on its way.
    pub(super) pending: bool,
}

impl Http {
    pub(super) async fn connect(address: SocketAddr) -> Result<Self, String> {
        Ok(Self { stream: connect(address).await?, unsent: Bytes::new(), buffer: Vec::new(), pending: false })
    }

    /// Begins a request; [`Self::answer`] sends it.
    pub(super) fn ask(&mut self, method: &str, path: &str, body: &str) {
        self.ask_with(method, path, "Content-Type: text/plain;charset=UTF-8\r\n", body);
    }

    /// The same with other headers, each with its end.
    pub(super) fn ask_with(&mut self, method: &str, path: &str, headers: &str, body: &str) {
        let length = body.len();
        self.unsent = Bytes::from(format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        ));
        self.pending = true;
    }

    /// Status and body of the answer. Loses nothing when cancelled.
    pub(super) async fn answer(&mut self) -> Result<(u16, String), String> {
        while self.unsent.has_remaining() {
            self.stream.write_buf(&mut self.unsent).await.map_err(|error| error.kind().to_string())?;
        }
        loop {
            if let Some(answer) = self.read_answer() {
                self.pending = false;
                return answer;
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) => return Err("end of stream".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(error.kind().to_string()),
            }
        }
    }

    /// Takes a whole answer out of what came.
    fn read_answer(&mut self) -> Option<Result<(u16, String), String>> {
        let head_length = self.buffer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&self.buffer[..head_length]).to_lowercase();
        let number = |text: Option<&str>| text.and_then(|text| text.trim().parse::<usize>().ok());
        let status = number(head.split(' ').nth(1)).and_then(|status| u16::try_from(status).ok());
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let (Some(status), Some(length)) = (status, number(length)) else {
            return Some(Err(format!("unreadable answer {head}")));
        };
        if self.buffer.len() < head_length + length {
            return None;
        }
        let rest = self.buffer.split_off(head_length + length);
        let body = self.buffer.split_off(head_length);
        self.buffer = rest;
        Some(String::from_utf8(body).map(|body| (status, body)).map_err(|_| "a body that is no text".to_owned()))
    }

    /// Sends the first half of a request, and nothing after it.
    pub(super) async fn ask_in_half(mut self, path: &str, body: &str) {
        self.ask("POST", path, body);
        self.unsent.truncate(self.unsent.len() - body.len() / 2);
        timeout(BEGINS, self.stream.write_all(&self.unsent)).await.ok();
    }

    /// Breaks the connection in the middle of the answer, if one comes.
    pub(super) async fn break_midway(mut self) {
        timeout(BEGINS, self.stream.read(&mut [0; BEGINNING])).await.ok();
        self.reset();
    }

    /// Breaks the connection: what is on its way is gone, and the server knows at once.
    pub(super) fn reset(self) {
        self.stream.set_zero_linger().ok();
    }
}

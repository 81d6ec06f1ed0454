//! One keep-alive connection of an HTTP/1.1 client: requests that are bytes already, one after the other.

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MAX_HEADERS: usize = 32;
const READ_BYTES: usize = 16 * 1024;
/// More than any answer to a batch has.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// A connection, with what was read of it and not looked at yet.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer, whole.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Connection {
    /// Connects to `host:port`.
    pub(crate) async fn open(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(READ_BYTES) })
    }

    /// Sends a request, head and body, and waits for all of its answer.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> anyhow::Result<Answer> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if let Some(answer) = parse(&self.buffer)? {
                return Ok(answer);
            }
            ensure!(self.buffer.len() < MAX_ANSWER_BYTES, "an answer is larger than {MAX_ANSWER_BYTES} bytes");
            self.buffer.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the server closed a connection that was to be kept");
            }
        }
    }
}

/// The answer, if all of it is there.
fn parse(bytes: &[u8]) -> anyhow::Result<Option<Answer>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(bytes)? else { return Ok(None) };
    let status = head.code.context("an answer without a status")?;
    let rest = &bytes[length..];
    let value = |name: &str| {
        let header = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok()
    };
    if value("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        return Ok(joined(rest)?.map(|body| Answer { status, body }));
    }
    let length: usize = match value("content-length") {
        Some(text) => text.parse().context("a length that is no number")?,
        None if status == 204 => 0,
        None => bail!("an answer that does not tell where it ends"),
    };
    Ok(rest.get(..length).map(|body| Answer { status, body: body.to_vec() }))
}

/// What chunks say together, if the last one is there.
fn joined(mut bytes: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    loop {
        let parsed = httparse::parse_chunk_size(bytes).map_err(|_| anyhow::anyhow!("a chunk without a size"))?;
        let httparse::Status::Complete((start, size)) = parsed else { return Ok(None) };
        let end = start + usize::try_from(size)?;
        let Some(chunk) = bytes.get(start..end + 2) else { return Ok(None) };
        if size == 0 {
            return Ok(Some(body));
        }
        body.extend_from_slice(&chunk[..chunk.len() - 2]);
        bytes = &bytes[end + 2..];
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn an_answer_is_whole_or_not_there_yet() -> anyhow::Result<()> {
        let plain = b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\nbody".as_slice();
        let chunked =
            b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbod\r\n1\r\ny\r\n0\r\n\r\n".as_slice();
        for bytes in [plain, chunked] {
            for length in 0..bytes.len() {
                assert_eq!(parse(&bytes[..length])?, None, "{length}");
            }
            let answer = parse(bytes)?.expect("it is whole");
            assert_eq!((answer.status, answer.body.as_slice()), (201, b"body".as_slice()));
        }
        assert_eq!(parse(b"HTTP/1.1 204 No Content\r\n\r\n")?.expect("it is whole").body, b"");
        Ok(())
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for bytes in [
            "SSH-2.0-OpenSSH\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ] {
            assert!(parse(bytes.as_bytes()).is_err(), "{bytes}");
        }
    }
}

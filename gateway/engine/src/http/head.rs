//! The head of a request.

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Method, Request, Uri, Version};

use super::BadRequest;

/// The largest head. Cookies and tokens of browsers fit.
pub(crate) const MAX_BYTES: usize = 16 * 1024;
/// Header lines of one head.
const MAX_HEADERS: usize = 100;
/// How much more a head may have with what another server says beside what the client said: lines, and their bytes with those of
/// spaces that the client left out.
const ADDED_HEADERS: usize = 8;
const ADDED_BYTES: usize = 1024;
const END: &[u8] = b"\r\n\r\n";

/// What a request says before its body.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) parts: Parts,
    pub(crate) framing: Framing,
    /// Whether the client sends its body only when it is told to go on.
    pub(crate) expects_continue: bool,
    /// Whether another request may follow on the connection.
    pub(crate) keep_alive: bool,
}

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(usize),
    Chunked,
}

impl Head {
    /// Reads a head from the beginning of `bytes`, and tells how long it is; nothing if it is not there whole. One that another
    /// server passes on was read by that one.
    pub(crate) fn read(bytes: &[u8], is_passed: bool) -> Result<Option<(Self, usize)>, BadRequest> {
        let (added_headers, added_bytes) = if is_passed { (ADDED_HEADERS, ADDED_BYTES) } else { (0, 0) };
        // An empty line before a request is to be forgiven (RFC 9112, section 2.2).
        let skipped = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
        let bytes = &bytes[skipped..];
        let end = memchr::memmem::find(bytes, END);
        let head = &bytes[..end.map_or(bytes.len(), |end| end + END.len())];
        check_lines(head)?;
        if head.len() > MAX_BYTES + added_bytes {
            return Err(BadRequest::HeadTooLarge);
        }
        if end.is_none() {
            return Ok(None);
        }
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS + ADDED_HEADERS];
        let mut request = httparse::Request::new(&mut headers[..MAX_HEADERS + added_headers]);
        match request.parse(head) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return Err(BadRequest::Malformed),
            Err(httparse::Error::TooManyHeaders) => return Err(BadRequest::HeadTooLarge),
            Err(_) => return Err(BadRequest::Malformed),
        }
        Self::of(&request).map(|parsed| Some((parsed, skipped + head.len())))
    }

    fn of(request: &httparse::Request<'_, '_>) -> Result<Self, BadRequest> {
        let malformed = BadRequest::Malformed;
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.version = if request.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
        let method = request.method.and_then(|method| Method::from_bytes(method.as_bytes()).ok());
        parts.method = method.filter(|method| *method != Method::CONNECT).ok_or(malformed)?;
        parts.uri = request.path.and_then(|path| path.parse::<Uri>().ok()).ok_or(malformed)?;
        parts.headers = HeaderMap::with_capacity(request.headers.len());
        for header in request.headers.iter() {
            let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| malformed)?;
            let value = HeaderValue::from_bytes(header.value).map_err(|_| malformed)?;
            parts.headers.append(name, value);
        }
        let hosts = parts.headers.get_all(HOST).iter().count();
        if hosts > 1 || (hosts == 0 && parts.version == Version::HTTP_11) {
            return Err(BadRequest::Host);
        }
        let framing = framing(&parts)?;
        let keep_alive = if parts.version == Version::HTTP_11 {
            !lists(&parts.headers, &CONNECTION, "close")
        } else {
            lists(&parts.headers, &CONNECTION, "keep-alive")
        };
        let expects_continue = parts.version == Version::HTTP_11
            && parts.headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        Ok(Self { parts, framing, expects_continue, keep_alive })
    }
}

/// Lines end with CR LF and in no other way. Who reads a bare LF as an end, and who does not, can be told two different
/// requests by the same bytes.
fn check_lines(head: &[u8]) -> Result<(), BadRequest> {
    let bare = |at: usize| head[at] == b'\n' && (at == 0 || head[at - 1] != b'\r');
    let lonely = |at: usize| head[at] == b'\r' && head.get(at + 1).is_some_and(|next| *next != b'\n');
    if memchr::memchr2_iter(b'\n', b'\r', head).any(|at| bare(at) || lonely(at)) {
        return Err(BadRequest::Malformed);
    }
    Ok(())
}

fn framing(parts: &Parts) -> Result<Framing, BadRequest> {
    let mut lengths = parts.headers.get_all(CONTENT_LENGTH).iter();
    let mut encodings = parts.headers.get_all(TRANSFER_ENCODING).iter();
    match (lengths.next(), encodings.next()) {
        (None, None) => Ok(Framing::Length(0)),
        (Some(length), None) if lengths.next().is_none() => {
            let is_number = !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
            let length = is_number.then(|| length.to_str().ok()?.parse().ok()).flatten();
            Ok(Framing::Length(length.ok_or(BadRequest::Length)?))
        }
        (None, Some(encoding))
            if encodings.next().is_none()
                && parts.version == Version::HTTP_11
                && encoding.as_bytes().eq_ignore_ascii_case(b"chunked") =>
        {
            Ok(Framing::Chunked)
        }
        _ => Err(BadRequest::Length),
    }
}

/// Whether a header that is a list has a word in it.
pub(crate) fn lists(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let mut values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| value.split(',').any(|item| item.trim().eq_ignore_ascii_case(word)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Option<(Head, usize)>, BadRequest> {
        Head::read(text.as_bytes(), false)
    }

    fn error(text: &str) -> BadRequest {
        read(text).unwrap_err()
    }

    #[test]
    fn a_head_is_read_and_what_follows_is_left() {
        let text = "\r\nGET /a?b=c HTTP/1.1\r\nHost: x\r\nConnection: Keep-Alive, Upgrade\r\n\r\nrest";
        let (head, length) = read(text).unwrap().unwrap();
        assert_eq!(&text[length..], "rest");
        assert_eq!((head.parts.uri.path(), head.parts.uri.query()), ("/a", Some("b=c")));
        assert!(head.keep_alive && lists(&head.parts.headers, &CONNECTION, "upgrade"));
        assert_eq!(head.framing, Framing::Length(0));
        assert!(read(&text[..30]).unwrap().is_none());
        let (old, _) = read("GET / HTTP/1.0\r\n\r\n").unwrap().unwrap();
        assert!(!old.keep_alive);
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for text in [
            "GET / HTTP/1.1\nHost: x\n\n",
            "GET / HTTP/1.1\r\nHost: x\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nA\0: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
            "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: x\r\n\r\n",
        ] {
            assert_eq!(error(text), BadRequest::Malformed, "{text:?}");
        }
        assert_eq!(error("GET / HTTP/1.1\r\n\r\n"), BadRequest::Host);
        assert_eq!(error("GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n"), BadRequest::Host);
        for lines in [
            "Content-Length: 1\r\nContent-Length: 1",
            "Content-Length: 1, 1",
            "Content-Length: +1",
            "Content-Length: ",
            "Content-Length: 99999999999999999999",
            "Content-Length: 1\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: identity",
        ] {
            let text = format!("POST / HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n");
            assert_eq!(error(&text), BadRequest::Length, "{lines:?}");
        }
        assert_eq!(error("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), BadRequest::Length);
    }

    #[test]
    fn a_head_has_an_end() {
        let long = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}", "b".repeat(MAX_BYTES));
        assert_eq!(error(&long), BadRequest::HeadTooLarge);
        let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(MAX_HEADERS));
        assert_eq!(error(&many), BadRequest::HeadTooLarge);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            _ = Head::read(&bytes, false);
            _ = Head::read(&[b"GET / HTTP/1.1\r\nHost: x\r\n".to_vec(), bytes, END.to_vec()].concat(), true);
        }
    }
}

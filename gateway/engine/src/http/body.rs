//! Bodies that come in chunks.

use super::BadRequest;

/// The longest line with a chunk's size, and all trailers together, in bytes.
const MAX_LINE: usize = 1024;

/// Takes the chunks out of a body as they come.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    state: State,
    /// Of lines that are no data.
    line: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Data(usize),
    /// The line end after a chunk.
    AfterData,
    Trailers,
}

impl Chunks {
    /// Takes what there is from `input`, appends the data to `body` and removes what was taken; true at the end.
    pub(crate) fn take(&mut self, input: &mut Vec<u8>, body: &mut Vec<u8>, limit: usize) -> Result<bool, BadRequest> {
        let mut at = 0;
        let done = loop {
            let rest = &input[at..];
            if let State::Data(left) = self.state {
                let length = left.min(rest.len());
                if body.len() + length > limit {
                    return Err(BadRequest::BodyTooLarge);
                }
                body.extend_from_slice(&rest[..length]);
                at += length;
                self.state = if length == left { State::AfterData } else { State::Data(left - length) };
                if length < left {
                    break false;
                }
                continue;
            }
            let Some(end) = memchr::memchr(b'\n', rest) else {
                if self.line + rest.len() > MAX_LINE {
                    return Err(BadRequest::Malformed);
                }
                break false;
            };
            let line = rest[..end].strip_suffix(b"\r").ok_or(BadRequest::Malformed)?;
            self.line += end;
            if self.line > MAX_LINE {
                return Err(BadRequest::Malformed);
            }
            at += end + 1;
            self.state = match self.state {
                State::AfterData if line.is_empty() => State::Size,
                State::Size => match size(line)? {
                    0 => State::Trailers,
                    size => State::Data(size),
                },
                // Nobody here needs them.
                State::Trailers if line.is_empty() => break true,
                State::Trailers => State::Trailers,
                _ => return Err(BadRequest::Malformed),
            };
            if self.state != State::Trailers {
                self.line = 0;
            }
        };
        input.drain(..at);
        Ok(done)
    }
}

/// The size of a chunk; extensions after it mean nothing here.
fn size(line: &[u8]) -> Result<usize, BadRequest> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end();
    let is_hex = (1..=8).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_hex).ok_or(BadRequest::Malformed)?;
    usize::from_str_radix(text, 16).map_err(|_| BadRequest::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A body, and what came behind it.
    type Read = (Vec<u8>, Vec<u8>);

    fn read(text: &[u8], piece: usize) -> Result<Option<Read>, BadRequest> {
        let (mut chunks, mut input, mut body) = (Chunks::default(), Vec::new(), Vec::new());
        let mut pieces = text.chunks(piece);
        while let Some(piece) = pieces.next() {
            input.extend_from_slice(piece);
            if chunks.take(&mut input, &mut body, 20)? {
                input.extend(pieces.flatten());
                return Ok(Some((body, input)));
            }
        }
        Ok(None)
    }

    #[test]
    fn chunks_are_put_together_however_they_were_cut() {
        let text = b"3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nA: b\r\n\r\nnext";
        for piece in 1..=text.len() {
            assert_eq!(read(text, piece), Ok(Some((b"abcd".to_vec(), b"next".to_vec()))), "in pieces of {piece}");
        }
        assert_eq!(read(b"3\r\nabc\r\n0\r\n", 5), Ok(None));
    }

    #[test]
    fn other_chunks_are_refused() {
        for text in ["3\nabc\r\n", "-1\r\n", "\r\n", "0x3\r\n", "3\r\nabcd\r\n", "123456789\r\n", " 3\r\n"] {
            assert_eq!(read(text.as_bytes(), 3), Err(BadRequest::Malformed), "{text:?}");
        }
        let endless = [b"0\r\n".to_vec(), b"A: b\r\n".repeat(400)].concat();
        assert_eq!(read(&endless, 100), Err(BadRequest::Malformed));
        assert_eq!(read(&vec![b'0'; 2000], 100), Err(BadRequest::Malformed));
        assert_eq!(read(b"15\r\nabcdefghijklmnopqrstu\r\n", 100), Err(BadRequest::BodyTooLarge));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in "[0-9a-f;\r\n]{0,60}", piece in 1_usize..20) {
            _ = read(bytes.as_bytes(), piece);
        }
    }
}

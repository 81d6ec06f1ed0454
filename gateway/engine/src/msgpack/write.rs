//! Writes a packet as one MessagePack map.

use rmp::encode;

use super::MAX_DEPTH;
use crate::packet::Message;

/// What a packet is to clients with the MessagePack parser. Its JSON was checked before it came here; what is none
/// becomes `nil`, which such clients refuse as they would refuse broken JSON.
pub(crate) fn encode(message: &Message, json: &str, attachments: &[&[u8]]) -> Vec<u8> {
    let mut to = Vec::with_capacity(json.len() + 32);
    let fields = 2 + u32::from(message.id.is_some()) + u32::from(!json.is_empty());
    map(&mut to, fields);
    text(&mut to, "type");
    integer(&mut to, message.kind as i64);
    text(&mut to, "nsp");
    text(&mut to, &message.namespace);
    if let Some(id) = message.id {
        text(&mut to, "id");
        encode::write_uint(&mut to, id).expect(INFALLIBLE);
    }
    if !json.is_empty() {
        text(&mut to, "data");
        let at = to.len();
        let mut reader = Json { bytes: json.as_bytes(), at: 0, attachments };
        if reader.write_value(&mut to, 0).is_none() {
            to.truncate(at);
            encode::write_nil(&mut to).expect(INFALLIBLE);
        }
    }
    to
}

const INFALLIBLE: &str = "a Vec takes everything";

fn text(to: &mut Vec<u8>, text: &str) {
    encode::write_str(to, text).expect(INFALLIBLE);
}

fn integer(to: &mut Vec<u8>, number: i64) {
    encode::write_sint(to, number).expect(INFALLIBLE);
}

fn map(to: &mut Vec<u8>, fields: u32) {
    encode::write_map_len(to, fields).expect(INFALLIBLE);
}

/// Reads a JSON text. Strings may hold half characters, which serde_json would refuse.
struct Json<'a> {
    bytes: &'a [u8],
    at: usize,
    attachments: &'a [&'a [u8]],
}

impl<'a> Json<'a> {
    fn write_value(&mut self, to: &mut Vec<u8>, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        match self.peek()? {
            b'"' => text(to, &self.string()?),
            b'[' => {
                let (mut items, mut length) = (Vec::new(), 0);
                self.items(b']', |json| {
                    length += 1;
                    json.write_value(&mut items, depth + 1)
                })?;
                encode::write_array_len(to, length).expect(INFALLIBLE);
                to.append(&mut items);
            }
            b'{' => self.write_object(to, depth)?,
            _ => {
                let rest = &self.bytes[self.at..];
                let end = rest.iter().position(|byte| b",]} \t\r\n".contains(byte)).unwrap_or(rest.len());
                self.at += end;
                scalar(to, std::str::from_utf8(&rest[..end]).ok()?)?;
            }
        }
        Some(())
    }

    fn write_object(&mut self, to: &mut Vec<u8>, depth: usize) -> Option<()> {
        let (mut fields, mut length) = (Vec::new(), 0);
        let (mut is_placeholder, mut number) = (false, None);
        self.items(b'}', |json| {
            let key = json.string()?;
            (json.peek()? == b':').then(|| json.at += 1)?;
            json.peek()?;
            let start = json.at;
            text(&mut fields, &key);
            json.write_value(&mut fields, depth + 1)?;
            match (&*key, &json.bytes[start..json.at]) {
                ("_placeholder", b"true") => is_placeholder = true,
                ("num", digits) => number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()),
                _ => {}
            }
            length += 1;
            Some(())
        })?;
        let attachments = self.attachments;
        if let Some(bytes) = number.filter(|_| is_placeholder).and_then(|number: usize| attachments.get(number)) {
            encode::write_bin(to, bytes).expect(INFALLIBLE);
        } else {
            map(to, length);
            to.append(&mut fields);
        }
        Some(())
    }

    /// Reads what stands between brackets, with commas between.
    fn items(&mut self, close: u8, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.at += 1;
        if self.peek()? == close {
            self.at += 1;
            return Some(());
        }
        loop {
            self.peek()?;
            item(self)?;
            let next = self.peek()?;
            self.at += 1;
            match next {
                b',' => {}
                next if next == close => return Some(()),
                _ => return None,
            }
        }
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        while self.bytes.get(self.at)?.is_ascii_whitespace() {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    fn string(&mut self) -> Option<String> {
        (self.peek()? == b'"').then(|| self.at += 1)?;
        let mut string = String::new();
        loop {
            let rest = &self.bytes[self.at..];
            let plain = memchr::memchr2(b'"', b'\\', rest)?;
            string.push_str(std::str::from_utf8(&rest[..plain]).ok()?);
            self.at += plain + 1;
            if rest[plain] == b'"' {
                return Some(string);
            }
            string.push(self.escape()?);
        }
    }

    fn escape(&mut self) -> Option<char> {
        let kind = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(match kind {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.hex()?;
                let low = if (0xD800..0xDC00).contains(&unit) { self.low_half() } else { None };
                let units = [Some(unit), low].into_iter().flatten();
                char::decode_utf16(units).next()?.unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            b'"' | b'\\' | b'/' => kind.into(),
            _ => return None,
        })
    }

    /// The second half of a character, if it follows.
    fn low_half(&mut self) -> Option<u16> {
        let before = self.at;
        if self.bytes.get(self.at..self.at + 2) == Some(b"\\u") {
            self.at += 2;
            if let Some(low @ 0xDC00..0xE000) = self.hex() {
                return Some(low);
            }
            self.at = before;
        }
        None
    }

    fn hex(&mut self) -> Option<u16> {
        let digits = std::str::from_utf8(self.bytes.get(self.at..self.at + 4)?).ok()?;
        self.at += 4;
        u16::from_str_radix(digits, 16).ok()
    }
}

fn scalar(to: &mut Vec<u8>, word: &str) -> Option<()> {
    match word {
        "null" => encode::write_nil(to).expect(INFALLIBLE),
        "true" | "false" => encode::write_bool(to, word == "true").expect(INFALLIBLE),
        _ => {
            if let Ok(number) = word.parse::<i64>() {
                integer(to, number);
            } else if let Ok(number) = word.parse::<u64>() {
                encode::write_uint(to, number).expect(INFALLIBLE);
            } else {
                // What is larger than these, JavaScript could not hold either.
                encode::write_f64(to, word.parse().ok()?).expect(INFALLIBLE);
            }
        }
    }
    Some(())
}

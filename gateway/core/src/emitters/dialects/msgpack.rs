//! MessagePack as JSON text with attachments, which is what everything behind it works with.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rmp::Marker;

use super::Unheard;

/// How deep a message may nest: everything here calls itself once for each level.
const MAX_DEPTH: usize = 128;
/// What stands for a moment in time.
const TIMESTAMP: i8 = -1;

/// A MessagePack value as JSON. Bytes in it become attachments, with placeholders in the text; a moment becomes the text
/// that JavaScript makes of a date.
///
/// # Errors
/// It is no such value, or nests too deeply.
pub(super) fn to_json(bytes: &[u8]) -> Result<(String, Vec<Bytes>), Unheard> {
    let mut reader = Reader { rest: bytes, json: String::with_capacity(bytes.len()), attachments: Vec::new() };
    reader.value(0)?;
    if reader.rest.is_empty() { Ok((reader.json, reader.attachments)) } else { Err(Unheard::Malformed) }
}

struct Reader<'a> {
    rest: &'a [u8],
    json: String,
    attachments: Vec<Bytes>,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Unheard> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Unheard::Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unheard> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Unheard::Malformed)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A length of one, two or four bytes.
    fn length<const N: usize>(&mut self) -> Result<usize, Unheard> {
        Ok(self.array::<N>()?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
    }

    fn marker(&mut self) -> Result<Marker, Unheard> {
        self.array().map(|[byte]| Marker::from_u8(byte))
    }

    fn value(&mut self, depth: usize) -> Result<(), Unheard> {
        if depth > MAX_DEPTH {
            return Err(Unheard::TooDeep);
        }
        match self.marker()? {
            Marker::Bin8 => self.length::<1>().and_then(|length| self.attach(length)),
            Marker::Bin16 => self.length::<2>().and_then(|length| self.attach(length)),
            Marker::Bin32 => self.length::<4>().and_then(|length| self.attach(length)),
            Marker::FixArray(length) => self.items(length.into(), depth),
            Marker::Array16 => self.length::<2>().and_then(|length| self.items(length, depth)),
            Marker::Array32 => self.length::<4>().and_then(|length| self.items(length, depth)),
            Marker::FixMap(length) => self.fields(length.into(), depth),
            Marker::Map16 => self.length::<2>().and_then(|length| self.fields(length, depth)),
            Marker::Map32 => self.length::<4>().and_then(|length| self.fields(length, depth)),
            Marker::FixExt1 => self.extension(1),
            Marker::FixExt2 => self.extension(2),
            Marker::FixExt4 => self.extension(4),
            Marker::FixExt8 => self.extension(8),
            Marker::FixExt16 => self.extension(16),
            Marker::Ext8 => self.length::<1>().and_then(|length| self.extension(length)),
            Marker::Ext16 => self.length::<2>().and_then(|length| self.extension(length)),
            Marker::Ext32 => self.length::<4>().and_then(|length| self.extension(length)),
            marker => self.scalar(marker),
        }
    }

    fn scalar(&mut self, marker: Marker) -> Result<(), Unheard> {
        match marker {
            Marker::FixStr(length) => self.text(length.into()),
            Marker::Str8 => self.length::<1>().and_then(|length| self.text(length)),
            Marker::Str16 => self.length::<2>().and_then(|length| self.text(length)),
            Marker::Str32 => self.length::<4>().and_then(|length| self.text(length)),
            Marker::Null => self.write("null"),
            Marker::True => self.write("true"),
            Marker::False => self.write("false"),
            Marker::FixPos(number) => self.write(number),
            Marker::FixNeg(number) => self.write(number),
            Marker::U8 => self.array().map(u8::from_be_bytes).and_then(|number| self.write(number)),
            Marker::U16 => self.array().map(u16::from_be_bytes).and_then(|number| self.write(number)),
            Marker::U32 => self.array().map(u32::from_be_bytes).and_then(|number| self.write(number)),
            Marker::U64 => self.array().map(u64::from_be_bytes).and_then(|number| self.write(number)),
            Marker::I8 => self.array().map(i8::from_be_bytes).and_then(|number| self.write(number)),
            Marker::I16 => self.array().map(i16::from_be_bytes).and_then(|number| self.write(number)),
            Marker::I32 => self.array().map(i32::from_be_bytes).and_then(|number| self.write(number)),
            Marker::I64 => self.array().map(i64::from_be_bytes).and_then(|number| self.write(number)),
            Marker::F32 => self.array().map(f32::from_be_bytes).and_then(|number| self.float(number.into())),
            Marker::F64 => self.array().map(f64::from_be_bytes).and_then(|number| self.float(number)),
            _ => Err(Unheard::Malformed),
        }
    }

    fn write(&mut self, text: impl std::fmt::Display) -> Result<(), Unheard> {
        write!(self.json, "{text}").map_err(|_| Unheard::Malformed)
    }

    /// JSON knows no infinity, and JavaScript writes `null` for it.
    fn float(&mut self, number: f64) -> Result<(), Unheard> {
        self.write(serde_json::to_string(&number).unwrap_or_else(|_| "null".into()))
    }

    fn text(&mut self, length: usize) -> Result<(), Unheard> {
        // JavaScript's half characters are not UTF-8.
        let text = String::from_utf8_lossy(self.take(length)?);
        self.quoted(&text)
    }

    fn quoted(&mut self, text: &str) -> Result<(), Unheard> {
        self.json.push_str(&serde_json::to_string(text).map_err(|_| Unheard::Malformed)?);
        Ok(())
    }

    fn items(&mut self, length: usize, depth: usize) -> Result<(), Unheard> {
        self.json.push('[');
        for item in 0..length {
            if item > 0 {
                self.json.push(',');
            }
            self.value(depth + 1)?;
        }
        self.json.push(']');
        Ok(())
    }

    fn fields(&mut self, length: usize, depth: usize) -> Result<(), Unheard> {
        self.json.push('{');
        for field in 0..length {
            if field > 0 {
                self.json.push(',');
            }
            let start = self.json.len();
            let marker = self.marker()?;
            self.scalar(marker)?;
            // Names of fields are texts in JSON, whatever they are here.
            if !self.json[start..].starts_with('"') {
                self.json.insert(start, '"');
                self.json.push('"');
            }
            self.json.push(':');
            self.value(depth + 1)?;
        }
        self.json.push('}');
        Ok(())
    }

    fn attach(&mut self, length: usize) -> Result<(), Unheard> {
        let number = self.attachments.len();
        let bytes = Bytes::copy_from_slice(self.take(length)?);
        self.attachments.push(bytes);
        write!(self.json, "{{\"_placeholder\":true,\"num\":{number}}}").map_err(|_| Unheard::Malformed)
    }

    fn extension(&mut self, length: usize) -> Result<(), Unheard> {
        let ([kind], content) = (self.array()?, self.take(length)?);
        match (i8::from_be_bytes([kind]), length) {
            // What older libraries write for `undefined`.
            (0, 1) => self.write("null"),
            (TIMESTAMP, _) => {
                let moment = timestamp(content).ok_or(Unheard::Malformed)?;
                self.quoted(&humantime::format_rfc3339_millis(moment).to_string())
            }
            _ => Err(Unheard::Malformed),
        }
    }
}

/// A moment in one of the three forms that MessagePack has for it; nothing for one that has no year of four digits.
fn timestamp(content: &[u8]) -> Option<SystemTime> {
    let (seconds, nanoseconds) = match content.len() {
        4 => (i64::from(u32::from_be_bytes(content.try_into().ok()?)), 0),
        8 => {
            let both = u64::from_be_bytes(content.try_into().ok()?);
            (i64::try_from(both & 0x3_ffff_ffff).ok()?, u32::try_from(both >> 34).ok()?)
        }
        12 => {
            let (nanoseconds, seconds) = content.split_first_chunk::<4>()?;
            (i64::from_be_bytes(seconds.try_into().ok()?), u32::from_be_bytes(*nanoseconds))
        }
        _ => return None,
    };
    /// The end of the year 9999, in seconds since 1970.
    const END: i64 = 253_402_300_799;
    let fits = (0..=END).contains(&seconds) && nanoseconds < 1_000_000_000;
    let since = Duration::new(u64::try_from(seconds).ok()?, nanoseconds);
    SystemTime::UNIX_EPOCH.checked_add(since).filter(|_| fits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(bytes: &[u8]) -> Result<String, Unheard> {
        to_json(bytes).map(|(json, _)| json)
    }

    #[test]
    fn every_kind_of_value_is_json() {
        for (bytes, expected) in [
            (&b"\xc0"[..], "null"),
            (b"\x92\xc2\xc3", "[false,true]"),
            (
                b"\x95\x07\xff\xcc\xff\xcd\x01\x00\xd3\x80\x00\x00\x00\x00\x00\x00\x00",
                "[7,-1,255,256,-9223372036854775808]",
            ),
            (b"\x92\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00\xca\x7f\x80\x00\x00", "[1.5,null]"),
            (b"\x82\xa1a\xa2\"\n\x05\xa0", r#"{"a":"\"\n","5":""}"#),
            (b"\xd9\x03a\xed\xa0", "\"a\u{fffd}\u{fffd}\""),
            (b"\xd4\x00\x00", "null"),
            // new Date("2018-02-14T00:28:07.133Z") as notepack.io writes it, and one without milliseconds.
            (b"\xd7\xff\x1f\xb5\xad\x00\x5a\x83\x82\x97", "\"2018-02-14T00:28:07.133Z\""),
            (b"\xd6\xff\x00\x00\x00\x01", "\"1970-01-01T00:00:01.000Z\""),
        ] {
            assert_eq!(json(bytes).as_deref(), Ok(expected), "{bytes:x?}");
        }
        let (text, attachments) = to_json(b"\x92\xc4\x02\x00\xff\x81\xa1x\xc4\x00").unwrap();
        assert_eq!(text, r#"[{"_placeholder":true,"num":0},{"x":{"_placeholder":true,"num":1}}]"#);
        assert_eq!(attachments, [&b"\x00\xff"[..], b""]);
    }

    #[test]
    fn what_is_none_is_refused() {
        for bytes in [
            &b""[..],
            b"\xc1",
            b"\xc0\xc0",
            b"\xa5abc",
            b"\xdd\xff\xff\xff\xff\xc0",
            b"\xdf\xff\xff\xff\xff",
            b"\xc6\xff\xff\xff\xff",
            b"\x81\x90\xc0",
            b"\xd4\x05\x00",
            b"\xc7\x0c\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00",
            b"\xc7\x0c\xff\x00\x00\x00\x00\x80\x00\x00\x00\x00\x00\x00\x00",
        ] {
            assert_eq!(json(bytes), Err(Unheard::Malformed), "{bytes:x?}");
        }
        assert_eq!(json(&[vec![0x91; 100_000], vec![0xc0]].concat()), Err(Unheard::TooDeep));
        assert_eq!(json(&[0x81, 0xa0].repeat(100_000)), Err(Unheard::TooDeep));
    }

    proptest! {
        #[test]
        fn any_bytes_are_valid_json_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(text) = json(&bytes) {
                prop_assert!(serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok(), "{text}");
            }
        }

        #[test]
        fn what_was_encoded_is_decoded(numbers: Vec<i64>, text: String, floats: Vec<f32>) {
            let value = (&numbers, &text, floats.iter().map(|float| f64::from(*float)).collect::<Vec<_>>());
            let decoded = json(&rmp_serde::to_vec(&value).unwrap()).unwrap();
            let expected = serde_json::to_value(&value).unwrap();
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&decoded).unwrap(), expected);
        }
    }
}

//! Reads a packet that is one MessagePack map.

use std::fmt::Write as _;

use bytes::Bytes;
use rmp::Marker;

use super::MAX_DEPTH;
use crate::inbound::{Bounds, Event, Packet, PacketError};

/// The packet of a client. Bytes in it become attachments, with placeholders in the text.
///
/// # Errors
/// It is none, or its attachments are too many or too large.
pub(crate) fn decode(bytes: &[u8], bounds: Bounds) -> Result<Packet, PacketError> {
    let mut reader = Reader { rest: bytes, attachments: Vec::new(), bounds };
    let (mut kind, mut namespace, mut id, mut data) = (None, None, None, None);
    let Count::Map(fields) = reader.head()? else { return Err(PacketError::Malformed) };
    for _ in 0..fields {
        let key = reader.json(0)?;
        if key == "\"data\"" {
            data = Some(reader.json(0)?);
            continue;
        }
        // What else stands there is short, or of no interest.
        let value = reader.json(0)?;
        match &*key {
            "\"type\"" => kind = value.parse::<u8>().ok(),
            "\"nsp\"" => namespace = serde_json::from_str::<String>(&value).ok(),
            "\"id\"" if value != "null" => id = Some(value.parse::<u64>().map_err(|_| PacketError::Malformed)?),
            _ => {}
        }
    }
    let namespace = namespace.filter(|_| reader.rest.is_empty()).ok_or(PacketError::Malformed)?;
    let data = data.filter(|data| data != "null");
    match kind {
        Some(0) => Ok(Packet::Connect { namespace, auth: data }),
        Some(1) => Ok(Packet::Disconnect { namespace }),
        Some(kind @ (2 | 3)) => {
            let text = data.ok_or(PacketError::Malformed)?;
            let event = Event { text, attachments: reader.attachments, ack: id };
            Ok(if kind == 2 { Packet::Event { namespace, event } } else { Packet::Ack { namespace, answer: event } })
        }
        _ => Err(PacketError::Malformed),
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    attachments: Vec<Bytes>,
    bounds: Bounds,
}

/// The beginning of a value: all of it, or how much of it follows.
enum Count {
    Text(usize),
    Bytes(usize),
    Array(usize),
    Map(usize),
    /// Of a type of its own, which clients use for `undefined` and dates.
    Extension(usize),
    Whole(String),
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], PacketError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(PacketError::Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn big_endian<const N: usize>(&mut self) -> Result<[u8; N], PacketError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(PacketError::Malformed)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A length of one, two or four bytes.
    fn length<const N: usize>(&mut self) -> Result<usize, PacketError> {
        let bytes: [u8; N] = self.big_endian()?;
        Ok(bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
    }

    fn head(&mut self) -> Result<Count, PacketError> {
        let marker = Marker::from_u8(self.big_endian::<1>()?[0]);
        Ok(match marker {
            Marker::FixStr(length) => Count::Text(length.into()),
            Marker::Str8 => Count::Text(self.length::<1>()?),
            Marker::Str16 => Count::Text(self.length::<2>()?),
            Marker::Str32 => Count::Text(self.length::<4>()?),
            Marker::Bin8 => Count::Bytes(self.length::<1>()?),
            Marker::Bin16 => Count::Bytes(self.length::<2>()?),
            Marker::Bin32 => Count::Bytes(self.length::<4>()?),
            Marker::FixArray(length) => Count::Array(length.into()),
            Marker::Array16 => Count::Array(self.length::<2>()?),
            Marker::Array32 => Count::Array(self.length::<4>()?),
            Marker::FixMap(length) => Count::Map(length.into()),
            Marker::Map16 => Count::Map(self.length::<2>()?),
            Marker::Map32 => Count::Map(self.length::<4>()?),
            Marker::FixExt1 => Count::Extension(1),
            Marker::FixExt2 => Count::Extension(2),
            Marker::FixExt4 => Count::Extension(4),
            Marker::FixExt8 => Count::Extension(8),
            Marker::FixExt16 => Count::Extension(16),
            Marker::Ext8 => Count::Extension(self.length::<1>()?),
            Marker::Ext16 => Count::Extension(self.length::<2>()?),
            Marker::Ext32 => Count::Extension(self.length::<4>()?),
            Marker::Null => Count::Whole("null".into()),
            Marker::True => Count::Whole("true".into()),
            Marker::False => Count::Whole("false".into()),
            Marker::FixPos(number) => Count::Whole(number.to_string()),
            Marker::FixNeg(number) => Count::Whole(number.to_string()),
            Marker::U8 => Count::Whole(u8::from_be_bytes(self.big_endian()?).to_string()),
            Marker::U16 => Count::Whole(u16::from_be_bytes(self.big_endian()?).to_string()),
            Marker::U32 => Count::Whole(u32::from_be_bytes(self.big_endian()?).to_string()),
            Marker::U64 => Count::Whole(u64::from_be_bytes(self.big_endian()?).to_string()),
            Marker::I8 => Count::Whole(i8::from_be_bytes(self.big_endian()?).to_string()),
            Marker::I16 => Count::Whole(i16::from_be_bytes(self.big_endian()?).to_string()),
            Marker::I32 => Count::Whole(i32::from_be_bytes(self.big_endian()?).to_string()),
            Marker::I64 => Count::Whole(i64::from_be_bytes(self.big_endian()?).to_string()),
            Marker::F32 => Count::Whole(float(f32::from_be_bytes(self.big_endian()?).into())),
            Marker::F64 => Count::Whole(float(f64::from_be_bytes(self.big_endian()?))),
            Marker::Reserved => return Err(PacketError::Malformed),
        })
    }

    /// The next value as JSON.
    fn json(&mut self, depth: usize) -> Result<String, PacketError> {
        let mut json = String::new();
        self.write_json(&mut json, depth)?;
        Ok(json)
    }

    fn write_json(&mut self, json: &mut String, depth: usize) -> Result<(), PacketError> {
        if depth > MAX_DEPTH {
            return Err(PacketError::Malformed);
        }
        match self.head()? {
            Count::Whole(text) => json.push_str(&text),
            Count::Text(length) => self.write_text(json, length)?,
            Count::Bytes(length) => self.attach(json, length)?,
            Count::Extension(length) => {
                let (kind, content) = (self.big_endian::<1>()?[0], self.take(length)?);
                match (kind, <[u8; 8]>::try_from(content)) {
                    // A date, in milliseconds: what `Date.prototype.getTime` says.
                    (0, Ok(milliseconds)) => json.push_str(&i64::from_be_bytes(milliseconds).to_string()),
                    (0, Err(_)) if length == 1 => json.push_str("null"),
                    _ => return Err(PacketError::Malformed),
                }
            }
            Count::Array(length) => {
                json.push('[');
                for item in 0..length {
                    if item > 0 {
                        json.push(',');
                    }
                    self.write_json(json, depth + 1)?;
                }
                json.push(']');
            }
            Count::Map(length) => {
                json.push('{');
                for field in 0..length {
                    if field > 0 {
                        json.push(',');
                    }
                    match self.head()? {
                        Count::Text(length) => self.write_text(json, length)?,
                        Count::Whole(key) => write!(json, "\"{key}\"").expect("a String takes everything"),
                        _ => return Err(PacketError::Malformed),
                    }
                    json.push(':');
                    self.write_json(json, depth + 1)?;
                }
                json.push('}');
            }
        }
        Ok(())
    }

    fn write_text(&mut self, json: &mut String, length: usize) -> Result<(), PacketError> {
        // JavaScript's half characters are not UTF-8.
        let text = String::from_utf8_lossy(self.take(length)?);
        json.push_str(&serde_json::to_string(&text).map_err(|_| PacketError::Malformed)?);
        Ok(())
    }

    fn attach(&mut self, json: &mut String, length: usize) -> Result<(), PacketError> {
        let bytes = self.take(length)?;
        if self.attachments.len() == self.bounds.attachments {
            return Err(PacketError::TooManyAttachments);
        }
        if self.attachments.iter().map(Bytes::len).sum::<usize>() + length > self.bounds.bytes {
            return Err(PacketError::TooLarge);
        }
        let number = self.attachments.len();
        self.attachments.push(Bytes::copy_from_slice(bytes));
        write!(json, "{{\"_placeholder\":true,\"num\":{number}}}").expect("a String takes everything");
        Ok(())
    }
}

/// As JSON has it, which knows no infinity.
fn float(number: f64) -> String {
    serde_json::to_string(&number).unwrap_or_else(|_| "null".into())
}

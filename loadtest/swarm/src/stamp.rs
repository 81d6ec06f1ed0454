//! What a published payload carries, and how a delivery is recognised by it without parsing JSON.

/// The publisher's mark in a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Number of the publish within this run
    pub(crate) sequence: u64,
    /// When it was written to the socket, in nanoseconds since the audit's start
    pub(crate) sent_ns: u64,
}

/// A `message` event as a member heard it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) stamp: Stamp,
    pub(crate) offset: u64,
}

/// Opens the payload's JSON string. Fixed-width hexadecimal numbers follow, so that the whole is
/// found by position, and no byte of it is ever escaped by a JSON encoder.
const MARK: &str = "swarm|";
const HEX_DIGITS: usize = 16;

impl Stamp {
    /// Bytes that the stamp itself needs.
    pub(crate) const MIN_BYTES: u32 = (MARK.len() + 2 * (HEX_DIGITS + 1)) as u32;

    /// A payload of exactly `bytes` bytes, to be put between quotes as it is.
    pub(crate) fn payload(self, bytes: u32) -> String {
        let Self { sequence, sent_ns } = self;
        let head = format!("{MARK}{sequence:016x}|{sent_ns:016x}|");
        format!("{head:x<width$}", width = bytes as usize)
    }
}

impl Delivery {
    /// `event` is the JSON array of a `message` event; `None` if it holds no stamp or no offset.
    pub(crate) fn scan(event: &str) -> Option<Self> {
        let marked = event.find(MARK)? + MARK.len();
        let (sequence, rest) = hexadecimal(event.get(marked..)?)?;
        let (sent_ns, _) = hexadecimal(rest)?;
        Some(Self { stamp: Stamp { sequence, sent_ns }, offset: last_argument(event)?.parse().ok()? })
    }

    /// Whether `event` is what members of a room hear by default.
    pub(crate) fn is_message(event: &str) -> bool {
        event.starts_with(r#"["message","#)
    }
}

fn hexadecimal(text: &str) -> Option<(u64, &str)> {
    let (digits, rest) = text.split_at_checked(HEX_DIGITS)?;
    Some((u64::from_str_radix(digits, 16).ok()?, rest.strip_prefix('|')?))
}

/// The last element of a JSON array if it is a string without escapes, as every offset is.
pub(crate) fn last_argument(event: &str) -> Option<&str> {
    event.strip_suffix(r#""]"#)?.rsplit_once(r#",""#).map(|(_, last)| last)
}

#[cfg(test)]
mod tests {
    use super::{Delivery, Stamp};

    const STAMP: Stamp = Stamp { sequence: 0xabc, sent_ns: 9_876_543_210 };

    fn event(payload: &str, offset: &str) -> String {
        format!(r#"["message",{{"room":"r \"swarm\"","user":null,"data":"{payload}","at":1}},{offset}]"#)
    }

    #[test]
    fn finds_what_it_wrote() {
        for bytes in [Stamp::MIN_BYTES, 41, 100, 4_096] {
            let payload = STAMP.payload(bytes);
            assert_eq!(payload.len(), bytes as usize);
            let event = event(&payload, r#""77""#);
            assert!(Delivery::is_message(&event));
            assert_eq!(Delivery::scan(&event), Some(Delivery { stamp: STAMP, offset: 77 }));
        }
    }

    #[test]
    fn agrees_with_a_json_parser() -> serde_json::Result<()> {
        let event = event(&STAMP.payload(64), r#""18446744073709551615""#);
        let parsed: (String, serde_json::Value, String) = serde_json::from_str(&event)?;
        assert_eq!(parsed.1["data"], STAMP.payload(64));
        assert_eq!(Delivery::scan(&event).map(|delivery| delivery.offset.to_string()), Some(parsed.2));
        Ok(())
    }

    #[test]
    fn refuses_what_it_cannot_read() {
        let payload = STAMP.payload(64);
        assert_eq!(Delivery::scan(&event(&payload, "null")), None);
        assert_eq!(Delivery::scan(&event(&payload, r#""x""#)), None);
        assert_eq!(Delivery::scan(&event("hello", r#""1""#)), None);
        assert_eq!(Delivery::scan(&event(&payload[..30], r#""1""#)), None);
        assert!(!Delivery::is_message(r#"["welcome",{}]"#));
    }
}

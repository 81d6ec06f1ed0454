//! Positions in the log: the offset, and the epoch that says whose history it counts.

use std::borrow::Cow;
use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An event's position: one counter for all rooms of a deployment with one Redis primary. 0 is before
/// everything. On the wire it is a decimal string, because JavaScript numbers end at 2^53.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    /// Before the first event.
    pub const START: Self = Self(0);

    /// Reads the decimal form; nothing for signs, spaces, empty text or more than 64 bits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok().map(Self)).flatten()
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Offset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Offset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("an offset is a decimal number of at most 64 bits"))
    }
}

/// What a client was handed last, as it says when it comes back: the offset of an event, and how many replays had
/// ended by then if the newest thing it heard was the end of one. As text `123` or `123.2`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The newest offset.
    pub offset: Offset,
    /// The number of the last replay that ended; 0 for none.
    pub replay: u32,
}

impl Mark {
    /// Reads either form; nothing for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (offset, replay) = text.split_once('.').unwrap_or((text, "0"));
        let replay = u32::try_from(Offset::parse(replay)?.0).ok()?;
        Some(Self { offset: Offset::parse(offset)?, replay })
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.offset, self.replay)
    }
}

/// The identity of a log's history. It changes when history was lost, and offsets of different epochs cannot
/// be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch of a history that begins now.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// Reads the form that [`fmt::Display`] writes: 16 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// An offset with the epoch that it counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Whose history.
    pub epoch: Epoch,
    /// Where in it.
    pub offset: Offset,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_plain_decimal_numbers() {
        assert_eq!(Offset::parse("0"), Some(Offset(0)));
        assert_eq!(Offset::parse("18446744073709551615"), Some(Offset(u64::MAX)));
        for bad in ["", "-1", "+1", " 1", "1.0", "0x1", "18446744073709551616", "abc"] {
            assert_eq!(Offset::parse(bad), None, "{bad:?}");
        }
        assert_eq!(serde_json::to_string(&Offset(7)).unwrap(), "\"7\"");
        assert_eq!(serde_json::from_str::<Offset>("\"7\"").unwrap(), Offset(7));
        assert!(serde_json::from_str::<Offset>("7").is_err());
    }

    #[test]
    fn a_mark_is_an_offset_with_or_without_a_replay() {
        assert_eq!(Mark::parse("12"), Some(Mark { offset: Offset(12), replay: 0 }));
        let mark = Mark { offset: Offset(12), replay: 3 };
        assert_eq!(Mark::parse(&mark.to_string()), Some(mark));
        for bad in ["", ".", "1.", ".1", "1.2.3", "-1", "1.-1", "1.4294967296", "NaN"] {
            assert_eq!(Mark::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn an_epoch_survives_its_text_form() {
        let epoch = Epoch(0x00ab);
        assert_eq!(Epoch::parse(&epoch.to_string()), Some(epoch));
        assert_eq!(Epoch::parse("ab"), None);
    }
}

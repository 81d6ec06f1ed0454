//! Offsets as clients carry them: one string that stands for a position in every partition in which a session has rooms.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A partition of the log.
pub(crate) type Partition = u16;

/// Where a session is: in each of its partitions it was handed everything up to `floor`, and in those that are named
/// everything up to what stands there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// Up to which change of the partitions' histories the session was told of them all.
    pub(crate) version: u32,
    /// An offset, which is a time in microseconds.
    pub(crate) floor: u64,
    /// Partitions that are further, and how far.
    pub(crate) ahead: BTreeMap<Partition, u64>,
}

impl Position {
    /// How far it is in a partition.
    pub(crate) fn of(&self, partition: Partition) -> u64 {
        self.ahead.get(&partition).copied().unwrap_or(self.floor)
    }

    /// As a client carries it: version, floor, and for each partition that is ahead the distance from the one before and
    /// from the floor, all of variable length, in base64 for URLs.
    pub(crate) fn encode(&self) -> String {
        let mut bytes = Vec::with_capacity(16 + self.ahead.len() * 4);
        put(&mut bytes, self.version.into());
        put(&mut bytes, self.floor);
        let mut before = 0;
        for (partition, offset) in &self.ahead {
            put(&mut bytes, u64::from(partition - before));
            put(&mut bytes, offset - self.floor);
            before = *partition;
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads it; nothing for anything that [`Self::encode`] does not write.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let mut rest = bytes.as_slice();
        let version = u32::try_from(take(&mut rest)?).ok()?;
        let floor = take(&mut rest)?;
        let mut position = Self { version, floor, ahead: BTreeMap::new() };
        let mut partition = 0;
        while !rest.is_empty() {
            let step = Partition::try_from(take(&mut rest)?).ok()?;
            if step == 0 && !position.ahead.is_empty() {
                return None;
            }
            partition = step.checked_add(partition)?;
            let distance = take(&mut rest)?;
            position.ahead.insert(partition, floor.checked_add(distance)?);
        }
        // One position has one form: what was padded otherwise was written by somebody else.
        (position.encode() == text).then_some(position)
    }
}

/// The same without a floor: every partition of a session stands there.
pub(crate) fn encode_all(version: u32, positions: impl Iterator<Item = (Partition, u64)>) -> String {
    let mut bytes = Vec::new();
    put(&mut bytes, version.into());
    let (mut before, mut first) = (0, None);
    for (partition, offset) in positions {
        put(&mut bytes, u64::from(partition - before));
        before = partition;
        match first {
            None => put(&mut bytes, offset),
            Some(first) => put(&mut bytes, zigzag(offset, first)),
        }
        first.get_or_insert(offset);
    }
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A difference of either sign, small if it is small.
fn zigzag(value: u64, from: u64) -> u64 {
    if value >= from { (value - from) << 1 } else { ((from - value) << 1) - 1 }
}

/// Seven bits in a byte, the lowest first; the eighth says that there are more.
fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(version: u32, floor in 0..1_u64 << 56, ahead in prop::collection::btree_map(0..16_384_u16, 1..1_u64 << 40, 0..50)) {
            let ahead = ahead.into_iter().map(|(partition, distance)| (partition, floor + distance)).collect();
            let position = Position { version, floor, ahead };
            prop_assert_eq!(Position::decode(&position.encode()), Some(position));
        }

        #[test]
        fn whatever_a_client_sends_is_read_or_refused(text in ".{0,80}", bytes: Vec<u8>) {
            for text in [text, URL_SAFE_NO_PAD.encode(bytes)] {
                if let Some(position) = Position::decode(&text) {
                    prop_assert_eq!(position.encode(), text);
                }
            }
        }
    }

    #[test]
    fn an_offset_is_short_where_little_was_said() {
        let floor = 1_795_345_614_052_000;
        let quiet = Position { version: 3, floor, ahead: BTreeMap::new() };
        assert_eq!(quiet.encode().len(), 12);
        let busy = Position { ahead: BTreeMap::from([(17, floor + 40_000), (200, floor + 900_000)]), ..quiet };
        assert_eq!(busy.encode().len(), 24);
        let all = encode_all(3, [(17, floor + 40_000), (90, floor - 80_000_000), (200, floor + 900_000)].into_iter());
        assert_eq!(all.len(), 26);
    }
}

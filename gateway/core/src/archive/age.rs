//! Which of the oldest rows of a room go for their age.

use crate::domain::Offset;

/// A row of a room that may be old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where it is: of a gap, where that ends.
    pub offset: Offset,
    /// Of an entry, when it was said; of a gap, when that was found. In milliseconds since 1970.
    pub at_ms: u64,
    /// Whether it is a gap.
    pub is_gap: bool,
}

/// How many of a room's oldest rows, which are given in their order, go if everything goes that was said before a time, and
/// `most` at the most. What stands behind something that is young stays, whatever its clock said: so what is left has no holes.
/// A gap goes with what was said after it; if nothing was, when it is that old itself. Who gives one row more than `most`
/// lets that be seen.
#[must_use]
pub fn old_of(places: &[Place], before_ms: u64, most: usize) -> usize {
    let young = places.iter().position(|place| !place.is_gap && place.at_ms >= before_ms);
    let within = &places[..young.unwrap_or(places.len())];
    let last = within.iter().rposition(|place| !place.is_gap).map_or(0, |last| last + 1);
    let gaps = within[last..].iter().take_while(|gap| gap.at_ms < before_ms).count();
    (last + gaps).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_goes_up_to_the_first_that_is_not() {
        let old = |rows: &[(u64, bool)], most| {
            let place = |(number, (at_ms, is_gap)): (usize, &(u64, bool))| Place {
                offset: Offset(number as u64),
                at_ms: *at_ms,
                is_gap: *is_gap,
            };
            old_of(&rows.iter().enumerate().map(place).collect::<Vec<_>>(), 10, most)
        };
        assert_eq!(old(&[], 5), 0);
        assert_eq!(old(&[(9, false), (3, false), (10, false), (1, false)], 5), 2);
        assert_eq!(old(&[(9, false), (3, false), (1, false)], 2), 2);
        // Of gaps.
        assert_eq!(old(&[(50, true), (3, false), (50, true), (10, false)], 5), 2);
        assert_eq!(old(&[(50, true), (3, false)], 1), 1);
        assert_eq!(old(&[(50, true), (12, false)], 5), 0);
        assert_eq!(old(&[(9, true), (8, true), (50, true), (3, true)], 5), 2);
    }
}

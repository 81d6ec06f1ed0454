//! What every backend asks of a part of a room that it reads: how much of it fits, and which gaps touch it.

use super::{Entry, Gap};
use crate::domain::Offset;
use crate::log::Range;

/// A part of a room that is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    range: Range,
    bytes: usize,
}

impl Part {
    /// Of a room, as somebody wants it, with so many bytes of entries.
    #[must_use]
    pub fn new(range: Range, bytes: usize) -> Self {
        Self { range, bytes }
    }

    /// Whether it is read from its newest entry on.
    #[must_use]
    pub fn is_backwards(&self) -> bool {
        matches!(self.range, Range::Newest { .. })
    }

    /// Between which offsets it lies, neither of which belongs to it.
    #[must_use]
    pub fn bounds(&self) -> (Option<Offset>, Option<Offset>) {
        match self.range {
            Range::After { offset, .. } => (Some(offset), None),
            Range::Newest { before, .. } => (None, before),
        }
    }

    /// How many entries have to be looked at: one more than are wanted, to know whether there are more.
    #[must_use]
    pub fn look(&self) -> usize {
        let (Range::After { limit, .. } | Range::Newest { limit, .. }) = self.range;
        limit.saturating_add(1)
    }

    /// How many of the entries fit, of which these are the sizes, as many as [`Self::look`] says, in the direction of
    /// reading; and whether there are more.
    #[must_use]
    pub fn fit(&self, sizes: impl IntoIterator<Item = usize>) -> (usize, bool) {
        let (mut fitting, mut total) = (0, 0_usize);
        for size in sizes {
            total = total.saturating_add(size);
            if fitting + 1 == self.look() || (fitting > 0 && total > self.bytes) {
                return (fitting, true);
            }
            fitting += 1;
        }
        (fitting, false)
    }

    /// What gaps have to touch to be this part's: they end after the first offset, and begin before the second. `entries` is
    /// what was read, oldest first. What was forgotten is not missing.
    #[must_use]
    pub fn span(&self, entries: &[Entry], more: bool, forgotten: Option<Offset>) -> (Offset, Offset) {
        let (from, to) = match self.range {
            Range::After { offset, .. } if more => {
                (offset, entries.last().map_or(offset, |entry| entry.position.offset))
            }
            Range::After { offset, .. } => (offset, Offset(u64::MAX)),
            Range::Newest { before, .. } => {
                let to = before.map_or(Offset(u64::MAX), before_it);
                let first = entries.first().map_or(to, |entry| before_it(entry.position.offset));
                (if more { first } else { Offset::START }, to)
            }
        };
        (from.max(forgotten.unwrap_or_default()), to)
    }

    /// Of gaps those that touch the part between two offsets, as [`Self::span`] gives them, in their order.
    #[must_use]
    pub fn touching(gaps: impl IntoIterator<Item = Gap>, (from, to): (Offset, Offset)) -> Vec<Gap> {
        let touches = |gap: &Gap| from < to && gap.through > from && gap.after < to;
        let mut gaps: Vec<_> = gaps.into_iter().filter(touches).collect();
        gaps.sort_by_key(|gap| (gap.after, gap.through));
        gaps
    }
}

fn before_it(offset: Offset) -> Offset {
    Offset(offset.0.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::Why;
    use crate::domain::{Epoch, Position};

    fn after(offset: u64, limit: usize) -> Part {
        Part::new(Range::After { offset: Offset(offset), limit }, 100)
    }

    fn newest(before: Option<u64>, limit: usize) -> Part {
        Part::new(Range::Newest { before: before.map(Offset), limit }, 100)
    }

    fn entries(offsets: &[u64]) -> Vec<Entry> {
        let entry = |offset: &u64| Entry {
            position: Position { epoch: Epoch(1), offset: Offset(*offset) },
            user: None,
            event: None,
        };
        offsets.iter().map(entry).collect()
    }

    #[test]
    fn as_many_fit_as_are_wanted_and_have_room_and_one_at_least() {
        assert_eq!(after(0, 3).fit([40, 40]), (2, false));
        assert_eq!(after(0, 2).fit([40, 40, 1]), (2, true));
        assert_eq!(after(0, 3).fit([40, 60, 1]), (2, true));
        assert_eq!(newest(None, 3).fit([1_000, 1]), (1, true));
        assert_eq!(newest(None, 3).fit([1_000]), (1, false));
        assert_eq!(newest(None, 0).fit([1]), (0, true));
        assert_eq!(newest(None, 0).fit([]), (0, false));
        assert_eq!(after(0, usize::MAX).fit([1, 1]), (2, false));
    }

    #[test]
    fn each_gap_belongs_to_the_pages_between_whose_ends_it_lies() {
        let gaps: Vec<_> = [(5, 7), (10, 12), (20, 25)]
            .map(|(after, through)| Gap {
                room: None,
                after: Offset(after),
                through: Offset(through),
                why: Why::Missing,
            })
            .into();
        let shown = |part: Part, read: &[u64], more: bool, forgotten: Option<u64>| {
            let span = part.span(&entries(read), more, forgotten.map(Offset));
            Part::touching(gaps.clone(), span).iter().map(|gap| gap.after.0).collect::<Vec<_>>()
        };
        // 10 stands behind the first gap and before the second, 15 behind that.
        assert_eq!(shown(after(0, 1), &[10], true, None), [5]);
        assert_eq!(shown(after(10, 1), &[15], true, None), [10]);
        assert_eq!(shown(after(15, 1), &[30], false, None), [20]);
        assert_eq!(shown(newest(None, 1), &[30], true, None), [] as [u64; 0]);
        assert_eq!(shown(newest(Some(30), 1), &[15], true, None), [20]);
        assert_eq!(shown(newest(Some(15), 1), &[10], false, None), [5, 10]);
        assert_eq!(shown(newest(Some(15), 1), &[10], false, Some(8)), [10]);
        assert_eq!(shown(newest(None, 0), &[], true, None), [] as [u64; 0]);
        assert_eq!(shown(after(0, 0), &[], true, None), [] as [u64; 0]);
        assert_eq!(shown(after(12, 1), &[], false, None), [20]);
    }
}

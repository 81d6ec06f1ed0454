//! Whether a flood moved its neighbours: the p99 of many short windows, in calm and flood by turns.

use serde::Serialize;

use crate::attack::Attack;

/// The middle value, the mean of the two middle ones of an even number; 0 of nothing. One bad window, which any busy
/// machine has now and then, does not move it, and several do.
pub(crate) fn median(values: &[u64]) -> u64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    let middle = values.len() / 2;
    match values.len() {
        0 => 0,
        length if length.is_multiple_of(2) => u64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}

/// What one kind of flood did to the others' p99.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Verdict {
    pub(crate) attack: Attack,
    pub(crate) before_us: u64,
    pub(crate) during_us: u64,
    pub(crate) after_us: u64,
    /// Against the worse of the two calm stretches around it, because what differs between those is noise
    pub(crate) moved_percent: f64,
    pub(crate) limit_percent: f64,
}

impl Verdict {
    /// Of the p99s of all the windows in three stretches.
    pub(crate) fn new(attack: Attack, before: &[u64], during: &[u64], after: &[u64], limit_percent: f64) -> Self {
        let [before_us, during_us, after_us] = [before, during, after].map(median);
        let calm_us = before_us.max(after_us).max(1);
        let moved_percent = (during_us as f64 / calm_us as f64 - 1.0) * 100.0;
        Self { attack, before_us, during_us, after_us, moved_percent, limit_percent }
    }

    pub(crate) fn failure(&self) -> Option<String> {
        (self.moved_percent > self.limit_percent).then(|| {
            let Self { attack, moved_percent, .. } = self;
            format!("{attack} moved the others' p99 by {moved_percent:.0} %")
        })
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |us: u64| us as f64 / 1_000.0;
        write!(
            f,
            "{}: others' p99 moved by {:.0} % (limit {:.0} %): {:.2} ms before, {:.2} ms during, {:.2} ms after",
            self.attack,
            self.moved_percent,
            self.limit_percent,
            ms(self.before_us),
            ms(self.during_us),
            ms(self.after_us)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Verdict, median};
    use crate::attack::Attack;

    fn moved(before: &[u64], during: &[u64], after: &[u64]) -> Verdict {
        Verdict::new(Attack::Publishes, before, during, after, 20.0)
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), 0);
        assert_eq!(median(&[7]), 7);
        assert_eq!(median(&[9, 1, 5]), 5);
        assert_eq!(median(&[9, 1, 5, 6]), 5);
        assert_eq!(median(&[u64::MAX, u64::MAX]), u64::MAX);
    }

    #[test]
    fn one_bad_window_is_forgiven_and_most_are_not() {
        assert_eq!(moved(&[1_000; 5], &[1_000, 1_000, 1_000, 1_000, 90_000], &[1_000; 5]).failure(), None);
        let failure = moved(&[1_000; 5], &[1_000, 1_000, 1_900, 1_900, 1_900], &[1_000; 5]).failure();
        assert_eq!(failure.as_deref(), Some("publishes moved the others' p99 by 90 %"));
    }

    #[test]
    fn the_limit_itself_still_passes() {
        assert_eq!(moved(&[1_000], &[1_200], &[900]).failure(), None);
        assert!(moved(&[1_000], &[1_210], &[900]).failure().is_some());
    }

    #[test]
    fn the_worse_calm_is_the_measure() {
        let verdict = moved(&[1_000], &[1_500], &[1_400]);
        assert!((verdict.moved_percent - 7.14).abs() < 0.01);
        assert_eq!(verdict.failure(), None);
        assert!(moved(&[1_000], &[500], &[1_000]).moved_percent < 0.0);
    }
}

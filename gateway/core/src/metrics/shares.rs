//! Shares: gauges that several write, each its part of the sum.

use std::fmt;

use metrics::Gauge;
use parking_lot::Mutex;

/// What one of several writers has of a gauge that shows all of them together.
pub struct Share {
    whole: Gauge,
    own: Mutex<f64>,
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Share").field(&*self.own.lock()).finish()
    }
}

impl Share {
    /// Nothing of it yet.
    #[must_use]
    pub fn of(whole: &Gauge) -> Self {
        Self { whole: whole.clone(), own: Mutex::new(0.0) }
    }

    /// So much of it is this one's from now on: whole numbers, or the sum would drift.
    pub fn set(&self, value: f64) {
        let mut own = self.own.lock();
        self.whole.increment(value - *own);
        *own = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn the_gauge_is_the_sum_of_its_shares() {
        let metrics = Metrics::new();
        let (one, two) = (Share::of(&metrics.presence_entries), Share::of(&metrics.presence_entries));
        for (of_one, of_two, sum) in [(3.0, 4.0, "7"), (0.0, 4.0, "4"), (9.0, 1.0, "10")] {
            one.set(of_one);
            two.set(of_two);
            let line = format!("gateway_presence_entries {sum}\n");
            assert!(metrics.render().contains(&line), "{line}");
        }
    }
}

//! Latency histograms and the few numbers of them that are reported.

use std::fmt;
use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::Serialize;

const HIGHEST_US: u64 = 120_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// Microseconds; what takes longer than two minutes counts as two minutes.
#[derive(Debug, Clone)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Histogram::new_with_bounds(1, HIGHEST_US, SIGNIFICANT_DIGITS).map(Self).context("histogram bounds")
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(HIGHEST_US);
        self.0.saturating_record(us);
    }

    pub(crate) fn absorb(&mut self, others: &Self) -> anyhow::Result<()> {
        self.0.add(&others.0).context("histograms of one shape")
    }

    pub(crate) fn quantiles(&self) -> Quantiles {
        Quantiles {
            count: self.0.len(),
            p50_us: self.0.value_at_quantile(0.5),
            p99_us: self.0.value_at_quantile(0.99),
            p999_us: self.0.value_at_quantile(0.999),
            max_us: self.0.max(),
        }
    }
}

/// All in microseconds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Quantiles {
    pub(crate) count: u64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p999_us: u64,
    pub(crate) max_us: u64,
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count == 0 {
            return write!(f, "nothing to measure");
        }
        let ms = |us: u64| us as f64 / 1_000.0;
        write!(
            f,
            "p50 {:.2} ms, p99 {:.2} ms, p999 {:.2} ms, max {:.2} ms",
            ms(self.p50_us),
            ms(self.p99_us),
            ms(self.p999_us),
            ms(self.max_us)
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Latencies;

    #[test]
    fn quantiles_are_within_a_thousandth() -> anyhow::Result<()> {
        let mut latencies = Latencies::new()?;
        for ms in 1..=1_000 {
            latencies.record(Duration::from_millis(ms));
        }
        latencies.record(Duration::ZERO);
        let quantiles = latencies.quantiles();
        assert_eq!(quantiles.count, 1_001);
        assert!(quantiles.p50_us.abs_diff(500_000) <= 1_000, "{quantiles}");
        assert!(quantiles.p99_us.abs_diff(990_000) <= 1_000, "{quantiles}");
        assert!(quantiles.max_us.abs_diff(1_000_000) <= 1_000, "{quantiles}");
        Ok(())
    }
}

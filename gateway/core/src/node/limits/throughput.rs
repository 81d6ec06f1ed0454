//! Throughput: what one connection may send in all, whatever it is, before any work is done for it.

use std::sync::Arc;

use super::meter::Meter;
use crate::config::Rate;
use crate::metrics::Metrics;

/// Packets and bytes of one connection, control frames and requests included. Events of sessions have limits of their
/// own that refuse in words; this one ends the connection.
#[derive(Debug)]
pub struct Throughput {
    packets: Option<Meter>,
    bytes: Option<Meter>,
    metrics: Arc<Metrics>,
}

impl Throughput {
    pub(super) fn new(packets: Rate, bytes: Rate, metrics: Arc<Metrics>) -> Self {
        Self { packets: Meter::new(packets), bytes: Meter::new(bytes), metrics }
    }

    /// Whether the connection may send so much more.
    #[must_use]
    pub fn admits(&self, packets: usize, bytes: usize) -> bool {
        let meters = [(&self.packets, packets, "connection_packets"), (&self.bytes, bytes, "connection_bytes")];
        meters.into_iter().all(|(meter, count, limiter)| {
            // More at once than ever may be is too much even after a long silence: a body has room for very many packets.
            let fits = |meter: &Meter| meter.has_room_for(count) && meter.take(count).is_ok();
            let is_admitted = meter.as_ref().is_none_or(fits);
            if !is_admitted {
                self.metrics.rate_limit_decisions.with(limiter, "deny").increment(1);
            } else if meter.is_some() {
                self.metrics.rate_limit_decisions.with(limiter, "allow").increment(1);
            }
            is_admitted
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn packets_and_bytes_are_bounded_apart() {
        let metrics = Arc::new(Metrics::new());
        let rate = |per_second| Rate { per_second, burst: per_second };
        let throughput = Throughput::new(rate(3), rate(100), metrics.clone());
        assert!(throughput.admits(2, 10) && throughput.admits(1, 10) && !throughput.admits(1, 10));
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        assert!(throughput.admits(1, 100) && !throughput.admits(1, 10));
        let fresh = Throughput::new(rate(3), rate(100), metrics.clone());
        assert!(!fresh.admits(4, 1) && fresh.admits(3, 100), "nothing was taken for what is too much at once");
        let text = metrics.render();
        assert!(text.contains(r#"{limiter="connection_packets",decision="deny"} 2"#), "{text}");
        assert!(text.contains(r#"{limiter="connection_bytes",decision="deny"} 1"#), "{text}");
        assert!(Throughput::new(rate(0), rate(0), metrics).admits(usize::MAX, usize::MAX));
    }
}

//! Troubles: what may go wrong with a port as often as clients ask, and is told once, then counted.

use crate::port::PortError;
use crate::recurring::Recurring;

/// The errors of a port. Those that somebody has to do something about are a series of their own, or they would not be seen
/// among those that pass.
#[derive(Debug)]
pub(in crate::node) struct Failing {
    passing: Recurring,
    lasting: Recurring,
}

impl Failing {
    /// Says the one of what passes, the other of what stays.
    pub(in crate::node) fn new(passing: &'static str, lasting: &'static str) -> Self {
        Self { passing: Recurring::new(passing), lasting: Recurring::new(lasting) }
    }

    /// Notes that an operation failed.
    pub(in crate::node) fn note(&self, error: &PortError) {
        let series = if error.is_permanent() { &self.lasting } else { &self.passing };
        series.note(|what| error.tell(what));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Arc;

    use tracing_subscriber::util::SubscriberInitExt;

    use super::*;
    use crate::port::Port;

    #[tokio::test(start_paused = true)]
    async fn what_stays_is_told_although_something_that_passes_was_told_already() {
        let (mut page, writer) = std::io::pipe().unwrap();
        let lines = tracing_subscriber::fmt().with_ansi(false).without_time().with_writer(Arc::new(writer));
        let logging = lines.finish().set_default();
        let failing = Failing::new("the log failed", "something in the log is broken");
        for _ in 0..3 {
            failing.note(&Port::Log.not_now("read", "away"));
            failing.note(&Port::Log.broken("read", "damaged"));
        }
        drop(logging);
        let mut told = String::new();
        page.read_to_string(&mut told).unwrap();
        let told: Vec<_> = told.lines().collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("WARN") && told[0].contains("the log failed"), "{told:?}");
        assert!(told[1].contains("ERROR") && told[1].contains("it will not heal by itself"), "{told:?}");
    }
}

//! A circuit breaker: after some failures in a row nobody is let through for a while, and then one, to see.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// Failed attempts in a row that open it. 0: it never opens.
    pub failures: u32,
    /// How long nobody is let through, before one attempt is.
    pub pause: Duration,
}

impl Default for Breaker {
    /// Five failures, ten seconds.
    fn default() -> Self {
        Self { failures: 5, pause: Duration::from_secs(10) }
    }
}

/// What an attempt showed about the back end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It works.
    Works,
    /// It does not.
    Fails,
}

/// What a verdict did to the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Opened,
    Closed,
}

/// The breaker of one back end. Whoever wants to ask it needs a [`Permit`].
#[derive(Debug)]
pub(super) struct Circuit(Mutex<State>);

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Counts the openings. An attempt from before the last one says nothing about now.
    period: u64,
}

#[derive(Debug)]
enum Phase {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
    },
    /// One attempt is under way that decides.
    Probing,
}

impl Circuit {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State { phase: Phase::Closed { failures: 0 }, period: 0 }))
    }

    /// Leave to make one attempt, unless the back end is to be left alone.
    pub(super) fn permit(&self, settings: Breaker) -> Option<Permit<'_>> {
        let mut state = self.0.lock();
        let is_probe = match state.phase {
            Phase::Closed { .. } => false,
            Phase::Open { until } if Instant::now() >= until => {
                state.phase = Phase::Probing;
                true
            }
            Phase::Open { .. } | Phase::Probing => return None,
        };
        Some(Permit { circuit: self, settings, is_probe, period: state.period, is_settled: false })
    }
}

/// Leave to make one attempt. If it is dropped without a verdict, because nobody waits for the answer any more, the
/// next one may try in its place.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    circuit: &'a Circuit,
    settings: Breaker,
    is_probe: bool,
    period: u64,
    is_settled: bool,
}

impl Permit<'_> {
    /// Says what the attempt showed.
    pub(super) fn settle(mut self, verdict: Verdict) -> Option<Change> {
        self.is_settled = true;
        let mut state = self.circuit.0.lock();
        if state.period != self.period {
            return None;
        }
        match (&mut state.phase, verdict) {
            (Phase::Closed { failures }, Verdict::Works) => {
                *failures = 0;
                None
            }
            (Phase::Probing, Verdict::Works) => {
                state.phase = Phase::Closed { failures: 0 };
                Some(Change::Closed)
            }
            (Phase::Closed { failures }, Verdict::Fails) => {
                *failures = failures.saturating_add(1);
                let is_enough = self.settings.failures > 0 && *failures >= self.settings.failures;
                is_enough.then(|| self.open(&mut state))
            }
            (Phase::Probing, Verdict::Fails) => Some(self.open(&mut state)),
            // Nobody has leave of this period while it is open.
            (Phase::Open { .. }, _) => None,
        }
    }

    fn open(&self, state: &mut State) -> Change {
        state.phase = Phase::Open { until: Instant::now() + self.settings.pause };
        state.period += 1;
        Change::Opened
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.is_probe && !self.is_settled {
            self.circuit.0.lock().phase = Phase::Open { until: Instant::now() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Breaker = Breaker { failures: 3, pause: Duration::from_secs(10) };

    fn attempt(circuit: &Circuit, verdict: Verdict) -> Option<Change> {
        circuit.permit(SETTINGS).expect("it lets nobody through").settle(verdict)
    }

    fn opened() -> Circuit {
        let circuit = Circuit::new();
        assert_eq!(attempt(&circuit, Verdict::Fails), None);
        assert_eq!(attempt(&circuit, Verdict::Fails), None);
        assert_eq!(attempt(&circuit, Verdict::Fails), Some(Change::Opened));
        circuit
    }

    fn is_open(circuit: &Circuit) -> bool {
        circuit.permit(SETTINGS).is_none()
    }

    #[tokio::test(start_paused = true)]
    async fn only_failures_in_a_row_open_it() {
        let circuit = Circuit::new();
        for _ in 0..5 {
            attempt(&circuit, Verdict::Fails);
            attempt(&circuit, Verdict::Fails);
            assert_eq!(attempt(&circuit, Verdict::Works), None);
        }
        assert!(!is_open(&circuit));
        assert!(is_open(&opened()));
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_pause_one_is_let_through_and_decides() {
        let circuit = opened();
        tokio::time::advance(Duration::from_millis(9_999)).await;
        assert!(is_open(&circuit));
        tokio::time::advance(Duration::from_millis(1)).await;
        let probe = circuit.permit(SETTINGS).unwrap();
        assert!(is_open(&circuit), "only one");
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(is_open(&circuit), "however long it takes");
        assert_eq!(probe.settle(Verdict::Fails), Some(Change::Opened));
        tokio::time::advance(Duration::from_millis(9_999)).await;
        assert!(is_open(&circuit), "a whole pause again");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(attempt(&circuit, Verdict::Works), Some(Change::Closed));
        assert_eq!(attempt(&circuit, Verdict::Fails), None, "it counts from nothing again");
        assert_eq!(attempt(&circuit, Verdict::Fails), None);
        assert!(!is_open(&circuit));
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_nobody_waits_for_makes_room_for_another() {
        let circuit = opened();
        tokio::time::advance(SETTINGS.pause).await;
        drop(circuit.permit(SETTINGS).unwrap());
        assert_eq!(attempt(&circuit, Verdict::Works), Some(Change::Closed));
    }

    #[tokio::test(start_paused = true)]
    async fn what_began_before_it_opened_says_nothing_later() {
        let circuit = Circuit::new();
        let late: Vec<_> = (0..6).map(|_| circuit.permit(SETTINGS).unwrap()).collect();
        for _ in 0..3 {
            attempt(&circuit, Verdict::Fails);
        }
        let mut late = late.into_iter();
        let mut next = |verdict| late.next().unwrap().settle(verdict);
        assert_eq!(next(Verdict::Works), None);
        assert!(is_open(&circuit), "an old success does not close it");
        tokio::time::advance(SETTINGS.pause).await;
        let probe = circuit.permit(SETTINGS).unwrap();
        assert_eq!(next(Verdict::Works), None);
        assert_eq!(next(Verdict::Fails), None);
        assert_eq!(probe.settle(Verdict::Works), Some(Change::Closed));
        for _ in 0..3 {
            assert_eq!(next(Verdict::Fails), None);
        }
        assert!(!is_open(&circuit), "old failures do not open it again");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_never_opens() {
        let circuit = Circuit::new();
        let never = Breaker { failures: 0, ..SETTINGS };
        for _ in 0..100 {
            assert_eq!(circuit.permit(never).unwrap().settle(Verdict::Fails), None);
        }
    }
}

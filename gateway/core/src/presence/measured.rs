//! Presence that is counted: what goes wrong, who departs, how much a node has entered.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Arrival, Attendee, Beat, Beating, Departed, Entry, Numbered, Page, Place, Presence};
use crate::domain::RoomName;
use crate::metrics::{Metrics, Share};
use crate::port::PortError;

/// Any presence, with its metrics and the log line for a node that is lost.
pub struct MeasuredPresence {
    presence: Arc<dyn Presence>,
    entries: Share,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for MeasuredPresence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MeasuredPresence").finish_non_exhaustive()
    }
}

impl MeasuredPresence {
    /// Counts what `presence` does.
    #[must_use]
    pub fn new(presence: Arc<dyn Presence>, metrics: Arc<Metrics>) -> Self {
        Self { presence, entries: Share::of(&metrics.presence_entries), metrics }
    }

    fn checked<T>(&self, answer: Result<T, PortError>) -> Result<T, PortError> {
        answer.inspect_err(|error| self.metrics.presence_errors.with(error.operation).increment(1))
    }

    fn count_departures(&self, departed: &[Departed]) {
        for departed in departed {
            self.metrics.presence_departures.with(departed.cause.as_str()).increment(1);
        }
    }
}

#[async_trait]
impl Presence for MeasuredPresence {
    async fn enter(&self, who: &Attendee, places: &[Place], arrival: Arrival) -> Result<Vec<Entry>, PortError> {
        self.checked(self.presence.enter(who, places, arrival).await)
    }

    async fn enter_first(
        &self,
        who: &Attendee,
        places: &Numbered,
        capacity: usize,
        arrival: Arrival,
    ) -> Result<(u32, Entry), PortError> {
        self.checked(self.presence.enter_first(who, places, capacity, arrival).await)
    }

    async fn leave(&self, who: &Attendee, places: &[RoomName], linger: Duration) -> Result<Vec<Departed>, PortError> {
        let departed = self.checked(self.presence.leave(who, places, linger).await)?;
        self.count_departures(&departed);
        Ok(departed)
    }

    async fn count(&self, places: &[RoomName]) -> Result<Vec<u64>, PortError> {
        self.checked(self.presence.count(places).await)
    }

    async fn list(&self, place: &RoomName, after: Option<&str>, limit: usize) -> Result<Page, PortError> {
        self.checked(self.presence.list(place, after, limit).await)
    }

    async fn beat(&self, wish: Beating) -> Result<Beat, PortError> {
        let beat = self.checked(self.presence.beat(wish).await)?;
        self.count_departures(&beat.departed);
        #[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 sessions")]
        self.entries.set(beat.entries as f64);
        for node in &beat.lost {
            tracing::warn!(node, "the lease of a node ran out: its sessions are taken out of their places");
        }
        Ok(beat)
    }
}

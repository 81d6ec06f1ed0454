//! Presence whose counts are kept for a while: what this node changes shows at once, what others do when the time is over.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;

use super::{Arrival, Attendee, Beat, Beating, Departed, Entry, Numbered, Page, Place, Presence};
use crate::caching::Counts;
use crate::domain::RoomName;
use crate::metrics::Metrics;
use crate::port::{Port, PortError};

/// What all counts take in memory at the most, in bytes.
const BYTES: u64 = 4 * 1024 * 1024;

/// Any presence, of which counts are kept.
pub struct KeptPresence {
    presence: Arc<dyn Presence>,
    counts: Counts<RoomName>,
}

impl std::fmt::Debug for KeptPresence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptPresence").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl KeptPresence {
    /// Keeps what `presence` counts for `keep`.
    #[must_use]
    pub fn new(presence: Arc<dyn Presence>, keep: Duration, metrics: Arc<Metrics>) -> Self {
        let counts = Counts::new("presence", BYTES, keep, |place: &RoomName| place.as_str().len(), metrics);
        Self { presence, counts }
    }

    /// Publishes what the counts take; to be called every few seconds.
    pub async fn upkeep(&self) {
        self.counts.upkeep().await;
    }

    /// To be called when something was done, or may have been: who counts from now on counts it.
    fn note<'a>(&self, places: impl IntoIterator<Item = &'a RoomName>) {
        places.into_iter().for_each(|place| self.counts.note(place));
    }

    async fn count_one(&self, place: &RoomName) -> Result<u64, PortError> {
        let count = self.counts.count(place, || self.ask(place)).await;
        count.map_err(|error| Port::Presence.error(error.operation, error.kind, error))
    }

    async fn ask(&self, place: &RoomName) -> Result<u64, PortError> {
        let counts = self.presence.count(std::slice::from_ref(place)).await?;
        counts.first().copied().ok_or_else(|| Port::Presence.broken("count", "a place was not counted"))
    }
}

#[async_trait]
impl Presence for KeptPresence {
    async fn enter(&self, who: &Attendee, places: &[Place], arrival: Arrival) -> Result<Vec<Entry>, PortError> {
        let entered = self.presence.enter(who, places, arrival).await;
        self.note(places.iter().map(|place| &place.room));
        entered
    }

    async fn enter_first(
        &self,
        who: &Attendee,
        places: &Numbered,
        capacity: usize,
        arrival: Arrival,
    ) -> Result<(u32, Entry), PortError> {
        let entered = self.presence.enter_first(who, places, capacity, arrival).await;
        match &entered {
            Ok((number, _)) => self.note([&places.name(*number)]),
            // In which of them it may be is not known.
            Err(_) => self.counts.note_all(),
        }
        entered
    }

    async fn leave(&self, who: &Attendee, places: &[RoomName], linger: Duration) -> Result<Vec<Departed>, PortError> {
        let departed = self.presence.leave(who, places, linger).await;
        self.note(places);
        departed
    }

    async fn count(&self, places: &[RoomName]) -> Result<Vec<u64>, PortError> {
        try_join_all(places.iter().map(|place| self.count_one(place))).await
    }

    async fn list(&self, place: &RoomName, after: Option<&str>, limit: usize) -> Result<Page, PortError> {
        self.presence.list(place, after, limit).await
    }

    async fn beat(&self, wish: Beating) -> Result<Beat, PortError> {
        let beat = self.presence.beat(wish).await?;
        self.note(beat.departed.iter().map(|departed| &departed.place));
        Ok(beat)
    }
}

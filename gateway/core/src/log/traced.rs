//! A log whose appends are seen in the traces that they are a part of.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::{AppendError, Appended, FeedItem, Log, Page, Range, Terms};
use crate::domain::{Event, Offset, RoomName};
use crate::port::PortError;
use crate::traces::{self, Kind};

/// A log of which appends are recorded, where what they are a part of is. All else goes through as it comes.
#[derive(Debug)]
pub struct TracedLog {
    log: Arc<dyn Log>,
    /// The store that it is in, as OpenTelemetry calls it.
    system: &'static str,
}

impl TracedLog {
    /// The same log.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, system: &'static str) -> Self {
        Self { log, system }
    }
}

#[async_trait]
impl Log for TracedLog {
    async fn append(&self, room: &RoomName, event: &Event, terms: Terms<'_>) -> Result<Appended, AppendError> {
        let mut span = traces::span(Kind::Client, "append");
        let appended = span.within(self.log.append(room, event, terms)).await;
        span.say("db.system.name", self.system);
        match &appended {
            Ok(appended) if appended.duplicate => span.say("gateway.append.result", "duplicate"),
            Ok(_) => span.say("gateway.append.result", "appended"),
            Err(AppendError::NewRoom) => span.say("gateway.append.result", "new_room"),
            Err(AppendError::Full) => span.fail("full"),
            Err(AppendError::Failed(_)) => span.fail("failed"),
        }
        appended
    }

    async fn read(&self, room: &RoomName, range: Range, bytes: usize) -> Result<Page, PortError> {
        self.log.read(room, range, bytes).await
    }

    async fn read_each(
        &self,
        rooms: &[(&RoomName, Offset)],
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<Page>, PortError> {
        self.log.read_each(rooms, limit, bytes).await
    }

    async fn subscribe(&self, room: &RoomName) -> Result<(), PortError> {
        self.log.subscribe(room).await
    }

    async fn unsubscribe(&self, room: &RoomName) {
        self.log.unsubscribe(room).await;
    }

    async fn signal(&self, room: &RoomName, event: &Event) -> Result<(), PortError> {
        self.log.signal(room, event).await
    }

    async fn mark(&self, room: &RoomName, at_ms: u64) -> Result<(), PortError> {
        self.log.mark(room, at_ms).await
    }

    fn feed(&self) -> BoxStream<'static, FeedItem> {
        self.log.feed()
    }
}

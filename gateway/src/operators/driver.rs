//! The way of socketioxide's Redis adapter to other nodes: the bus, which heals by itself.

use std::sync::Arc;

use socketioxide_redis::drivers::{ChanItem, Driver, MessageStream};
use tokio::sync::mpsc;

use gateway_core::bus::{Bus, BusMessage};
use gateway_core::port::PortError;

/// The adapter's way to other nodes.
#[derive(Clone)]
pub(super) struct BusDriver(pub(super) Arc<dyn Bus>);

impl std::fmt::Debug for BusDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BusDriver").finish_non_exhaustive()
    }
}

impl Driver for BusDriver {
    type Error = PortError;

    async fn publish(&self, channel: String, payload: Vec<u8>) -> Result<(), PortError> {
        self.0.publish(&channel, payload.into()).await
    }

    async fn subscribe(&self, channel: String, size: usize) -> Result<MessageStream<ChanItem>, PortError> {
        let (sink, mut messages) = mpsc::channel(size);
        let (items, stream) = mpsc::channel(size);
        self.0.subscribe(&channel, sink).await?;
        // Ends when the bus lets go of the channel or the adapter of its stream.
        tokio::spawn(async move {
            while let Some(message) = messages.recv().await {
                // The next figures make up for what a gap swallowed.
                if let BusMessage::Message { channel, payload } = message
                    && items.send((channel, payload.into())).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(MessageStream::new(stream))
    }

    async fn unsubscribe(&self, channel: String) -> Result<(), PortError> {
        self.0.unsubscribe(&channel).await;
        Ok(())
    }

    async fn num_serv(&self, channel: &str) -> Result<u16, PortError> {
        Ok(u16::try_from(self.0.subscribers(channel).await?).unwrap_or(u16::MAX))
    }
}

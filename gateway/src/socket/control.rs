//! The control plane: what operators do to sockets anywhere in the cluster, through socketioxide's Redis adapter with
//! a driver of our own over the bus. Room traffic does not go this way.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use socketioxide::SocketIo;
use socketioxide::adapter::Emitter;
use socketioxide::operators::BroadcastOperators;
use socketioxide_redis::drivers::{ChanItem, Driver, MessageStream};
use socketioxide_redis::{CustomRedisAdapter, RedisAdapterConfig, RedisAdapterCtr};
use tokio::sync::mpsc;

use crate::bus::{Bus, BusError, BusMessage};
use crate::domain::UserId;

/// The adapter of every socket.
pub(super) type Adapter = CustomRedisAdapter<Emitter, BusDriver>;

/// The adapter for a deployment: its channels start with `prefix`.
pub(super) fn adapter(bus: Arc<dyn Bus>, prefix: &str) -> RedisAdapterCtr<BusDriver> {
    let config = RedisAdapterConfig::new().with_prefix(format!("{prefix}:control"));
    RedisAdapterCtr::new_with_driver(BusDriver { bus }, config)
}

/// The adapter's way to other nodes.
#[derive(Clone)]
pub(super) struct BusDriver {
    bus: Arc<dyn Bus>,
}

impl std::fmt::Debug for BusDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BusDriver").finish_non_exhaustive()
    }
}

impl Driver for BusDriver {
    type Error = BusError;

    async fn publish(&self, channel: String, payload: Vec<u8>) -> Result<(), BusError> {
        self.bus.publish(&channel, payload.into()).await
    }

    async fn subscribe(&self, channel: String, size: usize) -> Result<MessageStream<ChanItem>, BusError> {
        let (sink, mut messages) = mpsc::channel(size);
        let (items, stream) = mpsc::channel(size);
        self.bus.subscribe(&channel, sink).await?;
        // Ends when the bus lets go of the channel or the adapter of its stream.
        tokio::spawn(async move {
            while let Some(message) = messages.recv().await {
                // Requests of the control plane are answered or time out: a gap has nothing to repair.
                if let BusMessage::Message { channel, payload } = message
                    && items.send((channel, payload.into())).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(MessageStream::new(stream))
    }

    async fn unsubscribe(&self, channel: String) -> Result<(), BusError> {
        self.bus.unsubscribe(&channel).await;
        Ok(())
    }

    async fn num_serv(&self, channel: &str) -> Result<u16, BusError> {
        Ok(u16::try_from(self.bus.subscribers(channel).await?).unwrap_or(u16::MAX))
    }
}

/// The adapter's room of a user: every socket of a user is in it, and only this folder uses it.
pub(super) fn user_room(user: &UserId) -> String {
    format!("user:{}", user.as_str())
}

/// What operators can do to sockets, on whichever node they are.
#[derive(Clone, Debug)]
pub struct Control {
    pub(super) io: SocketIo<Adapter>,
    /// Where clients may connect.
    pub(super) namespaces: Arc<Mutex<Vec<Arc<str>>>>,
}

/// The control plane could not reach the other nodes.
#[derive(Debug, thiserror::Error)]
#[error("the other nodes could not be reached: {0}")]
pub struct ControlError(String);

impl Control {
    /// Whether clients may connect to a namespace.
    pub(super) fn is_open(&self, namespace: &Arc<str>) -> bool {
        self.namespaces.lock().contains(namespace)
    }

    /// Notes that they may.
    pub(super) fn opened(&self, namespace: Arc<str>) {
        self.namespaces.lock().push(namespace);
    }

    /// The sockets of a user, namespace by namespace.
    fn sockets(&self, user: &UserId) -> Vec<BroadcastOperators<Adapter>> {
        let namespaces = self.namespaces.lock().clone();
        let operators = namespaces.iter().filter_map(|namespace| self.io.of(&**namespace));
        operators.map(|sockets| sockets.to(user_room(user))).collect()
    }

    /// Ends all sessions of a user, on all nodes, for good: official clients do not come back by themselves.
    ///
    /// # Errors
    /// The bus is away; sessions on this node may be ended all the same.
    pub async fn disconnect_user(&self, user: &UserId) -> Result<(), ControlError> {
        for sockets in self.sockets(user) {
            sockets.disconnect().await.map_err(|error| ControlError(error.to_string()))?;
        }
        Ok(())
    }

    /// How many sockets a user has on each node, by the adapter's id of the node. Nodes that do not answer in time
    /// are missing.
    ///
    /// # Errors
    /// The bus is away.
    pub async fn sockets_of_user(&self, user: &UserId) -> Result<BTreeMap<String, usize>, ControlError> {
        let mut by_node = BTreeMap::new();
        for sockets in self.sockets(user) {
            let sockets = sockets.fetch_sockets().await.map_err(|error| ControlError(error.to_string()))?;
            for socket in sockets {
                *by_node.entry(socket.data().server_id.to_string()).or_default() += 1;
            }
        }
        Ok(by_node)
    }
}

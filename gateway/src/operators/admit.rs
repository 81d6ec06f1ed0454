//! Who is let into the operators' namespace: whoever knows `admin.token`.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::ConnectInfo;
use serde::Deserialize;
use serde_json::json;
use socketioxide::extract::TryData;
use socketioxide::handler::{ConnectHandler, DisconnectHandler, FromConnectParts};
use socketioxide::socket::{DisconnectReason, Socket};
use socketioxide_core::Value;
use tokio::sync::Notify;

use super::Adapter;
use crate::auth::{NoOperator, OperatorToken};
use crate::metrics::Metrics;
use crate::node::{Slot, Slots};

/// What the official Admin UI shows for a wrong password; it then asks for another.
const WRONG: &str = "invalid credentials";
const TOO_MANY: &str = "too many operators";
const TOO_MANY_WRONG: &str = "too many wrong tokens, try again later";

/// What an operator sends with its CONNECT: the token, or what the official Admin UI asks for, with any name of a user.
#[derive(Default, Deserialize)]
struct Auth {
    token: Option<String>,
    password: Option<String>,
}

/// Admits operators.
#[derive(Clone)]
pub(super) struct Admission {
    pub(super) token: Arc<OperatorToken>,
    /// The operators of this node.
    pub(super) present: Arc<Slots>,
    /// Told when one has come.
    pub(super) came: Arc<Notify>,
    pub(super) metrics: Arc<Metrics>,
}

impl Admission {
    async fn admit(&self, socket: &Arc<Socket<Adapter>>, auth: &Auth) -> Result<(), &'static str> {
        let given = auth.token.as_deref().or(auth.password.as_deref());
        // Without it, whoever serves the listener did not say where its requests come from.
        let from = socket.req_parts().extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
        let from = from.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        self.token.check(given, from).await.map_err(|why| match why {
            NoOperator::Wrong => WRONG,
            NoOperator::TooMany { .. } => TOO_MANY_WRONG,
        })?;
        let slot = Slot::take(&self.present).ok_or(TOO_MANY)?;
        self.metrics.operators.increment(1.0);
        socket.on_disconnect::<_, ()>(Present { _slot: slot, metrics: self.metrics.clone() });
        Ok(())
    }
}

impl ConnectHandler<Adapter, ()> for Admission {
    fn call_middleware<'a>(
        &'a self,
        socket: Arc<Socket<Adapter>>,
        auth: &'a Option<Value>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Box<dyn Display + Send>>> + Send + 'a>> {
        Box::pin(async move {
            let Ok(TryData(auth)) = TryData::<Auth>::from_connect_parts(&socket, auth);
            let admitted = self.admit(&socket, &auth.unwrap_or_default()).await;
            admitted.map_err(|why| Box::new(why) as Box<dyn Display + Send>)
        })
    }

    fn call(&self, socket: Arc<Socket<Adapter>>, _: Option<Value>) {
        // Figures only: what the Admin UI offers beyond them is not there, and it does not show it.
        socket.emit("config", &json!({ "supportedFeatures": ["AGGREGATED_EVENTS"] })).ok();
        self.came.notify_one();
    }
}

/// An operator's being here. It ends with its socket, which is dropped whichever way it ends.
struct Present {
    _slot: Slot,
    metrics: Arc<Metrics>,
}

impl Drop for Present {
    fn drop(&mut self) {
        self.metrics.operators.decrement(1.0);
    }
}

impl DisconnectHandler<Adapter, ()> for Present {
    fn call_with_defer(&self, socket: Arc<Socket<Adapter>>, _: DisconnectReason, defer: fn(Arc<Socket<Adapter>>)) {
        defer(socket);
    }
}

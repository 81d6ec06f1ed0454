//! Who is let into the operators' namespace: whoever knows `admin.token` or `admin.viewer_token`, or has logged in by one.

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
use super::sockets;
use super::wishes::Desk;
use crate::audit::Visitor;
use gateway_core::auth::{LetIn, NoOperator, OperatorRole, OperatorToken};
use gateway_core::metrics::{Metrics, VERSION};
use gateway_core::node::{Slot, Slots};

/// What the official Admin UI shows for a wrong password; it then asks for another.
const WRONG: &str = "invalid credentials";
const TOO_MANY: &str = "too many operators";
const TOO_MANY_WRONG: &str = "too many wrong tokens, try again later";
/// What the Admin UI offers to do.
const CONTROLS: [&str; 7] = ["EMIT", "JOIN", "LEAVE", "DISCONNECT", "MJOIN", "MLEAVE", "MDISCONNECT"];
/// What it shows.
const FIGURES: [&str; 2] = ["AGGREGATED_EVENTS", "ALL_EVENTS"];

/// What an operator sends with its CONNECT: a token, or what the official Admin UI asks for, with any name of a user, or what
/// it was told when it did so before.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Auth {
    token: Option<String>,
    password: Option<String>,
    session_id: Option<String>,
}

/// Admits operators and viewers.
#[derive(Clone)]
pub(super) struct Admission {
    pub(super) token: Arc<OperatorToken>,
    /// The operators of this node.
    pub(super) present: Arc<Slots>,
    /// Told when one has come.
    pub(super) came: Arc<Notify>,
    /// Does what they wish.
    pub(super) desk: Arc<Desk>,
    pub(super) metrics: Arc<Metrics>,
}

impl Admission {
    async fn admit(&self, socket: &Arc<Socket<Adapter>>, auth: &Auth) -> Result<(), &'static str> {
        // Without it, whoever serves the listener did not say where its requests come from.
        let peer = socket.req_parts().extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0);
        let peer = peer.unwrap_or_else(|| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0));
        let let_in = self.look(auth, peer.ip()).await?;
        let slot = Slot::take(&self.present).ok_or(TOO_MANY)?;
        self.metrics.operators.increment(1.0);
        socket.on_disconnect::<_, ()>(Present { _slot: slot, metrics: self.metrics.clone() });
        socket.extensions.insert(let_in);
        // Before its CONNECT is answered: what it says at once must find somebody.
        socket.on_fallback::<_, ()>(self.desk.clone().begin(socket, Visitor { role: let_in.role, peer }));
        Ok(())
    }

    /// A login first: the Admin UI sends one that has ended together with the password that it asked for.
    async fn look(&self, auth: &Auth, from: IpAddr) -> Result<LetIn, &'static str> {
        let given = auth.token.as_deref().or(auth.password.as_deref()).filter(|given| !given.is_empty());
        let login = auth.session_id.as_deref().filter(|login| !login.is_empty());
        if let Some(login) = login.filter(|_| given.is_none()) {
            return self.check(Some(login), from).await;
        }
        self.check(given, from).await
    }

    async fn check(&self, given: Option<&str>, from: IpAddr) -> Result<LetIn, &'static str> {
        self.token.check(given, from).await.map_err(|why| match why {
            NoOperator::Wrong => WRONG,
            NoOperator::TooMany { .. } => TOO_MANY_WRONG,
        })
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
        let Some(LetIn { role, is_login }) = socket.extensions.get::<LetIn>() else { return };
        socket.join(role.word());
        if !is_login {
            socket.emit("session", &self.token.login(role)).ok();
        }
        let mut features: Vec<_> = FIGURES.to_vec();
        if role == OperatorRole::Operator {
            features.splice(0..0, CONTROLS);
        }
        let config =
            json!({ "supportedFeatures": features, "role": role, "node": self.desk.name(), "version": VERSION });
        socket.emit("config", &config).ok();
        self.desk.welcome(&socket);
        self.came.notify_one();
        tokio::spawn(sockets::tell_all(Arc::downgrade(&socket), self.desk.clone()));
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

//! The audit: who used which control, from where, and what came of it. Never tokens, never payloads.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};

use gateway_core::auth::OperatorRole;

/// What the lines are logged as.
pub(crate) const AUDIT: &str = "gateway::audit";

/// By whom and from where a control is used.
#[derive(Clone, Copy, Debug)]
pub enum By<'a> {
    /// The bearer of `admin.token`.
    Operator(SocketAddr),
    /// The bearer of `admin.viewer_token`.
    Viewer(SocketAddr),
    /// The bearer of a key of the HTTP API.
    Key {
        /// The key's id.
        id: &'a str,
        /// The request's.
        request: &'a str,
        /// Where it came from.
        from: IpAddr,
    },
    /// Somebody who may send signals to the process.
    Signal,
    /// The bearer of `admin.token`, on whichever node: that one says from where.
    Cluster,
}

/// Somebody who was let in by a token of operators; of an HTTP request among its extensions.
#[derive(Clone, Copy, Debug)]
pub struct Visitor {
    /// What it may do.
    pub role: OperatorRole,
    /// Where it came from.
    pub peer: SocketAddr,
}

impl Visitor {
    /// As lines of the audit name it.
    #[must_use]
    pub fn by(self) -> By<'static> {
        match self.role {
            OperatorRole::Operator => By::Operator(self.peer),
            OperatorRole::Viewer => By::Viewer(self.peer),
        }
    }
}

/// Leaves a line about who did what to whom, from where, and what came of it. Texts from outside cannot look like lines of
/// their own.
pub fn audit(by: By<'_>, what: &'static str, subject: &str, outcome: impl Display) {
    let (who, from) = match by {
        By::Operator(peer) => ("admin.token".to_owned(), peer.to_string()),
        By::Viewer(peer) => ("admin.viewer_token".to_owned(), peer.to_string()),
        By::Key { id, request, from } => (format!("key {id}, request {request}"), from.to_string()),
        By::Signal => ("SIGHUP".to_owned(), "this machine".to_owned()),
        By::Cluster => ("admin.token".to_owned(), "a node of the deployment".to_owned()),
    };
    let outcome = outcome.to_string();
    tracing::info!(target: AUDIT, who, from, what, ?subject, ?outcome, "control");
}

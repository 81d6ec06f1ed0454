//! Sessions as the official Admin UI reads them, its sockets, and all of them when an operator comes.

use std::sync::{Arc, Weak};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};
use socketioxide::socket::Socket;

use super::Adapter;
use super::wishes::Desk;
use gateway_core::control::{Row, These};

/// How many are told when an operator comes. All of a large cluster would be too much for a browser.
const TOLD: usize = 1000;

/// What a socket is to the Admin UI.
pub(super) struct Shown<'a> {
    pub(super) id: &'a str,
    pub(super) namespace: &'a str,
    pub(super) user: Option<&'a str>,
    pub(super) node: &'a str,
    pub(super) address: String,
    pub(super) transport: &'a str,
    /// In milliseconds since 1970.
    pub(super) came_ms: u64,
    pub(super) rooms: &'a [String],
}

impl Shown<'_> {
    pub(super) fn json(&self) -> Value {
        let at = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(self.came_ms)).to_string();
        // Everybody is in a room of its own there.
        let rooms: Vec<&str> = std::iter::once(self.id).chain(self.rooms.iter().map(String::as_str)).collect();
        json!({
            "id": self.id,
            // Of its transport's id, which is a credential, nothing is shown.
            "clientId": self.id,
            "transport": self.transport,
            "nsp": self.namespace,
            "data": { "user": self.user, "node": self.node },
            "handshake": {
                "address": self.address,
                "headers": {},
                "query": {},
                "issued": self.came_ms,
                "time": &at,
            },
            "rooms": rooms,
        })
    }
}

/// Tells an operator that has come which sessions there are.
pub(super) async fn tell_all(socket: Weak<Socket<Adapter>>, desk: Arc<Desk>) {
    let these = These { with_rooms: true, ..These::default() };
    // One after the other: each has all nodes look at all of their sessions.
    let roll = {
        let _turn = desk.listing.lock().await;
        desk.watched.control.roll(these, None, TOLD).await
    };
    let Some(socket) = socket.upgrade() else { return };
    let (sockets, summary) = match roll {
        Ok(roll) => {
            let sockets: Vec<_> = roll.sessions.iter().map(shown).collect();
            let left_out = roll.total.saturating_sub(sockets.len());
            (sockets, json!({ "total": roll.total, "leftOut": left_out, "missing": roll.missing }))
        }
        Err(error) => {
            tracing::debug!(%error, "an operator is not told which sessions there are");
            (Vec::new(), json!({ "total": null, "leftOut": null, "missing": null }))
        }
    };
    socket.emit("all_sockets", &(sockets, summary)).ok();
}

fn shown(row: &Row) -> Value {
    let id = row.id.to_string();
    let shown = Shown {
        id: &id,
        namespace: &row.namespace,
        user: row.user.as_deref(),
        node: &row.node,
        address: row.address.clone(),
        transport: &row.transport,
        came_ms: row.since,
        rooms: &row.room_names,
    };
    shown.json()
}

//! Which outboxes an append tells, and what beside the event.

use deadpool_redis::redis::Cmd;

use crate::domain::{RoomName, UserId};
use crate::outbox::{Bounds, By, Wants, What};

/// Nothing, most of the time.
pub(super) struct Told<'a> {
    /// Of each outbox that wants it, its key and that of its state.
    pub(super) keys: Vec<String>,
    arguments: Option<(&'a RoomName, Option<By<'a>>, Bounds)>,
}

impl<'a> Told<'a> {
    pub(super) fn new(wants: Option<&Wants>, room: &'a RoomName, by: Option<By<'a>>) -> Self {
        let outboxes = wants.map(|wants| (wants, wants.of(What::Published, room)));
        let Some((wants, outboxes)) = outboxes.filter(|(_, outboxes)| !outboxes.is_empty()) else {
            return Self { keys: Vec::new(), arguments: None };
        };
        let keys = outboxes.iter().flat_map(|name| wants.keys(name)).collect();
        Self { keys, arguments: Some((room, by, wants.bounds())) }
    }

    /// Adds the arguments of `told.lua`.
    pub(super) fn add_to(&self, script: &mut Cmd) {
        let Some((room, by, bounds)) = &self.arguments else { return };
        script.arg(room.as_str());
        script.arg(by.map(|by| by.session.to_string()).unwrap_or_default());
        script.arg(by.and_then(|by| by.user).map(UserId::as_str).unwrap_or_default());
        script.arg(bounds.entries).arg(bounds.bytes);
    }
}

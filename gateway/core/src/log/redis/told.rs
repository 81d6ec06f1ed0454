//! Which outboxes an append tells, and what beside the event.

use deadpool_redis::redis::Cmd;

use super::lasts::Lasts;
use crate::domain::{Offset, RoomName, UserId};
use crate::outbox::{Bounds, By, Wants, What};
use crate::traces::{self, Trace};

/// Nothing, most of the time.
pub(super) struct Told<'a> {
    /// Of each outbox that wants it, its key and that of its state.
    pub(super) keys: Vec<String>,
    arguments: Option<(&'a RoomName, Option<By<'a>>, Bounds)>,
    /// What the archive's may have, if it is among them, and the room's last event, if the node knows of one.
    archive: Option<(Bounds, Option<Offset>)>,
    /// In which trace it happens.
    trace: Option<Trace>,
}

impl<'a> Told<'a> {
    pub(super) fn new(wants: Option<&Wants>, room: &'a RoomName, by: Option<By<'a>>, lasts: &Lasts) -> Self {
        let outboxes = wants.map(|wants| (wants, wants.of(What::Published, room)));
        let Some((wants, outboxes)) = outboxes.filter(|(_, outboxes)| !outboxes.is_empty()) else {
            return Self { keys: Vec::new(), arguments: None, archive: None, trace: None };
        };
        let keys = outboxes.iter().flat_map(|name| wants.keys(name)).collect();
        let archive = outboxes.last().filter(|last| *last == Wants::ARCHIVE);
        let archive = archive.map(|archive| (wants.bounds(archive), lasts.of(room)));
        // Hooks have the same bounds all.
        Self { keys, arguments: Some((room, by, wants.bounds(""))), archive, trace: traces::current() }
    }

    /// Whether it is archived.
    pub(super) fn is_archived(&self) -> bool {
        self.archive.is_some()
    }

    /// Adds the arguments of `told.lua`.
    pub(super) fn add_to(&self, script: &mut Cmd) {
        let Some((room, by, bounds)) = &self.arguments else { return };
        script.arg(room.as_str());
        script.arg(by.map(|by| by.session.to_string()).unwrap_or_default());
        script.arg(by.and_then(|by| by.user).map(UserId::as_str).unwrap_or_default());
        script.arg(bounds.entries).arg(bounds.bytes);
        let (Bounds { entries, bytes }, last) = self.archive.unwrap_or((Bounds { entries: 0, bytes: 0 }, None));
        script.arg(entries).arg(bytes).arg(last.map(|last| last.to_string()).unwrap_or_default());
        if let Some(trace) = &self.trace {
            script.arg(trace.kept());
        }
    }
}

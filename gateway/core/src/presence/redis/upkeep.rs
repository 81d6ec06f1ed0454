//! What a beat does beside the lease: reads what this node has left in Redis, and writes it anew where others read less.

use std::collections::HashSet;

use tokio::time::Instant;

use super::{BATCH, Failure, RedisPresence};
use crate::domain::{RoomName, SessionId};
use crate::formats::Format;
use crate::presence::{Attendee, Held};

/// What scripts tell of an entry: session, holder, moment, place.
type Read = (String, String, String, String);

impl RedisPresence {
    /// When something was decided, where all nodes read that; else nothing.
    pub(super) fn moment(&self, who: &Attendee) -> String {
        let format = self.formats.written();
        let mut left = self.left.lock();
        *left = format.max(*left);
        if format < Format::Ordered { String::new() } else { format!("{:08x}{:08x}", who.term, who.step) }
    }

    /// Writes what this node has left, and those who linger, in the format that all nodes read by now. What does not fit in
    /// is for the next beat.
    pub(super) async fn lay_out(&self, end: Instant) -> Result<(), Failure> {
        let format = self.formats.written();
        let left = std::mem::replace(&mut *self.left.lock(), format);
        // What came after moments changes nothing here.
        if format >= left || format >= Format::Ordered {
            return Ok(());
        }
        let node = self.identity.lock().node.clone();
        let done = async { Ok(self.lay_out_of(&node, end).await? && self.lay_out_of("", end).await?) }.await;
        if !matches!(done, Ok(true)) {
            *self.left.lock() = Format::NEWEST;
        }
        done.map(drop)
    }

    /// What one node has left, or with no name those who linger; returns whether that was all.
    async fn lay_out_of(&self, node: &str, end: Instant) -> Result<bool, Failure> {
        let mut cursor = "0".to_owned();
        loop {
            cursor = self.run(&self.lay_out, |script| _ = script.arg(node).arg(&cursor).arg(BATCH)).await?;
            if cursor == "0" || Instant::now() >= end {
                return Ok(cursor == "0");
            }
        }
    }

    /// Reads what this node has entered; nothing if that takes too long.
    pub(super) async fn review(&self, end: Instant) -> Result<Option<Vec<Held>>, Failure> {
        let me = self.identity.lock().clone();
        let (mut cursor, mut entries) = ("0".to_owned(), HashSet::new());
        loop {
            let page = self.run(&self.held, |script| _ = script.arg(&me.node).arg(&cursor).arg(BATCH));
            let (next, read): (String, Vec<Read>) = page.await?;
            for entry in read {
                entries.insert(held(entry)?);
            }
            if next == "0" {
                return Ok(Some(entries.into_iter().collect()));
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            cursor = next;
        }
    }
}

fn held((session, holder, moment, place): Read) -> Result<Held, Failure> {
    let read = || {
        // Written by, or for, a node that knows of none: before all others.
        let (term, step) = if moment.is_empty() { ("0", "0") } else { moment.split_at_checked(8)? };
        Some(Held {
            session: SessionId::parse(&session)?,
            holder: u64::from_str_radix(&holder, 16).ok()?,
            term: u32::from_str_radix(term, 16).ok()?,
            step: u32::from_str_radix(step, 16).ok()?,
            place: RoomName::trusted(&place),
        })
    };
    read().ok_or(Failure::Nonsense)
}

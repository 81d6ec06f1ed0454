//! Reading what rooms said, and who is there.

use super::Service;
use crate::domain::{Event, Offset, Refusal, RoomName, UserId};
use crate::log::Range;
use crate::node::Stretch;
use crate::presence::BusyRooms;

/// Which part of a room's history is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounded {
    /// Only what came after this.
    pub after: Option<Offset>,
    /// Only what came before this.
    pub before: Option<Offset>,
    /// How many events at the most.
    pub limit: Option<usize>,
}

/// A part of a room's history.
#[derive(Debug)]
pub struct History {
    /// The events, oldest first.
    pub events: Vec<Said>,
    /// Whether there are further ones in the direction of reading.
    pub more: bool,
    /// Of what was asked for after an offset: whether everything since then is still there, in the log or in the archive. Of
    /// anything that is partly from the archive, that it is not complete, if it is not.
    pub complete: Option<bool>,
    /// Where reading goes on.
    pub read_to: Option<Offset>,
    /// Whether it lies wholly in the past: what is said later does not change it, only that an event goes for its age or is
    /// taken back.
    pub is_past: bool,
}

/// An event at its place.
#[derive(Debug)]
pub struct Said {
    /// Its place.
    pub offset: Offset,
    /// What was said.
    pub event: Event,
}

/// A page of a room's members.
#[derive(Debug)]
pub struct Members {
    /// How many there are, not only here.
    pub count: u64,
    /// Some of them, in the order of their bytes.
    pub members: Vec<Member>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// Somebody in a room: a user with all its sessions, or an anonymous session.
#[derive(Debug)]
pub struct Member {
    /// As what it is counted.
    pub member: String,
    /// Which user it is, if it is one.
    pub user: Option<UserId>,
    /// When the first of its sessions came, in milliseconds since 1970.
    pub since_ms: u64,
}

impl Service {
    /// Reads a part of what a room said.
    ///
    /// # Errors
    /// The log, or the archive, cannot be reached.
    pub async fn history(&self, room: &RoomName, part: Bounded) -> Result<History, Refusal> {
        let limit = part.limit.unwrap_or(usize::MAX);
        let range = match (part.after, part.before) {
            (Some(offset), _) => Range::After { offset, limit },
            (None, before) => Range::Newest { before, limit },
        };
        let page = self.behind.node.history(room, range, self.page_bytes).await?;
        let is_past = is_past(&page, part);
        let complete = part.after.map(|_| page.whole).or((page.archived && !page.whole).then_some(false));
        let is_wanted = |offset: &Offset| part.before.is_none_or(|before| *offset < before);
        let count = page.events.len();
        let events = page.events.into_iter().map(|(offset, event)| Said { offset, event });
        let events: Vec<_> = events.filter(|said| is_wanted(&said.offset)).collect();
        // What lies behind the other end is not asked for.
        let more = page.more && events.len() == count;
        Ok(History { events, more, complete, read_to: page.read_to.filter(is_wanted), is_past })
    }

    /// Who is in a room, as far as its members are counted.
    ///
    /// # Errors
    /// The store of presence cannot be reached.
    pub async fn members(&self, room: &RoomName, after: Option<&str>, limit: usize) -> Result<Members, Refusal> {
        let page = self.behind.node.list_members(room, after, limit).await?;
        let member = |it: crate::presence::Member| Member { member: it.member, user: it.user, since_ms: it.since_ms };
        Ok(Members { count: page.count, members: page.members.into_iter().map(member).collect(), next: page.next })
    }

    /// Which rooms of a namespace have somebody, as far as members are counted, in the order of their bytes.
    ///
    /// # Errors
    /// The cursor is no room's name, or the store of presence cannot be reached.
    pub async fn rooms(&self, namespace: &str, after: Option<&str>, limit: usize) -> Result<BusyRooms, Refusal> {
        let after = after.map(|after| RoomName::parse_in(namespace, after)).transpose()?;
        let page = self.behind.directory.rooms(namespace, after.as_ref(), limit).await;
        page.map_err(|error| {
            self.behind.metrics.presence_errors.with(error.operation).increment(1);
            error.tell("rooms with members could not be listed");
            Refusal::Unavailable
        })
    }
}

/// Whether what was asked for ends before the log does, and nothing of it is still to come into the archive. While the log may
/// have lost something, nobody knows.
fn is_past(page: &Stretch, part: Bounded) -> bool {
    let Some(settled_to) = page.settled_to else { return false };
    let is_full = part.after.is_some() && page.more;
    let is_there = page.whole || !page.archived;
    is_there && (is_full || part.before.is_some_and(|before| before <= settled_to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_past_if_nothing_can_come_to_it() {
        let page = |more, settled_to| Stretch { more, whole: true, settled_to, ..Stretch::default() };
        let part = |after: Option<u64>, before: Option<u64>| Bounded {
            after: after.map(Offset),
            before: before.map(Offset),
            limit: None,
        };
        for (more, after, before, expected) in [
            (true, Some(7), None, true),
            (false, Some(7), None, false),
            (true, None, None, false),
            (true, None, Some(50), true),
            (false, None, Some(50), true),
            (true, None, Some(51), false),
            (false, Some(7), Some(50), true),
            (false, Some(7), Some(51), false),
        ] {
            let settled = page(more, Some(Offset(50)));
            let coming = Stretch { whole: false, archived: true, ..settled.clone() };
            assert_eq!(is_past(&settled, part(after, before)), expected, "{more} {after:?} {before:?}");
            assert!(!is_past(&page(more, None), part(after, before)), "in doubt");
            assert!(!is_past(&coming, part(after, before)), "something is on its way to the archive");
        }
    }
}

//! Acts: what is done for the wishes of emitters, by the node's own means.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::dialects::{Audience, What, Wish};
use crate::domain::{Event, Except, Excepted, Refusal, RoomName};
use crate::formats::{Format, Formats};
use crate::log::{Dedupe, Terms};
use crate::node::{CloseReason, Node, Session, now_ms};
use crate::recurring::Recurring;

/// Sessions that are put into a room, or taken out of one, at the same time.
const CONCURRENCY: usize = 32;
/// How long each may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The way from wishes to sessions.
#[derive(Debug)]
pub(super) struct Acts {
    node: Arc<Node>,
    /// What all nodes read.
    formats: Formats,
    trouble: Recurring,
}

impl Wish {
    /// Whether something of it is kept, or said to rooms: what one node can do for all.
    pub(super) fn has_rooms(&self) -> bool {
        matches!(self.what, What::Emit { .. }) && (self.audience.to.is_empty() || !self.audience.to.rooms.is_empty())
    }

    /// Whether something of it has to be done by every node, for its own sessions.
    pub(super) fn has_sessions(&self) -> bool {
        !matches!(self.what, What::Emit { .. }) || !self.audience.to.sessions.is_empty()
    }
}

impl Audience {
    /// An event as it is said to each room, so that nobody hears it twice: to the members of the first, then to those of
    /// the second who are not in the first, and so on. With `busy`, whoever has something waiting is left out, too.
    fn to_rooms<'a>(&'a self, event: &'a Event, busy: bool) -> impl Iterator<Item = (RoomName, Event)> + 'a {
        let everybody = self.to.is_empty().then(|| RoomName::everybody(&self.namespace));
        let rooms: Vec<_> = everybody.into_iter().chain(self.to.rooms.iter().cloned()).collect();
        let sessions: Vec<_> = self.except.sessions.iter().chain(&self.to.sessions).copied().collect();
        let at_ms = now_ms();
        (0..rooms.len()).map(move |number| {
            let left_out: Vec<_> = self.except.rooms.iter().chain(&rooms[..number]).cloned().collect();
            let except = match (&*sessions, &*left_out) {
                ([], []) if !busy => None,
                ([session], []) if !busy => Some(Except::Session(*session)),
                _ => Some(Except::These(Excepted { sessions: sessions.clone(), rooms: left_out, busy }.into())),
            };
            (rooms[number].clone(), Event { except, at_ms, ..event.clone() })
        })
    }
}

impl Acts {
    pub(super) fn new(node: Arc<Node>, formats: Formats) -> Self {
        Self { node, formats, trouble: Recurring::new("a session could not be moved as an emitter wished") }
    }

    /// Says the event of a wish to its rooms, for all nodes: kept, unless it may be lost. `key` is what it is known again by;
    /// under it everything is kept once.
    pub(super) async fn for_all(&self, wish: &Wish, key: Option<&str>) -> Result<(), Refusal> {
        let What::Emit { event, volatile } = &wish.what else { return Ok(()) };
        let all_read = self.formats.written() >= Format::Excepting;
        // Where it is not read, what is volatile is said to those who are busy as well.
        for (number, (room, event)) in wish.audience.to_rooms(event, *volatile && all_read).enumerate() {
            // Nodes that do not read it would tell everybody of a gap.
            if matches!(event.except, Some(Except::These(_))) && !all_read {
                return Err(Refusal::Unavailable);
            }
            if *volatile {
                self.node.signal(&room, &event).await?;
                continue;
            }
            // No key of a session begins with a letter.
            let key = key.map(|key| Dedupe(format!("e:{number}:{key}")));
            let terms = Terms { dedupe: key.as_ref(), ..Terms::default() };
            self.node.publish(&room, &event, terms, None).await?;
        }
        Ok(())
    }

    /// Says the event of a wish to the members that its rooms have on this node.
    pub(super) async fn to_rooms_here(&self, wish: &Wish) {
        let What::Emit { event, volatile } = &wish.what else { return };
        for (room, event) in wish.audience.to_rooms(event, *volatile) {
            self.node.relay(&room, event).await;
        }
    }

    /// Does what each node does for its own sessions. False if something of it could not be done.
    pub(super) async fn for_own_sessions(&self, wish: &Wish) -> bool {
        let audience = &wish.audience;
        match &wish.what {
            What::Emit { event, .. } => {
                let named = self.named(audience);
                let heard = named.iter().filter(|session| !is_left_out(session, audience));
                heard.for_each(|session| _ = self.node.tell(session, event));
                true
            }
            What::Join(rooms) => {
                self.each(audience, rooms, |session, room| async move { self.node.put_in(&session, &room).await }).await
            }
            What::Leave(rooms) => {
                self.each(audience, rooms, |session, room| async move {
                    self.node.take_out_of(&session, &room).await.map(drop)
                })
                .await
            }
            What::Disconnect => {
                self.meant(audience).iter().for_each(|session| session.close(CloseReason::Kicked));
                true
            }
        }
    }

    async fn each<F: Future<Output = Result<(), Refusal>>>(
        &self,
        audience: &Audience,
        rooms: &[RoomName],
        act: impl Fn(Arc<Session>, RoomName) -> F,
    ) -> bool {
        let sessions = self.meant(audience);
        let mut all = true;
        for room in rooms {
            for some in sessions.chunks(CONCURRENCY) {
                // Who is busy for long, as with a back end that does not answer, must not stop what others are told.
                let moves = some.iter().map(|session| timeout(PATIENCE, act(session.clone(), room.clone())));
                let moved = join_all(moves.collect::<Vec<_>>()).await;
                let moved = moved.into_iter().map(|moved| moved.unwrap_or(Err(Refusal::Overloaded)));
                for refusal in moved.filter_map(Result::err) {
                    all = false;
                    self.trouble.note(|what| tracing::warn!(%refusal, "{what}"));
                }
            }
        }
        all
    }

    /// The sessions of this node that a wish names.
    fn named(&self, audience: &Audience) -> Vec<Arc<Session>> {
        let ids = &audience.to.sessions;
        if ids.is_empty() {
            return Vec::new();
        }
        let mut sessions = self.node.roster().all();
        sessions.retain(|session| *session.namespace == *audience.namespace && ids.contains(&session.id));
        sessions
    }

    /// The sessions of this node that a wish is about, each once.
    fn meant(&self, audience: &Audience) -> Vec<Arc<Session>> {
        let mut sessions = self.named(audience);
        if audience.to.is_empty() {
            sessions = self.node.members(&RoomName::everybody(&audience.namespace));
        }
        sessions.extend(audience.to.rooms.iter().flat_map(|room| self.node.members(room)));
        let mut seen = HashSet::new();
        sessions.retain(|session| seen.insert(session.lease.holder) && !is_left_out(session, audience));
        sessions
    }
}

fn is_left_out(session: &Session, audience: &Audience) -> bool {
    let except = &audience.except;
    except.sessions.contains(&session.id) || except.rooms.iter().any(|room| session.is_in(room))
}

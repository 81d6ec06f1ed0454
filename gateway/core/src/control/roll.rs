//! The roll: which sessions and rooms there are, on all nodes, page by page.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::wire::{Answer, Request, Wish};
use super::{Control, ControlError};
use crate::domain::{RoomName, SessionId};
use crate::node::{CloseReason, Session};

/// Rooms of one session that are shown.
const ROOMS: usize = 500;
/// Rows of one page at the most, whatever is asked for.
const ROWS: usize = 1000;

/// Which sessions are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct These {
    /// Those of a namespace; all if none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Those that are in a room of the namespace, or the one that has this id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Those of which something has this in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<Search>,
    /// Whether all their rooms are told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub with_rooms: bool,
}

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Search {
    /// Anywhere.
    Any(String),
    /// The user is called so.
    User(String),
    /// It is in a room that is called so.
    Room(String),
    /// Its address has this in it.
    Address(String),
    /// The node is called so.
    Node(String),
}

/// Which part of a list is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// What comes after this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// At the most.
    pub limit: usize,
    /// Names that have this in them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
}

/// A session as a list has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Which.
    pub id: SessionId,
    /// The node that it is connected to.
    #[serde(default)]
    pub node: String,
    /// The namespace that it is in.
    pub namespace: String,
    /// Who it is.
    pub user: Option<String>,
    /// Where its client is.
    pub address: String,
    /// What carried it when it came.
    pub transport: String,
    /// When it came to the node, in milliseconds since 1970.
    pub since: u64,
    /// In how many rooms it is that clients can name.
    pub rooms: usize,
    /// What waits for its client.
    pub queue: Queue,
    /// How many of its client's events were refused.
    pub refused: u64,
    /// Which rooms these are, if that was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub room_names: Vec<String>,
}

/// What waits for a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Packets.
    pub packets: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// All about one session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Detail {
    /// What a list has of it.
    pub row: Row,
    /// What its token says that its user is.
    pub roles: Vec<String>,
    /// Rooms that clients can name, each with the event by which it joined.
    pub rooms: Vec<(String, String)>,
    /// What of its client's events was refused last.
    pub refusals: Vec<Refusal>,
}

/// An event of a client that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// The event's name.
    pub event: String,
    /// Why.
    pub code: String,
}

/// A page of sessions.
#[derive(Debug, Default)]
pub struct Roll {
    /// In the order of their ids.
    pub sessions: Vec<Row>,
    /// How many are meant, on all pages.
    pub total: usize,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
    /// How many nodes did not answer.
    pub missing: usize,
}

/// A room as a list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomRow {
    /// Which.
    pub room: RoomName,
    /// How many connected sessions are in it.
    pub members: usize,
    /// On how many nodes.
    pub nodes: usize,
}

/// A page of rooms.
#[derive(Debug, Default)]
pub struct Rooms {
    /// In the order of their names.
    pub rooms: Vec<RoomRow>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
    /// How many nodes did not answer.
    pub missing: usize,
}

impl Control {
    /// The sessions that are meant, on all nodes: those after an id, `limit` at the most.
    ///
    /// # Errors
    /// The bus is away.
    pub async fn roll(&self, these: These, after: Option<String>, limit: usize) -> Result<Roll, ControlError> {
        let limit = limit.clamp(1, ROWS);
        let page = Page { after, limit, search: None };
        let request = Request { these: Some(these), page: Some(page), ..Request::new(Wish::Roll) };
        let (answers, missing) = self.ask(request).await?;
        let mut roll = Roll { missing, ..Roll::default() };
        for answer in answers {
            roll.total += answer.sessions;
            roll.sessions.extend(answer.rows.into_iter().map(|row| Row { node: answer.node.clone(), ..row }));
        }
        roll.sessions.sort_by_key(|row| row.id.to_string());
        if roll.sessions.len() >= limit {
            roll.sessions.truncate(limit);
            roll.next = roll.sessions.last().map(|row| row.id.to_string());
        }
        Ok(roll)
    }

    /// How many of the sessions that are meant each node has, by its name, if it has any.
    ///
    /// # Errors
    /// The bus is away.
    pub async fn count(&self, these: These) -> Result<BTreeMap<String, usize>, ControlError> {
        let page = Page { after: None, limit: 0, search: None };
        let request = Request { these: Some(these), page: Some(page), ..Request::new(Wish::Roll) };
        Ok(self.census(request).await?.sessions)
    }

    /// All about one session, and how many nodes did not answer; nothing if it is connected to none that did.
    ///
    /// # Errors
    /// The bus is away.
    pub async fn show_session(&self, session: SessionId) -> Result<(Option<Detail>, usize), ControlError> {
        let (answers, missing) = self.ask(Request { session: Some(session), ..Request::new(Wish::Show) }).await?;
        let named = |(node, detail): (String, Detail)| Detail { row: Row { node, ..detail.row }, ..detail };
        let found = answers.into_iter().find_map(|answer| Some((answer.node, answer.detail?)));
        Ok((found.map(named), missing))
    }

    /// Ends a session's connection so that its client comes back; returns how many had one.
    ///
    /// # Errors
    /// The bus is away.
    pub async fn move_session(&self, session: SessionId) -> Result<super::Census, ControlError> {
        Ok(self.census(Request { session: Some(session), ..Request::new(Wish::Move) }).await?)
    }

    /// The rooms that have members, on all nodes: those after one, `limit` at the most, with a name that has `search` in it.
    ///
    /// # Errors
    /// The bus is away.
    pub async fn rooms(
        &self,
        search: Option<String>,
        after: Option<String>,
        limit: usize,
    ) -> Result<Rooms, ControlError> {
        let limit = limit.clamp(1, ROWS);
        let page = Page { after, limit, search };
        let (answers, missing) = self.ask(Request { page: Some(page), ..Request::new(Wish::Rooms) }).await?;
        // Each node tells its first ones, so the first of all are counted whole.
        let mut rooms: BTreeMap<RoomName, (usize, usize)> = BTreeMap::new();
        for (room, members) in answers.into_iter().flat_map(|answer| answer.rooms) {
            let (all, nodes) = rooms.entry(room).or_default();
            (*all, *nodes) = (*all + members, *nodes + 1);
        }
        let is_full = rooms.len() >= limit;
        let row = |(room, (members, nodes))| RoomRow { room, members, nodes };
        let rooms: Vec<_> = rooms.into_iter().take(limit).map(row).collect();
        let next = rooms.last().filter(|_| is_full).map(|row| row.room.as_str().to_owned());
        Ok(Rooms { rooms, next, missing })
    }

    pub(super) fn list_these(&self, these: &These, page: &Page) -> Answer {
        let mut found: Vec<_> = self.sessions_meant(these).into_iter().map(|it| (it.id.to_string(), it)).collect();
        let sessions = found.len();
        if let Some(after) = &page.after {
            found.retain(|(id, _)| id > after);
        }
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        let rows = found.iter().take(page.limit.min(ROWS)).map(|(_, session)| row(session, these.with_rooms));
        Answer { sessions, rows: rows.collect(), ..Answer::default() }
    }

    pub(super) fn show(&self, id: SessionId) -> Answer {
        let session = self.sessions_where(|session| session.id == id).pop();
        Answer { detail: session.map(|session| detail(&session)), ..Answer::default() }
    }

    pub(super) fn move_here(&self, id: SessionId) -> Answer {
        let sessions = self.sessions_where(|session| session.id == id);
        sessions.iter().for_each(|session| session.close(CloseReason::Draining));
        Answer { sessions: sessions.len(), ..Answer::default() }
    }

    pub(super) fn list_rooms(&self, page: &Page) -> Answer {
        let after = page.after.as_deref().map(RoomName::trusted);
        let is_meant = |room: &RoomName| {
            let name = room.shown().unwrap_or_default();
            page.search.as_ref().is_none_or(|search| name.contains(&**search))
        };
        let rooms = self.node.inhabited(after.as_ref(), page.limit.min(ROWS), is_meant);
        Answer { rooms: rooms.into_iter().map(|it| (it.room, it.members)).collect(), ..Answer::default() }
    }

    /// The sessions of this node that are meant.
    pub(super) fn sessions_meant(&self, these: &These) -> Vec<std::sync::Arc<Session>> {
        if matches!(&these.search, Some(Search::Node(name)) if *name != self.name) {
            return Vec::new();
        }
        self.sessions_where(|session| these.means(session))
    }
}

impl These {
    /// All of a namespace that are in a room or have an id.
    #[must_use]
    pub fn of(namespace: &str, filter: Option<&str>) -> Self {
        let (namespace, filter) = (Some(namespace.to_owned()), filter.map(str::to_owned));
        Self { namespace, filter, ..Self::default() }
    }

    /// All that are in a room of a namespace.
    #[must_use]
    pub fn in_room(namespace: &str, room: &str) -> Self {
        let (namespace, search) = (Some(namespace.to_owned()), Some(Search::Room(room.to_owned())));
        Self { namespace, search, ..Self::default() }
    }

    fn means(&self, session: &Session) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| **namespace == *session.namespace)
            && self.filter.as_ref().is_none_or(|filter| is_in_or_is(session, filter))
            && self.search.as_ref().is_none_or(|search| search.finds(session))
    }
}

fn is_in_or_is(session: &Session, filter: &str) -> bool {
    let is_in = || RoomName::parse_in(&session.namespace, filter).is_ok_and(|room| session.is_in(&room));
    SessionId::parse(filter).is_some_and(|id| id == session.id) || is_in()
}

impl Search {
    /// Reads what somebody types: a text, or one with what it is about before it, as `user:alice`.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        let about = |what, of: fn(String) -> Self| text.strip_prefix(what).map(|rest| of(rest.to_owned()));
        let found = about("user:", Self::User)
            .or_else(|| about("room:", Self::Room))
            .or_else(|| about("address:", Self::Address))
            .or_else(|| about("node:", Self::Node));
        found.or_else(|| (!text.is_empty()).then(|| Self::Any(text.to_owned())))
    }

    fn finds(&self, session: &Session) -> bool {
        let identity = session.identity();
        let user = identity.user.as_ref().map_or("", |user| user.as_str());
        match self {
            Self::Any(text) => {
                user.contains(text)
                    || session.id.to_string().contains(text)
                    || session.namespace.contains(text)
                    || session.address.to_string().contains(text)
                    || names(session).any(|(room, _)| room.contains(text))
            }
            Self::User(name) => user == name,
            Self::Room(name) => RoomName::parse_in(&session.namespace, name).is_ok_and(|room| session.is_in(&room)),
            Self::Address(text) => session.address.to_string().contains(text),
            // It is looked at where the node is known.
            Self::Node(_) => true,
        }
    }
}

/// The rooms of a session that clients can name, each with the event by which it joined.
fn names(session: &Session) -> impl Iterator<Item = (String, String)> + use<> {
    let stays = session.stays().into_iter();
    stays.filter_map(|(room, via)| Some((room.shown()?.to_owned(), via.to_string())))
}

fn row(session: &Session, with_rooms: bool) -> Row {
    let waiting = session.waiting();
    let mut room_names = Vec::new();
    if with_rooms {
        room_names.extend(names(session).map(|(room, _)| room).take(ROOMS));
        room_names.sort();
    }
    Row {
        id: session.id,
        node: String::new(),
        namespace: session.namespace.to_string(),
        user: session.identity().user.as_ref().map(|user| user.as_str().to_owned()),
        address: session.address.to_string(),
        transport: session.transport.to_owned(),
        since: session.came_ms,
        rooms: session.rooms(),
        queue: Queue { packets: waiting.packets, bytes: waiting.bytes },
        refused: session.refused().0,
        room_names,
    }
}

fn detail(session: &Session) -> Detail {
    let mut rooms: Vec<_> = names(session).collect();
    rooms.sort();
    rooms.truncate(ROOMS);
    let refusal = |it: crate::node::Refused| Refusal { at: it.at_ms, event: it.event, code: it.code.to_owned() };
    let refusals = session.refused().1.into_iter().map(refusal).collect();
    Detail { row: row(session, false), roles: session.identity().roles.clone(), rooms, refusals }
}

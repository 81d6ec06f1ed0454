//! What nodes ask each other about sessions and themselves, and answer: MessagePack maps, so that fields can be added.

use serde::{Deserialize, Serialize};

use super::orders::Reloaded;
use super::roll::{Detail, Page, Row, These};
use crate::bus::{self, Asker, Question};
use crate::domain::{Offset, RoomName, SessionId, UserId};

/// What every node is asked to do about a user's sessions of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Wish {
    /// Count them.
    Count,
    /// End them for good.
    End,
    /// End one session for good. A wish of its own: who does not know it must not end all of a user.
    EndSession,
    /// Tell which ones they are.
    List,
    /// Put those of the room's namespace into the room.
    Put,
    /// Take them out of the room.
    TakeOut,
    /// Tell about the node itself.
    Describe,
    /// List those that are meant, and how many there are.
    Roll,
    /// Tell all about one session.
    Show,
    /// Have one session's client come back by another connection.
    Move,
    /// List the rooms that have members.
    Rooms,
    /// Put those that are meant into a room.
    PutThese,
    /// Take those that are meant out of a room.
    TakeTheseOut,
    /// End those that are meant for good.
    EndThese,
    /// Say something to those that are meant.
    Tell,
    /// Hand the clients of the node that is named over, and take no more.
    Drain,
    /// Take clients again.
    Resume,
    /// Read the routes again, or only tell what that would change.
    Reload,
}

/// A question to every node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    /// Who asks: names the channel on which the answers are heard.
    pub(super) from: u64,
    /// Which of its questions it is.
    pub(super) id: u64,
    /// Whose sessions, unless one is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<UserId>,
    /// Which session, if one is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) session: Option<SessionId>,
    /// Which room, if one is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) room: Option<RoomName>,
    /// Where the log stood: who joined later is not meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) upto: Option<Offset>,
    /// Which sessions are meant, if several are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) these: Option<These>,
    /// Which part of a list is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) page: Option<Page>,
    /// The encoded event, if one is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) event: Option<Vec<u8>>,
    /// Which node, if one is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// Whether nothing is to be done yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) dry: bool,
    pub(super) wish: Wish,
}

impl Request {
    /// One that is about nobody yet.
    pub(super) fn new(wish: Wish) -> Self {
        Self {
            from: 0,
            id: 0,
            user: None,
            session: None,
            room: None,
            upto: None,
            these: None,
            page: None,
            event: None,
            name: None,
            dry: false,
            wish,
        }
    }
}

impl Question for Request {
    type Answer = Answer;

    fn asked_by(self, asker: Asker) -> Self {
        Self { from: asker.node, id: asker.question, ..self }
    }

    fn asker(&self) -> Asker {
        Asker { node: self.from, question: self.id }
    }
}

/// What one node answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    /// The question's id.
    pub(super) id: u64,
    /// The name of the node.
    pub(super) node: String,
    /// How many sessions the user has there, or had until now; of those that were to be put into a room, how many are in it.
    pub(super) sessions: usize,
    /// With how many it could not be done.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) failed: usize,
    /// Which ones they are, if that was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) listed: Vec<Listed>,
    /// What the node is, if that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) about: Option<About>,
    /// The rows of a list of sessions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) rows: Vec<Row>,
    /// All about one session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<Detail>,
    /// Rooms with how many sessions are in each here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) rooms: Vec<(RoomName, usize)>,
    /// What reading the routes again changed, or would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reloaded: Option<Reloaded>,
}

impl bus::Answer for Answer {
    fn to(self, question: u64) -> Self {
        Self { id: question, ..self }
    }

    fn question(&self) -> u64 {
        self.id
    }
}

/// A session that is connected to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Which.
    pub session: SessionId,
    /// The namespace that it is in.
    pub namespace: String,
    /// What carried it when it came.
    pub transport: String,
    /// Where its client is.
    pub address: String,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The version of the program.
    pub version: String,
    /// The revision that it was built from.
    pub revision: String,
    /// Whether it hears the others.
    pub hears: bool,
    /// Whether clients are sent to it.
    #[serde(default)]
    pub ready: bool,
    /// Whether it hands its clients over.
    #[serde(default)]
    pub draining: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_a_newer_node_adds_is_no_obstacle() {
        #[derive(Serialize)]
        struct Newer {
            id: u64,
            node: &'static str,
            sessions: usize,
            away: usize,
        }
        let bytes = rmp_serde::to_vec_named(&Newer { id: 7, node: "a", sessions: 2, away: 1 }).unwrap();
        let read: Answer = rmp_serde::from_slice(&bytes).unwrap();
        assert_eq!(read, Answer { id: 7, node: "a".into(), sessions: 2, ..Answer::default() });
    }

    #[test]
    fn a_wish_that_only_a_newer_node_knows_is_not_taken_for_another() {
        #[derive(Serialize)]
        struct Newer {
            from: u64,
            id: u64,
            user: &'static str,
            wish: &'static str,
        }
        let request = |wish| rmp_serde::to_vec_named(&Newer { from: 1, id: 2, user: "alice", wish }).unwrap();
        assert_eq!(rmp_serde::from_slice::<Request>(&request("End")).unwrap().wish, Wish::End);
        assert!(rmp_serde::from_slice::<Request>(&request("Teleport")).is_err());
    }

    #[test]
    fn an_older_node_understands_what_is_asked_of_a_user_and_nothing_of_one_session() {
        #[derive(Debug, Deserialize)]
        enum OlderWish {
            Count,
            End,
        }
        #[derive(Deserialize)]
        struct Older {
            user: UserId,
            wish: OlderWish,
        }
        let (user, session) = (UserId::parse("alice"), Some(SessionId::random()));
        for (wish, name) in [(Wish::Count, "Count"), (Wish::End, "End")] {
            let request = Request { from: 1, id: 2, user: user.clone(), ..Request::new(wish) };
            let read: Older = rmp_serde::from_slice(&rmp_serde::to_vec_named(&request).unwrap()).unwrap();
            assert_eq!((read.user.as_str(), format!("{:?}", read.wish)), ("alice", name.to_owned()));
        }
        let request = Request { from: 1, id: 2, session, ..Request::new(Wish::EndSession) };
        let bytes = rmp_serde::to_vec_named(&request).unwrap();
        assert!(rmp_serde::from_slice::<Older>(&bytes).is_err());
        assert_eq!(rmp_serde::from_slice::<Request>(&bytes).unwrap(), request);
    }

    #[test]
    fn an_older_node_takes_no_newer_wish_for_another() {
        #[derive(Debug, Deserialize)]
        enum OlderWish {
            Count,
            End,
            EndSession,
        }
        #[derive(Debug, Deserialize)]
        struct Older {
            wish: OlderWish,
        }
        let newer = [
            Wish::List,
            Wish::Put,
            Wish::TakeOut,
            Wish::Describe,
            Wish::Roll,
            Wish::Move,
            Wish::PutThese,
            Wish::TakeTheseOut,
            Wish::EndThese,
            Wish::Tell,
            Wish::Drain,
            Wish::Resume,
            Wish::Reload,
        ];
        for wish in newer {
            let room = RoomName::parse("r").ok();
            let request = Request { user: UserId::parse("alice"), room, upto: Some(Offset(7)), ..Request::new(wish) };
            let bytes = rmp_serde::to_vec_named(&request).unwrap();
            assert!(rmp_serde::from_slice::<Older>(&bytes).is_err(), "{wish:?}");
            assert_eq!(rmp_serde::from_slice::<Request>(&bytes).unwrap(), request);
        }
        for wish in [Wish::Count, Wish::End, Wish::EndSession] {
            let bytes = rmp_serde::to_vec_named(&Request::new(wish)).unwrap();
            let older: Older = rmp_serde::from_slice(&bytes).unwrap();
            assert_eq!(format!("{:?}", older.wish), format!("{wish:?}"));
        }
    }
}

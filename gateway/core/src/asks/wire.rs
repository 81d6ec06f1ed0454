//! What nodes tell each other of questions to clients: MessagePack maps, so that fields can be added.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::bus::{Answer, Asker, Question};
use crate::domain::{RoomName, SessionId, UserId};

/// Whom a question is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Whom {
    /// One session.
    Session(SessionId),
    /// All sessions of a user in a namespace.
    User {
        /// The namespace.
        namespace: String,
        /// Whose they are.
        user: UserId,
    },
    /// All sessions in a room.
    Room(RoomName),
}

/// A question to every node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    /// Who asks: names the channel on which the answers are heard.
    pub(super) from: u64,
    /// Which of its questions it is.
    pub(super) id: u64,
    pub(super) whom: Whom,
    /// What the clients hear, as the log would keep it.
    pub(super) event: Bytes,
    /// How long they have.
    pub(super) timeout_ms: u64,
}

impl Question for Request {
    type Answer = Answers;

    fn asked_by(self, asker: Asker) -> Self {
        Self { from: asker.node, id: asker.question, ..self }
    }

    fn asker(&self) -> Asker {
        Asker { node: self.from, question: self.id }
    }
}

/// What came of it on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answers {
    /// The question's id.
    pub(super) id: u64,
    /// How many clients were asked.
    pub(super) asked: usize,
    /// How many were not, because there are more than are asked at once.
    pub(super) unasked: usize,
    /// How many answers were too large, or not readable.
    pub(super) discarded: usize,
    pub(super) replies: Vec<Reply>,
}

impl Answer for Answers {
    fn to(self, question: u64) -> Self {
        Self { id: question, ..self }
    }

    fn question(&self) -> u64 {
        self.id
    }
}

/// What one client answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Its session.
    pub session: SessionId,
    /// Who that is.
    pub user: Option<UserId>,
    /// What it said: a JSON array, whose placeholders stand for the attachments.
    pub args: String,
    /// Binary in it.
    pub attachments: Vec<Bytes>,
}

impl Reply {
    /// What it weighs, in bytes.
    pub(super) fn size(&self) -> usize {
        self.args.len() + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers_survive_the_way_and_fields_can_be_added() {
        let room = RoomName::parse("r").unwrap();
        let request =
            Request { from: 1, id: 2, whom: Whom::Room(room), event: Bytes::from_static(b"x"), timeout_ms: 7 };
        let bytes = rmp_serde::to_vec_named(&request).unwrap();
        assert_eq!(rmp_serde::from_slice::<Request>(&bytes).unwrap(), request);
        #[derive(Serialize)]
        struct Newer {
            id: u64,
            asked: usize,
            unasked: usize,
            discarded: usize,
            replies: Vec<Reply>,
            node: &'static str,
        }
        let newer = Newer { id: 2, asked: 1, unasked: 0, discarded: 0, replies: Vec::new(), node: "a" };
        let read: Answers = rmp_serde::from_slice(&rmp_serde::to_vec_named(&newer).unwrap()).unwrap();
        assert_eq!(read, Answers { id: 2, asked: 1, ..Answers::default() });
    }
}

//! What nodes ask each other about a user's sessions, and answer: MessagePack maps, so that fields can be added.

use serde::{Deserialize, Serialize};

use crate::domain::UserId;

/// What every node is asked to do about a user's sessions of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Wish {
    /// Count them.
    Count,
    /// End them for good.
    End,
}

/// A question to every node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    /// Who asks: names the channel on which the answers are heard.
    pub(super) from: u64,
    /// Which of its questions it is.
    pub(super) id: u64,
    pub(super) user: UserId,
    pub(super) wish: Wish,
}

/// What one node answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    /// The question's id.
    pub(super) id: u64,
    /// The name of the node.
    pub(super) node: String,
    /// How many sessions the user has there, or had until now.
    pub(super) sessions: usize,
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
        assert_eq!(read, Answer { id: 7, node: "a".into(), sessions: 2 });
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
        assert!(rmp_serde::from_slice::<Request>(&request("Move")).is_err());
    }
}

//! What nodes ask each other about a user's sessions, and answer: MessagePack maps, so that fields can be added.

use serde::{Deserialize, Serialize};

use crate::domain::{SessionId, UserId};

/// What every node is asked to do about a user's sessions of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Wish {
    /// Count them.
    Count,
    /// End them for good.
    End,
    /// End one session for good. A wish of its own: who does not know it must not end all of a user.
    EndSession,
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
            let request = Request { from: 1, id: 2, user: user.clone(), session: None, wish };
            let read: Older = rmp_serde::from_slice(&rmp_serde::to_vec_named(&request).unwrap()).unwrap();
            assert_eq!((read.user.as_str(), format!("{:?}", read.wish)), ("alice", name.to_owned()));
        }
        let request = Request { from: 1, id: 2, user: None, session, wish: Wish::EndSession };
        let bytes = rmp_serde::to_vec_named(&request).unwrap();
        assert!(rmp_serde::from_slice::<Older>(&bytes).is_err());
        assert_eq!(rmp_serde::from_slice::<Request>(&bytes).unwrap(), request);
    }
}

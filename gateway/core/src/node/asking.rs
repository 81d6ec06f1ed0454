//! Asking: questions to sessions of this node, and what their clients answer. Whoever was not asked, or has answered, is not
//! listened to.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{Node, Session};
use crate::domain::{Event, Frame, RoomName};

/// Numbers begin anew beyond this: JavaScript holds no larger ones. Nobody waits that long.
const LAST_NUMBER: u64 = (1 << 53) - 1;

/// The questions of this node that wait for answers.
#[derive(Debug, Default)]
pub(super) struct Asking {
    numbers: AtomicU64,
    waiting: Mutex<HashMap<u64, Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    /// By the holder of their lease: who comes back to a session was not asked.
    sessions: HashSet<u64>,
    /// The largest answer that is wanted, and what all may still come to, in bytes.
    largest: usize,
    left: usize,
    replies: mpsc::Sender<Reply>,
}

/// What one client answered.
#[derive(Debug)]
pub struct Reply {
    /// Whose it is.
    pub session: Arc<Session>,
    /// The JSON array of what it said, not looked at, and binary that this refers to; nothing if that is more than is wanted.
    pub said: Option<(String, Vec<Bytes>)>,
}

/// A question that waits for answers, until it is dropped.
#[derive(Debug)]
pub struct Question {
    number: u64,
    asked: usize,
    node: Arc<Node>,
    replies: mpsc::Receiver<Reply>,
}

impl Asking {
    /// Whether a session's client is to answer something.
    pub(super) fn waits_for(&self, session: &Session) -> bool {
        self.waiting.lock().values().any(|question| question.sessions.contains(&session.lease.holder))
    }

    /// A session's client will not answer any more.
    pub(super) fn gone(&self, session: &Session) {
        let mut waiting = self.waiting.lock();
        waiting.retain(|_, question| {
            question.sessions.remove(&session.lease.holder);
            // Then nobody is waited for, and what was said is still read.
            !question.sessions.is_empty()
        });
    }
}

impl Node {
    /// Asks the clients of sessions of this node, those that can take it. An answer may have `largest` bytes, and all together
    /// `most`.
    pub fn ask(
        self: &Arc<Self>,
        sessions: &[Arc<Session>],
        event: &Event,
        largest: usize,
        most: usize,
    ) -> Option<Question> {
        let number = self.asking.numbers.fetch_add(1, Ordering::Relaxed) % LAST_NUMBER + 1;
        let frame = Arc::new(Frame::question(event, number)?);
        let (sink, replies) = mpsc::channel(sessions.len().max(1));
        let holders = sessions.iter().map(|session| session.lease.holder).collect();
        // Before they are asked: some answer at once.
        let waiting = Waiting { sessions: holders, largest, left: most, replies: sink };
        self.asking.waiting.lock().insert(number, waiting);
        let mut asked = 0;
        for session in sessions {
            let told = !session.is_over() && session.deliver(&RoomName::everybody(&session.namespace), None, &frame);
            if told {
                asked += 1;
            } else {
                self.asking.gone_from(number, session);
            }
        }
        if sessions.is_empty() {
            self.asking.waiting.lock().remove(&number);
        }
        Some(Question { number, asked, node: self.clone(), replies })
    }

    /// Takes what a session's client says under a number, if it was asked.
    pub fn answered(&self, session: &Arc<Session>, number: u64, text: String, attachments: Vec<Bytes>) {
        let mut waiting = self.asking.waiting.lock();
        let Some(question) = waiting.get_mut(&number) else { return };
        if !question.sessions.remove(&session.lease.holder) {
            return;
        }
        let bytes = text.len() + attachments.iter().map(Bytes::len).sum::<usize>();
        let fits = bytes <= question.largest && bytes <= question.left;
        if fits {
            question.left -= bytes;
        }
        // There is room for one of each.
        question.replies.try_send(Reply { session: session.clone(), said: fits.then_some((text, attachments)) }).ok();
        if question.sessions.is_empty() {
            waiting.remove(&number);
        }
    }
}

impl Asking {
    fn gone_from(&self, number: u64, session: &Session) {
        let mut waiting = self.waiting.lock();
        let is_over = waiting.get_mut(&number).is_some_and(|question| {
            question.sessions.remove(&session.lease.holder);
            question.sessions.is_empty()
        });
        if is_over {
            waiting.remove(&number);
        }
    }
}

impl Question {
    /// How many clients were asked.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.asked
    }

    /// The next answer; nothing when nobody is left who could give one.
    pub async fn next(&mut self) -> Option<Reply> {
        self.replies.recv().await
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.node.asking.waiting.lock().remove(&self.number);
    }
}

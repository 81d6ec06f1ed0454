//! Passing on: what a balancer brings here of a connection that another server has goes on to that one, and its answer back.
//!
//! The id of a connection names its server by a [`Tag`]. Whoever uses the engine knows the servers and makes connections to
//! them, each of which has proven what it is before it is handed over ([`Passage`]); on these the engine speaks HTTP with
//! itself ([`Server::serve_passed`](crate::Server::serve_passed)). What came that way never goes on again.

mod onward;
mod taken;
mod tunnel;

pub use tunnel::Tunnel;
pub(crate) use tunnel::Tunnels;

use std::fmt;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderName;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::handler::Answer;

/// Bytes of a tag: among a thousand servers two have the same one once in two million times.
pub(crate) const TAG_BYTES: usize = 5;

/// From whom a request came that was passed on, in place of the peer.
const FOR: HeaderName = HeaderName::from_static("passed-for");
/// What was wrong with its body: [`HALF`] or [`BAD`]. Then there is none, and nobody waits for an answer.
const FAULT: HeaderName = HeaderName::from_static("passed-fault");
const HALF: &str = "half";
const BAD: &str = "bad";

/// Which server has a connection. Each process has its own, by chance, and keeps it for its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag(pub(crate) [u8; TAG_BYTES]);

impl Tag {
    /// One that no other server has.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl FromStr for Tag {
    type Err = BadTag;

    fn from_str(text: &str) -> Result<Self, BadTag> {
        URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(BadTag)
    }
}

/// A text is no tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the tag of a server")]
pub struct BadTag;

/// A future of a passage.
pub type Passing<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Knows the other servers, and makes ways to them. All may be called from many tasks at once.
pub trait Passage: Send + Sync + 'static {
    /// The tag that the ids of this server's connections carry.
    fn tag(&self) -> Tag;

    /// Whether there is a server of this tag, as far as is known. Asked before more than the head of a request is read, so
    /// whoever makes up tags must not cost more than a little waiting.
    fn knows(&self, tag: Tag) -> Passing<'_, bool>;

    /// A connection to the server of this tag, which has proven to be that.
    fn way(&self, tag: Tag) -> Passing<'_, Result<Way, NoWay>>;

    /// What a client is told when there may be no more ways.
    fn full(&self) -> Answer;

    /// Hears what came of each request. Of those that are answered at once the time is told that it took.
    fn passed(&self, passed: Passed, took: Option<Duration>);
}

/// A connection to another server, for one request, or for one websocket.
pub struct Way {
    /// At its other end somebody serves what is passed on.
    pub stream: TcpStream,
    /// Held as long as the stream is used.
    pub place: Box<dyn Place>,
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way").field("stream", &self.stream).finish_non_exhaustive()
    }
}

/// A place among the connections to other servers; it is free when it is dropped.
pub trait Place: Send + Sync {
    /// Takes the connection back: another request may use it.
    fn give_back(self: Box<Self>, stream: TcpStream);
}

/// Why there is no way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoWay {
    /// The server is not there any more.
    Gone,
    /// It may be there, and does not answer as it should.
    Failed,
    /// There may be no more ways.
    Full,
}

/// What came of a request that was another server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// It was answered, or became a websocket.
    Answered,
    /// Nobody has its connection: its server is not there, or does not know it.
    Gone,
    /// There were too many.
    Refused,
    /// Its server could not be reached, or broke off.
    Failed,
    /// Its client went away before it had the answer.
    Aborted,
}

/// What a server passes on.
#[derive(Default)]
pub(crate) struct Onward {
    polls: AtomicUsize,
    hurry: Notify,
    pub(crate) tunnels: Tunnels,
}

impl Onward {
    /// A poll is waited for, as long as this is held.
    fn poll(&self) -> Waiting<'_> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        Waiting(self)
    }

    pub(crate) fn polls(&self) -> usize {
        self.polls.load(Ordering::Relaxed)
    }

    /// Has the polls answered that wait, so that their clients poll elsewhere.
    pub(crate) fn hurry(&self) {
        self.hurry.notify_waiters();
    }
}

struct Waiting<'a>(&'a Onward);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.polls.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_as_they_are_written() {
        let tag = Tag::random();
        assert_eq!(tag.to_string().parse(), Ok(tag));
        for text in ["", "abc", "abcdefgh", "abcdef=", "äöüabc", "../../x"] {
            assert_eq!(text.parse::<Tag>(), Err(BadTag), "{text}");
        }
    }
}

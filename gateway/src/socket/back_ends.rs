//! What the front asks of whoever answers back ends, and users over HTTP: both come in by the same listener, and know keys and
//! tokens.

use std::net::IpAddr;
use std::pin::Pin;

use bytes::Bytes;
use engine::Answer;
use http::Request;
use http::request::Parts;

use gateway_core::domain::Refusal;

/// Answers requests of back ends, and of users. Only [`BackEnds::answer`] waits for anything.
pub trait BackEnds: Send + Sync + 'static {
    /// Whether a request is for it; `is_side` if it came in by the listener that back ends have for themselves.
    fn is_for(&self, request: &Parts, is_side: bool) -> bool;

    /// Whether it is of somebody known, who has limits of its own.
    fn is_known(&self, request: &Parts) -> bool;

    /// The answer to a request that was refused before it was looked at.
    fn refused(&self, request: &Parts, refusal: &Refusal) -> Answer;

    /// The answer to one whose body could not be read, instead of the server's own.
    fn unread(&self, request: &Parts, answer: Answer) -> Answer;

    /// The largest body that may be for it, in bytes.
    fn body_bytes(&self) -> usize;

    /// Answers one, of a client at an address.
    fn answer(&self, request: Request<Bytes>, from: IpAddr) -> Pin<Box<dyn Future<Output = Answer> + Send>>;
}

//! HTTP/1.1 as far as a listener for Socket.IO needs it: heads, bodies and answers, strictly.
//!
//! Parsing is httparse's; what is ours is when to read and what to refuse. An idle connection holds no buffer, the head
//! of a request has a time of its own apart from how long a connection may be idle, and what could be read in two ways
//! by a proxy and by us is refused.

mod body;
mod head;
mod idle;
mod passed;
mod wire;

pub(crate) use head::{Framing, Head, lists};
pub(crate) use idle::Idle;
pub(crate) use passed::{ACKNOWLEDGED, HURRY, Relayed};
pub(crate) use wire::{Body, Timing, Wire, write_head};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};

/// Why a request is refused before anybody looks at what it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadRequest {
    #[error("the request is not HTTP/1.1 as RFC 9112 has it")]
    Malformed,
    #[error("an HTTP/1.1 request has one Host header")]
    Host,
    #[error("the length of the body is not said, or said in more than one way")]
    Length,
    #[error("the request's head is too large")]
    HeadTooLarge,
    #[error("the request's body is too large")]
    BodyTooLarge,
    #[error("the request did not come in time")]
    TooSlow,
    #[error("this node has no memory left for the request")]
    Budget,
}

impl BadRequest {
    pub(crate) fn answer(self) -> Response<Bytes> {
        let status = match self {
            Self::Malformed | Self::Host | Self::Length => StatusCode::BAD_REQUEST,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Budget => StatusCode::SERVICE_UNAVAILABLE,
        };
        let mut response = Response::new(Bytes::from(format!("{self}\n")));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        response
    }
}

//! The engine over real sockets: what clients do on each transport, rightly, wrongly and in pieces.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod bodies;
mod ends;
mod http;
mod passing;
mod polling;
mod roads;
mod support;
mod tunnels;
mod upgrade;
mod websocket;
mod weight;

//! What outlives a connection, a node and an outage: several nodes, sessions that come back, a log that is there again.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod embedded;
mod nodes;
mod operators;
mod recovery;
#[path = "../support/mod.rs"]
mod support;

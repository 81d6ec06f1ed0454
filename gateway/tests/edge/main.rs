//! The edges of one node: its clients and what they may send, and the back ends that it asks.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod admin;
mod as_published;
mod attacks;
mod attendance;
mod behind;
mod budget;
mod by_hand;
mod calls;
mod histories;
mod hooks;
mod inbox;
mod inlet;
mod kept_calls;
mod limits;
mod logs;
mod midway;
mod parting;
mod parts;
mod plan;
mod polling;
mod queues;
mod rooms;
#[path = "../support/router.rs"]
#[allow(dead_code, unreachable_pub, clippy::missing_panics_doc, missing_docs, reason = "shared with benchmarks")]
mod router;
mod routes;
mod socket;
#[path = "../support/mod.rs"]
mod support;

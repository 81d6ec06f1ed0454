//! The contracts of the ports: what every backend of each has to do, on a real Redis where it is one.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod budget;
mod bus;
mod log;
mod outbox;
mod overheard;
mod presence;
mod primaries;
mod repeats;
mod restarts;
mod revocations;
mod sessions;
#[path = "../support/mod.rs"]
mod support;

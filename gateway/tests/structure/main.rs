//! What keeps the sources in order: who may name whom, and what is said in two places.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod architecture;
mod drift;
#[path = "../support/mod.rs"]
mod support;
#[cfg(not(feature = "mongodb"))]
mod without_mongodb;
mod without_traces;

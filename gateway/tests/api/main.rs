//! The HTTP API: what back ends have clients told, what they read, and what becomes of everything else that is sent there.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod archive;
mod asks;
mod batch;
mod caller;
mod contract;
mod events;
mod input;
mod jobs;
mod keys;
mod limits;
mod notifications;
mod pages;
mod repeated;
mod sessions;
mod stream;
#[path = "../support/mod.rs"]
mod support;
#[cfg(feature = "traces")]
mod traces;
mod users;

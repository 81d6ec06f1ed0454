//! Mail, Novu, schedules, and mails for who is away; with servers that are real.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod absent;
mod asked;
#[allow(dead_code, reason = "the tests of the API use more of it")]
#[path = "../api/caller.rs"]
mod caller;
mod novu;
mod once;
mod sending;
#[path = "../support/mod.rs"]
mod support;
mod ticking;

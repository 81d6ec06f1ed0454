//! Who is let in: tokens, where their keys come from, and taking them back.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod back_end;
mod hook;
mod jwks;
mod revocation;
#[path = "../support/mod.rs"]
mod support;
mod tokens;

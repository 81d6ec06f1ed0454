//! The contracts of the ports: what every backend of each has to do, on a real Redis where it is one.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod answers;
mod archive;
mod archiving;
mod budget;
mod bus;
mod contacts;
mod databases;
mod exchange;
mod jobs;
mod kept_counts;
mod kept_unread;
mod log;
mod log_file;
mod log_redis;
mod notifications;
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
mod ticks;
mod whereabouts;

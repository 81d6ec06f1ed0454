//! What the gateway does, whoever asks for it: the domain, the ports with their stores, tokens, the node, the routes. It
//! knows nothing of the engine and serves no HTTP.
//!
//! The modules in reading order; `ARCHITECTURE.md` has the picture. Dependencies point inwards: `routes`, `service`,
//! `emitters` → `control`, `balance`, `inbox`, `desk` → `node` → the ports (`log`, `presence`, `sessions`, `revocations`, `outbox`, `bus`,
//! `notifications`, `jobs`) → `domain`.

pub mod answers;
pub mod archive;
pub mod asks;
pub mod auth;
pub mod balance;
pub mod bus;
pub mod caching;
pub mod calls;
pub mod config;
pub mod contacts;
pub mod content;
pub mod control;
pub mod dates;
pub mod desk;
pub mod domain;
pub mod emitters;
pub mod formats;
pub mod inbox;
pub mod jobs;
pub mod log;
pub mod metrics;
pub mod node;
pub mod notifications;
pub mod outbox;
pub mod port;
pub mod presence;
pub mod recurring;
pub mod redis;
pub mod repeats;
pub mod revocations;
pub mod routes;
pub mod service;
pub mod sessions;
pub mod sqlite;
pub mod supervisor;
pub mod ticks;
pub mod traces;
pub mod whereabouts;

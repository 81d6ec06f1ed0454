//! A realtime gateway: unmodified Socket.IO clients in front, back ends behind, any number of nodes and one Redis
//! between them.
//!
//! The modules in reading order; `ARCHITECTURE.md` has the picture. Dependencies point from the edges inwards:
//! `socket`, `http`, `operators` → `routes`, `service` → `control` → `node` → the ports (`log`, `presence`, `sessions`,
//! `revocations`, `outbox`, `bus`) → `domain`.
//! Only `app` names backends.

pub mod app;
pub mod asks;
pub mod auth;
pub mod bus;
pub mod calls;
pub mod config;
pub mod content;
pub mod control;
pub mod domain;
pub mod emitters;
pub mod formats;
pub mod hooks;
pub mod http;
pub mod log;
pub mod metrics;
pub mod node;
pub mod operators;
pub mod outbox;
pub mod port;
pub mod presence;
pub mod process;
pub mod recurring;
pub mod redis;
pub mod repeats;
pub mod revocations;
pub mod routes;
pub mod service;
pub mod sessions;
pub mod shutdown;
pub mod socket;
pub mod sqlite;
pub mod supervisor;
pub mod telemetry;

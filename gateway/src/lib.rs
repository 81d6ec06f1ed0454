//! A realtime gateway: unmodified Socket.IO clients in front, back ends behind, any number of nodes and one Redis
//! between them.
//!
//! This crate is its edges: `socket` between the engine and the node, `http`, `operators`; and `app`, which puts
//! everything together and alone names backends. What is done for whoever asks is in `gateway-core`, what is done in the
//! background in `gateway-work`.

pub mod app;
pub mod audit;
pub mod collector;
pub mod doctor;
pub mod exchange;
pub mod http;
pub mod operators;
pub mod plan;
pub mod process;
pub mod shutdown;
pub mod socket;
pub mod telemetry;

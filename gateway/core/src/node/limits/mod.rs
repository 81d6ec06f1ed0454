//! Limits: how fast sessions, users and addresses may send and have kept, and how many of them there may be. A limit of 0
//! lets everything through.

mod accounts;
mod allowance;
mod handshakes;
mod keys;
mod meter;
mod notices;
mod parties;
mod routes;
mod slots;
mod strangers;
mod throughput;

pub use accounts::Account;
pub use allowance::{Allowance, Limiters, Verdict};
pub use handshakes::{AddressLimiter, FailureLimiter, HandshakeLimiter};
pub use keys::{Allowed, KeyLimiter};
pub use notices::{NoticeLimiter, SenderLimiter};
pub use parties::Party;
pub use routes::RouteLimiter;
pub use slots::{Slot, Slots};
pub use strangers::StrangerLimiter;
pub use throughput::Throughput;

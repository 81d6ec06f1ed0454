//! Rooms: who hears what on this node, and the way of every event to them.

pub(super) mod canary;
pub(super) mod fanout;
pub(super) mod gap;
pub(super) mod hearing;
pub(super) mod hub;
pub(super) mod reading;
pub(super) mod turns;
pub(super) mod typing;

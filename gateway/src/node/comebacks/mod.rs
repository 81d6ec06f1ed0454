//! Comebacks: which sessions are connected to this node, and their right to come back.

pub(super) mod roster;

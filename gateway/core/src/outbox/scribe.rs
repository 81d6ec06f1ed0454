//! The scribe: how backends of this process write what happens.

use async_trait::async_trait;

use super::Happening;
use crate::domain::{SessionId, UserId};

/// Writes what happens into the outboxes that want it, for backends that have what they keep in this process.
#[async_trait]
pub trait Scribe: Send + Sync + 'static {
    /// Whether anything is wanted: else nothing need be told.
    fn is_wanted(&self) -> bool;

    /// Takes what happened; to be called in the step in which it does, so that the order is kept.
    fn put(&self, happenings: Vec<Happening>);

    /// Returns when what was taken is where it survives what this backend survives.
    async fn written(&self);
}

impl std::fmt::Debug for dyn Scribe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scribe")
    }
}

/// Whose doing something is.
#[derive(Clone, Copy, Debug)]
pub struct By<'a> {
    /// The session's.
    pub session: SessionId,
    /// The user's, if it has one.
    pub user: Option<&'a UserId>,
}

//! What routes can do: one file per action that does something with a room.

mod history;
mod membership;
mod speak;

pub(super) use history::history;
pub(super) use membership::{join, leave};
pub(super) use speak::{publish, signal};

use serde::Deserialize;

use super::Request;
use crate::domain::Refusal;

impl<'a> Request<'a> {
    /// Reads the event's one argument; `expected` is what the client is told if it is something else.
    fn argument<T: Deserialize<'a>>(&self, expected: &'static str) -> Result<T, Refusal> {
        let first = self.args.first().ok_or(Refusal::bad_request(expected))?;
        serde_json::from_str(first.get()).map_err(|_| Refusal::bad_request(expected))
    }
}

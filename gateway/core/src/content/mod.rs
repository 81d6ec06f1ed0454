//! Content: what an event may be, whoever says it: its name, its JSON, and how much of it.

mod bounds;
pub mod json;
mod names;

pub use bounds::{Bounds, check_placeholders};
pub use names::{EVENT_NAME, check_emitted, may_be_emitted};

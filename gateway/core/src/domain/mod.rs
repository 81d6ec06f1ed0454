//! The words of the gateway as types: no I/O, no async runtime, no library of an edge.

mod address;
mod event;
mod except;
mod frame;
mod ids;
mod look;
mod offset;
mod refusal;
mod room;

pub use address::{network, site};
pub use event::Event;
pub use except::{Except, Excepted};
pub use frame::Frame;
pub use ids::{Pid, PidHash, SessionId, UserId};
pub use offset::{Epoch, Mark, Offset, Position};
pub use refusal::{Refusal, Worded};
pub use room::RoomName;

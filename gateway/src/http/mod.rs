//! EDGE: plain HTTP. The admin listener for operators, and the web page for people.

mod admin;
mod ask;
mod listener;
mod revocations;
mod web;

pub use admin::{AdminState, admin};
pub use ask::AskOverHttp;
pub use listener::{AdminListener, Impatient};
pub use web::web;

//! EDGE: plain HTTP. The API for back ends; notifications for users; the admin listener for operators; the web page and the official client for browsers.

mod admin;
mod api;
mod ask;
mod assets;
mod client_script;
mod console;
mod hooks;
mod hosts;
mod let_in;
mod listener;
mod passing;
mod queues;
mod revocations;
mod routes;
mod serving;
mod times;
mod users;
mod web;

pub use admin::{AdminState, admin};
pub use api::{Api, EventStream};
pub use ask::AskOverHttp;
pub use hosts::Hosts;
pub use passing::{Newcomer, PassingDoor, passing};
pub use routes::AdminRoutes;
pub use serving::AdminLimits;
pub use users::{Background, Users};
pub use web::web;

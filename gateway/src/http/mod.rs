//! EDGE: plain HTTP. The API for back ends; the admin listener for operators; the web page and the official client for browsers.

mod admin;
mod api;
mod ask;
mod client_script;
mod hooks;
mod hosts;
mod listener;
mod revocations;
mod routes;
mod serving;
mod web;

pub use admin::{AdminState, admin};
pub use api::{Api, EventStream};
pub use ask::AskOverHttp;
pub use hosts::Hosts;
pub use routes::AdminRoutes;
pub use serving::AdminLimits;
pub use web::web;

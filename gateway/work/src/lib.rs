//! What the gateway does in the background, while clients are served: hooks are told, rooms are archived, jobs are done, mail is
//! sent, and schedules have their ticks.

pub mod absent;
pub mod archiving;
pub mod bullmq;
pub mod hooks;
pub mod jobs;
pub mod mail;
pub mod novu;
pub mod once;
pub mod schedules;

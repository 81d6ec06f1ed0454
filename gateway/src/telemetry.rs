//! Logging: one line an event, for people or for collectors. Never tokens, never payloads.

use std::fmt::Display;
use std::io::IsTerminal;
use std::net::SocketAddr;

use tracing::Level;
use tracing_subscriber::filter::{Directive, FilterExt, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{self, LogFormat};

/// Whose lines below `info` there are. Those of libraries are not ours to answer for.
const OWN: [&str; 2] = ["gateway", "engine"];
/// What the lines of [`audit`] are logged as.
const AUDIT: &str = "gateway::audit";

/// Begins to log. A second call changes nothing.
///
/// # Errors
/// The filter names something that cannot be read.
pub fn start(settings: &config::Telemetry) -> Result<(), String> {
    let filter = EnvFilter::try_new(&settings.log).map_err(|error| format!("telemetry.log: {error}"))?;
    let audited = format!("{AUDIT}=info").parse::<Directive>().map_err(|error| error.to_string())?;
    // Who used the controls is no matter of taste, unless it is named.
    let filter = if settings.log.contains(AUDIT) { filter } else { filter.add_directive(audited) };
    // Libraries tell more than they should if they are asked to: packets, addresses with passwords, commands with their data.
    let own = filter_fn(|line| *line.level() <= Level::INFO || OWN.iter().any(|own| is_of(line.target(), own)));
    // Colours are for terminals; files and collectors would get escape codes.
    let colours = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    let lines = match settings.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let started = tracing_subscriber::registry().with(lines.with_filter(filter.and(own))).try_init();
    // It fails only where a test began to log before.
    drop(started);
    Ok(())
}

fn is_of(target: &str, module: &str) -> bool {
    target.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// By whom and from where a control is used.
#[derive(Clone, Copy, Debug)]
pub enum By {
    /// The bearer of `admin.token`.
    Operator(SocketAddr),
    /// Somebody who may send signals to the process.
    Signal,
}

/// Leaves a line about who did what to whom, from where, and what came of it. Texts from outside cannot look like lines of
/// their own.
pub fn audit(by: By, what: &'static str, subject: &str, outcome: impl Display) {
    let (who, from) = match by {
        By::Operator(peer) => ("admin.token", peer.to_string()),
        By::Signal => ("SIGHUP", "this machine".to_owned()),
    };
    let outcome = outcome.to_string();
    tracing::info!(target: AUDIT, who, from, what, ?subject, ?outcome, "control");
}

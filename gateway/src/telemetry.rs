//! Logging: one line an event, for people or for collectors. Never tokens, never payloads.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{self, LogFormat};

/// Begins to log. A second call changes nothing.
///
/// # Errors
/// The filter names something that cannot be read.
pub fn start(settings: &config::Telemetry) -> Result<(), String> {
    let filter = EnvFilter::try_new(&settings.log).map_err(|error| format!("telemetry.log: {error}"))?;
    // Colours are for terminals; files and collectors would get escape codes.
    let colours = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    let started = match settings.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    // It fails only where a test began to log before.
    drop(started);
    Ok(())
}

//! When to stop, and when to read routes again: the signals of platforms and of people.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Waits for SIGTERM (platforms: Kubernetes, systemd, compose) or SIGINT (a person's Ctrl-C).
///
/// # Errors
/// The process cannot install signal handlers.
pub async fn requested() -> std::io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}

/// SIGHUP, by which operators have the route table read again.
///
/// # Errors
/// The process cannot install signal handlers.
pub fn reloads() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}

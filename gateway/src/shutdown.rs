//! When to stop, and when to read routes again: the signals of platforms and of people.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What somebody wants of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To end it, and by which signal they said so.
    Stop(&'static str),
    /// To have the route table read again.
    Reload,
}

/// SIGTERM (platforms: Kubernetes, systemd, compose), SIGINT (a person's Ctrl-C) and SIGHUP (an operator), from when this
/// was made on: none is lost while another is acted on.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Listens for them.
    ///
    /// # Errors
    /// The process cannot install signal handlers.
    pub fn new() -> std::io::Result<Self> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, hangup: signal(SignalKind::hangup())? })
    }

    /// Waits for the next one. Stopping goes before reloading.
    pub async fn next(&mut self) -> Wish {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Wish::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Wish::Stop("SIGINT"),
            _ = self.hangup.recv() => Wish::Reload,
        }
    }

    /// Waits until the process is to end, whatever else is wished meanwhile.
    pub async fn stop(&mut self) -> &'static str {
        loop {
            if let Wish::Stop(signal) = self.next().await {
                return signal;
            }
        }
    }
}

//! What ports fail with: which of them, at what, whether trying again may help, and why.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// What backends say of the cause.
type Source = Box<dyn Error + Send + Sync>;

/// One of the ports: where what a node does ends, and a backend goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// `bus/`.
    Bus,
    /// `log/`.
    Log,
    /// `presence/`.
    Presence,
    /// `sessions/`.
    Sessions,
    /// `revocations/`.
    Revocations,
    /// `repeats/`.
    Repeats,
    /// `answers/`.
    Answers,
    /// `outbox/`.
    Outbox,
    /// `archive/`.
    Archive,
    /// `notifications/`.
    Notifications,
    /// `jobs/`.
    Jobs,
    /// `ticks/`.
    Ticks,
    /// `contacts/`.
    Contacts,
    /// `whereabouts/`.
    Whereabouts,
}

/// Whether it makes sense to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Not now: a connection was lost, there was no answer in time, a disk is full. Trying again may help. What backends do
    /// not know is this, so that nothing is given up that might have worked.
    Transient,
    /// Trying again does not help until somebody changes something: data is damaged or of the wrong kind, a right is
    /// missing, a file is something else's.
    Permanent,
}

/// What knows of itself of which kind it is: the errors of what backends are built on.
pub trait Classified {
    /// Whether trying again may help.
    fn kind(&self) -> ErrorKind;
}

impl<T: Classified> Classified for Arc<T> {
    fn kind(&self) -> ErrorKind {
        (**self).kind()
    }
}

/// A port could not do it. The cause is for operators; clients get a refusal.
#[derive(Debug)]
pub struct PortError {
    /// Whose error it is.
    pub port: Port,
    /// What was asked: a label of the port's metric of errors, or what was tried before there was a port.
    pub operation: &'static str,
    /// Whether trying again may help.
    pub kind: ErrorKind,
    /// What the backend said.
    pub source: Source,
}

impl Port {
    /// An error of an operation, with what the backend said as its source.
    pub fn error(self, operation: &'static str, kind: ErrorKind, source: impl Into<Source>) -> PortError {
        PortError { port: self, operation, kind, source: source.into() }
    }

    /// The same with an error that knows of which kind it is.
    pub fn failed(self, operation: &'static str, source: impl Classified + Into<Source>) -> PortError {
        self.error(operation, source.kind(), source)
    }

    /// An error that may be over when the same is tried again.
    pub fn not_now(self, operation: &'static str, source: impl Into<Source>) -> PortError {
        self.error(operation, ErrorKind::Transient, source)
    }

    /// An error that lasts until somebody changes something.
    pub fn broken(self, operation: &'static str, source: impl Into<Source>) -> PortError {
        self.error(operation, ErrorKind::Permanent, source)
    }
}

impl PortError {
    /// Whether trying again does not help.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.kind == ErrorKind::Permanent
    }

    /// Logs it: as a warning, or as an error if it stays until somebody does something. `what` says what it means here.
    pub fn tell(&self, what: &str) {
        match self.kind {
            ErrorKind::Transient => tracing::warn!(error = %self, "{what}"),
            ErrorKind::Permanent => tracing::error!(error = %self, "{what}; it will not heal by itself"),
        }
    }
}

impl Classified for PortError {
    fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { port, operation, source, .. } = self;
        match port {
            // It is told where nobody knows that there is a bus, as the source of others.
            Port::Bus => write!(f, "the bus cannot {operation}: {source}"),
            _ => write!(f, "{operation}: {source}"),
        }
    }
}

impl Error for PortError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_one_port_that_another_one_has_lasts_as_long() {
        for (inner, kind) in [
            (Port::Bus.not_now("publish", "away"), ErrorKind::Transient),
            (Port::Bus.broken("publish", "away"), ErrorKind::Permanent),
        ] {
            let outer = Port::Log.failed("signal", inner);
            assert_eq!((outer.port, outer.operation, outer.kind), (Port::Log, "signal", kind));
            assert_eq!(outer.to_string(), "signal: the bus cannot publish: away");
            assert_eq!(Error::source(&outer).unwrap().to_string(), "the bus cannot publish: away");
        }
    }
}

//! `log`: a line in the log of the node.

use std::fmt::{self, Formatter};
use std::iter;
use std::sync::Arc;

use super::kind::Kind;
use crate::domain::Refusal;
use crate::routes::Answer;
use crate::routes::context::Run;
use crate::routes::names::Lifecycle;
use crate::routes::reader::Reader;
use crate::routes::template::{Context, Template};

/// Write a line to the log of the node.
#[derive(Debug)]
pub struct Log {
    /// The line.
    pub message: Template,
    /// How important it is.
    pub level: LogLevel,
}

/// How important a line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the usual words")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// The words in configuration.
    const WORDS: [(&'static str, Self); 5] = [
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];

    /// The word in configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::WORDS.iter().find(|(_, level)| *level == self).map_or("info", |(word, _)| word)
    }
}

impl Kind for Log {
    const NAME: &'static str = "log";
    const ON: &'static [Lifecycle] = &Lifecycle::ALL;

    fn compile(reader: &mut Reader<'_>) -> Option<Self> {
        let context = Context { counts: true, ..reader.context() };
        let message = reader.keys.required("message", "it is the line to write", &context);
        let level = reader.keys.word("level", &LogLevel::WORDS).unwrap_or_default();
        Some(Self { message: message?, level })
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        iter::once(&self.message)
    }

    fn show(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, " {} at {}", self.message, self.level.name())
    }

    async fn run(&self, run: &mut Run<'_>, _: &Arc<str>) -> Result<Option<Answer>, Refusal> {
        // As `Debug`: what a client wrote must not look like lines of the log.
        let message = self.message.text(&run.scope)?;
        let (session, event) = (run.scope.session, run.scope.event);
        match self.level {
            LogLevel::Error => tracing::error!(session, event, ?message, "a route logs"),
            LogLevel::Warn => tracing::warn!(session, event, ?message, "a route logs"),
            LogLevel::Info => tracing::info!(session, event, ?message, "a route logs"),
            LogLevel::Debug => tracing::debug!(session, event, ?message, "a route logs"),
            LogLevel::Trace => tracing::trace!(session, event, ?message, "a route logs"),
        }
        Ok(None)
    }
}

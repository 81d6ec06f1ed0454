//! Spans: what took how long, for whoever records it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;

use super::{Context, Trace};

/// More would say no more to anybody who reads it.
const MOST_LINKS: usize = 128;

/// What something was to whoever is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Somebody asked for it, and waits.
    Server,
    /// Somebody else is asked, and waited for.
    Client,
    /// Something is handed in that is done later.
    Producer,
    /// Something is done that was handed in.
    Consumer,
    /// Nobody is at the other end.
    Internal,
}

/// What is said of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// In words.
    Text(Cow<'static, str>),
    /// In numbers.
    Number(i64),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// A span that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its own place.
    pub trace: Trace,
    /// The span that it is a part of.
    pub parent: Option<u64>,
    /// What it was to others.
    pub kind: Kind,
    /// What it is called: one of few names.
    pub name: Cow<'static, str>,
    /// When it began.
    pub began: SystemTime,
    /// When it ended: no clock that is set back can put that before its beginning.
    pub ended: SystemTime,
    /// What is said of it.
    pub attributes: Vec<(&'static str, Value)>,
    /// What else it came from.
    pub links: Vec<Trace>,
    /// Why it failed, if it did: a word.
    pub error: Option<Cow<'static, str>>,
}

/// Takes spans that have ended. It must neither wait nor fail: what it has no room for it counts.
pub trait Recorder: Send + Sync + 'static {
    /// Takes one.
    fn record(&self, span: Finished);
}

impl fmt::Debug for dyn Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

/// Something under way, from here until this is dropped. One that nobody records costs nothing, and passes on the trace that it
/// is in.
#[derive(Debug)]
pub struct Span {
    context: Context,
    live: Option<Box<Live>>,
}

#[derive(Debug)]
struct Live {
    recorder: Arc<dyn Recorder>,
    began: Instant,
    span: Finished,
}

impl Span {
    /// One that nobody records.
    pub(super) fn passing(context: Context) -> Self {
        Self { context, live: None }
    }

    /// One that is recorded, at this place.
    pub(super) fn recorded(
        recorder: &Arc<dyn Recorder>,
        trace: Trace,
        parent: Option<u64>,
        (kind, name): (Kind, &'static str),
    ) -> Self {
        let now = SystemTime::now();
        let span = Finished {
            trace: trace.clone(),
            parent,
            kind,
            name: name.into(),
            began: now,
            ended: now,
            attributes: Vec::new(),
            links: Vec::new(),
            error: None,
        };
        let live = Live { recorder: recorder.clone(), began: Instant::now(), span };
        Self { context: Context::recorded(trace, recorder.clone()), live: Some(Box::new(live)) }
    }

    pub(super) fn with_links(mut self, links: Vec<Trace>) -> Self {
        if let Some(live) = &mut self.live {
            live.span.links = links;
            live.span.links.truncate(MOST_LINKS);
        }
        self
    }

    /// Whether somebody records it: else nothing need be found out that is only said of it.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.live.is_some()
    }

    /// Runs something as a part of it. Not an `async fn`: that would have room for the work twice, at each of those that are around
    /// each other.
    pub fn within<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        self.context.clone().scope(work)
    }

    /// Calls it something else: what is only known now, and still one of few names.
    pub fn rename(&mut self, name: impl FnOnce() -> String) {
        if let Some(live) = &mut self.live {
            live.span.name = name().into();
        }
    }

    /// Says something of it.
    pub fn say(&mut self, what: &'static str, value: impl Into<Value>) {
        if let Some(live) = &mut self.live {
            live.span.attributes.push((what, value.into()));
        }
    }

    /// Says that it failed, and why, in a word.
    pub fn fail(&mut self, why: impl Into<Cow<'static, str>>) {
        if let Some(live) = &mut self.live {
            let why = why.into();
            live.span.attributes.push(("error.type", Value::Text(why.clone())));
            live.span.error = Some(why);
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(live) = self.live.take() {
            let Live { recorder, began, mut span } = *live;
            span.ended = span.began + began.elapsed();
            recorder.record(span);
        }
    }
}

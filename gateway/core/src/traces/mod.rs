//! Traces: what came of a request wherever it went on, for who follows it over several systems.
//!
//! A context travels with the task that works, and with what is kept to be done later. Whether anybody records what is done in
//! it was decided where the trace began; where nobody does, the context is passed on as it came.

mod span;
mod trace;

pub use span::{Finished, Kind, Recorder, Span, Value};
pub use trace::Trace;

use std::sync::Arc;

tokio::task_local! {
    /// What the task that runs works in.
    static CURRENT: Context;
}

/// What somebody works in: a place in a trace, and who records what is done there; or nothing.
#[derive(Clone, Debug, Default)]
pub struct Context(Option<Arc<Inside>>);

#[derive(Debug)]
struct Inside {
    trace: Trace,
    recorder: Option<Arc<dyn Recorder>>,
}

impl Context {
    /// That of the task that asks.
    #[must_use]
    pub fn current() -> Self {
        CURRENT.try_with(Self::clone).unwrap_or_default()
    }

    fn recorded(trace: Trace, recorder: Arc<dyn Recorder>) -> Self {
        Self(Some(Arc::new(Inside { trace, recorder: Some(recorder) })))
    }

    /// One that is only passed on.
    fn passed(trace: Option<Trace>) -> Self {
        Self(trace.map(|trace| Arc::new(Inside { trace, recorder: None })))
    }

    /// Where in a trace it is.
    #[must_use]
    pub fn trace(&self) -> Option<&Trace> {
        self.0.as_ref().map(|inside| &inside.trace)
    }

    /// Runs something in it, for what goes on in another task than it began in.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }
}

/// Where the task that asks is in a trace, if it is in one.
#[must_use]
pub fn current() -> Option<Trace> {
    CURRENT.try_with(|context| context.trace().cloned()).ok().flatten()
}

/// The id of the trace that the task that asks is in, if the trace is recorded.
#[must_use]
pub fn recorded_id() -> Option<u128> {
    let id = |context: &Context| context.trace().filter(|trace| trace.is_sampled()).map(Trace::id);
    CURRENT.try_with(id).ok().flatten()
}

/// Begins a part of what the task that asks is doing. Where nobody records that, nobody records this.
#[must_use]
pub fn span(kind: Kind, name: &'static str) -> Span {
    let context = Context::current();
    match &context.0 {
        Some(inside) if let Some(recorder) = &inside.recorder => {
            Span::recorded(recorder, inside.trace.next(), Some(inside.trace.span()), (kind, name))
        }
        _ => Span::passing(context),
    }
}

/// Begins traces, and goes on with those that others began. Cloning gives another handle of the same.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Recording>>);

#[derive(Debug)]
struct Recording {
    recorder: Arc<dyn Recorder>,
    /// The part of the traces beginning here that are recorded.
    sample: f64,
}

impl Traces {
    /// Has a part of the traces that begin here recorded, from 0 to 1, and of those that others began the ones that these have
    /// recorded. By default nobody records anything, and traces are passed on.
    #[must_use]
    pub fn recorded_by(recorder: Arc<dyn Recorder>, sample: f64) -> Self {
        Self(Some(Arc::new(Recording { recorder, sample })))
    }

    /// Whether anything is recorded.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Goes on with the trace that somebody brings, or begins one.
    #[must_use]
    pub fn begin(&self, brought: Option<Trace>, kind: Kind, name: &'static str) -> Span {
        let Some(recording) = &self.0 else { return Span::passing(Context::passed(brought)) };
        match brought {
            Some(trace) => self.go_on(trace, kind, name),
            // Whoever is asked then may decide for itself.
            None if !recording.is_chosen() => Span::passing(Context::default()),
            None => Span::recorded(&recording.recorder, Trace::begin(), None, (kind, name)),
        }
    }

    /// Goes on with a trace, and begins none.
    #[must_use]
    pub fn resume(&self, kept: Option<&Trace>, kind: Kind, name: &'static str) -> Span {
        match kept {
            Some(trace) => self.go_on(trace.clone(), kind, name),
            None => Span::passing(Context::default()),
        }
    }

    /// The same for what several things came to, each of which may be in a trace: if it is the same for all, this is a part of it;
    /// else it is a trace of its own, which names the others.
    #[must_use]
    pub fn resume_all<'a>(
        &self,
        kept: impl IntoIterator<Item = Option<&'a Trace>>,
        kind: Kind,
        name: &'static str,
    ) -> Span {
        let kept: Vec<Option<&Trace>> = kept.into_iter().collect();
        let mut traces: Vec<&Trace> = kept.iter().copied().flatten().collect();
        let Some(first) = traces.first().copied() else { return Span::passing(Context::default()) };
        let is_one = traces.len() == kept.len() && traces.iter().all(|trace| trace.id() == first.id());
        traces.dedup();
        if is_one {
            let others = traces.iter().skip(1).copied().cloned().collect();
            return self.go_on(first.clone(), kind, name).with_links(others);
        }
        traces.retain(|trace| trace.is_sampled());
        match &self.0 {
            Some(recording) if !traces.is_empty() => {
                let links = traces.into_iter().cloned().collect();
                Span::recorded(&recording.recorder, Trace::begin(), None, (kind, name)).with_links(links)
            }
            _ => Span::passing(Context::default()),
        }
    }

    /// A trace of its own for what several others came to, which names them.
    #[must_use]
    pub fn link(&self, mut traces: Vec<Trace>, name: &'static str) -> Span {
        traces.retain(Trace::is_sampled);
        traces.dedup();
        match &self.0 {
            Some(recording) if !traces.is_empty() => {
                Span::recorded(&recording.recorder, Trace::begin(), None, (Kind::Internal, name)).with_links(traces)
            }
            _ => Span::passing(Context::default()),
        }
    }

    fn go_on(&self, trace: Trace, kind: Kind, name: &'static str) -> Span {
        match &self.0 {
            Some(recording) if trace.is_sampled() => {
                Span::recorded(&recording.recorder, trace.next(), Some(trace.span()), (kind, name))
            }
            _ => Span::passing(Context::passed(Some(trace))),
        }
    }
}

impl Recording {
    fn is_chosen(&self) -> bool {
        self.sample > 0.0 && rand::random::<f64>() < self.sample
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    #[derive(Debug, Default)]
    struct Kept(Mutex<Vec<Finished>>);

    impl Recorder for Kept {
        fn record(&self, span: Finished) {
            self.0.lock().push(span);
        }
    }

    fn recording(sample: f64) -> (Arc<Kept>, Traces) {
        let kept = Arc::new(Kept::default());
        (kept.clone(), Traces::recorded_by(kept, sample))
    }

    fn brought(flags: &str) -> Trace {
        Trace::parse(&format!("00-{:032x}-{:016x}-{flags}", 7, 9), "a=1").unwrap()
    }

    #[tokio::test]
    async fn parts_know_what_they_are_parts_of() {
        let (kept, traces) = recording(0.0);
        let mut outer = traces.begin(Some(brought("01")), Kind::Server, "outer");
        outer.say("code", 200_u16);
        outer
            .within(async {
                let inner = span(Kind::Client, "inner");
                let within = inner.within(async { current().unwrap() }).await;
                assert_eq!((within.id(), within.state()), (7, Some("a=1")));
                assert_eq!(recorded_id(), Some(7));
            })
            .await;
        drop(outer);
        assert_eq!((current(), recorded_id()), (None, None));
        let spans = kept.0.lock();
        let [inner, outer] = &spans[..] else { panic!("{spans:?}") };
        assert_eq!((&*inner.name, inner.parent), ("inner", Some(outer.trace.span())));
        assert_eq!((&*outer.name, outer.parent), ("outer", Some(9)));
        assert_eq!(outer.attributes, [("code", Value::Number(200))]);
        assert!(outer.began <= inner.began && inner.ended <= outer.ended);
    }

    #[tokio::test]
    async fn what_nobody_records_is_passed_on_as_it_came() {
        let (kept, recorded) = recording(1.0);
        for (traces, flags) in [(Traces::default(), "01"), (Traces::default(), "00"), (recorded, "00")] {
            let span = traces.begin(Some(brought(flags)), Kind::Server, "outer");
            assert!(!span.is_recorded());
            let inside = span.within(async { super::span(Kind::Client, "inner").within(async { current() }).await });
            assert_eq!(inside.await, Some(brought(flags)));
        }
        assert!(kept.0.lock().is_empty());
    }

    #[test]
    fn so_many_begin_here_as_are_wanted() {
        for (sample, expected) in [(0.0, 0..=0), (1.0, 2_000..=2_000), (0.5, 800..=1_200)] {
            let (kept, traces) = recording(sample);
            (0..2_000).for_each(|_| drop(traces.begin(None, Kind::Server, "x")));
            assert!(expected.contains(&kept.0.lock().len()), "{sample}");
            assert!(!traces.resume(None, Kind::Server, "x").is_recorded(), "nothing to go on with");
        }
    }

    #[test]
    fn several_are_one_trace_or_are_named() {
        let other = Trace::parse(&format!("00-{:032x}-{:016x}-01", 8, 1), "").unwrap();
        let (first, second) = (brought("01"), brought("01").next());
        let (kept, traces) = recording(0.0);
        let told = |of: &[Option<&Trace>]| {
            drop(traces.resume_all(of.iter().copied(), Kind::Internal, "x"));
            let span = kept.0.lock().pop();
            span.map(|span| (span.trace.id(), span.parent, span.links))
        };
        assert_eq!(told(&[Some(&first), Some(&first)]), Some((7, Some(9), vec![])));
        assert_eq!(told(&[Some(&first), Some(&second)]), Some((7, Some(9), vec![second.clone()])));
        let (id, parent, links) = told(&[Some(&first), None, Some(&other), Some(&brought("00"))]).unwrap();
        assert!(id != 7 && id != 8 && parent.is_none());
        assert_eq!(links, [first.clone(), other.clone()]);
        assert_eq!(told(&[Some(&first), None]).unwrap().2, [first]);
        assert_eq!(told(&[]), None);
        assert_eq!(told(&[None, None]), None);
        assert_eq!(told(&[Some(&brought("00")), None]), None);
    }
}

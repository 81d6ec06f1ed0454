//! The supervisor: tasks that must not end before the node does. If one ends or panics, the node is whole no more: it
//! says which it was, and ends, so that its platform starts it anew.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// How long a task that ended by itself waits before it says so. Who panics lets go of its channels before that is noticed, and
/// those at their other ends end: they would be named in its place.
const CONSEQUENCE: Duration = Duration::from_millis(250);

/// Runs the tasks of one node that must not end. Cloning gives another handle of the same.
#[derive(Clone, Debug)]
pub struct Supervisor {
    tasks: TaskTracker,
    stop: CancellationToken,
    /// The first failure: those after it are most likely its consequences.
    failure: Arc<watch::Sender<Option<Failure>>>,
}

/// A task that ended although the node goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{task}: {why}")]
pub struct Failure {
    /// What the task is called.
    pub task: Box<str>,
    /// How it ended: by a panic, with its message, or by itself.
    pub why: Box<str>,
}

impl Default for Supervisor {
    fn default() -> Self {
        Self::new(&TaskTracker::new(), &CancellationToken::new())
    }
}

impl Supervisor {
    /// A supervisor of tasks that `tasks` counts, of a node that runs until `stop`.
    #[must_use]
    pub fn new(tasks: &TaskTracker, stop: &CancellationToken) -> Self {
        Self { tasks: tasks.clone(), stop: stop.clone(), failure: Arc::new(watch::Sender::new(None)) }
    }

    /// The tasks of the node, those that may end as well.
    #[must_use]
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// When the node stops.
    #[must_use]
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Runs a task until the node stops.
    pub fn run(&self, name: impl Into<Box<str>>, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(self.until_stop(name, work));
    }

    /// The same for a caller that runs it itself, as on a thread of its own.
    pub fn until_stop(
        &self,
        name: impl Into<Box<str>>,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let work = self.stop.clone().run_until_cancelled_owned(self.watched(name.into(), work));
        self.tasks.track_future(work.map(drop))
    }

    /// Runs a task that learns by itself that the node stops, and has something to finish then.
    pub fn run_on(&self, name: impl Into<Box<str>>, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(self.watched(name.into(), work));
    }

    /// Runs a task as long as its owner wants it: dropping the handle ends it.
    pub fn run_owned(
        &self,
        name: impl Into<Box<str>>,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> AbortOnDropHandle<()> {
        AbortOnDropHandle::new(tokio::spawn(self.watched(name.into(), work)))
    }

    /// Says that the node cannot go on, for whom that is not seen by its end.
    pub fn give_up(&self, task: impl Into<Box<str>>, why: impl Into<Box<str>>) {
        let failure = Failure { task: task.into(), why: why.into() };
        tracing::error!(
            task = &*failure.task,
            why = &*failure.why,
            "a task of the node is not doing its work any more"
        );
        self.failure.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(failure);
            is_first
        });
    }

    /// Waits until the node cannot go on, and says why. For ever, if all is well.
    pub async fn failed(&self) -> Failure {
        let mut failures = self.failure.subscribe();
        // The sender is this one's own.
        let failure = failures.wait_for(Option::is_some).await.ok().and_then(|failure| failure.clone());
        match failure {
            Some(failure) => failure,
            None => std::future::pending().await,
        }
    }

    fn watched(
        &self,
        name: Box<str>,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let supervisor = self.clone();
        // What a panic left behind is not used again: the node ends.
        let work = AssertUnwindSafe(work).catch_unwind().boxed();
        async move {
            let why = match work.await {
                Ok(()) => {
                    supervisor.stop.clone().run_until_cancelled_owned(tokio::time::sleep(CONSEQUENCE)).await;
                    if supervisor.stop.is_cancelled() {
                        return;
                    }
                    "it ended".into()
                }
                Err(panic) => format!("it panicked: {}", said(&*panic)),
            };
            supervisor.give_up(name, why);
        }
    }
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word")
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_task_that_ends_or_panics_is_named() {
        let supervisor = Supervisor::default();
        supervisor.run("well", pending());
        assert!(supervisor.failed().now_or_never().is_none());
        supervisor.run("broken", async { panic!("no {}", "way") });
        let failure = supervisor.failed().await;
        assert_eq!(failure.to_string(), "broken: it panicked: no way");
        supervisor.run_on("later", async {});
        tokio::time::sleep(CONSEQUENCE * 2).await;
        assert_eq!(supervisor.failed().await, failure, "the first one stays");
    }

    #[tokio::test(start_paused = true)]
    async fn who_panics_is_named_and_not_those_that_end_of_it() {
        let supervisor = Supervisor::default();
        let (held, end) = tokio::sync::oneshot::channel::<()>();
        supervisor.run("victim", async { _ = end.await });
        // As it unwinds: what it holds goes first, and others run before its end is noted.
        let (unwinding, noted) = (held, supervisor.clone());
        drop(unwinding);
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        assert!(supervisor.failed().now_or_never().is_none());
        noted.run("culprit", async { panic!("made to") });
        assert_eq!(supervisor.failed().await.to_string(), "culprit: it panicked: made to");
        tokio::time::sleep(CONSEQUENCE * 2).await;
        assert_eq!(&*supervisor.failed().await.task, "culprit");
    }

    #[tokio::test(start_paused = true)]
    async fn each_way_to_run_a_task_watches_it() {
        let ended = |failure: Failure| failure.to_string();
        let supervisor = Supervisor::default();
        supervisor.run("a", async {});
        assert_eq!(ended(supervisor.failed().await), "a: it ended");
        let supervisor = Supervisor::default();
        supervisor.run_on("b", async {});
        assert_eq!(ended(supervisor.failed().await), "b: it ended");
        let supervisor = Supervisor::default();
        let _owned = supervisor.run_owned("c", async {});
        assert_eq!(ended(supervisor.failed().await), "c: it ended");
        let supervisor = Supervisor::default();
        supervisor.until_stop("d", async {}).await;
        assert_eq!(ended(supervisor.failed().await), "d: it ended");
    }

    #[tokio::test]
    async fn what_ends_because_the_node_stops_or_its_owner_let_go_has_not_failed() {
        let supervisor = Supervisor::default();
        drop(supervisor.run_owned("owned", pending()));
        let owned = supervisor.run_owned("to its end", supervisor.stop().clone().cancelled_owned());
        supervisor.run("until the stop", pending());
        supervisor.run_on("hears of it", supervisor.stop().clone().cancelled_owned());
        supervisor.stop().cancel();
        supervisor.tasks().close();
        supervisor.tasks().wait().await;
        owned.await.unwrap();
        assert!(supervisor.failed().now_or_never().is_none());
    }
}

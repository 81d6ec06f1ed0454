//! Traces of jobs, where BullMQ's libraries for other languages have them: as the option `tm`, a text in which JSON says what would
//! be headers.

use std::time::Duration;

use bullmq::{Job as Theirs, Queue};
use gateway_core::traces::Trace;
use serde::{Deserialize, Serialize};

use super::Shared;

/// For how long a job is held back that is to be done at once: until its trace is noted, which BullMQ for Rust cannot do while it adds
/// it. If this node ends in between, the job is done that much later.
pub(super) const HOLD: Duration = Duration::from_secs(2);

#[derive(Serialize, Deserialize)]
struct Headers {
    traceparent: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tracestate: Option<String>,
}

/// Of the options of a job, what is read here.
#[derive(Deserialize)]
struct Options {
    tm: Option<String>,
}

impl Shared {
    /// Notes in which trace a job is, and lets it go if it was held back for that. A job without its trace is done all the same.
    pub(super) async fn note_trace(&self, queue: &Queue, theirs: &Theirs, trace: &Trace, is_held: bool) {
        let headers = Headers { traceparent: trace.parent(), tracestate: trace.state().map(str::to_owned) };
        let kept = serde_json::to_string(&headers).and_then(|text| serde_json::to_string(&text)).unwrap_or_default();
        let noted = self.link.commands.run::<u8>(&self.trace, |script| {
            script.key(queue.keys().job_key(theirs.id())).arg(kept);
        });
        if let Err(error) = noted.await {
            tracing::debug!(%error, "the trace of a job could not be noted");
        }
        // One that somebody has promoted already is where it should be; any other is due in a moment.
        if is_held && let Err(error) = theirs.promote().await {
            tracing::debug!(%error, "a job that was held back for its trace is done a moment later");
        }
    }

    /// The trace that a job is in. Its options are read once more: BullMQ for Rust keeps only those that it knows.
    pub(super) async fn trace_of(&self, key: &str) -> Option<Trace> {
        let mut get = redis::cmd("HGET");
        get.arg(key).arg("opts");
        let options: Option<String> = self.link.commands.query(&get).await.ok()?;
        let options: Options = serde_json::from_str(&options?).ok()?;
        let headers: Headers = serde_json::from_str(&options.tm?).ok()?;
        Trace::parse(&headers.traceparent, headers.tracestate.as_deref().unwrap_or_default())
    }
}

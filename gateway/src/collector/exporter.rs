//! Handing spans over to a collector. Whatever it does, nobody waits for it: what finds no room is dropped, and counted.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::otlp;
use super::target::Target;
use gateway_core::calls::{Client, client};
use gateway_core::metrics::Metrics;
use gateway_core::recurring::Recurring;
use gateway_core::traces::{Finished, Recorder};

/// Spans that may wait: some megabytes.
const ROOM: usize = 8_192;
/// Spans in one request.
const MOST: usize = 512;
/// How long the first of a request waits for others.
const LINGER: Duration = Duration::from_millis(500);
/// How long the collector may take for a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is asked, with pauses in between.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long what is left may take when the node stops.
const FAREWELL: Duration = Duration::from_millis(1_500);
/// What of an answer is read.
const ANSWER_BYTES: usize = 65_536;

/// Where spans wait.
pub(super) struct Queue {
    spans: mpsc::Sender<Finished>,
    metrics: Arc<Metrics>,
    full: Recurring,
}

impl Recorder for Queue {
    fn record(&self, span: Finished) {
        if self.spans.try_send(span).is_err() {
            self.metrics.spans.with("dropped").increment(1);
            self.full.note(|what| tracing::warn!(room = ROOM, "{what}"));
        }
    }
}

/// Hands over what waits.
pub(super) struct Exporter {
    spans: mpsc::Receiver<Finished>,
    client: Client,
    target: Target,
    resource: Resource,
    metrics: Arc<Metrics>,
    untaken: Recurring,
    rejected: Recurring,
}

/// What the collector did not do.
struct Untaken {
    why: String,
    /// Whether asking again may help, and when it wants that at the earliest.
    again: Option<Duration>,
}

/// A queue, and who works it off.
///
/// # Errors
/// There is no TLS to be had at all.
pub(super) fn exporter(target: Target, resource: Resource, metrics: Arc<Metrics>) -> anyhow::Result<(Queue, Exporter)> {
    let (sender, spans) = mpsc::channel(ROOM);
    let full = Recurring::new("spans are dropped: more come than the collector of traces takes");
    let queue = Queue { spans: sender, metrics: metrics.clone(), full };
    let untaken = Recurring::new("the collector of traces does not take spans, and they are lost");
    let rejected = Recurring::new("the collector of traces does not want some spans");
    Ok((queue, Exporter { spans, client: client()?, target, resource, metrics, untaken, rejected }))
}

impl Exporter {
    /// Works until `stop`, and a moment longer for what is left.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let overtime = async {
            stop.cancelled().await;
            sleep(FAREWELL).await;
        };
        tokio::select! {
            () = self.work(&stop) => {}
            () = overtime => {}
        }
    }

    async fn work(&mut self, stop: &CancellationToken) {
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                _ = self.spans.recv_many(&mut batch, MOST) => {}
                () = stop.cancelled() => break,
            }
            let until = Instant::now() + LINGER;
            while batch.len() < MOST && !stop.is_cancelled() {
                let room = MOST - batch.len();
                tokio::select! {
                    more = timeout_at(until, self.spans.recv_many(&mut batch, room)) => if more.is_err() { break },
                    () = stop.cancelled() => break,
                }
            }
            self.hand_over(batch).await;
        }
        self.spans.close();
        let mut batch = Vec::new();
        while self.spans.recv_many(&mut batch, MOST).await > 0 {
            self.hand_over(std::mem::take(&mut batch)).await;
        }
    }

    /// Hands spans over, or gives them up.
    async fn hand_over(&self, batch: Vec<Finished>) {
        let count = batch.len() as u64;
        let body = Bytes::from(otlp::body(&self.resource, batch));
        let mut pause = PAUSE;
        for attempt in 1..=ATTEMPTS {
            let asked = timeout(PATIENCE, self.ask(body.clone())).await;
            let asked = asked.unwrap_or_else(|_| {
                Err(Untaken { why: format!("no answer within {PATIENCE:?}"), again: Some(Duration::ZERO) })
            });
            let Untaken { why, again } = match asked {
                Ok(rejected) => {
                    self.metrics.spans.with("exported").increment(count - rejected.min(count));
                    self.metrics.spans.with("rejected").increment(rejected.min(count));
                    return;
                }
                Err(untaken) => untaken,
            };
            self.untaken.note(|what| tracing::warn!(error = why, "{what}"));
            let Some(least) = again.filter(|_| attempt < ATTEMPTS) else { break };
            // Nodes that failed together do not come back together.
            sleep(least.max(pause.mul_f64(rand::random_range(0.5..=1.0)))).await;
            pause *= 2;
        }
        self.metrics.spans.with("failed").increment(count);
    }

    /// Asks once; how many of the spans it did not want.
    async fn ask(&self, body: Bytes) -> Result<u64, Untaken> {
        let protobuf = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"))]);
        let request = self.client.post(self.target.url.clone()).headers(self.target.headers.clone());
        // The URL may be a secret.
        let lost = |error: &dyn std::error::Error| Untaken { why: chain(error), again: Some(Duration::ZERO) };
        let answer = request.headers(protobuf).body(body).send().await;
        let mut answer = answer.map_err(|error| lost(&error.without_url()))?;
        let status = answer.status();
        let mut read = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| lost(&error.without_url()))? {
            // It has answered; the rest is of no interest.
            if read.len() + chunk.len() > ANSWER_BYTES {
                break;
            }
            read.extend_from_slice(&chunk);
        }
        if !status.is_success() {
            let may_pass = matches!(
                status,
                StatusCode::TOO_MANY_REQUESTS
                    | StatusCode::BAD_GATEWAY
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::GATEWAY_TIMEOUT
            );
            let again = may_pass.then(|| retry_after(answer.headers()));
            return Err(Untaken { why: format!("it answers {status}"), again });
        }
        // What makes no sense came from somebody who has taken them all the same.
        let said = ExportTraceServiceResponse::decode(&*read).ok().and_then(|said| said.partial_success);
        let rejected = said.map_or(0, |said| u64::try_from(said.rejected_spans).unwrap_or_default());
        if rejected > 0 {
            self.rejected.note(|what| tracing::warn!(spans = rejected, "{what}"));
        }
        Ok(rejected)
    }
}

/// When a collector wants to be asked again, in seconds.
fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    seconds.map_or(Duration::ZERO, Duration::from_secs).min(LONGEST_PAUSE)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

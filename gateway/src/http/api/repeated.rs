//! Requests with an `Idempotency-Key`: done once, and answered as often as they come.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use super::batch::Settled;
use super::call::Asker;
use super::problem::{Kind, MEDIA_TYPE, Problem};
use gateway_core::domain::Refusal;
use gateway_core::metrics::Metrics;
use gateway_core::port::PortError;
use gateway_core::repeats::{Begun, Repeat, Repeats};

/// What a request brings that may come again.
pub(super) const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// What an answer has that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The longest key, in bytes.
const MAX_KEY_BYTES: usize = 255;
/// The largest answer that is kept, in bytes: those of requests that change something are small.
const MAX_KEPT_BYTES: usize = 256 * 1024;
/// What is kept of a batch begins with it if some of it is still to be done.
const PARTLY: [u8; 2] = [0xff; 2];

/// Does requests once.
pub(super) struct Once<'a> {
    pub(super) repeats: &'a dyn Repeats,
    pub(super) metrics: &'a Metrics,
}

impl Once<'_> {
    /// Does a request, or answers as the first time.
    pub(super) async fn run(&self, request: Request, next: Next) -> Response {
        self.try_run(request, next).await.unwrap_or_else(Problem::into_response)
    }

    async fn try_run(&self, request: Request, next: Next) -> Result<Response, Problem> {
        let (parts, body) = request.into_parts();
        // It is here already.
        let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
        let key = key(&parts.headers)?;
        let asker =
            parts.extensions.get::<Arc<Asker>>().ok_or_else(|| Problem::new(Kind::KeyRequired, "send a key"))?;
        let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
        let repeat = Repeat {
            // Rotated keys are the same back end's.
            name: hash(&[asker.key.name.as_bytes(), key.as_bytes()]),
            print: hash(&[parts.method.as_str().as_bytes(), target.as_bytes(), &body]),
            run: rand::random(),
        };
        let begun = self.begin(&repeat).await?;
        self.metrics.api_repeats.with(word(&begun)).increment(1);
        let (again, repeat, settled) = match begun {
            Begun::New => (None, repeat, None),
            Begun::Running => return Err(running()),
            Begun::Different => {
                let words = "another request had this Idempotency-Key; each has its own";
                return Err(Problem::new(Kind::RepeatDiffers, words));
            }
            Begun::Done(answer) if partly(&answer).is_some() => {
                // One at a time does what is left of it.
                let name = hash(&[repeat.name.as_bytes(), b"again"]);
                let again = Repeat { name, print: repeat.print.clone(), run: rand::random() };
                if !matches!(self.begin(&again).await?, Begun::New) {
                    return Err(running());
                }
                // By now somebody else may have done it.
                match self.begin(&repeat).await? {
                    Begun::Done(answer) => match partly(&answer) {
                        Some((run, settled)) => (Some(again), Repeat { run, ..repeat }, Some(settled)),
                        None => {
                            self.give_up(&again).await;
                            return Ok(replayed(&answer));
                        }
                    },
                    // It was forgotten in this moment.
                    _ => {
                        self.give_up(&again).await;
                        return Err(running());
                    }
                }
            }
            Begun::Done(answer) => return Ok(replayed(&answer)),
        };
        let mut request = Request::from_parts(parts, Body::from(body));
        let is_first = settled.is_none();
        if let Some(settled) = settled {
            request.extensions_mut().insert(settled);
        }
        let response = self.keep(&repeat, is_first, next.run(request).await).await;
        if let Some(again) = again {
            self.give_up(&again).await;
        }
        Ok(response)
    }

    async fn begin(&self, repeat: &Repeat) -> Result<Begun, Problem> {
        self.repeats.begin(repeat).await.map_err(|error| self.failed(&error))
    }

    /// Nobody can do more about it than wait for its time to be over.
    async fn give_up(&self, repeat: &Repeat) {
        self.repeats.give_up(repeat).await.map_err(|error| self.failed(&error)).ok();
    }

    /// Keeps an answer, as far as it is one for good.
    async fn keep(&self, repeat: &Repeat, is_first: bool, response: Response) -> Response {
        if may_pass(response.status()) {
            // What was kept of it before stays.
            if is_first {
                self.give_up(repeat).await;
            }
            return response;
        }
        let (mut parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
        let answer = match parts.extensions.remove::<Settled>() {
            Some(settled) => written_partly(repeat.run, &settled),
            None => written(parts.status, parts.headers.get(CONTENT_TYPE), &body),
        };
        let answer = if answer.len() > MAX_KEPT_BYTES {
            let problem = Problem::new(Kind::AnswerNotKept, "it was done, and its answer was too large to be kept");
            written(problem.status, Some(&HeaderValue::from_static(MEDIA_TYPE)), problem.text().as_bytes())
        } else {
            answer
        };
        self.repeats.finish(repeat, &answer).await.map_err(|error| self.failed(&error)).ok();
        Response::from_parts(parts, Body::from(body))
    }

    fn failed(&self, error: &PortError) -> Problem {
        self.metrics.api_repeats.with("unavailable").increment(1);
        error.tell("the store of answers to repeated requests failed");
        Refusal::Unavailable.into()
    }
}

fn running() -> Problem {
    let words = "a request with this Idempotency-Key is still under way";
    Problem::new(Kind::RepeatRunning, words).after(Duration::from_secs(1))
}

fn replayed(answer: &[u8]) -> Response {
    read(answer).unwrap_or_else(|| Problem::from(Refusal::Unavailable).into_response())
}

fn word(begun: &Begun) -> &'static str {
    match begun {
        Begun::New => "new",
        Begun::Running => "running",
        Begun::Different => "different",
        Begun::Done(_) => "replayed",
    }
}

/// Whether the same request may have another answer when it comes again.
pub(super) fn may_pass(status: StatusCode) -> bool {
    let passing = [StatusCode::FORBIDDEN, StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    status.is_server_error() || passing.contains(&status)
}

fn key(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut keys = headers.get_all(KEY).iter();
    let key = keys.next().and_then(|key| key.to_str().ok()).filter(|_| keys.next().is_none());
    let fits = |key: &&str| (1..=MAX_KEY_BYTES).contains(&key.len());
    key.filter(fits).ok_or_else(|| {
        Problem::new(
            Kind::BadParameter,
            format!("there is one Idempotency-Key, of 1 to {MAX_KEY_BYTES} printable characters"),
        )
    })
}

/// With their lengths in front, no texts read like others.
fn hash(texts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An answer as it is kept: status, length of the content type, content type, body.
fn written(status: StatusCode, kind: Option<&HeaderValue>, body: &[u8]) -> Vec<u8> {
    let kind = kind.map_or(&[][..], HeaderValue::as_bytes);
    let mut bytes = status.as_u16().to_be_bytes().to_vec();
    bytes.push(u8::try_from(kind.len()).unwrap_or_default());
    bytes.extend_from_slice(&kind[..usize::from(bytes[2])]);
    bytes.extend_from_slice(body);
    bytes
}

/// What of a batch is done, with who began it, as it is kept: behind what is no status.
fn written_partly(run: u64, settled: &Settled) -> Vec<u8> {
    let mut bytes = PARTLY.to_vec();
    bytes.extend_from_slice(&run.to_be_bytes());
    serde_json::to_writer(&mut bytes, settled).ok();
    bytes
}

fn partly(bytes: &[u8]) -> Option<(u64, Settled)> {
    let (run, settled) = bytes.strip_prefix(&PARTLY)?.split_first_chunk()?;
    Some((u64::from_be_bytes(*run), serde_json::from_slice(settled).ok()?))
}

fn read(bytes: &[u8]) -> Option<Response> {
    let (status, rest) = bytes.split_at_checked(2)?;
    let (length, rest) = rest.split_first()?;
    let (kind, body) = rest.split_at_checked(usize::from(*length))?;
    let mut response = Response::new(Body::from(Bytes::copy_from_slice(body)));
    *response.status_mut() = StatusCode::from_u16(u16::from_be_bytes([status[0], status[1]])).ok()?;
    if !kind.is_empty() {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_bytes(kind).ok()?);
    }
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_read_as_it_was_written() {
        let json = HeaderValue::from_static("application/json");
        for (status, kind, body) in [(201, Some(&json), "{}"), (204, None, "")] {
            let response = read(&written(StatusCode::from_u16(status).unwrap(), kind, body.as_bytes())).unwrap();
            assert_eq!((response.status().as_u16(), response.headers().get(CONTENT_TYPE)), (status, kind));
            assert_eq!(&response.headers()[REPLAYED], "true");
            assert_eq!(to_bytes(response.into_body(), 9).await.unwrap(), body);
        }
        for damaged in [&b""[..], &[0], &[0, 200], &[0, 200, 9, 1], &[0, 0, 0]] {
            assert!(read(damaged).is_none(), "{damaged:?}");
        }
    }

    #[test]
    fn requests_differ_by_all_that_they_are() {
        let one = hash(&[b"POST", b"/a", b"{}"]);
        assert_eq!(one, hash(&[b"POST", b"/a", b"{}"]));
        for other in [[&b"PUT"[..], b"/a", b"{}"], [b"POST", b"/a{", b"}"], [b"POST", b"/a", b"{ }"]] {
            assert_ne!(one, hash(&other));
        }
    }
}

//! Back ends that answer, refuse, hang, break off, lie and come back: what callers get of it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use gateway_core::calls::{Asker, Breaker, Caller, Endpoint, Purpose, Source};
use gateway_core::domain::{Refusal, SessionId};
use gateway_core::metrics::Metrics;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::support::{self, eventually};

/// Longer than any attempt or call of these tests: an answer for which nobody waits.
const NEVER: Duration = Duration::from_secs(60);

/// What a back end was sent.
#[derive(Clone, Debug)]
struct Seen {
    uri: Uri,
    headers: HeaderMap,
    body: String,
    at: Instant,
}

impl Seen {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// One answer of a back end.
enum Reply {
    Now(Response),
    After(Duration, Response),
    /// When the gate has room.
    Gated,
}

/// A real server that gives the replies it was told to give, the last one again and again.
struct BackEnd {
    address: SocketAddr,
    script: Arc<Script>,
}

struct Script {
    replies: Mutex<VecDeque<Box<dyn Fn() -> Reply + Send>>>,
    seen: Mutex<Vec<Seen>>,
    gate: Semaphore,
}

impl BackEnd {
    async fn start() -> Self {
        let script = Arc::new(Script { replies: Mutex::default(), seen: Mutex::default(), gate: Semaphore::new(0) });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(reply).with_state(script.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, script }
    }

    fn then(self, reply: impl Fn() -> Reply + Send + 'static) -> Self {
        self.script.replies.lock().unwrap().push_back(Box::new(reply));
        self
    }

    fn answers(self, status: u16, body: &'static str) -> Self {
        self.then(move || now(status, body))
    }

    fn endpoint(&self) -> Endpoint {
        endpoint(self.address)
    }

    fn seen(&self) -> Vec<Seen> {
        self.script.seen.lock().unwrap().clone()
    }

    fn requests(&self) -> usize {
        self.script.seen.lock().unwrap().len()
    }
}

async fn reply(State(script): State<Arc<Script>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let body = String::from_utf8(body.to_vec()).unwrap();
    script.seen.lock().unwrap().push(Seen { uri, headers, body, at: Instant::now() });
    let reply = {
        let mut replies = script.replies.lock().unwrap();
        let reply = replies.front().expect("nothing was said about what to answer")();
        if replies.len() > 1 {
            replies.pop_front();
        }
        reply
    };
    match reply {
        Reply::Now(response) => response,
        Reply::After(time, response) => {
            tokio::time::sleep(time).await;
            response
        }
        Reply::Gated => {
            script.gate.acquire().await.unwrap().forget();
            "1".into_response()
        }
    }
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap()
}

fn now(code: u16, body: &'static str) -> Reply {
    Reply::Now((status(code), body).into_response())
}

fn endpoint(address: SocketAddr) -> Endpoint {
    let mut endpoint = Endpoint::new(format!("http://{address}/orders").parse().unwrap());
    endpoint.backoff = Duration::from_millis(5);
    endpoint.breaker.failures = 0;
    endpoint.check().unwrap();
    endpoint
}

/// Somebody of an address of its own.
fn asker(number: u8) -> Asker {
    let session = SessionId::parse(&format!("{number:032x}")).unwrap();
    Asker { session, source: Source::Address([10, 0, 0, number].into()) }
}

/// A caller with what it counted.
struct Client {
    caller: Arc<Caller>,
    metrics: Arc<Metrics>,
}

impl Client {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(changes: &[(&str, &str)]) -> Self {
        let metrics = Arc::new(Metrics::new());
        let caller = Caller::new(&support::config(changes).calls, metrics.clone()).unwrap();
        Self { caller: Arc::new(caller), metrics }
    }

    async fn call(&self, endpoint: &Endpoint) -> Result<String, Refusal> {
        let answer = self.caller.call(endpoint, &asker(1), "order-1", r#"{"sku":7}"#.into()).await;
        answer.map(|json: Box<RawValue>| json.get().to_owned())
    }

    fn count(&self, series: &str) -> f64 {
        let text = self.metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned));
        line.unwrap_or_else(|| panic!("there is no {series} in\n{text}")).parse().unwrap()
    }

    /// Everything that was counted about calls is what is named here.
    fn assert_results(&self, expected: &[(&str, u32)]) {
        for result in gateway_core::metrics::CALL_RESULTS {
            let named = expected.iter().find(|(name, _)| *name == result).map_or(0, |(_, count)| *count);
            let counted = self.count(&format!(r#"gateway_calls_total{{result="{result}"}}"#));
            assert_eq!(counted, f64::from(named), "{result}");
        }
        assert_eq!(self.count("gateway_calls_in_flight"), 0.0);
    }
}

fn rejected(words: &str) -> Result<String, Refusal> {
    Err(Refusal::Rejected(words.into()))
}

const UNAVAILABLE: Result<String, Refusal> = Err(Refusal::Unavailable);

/// A server below HTTP: sends the bytes to whoever has sent a request, and ends the connection.
async fn raw(answer: &'static [u8]) -> (SocketAddr, Arc<Mutex<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, connections) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(0)));
    let counted = connections.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            *counted.lock().unwrap() += 1;
            let mut request = vec![0; 4096];
            let _ = stream.read(&mut request).await;
            stream.write_all(answer).await.ok();
            stream.shutdown().await.ok();
        }
    });
    (address, connections)
}

#[tokio::test]
async fn the_answer_is_passed_on_as_it_came() {
    let text = "{ \"z\": 1.0000000000000000001, \"a\":\n[null] }";
    let back_end = BackEnd::start().await.answers(201, text);
    let client = Client::new();
    let mut endpoint = back_end.endpoint();
    endpoint.url.set_query(Some("team=7"));
    endpoint.headers.insert("authorization", HeaderValue::from_static("Bearer key"));
    assert_eq!(client.call(&endpoint).await.as_deref(), Ok(text));
    let seen = back_end.seen().remove(0);
    assert_eq!((seen.uri.to_string().as_str(), seen.body.as_str()), ("/orders?team=7", r#"{"sku":7}"#));
    let expected = [
        ("content-type", "application/json"),
        ("accept", "application/json"),
        ("idempotency-key", "order-1"),
        ("authorization", "Bearer key"),
        ("user-agent", concat!("gateway/", env!("CARGO_PKG_VERSION"))),
        ("accept-encoding", ""),
    ];
    for (name, value) in expected {
        assert_eq!(seen.header(name), value, "{name}");
    }
    assert_eq!(seen.header("x-request-id").len(), 32);
    client.assert_results(&[("ok", 1)]);
    assert_eq!(client.count("gateway_call_duration_seconds_count"), 1.0);
}

#[tokio::test]
async fn nothing_to_say_is_null() {
    for (code, body) in [(204, ""), (200, ""), (202, " \r\n")] {
        let back_end = BackEnd::start().await.answers(code, body);
        assert_eq!(Client::new().call(&back_end.endpoint()).await.as_deref(), Ok("null"), "{code}");
    }
}

#[tokio::test]
async fn headers_of_the_table_have_precedence_over_the_usual_ones() {
    let back_end = BackEnd::start().await.answers(200, "1");
    let mut endpoint = back_end.endpoint();
    endpoint.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/vnd.api+json"));
    Client::new().call(&endpoint).await.unwrap();
    assert_eq!(back_end.seen()[0].header("content-type"), "application/vnd.api+json");
    assert_eq!(back_end.seen()[0].headers.get_all(CONTENT_TYPE).iter().count(), 1);
}

#[tokio::test]
async fn a_no_is_passed_on_in_words_that_are_fit_for_it() {
    let longest: &'static str = format!(r#"{{"message":"{}"}}"#, "é".repeat(200)).leak();
    let too_long: &'static str = format!(r#"{{"message":"{}"}}"#, "é".repeat(201)).leak();
    let a_page: &'static str = format!(r#"{{"message":"no","page":"{}"}}"#, "x".repeat(100_000)).leak();
    let table = [
        (400, r#"{"message":"no credit","code":7}"#, "no credit"),
        (422, longest, &"é".repeat(200)),
        (403, too_long, "the back end refused"),
        (404, r#"{"message":"two\nlines"}"#, "the back end refused"),
        (409, r#"{"message":""}"#, "the back end refused"),
        (409, r#"{"message":{"text":"no"}}"#, "the back end refused"),
        (410, r#"{"error":"no"}"#, "the back end refused"),
        (401, "<html>no</html>", "the back end refused"),
        (402, "", "the back end refused"),
        (413, a_page, "the back end refused"),
    ];
    for (code, body, words) in table {
        let back_end = BackEnd::start().await.answers(code, body);
        let client = Client::new();
        assert_eq!(client.call(&back_end.endpoint()).await, rejected(words), "{code} {body:.80}");
        assert_eq!(back_end.requests(), 1, "asking again would not change it");
        client.assert_results(&[("rejected", 1)]);
    }
}

#[tokio::test]
async fn what_may_pass_is_tried_again_under_the_same_key() {
    let back_end = BackEnd::start().await.answers(500, "").answers(503, "").answers(200, "7");
    let client = Client::new();
    assert_eq!(client.call(&back_end.endpoint()).await.as_deref(), Ok("7"));
    let seen = back_end.seen();
    assert_eq!(seen.len(), 3);
    for attempt in &seen {
        assert_eq!(attempt.header("idempotency-key"), "order-1");
        assert_eq!(attempt.header("x-request-id"), seen[0].header("x-request-id"));
        assert_eq!(attempt.body, seen[0].body);
    }
    assert!(seen[2].at - seen[1].at >= Duration::from_millis(10), "twice as long before the third");
    client.assert_results(&[("ok", 1)]);
    assert_eq!(client.count("gateway_call_retries_total"), 2.0);
    Client::new().call(&back_end.endpoint()).await.unwrap();
    assert_ne!(back_end.seen()[3].header("x-request-id"), seen[0].header("x-request-id"), "another call");
}

#[tokio::test]
async fn it_is_tried_as_often_as_the_table_says() {
    for attempts in [1, 4] {
        let back_end = BackEnd::start().await.answers(502, "");
        let client = Client::new();
        let endpoint = Endpoint { attempts, ..back_end.endpoint() };
        assert_eq!(client.call(&endpoint).await, UNAVAILABLE);
        assert_eq!(back_end.requests(), attempts as usize);
        client.assert_results(&[("failed", 1)]);
    }
}

#[tokio::test]
async fn a_back_end_that_is_not_there() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let client = Client::new();
    assert_eq!(client.call(&endpoint(address)).await, UNAVAILABLE);
    client.assert_results(&[("failed", 1)]);
    assert_eq!(client.count("gateway_call_retries_total"), 2.0);
}

#[tokio::test]
async fn a_hanging_back_end_costs_no_more_than_its_timeouts() {
    let back_end = BackEnd::start().await.then(|| Reply::After(NEVER, "1".into_response()));
    let client = Client::new();
    let timeout = Duration::from_millis(500);
    let endpoint = Endpoint { timeout, attempts: 3, ..back_end.endpoint() };
    let start = Instant::now();
    assert_eq!(client.call(&endpoint).await, UNAVAILABLE);
    let took = start.elapsed();
    assert!(took >= timeout * 2 && took < timeout * 3 + Duration::from_secs(5), "{took:?}");
    assert_eq!(back_end.requests(), 3);
    client.assert_results(&[("timeout", 1)]);
}

#[tokio::test]
async fn a_slow_answer_is_waited_for_and_a_hanging_one_replaced() {
    let slow = || Reply::After(Duration::from_millis(50), "1".into_response());
    let back_end = BackEnd::start().await.then(|| Reply::After(NEVER, "0".into_response())).then(slow);
    let client = Client::new();
    let endpoint = Endpoint { timeout: Duration::from_secs(2), ..back_end.endpoint() };
    assert_eq!(client.call(&endpoint).await.as_deref(), Ok("1"));
    assert_eq!(back_end.requests(), 2);
}

#[tokio::test]
async fn long_backoffs_do_not_take_the_time_for_the_attempts() {
    let back_end = BackEnd::start().await.answers(500, "").answers(200, "1");
    let mut endpoint = back_end.endpoint();
    (endpoint.timeout, endpoint.backoff) = (Duration::from_secs(1), NEVER);
    let start = Instant::now();
    assert_eq!(Client::new().call(&endpoint).await.as_deref(), Ok("1"));
    assert!(start.elapsed() <= Duration::from_secs(10), "{:?}", start.elapsed());
}

#[tokio::test]
async fn answers_that_cannot_be_passed_on_are_failures() {
    // `{"a":1}` in gzip. Who unpacked it would take it.
    const GZIP: &[u8] = &[
        0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0x02, 0x03, 0xab, 0x56, 0x4a, 0x54, 0xb2, 0x32, 0xac, 0x05, 0, 0xaf, 0xac,
        0x1b, 0x56, 0x07, 0, 0, 0,
    ];
    let replies: [fn() -> Response; 6] = [
        || "{\"a\":".into_response(),
        || "hello".into_response(),
        || "1 2".into_response(),
        || vec![b'"', 0xff, b'"'].into_response(),
        || ([(CONTENT_ENCODING, "gzip")], GZIP).into_response(),
        // Plain JSON that says it is something else.
        || ([(CONTENT_ENCODING, "br")], "1").into_response(),
    ];
    for (number, reply) in replies.into_iter().enumerate() {
        let back_end = BackEnd::start().await.then(move || Reply::Now(reply()));
        let client = Client::new();
        assert_eq!(client.call(&back_end.endpoint()).await, UNAVAILABLE, "{number}");
        assert_eq!(back_end.requests(), 3);
        client.assert_results(&[("failed", 1)]);
    }
}

#[tokio::test]
async fn an_answer_may_be_as_large_as_configured() {
    let client = Client::with(&[("GATEWAY_CALLS__ANSWER_BYTES", "1000")]);
    let text = |bytes: usize| -> &'static str { format!("\"{}\"", "x".repeat(bytes - 2)).leak() };
    let (fits, exceeds) = (text(1000), text(1001));
    assert_eq!(client.call(&BackEnd::start().await.answers(200, fits).endpoint()).await.as_deref(), Ok(fits));
    assert_eq!(client.call(&BackEnd::start().await.answers(200, exceeds).endpoint()).await, UNAVAILABLE);
    // Without a length, and without an end.
    let endless = || {
        let chunks = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 100])));
        Reply::Now(axum::body::Body::from_stream(chunks).into_response())
    };
    let back_end = BackEnd::start().await.then(endless);
    let endpoint = Endpoint { timeout: Duration::from_secs(10), attempts: 1, ..back_end.endpoint() };
    assert_eq!(client.call(&endpoint).await, UNAVAILABLE);
    client.assert_results(&[("ok", 1), ("failed", 2)]);
}

#[tokio::test]
async fn connections_that_break() {
    let answers: [&[u8]; 5] = [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"half\":",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n7\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
    ];
    for answer in answers {
        let (address, connections) = raw(answer).await;
        let client = Client::new();
        assert_eq!(client.call(&endpoint(address)).await, UNAVAILABLE, "{answer:?}");
        assert_eq!(*connections.lock().unwrap(), 3, "{answer:?}");
        client.assert_results(&[("failed", 1)]);
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = BackEnd::start().await.answers(200, "1");
    for code in [301, 302, 307, 308] {
        let target = format!("http://{}/secret", elsewhere.address);
        let back_end = BackEnd::start()
            .await
            .then(move || Reply::Now((status(code), [(LOCATION, target.clone())]).into_response()));
        let client = Client::new();
        assert_eq!(client.call(&back_end.endpoint()).await, UNAVAILABLE, "{code}");
        assert_eq!(back_end.requests(), 1, "asking again would not change it");
        client.assert_results(&[("failed", 1)]);
    }
    let round = BackEnd::start().await.then(|| Reply::Now((status(302), [(LOCATION, "/orders")]).into_response()));
    assert_eq!(Client::new().call(&round.endpoint()).await, UNAVAILABLE);
    assert_eq!((round.requests(), elsewhere.requests()), (1, 0));
}

fn later(code: u16, after: &'static str) -> impl Fn() -> Reply + Send + 'static {
    move || Reply::Now((status(code), [(RETRY_AFTER, after)]).into_response())
}

/// The same with a date, two seconds from then. It has whole seconds, so up to one of the two is lost.
fn later_by_date() -> Reply {
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(2));
    Reply::Now((status(429), [(RETRY_AFTER, date)]).into_response())
}

#[tokio::test]
async fn not_now_is_tried_again_when_the_back_end_says() {
    let table: [(Box<dyn Fn() -> Reply + Send>, Duration); 5] = [
        (Box::new(later(429, "1")), Duration::from_secs(1)),
        (Box::new(later(503, "1")), Duration::from_secs(1)),
        (Box::new(later_by_date), Duration::from_millis(900)),
        (Box::new(later(408, "0")), Duration::ZERO),
        (Box::new(later(425, "nonsense")), Duration::ZERO),
    ];
    for (number, (reply, least)) in table.into_iter().enumerate() {
        let back_end = BackEnd::start().await.then(reply).answers(200, "1");
        let client = Client::new();
        assert_eq!(client.call(&back_end.endpoint()).await.as_deref(), Ok("1"), "{number}");
        let seen = back_end.seen();
        assert_eq!(seen.len(), 2);
        assert!(seen[1].at - seen[0].at >= least, "{number}: {:?}", seen[1].at - seen[0].at);
        client.assert_results(&[("ok", 1)]);
    }
}

#[tokio::test]
async fn who_has_to_wait_for_longer_than_the_call_may_take_is_told_how_long() {
    let table = [
        (later(429, "30"), Err(Refusal::RateLimited { retry_after: Duration::from_secs(30) }), "postponed"),
        (later(429, "999999999"), Err(Refusal::RateLimited { retry_after: Duration::from_secs(3600) }), "postponed"),
        (later(503, "30"), UNAVAILABLE, "failed"),
    ];
    for (reply, expected, result) in table {
        let back_end = BackEnd::start().await.then(reply);
        let client = Client::new();
        assert_eq!(client.call(&back_end.endpoint()).await, expected);
        assert_eq!(back_end.requests(), 1);
        client.assert_results(&[(result, 1)]);
    }
    let back_end = BackEnd::start().await.answers(429, "");
    let client = Client::new();
    assert_eq!(client.call(&back_end.endpoint()).await, UNAVAILABLE, "it does not say how long");
    assert_eq!(back_end.requests(), 3);
    client.assert_results(&[("postponed", 1)]);
}

#[tokio::test]
async fn a_breaker_opens_lets_one_through_and_closes() {
    let back_end = BackEnd::start().await.answers(500, "").answers(500, "").answers(500, "").then(|| Reply::Gated);
    let client = Client::new();
    let pause = Duration::from_secs(2);
    let endpoint = Endpoint { attempts: 2, breaker: Breaker { failures: 3, pause }, ..back_end.endpoint() };
    assert_eq!(client.call(&endpoint).await, UNAVAILABLE);
    // The third failure in a row opens it; the second attempt of this call is not made any more.
    assert_eq!(client.call(&endpoint).await, UNAVAILABLE);
    assert_eq!(back_end.requests(), 3);
    let mut elsewhere = endpoint.clone();
    elsewhere.url.set_query(Some("another=query"));
    assert_eq!(client.call(&elsewhere).await, UNAVAILABLE);
    client.assert_results(&[("failed", 2), ("open", 1)]);
    assert_eq!(client.count("gateway_call_breaker_openings_total{by=\"one\"}"), 1.0);
    assert_eq!(client.count("gateway_call_breakers_open{of=\"routes\"}"), 0.0, "it may work for others");
    assert_eq!(back_end.requests(), 3, "nobody asked");

    let probe = {
        let (caller, endpoint) = (client.caller.clone(), endpoint.clone());
        async move {
            loop {
                match caller.call(&endpoint, &asker(1), "order-2", "{}".into()).await {
                    Err(Refusal::Unavailable) => tokio::time::sleep(Duration::from_millis(5)).await,
                    result => return result.map(|json| json.get().to_owned()),
                }
            }
        }
    };
    let probe = tokio::spawn(probe);
    eventually("one is let through", async || back_end.requests() == 4).await;
    assert!(back_end.seen()[3].at - back_end.seen()[2].at >= pause, "it was left alone");
    for _ in 0..5 {
        assert_eq!(client.call(&endpoint).await, UNAVAILABLE, "only one");
    }
    assert_eq!(back_end.requests(), 4);
    back_end.script.gate.add_permits(100);
    assert_eq!(probe.await.unwrap().as_deref(), Ok("1"));
    for _ in 0..5 {
        assert_eq!(client.call(&endpoint).await.as_deref(), Ok("1"));
    }
    assert_eq!(client.count("gateway_call_breaker_openings_total{by=\"one\"}"), 1.0);
}

#[tokio::test]
async fn what_is_left_alone_is_counted_by_what_it_is_asked_for() {
    let back_end = BackEnd::start().await.answers(500, "").answers(500, "").then(|| Reply::Gated);
    let client = Client::new();
    let breaker = Breaker { failures: 2, pause: Duration::from_millis(100) };
    let endpoint = Endpoint { attempts: 1, breaker, ..back_end.endpoint() };
    let of_auth = Endpoint { purpose: Purpose::Auth, ..endpoint.clone() };
    let open = |of: &str| client.count(&format!("gateway_call_breakers_open{{of=\"{of}\"}}"));
    let call = async |endpoint: &Endpoint, who| client.caller.call(endpoint, &asker(who), "order-3", "{}".into()).await;
    call(&endpoint, 1).await.unwrap_err();
    assert_eq!(open("routes"), 0.0);
    call(&of_auth, 2).await.unwrap_err();
    assert_eq!((open("routes"), open("auth"), open("hooks")), (1.0, 1.0, 0.0), "one breaker, asked for two things");
    back_end.script.gate.add_permits(100);
    eventually("it works again", async || call(&endpoint, 1).await.is_ok()).await;
    assert_eq!((open("routes"), open("auth")), (0.0, 0.0));
}

#[tokio::test]
async fn a_no_does_not_open_a_breaker_and_a_moved_back_end_does() {
    let breaker = Breaker { failures: 2, pause: NEVER };
    for (code, reaches) in [(400, 4), (429, 4), (302, 2), (500, 2)] {
        let back_end = BackEnd::start().await.answers(code, "");
        let client = Client::new();
        let endpoint = Endpoint { attempts: 1, breaker, ..back_end.endpoint() };
        for _ in 0..4 {
            client.call(&endpoint).await.unwrap_err();
        }
        assert_eq!(back_end.requests(), reaches, "{code}");
    }
}

#[tokio::test]
async fn calls_under_way_are_bounded_for_each_back_end() {
    let (busy, idle) = (BackEnd::start().await.then(|| Reply::Gated), BackEnd::start().await.answers(200, "1"));
    let client = Client::with(&[("GATEWAY_CALLS__IN_FLIGHT", "2")]);
    let under_way: Vec<_> = (0..2)
        .map(|_| {
            let (caller, endpoint) = (client.caller.clone(), busy.endpoint());
            tokio::spawn(async move { caller.call(&endpoint, &asker(1), "order-1", "{}".into()).await.is_ok() })
        })
        .collect();
    eventually("both are under way", async || busy.requests() == 2).await;
    assert_eq!(client.count("gateway_calls_in_flight"), 2.0);
    assert_eq!(client.call(&busy.endpoint()).await, Err(Refusal::Overloaded));
    assert_eq!(client.call(&idle.endpoint()).await.as_deref(), Ok("1"), "another one is not concerned");
    busy.script.gate.add_permits(3);
    for call in under_way {
        assert!(call.await.unwrap());
    }
    assert_eq!(client.call(&busy.endpoint()).await.as_deref(), Ok("1"));
    client.assert_results(&[("ok", 4), ("overloaded", 1)]);
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_gives_everything_back() {
    let back_end = BackEnd::start().await.answers(500, "").then(|| Reply::Gated);
    let client = Client::with(&[("GATEWAY_CALLS__IN_FLIGHT", "1")]);
    let breaker = Breaker { failures: 1, pause: Duration::from_millis(1) };
    let endpoint = Endpoint { attempts: 1, timeout: NEVER, breaker, ..back_end.endpoint() };
    assert_eq!(client.call(&endpoint).await, UNAVAILABLE);
    for round in 2..5 {
        // Each of these is a probe: the breaker is open.
        let (caller, asked) = (client.caller.clone(), endpoint.clone());
        tokio::time::sleep(Duration::from_millis(2)).await;
        let call = tokio::spawn(async move { caller.call(&asked, &asker(1), "order-1", "{}".into()).await.is_ok() });
        eventually("it is under way", async || back_end.requests() == round).await;
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
    }
    client.assert_results(&[("failed", 1), ("cancelled", 3)]);
    // The server does not know that nobody waits: room for those, too.
    back_end.script.gate.add_permits(100);
    eventually("it is asked again", async || client.call(&endpoint).await.as_deref() == Ok("1")).await;
}

#[tokio::test]
async fn a_key_that_cannot_be_a_header() {
    let back_end = BackEnd::start().await.answers(200, "1");
    let client = Client::new();
    for key in ["two\nlines", "nul\0"] {
        let refused = client.caller.call(&back_end.endpoint(), &asker(1), key, "{}".into()).await.unwrap_err();
        assert_eq!(refused.code(), "bad_request", "{key:?}");
    }
    assert_eq!(back_end.requests(), 0);
    client.assert_results(&[]);
}

/// A back end that has a mistake: it fails at one input and hangs at another.
async fn fragile() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = async |body: String| {
        if body.contains("slow") {
            tokio::time::sleep(NEVER).await;
        }
        if body.contains("boom") { status(500) } else { status(204) }
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_client_sends_keeps_nobody_else_from_a_back_end() {
    let address = fragile().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    let route = format!("event = \"order\"\naction = \"call\"\nurl = \"http://{address}/\"\ntimeout = \"300ms\"");
    std::fs::write(&file, format!("[[route]]\n{route}\n")).unwrap();
    for input in ["boom", "slow"] {
        let changes: Vec<_> = support::NO_LIMITS.to_vec();
        let mut config = support::config(&changes);
        config.file = Some(file.clone());
        let node = gateway::app::Gateway::start(config, 20_000).await.unwrap();
        let mut attackers = Vec::new();
        // More sessions than failures open a breaker.
        for _ in 0..8 {
            attackers.push(support::client::Client::connect(node.address).await);
        }
        let mut others = Vec::new();
        for _ in 0..3 {
            others.push(support::client::Client::connect(node.address).await);
        }
        let attack = attackers.into_iter().map(|mut attacker| {
            tokio::spawn(async move {
                loop {
                    attacker.ask("order", serde_json::json!(input)).await;
                }
            })
        });
        let attack: Vec<_> = attack.collect();
        let opened = || support::metric(&node, "gateway_call_breaker_openings_total{by=\"one\"}");
        let mut asked = 0;
        while opened() < 8.0 || asked < 50 {
            for other in &mut others {
                let ack = other.ask("order", serde_json::json!("well")).await;
                assert_eq!(ack["ok"], true, "{input}: {ack} after {asked}");
                asked += 1;
            }
        }
        assert_eq!(support::metric(&node, "gateway_call_breaker_openings_total{by=\"all\"}"), 0.0);
        attack.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

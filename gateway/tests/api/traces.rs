//! Traces: from a request over what waits to whoever hears of it, as a collector of OpenTelemetry sees them.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use gateway::app::Gateway;
use gateway_core::config::{BackEnd, Secret};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyOf;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Value, json};
use tempfile::{NamedTempFile, TempDir};
use tokio::time::{Instant, timeout};

use crate::caller::{self, Caller};
use crate::support::client::Client;
use crate::support::receiver::{Receiver, Reply};
use crate::support::{eventually, metric};

const ID: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const SIGNED_BY: &str = "0123456789abcdef";
/// What nobody may find in a trace.
const PAYLOAD: &str = "hunter2";

fn brought(flags: &str) -> String {
    format!("traceparent: 00-{ID}-{PARENT}-{flags}\r\ntracestate: a=1\r\n")
}

/// A node with a hook, a back end for jobs and a route that calls, all at one receiver; and what has to live as long.
struct Bench {
    node: Gateway,
    caller: Caller,
    told: Receiver,
    _file: NamedTempFile,
}

impl Bench {
    async fn start(collector: Option<&Receiver>, changes: &[(&str, &str)]) -> Self {
        let told = Receiver::start().await;
        let url = told.url();
        let file = NamedTempFile::new().unwrap();
        let text = format!(
            "[[hook]]\nname = \"audit\"\nurl = {url:?}\nevents = [\"publish\"]\nsecrets = [{SIGNED_BY:?}]\n\
             [[route]]\nevent = \"order\"\naction = \"call\"\nurl = {url:?}\n"
        );
        std::fs::write(file.path(), text).unwrap();
        let endpoint = collector.map(|collector| format!("http://{}?key={PAYLOAD}", collector.address));
        let headers = format!("authorization=Bearer%20{PAYLOAD}");
        let mut all = vec![("GATEWAY_HOOKS__INTERVAL", "10ms"), ("GATEWAY_JOBS__BACKOFF", "50ms")];
        all.extend([("GATEWAY_TELEMETRY__SAMPLE", "0"), ("GATEWAY_TELEMETRY__OTLP_HEADERS", &headers)]);
        all.extend(endpoint.as_ref().map(|endpoint| ("GATEWAY_TELEMETRY__OTLP_ENDPOINT", endpoint.as_str())));
        all.extend_from_slice(changes);
        let (mut config, key) = caller::config(&all);
        config.file = Some(file.path().to_owned());
        let secrets = vec![Secret::from(SIGNED_BY.to_owned())];
        let timeout = Duration::from_secs(2);
        config.jobs.back_end = vec![BackEnd { name: "billing".into(), url: url.into(), secrets, timeout }];
        let node = Gateway::start(config, 20_000).await.unwrap();
        let caller = Caller { address: node.api_address, key };
        Self { node, caller, told, _file: file }
    }

    async fn publish(&self, headers: &str, id: &str) -> Value {
        let body = json!({ "event": "said", "data": { "word": PAYLOAD, "id": id } }).to_string();
        let path = format!("/api/v1/rooms/{PAYLOAD}-room/events?namespace=/");
        let answer = self.caller.ask_with("POST", &path, headers, Some(&body)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body
    }

    /// Publishes, and waits for what the hook is sent.
    async fn heard(&self, headers: &str) -> (String, Value) {
        let before = self.told.requests().len();
        self.publish(headers, "x").await;
        eventually("the hook hears of it", || async { self.told.requests().len() > before }).await;
        let request = self.told.requests()[before].clone();
        (request.header("traceparent").to_owned(), request.events()[0].clone())
    }
}

/// All spans that a collector was handed.
fn spans(collector: &Receiver) -> Vec<Span> {
    let decoded = |body: &Bytes| ExportTraceServiceRequest::decode(body.clone()).unwrap();
    let requests = collector.requests();
    let resources = requests.iter().flat_map(|request| decoded(&request.body).resource_spans);
    resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
}

/// Waits until spans of all these names are there; returns them in this order.
async fn named(collector: &Receiver, names: &[&str]) -> Vec<Span> {
    let find = |name: &&str| spans(collector).into_iter().find(|span| span.name == *name);
    let what = format!("spans {names:?}");
    eventually(&what, || async { names.iter().all(|name| find(name).is_some()) }).await;
    names.iter().filter_map(find).collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn said(attributes: &[KeyValue], name: &str) -> String {
    let value = attributes.iter().find(|it| it.key == name).and_then(|it| it.value.clone()?.value);
    match value {
        Some(AnyOf::StringValue(text)) => text,
        Some(AnyOf::IntValue(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// Each is a part of the one before it.
fn are_nested(spans: &[Span], first_parent: &str) {
    let mut parent = first_parent.to_owned();
    for span in spans {
        assert_eq!((hexadecimal(&span.trace_id).as_str(), hexadecimal(&span.parent_span_id)), (ID, parent), "{span:?}");
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{span:?}");
        parent = hexadecimal(&span.span_id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_goes_on_in_its_hook_and_is_seen_and_nothing_that_is_in_it() {
    let folder = TempDir::new().unwrap();
    for (system, folder) in [("memory", ""), ("sqlite", folder.path().to_str().unwrap())] {
        let collector = Receiver::answering(|_, _| Reply::status(200)).await;
        let bench = Bench::start(Some(&collector), &[("GATEWAY_DATA_DIR", folder)]).await;
        let mut members = Vec::new();
        for _ in 0..3 {
            let mut member = Client::connect(bench.node.address).await;
            member.join(&format!("{PAYLOAD}-room")).await;
            members.push(member);
        }
        // The first of a room is asked for twice: whether it may be a new one is decided in between.
        bench.heard("").await;
        let (parent, event) = bench.heard(&brought("01")).await;
        for member in &mut members {
            let mut heard = 0;
            while heard < 2 {
                heard += usize::from(member.event().await[0] == "said");
            }
        }
        let all = ["POST /api/v1/rooms/{room}/events", "append", "deliver audit", "POST hook"];
        let found = named(&collector, &all).await;
        are_nested(&found, PARENT);
        let [request, append, deliver, post] = &found[..] else { panic!("{found:?}") };
        assert_eq!(parent, format!("00-{ID}-{}-01", hexadecimal(&post.span_id)));
        assert_eq!(event["traceparent"], format!("00-{ID}-{}-01", hexadecimal(&append.span_id)));
        assert_eq!((&event["tracestate"], &*post.trace_state), (&json!("a=1"), "a=1"));
        assert_eq!([request.kind, append.kind, deliver.kind, post.kind], [2, 3, 5, 3]);
        assert_eq!(said(&request.attributes, "http.response.status_code"), "201");
        assert_eq!(said(&request.attributes, "http.route"), all[0].split_once(' ').unwrap().1);
        assert_eq!(said(&append.attributes, "db.system.name"), system);
        assert_eq!(said(&post.attributes, "http.response.status_code"), "204");
        assert_eq!(said(&post.attributes, "server.port"), bench.told.address.port().to_string());
        // What came of it: who heard it is in no trace, and neither is what it was.
        assert_eq!(spans(&collector).len(), all.len(), "never for a delivery");
        for request in collector.requests() {
            let text = String::from_utf8_lossy(&request.body).into_owned();
            assert!(!text.contains(PAYLOAD) && !text.contains(&bench.caller.key), "{text:?}");
            assert_eq!(request.header("authorization"), format!("Bearer {PAYLOAD}"));
            assert_eq!(request.header("content-type"), "application/x-protobuf");
            let told = ExportTraceServiceRequest::decode(request.body).unwrap();
            let resource = told.resource_spans[0].resource.clone().unwrap();
            assert_eq!(said(&resource.attributes, "service.name"), "gateway");
            assert_eq!(said(&resource.attributes, "service.instance.id"), bench.node.name);
        }
        eventually("they are counted", || async {
            metric(&bench.node, "gateway_spans_total{result=\"exported\"}") >= all.len() as f64
        })
        .await;
        bench.node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_done_in_the_trace_that_it_was_wanted_in() {
    let folder = TempDir::new().unwrap();
    for folder in ["", folder.path().to_str().unwrap()] {
        let collector = Receiver::answering(|_, _| Reply::status(200)).await;
        let bench = Bench::start(Some(&collector), &[("GATEWAY_DATA_DIR", folder)]).await;
        let data = json!({ "to": "billing", "body": { "events": [{ "id": PAYLOAD }] } });
        let job = json!({ "kind": "http", "data": data, "delayMs": 50 }).to_string();
        let answer = bench.caller.ask_with("POST", "/api/v1/jobs", &brought("01"), Some(&job)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        bench.told.takes(1).await;
        let found = named(&collector, &["POST /api/v1/jobs", "enqueue default", "do http", "POST job"]).await;
        are_nested(&found, PARENT);
        let parent = format!("00-{ID}-{}-01", hexadecimal(&found[3].span_id));
        assert_eq!(bench.told.requests()[0].header("traceparent"), parent);
        assert_eq!([found[1].kind, found[2].kind], [4, 5]);
        assert_eq!(said(&found[2].attributes, "messaging.message.id"), answer.body["id"].as_str().unwrap());
        bench.node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_records_is_passed_on_as_it_came() {
    let collector = Receiver::answering(|_, _| Reply::status(200)).await;
    for collector in [None, Some(&collector)] {
        let bench = Bench::start(collector, &[]).await;
        let flags = if collector.is_some() { "00" } else { "01" };
        let (parent, event) = bench.heard(&brought(flags)).await;
        assert_eq!(parent, format!("00-{ID}-{PARENT}-{flags}"));
        assert_eq!((&event["traceparent"], &event["tracestate"]), (&json!(parent), &json!("a=1")));
        for bad in [
            "",
            "traceparent: x\r\n",
            &brought("01").to_uppercase().replace("TRACEPARENT", "traceparent"),
            &format!("traceparent: 00-{}-{PARENT}-01\r\n", "0".repeat(32)),
            &format!("{}{}", brought("01"), brought("01")),
            &format!("traceparent: ff-{ID}-{PARENT}-01\r\n"),
            &format!("traceparent: 00-{ID}-{PARENT}-01{}\r\n", "x".repeat(3_000)),
        ] {
            let (parent, event) = bench.heard(bad).await;
            assert_eq!((&*parent, &event["traceparent"]), ("", &Value::Null), "{bad:?}");
        }
        let long = format!("traceparent: 00-{ID}-{PARENT}-00\r\ntracestate: a={}\r\n", "x".repeat(600));
        let (parent, event) = bench.heard(&long).await;
        assert_eq!((parent, &event["tracestate"]), (format!("00-{ID}-{PARENT}-00"), &Value::Null));
        bench.node.stop().await;
    }
    // A node that stops hands over what it has.
    assert!(spans(&collector).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_begins_here_is_recorded_by_its_part_and_goes_on_in_calls() {
    let collector = Receiver::answering(|_, _| Reply::status(200)).await;
    let bench = Bench::start(Some(&collector), &[("GATEWAY_TELEMETRY__SAMPLE", "1")]).await;
    let mut client = Client::connect(bench.node.address).await;
    client.send("421[\"order\",{\"n\":1}]").await;
    let found = named(&collector, &["event order", "POST call"]).await;
    let [event, call] = &found[..] else { panic!("{found:?}") };
    assert_eq!((event.kind, event.parent_span_id.len(), call.trace_id == event.trace_id), (2, 0, true));
    assert_eq!(call.parent_span_id, event.span_id);
    let request = bench.told.requests()[0].clone();
    let parent = format!("00-{}-{}-03", hexadecimal(&call.trace_id), hexadecimal(&call.span_id));
    assert_eq!(request.header("traceparent"), parent);
    // What strangers bring is not heeded.
    let stranger = Caller { address: bench.node.api_address, key: "gw_nobody_nothing".into() };
    let refused = stranger.ask_with("GET", "/api/v1/rooms", &brought("01"), None).await;
    assert_eq!(refused.status, 401, "{refused:?}");
    bench.node.stop().await;
    assert!(spans(&collector).iter().all(|span| hexadecimal(&span.trace_id) != ID));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_does_not_take_spans_is_nobodys_harm() {
    let partial = ExportTracePartialSuccess { rejected_spans: 1, error_message: PAYLOAD.into() };
    let partial = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    type Case = (&'static str, fn(&[u8]) -> Reply, &'static [(&'static str, f64)]);
    let cases: [Case; 5] = [
        ("says no", |_| Reply::status(400), &[("failed", 2.0)]),
        ("fails", |_| Reply::status(500), &[("failed", 2.0)]),
        ("talks rubbish", |_| Reply::Is("\u{1}<html>".into_response()), &[("exported", 2.0)]),
        ("redirects", |_| Reply::status(301), &[("failed", 2.0)]),
        ("takes a part", |partial| Reply::Is(partial.to_vec().into_response()), &[("rejected", 1.0)]),
    ];
    for (what, reply, counted) in cases {
        let partial = partial.clone();
        let collector = Receiver::answering(move |_, _| reply(&partial)).await;
        let bench = Bench::start(Some(&collector), &[("GATEWAY_HOOKS__INTERVAL", "10m")]).await;
        // The request and its append; the hook has had its look, or has it in ten minutes.
        let parts = |result: &str| metric(&bench.node, &format!("gateway_spans_total{{result=\"{result}\"}}"));
        bench.caller.ask_with("GET", "/api/v1/rooms", &brought("01"), None).await;
        bench.caller.ask_with("GET", "/api/v1/rooms", &brought("01"), None).await;
        eventually(what, || async { counted.iter().all(|(result, count)| parts(result) >= *count) }).await;
        bench.node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_or_hangs_is_waited_for_by_nobody() {
    let later = Receiver::answering(|number, _| {
        let code = if number == 0 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        Reply::Is(code.into_response())
    })
    .await;
    let bench = Bench::start(Some(&later), &[]).await;
    bench.publish(&brought("01"), "x").await;
    let found = named(&later, &["append"]).await;
    eventually("it is handed over again", || async { later.requests().len() >= 2 }).await;
    assert_eq!(hexadecimal(&found[0].trace_id), ID);
    bench.node.stop().await;

    let hangs = Receiver::answering(|_, _| Reply::Hang).await;
    let away = Receiver::start().await;
    let gone = format!("http://{}", away.address);
    drop(away);
    for endpoint in [format!("http://{}", hangs.address), gone] {
        let bench = Bench::start(None, &[("GATEWAY_TELEMETRY__OTLP_ENDPOINT", &endpoint)]).await;
        let body = json!({ "items": vec![json!({ "method": "GET", "path": "/api/v1/rooms" }); 100] });
        let mut asked = 0;
        // Each is a span for itself and one for each of its items.
        while metric(&bench.node, "gateway_spans_total{result=\"dropped\"}") == 0.0 {
            let answer = bench.caller.ask_with("POST", "/api/v1/batch", &brought("01"), Some(&body.to_string())).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            asked += 1;
            assert!(asked < 1_000, "there is no bound");
        }
        let (parent, _) = bench.heard(&brought("01")).await;
        assert!(parent.contains(ID), "{parent}");
        let began = Instant::now();
        timeout(Duration::from_secs(10), bench.node.stop()).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
}

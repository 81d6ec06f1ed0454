//! Back ends that have work done later, look how it stands, and decide about it.

use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::IntoResponse;
use gateway::app::Gateway;
use gateway_core::config::{BackEnd, JobQueue, Scope, Secret};
use gateway_work::hooks::sign;
use serde_json::{Value, json};
use std::time::Duration;

use crate::caller::{Answer, Caller, config, key};
use crate::support::client::Client;
use crate::support::receiver::{Receiver, Reply};
use crate::support::tokens::{SECRET, Signer, claims_with};
use crate::support::{eventually, metric};

const SIGNED_BY: &str = "0123456789abcdef";

fn back_end(url: String) -> BackEnd {
    let secrets = vec![Secret::from(SIGNED_BY.to_owned())];
    BackEnd { name: "billing".into(), url: url.into(), secrets, timeout: Duration::from_secs(2) }
}

/// A node whose jobs may call a back end, and a back end that may do everything.
async fn node(changes: &[(&str, &str)], url: String, queues: Vec<JobQueue>) -> (Gateway, Caller) {
    let fast = [("GATEWAY_JOBS__BACKOFF", "50ms")];
    let changes: Vec<_> = fast.iter().chain(changes).copied().collect();
    let (mut config, key) = config(&changes);
    config.jobs.back_end = vec![back_end(url)];
    config.jobs.queue = queues;
    let gateway = Gateway::start(config, 20_000).await.unwrap();
    let caller = Caller { address: gateway.api_address, key };
    (gateway, caller)
}

/// What a back end is told by a job, in a form that the receiver knows.
fn told(id: &str) -> Value {
    json!({ "to": "billing", "body": { "events": [{ "id": id }] } })
}

async fn enqueue(back_end: &Caller, job: Value) -> Answer {
    let answer = back_end.post("/api/v1/jobs", &job).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer
}

/// Waits until a job is in a state; returns it.
async fn until(back_end: &Caller, id: &str, state: &str) -> Value {
    let path = format!("/api/v1/jobs/{id}");
    eventually(&format!("{id} is {state}"), || async { back_end.get(&path).await.body["state"] == state }).await;
    back_end.get(&path).await.body
}

async fn counts(back_end: &Caller, name: &str) -> Value {
    let all = back_end.get("/api/v1/queues").await;
    assert_eq!(all.status, 200, "{all:?}");
    let queues = all.body["queues"].as_array().unwrap();
    queues.iter().find(|queue| queue["name"] == name).unwrap_or_else(|| panic!("{name} is not in {all:?}")).clone()
}

fn ids(page: &Answer) -> Vec<&str> {
    assert_eq!(page.status, 200, "{page:?}");
    page.body["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_back_end_is_called_once_signed_and_the_job_is_seen() {
    let receiver = Receiver::start().await;
    let (gateway, back_end) = node(&[], receiver.url(), Vec::new()).await;
    let first = enqueue(&back_end, json!({ "kind": "http", "data": told("one"), "id": "order 7" })).await;
    assert_eq!(first.body, json!({ "id": "order 7", "queue": "default", "duplicate": false }));
    let job = until(&back_end, "order%207", "completed").await;
    assert_eq!((&job["kind"], &job["attempt"], &job["data"]), (&json!("http"), &json!(1), &told("one")), "{job}");
    assert!(job["enqueuedAt"].as_str().unwrap().ends_with('Z') && job["endedAt"].is_string(), "{job}");
    let again = enqueue(&back_end, json!({ "kind": "http", "data": told("two"), "id": "order 7" })).await;
    assert_eq!(again.body["duplicate"], true, "the first one is kept");
    let requests = receiver.requests();
    assert_eq!(requests.len(), 1);
    let request = &requests[0];
    assert_eq!((request.header("idempotency-key"), request.header("x-gateway-job")), ("order%207", "order%207"));
    assert_eq!((request.header("x-gateway-queue"), request.header("x-gateway-attempt")), ("default", "1"));
    assert_eq!(
        (request.header("content-type"), &*request.body),
        ("application/json", &br#"{"events":[{"id":"one"}]}"#[..])
    );
    let signature = request.header("x-gateway-signature");
    let seconds = signature.split(',').next().unwrap().strip_prefix("t=").unwrap().parse().unwrap();
    assert_eq!(signature, sign(&[Secret::from(SIGNED_BY.to_owned())], seconds, &request.body));

    let unnamed = enqueue(&back_end, json!({ "kind": "http", "data": told("three") })).await;
    until(&back_end, unnamed.body["id"].as_str().unwrap(), "completed").await;
    assert_eq!(ids(&back_end.get("/api/v1/jobs?state=completed").await).len(), 2);
    assert_eq!(counts(&back_end, "default").await["completed"], 2);
    assert_eq!(metric(&gateway, "gateway_jobs_done_total{kind=\"http\",outcome=\"done\"}"), 2.0);
    assert_eq!(metric(&gateway, "gateway_jobs_enqueued_total{by=\"api\",result=\"new\"}"), 2.0);
    assert_eq!(metric(&gateway, "gateway_jobs_enqueued_total{by=\"api\",result=\"known\"}"), 1.0);
    eventually("it is counted", || async { metric(&gateway, "gateway_jobs{state=\"completed\"}") == 2.0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_back_end_answers_decides_whether_it_is_called_again() {
    let receiver = Receiver::answering(|number, request| match (request.events()[0]["id"].as_str().unwrap(), number) {
        ("busy", 0) => Reply::Is((StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "1")]).into_response()),
        ("broken", _) => Reply::status(500),
        ("refused", _) => Reply::status(422),
        _ => Reply::status(200),
    })
    .await;
    let (gateway, back_end) = node(&[("GATEWAY_JOBS__WORKERS", "1")], receiver.url(), Vec::new()).await;
    enqueue(&back_end, json!({ "kind": "http", "data": told("busy"), "id": "busy" })).await;
    let job = until(&back_end, "busy", "completed").await;
    assert_eq!(job["attempt"], 2);
    let requests = receiver.requests();
    assert!(requests[1].at - requests[0].at >= Duration::from_secs(1), "it is heeded when it wants to be asked again");
    assert_eq!(requests[1].header("x-gateway-attempt"), "2");

    enqueue(&back_end, json!({ "kind": "http", "data": told("refused"), "id": "refused" })).await;
    let job = until(&back_end, "refused", "failed").await;
    assert!(job["attempt"] == 1 && job["why"].as_str().unwrap().contains("422"), "{job}");
    assert!(job["why"].as_str().unwrap().contains("/hook"), "it says who: {job}");
    let often = json!({ "type": "fixed", "delayMs": 1 });
    enqueue(
        &back_end,
        json!({ "kind": "http", "data": told("broken"), "id": "broken", "attempts": 3, "backoff": often }),
    )
    .await;
    let job = until(&back_end, "broken", "failed").await;
    assert_eq!((&job["attempt"], &job["attempts"]), (&json!(3), &json!(3)), "{job}");
    let mut dead = ids(&back_end.get("/api/v1/jobs?queue=default&state=failed").await).join(" ");
    assert_eq!(dead, "broken refused", "the last first");
    assert_eq!(metric(&gateway, "gateway_jobs_done_total{kind=\"http\",outcome=\"dead\"}"), 2.0);
    assert_eq!(metric(&gateway, "gateway_jobs_done_total{kind=\"http\",outcome=\"failed\"}"), 3.0);

    assert_eq!(back_end.ask("POST", "/api/v1/jobs/refused/retry", None).await.status, 204);
    eventually("it was asked again", || async {
        receiver.requests().iter().filter(|request| request.header("x-gateway-job") == "refused").count() == 2
    })
    .await;
    until(&back_end, "refused", "failed").await;
    assert_eq!(back_end.ask("DELETE", "/api/v1/jobs/refused?queue=default", None).await.status, 204);
    for (method, path) in
        [("GET", "/api/v1/jobs/refused"), ("DELETE", "/api/v1/jobs/refused"), ("POST", "/api/v1/jobs/refused/retry")]
    {
        assert_eq!(back_end.ask(method, path, None).await.code(), "no_job", "{method}");
    }
    dead = ids(&back_end.get("/api/v1/jobs?state=failed").await).join(" ");
    assert_eq!(dead, "broken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_back_end_that_is_away_gets_everything_when_it_is_back() {
    let before = Receiver::start().await;
    let (address, url) = (before.address, before.url());
    drop(before);
    let (gateway, back_end) = node(&[], url, Vec::new()).await;
    let often = json!({ "type": "fixed", "delayMs": 100 });
    for number in 0..20 {
        let id = format!("job-{number}");
        enqueue(&back_end, json!({ "kind": "http", "data": told(&id), "id": id, "attempts": 500, "backoff": often }))
            .await;
    }
    let failed = "gateway_jobs_done_total{kind=\"http\",outcome=\"failed\"}";
    eventually("it is tried again and again", || async { metric(&gateway, failed) >= 20.0 }).await;
    let after = Receiver::at(address, |_, _| Reply::status(204)).await;
    after.takes(20).await;
    eventually("all are done", || async { counts(&back_end, "default").await["completed"] == 20 }).await;
    assert_eq!(after.taken().len(), 20, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_wait_for_their_time_and_for_queues_that_are_paused() {
    let receiver = Receiver::start().await;
    let own = JobQueue { rate: 1000, ..JobQueue::named("m\u{fc}ll/abfuhr: 1") };
    let (_gateway, back_end) = node(&[], receiver.url(), vec![own]).await;
    let path = "/api/v1/queues/m%C3%BCll%2Fabfuhr%3A%201";
    enqueue(&back_end, json!({ "kind": "http", "data": told("later"), "id": "later", "delayMs": 3_600_000 })).await;
    let job = until(&back_end, "later", "delayed").await;
    assert!(job["dueAt"].as_str().unwrap() > job["enqueuedAt"].as_str().unwrap(), "{job}");
    assert_eq!(ids(&back_end.get("/api/v1/jobs?state=delayed").await), ["later"]);
    assert_eq!(back_end.ask("POST", "/api/v1/jobs/later/retry", None).await.status, 204);
    until(&back_end, "later", "completed").await;

    assert_eq!(back_end.ask("POST", &format!("{path}/pause"), None).await.status, 204);
    let queue = "m\u{fc}ll/abfuhr: 1";
    for id in ["a", "b", "c"] {
        let priority = if id == "c" { 0 } else { 5 };
        enqueue(&back_end, json!({ "queue": queue, "kind": "http", "data": told(id), "id": id, "priority": priority }))
            .await;
    }
    let paused = counts(&back_end, queue).await;
    assert_eq!((&paused["paused"], &paused["waiting"], &paused["concurrency"]), (&json!(true), &json!(3), &json!(8)));
    let list = "/api/v1/jobs?queue=m%C3%BCll/abfuhr:+1";
    assert_eq!(ids(&back_end.get(list).await), ["c", "a", "b"], "what comes next first");
    let first = back_end.get(&format!("{list}&limit=2")).await;
    assert_eq!((ids(&first), &first.body["next"]), (vec!["c", "a"], &json!("2")));
    let rest = back_end.get(&format!("{list}&limit=2&after=2")).await;
    assert_eq!((ids(&rest), rest.body.get("next")), (vec!["b"], None));
    assert_eq!(receiver.requests().len(), 1);
    assert_eq!(back_end.ask("POST", &format!("{path}/resume"), None).await.status, 204);
    receiver.takes(4).await;
    assert_eq!(counts(&back_end, queue).await["paused"], false);
    assert_eq!(back_end.ask("POST", "/api/v1/queues/nothing/pause", None).await.code(), "no_queue");
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_and_users_are_told_once_however_often_it_is_tried() {
    let (gateway, back_end) = node(&[("GATEWAY_AUTH__SECRET", SECRET)], "http://127.0.0.1:9/".into(), Vec::new()).await;
    let token = Signer::secret(SECRET).sign(&claims_with("sub", json!("alice")));
    let mut alice = Client::try_connect(gateway.address, json!({ "token": token })).await.unwrap();
    alice.join("r").await;
    let said = json!({ "room": "r", "event": "reminder", "data": { "n": 1.10 } });
    enqueue(&back_end, json!({ "kind": "publish", "data": said, "id": "p" })).await;
    let event = alice.event().await;
    assert_eq!((&event[0], &event[1]), (&json!("reminder"), &json!({ "n": 1.10 })), "{event}");
    let done = until(&back_end, "p", "completed").await;
    assert_eq!((&done["result"]["offset"], &done["result"]["duplicate"]), (&event[2], &json!(false)), "{done}");
    back_end.ask("POST", "/api/v1/jobs/p/retry", None).await;
    eventually("it is done again", || async {
        back_end.get("/api/v1/jobs/p").await.body["result"]["duplicate"] == true
    })
    .await;

    let told = json!({ "users": ["alice", "bob"], "message": "dinner?", "ttl": 60 });
    enqueue(&back_end, json!({ "kind": "notify", "data": told, "id": "n" })).await;
    let note = alice.event().await;
    assert_eq!((&note[0], &note[1]["message"]), (&json!("receiveNotification"), &json!("dinner?")), "{note}");
    assert_eq!(until(&back_end, "n", "completed").await["result"], json!({ "told": 2, "duplicates": 0 }));
    back_end.ask("POST", "/api/v1/jobs/n/retry", None).await;
    eventually("it is done again", || async {
        back_end.get("/api/v1/jobs/n").await.body["result"] == json!({ "told": 2, "duplicates": 2 })
    })
    .await;
    assert_eq!(back_end.get("/api/v1/users/bob/notifications").await.body["unread"], 1);
    assert_eq!(metric(&gateway, "gateway_notifications_total{by=\"job\",result=\"kept\"}"), 2.0);

    enqueue(&back_end, json!({ "kind": "upkeep", "data": { "of": "notifications" }, "id": "u" })).await;
    assert_eq!(until(&back_end, "u", "completed").await["result"], json!({ "gone": 0 }));
    let last = json!({ "event": "last", "data": 0 });
    assert_eq!(back_end.post("/api/v1/rooms/r/events", &last).await.status, 201);
    assert_eq!(alice.event().await[0], "last", "and nothing twice before that");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_refused_with_its_place() {
    let others = JobQueue { concurrency: Some(0), ..JobQueue::named("others") };
    let (_gateway, back_end) = node(&[], "http://127.0.0.1:9/".into(), vec![others]).await;
    let http = |more: Value| {
        let mut job = json!({ "kind": "http", "data": told("x") });
        job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        job
    };
    for (job, pointer, word) in [
        (http(json!({ "queue": "nowhere" })), "/queue", "there are: default, mail, others"),
        (http(json!({ "kind": "htp" })), "/kind", "there are: http, publish, notify, upkeep"),
        (http(json!({ "kind": "" })), "/kind", "1 to 128"),
        (http(json!({ "data": { "to": "nobody" } })), "/data", "there are: billing"),
        (http(json!({ "data": { "to": "billing", "url": "http://evil.example" } })), "/data", "unknown field"),
        (json!({ "kind": "http" }), "/data", "object"),
        (http(json!({ "attempts": 0 })), "/attempts", "1 to 1000"),
        (http(json!({ "delayMs": u64::MAX })), "/delayMs", "ten years"),
        (http(json!({ "backoff": { "type": "fixed", "delayMs": 86_400_001 } })), "/backoff", "a day"),
        (http(json!({ "backoff": { "type": "random", "delayMs": 1 } })), "/backoff/type", "unknown variant"),
        (http(json!({ "priority": 2_097_153 })), "/priority", "2097152"),
        (http(json!({ "id": "a:b" })), "/id", "colon"),
        (http(json!({ "id": "17" })), "/id", "digits"),
        (http(json!({ "id": "" })), "/id", "empty"),
        (http(json!({ "when": "now" })), "/when", "unknown field"),
        (json!({ "kind": "publish", "data": { "room": "", "event": "e" } }), "/data", "room name"),
        (json!({ "kind": "publish", "data": { "room": "r", "event": "connect" } }), "/data", ""),
        (json!({ "kind": "publish", "data": { "room": "r", "event": "e", "args": 1 } }), "/data", "list"),
        (json!({ "kind": "notify", "data": { "message": 1 } }), "/data", "user"),
        (json!({ "kind": "upkeep", "data": { "of": "everything" } }), "/data", "unknown variant"),
        (json!({ "kind": "upkeep", "data": { "of": "archive" } }), "/data", "nothing is archived"),
    ] {
        let refused = back_end.post("/api/v1/jobs", &job).await;
        assert_eq!((refused.status, refused.code()), (400, "bad_body"), "{job}: {refused:?}");
        let fault = &refused.body["errors"][0];
        let detail = fault["detail"].as_str().unwrap();
        assert!(fault["pointer"] == pointer && detail.contains(word), "{job}: {fault}");
    }
    let large = back_end.post("/api/v1/jobs", &http(json!({ "data": "x".repeat(300_000) }))).await;
    assert_eq!(large.code(), "too_large");
    let foreign = json!({ "queue": "others", "kind": "what <they> do \u{1f600}", "data": [1.10, "\u{0}"] });
    let id = enqueue(&back_end, foreign).await.body["id"].as_str().unwrap().to_owned();
    let job = back_end.get(&format!("/api/v1/jobs/{id}")).await;
    assert_eq!((&job.body["state"], &job.body["kind"]), (&json!("waiting"), &json!("what <they> do \u{1f600}")));
    assert!(
        job.text.contains("\"data\":[1.10,\"\\u0000\"]") || job.text.contains("\"data\":[1.1,\"\\u0000\"]"),
        "{}",
        job.text
    );
    for path in
        ["?state=dead", "?after=x", "?after=", "?after=%2B1", "?after=1234567890123456", "?limit=0", "?queue=a&queue=b"]
    {
        assert_eq!(back_end.get(&format!("/api/v1/jobs{path}")).await.code(), "bad_parameter", "{path}");
    }
    assert_eq!(back_end.get("/api/v1/jobs?queue=nowhere").await.code(), "no_queue");
    assert_eq!(back_end.get("/api/v1/jobs/x%00y").await.code(), "bad_parameter");
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_of_a_queue_and_a_full_one_takes_no_more() {
    let queues = ["one", "two"].map(|name| JobQueue { concurrency: Some(0), ..JobQueue::named(name) });
    let changes = [("GATEWAY_JOBS__QUEUE_JOBS", "2")];
    let (gateway, back_end) = node(&changes, "http://127.0.0.1:9/".into(), queues.into()).await;
    let job = |queue: &str, id: &str| json!({ "queue": queue, "kind": "k", "id": id });
    for queue in ["one", "two"] {
        assert_eq!(enqueue(&back_end, job(queue, "a")).await.body["duplicate"], false, "{queue}");
    }
    let both = back_end.get("/api/v1/jobs/a").await;
    assert!(both.code() == "bad_parameter" && both.body["detail"].as_str().unwrap().contains("one, two"), "{both:?}");
    assert_eq!(back_end.get("/api/v1/jobs/a?queue=two").await.body["queue"], "two");
    enqueue(&back_end, job("one", "b")).await;
    let full = back_end.post("/api/v1/jobs", &job("one", "c")).await;
    assert_eq!((full.status, full.code(), &full.body["retryAfterMs"]), (503, "queue_full", &json!(5000)));
    assert_eq!(metric(&gateway, "gateway_jobs_enqueued_total{by=\"api\",result=\"refused\"}"), 1.0);
    enqueue(&back_end, job("two", "b")).await;
    assert_eq!(back_end.ask("DELETE", "/api/v1/jobs/a?queue=one", None).await.status, 204);
    eventually("there is room again", || async { back_end.post("/api/v1/jobs", &job("one", "c")).await.status == 201 })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_takes_the_right_key_for_what_is_done_too() {
    let (mut config, _) = config(&[]);
    let all_but = |left_out: Scope| Scope::ALL.into_iter().filter(|scope| *scope != left_out).collect::<Vec<_>>();
    let (jobs, one) = key(&[Scope::Jobs], &["*"]);
    let (rooms, two) = key(&Scope::ALL, &["r*"]);
    let (others, three) = key(&all_but(Scope::Jobs), &["*"]);
    let (whole, four) = key(&Scope::ALL, &["*"]);
    config.api.key = vec![one, two, three, four];
    let gateway = Gateway::start(config, 20_000).await.unwrap();
    let caller = |key| Caller { address: gateway.address, key };
    let (jobs, rooms, others, whole) = (caller(jobs), caller(rooms), caller(others), caller(whole));
    let publish = json!({ "kind": "publish", "data": { "room": "r", "event": "e" } });
    let notify = json!({ "kind": "notify", "data": { "user": "a", "message": 1 } });
    let upkeep = json!({ "kind": "upkeep", "data": { "of": "notifications" } });
    // What the gateway makes for itself does what other kinds do.
    let within = json!({ "schedule": "x", "tick": 0, "kind": "publish", "data": { "room": "r", "event": "e" } });
    for job in [json!({ "kind": "schedule", "data": within }), json!({ "kind": "absent", "data": { "user": "a" } })] {
        let refused = whole.post("/api/v1/jobs", &job).await;
        assert_eq!((refused.status, refused.code()), (400, "bad_body"), "{job}");
        let words = refused.body["detail"].as_str().unwrap();
        assert!(words.contains("nobody but the gateway makes jobs of the kind"), "{words}");
    }
    for job in [&publish, &notify, &upkeep] {
        assert_eq!(jobs.post("/api/v1/jobs", job).await.code(), "scope_missing", "{job}");
        assert_eq!(others.post("/api/v1/jobs", job).await.code(), "scope_missing");
        assert_eq!(rooms.post("/api/v1/jobs", job).await.code(), "out_of_reach");
        assert_eq!(whole.post("/api/v1/jobs", job).await.status, 201);
    }
    assert_eq!(
        (jobs.get("/api/v1/queues").await.status, others.get("/api/v1/queues").await.code()),
        (200, "scope_missing")
    );
    let item = json!({ "method": "POST", "path": "/api/v1/jobs", "body": publish });
    let look = json!({ "method": "GET", "path": "/api/v1/queues" });
    let batch = whole.post("/api/v1/batch", &json!({ "items": [item, look] })).await;
    assert_eq!(
        (&batch.body["items"][0]["status"], &batch.body["items"][1]["status"]),
        (&json!(201), &json!(200)),
        "{batch:?}"
    );
    let keyed = |body: &'static str| whole.ask_with("POST", "/api/v1/jobs", "Idempotency-Key: k\r\n", Some(body));
    let body = r#"{"kind":"publish","data":{"room":"r","event":"e"}}"#;
    let (first, second) = (keyed(body).await, keyed(body).await);
    assert_eq!((first.body, second.header("idempotency-replayed")), (second.body.clone(), Some("true")));
}

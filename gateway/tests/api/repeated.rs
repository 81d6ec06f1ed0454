//! Requests that come again.

use gateway_core::config::JobQueue;
use serde_json::json;

use crate::caller::{Answer, Caller, node};
use crate::support::{self, metric};

const ROOM: &str = "/api/v1/rooms/r/events";

async fn again(back_end: &Caller, path: &str, key: &str, body: &str) -> Answer {
    back_end.ask_with("POST", path, &format!("Idempotency-Key: {key}\r\n"), Some(body)).await
}

async fn requests_are_done_once(one: &Caller, two: &Caller) {
    let body = r#"{"event":"e"}"#;
    let first = again(one, ROOM, "k1", body).await;
    assert_eq!((first.status, first.header("idempotency-replayed")), (201, None));
    let second = again(two, ROOM, "k1", body).await;
    assert_eq!((second.status, second.header("idempotency-replayed")), (201, Some("true")));
    assert_eq!((second.body, second.head.contains("content-type: application/json")), (first.body, true));
    assert_eq!(one.get(ROOM).await.body["events"].as_array().unwrap().len(), 1);
    let other = again(two, ROOM, "k1", r#"{"event":"f"}"#).await;
    assert_eq!((other.status, other.code()), (422, "repeat_differs"));
    assert_eq!(again(one, "/api/v1/rooms/s/events", "k1", body).await.code(), "repeat_differs");
    let refused = again(one, ROOM, "k2", r#"{"event":"connect"}"#).await;
    let same = again(two, ROOM, "k2", r#"{"event":"connect"}"#).await;
    assert_eq!(
        (refused.code(), same.code(), same.header("idempotency-replayed")),
        ("bad_request", "bad_request", Some("true"))
    );
    let batch = json!({ "items": [{ "method": "POST", "path": ROOM, "body": { "event": "b" } }] }).to_string();
    let first = again(one, "/api/v1/batch", "k3", &batch).await;
    assert_eq!(again(two, "/api/v1/batch", "k3", &batch).await.body, first.body);
    assert_eq!(one.get(ROOM).await.body["events"].as_array().unwrap().len(), 2);
    for (name, count) in [("k1", 1), ("k4", 20)] {
        let all = futures_util::future::join_all(
            (0..count).map(|n| again(if n % 2 == 0 { one } else { two }, ROOM, name, body)),
        )
        .await;
        let statuses: Vec<_> = all.iter().map(|answer| answer.status).collect();
        assert!(statuses.iter().all(|status| [201, 409].contains(status)) && statuses.contains(&201), "{statuses:?}");
        assert!(all.iter().all(|answer| answer.status == 201 || answer.code() == "repeat_running"));
    }
    assert_eq!(one.get(ROOM).await.body["events"].as_array().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_a_key_is_done_once() {
    let (gateway, back_end) = node(&[]).await;
    requests_are_done_once(&back_end, &back_end).await;
    assert!(metric(&gateway, "gateway_api_repeats_total{result=\"replayed\"}") >= 3.0);
    assert_eq!(metric(&gateway, "gateway_api_repeats_total{result=\"different\"}"), 2.0);
    let long = "x".repeat(256);
    for headers in [
        "Idempotency-Key: \r\n",
        "Idempotency-Key: a\r\nIdempotency-Key: b\r\n",
        &format!("Idempotency-Key: {long}\r\n"),
    ] {
        let refused = back_end.ask_with("POST", ROOM, headers, Some(r#"{"event":"e"}"#)).await;
        assert_eq!(refused.code(), "bad_parameter", "{headers}");
    }
    // What only reads is read each time.
    assert_eq!(
        back_end.ask_with("GET", ROOM, "Idempotency-Key: k1\r\n", None).await.header("idempotency-replayed"),
        None
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn also_by_whichever_node_and_in_a_file() {
    let redis = support::redis::Redis::start().await;
    let url = redis.url();
    let (mut config, key) = crate::caller::config(&[("GATEWAY_REDIS_URL", &url)]);
    let one = gateway::app::Gateway::start(config.clone(), 20_000).await.unwrap();
    config.node_name = "other".into();
    let two = gateway::app::Gateway::start(config, 20_000).await.unwrap();
    let by = |gateway: &gateway::app::Gateway| Caller { address: gateway.address, key: key.clone() };
    requests_are_done_once(&by(&one), &by(&two)).await;
    let folder = tempfile::tempdir().unwrap();
    let (_gateway, back_end) = node(&[("GATEWAY_DATA_DIR", folder.path().to_str().unwrap())]).await;
    requests_are_done_once(&back_end, &back_end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_batch_is_tried_again_what_could_not_be_done_and_nothing_else() {
    let redis = support::redis::Redis::start().await;
    let url = redis.url();
    let (mut config, key) = crate::caller::config(&[("GATEWAY_REDIS_URL", &url), ("GATEWAY_JOBS__QUEUE_JOBS", "1")]);
    config.jobs.queue.push(JobQueue { concurrency: Some(0), ..JobQueue::named("theirs") });
    let gateway = gateway::app::Gateway::start(config, 20_000).await.unwrap();
    let back_end = Caller { address: gateway.address, key };
    let job = |id: &str| json!({ "queue": "theirs", "kind": "k", "id": id });
    assert_eq!(back_end.post("/api/v1/jobs", &job("first")).await.status, 201);
    let batch = json!({ "items": [
        { "method": "POST", "path": ROOM, "body": { "event": "once" } },
        { "method": "POST", "path": "/api/v1/jobs", "body": job("second") },
        { "method": "GET", "path": ROOM },
        { "method": "POST", "path": ROOM, "body": { "event": "connect" } },
    ] })
    .to_string();
    let ask = || again(&back_end, "/api/v1/batch", "k", &batch);
    let statuses = |answer: &Answer| {
        let items = answer.body["items"].as_array().unwrap();
        items.iter().map(|item| item["status"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let first = ask().await;
    assert_eq!(statuses(&first), [201, 503, 200, 400]);
    let second = ask().await;
    assert_eq!((statuses(&second), second.header("idempotency-replayed")), (vec![201, 503, 200, 400], None));
    assert_eq!(back_end.ask("DELETE", "/api/v1/jobs/first?queue=theirs", None).await.status, 204);
    support::eventually("there is room", || async { statuses(&ask().await) == [201, 201, 200, 400] }).await;
    // From now on all of it is kept.
    let all = futures_util::future::join_all((0..8).map(|_| ask())).await;
    for answer in &all {
        assert_eq!((answer.status, answer.header("idempotency-replayed")), (200, Some("true")), "{answer:?}");
        assert_eq!(answer.body["items"][0], first.body["items"][0]);
        assert_eq!((&answer.body, statuses(answer)), (&all[0].body, vec![201, 201, 200, 400]));
    }
    assert_eq!(back_end.get(ROOM).await.body["events"].as_array().unwrap().len(), 1);
    assert_eq!(back_end.get("/api/v1/jobs?queue=theirs").await.body["jobs"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_done_is_tried_again() {
    let mut redis = support::redis::Redis::start().await;
    let url = redis.url();
    let (_gateway, back_end) = node(&[("GATEWAY_REDIS_URL", &url), ("GATEWAY_REDIS__TIMEOUT", "500ms")]).await;
    assert_eq!(back_end.post(ROOM, &json!({ "event": "e" })).await.status, 201);
    redis.stop().await;
    let refused = again(&back_end, ROOM, "k", r#"{"event":"e"}"#).await;
    assert_eq!((refused.status, refused.code()), (503, "unavailable"));
    assert!(refused.header("retry-after").is_some());
    redis.start_again().await;
    support::eventually("it is done", || async { again(&back_end, ROOM, "k", r#"{"event":"e"}"#).await.status == 201 })
        .await;
}

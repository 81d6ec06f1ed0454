//! Batches.

use serde_json::{Value, json};

use crate::caller::{Caller, key, node};
use crate::support::client::Client;
use crate::support::metric;
use gateway_core::config::Scope;

const BATCH: &str = "/api/v1/batch";

fn publish(room: &str, body: &Value) -> Value {
    json!({ "method": "POST", "path": format!("/api/v1/rooms/{room}/events"), "body": body })
}

async fn statuses(back_end: &Caller, items: &[Value]) -> Vec<u64> {
    let answer = back_end.post(BATCH, &json!({ "items": items })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["items"].as_array().unwrap().iter().map(|item| item["status"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn items_for_one_room_are_done_in_order_and_others_beside_them() {
    let (gateway, back_end) = node(&[]).await;
    let mut client = Client::connect(gateway.address).await;
    client.join("a").await;
    let items: Vec<_> =
        (0..100).map(|n| publish(["a", "b", "%61"][n % 3], &json!({ "event": "e", "data": n }))).collect();
    assert_eq!(statuses(&back_end, &items).await, vec![201; 100]);
    let expected: Vec<_> = (0..100).filter(|n| n % 3 != 1).collect();
    for n in expected {
        assert_eq!(client.event().await[1], n);
    }
    let read = back_end.get("/api/v1/rooms/b/events?limit=100").await.body;
    let heard: Vec<_> =
        read["events"].as_array().unwrap().iter().map(|event| event["args"][0].as_u64().unwrap()).collect();
    assert_eq!(heard, (0..100).filter(|n| n % 3 == 1).collect::<Vec<_>>());
    assert_eq!(metric(&gateway, "gateway_api_requests_total{operation=\"publish\",status=\"2xx\"}"), 100.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_item_has_its_own_answer() {
    let (_gateway, back_end) = node(&[]).await;
    let mut items: Vec<_> = (0..99).map(|n| publish("r", &json!({ "event": "connect", "data": n }))).collect();
    items.insert(40, publish("r", &json!({ "event": "e" })));
    let answers = statuses(&back_end, &items).await;
    assert_eq!(answers.iter().position(|status| *status == 201), Some(40));
    assert_eq!(answers.iter().filter(|status| **status == 400).count(), 99);
    let get = |path: &str| json!({ "method": "GET", "path": path });
    let odd = [
        json!({ "method": "PATCH", "path": "/api/v1/rooms" }),
        get("/api/v1/nothing"),
        get("rooms"),
        get("/api/v1/rooms/%zz/events"),
        get("http://other.example/api/v1/rooms"),
        json!({ "method": "POST", "path": BATCH, "body": { "items": [] } }),
        json!({ "method": "POST", "path": "/api/v1/events" }),
        json!({ "method": "DELETE", "path": "/api/v1/rooms" }),
        get("/api/v1/rooms/r/events"),
    ];
    assert_eq!(statuses(&back_end, &odd).await, [405, 404, 400, 400, 400, 404, 400, 405, 200]);
    let read = back_end.post(BATCH, &json!({ "items": [odd[8]] })).await.body;
    assert_eq!(read["items"][0]["body"]["events"][0]["event"], "e", "{read}");
    let none =
        json!({ "method": "POST", "path": "/api/v1/rooms/r/events", "body": { "event": "e", "ephemeral": true } });
    assert_eq!(
        back_end.post(BATCH, &json!({ "items": [none] })).await.body["items"],
        json!([{ "status": 204, "body": null }])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_has_its_bounds_and_counts_as_what_is_in_it() {
    let (_gateway, back_end) =
        node(&[("GATEWAY_API__REQUESTS_PER_SECOND", "10"), ("GATEWAY_API__REQUESTS_BURST", "100")]).await;
    let items = |count: usize| json!({ "items": vec![publish("r", &json!({ "event": "e" })); count] });
    for count in [0, 101] {
        let refused = back_end.post(BATCH, &items(count)).await;
        assert_eq!((refused.code(), &refused.body["errors"][0]["pointer"]), ("bad_body", &json!("/items")));
    }
    let unknown = back_end.post(BATCH, &json!({ "items": [{ "method": "GET", "path": "/", "headers": {} }] })).await;
    assert_eq!((unknown.code(), &unknown.body["errors"][0]["pointer"]), ("bad_body", &json!("/items/0/headers")));
    assert_eq!(back_end.post(BATCH, &items(90)).await.status, 200);
    let limited = back_end.post(BATCH, &items(90)).await;
    assert_eq!((limited.status, limited.code()), (429, "rate_limited"));
}

/// Whatever can be asked alone can be asked in a batch, but for what would hold the others up.
#[tokio::test(flavor = "multi_thread")]
async fn every_request_of_the_contract_can_be_an_item() {
    let (_gateway, back_end) = node(&[]).await;
    let contract = back_end.get("/api/v1/openapi.json").await.body;
    let alone = ["batch", "stream", "ask_session", "ask_user", "ask_room"];
    let mut items = 0;
    for (path, methods) in contract["paths"].as_object().unwrap() {
        for (method, said) in methods.as_object().unwrap() {
            let operation = said["operationId"].as_str().unwrap();
            let path = path.replace("{room}", "r").replace("{user}", "u").replace("{session}", &"0".repeat(32));
            let item = json!({ "method": method.to_uppercase(), "path": path });
            let answer = back_end.post(BATCH, &json!({ "items": [item] })).await.body["items"][0].clone();
            let is_unknown = answer["body"]["code"] == "unknown_path";
            assert_eq!(is_unknown, alone.contains(&operation), "{operation}: {answer}");
            items += 1;
        }
    }
    assert!(items >= 18, "{items}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_item_needs_its_own_right() {
    let (mut config, _) = crate::caller::config(&[]);
    let (text, kept) = key(&[Scope::Read], &["a*"]);
    config.api.key = vec![kept];
    let gateway = gateway::app::Gateway::start(config, 20_000).await.unwrap();
    let back_end = Caller { address: gateway.address, key: text };
    let read = |room: &str| json!({ "method": "GET", "path": format!("/api/v1/rooms/{room}/events") });
    let items = [read("a"), read("b"), publish("a", &json!({ "event": "e" }))];
    assert_eq!(statuses(&back_end, &items).await, [200, 403, 403]);
}

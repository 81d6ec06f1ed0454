//! What back ends say to clients, and read.

use std::sync::Arc;

use gateway_core::bus::{Bus, RedisBus};
use gateway_core::formats::Format;
use gateway_core::metrics::Metrics;
use gateway_core::supervisor::Supervisor;
use serde_json::json;
use tokio::sync::mpsc;

use crate::caller::node;
use crate::support::client::Client;
use crate::support::redis::Redis;
use crate::support::{config, eventually, metric};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_back_end_says_is_heard_kept_and_read() {
    let (gateway, back_end) = node(&[]).await;
    let mut client = Client::connect(gateway.address).await;
    let joined = client.join("orders-7").await;
    let said =
        back_end.post("/api/v1/rooms/orders-7/events", &json!({ "event": "paid", "args": [{ "n": 1 }, 2] })).await;
    assert_eq!((said.status, &said.body["duplicate"]), (201, &json!(false)), "{said:?}");
    let offset = said.body["offset"].as_str().unwrap().to_owned();
    assert_eq!(client.event().await, json!(["paid", { "n": 1 }, 2, offset]));
    let read = back_end.get(&format!("/api/v1/rooms/orders-7/events?after={joined}&limit=10")).await;
    assert_eq!(read.status, 200);
    let mut event = read.body["events"][0].clone();
    assert!(event["at"].take().as_u64().unwrap() > 1_700_000_000_000);
    assert_eq!(event, json!({ "offset": offset, "event": "paid", "args": [{ "n": 1 }, 2], "at": null }));
    assert_eq!(
        (&read.body["more"], &read.body["complete"], &read.body["readTo"]),
        (&json!(false), &json!(true), &json!(offset))
    );
    assert_eq!(back_end.get(&format!("/api/v1/rooms/orders-7/events?before={offset}")).await.body["events"], json!([]));
    let requests = "gateway_api_requests_total{operation=\"publish\",status=\"2xx\"}";
    assert_eq!(metric(&gateway, requests), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_kept_once_per_room() {
    let (_gateway, back_end) = node(&[]).await;
    let body = json!({ "event": "e", "data": null, "id": "7" });
    let first = back_end.post("/api/v1/rooms/a/events", &body).await;
    let again = back_end.post("/api/v1/rooms/a/events", &body).await;
    let elsewhere = back_end.post("/api/v1/rooms/b/events", &body).await;
    assert_eq!(
        (again.status, &again.body["offset"], &again.body["duplicate"]),
        (201, &first.body["offset"], &json!(true))
    );
    assert_eq!(elsewhere.body["duplicate"], false);
    let read = back_end.get("/api/v1/rooms/a/events").await;
    assert_eq!((read.body["events"].as_array().unwrap().len(), &read.body["events"][0]["args"]), (1, &json!([null])));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ephemeral_is_heard_and_not_kept() {
    let (gateway, back_end) = node(&[]).await;
    let mut client = Client::connect(gateway.address).await;
    client.join("r").await;
    let said =
        back_end.post("/api/v1/rooms/r/events", &json!({ "event": "cursor", "data": "x", "ephemeral": true })).await;
    assert_eq!(said.status, 204);
    assert_eq!(client.event().await, json!(["cursor", "x", null]));
    assert_eq!(back_end.get("/api/v1/rooms/r/events").await.body["events"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_everybody_hear_in_their_namespace() {
    let table = "[[route]]\nevent = \"hello\"\naction = \"signal\"\nto = \"self\"\nnamespace = \"/shop\"\n\
                 [[route]]\nevent = \"identify\"\naction = \"identify\"\n";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), table).unwrap();
    let (mut config, key) = crate::caller::config(&[]);
    config.file = Some(file.path().to_owned());
    let gateway = gateway::app::Gateway::start(config, 20_000).await.unwrap();
    let back_end = crate::caller::Caller { address: gateway.api_address, key };
    let mut client = Client::connect(gateway.address).await;
    assert_eq!(client.ask("identify", json!("é/1")).await["ok"], true);
    let everybody = back_end.post("/api/v1/events", &json!({ "event": "news" })).await;
    assert_eq!(everybody.status, 201, "{everybody:?}");
    let elsewhere = back_end.post("/api/v1/events?namespace=%2Fshop", &json!({ "event": "offers" })).await;
    assert_eq!(elsewhere.status, 201);
    let user = back_end.post("/api/v1/users/%C3%A9%2F1/events", &json!({ "event": "mail", "data": 1 })).await;
    assert_eq!(user.status, 201);
    assert_eq!(client.event().await, json!(["news", everybody.body["offset"]]));
    assert_eq!(client.event().await, json!(["mail", 1, user.body["offset"]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_listed_by_pages() {
    let (gateway, back_end) = node(&[]).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(gateway.address).await;
        client.join("r").await;
        clients.push(client);
    }
    let first = back_end.get("/api/v1/rooms/r/members?limit=2").await.body;
    assert_eq!((&first["count"], first["members"].as_array().unwrap().len()), (&json!(3), 2));
    let next = first["next"].as_str().unwrap();
    let rest = back_end.get(&format!("/api/v1/rooms/r/members?limit=2&after={next}")).await.body;
    assert_eq!((rest["members"].as_array().unwrap().len(), &rest["next"]), (1, &json!(null)));
    assert!(rest["members"][0]["user"].is_null() && rest["members"][0]["since"].as_u64().is_some());
    assert_eq!(back_end.get("/api/v1/rooms/nobody/members").await.body, json!({ "count": 0, "members": [] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn some_in_the_room_do_not_hear_it_now_or_later() {
    let (gateway, back_end) = node(&[]).await;
    let mut hears = Client::connect(gateway.address).await;
    let mut muted = Client::connect(gateway.address).await;
    let mut named = Client::connect(gateway.address).await;
    for client in [&mut hears, &mut muted, &mut named] {
        client.join("r").await;
    }
    muted.join("muted").await;
    let except = json!({ "rooms": ["muted", "nobody"], "users": ["alice"], "sessions": [named.sid] });
    let (pid, offset) = (muted.pid.clone(), muted.offset.clone());
    for (data, ephemeral) in [(1, false), (2, true)] {
        let body = json!({ "event": "e", "data": data, "except": except, "ephemeral": ephemeral });
        let said = back_end.post("/api/v1/rooms/r/events", &body).await;
        assert!(said.status < 300, "{said:?}");
        assert_eq!(hears.event().await[1], data);
    }
    let all = back_end.post("/api/v1/rooms/r/events", &json!({ "event": "all" })).await.body;
    assert_eq!(named.event().await, json!(["all", all["offset"]]));
    // Nor what it missed while it was away.
    drop(muted);
    back_end.post("/api/v1/rooms/r/events", &json!({ "event": "e", "data": 3, "except": except })).await;
    let mut muted = Client::come_back(gateway.address, &pid, offset.as_deref()).await;
    assert!(muted.recovered(), "{}", muted.hello);
    assert_eq!(muted.event().await, json!(["all", all["offset"]]));
    let last = back_end.post("/api/v1/rooms/r/events", &json!({ "event": "last" })).await.body;
    assert_eq!(muted.event().await, json!(["last", last["offset"]]));
    let history = back_end.get("/api/v1/rooms/r/events").await.body;
    assert_eq!(history["events"].as_array().unwrap().len(), 4, "back ends read all of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_read_between_two_offsets() {
    let (_gateway, back_end) = node(&[]).await;
    let mut offsets = Vec::new();
    for n in 0..5 {
        let said = back_end.post("/api/v1/rooms/r/events", &json!({ "event": "e", "data": n })).await.body;
        offsets.push(said["offset"].as_str().unwrap().to_owned());
    }
    let read = async |query: String| {
        let read = back_end.get(&format!("/api/v1/rooms/r/events?{query}")).await.body;
        let heard = read["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["args"][0].as_u64().unwrap())
            .collect::<Vec<_>>();
        (heard, read["more"].as_bool().unwrap())
    };
    let (first, last) = (&offsets[0], &offsets[4]);
    assert_eq!(read(format!("after={first}&before={last}")).await, (vec![1, 2, 3], false));
    assert_eq!(read(format!("after={first}&before={last}&limit=2")).await, (vec![1, 2], true));
    assert_eq!(read(format!("after={first}&before={first}")).await, (vec![], false));
    assert_eq!(read(format!("before={last}&limit=2")).await, (vec![2, 3], true));
    assert_eq!(read("limit=2".into()).await, (vec![3, 4], true));
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_do_not_read_exceptions_are_sent_none() {
    let redis = Redis::start().await;
    let (gateway, back_end) = node(&[("GATEWAY_REDIS_URL", &redis.url())]).await;
    let body = json!({ "event": "e", "except": { "rooms": ["muted"] } });
    let said = async || back_end.post("/api/v1/rooms/r/events", &body).await;
    eventually("all read them", || async { said().await.status == 201 }).await;
    // A node of the version before is known by nothing but that it is one of the nodes.
    let settings = config(&[]).redis;
    let older = RedisBus::connect(&redis.url(), &settings, Arc::new(Metrics::new()), &Supervisor::default()).await;
    let (older, (sink, _silent)) = (older.unwrap(), mpsc::channel(1));
    older.subscribe("gateway:nodes", sink).await.unwrap();
    eventually("it is refused", || async { said().await.status == 503 }).await;
    assert_eq!(said().await.code(), "unavailable");
    assert_eq!(
        back_end.post("/api/v1/rooms/r/events", &json!({ "event": "e" })).await.status,
        201,
        "all others are not"
    );
    older.unsubscribe("gateway:nodes").await;
    eventually("it goes again", || async { said().await.status == 201 }).await;
    assert_eq!(metric(&gateway, "gateway_format"), f64::from(Format::Excepting.number()));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_rooms_hear_an_event_at_once_and_each_session_once() {
    let (gateway, back_end) = node(&[]).await;
    let mut clients = Vec::new();
    for rooms in [vec!["a"], vec!["b"], vec!["a", "b", "c"], vec!["c", "x"], vec!["d"]] {
        let mut client = Client::connect(gateway.address).await;
        for room in rooms {
            client.join(room).await;
        }
        clients.push(client);
    }
    let body =
        json!({ "event": "e", "data": 1, "id": "7", "rooms": ["a", "b", "c", "a"], "except": { "rooms": ["x"] } });
    let said = back_end.post("/api/v1/events", &body).await;
    assert_eq!(said.status, 201, "{said:?}");
    let rooms = said.body["rooms"].as_array().unwrap();
    let names: Vec<_> = rooms.iter().map(|kept| kept["room"].as_str().unwrap()).collect();
    assert_eq!((names, &said.body["offset"]), (vec!["a", "b", "c"], &rooms[2]["offset"]));
    for (client, place) in clients.iter_mut().zip([0, 1, 0]) {
        assert_eq!(client.event().await, json!(["e", 1, rooms[place]["offset"]]));
    }
    let again = back_end.post("/api/v1/events", &body).await.body;
    assert_eq!((&again["duplicate"], &again["rooms"][1]["offset"]), (&json!(true), &rooms[1]["offset"]));
    let signal = json!({ "event": "s", "rooms": ["a", "b"], "ephemeral": true });
    assert_eq!(back_end.post("/api/v1/events", &signal).await.status, 204);
    for client in &mut clients[..3] {
        assert_eq!(client.event().await, json!(["s"]));
    }
    for client in &mut clients {
        assert!(client.is_quiet(std::time::Duration::from_millis(50)).await);
    }
    for (rooms, pointer) in [(json!([]), "/rooms"), (json!(["a", ""]), "/rooms/1"), (json!("a"), "/rooms")] {
        let refused = back_end.post("/api/v1/events", &json!({ "event": "e", "rooms": rooms })).await;
        assert_eq!((refused.code(), &refused.body["errors"][0]["pointer"]), ("bad_body", &json!(pointer)));
    }
    let many: Vec<_> = (0..21).map(|number| number.to_string()).collect();
    assert_eq!(back_end.post("/api/v1/events", &json!({ "event": "e", "rooms": many })).await.code(), "bad_body");
    let refused = back_end.post("/api/v1/rooms/a/events", &json!({ "event": "e", "rooms": ["b"] })).await;
    assert_eq!(refused.code(), "bad_body");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_volatile_is_dropped_for_who_has_something_waiting() {
    let (gateway, back_end) = node(&[]).await;
    let mut busy = Client::connect(gateway.address).await;
    let mut idle = Client::connect(gateway.address).await;
    busy.join("r").await;
    idle.join("v").await;
    busy.join("v").await;
    // More than the kernel takes of who does not read.
    let large = json!({ "event": "large", "data": "x".repeat(60_000) });
    for _ in 0..130 {
        assert_eq!(back_end.post("/api/v1/rooms/r/events", &large).await.status, 201);
    }
    let volatile = json!({ "event": "position", "data": 1, "ephemeral": true, "volatile": true });
    assert_eq!(back_end.post("/api/v1/rooms/v/events", &volatile).await.status, 204);
    assert_eq!(idle.event().await, json!(["position", 1]));
    let last = back_end.post("/api/v1/rooms/v/events", &json!({ "event": "last" })).await.body;
    for _ in 0..130 {
        assert_eq!(busy.event().await[0], "large");
    }
    assert_eq!(busy.event().await, json!(["last", last["offset"]]), "what was volatile did not wait");
    back_end.post("/api/v1/rooms/v/events", &volatile).await;
    assert_eq!(busy.event().await, json!(["position", 1]));
    let kept = back_end.post("/api/v1/rooms/v/events", &json!({ "event": "e", "volatile": true })).await;
    assert_eq!((kept.code(), &kept.body["errors"][0]["pointer"]), ("bad_body", &json!("/volatile")));
}

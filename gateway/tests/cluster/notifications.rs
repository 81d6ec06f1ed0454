//! Notifications over several nodes and one database: kept once, heard by all devices wherever they are.

use futures_util::future::join_all;
use gateway::app::Gateway;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::ferretdb::FerretDb;
use crate::support::postgres::Postgres;
use crate::support::redis::Redis;
use crate::support::tokens::{SECRET, Signer, claims_with};
use crate::support::{self, eventually};

fn token(user: &str) -> String {
    Signer::secret(SECRET).sign(&claims_with("sub", json!(user)))
}

async fn nodes(redis: &Redis, database: &str) -> Vec<Gateway> {
    let changes = [
        ("GATEWAY_DATABASE__URL", database),
        ("GATEWAY_AUTH__SECRET", SECRET),
        ("GATEWAY_PROFILE", "notifier"),
        ("GATEWAY_NOTIFICATIONS__SENDER_PER_SECOND", "0"),
        ("GATEWAY_NOTIFICATIONS__RECEIVER_PER_SECOND", "0"),
    ];
    crate::cluster(redis, 3, &changes).await
}

/// What a front end asks: status and body.
async fn ask(node: &Gateway, method: &str, path: &str, user: &str, body: Option<&Value>) -> (u16, Value) {
    let body = body.map(Value::to_string);
    let length = body.as_ref().map_or_else(String::new, |body| {
        format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())
    });
    // What comes after the empty line is the body: the helper ends the head with one more.
    let headers = format!("Authorization: Bearer {}\r\n{length}", token(user));
    let headers = body.map_or(headers.clone(), |body| format!("{headers}\r\n{body}"));
    let (status, text) = support::http(method, node.address, path, &headers).await;
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

async fn send(node: &Gateway, from: &str, to: &str, message: Value) -> (u16, Value) {
    ask(node, "POST", "/api/notifications", from, Some(&json!({ "receiverId": to, "message": message }))).await
}

async fn heard(client: &mut Client, name: &str) -> Value {
    loop {
        let event = client.event().await;
        if event[0] == name {
            return event[1].clone();
        }
    }
}

async fn all_devices_hear_each_once(nodes: &[Gateway]) {
    let devices = nodes.iter().map(async |node| {
        let device = Client::try_connect(node.address, json!({ "token": token("bob") })).await;
        let mut device = device.unwrap();
        heard(&mut device, "notification:unread").await;
        device
    });
    let mut devices = join_all(devices).await;
    let sent = join_all((0..30).map(|number| send(&nodes[number % 3], "alice", "bob", json!(number)))).await;
    assert!(sent.iter().all(|(status, _)| *status == 201), "{sent:?}");
    let mut ids: Vec<_> = sent.iter().map(|(_, kept)| kept["id"].clone()).collect();
    ids.sort_by_key(Value::to_string);
    for device in &mut devices {
        let mut told = Vec::new();
        for _ in 0..30 {
            told.push(heard(device, "receiveNotification").await["id"].clone());
        }
        told.sort_by_key(Value::to_string);
        assert_eq!(told, ids);
    }
    let (_, list) = ask(&nodes[2], "GET", "/api/notifications/bob", "bob", None).await;
    assert_eq!(list.as_array().unwrap().len(), 30);
    let newest = list[0]["id"].clone();
    let (_, read) = ask(&nodes[1], "PUT", "/api/notifications/bob/read", "bob", None).await;
    assert_eq!((&read["read"], &read["unread"]), (&json!(30), &json!(0)));
    for device in &mut devices {
        assert_eq!(heard(device, "notification:read").await, json!({ "upTo": newest, "unread": 0 }));
    }
    let path = format!("/api/notifications/{}", newest.as_str().unwrap());
    assert_eq!(ask(&nodes[0], "DELETE", &path, "alice", None).await.0, 404);
    assert_eq!(ask(&nodes[0], "DELETE", &path, "bob", None).await.0, 200);
    for device in &mut devices {
        assert_eq!(heard(device, "notification:deleted").await["id"], newest);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_all_devices_hear_each_once_and_an_outage_passes() {
    let (redis, mut postgres) = (Redis::start().await, Postgres::start().await);
    let nodes = nodes(&redis, &postgres.url()).await;
    all_devices_hear_each_once(&nodes).await;
    let mut device = Client::try_connect(nodes[0].address, json!({ "token": token("bob") })).await.unwrap();
    heard(&mut device, "notification:unread").await;
    postgres.kill();
    let (status, denied) = send(&nodes[1], "alice", "bob", json!("lost")).await;
    assert_eq!((status, &denied["code"]), (503, &json!("unavailable")));
    let ack = device.ask("sendNotification", json!({ "receiverId": "bob", "message": "lost" })).await;
    assert_eq!(ack["error"]["code"], "unavailable", "{ack}");
    postgres.start_again().await;
    eventually("the database is back", || async { send(&nodes[1], "alice", "bob", json!("back")).await.0 == 201 })
        .await;
    assert_eq!(heard(&mut device, "receiveNotification").await["message"], "back", "what was refused was not heard");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_mongodb_all_devices_hear_each_once() {
    let (redis, server) = (Redis::start().await, FerretDb::start().await);
    all_devices_hear_each_once(&nodes(&redis, &server.url_of("notifications")).await).await;
}

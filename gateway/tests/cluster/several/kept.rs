//! What is kept of several Redis in one database: each log is archived by itself, and read and taken back as if it were the only one.

use std::time::Duration;

use gateway_core::auth::{Grant, mint};
use gateway_core::domain::UserId;
use serde_json::json;

use super::{CHAT, World, member};
use crate::support::client::Client;
use crate::support::databases::store;
use crate::support::operator::console;
use crate::support::postgres::Postgres;
use crate::support::redis::Redis;
use crate::support::{self, eventually, metric};

/// What is said in the room is archived soon, and the log keeps little of it.
const ARCHIVED: [(&str, &str); 6] = [
    ("GATEWAY_ARCHIVE__ROOMS", "r"),
    ("GATEWAY_ARCHIVE__LEASE", "1s"),
    ("GATEWAY_ARCHIVE__INTERVAL", "10ms"),
    ("GATEWAY_ARCHIVE__BACKOFF_MAX", "200ms"),
    ("GATEWAY_LOG__ROOM_EVENTS", "3"),
    ("GATEWAY_REDIS__TIMEOUT", "500ms"),
];

/// Reads what a room said from the beginning: its offsets, and whether that is all.
async fn history(member: &mut Client) -> (Vec<u64>, bool) {
    let (mut after, mut read) = ("0".to_owned(), Vec::new());
    loop {
        let page = member.ask("history", json!({ "room": "r", "after": after })).await;
        assert_eq!(page["ok"], true, "{page}");
        for event in page["events"].as_array().unwrap() {
            after = event["offset"].as_str().unwrap().to_owned();
            read.push(after.parse().unwrap());
        }
        if page["complete"] == false || page["more"] == false {
            return (read, page["complete"] != false);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_each_says_is_archived_whichever_is_away() {
    let (main, mut chat, database) = (Redis::start().await, Redis::start().await, Postgres::start().await);
    let url = database.url();
    let changes: Vec<_> = ARCHIVED.into_iter().chain([("GATEWAY_DATABASE__URL", url.as_str())]).collect();
    let world = World::new(&main.url(), &chat.url());
    let nodes = world.nodes(&changes).await;
    let waits = |redis: &str| {
        let series = format!("gateway_redis_archive_waiting{{redis={redis:?}}}");
        nodes.iter().map(|node| metric(node, &series)).sum::<f64>()
    };
    let (mut one, mut two) = (member(&nodes[0], "/").await, member(&nodes[1], CHAT).await);
    let (mut in_main, mut in_chat) = (Vec::new(), Vec::new());
    for number in 0..10 {
        in_main.push(one.publish("r", json!(number)).await.parse().unwrap());
        in_chat.push(two.publish("r", json!(number)).await.parse().unwrap());
    }
    assert_eq!(history(&mut one).await, (in_main.clone(), true));
    assert_eq!(history(&mut two).await, (in_chat.clone(), true));
    chat.stop().await;
    for number in 10..20 {
        in_main.push(one.publish("r", json!(number)).await.parse().unwrap());
    }
    assert_eq!(history(&mut one).await, (in_main.clone(), true), "the other log is archived and read as before");
    chat.start_again().await;
    in_chat.push(two.publish_until_acknowledged(json!("back")).await);
    eventually("nothing waits", || async { waits("main") < 0.5 && waits("chat") < 0.5 }).await;
    eventually("it is whole", || async { history(&mut member(&nodes[0], CHAT).await).await.0 == in_chat }).await;
    // The database is one: so is what is taken from it.
    let store = store(&url).await;
    let rooms = store.archive.rooms(None, 10).await.unwrap();
    let namespaces: Vec<_> = rooms.iter().map(|room| (room.namespace(), room.shown())).collect();
    assert_eq!(namespaces, [(Some(CHAT), Some("r")), (Some("/"), Some("r"))]);
    for (archive, said) in [(store.archive.clone(), &in_main), (store.archive.of_log("chat"), &in_chat)] {
        let cursor = archive.cursor().await.unwrap();
        assert!(cursor.is_some_and(|cursor| cursor.0 >= *said.last().unwrap()), "{cursor:?}");
    }
    assert!(waits("main") + waits("chat") < 0.5);
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_said_is_taken_back_in_every_log_or_asked_again() {
    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    let (main, mut chat, database) = (Redis::start().await, Redis::start().await, Postgres::start().await);
    let url = database.url();
    let own =
        [("GATEWAY_AUTH__SECRET", SECRET), ("GATEWAY_ADMIN__TOKEN", "t"), ("GATEWAY_DATABASE__URL", url.as_str())];
    let changes: Vec<_> = own.into_iter().chain(ARCHIVED).collect();
    let world = World::new(&main.url(), &chat.url());
    let nodes = world.nodes(&changes).await;
    let as_user = async |user: &str, namespace: &str| {
        let (user, ttl) = (UserId::parse(user).unwrap(), Duration::from_secs(600));
        let grant = Grant { user, roles: vec![], ttl, join: None, publish: None, id: None };
        let token = mint(&support::config(&changes[..1]).auth, &grant).unwrap();
        let mut client = Client::try_connect_to(nodes[0].address, namespace, json!({ "token": token })).await.unwrap();
        client.join("r").await;
        client
    };
    let mut of_bob = Vec::new();
    for namespace in ["/", CHAT] {
        let (mut alice, mut bob) = (as_user("alice", namespace).await, as_user("bob", namespace).await);
        for number in 0..8 {
            alice.publish("r", json!(number)).await;
            of_bob.push(bob.publish("r", json!(number)).await.parse::<u64>().unwrap());
        }
    }
    let take_back = async || console(&nodes[1], "t", "DELETE", "/v1/users/alice/messages", None).await;
    chat.stop().await;
    let (status, refused) = take_back().await;
    assert_eq!((status, &refused["code"]), (503, &json!("unavailable")), "{refused}");
    chat.start_again().await;
    let mut told = 0;
    eventually("all of it is taken back", || {
        let asked = take_back();
        async {
            let (status, done) = asked.await;
            assert!(matches!(status, 200 | 503), "{done}");
            status == 200
        }
    })
    .await;
    let mut left = Vec::new();
    for namespace in ["/", CHAT] {
        let mut after = "0".to_owned();
        loop {
            let page = as_user("bob", namespace).await.ask("history", json!({ "room": "r", "after": after })).await;
            assert!(page["ok"] == true && page["complete"] != false, "{page}");
            for event in page["events"].as_array().unwrap() {
                after = event["offset"].as_str().unwrap().to_owned();
                if event["event"] == "message" {
                    left.push(after.parse::<u64>().unwrap());
                } else {
                    told += 1;
                }
            }
            if page["more"] == false {
                break;
            }
        }
    }
    assert_eq!(left, of_bob);
    // Members are told of those that the logs still had.
    assert!(told > 0);
}

//! What has left the log and is read from the archive: by back ends, by clients that join, and by nobody once it is taken back.

use gateway::app::Gateway;
use gateway_core::auth::{Grant, mint};
use serde_json::{Value, json};
use std::time::Duration;

use crate::caller::{Caller, config};
use crate::support::client::Client;
use crate::support::postgres::Postgres;
use crate::support::redis::Redis;
use crate::support::{eventually, metric};

/// Of 40 events of a room the log has 5.
const LITTLE: [(&str, &str); 3] =
    [("GATEWAY_LOG__ROOM_EVENTS", "5"), ("GATEWAY_LIMITS__HISTORY_PAGE", "7"), ("GATEWAY_ARCHIVE__INTERVAL", "10ms")];

async fn node(rooms: &[&str], changes: &[(&str, &str)]) -> (Gateway, Caller) {
    let changes: Vec<_> = LITTLE.iter().chain(changes).copied().collect();
    let (mut config, key) = config(&changes);
    config.archive.rooms = rooms.iter().map(|room| (*room).to_owned()).collect();
    let node = Gateway::start(config, 20_000).await.unwrap();
    let caller = Caller { address: node.api_address, key };
    (node, caller)
}

/// Says so many things in a room; where they are.
async fn say(back_end: &Caller, room: &str, count: usize) -> Vec<String> {
    let mut offsets = Vec::new();
    for number in 0..count {
        let said =
            back_end.post(&format!("/api/v1/rooms/{room}/events"), &json!({ "event": "e", "data": number })).await;
        assert_eq!(said.status, 201, "{said:?}");
        offsets.push(said.body["offset"].as_str().unwrap().to_owned());
    }
    offsets
}

fn offsets(page: &Value) -> Vec<String> {
    let events = page["events"].as_array().unwrap();
    events.iter().map(|event| event["offset"].as_str().unwrap().to_owned()).collect()
}

async fn archived(node: &Gateway, events: f64) {
    eventually("it is archived", || async { metric(node, "gateway_archive_events_total") >= events }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_goes_on_where_the_log_ends() {
    let (node, back_end) = node(&["chat", "kept-*"], &[]).await;
    let said = say(&back_end, "chat", 40).await;
    archived(&node, 40.0).await;
    let (mut after, mut read) = ("0".to_owned(), Vec::new());
    loop {
        let page = back_end.get(&format!("/api/v1/rooms/chat/events?after={after}&limit=7")).await.body;
        assert_eq!(page["complete"], true, "{page}");
        read.extend(offsets(&page));
        if page["more"] == false {
            break;
        }
        after = page["readTo"].as_str().unwrap().to_owned();
    }
    assert_eq!(read, said, "each once, in order");
    let (mut before, mut read) = (String::new(), Vec::new());
    loop {
        let page = back_end.get(&format!("/api/v1/rooms/chat/events?limit=7{before}")).await.body;
        let mut part = offsets(&page);
        assert!(page.get("complete").is_none() && !part.is_empty(), "{page}");
        before = format!("&before={}", part[0]);
        part.append(&mut read);
        read = part;
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(read, said, "the other way too");
    assert!(metric(&node, "gateway_archive_reads_total{result=\"whole\"}") > 8.0);
    assert_eq!(metric(&node, "gateway_archive_reads_total{result=\"incomplete\"}"), 0.0);

    // What is not archived is as it was.
    let other = say(&back_end, "other", 40).await;
    let page = back_end.get("/api/v1/rooms/other/events?after=0").await.body;
    assert_eq!((offsets(&page), &page["complete"]), (other[35..].to_vec(), &json!(false)));
    let all = back_end.get("/api/v1/rooms/other/events").await.body;
    assert_eq!((offsets(&all).len(), &all["more"]), (5, &json!(false)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_reads_and_joins_from_the_beginning() {
    let (node, back_end) = node(&["chat"], &[]).await;
    let said = say(&back_end, "chat", 40).await;
    archived(&node, 40.0).await;
    let mut client = Client::connect(node.address).await;
    let joined = client.ask("join", json!({ "room": "chat", "after": "0" })).await;
    assert_eq!((&joined["ok"], &joined["recovered"]), (&json!(true), &json!(true)), "{joined}");
    for (number, offset) in said.iter().enumerate() {
        let event = client.event().await;
        assert_eq!((&event[0], &event[1], &event[2]), (&json!("e"), &json!(number), &json!(offset)), "{event}");
        assert_eq!(event[3], Value::Null, "it does not move the client's offset");
    }
    let end = client.event().await;
    assert_eq!((&end[0], &end[1]), (&json!("gateway:replayed"), &json!({ "room": "chat", "events": 40 })));
    let live = say(&back_end, "chat", 1).await.remove(0);
    assert_eq!(client.event().await, json!(["e", 0, live]), "and then what is live, once");
    let page = client.ask("history", json!({ "room": "chat", "after": said[3], "limit": 5 })).await;
    assert_eq!((offsets(&page), &page["more"]), (said[4..9].to_vec(), &json!(true)));
    assert!(page.get("complete").is_none(), "{page}");
    let page = client.ask("history", json!({ "room": "chat", "before": said[3] })).await;
    assert_eq!((offsets(&page), &page["more"]), (said[..3].to_vec(), &json!(false)));

    // From the middle of what is archived, and from what the log has.
    for from in [20, 38] {
        let mut other = Client::connect(node.address).await;
        let joined = other.ask("join", json!({ "room": "chat", "after": said[from] })).await;
        assert_eq!(joined["recovered"], true, "{joined}");
        for offset in said[from + 1..].iter().chain([&live]) {
            assert_eq!(other.event().await[2], json!(offset));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_that_remembers_tells_everything_that_was_ever_said() {
    let (node, back_end) = node(&["chat"], &[("GATEWAY_PROFILE", "persistent-chat")]).await;
    let said = say(&back_end, "chat", 300).await;
    archived(&node, 300.0).await;
    for (offset, missed) in [("0", &said[..]), (&said[100], &said[101..]), (&said[298], &said[299..])] {
        let mut client = Client::try_connect(node.address, json!({ "serverOffset": offset })).await.unwrap();
        for expected in missed {
            assert_eq!(client.event().await[2], json!(expected));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_whole_while_the_seam_moves() {
    let (node, back_end) = node(&["chat"], &[("GATEWAY_ARCHIVE__INTERVAL", "100ms")]).await;
    let (address, key) = (back_end.address, back_end.key.clone());
    let first = say(&back_end, "chat", 1).await.remove(0);
    let speaking = tokio::spawn(async move { say(&Caller { address, key }, "chat", 400).await });
    let (mut after, mut read) = (first, Vec::new());
    while !speaking.is_finished() || read.len() < 400 {
        let page = back_end.get(&format!("/api/v1/rooms/chat/events?after={after}")).await.body;
        assert_eq!(page["complete"], true, "what has left the log is waited for: {page}");
        read.extend(offsets(&page));
        after = page["readTo"].as_str().map_or(after, str::to_owned);
    }
    assert_eq!(read, speaking.await.unwrap());
    assert_eq!(metric(&node, "gateway_archive_reads_total{result=\"incomplete\"}"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_is_nowhere_and_members_are_told() {
    let (node, back_end) = node(&["chat"], &[]).await;
    let said = say(&back_end, "chat", 20).await;
    archived(&node, 20.0).await;
    let mut client = Client::connect(node.address).await;
    client.join("chat").await;
    // One that only the archive has, and one that the log has.
    for (number, taken) in [&said[2], &said[17]].into_iter().enumerate() {
        let path = format!("/api/v1/rooms/chat/events/{taken}");
        let done = back_end.ask("DELETE", &path, None).await;
        assert_eq!(done.status, 200, "{done:?}");
        let told = client.event().await;
        let notice = json!({ "room": "chat", "offset": taken });
        assert_eq!(told, json!(["gateway:deleted", notice, done.body["offset"]]));
        let again = back_end.ask("DELETE", &path, None).await;
        assert_eq!((again.status, again.code()), (404, "not_found"));
        archived(&node, 21.0 + number as f64).await;
    }
    let mut read = Vec::new();
    let mut after = "0".to_owned();
    loop {
        let page = back_end.get(&format!("/api/v1/rooms/chat/events?after={after}")).await.body;
        assert_eq!(page["complete"], true, "a tombstone is no gap: {page}");
        read.extend(offsets(&page));
        if page["more"] == false {
            break;
        }
        after = page["readTo"].as_str().unwrap().to_owned();
    }
    let expected: Vec<_> =
        said.iter().filter(|one| !matches!(said.iter().position(|it| it == *one), Some(2 | 17))).collect();
    assert_eq!(read[..18].iter().collect::<Vec<_>>(), expected);
    assert_eq!(read.len(), 20, "and what tells of it");
    for wrong in ["/api/v1/rooms/chat/events/1", "/api/v1/rooms/other/events/7"] {
        assert_eq!(back_end.ask("DELETE", wrong, None).await.code(), "not_found");
    }
    assert_eq!(back_end.ask("DELETE", "/api/v1/rooms/chat/events/x", None).await.code(), "bad_parameter");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_said_goes_from_the_log_and_the_archive() {
    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    let (node, back_end) = node(&["chat"], &[("GATEWAY_AUTH__SECRET", SECRET)]).await;
    let settings = crate::support::config(&[("GATEWAY_AUTH__SECRET", SECRET)]).auth;
    let token = |user: &str| {
        let user = gateway_core::domain::UserId::parse(user).unwrap();
        let ttl = Duration::from_secs(600);
        mint(&settings, &Grant { user, roles: vec![], ttl, join: None, publish: None, id: None }).unwrap()
    };
    let mut alice = Client::try_connect(node.address, json!({ "token": token("alice") })).await.unwrap();
    let mut bob = Client::try_connect(node.address, json!({ "token": token("bob") })).await.unwrap();
    for client in [&mut alice, &mut bob] {
        client.join("chat").await;
    }
    let mut of_bob = Vec::new();
    for number in 0..10 {
        alice.publish("chat", json!(number)).await;
        of_bob.push(bob.publish("chat", json!(number)).await);
    }
    let done = back_end.ask("DELETE", "/api/v1/users/alice/messages", None).await;
    assert_eq!((done.status, &done.body), (200, &json!({ "messages": 10 })), "{done:?}");
    let again = back_end.ask("DELETE", "/api/v1/users/alice/messages", None).await;
    assert_eq!(again.body, json!({ "messages": 0 }));
    let mut read = Vec::new();
    let mut after = "0".to_owned();
    loop {
        let page = back_end.get(&format!("/api/v1/rooms/chat/events?after={after}")).await.body;
        let messages = page["events"].as_array().unwrap().iter().filter(|event| event["event"] == "message");
        read.extend(messages.map(|event| event["offset"].as_str().unwrap().to_owned()));
        if page["more"] == false {
            break;
        }
        after = page["readTo"].as_str().unwrap().to_owned();
    }
    assert_eq!(read, of_bob);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_archive_nothing_is_promised() {
    let (_node, back_end) = node(&[], &[]).await;
    let none = back_end.ask("DELETE", "/api/v1/users/alice/messages", None).await;
    assert_eq!((none.status, none.code()), (409, "no_archive"));
    let said = say(&back_end, "chat", 2).await;
    let done = back_end.ask("DELETE", &format!("/api/v1/rooms/chat/events/{}", said[0]), None).await;
    assert_eq!(done.status, 200, "the log alone will do: {done:?}");
    let page = back_end.get("/api/v1/rooms/chat/events").await.body;
    assert_eq!(offsets(&page), [said[1].clone(), done.body["offset"].as_str().unwrap().to_owned()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_archive_once_whichever_goes_and_whatever_becomes_of_the_database() {
    let (redis, mut postgres) = (Redis::start().await, Postgres::start().await);
    let (redis_url, database) = (redis.url(), postgres.url());
    let changes = [
        ("GATEWAY_REDIS_URL", &*redis_url),
        ("GATEWAY_DATABASE__URL", &*database),
        ("GATEWAY_ARCHIVE__LEASE", "1s"),
        ("GATEWAY_ARCHIVE__BACKOFF_MAX", "200ms"),
        ("GATEWAY_ARCHIVE__PATIENCE", "20s"),
    ];
    let (one, first) = node(&["chat"], &changes).await;
    let (other, second) = node(&["chat"], &changes).await;
    let mut said = say(&first, "chat", 300).await;
    said.extend(say(&second, "chat", 10).await);
    eventually("one of them archives", || async {
        metric(&one, "gateway_archive_events_total") + metric(&other, "gateway_archive_events_total") >= 310.0
    })
    .await;
    postgres.kill();
    said.extend(say(&first, "chat", 20).await);
    assert_eq!(metric(&one, "gateway_refusals_total{code=\"unavailable\"}"), 0.0, "publishing does not notice");
    postgres.start_again().await;
    let were = metric(&one, "gateway_archive_events_total") + metric(&other, "gateway_archive_events_total");
    let (works, goes) = if metric(&one, "gateway_archive_events_total") > 0.0 { (other, one) } else { (one, other) };
    let back_end = Caller {
        address: works.api_address,
        key: if first.address == works.api_address { first.key } else { second.key },
    };
    goes.stop().await;
    said.extend(say(&back_end, "chat", 20).await);
    let (mut after, mut read) = ("0".to_owned(), Vec::new());
    loop {
        let page = back_end.get(&format!("/api/v1/rooms/chat/events?after={after}")).await.body;
        assert_eq!(page["complete"], true, "{page}");
        read.extend(offsets(&page));
        if page["more"] == false {
            break;
        }
        after = page["readTo"].as_str().unwrap().to_owned();
    }
    assert_eq!(read, said, "{were} had been archived");
    let gaps = ["missing", "dropped", "new_history"].map(|why| format!("gateway_archive_gaps_total{{why=\"{why}\"}}"));
    assert!(gaps.iter().all(|series| metric(&works, series) == 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_before_a_new_history_is_read_once() {
    let (redis, postgres) = (Redis::start().await, Postgres::start().await);
    let (redis_url, database) = (redis.url(), postgres.url());
    let changes = [("GATEWAY_REDIS_URL", &*redis_url), ("GATEWAY_DATABASE__URL", &*database)];
    let (node, back_end) = node(&["chat"], &changes).await;
    let mut said = say(&back_end, "chat", 3).await;
    archived(&node, 3.0).await;
    // As if Redis had lost some of its last writes: a history begins, and what is left in the log is from before it, with a hole.
    assert_eq!(redis.command(&format!("XDEL gateway:log:room:chat {}-0", said[1])).await, ":1\r\n");
    assert_eq!(redis.command("SET gateway:log:offset 1").await, "+OK\r\n");
    said.extend(say(&back_end, "chat", 2).await);
    archived(&node, 5.0).await;
    assert_eq!(metric(&node, "gateway_archive_gaps_total{why=\"new_history\"}"), 1.0);
    for limit in 1..=6 {
        let (mut after, mut read, mut whole) = ("0".to_owned(), Vec::new(), true);
        loop {
            let page = back_end.get(&format!("/api/v1/rooms/chat/events?after={after}&limit={limit}")).await.body;
            whole &= page["complete"] == true;
            read.extend(offsets(&page));
            if page["more"] == false {
                break;
            }
            after = page["readTo"].as_str().unwrap().to_owned();
        }
        assert_eq!((&read, whole), (&said, false), "{limit} at a time");
        let (mut before, mut read) = (String::new(), Vec::new());
        loop {
            let page = back_end.get(&format!("/api/v1/rooms/chat/events?limit={limit}{before}")).await.body;
            let mut part = offsets(&page);
            before = format!("&before={}", part[0]);
            part.append(&mut read);
            read = part;
            if page["more"] == false {
                break;
            }
        }
        assert_eq!(read, said, "{limit} at a time, backwards");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_breaks_off_before_it_heard_that_something_is_missing_is_told_so() {
    let (redis, postgres) = (Redis::start().await, Postgres::start().await);
    let (redis_url, database) = (redis.url(), postgres.url());
    let changes = [("GATEWAY_REDIS_URL", &*redis_url), ("GATEWAY_DATABASE__URL", &*database)];
    let (node, back_end) = node(&["chat", "other"], &changes).await;
    let said = say(&back_end, "chat", 1).await;
    archived(&node, 1.0).await;
    assert_eq!(redis.command("SET gateway:log:offset 1").await, "+OK\r\n");
    say(&back_end, "other", 1).await;
    archived(&node, 2.0).await;
    for hears in [true, false] {
        let mut client = Client::connect(node.address).await;
        let begun = client.offset.clone();
        let joined = client.ask("join", json!({ "room": "chat", "after": said[0] })).await;
        assert_eq!((&joined["recovered"], &joined["reason"]), (&json!(false), &json!("archive")), "{joined}");
        assert_eq!(client.event().await[0], "gateway:gap");
        let end = client.event().await;
        assert_eq!((&end[0], &end[1]["events"]), (&json!("gateway:replayed"), &json!(0)), "{end}");
        let offset = if hears { client.offset.clone() } else { begun };
        let pid = client.pid.clone();
        drop(client);
        let back = Client::come_back(node.address, &pid, offset.as_deref()).await;
        assert_eq!(back.recovered(), hears, "{}", back.hello);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_archived_in_a_file_survives_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let changes = [("GATEWAY_DATA_DIR", folder)];
    let (one, back_end) = node(&["chat"], &changes).await;
    let mut said = say(&back_end, "chat", 30).await;
    one.stop().await;
    let (other, back_end) = node(&["chat"], &changes).await;
    said.extend(say(&back_end, "chat", 10).await);
    eventually("nothing waits", || async {
        metric(&other, "gateway_archive_waiting") == 0.0 && metric(&other, "gateway_archive_events_total") >= 10.0
    })
    .await;
    let (mut after, mut read) = ("0".to_owned(), Vec::new());
    loop {
        let page = back_end.get(&format!("/api/v1/rooms/chat/events?after={after}")).await.body;
        assert_eq!(page["complete"], true, "{page}");
        read.extend(offsets(&page));
        if page["more"] == false {
            break;
        }
        after = page["readTo"].as_str().unwrap().to_owned();
    }
    assert_eq!(read, said);
    let gaps = ["missing", "dropped", "new_history"].map(|why| format!("gateway_archive_gaps_total{{why=\"{why}\"}}"));
    assert!(gaps.iter().all(|series| metric(&other, series) == 0.0), "a restart is no gap");
}

//! Users and their notifications over HTTP, as front ends ask for them.

use std::time::Duration;

use serde_json::{Value, json};

use gateway::app::Gateway;

use crate::caller::{Answer, ask, config, node};
use crate::support::client::Client;
use crate::support::tokens::{SECRET, Signer, claims_with};
use crate::support::{self, metric};

const HOME: &str = "/api/notifications";
const WITH_KEYS: (&str, &str) = ("GATEWAY_AUTH__SECRET", SECRET);
const NOTIFIER: (&str, &str) = ("GATEWAY_PROFILE", "notifier");

fn token(user: &str) -> String {
    Signer::secret(SECRET).sign(&claims_with("sub", json!(user)))
}

/// A user at home: what its front end sends with every request.
struct User<'a> {
    gateway: &'a Gateway,
    headers: String,
}

impl<'a> User<'a> {
    fn of(gateway: &'a Gateway, name: &str) -> Self {
        Self { gateway, headers: format!("Authorization: Bearer {}\r\n", token(name)) }
    }

    fn anybody(gateway: &'a Gateway) -> Self {
        Self { gateway, headers: String::new() }
    }

    async fn ask(&self, method: &str, path: &str) -> Answer {
        ask(self.gateway.address, method, path, &self.headers, None).await
    }

    async fn send(&self, body: &Value) -> Answer {
        let headers = format!("{}Content-Type: application/json\r\n", self.headers);
        ask(self.gateway.address, "POST", HOME, &headers, Some(&body.to_string())).await
    }

    /// What it tells somebody, which must be kept; its id.
    async fn tell(&self, receiver: &str, message: &str) -> String {
        let sent = self.send(&json!({ "receiverId": receiver, "message": message })).await;
        assert_eq!(sent.status, 201, "{sent:?}");
        sent.body["_id"].as_str().unwrap().to_owned()
    }

    async fn messages(&self, path: &str) -> Vec<Value> {
        let list = self.ask("GET", path).await;
        assert_eq!(list.status, 200, "{list:?}");
        list.body.as_array().unwrap().iter().map(|one| one["message"].clone()).collect()
    }

    async fn unread(&self, name: &str) -> Value {
        self.ask("GET", &format!("{HOME}/{name}/unread")).await.body
    }

    async fn client(&self, name: &str) -> Client {
        Client::try_connect(self.gateway.address, json!({ "token": token(name) })).await.unwrap()
    }
}

/// The code of a denial, which has to be one.
fn denied(answer: &Answer) -> (u16, &str) {
    assert!(answer.body["message"].is_string(), "{answer:?}");
    (answer.status, answer.body["code"].as_str().unwrap())
}

/// The argument of the next event of that name; what else is heard before it is about something else.
async fn heard(client: &mut Client, name: &str) -> Value {
    loop {
        let event = client.event().await;
        if event[0] == name {
            return event[1].clone();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_again_by_its_key_is_told_once() {
    let (gateway, _) = node(&[WITH_KEYS, NOTIFIER]).await;
    let (alice, carol, bob) = (User::of(&gateway, "alice"), User::of(&gateway, "carol"), User::of(&gateway, "bob"));
    let send = async |user: &User<'_>, key: &str| {
        let headers = format!("{}Content-Type: application/json\r\nIdempotency-Key: {key}\r\n", user.headers);
        let body = json!({ "receiverId": "bob", "message": key }).to_string();
        ask(gateway.address, "POST", HOME, &headers, Some(&body)).await
    };
    let first = send(&alice, "m-1").await;
    let again = send(&alice, "m-1").await;
    assert_eq!((first.status, again.status, &first.body["id"]), (201, 201, &again.body["id"]));
    assert_ne!(send(&carol, "m-1").await.body["id"], first.body["id"], "a key is its sender's own");
    assert_ne!(send(&alice, "m-2").await.body["id"], first.body["id"]);
    assert_eq!(bob.unread("bob").await, json!({ "unread": 3 }));
    assert_eq!(denied(&send(&alice, &"k".repeat(129)).await), (400, "bad_request"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_nobody_is_there_waits() {
    let (gateway, _) = node(&[WITH_KEYS, NOTIFIER]).await;
    let (alice, bob) = (User::of(&gateway, "alice"), User::of(&gateway, "bob"));
    let first =
        alice.send(&json!({ "receiverId": "bob", "message": "dinner?", "data": { "at": 7 }, "type": "x" })).await;
    let id = first.body["id"].as_str().unwrap();
    assert_eq!((first.status, &first.body["_id"], &first.body["senderId"]), (201, &json!(id), &json!("alice")));
    let second = alice.tell("bob", "or lunch?").await;
    let list = bob.ask("GET", "/api/notifications/bob").await;
    let kept = &list.body[1];
    for (field, value) in [
        ("id", json!(id)),
        ("_id", json!(id)),
        ("receiverId", json!("bob")),
        ("message", json!("dinner?")),
        ("data", json!({ "at": 7 })),
        ("isRead", json!(false)),
    ] {
        assert_eq!(kept[field], value, "{list:?}");
    }
    let time = kept["timestamp"].as_str().unwrap();
    assert!(time.len() == 24 && time.ends_with('Z') && &time[10..11] == "T", "{time}");
    assert_eq!((list.body.as_array().unwrap().len(), list.header("cache-control")), (2, Some("no-store")));

    let mut device = bob.client("bob").await;
    assert_eq!(heard(&mut device, "notification:unread").await, json!({ "unread": 2 }));
    let read = bob.ask("PUT", &format!("{HOME}/{id}/read")).await;
    assert_eq!((read.status, read.body), (200, json!({ "message": "Notification marked as read" })));
    assert_eq!(heard(&mut device, "notification:read").await, json!({ "id": id, "unread": 1 }));
    assert_eq!(bob.ask("PUT", &format!("{HOME}/{id}/read")).await.status, 200, "once more is harmless");
    assert_eq!(bob.messages("/api/notifications/bob?unread=true").await, ["or lunch?"]);
    let third = alice.tell("bob", "now!").await;
    assert_eq!(heard(&mut device, "receiveNotification").await["id"], json!(third));
    let deleted = bob.ask("DELETE", &format!("{HOME}/{second}")).await;
    assert_eq!((deleted.status, deleted.body), (200, json!({ "message": "Notification deleted" })));
    assert_eq!(heard(&mut device, "notification:deleted").await, json!({ "id": second, "unread": 1 }));
    assert_eq!(denied(&bob.ask("DELETE", &format!("{HOME}/{second}")).await), (404, "no_notification"));
    let all = bob.ask("PUT", "/api/notifications/bob/read").await;
    assert_eq!((&all.body["read"], &all.body["unread"]), (&json!(1), &json!(0)));
    assert_eq!(heard(&mut device, "notification:read").await, json!({ "upTo": third, "unread": 0 }));
    assert_eq!(bob.unread("bob").await, json!({ "unread": 0 }));
    for (operation, count) in [("send", 3.0), ("list", 2.0), ("read", 3.0), ("delete", 1.0)] {
        let series = format!("gateway_notification_requests_total{{operation=\"{operation}\",status=\"2xx\"}}");
        assert_eq!(metric(&gateway, &series), count, "{operation}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reaches_what_is_another_s() {
    let (gateway, _) = node(&[WITH_KEYS, NOTIFIER]).await;
    let (alice, bob) = (User::of(&gateway, "alice"), User::of(&gateway, "bob"));
    let id = alice.tell("bob", "a secret").await;
    for (method, path) in [
        ("GET", "/api/notifications/bob".to_owned()),
        ("GET", "/api/notifications/%62ob?unread=true".to_owned()),
        ("GET", "/api/notifications/bob/unread".to_owned()),
        ("PUT", "/api/notifications/bob/read".to_owned()),
        ("PUT", format!("{HOME}/bob/read?upTo={id}")),
    ] {
        let answer = alice.ask(method, &path).await;
        assert_eq!(denied(&answer), (403, "not_allowed"), "{method} {path}");
    }
    // That there is one is nobody's business: it is answered like one that never was.
    let never = "0".repeat(24);
    for (method, path) in [("PUT", format!("{HOME}/{{}}/read")), ("DELETE", format!("{HOME}/{{}}"))] {
        let theirs = alice.ask(method, &path.replace("{}", &id)).await;
        let nobodys = alice.ask(method, &path.replace("{}", &never)).await;
        assert_eq!((denied(&theirs), &theirs.body), ((404, "no_notification"), &nobodys.body), "{method} {path}");
    }
    // Marked up to another's, nothing of one's own is.
    bob.tell("alice", "hello").await;
    let up_to = alice.ask("PUT", &format!("{HOME}/alice/read?upTo={never}")).await;
    assert_eq!(up_to.body["read"], 0);
    assert_eq!(
        (bob.unread("bob").await, alice.unread("alice").await),
        (json!({ "unread": 1 }), json!({ "unread": 1 }))
    );

    let strangers = [
        ("", "token_required"),
        ("Authorization: Bearer nonsense\r\n", "unauthorized"),
        (
            &format!("Authorization: Bearer {}\r\n", Signer::secret("guessed").sign(&claims_with("sub", json!("bob")))),
            "unauthorized",
        ),
        (
            &format!("Authorization: Bearer {}\r\n", Signer::secret(SECRET).sign(&claims_with("exp", json!(1000)))),
            "token_expired",
        ),
    ];
    for (headers, code) in strangers {
        let answer = ask(gateway.address, "GET", "/api/notifications/bob", headers, None).await;
        assert_eq!((denied(&answer), answer.header("www-authenticate").is_some()), ((401, code), true), "{headers}");
    }
    assert_eq!(bob.messages("/api/notifications/bob").await, ["a secret"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_is_called_like_an_id_is_a_user_to_itself() {
    let (gateway, _) = node(&[WITH_KEYS, NOTIFIER]).await;
    let name = "65a1b2c3d4e5f60718293a4b";
    let (alice, hex) = (User::of(&gateway, "alice"), User::of(&gateway, name));
    for message in ["one", "two"] {
        alice.tell(name, message).await;
    }
    let all = hex.ask("PUT", &format!("{HOME}/{name}/read")).await;
    assert_eq!((all.status, &all.body["read"]), (200, &json!(2)), "{all:?}");
    let id = alice.tell(name, "three").await;
    let one = hex.ask("PUT", &format!("{HOME}/{}/read", id.to_uppercase())).await;
    assert_eq!((one.status, one.body.get("read"), hex.unread(name).await), (200, None, json!({ "unread": 0 })));
    assert_eq!(denied(&alice.ask("PUT", &format!("{HOME}/{name}/read")).await), (404, "no_notification"));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_keys_are_nobody_has_to_be_anybody() {
    let (gateway, _) = node(&[]).await;
    let front = User::anybody(&gateway);
    let name = "65a1b2c3d4e5f60718293a4b";
    let (first, _) = (front.tell(name, "one").await, front.tell(name, "two").await);
    assert_eq!(front.messages(&format!("{HOME}/{name}")).await, ["two", "one"]);
    let read = front.ask("PUT", &format!("{HOME}/{first}/read")).await;
    assert_eq!((read.status, read.body), (200, json!({ "message": "Notification marked as read" })));
    assert_eq!(front.unread(name).await, json!({ "unread": 1 }));
    let all = front.ask("PUT", &format!("{HOME}/{name}/read")).await;
    assert_eq!((all.status, &all.body["read"]), (200, &json!(1)), "it is a user that has some, and no notification");
    assert_eq!(front.ask("PUT", &format!("{HOME}/{name}/read")).await.body["read"], 0);
    assert_eq!(denied(&front.ask("PUT", &format!("{HOME}/{}/read", "0".repeat(24))).await), (404, "no_notification"));
    assert_eq!(front.ask("DELETE", &format!("{HOME}/{first}")).await.status, 200);
    let number = front.send(&json!({ "receiverId": 17, "message": "for a number" })).await;
    assert_eq!((number.status, &number.body["receiverId"]), (201, &json!("17")));
    assert_eq!(front.messages("/api/notifications/17").await, ["for a number"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_comes_in_pages_that_name_the_next() {
    let (gateway, _) = node(&[("GATEWAY_NOTIFICATIONS__PAGE", "4")]).await;
    let front = User::anybody(&gateway);
    for number in 0..10 {
        front.tell("bob/é", &number.to_string()).await;
    }
    let (mut path, mut read) = ("/api/notifications/bob%2F%C3%A9?unread=true&limit=3".to_owned(), Vec::new());
    loop {
        let page = front.ask("GET", &path).await;
        read.extend(page.body.as_array().unwrap().iter().map(|one| one["message"].as_str().unwrap().to_owned()));
        let Some(link) = page.header("link") else { break };
        path = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\"")).unwrap().to_owned();
        assert!(read.len() % 3 == 0 && read.len() < 10, "{link}");
    }
    let expected: Vec<_> = (0..10).rev().map(|number| number.to_string()).collect();
    assert_eq!(read, expected);
    assert_eq!(
        front.messages("/api/notifications/bob%2F%C3%A9?limit=1000").await.len(),
        4,
        "a page is as large as it may be"
    );
    // Large ones come in more pages, and each page in one answer.
    let large = "x".repeat(60_000);
    for _ in 0..4 {
        front.tell("carol", &large).await;
    }
    let (narrow, _) = node(&[("GATEWAY_LIMITS__PAYLOAD_BYTES", "150000")]).await;
    let front = User::anybody(&narrow);
    for _ in 0..4 {
        front.tell("carol", &large).await;
    }
    let page = front.ask("GET", "/api/notifications/carol").await;
    assert_eq!((page.body.as_array().unwrap().len(), page.header("link").is_some()), (2, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_ask_as_far_as_they_are_listed() {
    let (gateway, _) = node(&[("GATEWAY_SOCKET__ORIGINS", "https://app.example")]).await;
    let asked = async |method: &str, origin: &str, more: &str| {
        let headers = format!("Origin: {origin}\r\n{more}");
        ask(gateway.address, method, "/api/notifications/bob", &headers, None).await
    };
    let preflight = "Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: authorization\r\n";
    let may = asked("OPTIONS", "https://app.example", preflight).await;
    assert_eq!((may.status, may.header("access-control-allow-origin")), (204, Some("https://app.example")));
    assert!(may.header("access-control-allow-methods").unwrap().contains("PUT"), "{may:?}");
    assert_eq!(may.header("access-control-allow-headers"), Some("authorization"));
    let list = asked("GET", "https://app.example", "").await;
    assert_eq!(
        (list.status, list.header("access-control-allow-credentials"), list.header("vary")),
        (200, Some("true"), Some("Origin"))
    );
    for (method, more) in [("OPTIONS", preflight), ("GET", ""), ("DELETE", "")] {
        let other = asked(method, "https://other.example", more).await;
        assert_eq!((denied(&other), other.header("access-control-allow-origin")), ((403, "forbidden_origin"), None));
    }
    let (open, _) = node(&[]).await;
    let any = ask(open.address, "GET", "/api/notifications/bob/nothing", "Origin: null\r\n", None).await;
    assert_eq!((any.status, any.header("access-control-allow-origin")), (404, Some("null")), "errors are read, too");
    let (busy, _) = node(&[("GATEWAY_LIMITS__REQUESTS_PER_SECOND_PER_ADDRESS", "1")]).await;
    let refused = loop {
        let answer = ask(busy.address, "GET", "/api/notifications/bob", "Origin: https://x.example\r\n", None).await;
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")), "{refused:?}");
    assert_eq!(refused.text, "Too many requests. Please try again later.");
    assert_eq!(refused.header("access-control-allow-origin"), Some("https://x.example"));
}

#[tokio::test(flavor = "multi_thread")]
async fn users_send_what_a_route_would_let_them_and_not_too_fast() {
    let limits = [
        ("GATEWAY_NOTIFICATIONS__SENDER_PER_SECOND", "1"),
        ("GATEWAY_NOTIFICATIONS__SENDER_BURST", "5"),
        ("GATEWAY_NOTIFICATIONS__RECEIVER_PER_SECOND", "1"),
        ("GATEWAY_NOTIFICATIONS__RECEIVER_BURST", "7"),
    ];
    let (gateway, back_end) = node(&[&[WITH_KEYS, NOTIFIER][..], &limits].concat()).await;
    let sent = async |from: &str| {
        let user = User::of(&gateway, from);
        let mut kept = 0;
        loop {
            let answer = user.send(&json!({ "receiverId": "bob", "message": "!" })).await;
            if answer.status != 201 {
                assert_eq!(denied(&answer), (429, "rate_limited"));
                assert!(answer.header("retry-after").is_some() && answer.body["retryAfterMs"].as_u64().unwrap() > 0);
                return kept;
            }
            kept += 1;
        }
    };
    let (first, second) = (sent("alice").await, sent("mallory").await);
    // In the time that this takes, somebody may have got one more.
    assert!((5..9).contains(&first) && (2..9).contains(&second) && first + second < 16, "{first} and {second}");
    let denials = |limiter: &str| {
        metric(&gateway, &format!("gateway_rate_limit_decisions_total{{limiter=\"{limiter}\",decision=\"deny\"}}"))
    };
    assert!(denials("notification_sender") + denials("notification_receiver") >= 2.0);
    let told = back_end.post("/api/v1/users/bob/notifications", &json!({ "message": "!" })).await;
    assert_eq!(told.status, 201, "back ends are counted by their keys");

    let (quiet, _) = node(&[WITH_KEYS]).await;
    let refused = User::of(&quiet, "alice").send(&json!({ "receiverId": "bob", "message": "!" })).await;
    assert_eq!(denied(&refused), (403, "not_allowed"), "the profile has no route that notifies");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_and_kept_nowhere() {
    let (gateway, _) = node(&[]).await;
    let json = "Content-Type: application/json\r\n";
    let deep = format!(r#"{{"receiverId":"bob","message":{}1{}}}"#, "[".repeat(100), "]".repeat(100));
    let large = json!({ "receiverId": "bob", "message": "x".repeat(70_000) }).to_string();
    let huge = json!({ "receiverId": "bob", "message": "x".repeat(2_000_000) }).to_string();
    for (headers, body, status, code) in [
        (json, "", 400, "bad_request"),
        (json, "{", 400, "bad_request"),
        (json, "[]", 400, "bad_request"),
        (json, r#"["bob","hi"]"#, 400, "bad_request"),
        (json, r#"{"receiverId":"bob"}"#, 400, "bad_request"),
        (json, r#"{"message":"hi"}"#, 400, "bad_request"),
        (json, r#"{"receiverId":"","message":"hi"}"#, 400, "bad_request"),
        (json, r#"{"receiverId":"a\u0000b","message":"hi"}"#, 400, "bad_request"),
        (json, r#"{"receiverId":{"$ne":null},"message":"hi"}"#, 400, "bad_request"),
        (json, r#"{"receiverId":"bob","message":{"_placeholder":true,"num":0}}"#, 400, "bad_request"),
        (json, &deep, 400, "bad_request"),
        (json, &large, 413, "too_large"),
        (json, &huge, 413, "too_large"),
        ("Content-Type: text/plain\r\n", r#"{"receiverId":"bob","message":"hi"}"#, 415, "wrong_type"),
        ("", r#"{"receiverId":"bob","message":"hi"}"#, 415, "wrong_type"),
    ] {
        let answer = ask(gateway.address, "POST", HOME, headers, Some(body)).await;
        assert_eq!(denied(&answer), (status, code), "{body:.60}");
    }
    let front = User::anybody(&gateway);
    assert_eq!(front.messages("/api/notifications/bob").await, Vec::<Value>::new());
    let patch = front.ask("PATCH", "/api/notifications/bob").await;
    assert_eq!((denied(&patch), patch.header("allow")), ((405, "method_not_allowed"), Some("GET,DELETE")));
    let emoji = "😀".repeat(16_000);
    front.tell("bob", &emoji).await;
    assert_eq!(front.messages("/api/notifications/bob").await, [json!(emoji)]);

    let (mut closed, _) = config(&[("GATEWAY_NOTIFICATIONS__HTTP", "false")]);
    closed.web.page = false;
    let closed = Gateway::start(closed, 20_000).await.unwrap();
    assert_eq!(User::anybody(&closed).ask("GET", "/api/notifications/bob").await.status, 404);
    let (side, _) = node(&[("GATEWAY_API__LISTEN", "127.0.0.1:0")]).await;
    assert_eq!(ask(side.address, "GET", "/api/notifications/bob", "", None).await.status, 200);
    assert_ne!(
        ask(side.api_address, "GET", "/api/notifications/bob", "", None).await.status,
        200,
        "that is for back ends"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_without_a_database_says_so_and_routes_go_on_live() {
    let redis = support::redis::Redis::start().await;
    let url = redis.url();
    let (gateway, _) = node(&[("GATEWAY_REDIS_URL", &url), NOTIFIER]).await;
    let front = User::anybody(&gateway);
    for answer in [
        front.ask("GET", "/api/notifications/bob").await,
        front.send(&json!({ "receiverId": "bob", "message": "hi" })).await,
        front.ask("PUT", "/api/notifications/bob/read").await,
        front.ask("DELETE", &format!("{HOME}/{}", "0".repeat(24))).await,
    ] {
        assert_eq!(denied(&answer), (501, "no_database"));
    }
    let mut bob = Client::connect(gateway.address).await;
    assert_eq!(bob.ask("registerUser", json!("bob")).await["ok"], true);
    let sent = bob.ask("sendNotification", json!({ "receiverId": "bob", "message": "live" })).await;
    assert!(sent["ok"] == true && sent.get("id").is_none(), "{sent}");
    assert_eq!(heard(&mut bob, "receiveNotification").await, json!({ "message": "live" }));
    assert_eq!(metric(&gateway, "gateway_notifications_total{by=\"event\",result=\"live\"}"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_comes_by_every_way_that_a_socket_s_may() {
    let ways = [
        WITH_KEYS,
        ("GATEWAY_AUTH__COOKIE", "jwt"),
        ("GATEWAY_AUTH__QUERY", "token"),
        ("GATEWAY_SOCKET__ORIGINS", "https://app.example"),
        ("GATEWAY_LIMITS__FAILED_CONNECTS_PER_SECOND_PER_ADDRESS", "1"),
        ("GATEWAY_LIMITS__FAILED_CONNECTS_BURST_PER_ADDRESS", "3"),
    ];
    let (gateway, _) = node(&ways).await;
    let bob = token("bob");
    for (path, headers) in [
        ("/api/notifications/bob".to_owned(), format!("Cookie: jwt={bob}\r\n")),
        (format!("/api/notifications/bob?token={bob}"), String::new()),
    ] {
        assert_eq!(ask(gateway.address, "GET", &path, &headers, None).await.status, 200, "{path:.40}");
    }
    let wrong = async || ask(gateway.address, "GET", "/api/notifications/bob?token=x", "", None).await.status;
    support::eventually("who guesses has to wait", async || wrong().await == 429).await;
    let waits = User::of(&gateway, "bob").ask("GET", "/api/notifications/bob").await;
    assert!([200, 429].contains(&waits.status), "{waits:?}");
    tokio::time::timeout(Duration::from_secs(20), async {
        while User::of(&gateway, "bob").ask("GET", "/api/notifications/bob").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("and is let in again");
}

//! Back ends that tell users what they may read later.

use serde_json::{Value, json};

use gateway::app::Gateway;
use gateway_core::config::Scope;

use crate::caller::{Answer, Caller, config, key, node};
use crate::support::client::Client;
use crate::support::tokens::{SECRET, Signer, claims_with};
use crate::support::{self, metric};

const ALICE: &str = "/api/v1/users/alice/notifications";
const WITH_KEYS: (&str, &str) = ("GATEWAY_AUTH__SECRET", SECRET);

async fn user(gateway: &Gateway, name: &str) -> Client {
    let token = Signer::secret(SECRET).sign(&claims_with("sub", json!(name)));
    Client::try_connect(gateway.address, json!({ "token": token })).await.unwrap()
}

/// The argument of the next event, which must be of that name.
async fn heard(client: &mut Client, name: &str) -> Value {
    let event = client.event().await;
    assert_eq!(event[0], name, "{event}");
    event[1].clone()
}

fn ids(page: &Answer) -> Vec<&str> {
    assert_eq!(page.status, 200, "{page:?}");
    page.body["notifications"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_is_told_all_its_sessions_hear_and_it_stays() {
    let (gateway, back_end) = node(&[WITH_KEYS]).await;
    let mut devices = [user(&gateway, "alice").await, user(&gateway, "alice").await];
    let mut bob = user(&gateway, "bob").await;
    let told = back_end.post(ALICE, &json!({ "message": { "text": "hi" }, "data": [7] })).await;
    assert_eq!((told.status, &told.body["user"], &told.body["duplicate"]), (201, &json!("alice"), &json!(false)));
    let id = told.body["id"].as_str().unwrap();
    for device in &mut devices {
        let note = heard(device, "receiveNotification").await;
        let expected =
            [("id", json!(id)), ("_id", json!(id)), ("receiverId", json!("alice")), ("isRead", json!(false))];
        expected.iter().for_each(|(field, value)| assert_eq!(&note[field], value, "{note}"));
        assert_eq!((&note["message"], &note["data"]), (&json!({ "text": "hi" }), &json!([7])));
        assert!(note["timestamp"].as_str().unwrap().ends_with('Z') && note.get("senderId").is_none(), "{note}");
    }
    let later = back_end.post(ALICE, &json!({ "message": "later", "ttl": 3600 })).await;
    let later = later.body["id"].as_str().unwrap();
    let page = back_end.get(ALICE).await;
    assert_eq!((ids(&page), &page.body["unread"], page.body.get("next")), (vec![later, id], &json!(2), None));
    assert!(
        page.body["notifications"][0]["expiresAt"].is_string() && page.body["notifications"][0].get("_id").is_none()
    );
    let first = back_end.get(&format!("{ALICE}?limit=1")).await;
    assert_eq!((ids(&first), &first.body["next"]), (vec![later], &json!(later)));
    assert_eq!(ids(&back_end.get(&format!("{ALICE}?limit=1&after={later}")).await), [id]);
    for device in &mut devices {
        heard(device, "receiveNotification").await;
    }

    let read = back_end.ask("PUT", &format!("{ALICE}/read?upTo={id}"), None).await;
    assert_eq!((read.status, &read.body), (200, &json!({ "read": 1, "unread": 1 })));
    let gone = back_end.ask("DELETE", &format!("{ALICE}/{later}"), None).await;
    assert_eq!(gone.status, 204);
    for device in &mut devices {
        assert_eq!(heard(device, "notification:read").await, json!({ "upTo": id, "unread": 1 }));
        assert_eq!(heard(device, "notification:deleted").await, json!({ "id": later, "unread": 0 }));
    }
    assert_eq!(back_end.ask("DELETE", &format!("{ALICE}/{later}"), None).await.code(), "no_notification");
    let bobs = format!("/api/v1/users/bob/notifications/{id}");
    assert_eq!(back_end.ask("DELETE", &bobs, None).await.code(), "no_notification", "it is alice's");
    assert_eq!(ids(&back_end.get(&format!("{ALICE}?unread=true")).await), Vec::<&str>::new());
    assert_eq!(back_end.post("/api/v1/users/bob/notifications", &json!({ "message": 1 })).await.status, 201);
    assert_eq!(heard(&mut bob, "receiveNotification").await["message"], 1, "and nothing before that");
    assert_eq!(metric(&gateway, "gateway_notifications_total{by=\"api\",result=\"kept\"}"), 3.0);
    let cleared = back_end.ask("DELETE", ALICE, None).await;
    assert_eq!(
        (cleared.status, cleared.body, ids(&back_end.get(ALICE).await).len()),
        (200, json!({ "deleted": 1 }), 0)
    );
    for device in &mut devices {
        assert_eq!(heard(device, "notification:deleted").await, json!({ "all": true, "unread": 0 }));
    }
    assert_eq!(back_end.ask("DELETE", ALICE, None).await.body["deleted"], 0);
    assert_eq!(ids(&back_end.get("/api/v1/users/bob/notifications").await).len(), 1, "nobody else's");
    assert_eq!(metric(&gateway, "gateway_notifications_gone_total{reason=\"deleted\"}"), 2.0);
    assert_eq!(metric(&gateway, "gateway_notifications_read_total"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_told_once_and_a_collapse_key_replaces_what_is_unread() {
    let (gateway, back_end) = node(&[WITH_KEYS]).await;
    let mut alice = user(&gateway, "alice").await;
    let once = json!({ "message": "paid", "id": "invoice-7" });
    let first = back_end.post(ALICE, &once).await.body;
    let again = back_end.post(ALICE, &once).await;
    assert_eq!((again.status, &again.body["id"], &again.body["duplicate"]), (201, &first["id"], &json!(true)));
    let elsewhere = back_end.post("/api/v1/users/bob/notifications", &once).await;
    assert_eq!(elsewhere.body["duplicate"], false, "an id is of one user");
    let half = back_end.post(ALICE, &json!({ "message": "50 %", "collapse": "upload" })).await.body;
    let whole = back_end.post(ALICE, &json!({ "message": "100 %", "collapse": "upload" })).await.body;
    assert_eq!((&whole["replaces"], half.get("replaces")), (&half["id"], None));
    for (message, replaces) in [("paid", None), ("50 %", None), ("100 %", Some(&half["id"]))] {
        let note = heard(&mut alice, "receiveNotification").await;
        assert_eq!((&note["message"], note.get("replaces")), (&json!(message), replaces));
    }
    let page = back_end.get(ALICE).await;
    assert_eq!(ids(&page), [whole["id"].as_str().unwrap(), first["id"].as_str().unwrap()]);
    back_end.ask("PUT", &format!("{ALICE}/read"), None).await;
    let fresh = back_end.post(ALICE, &json!({ "message": "50 %", "collapse": "upload" })).await.body;
    assert_eq!((fresh.get("replaces"), ids(&back_end.get(ALICE).await).len()), (None, 3), "what was read stays");
    assert_eq!(metric(&gateway, "gateway_notifications_gone_total{reason=\"collapsed\"}"), 1.0);

    let keyed = |key: &'static str| back_end.ask_with("POST", ALICE, key, Some(r#"{"message":1}"#));
    let (one, two) = (keyed("Idempotency-Key: k\r\n").await, keyed("Idempotency-Key: k\r\n").await);
    assert_eq!((one.body, two.header("idempotency-replayed")), (two.body.clone(), Some("true")));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_users_are_told_at_once() {
    let (gateway, back_end) = node(&[WITH_KEYS]).await;
    let mut clients = [user(&gateway, "user 3").await, user(&gateway, "user 999").await];
    let users: Vec<_> = (0..1000).map(|number| format!("user {number}")).collect();
    let body = json!({ "users": users, "message": "we are back at 6", "id": "maintenance" });
    let told = back_end.post("/api/v1/notifications", &body).await;
    let kept = told.body["notifications"].as_array().unwrap();
    assert_eq!((told.status, kept.len(), &kept[999]["user"]), (201, 1000, &json!("user 999")));
    for (client, number) in clients.iter_mut().zip([3, 999]) {
        assert_eq!(heard(client, "receiveNotification").await["id"], kept[number]["id"]);
    }
    let again = back_end.post("/api/v1/notifications", &body).await;
    assert!(again.body["notifications"].as_array().unwrap().iter().all(|kept| kept["duplicate"] == true));
    let twice = back_end.post("/api/v1/notifications", &json!({ "users": ["a", "b", "a"], "message": 0 })).await;
    assert_eq!(twice.body["notifications"].as_array().unwrap().len(), 2);
    for (users, pointer) in [(json!([]), "/users"), (json!(vec!["a"; 1001]), "/users"), (json!(["a", ""]), "/users/1")]
    {
        let refused = back_end.post("/api/v1/notifications", &json!({ "users": users, "message": 0 })).await;
        assert_eq!((refused.code(), &refused.body["errors"][0]["pointer"]), ("bad_body", &json!(pointer)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_json_can_say_comes_back_as_it_was_said() {
    let (gateway, back_end) = node(&[WITH_KEYS]).await;
    let mut alice = user(&gateway, "alice").await;
    let emoji = format!("\"{}\"", "😀".repeat(16_000));
    for message in [
        &emoji,
        r#""a\u0000b""#,
        r#"{"$set":{"a.b":1},"":{"$where":"x"},"_id":0}"#,
        "[9223372036854775808,1.10]",
        "null",
    ] {
        let told = back_end.ask("POST", ALICE, Some(&format!(r#"{{"message":{message},"data":{{"$":null}}}}"#))).await;
        assert_eq!(told.status, 201, "{told:?}");
        let text = alice.text().await.unwrap();
        assert!(text.contains(&format!(r#""message":{message},"data":{{"$":null}}"#)), "{text:.200}");
        let (status, page) = support::http(
            "GET",
            gateway.address,
            &format!("{ALICE}?limit=1"),
            &format!("Authorization: Bearer {}\r\n", back_end.key),
        )
        .await;
        assert!(status == 200 && page.contains(&format!(r#""message":{message},"data":{{"$":null}}"#)), "{page:.200}");
    }
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    let long = "x".repeat(129);
    for (body, status, code) in [
        (json!({}).to_string(), 400, "bad_body"),
        (json!({ "message": 1, "to": "bob" }).to_string(), 400, "bad_body"),
        (json!({ "message": 1, "ttl": "1h" }).to_string(), 400, "bad_body"),
        (json!({ "message": 1, "ttl": 0 }).to_string(), 400, "bad_request"),
        (json!({ "message": 1, "ttl": u64::MAX }).to_string(), 400, "bad_request"),
        (json!({ "message": 1, "id": "" }).to_string(), 400, "bad_request"),
        (json!({ "message": 1, "collapse": long }).to_string(), 400, "bad_request"),
        (format!(r#"{{"message":{deep}}}"#), 400, "bad_request"),
        (r#"{"message":{"_placeholder":true,"num":0}}"#.into(), 400, "bad_request"),
        (json!({ "message": "x".repeat(70_000) }).to_string(), 413, "too_large"),
        (json!({ "message": "x".repeat(40_000), "data": "x".repeat(40_000) }).to_string(), 413, "too_large"),
    ] {
        let refused = back_end.ask("POST", ALICE, Some(&body)).await;
        assert_eq!((refused.status, refused.code()), (status, code), "{body:.80}");
    }
    for path in [&format!("{ALICE}?after=7"), &format!("{ALICE}?unread=maybe"), &format!("{ALICE}?before=7")] {
        assert_eq!(back_end.get(path).await.code(), "bad_parameter", "{path}");
    }
    let both = format!("{ALICE}/read?id={0}&upTo={0}", "0".repeat(24));
    assert_eq!(back_end.ask("PUT", &both, None).await.code(), "bad_parameter");
    assert_eq!(ids(&back_end.get(ALICE).await).len(), 5, "what was refused is not there");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_takes_the_right_key() {
    let (mut config, _) = config(&[]);
    let (publish, one) = key(&[Scope::Publish, Scope::Read], &["*"]);
    let (rooms, two) = key(&Scope::ALL, &["r*"]);
    let (shop, mut three) = key(&Scope::ALL, &["*"]);
    three.namespaces = vec!["/shop".into()];
    let (notify, four) = key(&[Scope::Notify], &["*"]);
    config.api.key = vec![one, two, three, four];
    let gateway = Gateway::start(config, 20_000).await.unwrap();
    let caller = |key| Caller { address: gateway.address, key };
    let body = json!({ "message": 1 });
    assert_eq!(caller(publish.clone()).post(ALICE, &body).await.code(), "scope_missing");
    assert_eq!(caller(publish).get(ALICE).await.status, 200);
    for narrow in [rooms, shop] {
        let narrow = caller(narrow);
        assert_eq!(narrow.post(ALICE, &body).await.code(), "out_of_reach");
        assert_eq!(narrow.get(ALICE).await.code(), "out_of_reach");
    }
    let notifier = caller(notify);
    assert_eq!((notifier.post(ALICE, &body).await.status, notifier.get(ALICE).await.code()), (201, "scope_missing"));
    let item = json!({ "method": "POST", "path": ALICE, "body": body });
    let batch = notifier.post("/api/v1/batch", &json!({ "items": [item, item] })).await;
    assert!(batch.body["items"].as_array().unwrap().iter().all(|item| item["status"] == 201), "{batch:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_each_user_the_newest_are_kept_and_what_is_past_its_time_goes() {
    let changes = [
        ("GATEWAY_NOTIFICATIONS__KEPT_PER_USER", "3"),
        ("GATEWAY_NOTIFICATIONS__SWEEP", "100ms"),
        ("GATEWAY_NOTIFICATIONS__KEEP", "0s"),
    ];
    let (gateway, back_end) = node(&changes).await;
    for number in 0..5 {
        back_end.post(ALICE, &json!({ "message": number })).await;
    }
    let page = back_end.get(ALICE).await;
    let messages = page.body["notifications"].as_array().unwrap().iter().map(|one| one["message"].clone());
    assert_eq!((messages.collect::<Vec<_>>(), &page.body["unread"]), (vec![json!(4), json!(3), json!(2)], &json!(3)));
    assert_eq!(metric(&gateway, "gateway_notifications_gone_total{reason=\"surplus\"}"), 2.0);
    back_end.post("/api/v1/users/bob/notifications", &json!({ "message": 1, "ttl": 1 })).await;
    support::eventually("its time is over, and it goes", || async {
        let page = back_end.get("/api/v1/users/bob/notifications").await;
        let forgotten = metric(&gateway, "gateway_notifications_gone_total{reason=\"forgotten\"}");
        ids(&page).is_empty() && forgotten == 1.0
    })
    .await;
    assert_eq!(ids(&back_end.get(ALICE).await).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_it_says_so() {
    let redis = support::redis::Redis::start().await;
    let url = redis.url();
    let (_gateway, back_end) = node(&[("GATEWAY_REDIS_URL", &url)]).await;
    for answer in [back_end.post(ALICE, &json!({ "message": 1 })).await, back_end.get(ALICE).await] {
        assert_eq!((answer.status, answer.code()), (501, "no_database"), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_log_takes_no_more_it_is_kept_and_heard_all_the_same() {
    let (gateway, back_end) = node(&[WITH_KEYS, ("GATEWAY_LOG__MAX_BYTES", "30000")]).await;
    let mut alice = user(&gateway, "alice").await;
    let large = json!({ "event": "e", "data": "x".repeat(5_000) });
    let mut published = 0;
    while back_end.post("/api/v1/rooms/r/events", &large).await.status == 201 {
        published += 1;
        assert!(published < 100, "the log takes anything");
    }
    let told = back_end.post(ALICE, &json!({ "message": "still" })).await;
    assert_eq!((told.status, &heard(&mut alice, "receiveNotification").await["id"]), (201, &told.body["id"]));
    assert_eq!(ids(&back_end.get(ALICE).await).len(), 1);
    assert_eq!(metric(&gateway, "gateway_notification_pushes_total{result=\"signalled\"}"), 1.0);
}

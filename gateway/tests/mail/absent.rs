//! Mail for who is away: one digest, and none for who was there, read, or wants none.

use gateway::app::Gateway;
use serde_json::json;

use crate::caller::{Caller, ask, config};
use crate::support::client::Client;
use crate::support::mailer::Mailpit;
use crate::support::postgres::Postgres;
use crate::support::process::Process;
use crate::support::redis::Redis;
use crate::support::tokens::{SECRET, Signer, claims_with};
use crate::support::{eventually, metric};

/// Settings under which who is away for so long gets a mail.
fn settings<'a>(port: &'a str, after: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("GATEWAY_MAIL__HOST", "localhost"),
        ("GATEWAY_MAIL__PORT", port),
        ("GATEWAY_MAIL__TLS", "none"),
        ("GATEWAY_MAIL__FROM", "shop@example.com"),
        ("GATEWAY_PROFILE", "notifier"),
        ("GATEWAY_AUTH__SECRET", SECRET),
        ("GATEWAY_NOTIFICATIONS__MAIL__AFTER", after),
        ("GATEWAY_NOTIFICATIONS__MAIL__URL", "https://chat.example"),
        ("GATEWAY_NOTIFICATIONS__MAIL__SECRET", "a secret for the tests"),
    ]
}

fn token(user: &str, email: &str) -> String {
    let mut claims = claims_with("sub", json!(user));
    (claims["email"], claims["name"]) = (json!(email), json!(format!("The {user}")));
    Signer::secret(SECRET).sign(&claims)
}

async fn tell(caller: &Caller, user: &str, message: &str) -> String {
    let told = caller.post(&format!("/api/v1/users/{user}/notifications"), &json!({ "message": message })).await;
    assert_eq!(told.status, 201, "{told:?}");
    told.body["id"].as_str().unwrap().to_owned()
}

async fn reachable(caller: &Caller, user: &str) {
    let body = json!({ "email": format!("{user}@example.com"), "name": user }).to_string();
    let put = caller.ask("PUT", &format!("/api/v1/users/{user}/contact"), Some(&body)).await;
    assert_eq!(put.status, 200, "{put:?}");
}

async fn start(mailpit: &Mailpit, after: &str) -> (Gateway, Caller) {
    let port = mailpit.smtp_port.to_string();
    let (config, key) = config(&settings(&port, after));
    let gateway = Gateway::start(config, 20_000).await.unwrap();
    let caller = Caller { address: gateway.api_address, key };
    (gateway, caller)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_away_gets_one_digest_and_the_others_none() {
    let mailpit = Mailpit::start().await;
    let (gateway, caller) = start(&mailpit, "4s").await;
    for user in ["bob", "ann", "eve", "kim"] {
        reachable(&caller, user).await;
    }
    let here =
        Client::try_connect(gateway.address, json!({ "token": token("ann", "other@example.com") })).await.unwrap();
    for message in ["one", "<b>two</b>", "three"] {
        tell(&caller, "bob", message).await;
    }
    tell(&caller, "ann", "you are there").await;
    tell(&caller, "eve", "you read it").await;
    tell(&caller, "kim", "you list it").await;
    let listed = format!("Authorization: Bearer {}\r\n", token("kim", "kim@example.com"));
    assert_eq!(ask(gateway.address, "GET", "/api/notifications/kim", &listed, None).await.status, 200);
    tell(&caller, "nobody", "who has no address").await;
    let read = caller.ask("PUT", "/api/v1/users/eve/notifications/read", None).await;
    assert_eq!(read.body["read"], 1);
    let got = &mailpit.has("bob@example.com", 1).await[0];
    assert_eq!(got["Subject"], "You have 3 unread notifications");
    let text = got["Text"].as_str().unwrap();
    let places: Vec<_> = ["one", "<b>two</b>", "three"].iter().map(|message| text.find(message).unwrap()).collect();
    assert!(places.is_sorted() && text.contains("Hello bob"), "{text}");
    assert!(got["HTML"].as_str().unwrap().contains("&lt;b&gt;two"), "{}", got["HTML"]);
    let looked = |result: &str| metric(&gateway, &format!("gateway_absent_total{{result=\"{result}\"}}"));
    let all = || async { looked("there") >= 1.0 && looked("heard") >= 2.0 && looked("no_address") >= 1.0 };
    eventually("all were looked after", all).await;
    assert_eq!(mailpit.all().await.len(), 1, "nobody else gets one");
    assert!(looked("mailed") == 1.0);
    drop(here);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_there_in_between_gets_none_and_an_address_comes_from_the_token() {
    let mailpit = Mailpit::start().await;
    let (gateway, caller) = start(&mailpit, "4s").await;
    // Somebody comes, so the address is known, and goes.
    let auth = || json!({ "token": token("zoe", "zoe@example.com") });
    let client = Client::try_connect(gateway.address, auth()).await.unwrap();
    let known = || async { caller.get("/api/v1/users/zoe/contact").await.status == 200 };
    eventually("the address of the token is known", known).await;
    let contact = caller.get("/api/v1/users/zoe/contact").await.body;
    assert_eq!(
        contact,
        json!({ "email": "zoe@example.com", "name": "The zoe", "subscribed": true, "givenBy": "token" })
    );
    drop(client);
    eventually("it has gone", || async { gateway.sessions() == 0 }).await;
    tell(&caller, "zoe", "heard in between").await;
    // It comes and goes again before the time is over.
    drop(Client::try_connect(gateway.address, auth()).await.unwrap());
    let looked = |result: &str| metric(&gateway, &format!("gateway_absent_total{{result=\"{result}\"}}"));
    eventually("it was looked", || async { looked("heard") >= 1.0 }).await;
    assert!(mailpit.all().await.is_empty());
    eventually("it has gone", || async { gateway.sessions() == 0 }).await;
    tell(&caller, "zoe", "not heard").await;
    let got = &mailpit.has("zoe@example.com", 1).await[0];
    assert_eq!(got["Subject"], "You have an unread notification");
    assert!(!got["Text"].as_str().unwrap().contains("heard in between"), "{}", got["Text"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_looked_after_too_early_is_looked_after_again() {
    let mailpit = Mailpit::start().await;
    let (gateway, caller) = start(&mailpit, "10s").await;
    reachable(&caller, "bob").await;
    let notification = tell(&caller, "bob", "too new").await;
    let jobs = || async {
        let listed = caller.get("/api/v1/jobs?queue=mail&state=delayed").await.body;
        let id = |job: &serde_json::Value| job["id"].as_str().unwrap().to_owned();
        listed["jobs"].as_array().unwrap().iter().map(id).collect::<Vec<_>>()
    };
    // The second one that looks is known by what it looks for.
    for by in ["", &notification] {
        let due = || async { jobs().await.into_iter().find(|id| id.ends_with(by)) };
        eventually("one is to look", || async { due().await.is_some() }).await;
        let id = due().await.unwrap();
        let path = format!("/api/v1/jobs/{id}/retry?queue=mail");
        assert_eq!(caller.post(&path, &json!({})).await.status, 204, "{path}");
        let waits = || async { jobs().await.iter().any(|id| id.ends_with(&notification)) };
        eventually("it has looked, and it is to be looked again", waits).await;
    }
    assert_eq!(mailpit.has("bob@example.com", 1).await[0]["Subject"], "You have an unread notification");
    assert_eq!(metric(&gateway, "gateway_absent_total{result=\"mailed\"}"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_ends_it_by_hand_and_by_programs() {
    let mailpit = Mailpit::start().await;
    let (gateway, caller) = start(&mailpit, "1s").await;
    reachable(&caller, "bob").await;
    tell(&caller, "bob", "one").await;
    let got = &mailpit.has("bob@example.com", 1).await[0];
    let link = got["Headers"]["List-Unsubscribe"][0].as_str().unwrap().trim_matches(['<', '>']).to_owned();
    assert!(got["Text"].as_str().unwrap().contains(&link), "people find it, too");
    let path = link.strip_prefix("https://chat.example").unwrap();
    let wants = || async { caller.get("/api/v1/users/bob/contact").await.body["subscribed"] == json!(true) };
    // Programs that follow links end nothing.
    let page = ask(gateway.address, "GET", path, "", None).await;
    assert!(page.status == 200 && page.text.contains("<form method=\"post\">"), "{page:?}");
    assert!(wants().await);
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let wrong = path.replace("&s=", "&s=x");
    assert_eq!(ask(gateway.address, "POST", &wrong, form, Some("List-Unsubscribe=One-Click")).await.status, 404);
    assert!(wants().await);
    let done = ask(gateway.address, "POST", path, form, Some("List-Unsubscribe=One-Click")).await;
    assert!(done.status == 200 && !wants().await, "{done:?}");
    tell(&caller, "bob", "two").await;
    let looked = |result: &str| metric(&gateway, &format!("gateway_absent_total{{result=\"{result}\"}}"));
    eventually("it was looked", || async { looked("unsubscribed") >= 1.0 }).await;
    assert_eq!(mailpit.all().await.len(), 1);
    // And back.
    assert_eq!(ask(gateway.address, "POST", path, form, Some("again=1")).await.status, 200);
    assert!(wants().await);
    tell(&caller, "bob", "three").await;
    let got = mailpit.has("bob@example.com", 2).await;
    assert_eq!(got[0]["Subject"], "You have 2 unread notifications", "what was not mailed meanwhile is");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_in_between_changes_nothing() {
    let (mailpit, redis, postgres) = (Mailpit::start().await, Redis::start().await, Postgres::start().await);
    let (port, redis_url, database) = (mailpit.smtp_port.to_string(), redis.url(), postgres.url());
    let mut changes = settings(&port, "6s");
    changes.extend([("GATEWAY_REDIS_URL", &*redis_url), ("GATEWAY_DATABASE__URL", &*database)]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.toml");
    let (text, key) = crate::caller::key(&gateway_core::config::Scope::ALL, &["*"]);
    std::fs::write(&path, toml::to_string(&json!({ "api": { "key": [key] } })).unwrap()).unwrap();
    let one = Process::start(&changes, Some(&path), None);
    let two = Process::start(&changes, Some(&path), None);
    let caller = |node: &Process| Caller { address: node.address, key: text.clone() };
    for user in ["bob", "ann"] {
        reachable(&caller(&one), user).await;
    }
    let here = Client::try_connect(two.address, json!({ "token": token("ann", "ann@example.com") })).await.unwrap();
    let gone = Client::try_connect(one.address, json!({ "token": token("bob", "bob@example.com") })).await.unwrap();
    drop(gone);
    let asking = caller(&two);
    let has_gone = || async { asking.get("/api/v1/users/bob/sessions").await.body["sessions"] == json!([]) };
    eventually("bob has gone", has_gone).await;
    for number in 0..3 {
        tell(&caller(&one), "bob", &format!("number {number}")).await;
        tell(&caller(&one), "ann", &format!("number {number}")).await;
    }
    one.signal("-KILL");
    let got = mailpit.has("bob@example.com", 1).await;
    let text = got[0]["Text"].as_str().unwrap();
    assert!((0..3).all(|number| text.contains(&format!("number {number}"))), "{text}");
    let counted = || async {
        let (_, metrics) = crate::support::http("GET", two.admin_address, "/metrics", "").await;
        !metrics.contains("gateway_absent_total{result=\"there\"} 0")
    };
    eventually("ann was looked after", counted).await;
    assert_eq!(mailpit.all().await.len(), 1, "one for bob, none for ann");
    drop(here);
}

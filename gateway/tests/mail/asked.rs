//! What front ends ask for over HTTP: mail, now and later, and having a schedule run; and where users get mail.

use std::time::Duration;

use gateway::app::Gateway;
use gateway_core::config::{Schedule, Scope};
use serde_json::{Value, json};

use crate::caller::{Answer, Caller, ask, config, key};
use crate::support::mailer::Mailpit;
use crate::support::tokens::{SECRET, Signer, claims_with};

const WITH_KEYS: (&str, &str) = ("GATEWAY_AUTH__SECRET", SECRET);

/// A node that sends its mail to a server.
async fn node(mailpit: &Mailpit, changes: &[(&str, &str)]) -> (Gateway, Caller) {
    let port = mailpit.smtp_port.to_string();
    let mail = [
        ("GATEWAY_MAIL__HOST", "localhost"),
        ("GATEWAY_MAIL__PORT", &*port),
        ("GATEWAY_MAIL__TLS", "none"),
        ("GATEWAY_MAIL__FROM", "shop@example.com"),
        ("GATEWAY_PROFILE", "notifier"),
    ];
    let (mut config, key) = config(&[&mail[..], changes].concat());
    let text = "name = \"report\"\ncron = \"0 0 1 1 *\"\nkind = \"mail\"\n\
                data = { to = \"boss@example.com\", subject = \"Report\", text = \"All is well\" }\n";
    config.schedule = vec![toml::from_str::<Schedule>(text).unwrap()];
    let node = Gateway::start(config, 20_000).await.unwrap();
    let caller = Caller { address: node.api_address, key };
    (node, caller)
}

async fn post(gateway: &Gateway, path: &str, headers: &str, body: &Value) -> Answer {
    let headers = format!("Content-Type: application/json\r\n{headers}");
    ask(gateway.address, "POST", path, &headers, Some(&body.to_string())).await
}

fn bearer(claims: &Value) -> String {
    format!("Authorization: Bearer {}\r\n", Signer::secret(SECRET).sign(claims))
}

fn email(to: &str) -> Value {
    json!({ "email": to, "subject": "Grüße", "message": "Bis <bald>" })
}

#[tokio::test(flavor = "multi_thread")]
async fn front_ends_have_mail_sent_now_and_later() {
    let mailpit = Mailpit::start().await;
    let (gateway, _) = node(&mailpit, &[]).await;
    let sent = post(&gateway, "/jobs/send-email", "", &email("ann@example.com")).await;
    assert_eq!((sent.status, sent.body), (200, json!({ "message": "Email task added to queue" })));
    let mut later = email("bob@example.com");
    later["delay"] = json!(1_500);
    let sent = post(&gateway, "/jobs/schedule-email", "", &later).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(sent.body, json!({ "message": "Email scheduled to be sent in 1.5 seconds" }));
    later["delay"] = json!("5000");
    let sent = post(&gateway, "/jobs/schedule-email", "", &later).await;
    assert_eq!(sent.body, json!({ "message": "Email scheduled to be sent in 5 seconds" }));
    let got = &mailpit.has("ann@example.com", 1).await[0];
    assert_eq!((&got["Subject"], got["Text"].as_str().unwrap().trim()), (&json!("Grüße"), "Bis <bald>"));
    assert!(got["HTML"].as_str().unwrap().contains("Bis &lt;bald&gt;"));
    mailpit.has("bob@example.com", 1).await;
    assert!(begun.elapsed() >= Duration::from_millis(1_400), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_mail_is_refused_in_words() {
    let mailpit = Mailpit::start().await;
    let (gateway, _) = node(&mailpit, &[("GATEWAY_MAIL__RECEIVERS", "*@example.com")]).await;
    let with = |name: &str, value: Value| {
        let mut body = email("ann@example.com");
        body[name] = value;
        body
    };
    for (body, status) in [
        (json!({}), 400),
        (json!([]), 400),
        (with("email", json!("ann")), 400),
        (with("email", json!("ann@example.com\r\nBcc: eve@example.com")), 400),
        (with("email", json!("ann@example.com, eve@example.com")), 400),
        (with("subject", json!("a\r\nBcc: eve@example.com")), 400),
        (with("subject", json!("")), 400),
        (with("email", json!("ann@elsewhere.example")), 403),
    ] {
        let refused = post(&gateway, "/jobs/send-email", "", &body).await;
        assert_eq!(refused.status, status, "{body}: {refused:?}");
        assert!(refused.body["message"].is_string() && refused.body["code"].is_string(), "{refused:?}");
    }
    for delay in [json!(null), json!(-1), json!("soon"), json!(1e18)] {
        let refused = post(&gateway, "/jobs/schedule-email", "", &with("delay", delay)).await;
        assert_eq!(refused.status, 400, "{refused:?}");
    }
    let get = ask(gateway.address, "GET", "/jobs/send-email", "", None).await;
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
    let text = ask(gateway.address, "POST", "/jobs/send-email", "", Some("{}")).await;
    assert_eq!(text.status, 415);
    let options = "Origin: https://app.example\r\nAccess-Control-Request-Method: POST\r\n";
    let asked = ask(gateway.address, "OPTIONS", "/jobs/send-email", options, None).await;
    assert_eq!((asked.status, asked.header("access-control-allow-origin")), (204, Some("https://app.example")));
    assert!(mailpit.all().await.is_empty());
    let off = Gateway::start(config(&[]).0, 20_000).await.unwrap();
    let refused = post(&off, "/jobs/send-email", "", &email("ann@example.com")).await;
    assert_eq!((refused.status, &refused.body["code"]), (501, &json!("no_mail")));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_tokens_say_who_may() {
    let mailpit = Mailpit::start().await;
    let (gateway, caller) = node(&mailpit, &[WITH_KEYS, ("GATEWAY_MAIL__ROLES", "writer")]).await;
    let send = |headers: String| {
        let gateway = &gateway;
        async move { post(gateway, "/jobs/send-email", &headers, &email("ann@example.com")).await.status }
    };
    let user = claims_with("sub", json!("ann"));
    let mut writer = user.clone();
    writer["roles"] = json!(["writer"]);
    assert_eq!(send(String::new()).await, 401);
    assert_eq!(send("Authorization: Bearer nonsense\r\n".into()).await, 401);
    assert_eq!(send(bearer(&user)).await, 403);
    assert_eq!(send(bearer(&writer)).await, 200);
    assert_eq!(send(format!("Authorization: Bearer {}\r\n", caller.key)).await, 200);
    mailpit.has("ann@example.com", 2).await;
    // Who may have schedules run is somebody else.
    let trigger = |headers: String, body: Value| {
        let gateway = &gateway;
        async move { post(gateway, "/trigger-job", &headers, &body).await }
    };
    let mut admin = user.clone();
    admin["roles"] = json!(["admin"]);
    assert_eq!(trigger(bearer(&writer), json!({})).await.status, 403);
    assert_eq!(trigger(String::new(), json!({})).await.status, 401);
    let done = trigger(bearer(&admin), json!({})).await;
    assert_eq!((done.status, done.body), (200, json!({ "message": "Job triggered" })));
    let by_key = format!("Authorization: Bearer {}\r\n", caller.key);
    assert_eq!(trigger(by_key.clone(), json!({ "name": "report" })).await.status, 200);
    let none = trigger(by_key, json!({ "name": "other" })).await;
    assert_eq!((none.status, &none.body["code"]), (404, &json!("no_schedule")));
    assert_eq!(mailpit.has("boss@example.com", 2).await[0]["Subject"], "Report");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_needs_the_scope_and_where_nobody_proves_anything_nobody_is_an_operator() {
    let mailpit = Mailpit::start().await;
    let (gateway, _) = node(&mailpit, &[]).await;
    let refused = post(&gateway, "/trigger-job", "", &json!({})).await;
    assert_eq!(refused.status, 403);
    let (mut settings, _) = config(&[("GATEWAY_MAIL__TO_LOG", "true"), ("GATEWAY_MAIL__FROM", "a@b.example")]);
    let (text, narrow) = key(&[Scope::Publish], &["*"]);
    settings.api.key = vec![narrow];
    let gateway = Gateway::start(settings, 20_000).await.unwrap();
    let headers = format!("Authorization: Bearer {text}\r\n");
    assert_eq!(post(&gateway, "/jobs/send-email", &headers, &email("ann@example.com")).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_hears_it() {
    let mailpit = Mailpit::start().await;
    let (gateway, caller) = node(&mailpit, &[("GATEWAY_MAIL__SENDER_PER_MINUTE", "3")]).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(post(&gateway, "/jobs/send-email", "", &email("ann@example.com")).await.status);
    }
    assert_eq!(statuses, [200, 200, 200, 429]);
    let by_key = format!("Authorization: Bearer {}\r\n", caller.key);
    assert_eq!(post(&gateway, "/jobs/send-email", &by_key, &email("ann@example.com")).await.status, 200, "a back end");
    // The limit of all that front ends ask over HTTP holds here, too.
    let (gateway, _) = node(&mailpit, &[("GATEWAY_LIMITS__HTTP_PER_MINUTE_PER_ADDRESS", "2")]).await;
    for expected in [200, 200] {
        assert_eq!(post(&gateway, "/jobs/send-email", "", &email("ann@example.com")).await.status, expected);
    }
    let refused = post(&gateway, "/jobs/send-email", "", &email("ann@example.com")).await;
    assert_eq!((refused.status, &*refused.text), (429, "Too many requests. Please try again later."));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_with_its_key_is_one_mail() {
    let mailpit = Mailpit::start().await;
    let (gateway, _) = node(&mailpit, &[]).await;
    for _ in 0..3 {
        let sent = post(&gateway, "/jobs/send-email", "Idempotency-Key: k1\r\n", &email("ann@example.com")).await;
        assert_eq!(sent.status, 200);
    }
    post(&gateway, "/jobs/send-email", "Idempotency-Key: k2\r\n", &email("bob@example.com")).await;
    mailpit.has("bob@example.com", 1).await;
    mailpit.has("ann@example.com", 1).await;
    assert_eq!(mailpit.all().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn back_ends_say_where_users_get_mail() {
    let (settings, key) = config(&[]);
    let gateway = Gateway::start(settings, 20_000).await.unwrap();
    let caller = Caller { address: gateway.api_address, key };
    let path = "/api/v1/users/a%2Fnn/contact";
    let put = async |body: Value| caller.ask("PUT", path, Some(&body.to_string())).await;
    assert_eq!(caller.get(path).await.code(), "no_contact");
    let known = put(json!({ "email": "ann@example.com", "name": "Ann" })).await;
    let expected = json!({ "email": "ann@example.com", "name": "Ann", "subscribed": true, "givenBy": "api" });
    assert_eq!((known.status, &known.body), (200, &expected));
    assert_eq!(caller.get(path).await.body, expected);
    assert_eq!(put(json!({ "email": "ann@b.example", "subscribed": false })).await.body["subscribed"], false);
    for (body, pointer) in [
        (json!({ "email": "ann" }), "/email"),
        (json!({ "email": "Ann <ann@example.com>" }), "/email"),
        (json!({ "email": "ann@example.com\nBcc: x@y.example" }), "/email"),
        (json!({ "email": "ann@example.com", "name": "a\nb" }), "/name"),
    ] {
        let refused = put(body).await;
        assert_eq!((refused.code(), &refused.body["errors"][0]["pointer"]), ("bad_body", &json!(pointer)));
    }
    assert_eq!(caller.ask("DELETE", path, None).await.status, 204);
    assert_eq!(caller.ask("DELETE", path, None).await.code(), "no_contact");
    assert_eq!(put(json!({ "email": "ann@example.com" })).await.body["subscribed"], false, "no means no");
}

//! Who may ask what, and how often.

use std::time::Duration;

use gateway::app::Gateway;
use gateway_core::config::Scope;
use serde_json::json;
use tokio::time::Instant;

use crate::caller::{Caller, ask, config, key, node};
use crate::support::process::Process;
use crate::support::{self, eventually, http, metric};

const EVENT: &str = r#"{"event":"e"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_there_is_no_api() {
    let gateway = support::node(&[]).await;
    for path in ["/api/v1/nodes", "/api/v1/openapi.json", "/api/v1"] {
        assert_eq!(http("GET", gateway.address, path, "").await, (404, "there is nothing here\n".into()), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_key_or_a_wrong_one_is_told_so() {
    let (gateway, back_end) = node(&[]).await;
    let path = "/api/v1/rooms/r/events";
    let none = ask(gateway.address, "GET", path, "", None).await;
    assert_eq!((none.status, none.code()), (401, "key_required"));
    assert!(none.header("www-authenticate").unwrap().starts_with("Bearer"));
    let basic = ask(gateway.address, "GET", path, "Authorization: Basic eDp5\r\n", None).await;
    assert_eq!(basic.code(), "key_required");
    let wrong = Caller { key: format!("{}x", back_end.key), ..back_end };
    assert_eq!(wrong.get(path).await.code(), "key_unknown");
    let asked = Instant::now();
    let all = futures_util::future::join_all((0..50).map(|_| wrong.get(path))).await;
    assert!(asked.elapsed() >= Duration::from_secs(1));
    let count = |code| all.iter().filter(|answer| answer.code() == code).count();
    assert_eq!(count("key_unknown") + count("rate_limited"), 50);
    assert!(
        count("rate_limited") > 30
            && all.iter().all(|answer| answer.status == 401 || answer.header("retry-after").is_some())
    );
    assert!(metric(&gateway, "gateway_api_refused_total{reason=\"wrong_key\"}") >= 51.0);
    assert_eq!(metric(&gateway, "gateway_api_refused_total{reason=\"no_key\"}"), 2.0);
    let asked = Instant::now();
    let right = Caller { address: gateway.address, key: wrong.key[..wrong.key.len() - 1].to_owned() };
    assert_eq!(right.get(path).await.status, 200);
    assert!(asked.elapsed() < Duration::from_secs(1), "who is right waits for nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_does_what_its_scopes_say_where_its_patterns_match() {
    let (mut config, _) = config(&[]);
    let (reads, one) = key(&[Scope::Read], &["*"]);
    let (orders, two) = key(&[Scope::Publish, Scope::Read], &["orders-*"]);
    let (nothing, three) = key(&Scope::ALL, &[]);
    let (shop, mut four) = key(&Scope::ALL, &["*"]);
    four.namespaces = vec!["/shop".to_owned()];
    config.api.key = vec![one, two, three, four];
    let gateway = Gateway::start(config, 20_000).await.unwrap();
    let by = |key: &String| Caller { address: gateway.address, key: key.clone() };
    let publish = async |key: &String, path: &str| by(key).ask("POST", path, Some(EVENT)).await;
    assert_eq!(publish(&reads, "/api/v1/rooms/r/events").await.code(), "scope_missing");
    assert_eq!(by(&reads).get("/api/v1/rooms/r/events").await.status, 200);
    assert_eq!(publish(&orders, "/api/v1/rooms/orders-7/events").await.status, 201);
    assert_eq!(publish(&orders, "/api/v1/rooms/other/events").await.code(), "out_of_reach");
    assert_eq!(by(&orders).get("/api/v1/rooms/other/members").await.code(), "out_of_reach");
    for path in ["/api/v1/events", "/api/v1/users/alice/events"] {
        assert_eq!(publish(&orders, path).await.code(), "out_of_reach", "{path}");
    }
    for path in ["/api/v1/events", "/api/v1/users/alice/events", "/api/v1/rooms/r/events"] {
        let refused = publish(&nothing, path).await;
        assert_eq!((refused.status, refused.code()), (403, "out_of_reach"), "{path}");
    }
    assert_eq!(publish(&shop, "/api/v1/rooms/r/events?namespace=/shop").await.status, 201);
    assert_eq!(publish(&shop, "/api/v1/rooms/r/events").await.code(), "out_of_reach");
    assert_eq!(publish(&shop, "/api/v1/users/alice/events?namespace=/shop").await.status, 201);
    // What names no namespace is in none, or in all.
    let job = r#"{"kind":"publish","data":{"room":"r","event":"e"}}"#;
    for (method, path, body) in [
        ("POST", "/api/v1/jobs", Some(job)),
        ("GET", "/api/v1/jobs", None),
        ("GET", "/api/v1/queues", None),
        ("GET", "/api/v1/schedules", None),
        ("POST", "/api/v1/users/alice/notifications", Some(r#"{"message":1}"#)),
        ("GET", "/api/v1/users/alice/contact", None),
        ("GET", "/api/v1/users/alice/sessions", None),
        ("DELETE", "/api/v1/users/alice/sessions", None),
        ("DELETE", "/api/v1/users/alice/messages", None),
        ("POST", "/api/v1/revocations", Some(r#"{"user":"alice"}"#)),
    ] {
        assert_eq!(by(&shop).ask(method, path, body).await.code(), "out_of_reach", "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_while_the_node_runs() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let ((old, one), (new, two)) = (key(&Scope::ALL, &["*"]), key(&Scope::ALL, &["*"]));
    let write = |keys: &[&gateway_core::config::Key]| {
        let keys = keys.iter().map(|key| format!("[[api.key]]\n{}", toml::to_string(key).unwrap()));
        std::fs::write(file.path(), keys.collect::<String>()).unwrap();
    };
    write(&[&one]);
    let (mut config, _) = config(&[]);
    config.api.key = vec![one.clone()];
    config.file = Some(file.path().to_owned());
    let gateway = Gateway::start(config, 20_000).await.unwrap();
    let status = async |key: &String| {
        let caller = Caller { address: gateway.address, key: key.clone() };
        caller.post("/api/v1/rooms/r/events", &json!({ "event": "e", "id": "1" })).await
    };
    let first = status(&old).await;
    write(&[&one, &two]);
    gateway.reload().await.unwrap();
    let second = status(&new).await;
    assert_eq!((second.status, &second.body["duplicate"]), (201, &json!(true)), "keys of one name are one author");
    assert_eq!(second.body["offset"], first.body["offset"]);
    write(&[&two]);
    gateway.reload().await.unwrap();
    assert_eq!((status(&old).await.status, status(&new).await.status), (401, 201));
    std::fs::write(file.path(), "[[api.key]]\nname = \"x\"\n").unwrap();
    assert!(gateway.reload().await.is_err());
    assert_eq!(status(&new).await.status, 201, "a mistake changes nothing");
    write(&[]);
    gateway.reload().await.unwrap();
    assert_eq!(http("GET", gateway.address, "/api/v1/nodes", "").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_may_ask_so_often_and_is_told_how_often() {
    let (gateway, back_end) =
        node(&[("GATEWAY_API__REQUESTS_PER_SECOND", "20"), ("GATEWAY_API__REQUESTS_BURST", "100")]).await;
    let first = back_end.get("/api/v1/rooms/r/events").await;
    assert_eq!(first.header("ratelimit-policy"), Some("\"key\";q=100;w=5"));
    assert_eq!(first.header("ratelimit"), Some("\"key\";r=99;t=1"));
    let all = futures_util::future::join_all((0..200).map(|_| back_end.get("/api/v1/rooms/r/events"))).await;
    let refused = all.iter().find(|answer| answer.status == 429).unwrap();
    assert_eq!(refused.code(), "rate_limited");
    assert!(refused.header("retry-after").is_some() && refused.body["retryAfterMs"].as_u64().unwrap() <= 1_000);
    assert!(refused.header("ratelimit").unwrap().contains("r=0"));
    assert!(metric(&gateway, "gateway_rate_limit_decisions_total{limiter=\"key_requests\",decision=\"deny\"}") > 0.0);
    eventually("it may again", || async { back_end.get("/api/v1/rooms/r/events").await.status == 200 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_key_is_limited_by_address_and_who_has_one_is_not() {
    let (gateway, back_end) = node(&[("GATEWAY_LIMITS__REQUESTS_PER_SECOND_PER_ADDRESS", "5")]).await;
    let strangers = (0..50).map(|_| ask(gateway.address, "GET", "/api/v1/openapi.json", "", None));
    let all = futures_util::future::join_all(strangers).await;
    assert!(all.iter().any(|answer| answer.status == 200));
    let limited: Vec<_> = all.iter().filter(|answer| answer.status == 429).collect();
    assert!(limited.len() > 20 && limited.iter().all(|answer| answer.code() == "rate_limited"));
    let known = (0..50).map(|_| back_end.get("/api/v1/rooms/r/events"));
    let all = futures_util::future::join_all(known).await;
    assert!(all.iter().all(|answer| answer.status == 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_of_its_own_has_the_api_and_nothing_else() {
    let (gateway, back_end) = node(&[("GATEWAY_API__LISTEN", "127.0.0.1:0")]).await;
    assert_ne!(gateway.api_address, gateway.address);
    assert_eq!(back_end.get("/api/v1/rooms/r/events").await.status, 200);
    for path in ["/", "/socket.io/?EIO=4&transport=polling", "/socket.io/socket.io.js"] {
        assert_eq!(back_end.get(path).await.code(), "unknown_path", "{path}");
    }
    assert_eq!(http("GET", gateway.address, "/api/v1/rooms/r/events", "").await.0, 404);
    assert_eq!(http("GET", gateway.address, "/", "").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_have_ids() {
    let (_gateway, back_end) = node(&[]).await;
    let made = back_end.get("/api/v1/rooms/r/events").await;
    assert_eq!(made.header("x-request-id").unwrap().len(), 16);
    let taken = back_end.ask_with("GET", "/api/v1/rooms/r/events", "X-Request-Id: order-7\r\n", None).await;
    assert_eq!(taken.header("x-request-id"), Some("order-7"));
    let odd = format!("X-Request-Id: {}\r\n", "x".repeat(129));
    let made = back_end.ask_with("GET", "/api/v1/rooms/r/events", &odd, None).await;
    assert_eq!(made.header("x-request-id").unwrap().len(), 16);
}

fn gateway(arguments: &[&str]) -> (bool, String) {
    let made = std::process::Command::new(env!("CARGO_BIN_EXE_gateway")).args(arguments).output().unwrap();
    let text = if made.status.success() { made.stdout } else { made.stderr };
    (made.status.success(), String::from_utf8(text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_once_used_and_never_logged() {
    let scopes = "publish,read,control";
    let (made, printed) = gateway(&[
        "key",
        "--name",
        "billing",
        "--scope",
        scopes,
        "--room",
        "orders-*",
        "--room",
        "news",
        "--namespace",
        "/",
    ]);
    assert!(made, "{printed}");
    let text = printed.split_whitespace().find(|word| word.starts_with("gw_")).unwrap().to_owned();
    let secret = text.splitn(3, '_').nth(2).unwrap();
    assert!(
        printed.contains(r#"rooms = ["orders-*", "news"]"#) && printed.contains(r#"namespaces = ["/"]"#),
        "{printed}"
    );
    for (arguments, word) in [
        (&["key", "--name", "x", "--scope", "everything"][..], "publish, read, notify, control, moderate, jobs, admin"),
        (&["key", "--name", "", "--scope", "read"], "name"),
        (&["key", "--name", "x", "--scope", "read", "--room", "a\tb"], "control characters"),
        (&["key", "--name", "x"], "--scope"),
    ] {
        let (made, said) = gateway(arguments);
        assert!(!made && said.contains(word), "{arguments:?}: {said}");
    }
    // What was printed is a configuration as it is, which shows itself without the key.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &printed).unwrap();
    let (checked, shown) = gateway(&["check", "--config", file.path().to_str().unwrap()]);
    assert!(checked && shown.contains("[[api.key]]") && !shown.contains(secret), "{shown}");
    let node = Process::start(&[("GATEWAY_TELEMETRY__LOG", "trace")], Some(file.path()), None);
    let back_end = Caller { address: node.address, key: text.clone() };
    let headers = "X-Request-Id: request-7\r\n";
    let body = Some(r#"{"event":"e","data":"what-somebody-said"}"#);
    assert_eq!(back_end.ask_with("POST", "/api/v1/rooms/orders-7/events", headers, body).await.status, 201);
    assert_eq!(back_end.ask_with("PUT", "/api/v1/users/al%20ice/rooms/news", headers, None).await.status, 200);
    let wrong = Caller { address: node.address, key: format!("{text}x") };
    assert_eq!(wrong.get("/api/v1/rooms").await.code(), "key_unknown");
    let (_, id) = text.split_once('_').unwrap();
    let id = id.split('_').next().unwrap();
    let told = |word: &str| {
        node.log().lines().any(|line| line.contains("a back end asked") && line.contains(word) && line.contains(id))
    };
    eventually("each request has a line", || async { told("\"publish\"") && told("\"seat\"") && told("request-7") })
        .await;
    let audit = node.audit();
    assert_eq!(audit.len(), 1, "{audit:?}");
    assert_eq!(audit[0]["who"], format!("key {id}, request request-7"));
    assert_eq!((&audit[0]["what"], &audit[0]["subject"]), (&json!("put in"), &json!(r#""user al ice, room news""#)));
    assert!(!node.log().contains(secret) && !node.log().contains("what-somebody-said"), "it is in the log");
}

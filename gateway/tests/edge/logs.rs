//! What is logged and printed: at no level anything that opens a door, or that somebody said.

use std::path::Path;
use std::process::Command;

use gateway_core::auth::{Grant, mint};
use gateway_core::domain::UserId;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::process::Process;
use crate::support::redis::Redis;
use crate::support::{config, eventually, http};

/// In everything that must not be logged.
const PAYLOAD: &str = "what-somebody-said";
const SECRET: &str = "the-secret-of-all-tokens-of-these-tests";
const ADMIN: &str = "the-token-of-operators";
const HEADER: &str = "the-key-of-a-back-end";
const QUERY: &str = "the-query-of-a-back-end";
const COOKIE: &str = "the-session-of-somebody";
const PASSWORD: &str = "the-password-of-somebody";

fn table(path: &Path, back_end: &str) {
    let url = format!("http://somebody:{PASSWORD}@{back_end}/hooks?key={QUERY}");
    let call = format!(
        "event = \"order\"\naction = \"call\"\nurl = \"{url}\"\nattempts = 2\nheaders = {{ authorization = \"{HEADER}\" }}"
    );
    std::fs::write(path, format!("[[route]]\n{call}\n")).unwrap();
}

fn token() -> String {
    let auth = config(&[("GATEWAY_AUTH__SECRET", SECRET)]).auth;
    mint(&auth, &Grant::new(UserId::parse("ann").unwrap(), std::time::Duration::from_secs(60))).unwrap()
}

/// A back end that lets everybody in.
async fn hook() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = json!({ "allow": true, "data": PAYLOAD }).to_string();
    let router = axum::Router::new().fallback(|| async move { answer });
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// Everything that clients, operators and back ends do with a node.
async fn live(node: &Process, tokens: &[String]) -> Vec<String> {
    let mut pids = Vec::new();
    let mut client = Client::try_connect(node.address, json!({ "token": tokens[0] })).await.unwrap();
    client.join("r").await;
    client.publish("r", json!(PAYLOAD)).await;
    client.message().await;
    client.ask("signal", json!({ "room": "r", "event": "e", "data": PAYLOAD })).await;
    client.ask("history", json!({ "room": "r" })).await;
    client.ask("order", json!({ "item": PAYLOAD })).await;
    client.ask("auth:refresh", json!({ "token": tokens[1] })).await;
    client.ask("auth:refresh", json!({ "token": PAYLOAD })).await;
    client.ask(PAYLOAD, json!(PAYLOAD)).await;
    client.send(&format!("42[\"publish\",{{\"room\":\"{PAYLOAD}\"")).await;
    let (pid, offset) = (client.pid.clone(), client.offset.clone());
    drop(client);
    let auth = json!({ "token": tokens[0], "pid": pid, "offset": offset, "more": PAYLOAD });
    let back = Client::try_connect(node.address, auth).await.unwrap();
    pids.extend([pid, back.pid.clone()]);
    let cookie = format!("session={COOKIE}; jwt={}", tokens[0]);
    let headers = [("cookie", cookie.as_str()), ("x-tenant", HEADER)];
    for query in [format!("&team={PAYLOAD}&token={}", tokens[0]), format!("&token={COOKIE}")] {
        Client::try_connect_with(node.address, &query, &headers, json!({})).await.ok();
        Client::try_connect_with(node.address, &query, &[], json!({ "more": PAYLOAD })).await.ok();
    }
    let header = format!("Authorization: Bearer {}\r\n", tokens[0]);
    http("GET", node.address, "/socket.io/?EIO=4&transport=websocket", &header).await;
    let (_, open) = http("GET", node.address, "/socket.io/?EIO=4&transport=polling", &header).await;
    let open: Value = serde_json::from_str(&open[1..]).unwrap();
    let sid = open["sid"].as_str().unwrap().to_owned();
    let path = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    pids.push(sid);
    let hello = format!("40{}", json!({ "token": tokens[0] }));
    let event = format!("42{}", json!(["publish", { "room": "r", "data": PAYLOAD }]));
    for body in [hello, event, format!("not a packet {PAYLOAD}")] {
        http("POST", node.address, &path, &format!("Content-Length: {}\r\n\r\n{body}", body.len())).await;
    }
    for token in ["", PAYLOAD, "a.b.c", tokens[2].as_str()] {
        Client::try_connect(node.address, json!({ "token": token })).await.err().unwrap();
    }
    for given in [ADMIN, PAYLOAD] {
        let headers = format!("Authorization: Bearer {given}\r\n");
        http("GET", node.admin_address, "/users/ann/sockets", &headers).await;
        http("DELETE", node.admin_address, "/users/ann/sockets", &headers).await;
        let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", node.admin_address);
        let (mut operator, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        let hello = format!("40/admin,{}", json!({ "token": given }));
        futures_util::SinkExt::send(&mut operator, tokio_tungstenite::tungstenite::Message::text(hello)).await.unwrap();
        for _ in 0..2 {
            futures_util::StreamExt::next(&mut operator).await;
        }
    }
    pids
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_opens_a_door_is_logged_at_any_level() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    // Nobody listens there any more, so that calls fail and are told.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    table(&file, &nobody.to_string());
    let redis = Redis::start().await;
    let data = folder.path().join("data");
    let jwks = format!("http://somebody:{PASSWORD}@{nobody}/keys?key={QUERY}");
    let url = redis.url();
    let data = data.to_str().unwrap();
    let hook = format!("http://somebody:{PASSWORD}@{}/who?key={QUERY}", hook().await);
    let anywhere = [
        ("GATEWAY_AUTH__COOKIE", "jwt"),
        ("GATEWAY_AUTH__QUERY", "token"),
        ("GATEWAY_AUTH__HOOK__URL", hook.as_str()),
        ("GATEWAY_AUTH__HOOK__TOKEN", HEADER),
        ("GATEWAY_AUTH__HOOK__COOKIES", "session"),
        ("GATEWAY_AUTH__HOOK__QUERY", "team"),
        ("GATEWAY_AUTH__HOOK__HEADERS", "x-tenant"),
        ("GATEWAY_SOCKET__ORIGINS", "https://app.example"),
        ("GATEWAY_TELEMETRY__LOG", "trace"),
        ("GATEWAY_AUTH__SECRET", SECRET),
        ("GATEWAY_AUTH__JWKS_URL", jwks.as_str()),
        ("GATEWAY_ADMIN__TOKEN", ADMIN),
    ];
    for backend in [("GATEWAY_REDIS_URL", url.as_str()), ("GATEWAY_DATA_DIR", data)] {
        let changes: Vec<_> = anywhere.iter().copied().chain([backend]).collect();
        let node = Process::start(&changes, Some(&file), None);
        let signed = token();
        let (claims, _) = signed.rsplit_once('.').unwrap();
        let tokens = [signed.clone(), token(), format!("{claims}.{}", "A".repeat(43))];
        let pids = live(&node, &tokens).await;
        eventually("what happened last is logged", || async {
            node.audit().iter().any(|line| line["what"] == "end") && node.log().contains("refused a token")
        })
        .await;
        let log = node.log();
        let levels = ["DEBUG", "TRACE"].map(|level| log.contains(&format!("\"level\":\"{level}\"")));
        assert!(levels[0], "it logs more than usual");
        let signatures = tokens.iter().map(|token| token.rsplit_once('.').unwrap().1.to_owned());
        let secrets = [PAYLOAD, SECRET, ADMIN, HEADER, QUERY, PASSWORD, COOKIE].map(str::to_owned);
        for secret in secrets.into_iter().chain(signatures).chain(pids) {
            let line = log.lines().find(|line| line.contains(&secret));
            assert_eq!(line, None, "{secret} is in the log");
        }
    }
}

#[test]
fn check_shows_nothing_that_opens_a_door() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    table(&file, "hooks.example");
    let check = |more: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        let url = format!("redis-sentinel://somebody:{PASSWORD}@redis.example/m?sentinelPassword={QUERY}");
        let jwks = format!("https://somebody:{PASSWORD}@id.example/keys.json?key={QUERY}#{QUERY}");
        command.env_clear().args(["check", "--config"]).arg(&file);
        command.envs([("GATEWAY_REDIS_URL", url.as_str()), ("GATEWAY_AUTH__JWKS_URL", &jwks)]);
        command.envs([("GATEWAY_AUTH__SECRET", SECRET), ("GATEWAY_ADMIN__TOKEN", ADMIN)]);
        let hook = format!("https://somebody:{PASSWORD}@app.example/who?key={QUERY}");
        command.envs([("GATEWAY_AUTH__HOOK__URL", hook.as_str()), ("GATEWAY_AUTH__HOOK__TOKEN", HEADER)]);
        let output = command.envs(more.iter().copied()).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let hides = |text: &str| {
        for secret in [SECRET, ADMIN, HEADER, QUERY, PASSWORD, "somebody"] {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
    };
    let (works, shown) = check(&[]);
    assert!(works, "{shown}");
    hides(&shown);
    for part in [
        "http://hooks.example/hooks",
        "https://id.example/keys.json",
        "headers authorization",
        "https://app.example/who",
    ] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    // Mistakes are told without what is wrong about them.
    let url = format!("somebody:{PASSWORD}@host/?{QUERY}");
    let redis = format!("redis://somebody:{PASSWORD}@host?key={QUERY}");
    for (name, value) in [
        ("GATEWAY_AUTH__JWKS_URL", url.as_str()),
        ("GATEWAY_AUTH__JWKS_URL", "http://"),
        ("GATEWAY_AUTH__HOOK__URL", url.as_str()),
        ("GATEWAY_AUTH__HOOK__URL", "http://"),
        ("GATEWAY_REDIS_URL", &redis),
        ("GATEWAY_REDIS_URL", &url),
    ] {
        let (works, shown) = check(&[(name, value)]);
        assert!(!works, "{shown}");
        hides(&shown);
    }
    std::fs::write(&file, format!("[[route]]\nevent = \"a\"\naction = \"call\"\nurl = \"ftp://{url}\"\n")).unwrap();
    let (works, shown) = check(&[]);
    assert!(!works && shown.contains("is not a URL of http"), "{shown}");
    hides(&shown);
}

//! Bad input: each has its own clear answer.

use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::caller::{ask, node, read};
use crate::support::PATIENCE;

const ROOM: &str = "/api/v1/rooms/r/events";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_request_has_its_own_code() {
    let (_gateway, back_end) = node(&[]).await;
    for (method, path, status, code) in [
        ("GET", "/api/v1", 404, "unknown_path"),
        ("GET", "/api/v1/", 404, "unknown_path"),
        ("GET", "/api/v1/nothing", 404, "unknown_path"),
        ("GET", "/api/v1/rooms//events", 400, "bad_room"),
        ("PATCH", ROOM, 405, "method_not_allowed"),
        ("DELETE", "/api/v1/rooms/r/members", 405, "method_not_allowed"),
        ("POST", "/api/v1/openapi.json", 405, "method_not_allowed"),
        ("GET", "/api/v1/rooms/%/events", 400, "bad_encoding"),
        ("GET", "/api/v1/rooms/%zz/events", 400, "bad_encoding"),
        ("GET", "/api/v1/rooms/%ff/events", 400, "bad_encoding"),
        ("GET", "/api/v1/rooms/r/events?after=%2", 400, "bad_encoding"),
        ("GET", "/api/v1/rooms/a%00b/events", 400, "bad_room"),
        ("GET", "/api/v1/rooms/r/events?after=x", 400, "bad_parameter"),
        ("GET", "/api/v1/rooms/r/events?limit=0", 400, "bad_parameter"),
        ("GET", "/api/v1/rooms/r/events?limit=10001", 400, "bad_parameter"),
        ("GET", "/api/v1/rooms/r/events?limit=1&limit=2", 400, "bad_parameter"),
        ("GET", "/api/v1/rooms/r/events?limits=1", 400, "bad_parameter"),
        ("GET", "/api/v1/rooms/r/events?namespace=shop", 400, "bad_parameter"),
    ] {
        let answer = back_end.ask(method, path, None).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{method} {path}");
        assert_eq!(answer.header("allow").is_some(), status == 405, "{method} {path}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_body_is_said_with_its_place() {
    let (_gateway, back_end) = node(&[]).await;
    let deep = format!(r#"{{"event":"e","data":{}1{}}}"#, "[".repeat(100), "]".repeat(100));
    let many = json!({ "event": "e", "args": vec![0; 33] }).to_string();
    let long = json!({ "event": "e".repeat(129) }).to_string();
    let large = json!({ "event": "e", "data": "x".repeat(70_000) }).to_string();
    let huge = json!({ "event": "e", "data": "x".repeat(2_000_000) }).to_string();
    let id = json!({ "event": "e", "id": "x".repeat(129) }).to_string();
    for (body, status, code, pointer) in [
        ("", 400, "not_json", None),
        ("{", 400, "not_json", None),
        ("\u{feff}{}", 400, "not_json", None),
        (r#"{"event":"e"}x"#, 400, "not_json", None),
        ("null", 400, "bad_body", Some("")),
        (r#"["e"]"#, 400, "bad_body", Some("")),
        ("{}", 400, "bad_body", Some("")),
        (r#"{"event":7}"#, 400, "bad_body", Some("/event")),
        (r#"{"event":"e","event":"f"}"#, 400, "bad_body", Some("")),
        (r#"{"event":"e","args":{}}"#, 400, "bad_body", Some("/args")),
        (r#"{"event":"e","args":[],"data":1}"#, 400, "bad_body", Some("/data")),
        (r#"{"event":"e","id":null}"#, 400, "bad_body", Some("/id")),
        (r#"{"event":"e","except":{"rooms":["a","\u0001"]}}"#, 400, "bad_body", Some("/except/rooms/1")),
        (r#"{"event":"e","except":{"users":[""]}}"#, 400, "bad_body", Some("/except/users/0")),
        (r#"{"event":"e","except":{"sessions":["7"]}}"#, 400, "bad_body", Some("/except/sessions/0")),
        (r#"{"event":"e","except":{"room":"a"}}"#, 400, "bad_body", Some("/except/room")),
        (r#"{"event":"e","except":[["a"]]}"#, 400, "bad_body", Some("/except")),
        (r#"{"event":"e","ephemeral":true,"id":"1"}"#, 400, "bad_body", Some("/id")),
        (r#"{"event":"connect"}"#, 400, "bad_request", None),
        (r#"{"event":""}"#, 400, "bad_request", None),
        (r#"{"event":"e","data":{"_placeholder":true,"num":0}}"#, 400, "bad_request", None),
        (r#"{"event":"e","data":1e999}"#, 400, "bad_request", None),
        (&deep, 400, "bad_request", None),
        (&many, 400, "bad_request", None),
        (&long, 400, "bad_request", None),
        (&id, 400, "bad_request", None),
        (&large, 413, "too_large", None),
        (&huge, 413, "too_large", None),
    ] {
        let answer = back_end.ask("POST", ROOM, Some(body)).await;
        let shown = &body[..body.len().min(60)];
        assert_eq!((answer.status, answer.code()), (status, code), "{shown}: {answer:?}");
        assert_eq!(answer.body["errors"][0]["pointer"].as_str(), pointer, "{shown}: {answer:?}");
    }
    let unknown = back_end.post(ROOM, &json!({ "event": "e", "evnet": 1 })).await;
    assert_eq!(unknown.code(), "bad_body");
    assert!(unknown.body["detail"].as_str().unwrap().contains("evnet"), "{unknown:?}");
    for kind in ["", "Content-Type: text/plain\r\n", "Content-Type: application/x-www-form-urlencoded\r\n"] {
        let headers = format!("Authorization: Bearer {}\r\n{kind}", back_end.key);
        let answer = ask(back_end.address, "POST", ROOM, &headers, Some(r#"{"event":"e"}"#)).await;
        assert_eq!((answer.status, answer.code()), (415, "wrong_type"), "{kind}");
    }
    assert_eq!(back_end.get(ROOM).await.body["events"], json!([]), "nothing of all that was kept");
    let headers =
        format!("Authorization: bearer {}\r\nContent-Type: Application/JSON; charset=utf-8\r\n", back_end.key);
    assert_eq!(ask(back_end.address, "POST", ROOM, &headers, Some(r#"{"event":"e"}"#)).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_are_called_whatever_they_are_called() {
    let (_gateway, back_end) = node(&[]).await;
    let longest = "é".repeat(127) + "x";
    for name in ["a/b/../c", ".", "..", "100%", "%41", "a b+c?d#e&f=g", "😀", "\"'<>\\", "{room}", "*", &longest] {
        let room = utf8_percent_encode(name, NON_ALPHANUMERIC).to_string();
        let said = back_end.post(&format!("/api/v1/rooms/{room}/events"), &json!({ "event": "e", "data": name })).await;
        assert_eq!(said.status, 201, "{name}: {said:?}");
        let read = back_end.get(&format!("/api/v1/rooms/{room}/events")).await;
        assert_eq!(read.body["events"][0]["args"][0], name);
        assert_eq!(read.body["events"].as_array().unwrap().len(), 1, "{name} is another room than all before");
    }
    let too_long = format!("/api/v1/rooms/{}/events", "x".repeat(256));
    assert_eq!(back_end.get(&too_long).await.code(), "bad_room");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_body_is_not_waited_for_for_ever() {
    let (_gateway, back_end) = node(&[("GATEWAY_SOCKET__HEADER_TIMEOUT", "500ms")]).await;
    let mut stream = TcpStream::connect(back_end.address).await.unwrap();
    let head = format!(
        "POST {ROOM} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{",
        back_end.key
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    let answer = read(&answer);
    assert_eq!((answer.status, answer.code()), (408, "too_slow"));
    let dripping = async {
        let mut stream = TcpStream::connect(back_end.address).await.unwrap();
        stream.write_all(head.replace(": 100", ": 1000000").as_bytes()).await.unwrap();
        loop {
            stream.write_all(b" ").await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let dripped: Result<std::io::Result<()>, _> = timeout(PATIENCE, dripping).await;
    assert!(dripped.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_share_a_connection() {
    let (_gateway, back_end) = node(&[]).await;
    let mut stream = TcpStream::connect(back_end.address).await.unwrap();
    let body = r#"{"event":"e"}"#;
    let request = format!(
        "POST {ROOM} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        back_end.key,
        body.len()
    );
    stream.write_all(request.repeat(50).as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answers = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answers)).await.unwrap().unwrap();
    assert_eq!(answers.matches("HTTP/1.1 201 Created").count(), 50);
    assert_eq!(back_end.get(&format!("{ROOM}?limit=100")).await.body["events"].as_array().unwrap().len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_wrong_keys_are_not_noticed_by_others() {
    let (gateway, back_end) = node(&[]).await;
    let wrong = format!("Authorization: Bearer gw_{}_{}\r\n", "0".repeat(16), "x".repeat(43));
    let request = format!("GET {ROOM} HTTP/1.1\r\nHost: x\r\n{wrong}\r\n");
    // Again and again, so that there is a flood as long as somebody asks rightly.
    let floods = (0..50).map(|_| async {
        loop {
            let mut stream = TcpStream::connect(gateway.address).await.unwrap();
            stream.write_all(request.repeat(200).as_bytes()).await.unwrap();
            let mut answers = Vec::new();
            // The last ones wait for each other, a second each.
            stream.read_to_end(&mut answers).await.unwrap();
        }
    });
    let refused = || crate::support::metric(&gateway, "gateway_api_refused_total{reason=\"too_many\"}");
    // One after the other: if each waited with the wrong ones, that would be a hundred seconds.
    let right = async {
        let mut asked = 0;
        while asked < 100 || refused() <= 100.0 {
            assert_eq!(back_end.get(ROOM).await.status, 200);
            asked += 1;
        }
    };
    tokio::select! {
        _ = futures_util::future::join_all(floods) => unreachable!("a flood has no end"),
        done = timeout(PATIENCE, right) => done.unwrap(),
    };
}

/// Whatever is sent is answered, and never by a failure.
mod anything {
    use gateway::app::Gateway;
    use proptest::prelude::*;

    use crate::caller::{Caller, node};

    fn world() -> (tokio::runtime::Runtime, Gateway, Caller) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (gateway, back_end) = runtime.block_on(node(&[]));
        (runtime, gateway, back_end)
    }

    fn path() -> impl Strategy<Value = String> {
        let segment = prop_oneof![
            Just("rooms".to_owned()),
            Just("users".to_owned()),
            Just("events".to_owned()),
            Just("members".to_owned()),
            Just("sessions".to_owned()),
            Just("batch".to_owned()),
            Just("revocations".to_owned()),
            Just("nodes".to_owned()),
            "[!-~]{0,12}",
            "(%[0-9a-fA-F]{2}){1,4}",
        ];
        (prop::collection::vec(segment, 0..6), "(\\?[!-~]{0,30})?").prop_map(|(segments, query)| {
            let path = segments.join("/").replace(['#', '?'], "");
            format!("/api/v1/{path}{}", query.replace('#', ""))
        })
    }

    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("1e999".to_owned()),
            any::<i64>().prop_map(|n| n.to_string()),
            "\"[a-z_:]{0,12}\""
        ];
        let name = prop_oneof![
            Just("event".to_owned()),
            Just("args".to_owned()),
            Just("data".to_owned()),
            Just("id".to_owned()),
            Just("items".to_owned()),
            Just("method".to_owned()),
            Just("path".to_owned()),
            Just("body".to_owned()),
            Just("ephemeral".to_owned()),
            Just("_placeholder".to_owned()),
            Just("user".to_owned()),
            Just("token".to_owned()),
            "[a-z]{0,3}",
        ];
        leaf.prop_recursive(4, 24, 6, move |inner| {
            let fields = prop::collection::vec((name.clone(), inner.clone()), 0..6);
            prop_oneof![
                prop::collection::vec(inner, 0..6).prop_map(|items| format!("[{}]", items.join(","))),
                fields.prop_map(|fields| {
                    let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                    format!("{{{}}}", fields.join(","))
                }),
            ]
        })
    }

    #[test]
    fn is_answered_and_never_by_a_failure() {
        let (runtime, _gateway, back_end) = world();
        let method = prop_oneof![Just("GET"), Just("POST"), Just("PUT"), Just("DELETE"), Just("HEAD"), Just("PATCH")];
        let body = prop_oneof![3 => json().prop_map(Some), 1 => ".{0,40}".prop_map(Some), 1 => Just(None)];
        let config = ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
        proptest!(config, |(method in method, path in path(), body in body)| {
            let answer = runtime.block_on(back_end.ask(method, &path, body.as_deref()));
            prop_assert!(answer.status < 500, "{} {} {:?}: {:?}", method, path, body, answer);
            // What is no HTTP is not the API's to answer.
            let is_http = answer.header("content-type") != Some("text/plain; charset=utf-8");
            prop_assert!(is_http || answer.status == 400, "{} {} {:?}: {:?}", method, path, body, answer);
            if answer.status >= 400 && method != "HEAD" && is_http {
                prop_assert!(!answer.code().is_empty());
            }
        });
    }
}

//! Whatever a client sends is answered or refused in words: nothing panics, no answer is anything but JSON, and no
//! refusal repeats what was sent. `PROPTEST_CASES` says how often.

use std::sync::LazyLock;

use bytes::Bytes;
use gateway_core::auth::Identity;
use gateway_core::routes::{Inbound, RouteTable};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::router::Bench;

/// What must never be in a refusal.
const SECRET: &str = "hunter2";

/// Every action but `call`, and every kind of placeholder.
const TABLE: &str = r#"
[[route]]
event = "say"
action = "publish"
room = "{arg.room|lounge}"
allow = ["anyone"]
args = ["{arg}", "{args}", "{offset}", "text {arg.text?} {args.1.deep.0?}", { key = "{arg.data?}", user = "{user.id?}" }]
id = "{arg.id?}"
schema = { type = "object", properties = { text = { type = "string", maxLength = 10 }, data = { type = ["integer", "array", "null"] } } }
refused = { emit = "sorry", args = ["{refusal.code}", "{refusal.message}"] }

[[route]]
event = "tell"
action = "direct"
user = "{arg.user}"
emit = "{arg.event|told}"

[[route]]
event = "shout"
action = "broadcast"
when = "{arg?}"

[[route]]
event = "name"
action = "claim"
name = "{arg}"

[[route]]
event = "sit"
action = "join"
room = "{arg.prefix|table}-{number}{arg.suffix?}"
auto = true
capacity = 2

[[route]]
event = "note"
action = "log"
message = "{arg} {args.3?}"
level = "trace"

[[route]]
event = "me"
action = "identify"
"#;

struct Stage {
    runtime: Runtime,
    bench: Bench,
}

static STAGE: LazyLock<Stage> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let table = RouteTable::parse("native", "fuzz.toml", TABLE).unwrap();
    let bench = runtime.block_on(Bench::new(table));
    Stage { runtime, bench }
});

/// Sends a client's events and looks at every answer.
fn send(events: Vec<(String, Vec<Vec<u8>>)>) {
    let Stage { runtime, bench } = &*STAGE;
    runtime.block_on(async {
        let session = bench.session(Identity::default()).await;
        for (text, attachments) in events {
            let attachments = attachments.into_iter().map(Bytes::from).collect();
            let inbound = Inbound { text: text.clone(), attachments, received: Instant::now() };
            match bench.router.handle(&session, inbound).await {
                Ok(answer) => {
                    let body: Value = serde_json::from_str(answer.body.get()).unwrap();
                    assert_eq!(body["ok"], json!(true), "{text}");
                }
                Err(refused) => {
                    let said = serde_json::to_string(&bench.router.worded(&refused.refusal)).unwrap();
                    assert!(!said.contains(SECRET), "{text} was refused by {said}");
                }
            }
        }
        bench.router.node().depart(&session, false);
    });
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "join",
            "leave",
            "publish",
            "signal",
            "history",
            "presence",
            "typing",
            "say",
            "tell",
            "shout",
            "name",
            "sit",
            "note",
            "me",
            "auth:refresh",
            "room",
            "event",
            "data",
            "id",
            "text",
            "user",
            "after",
            "before",
            "limit",
            "token",
            "prefix",
            "suffix",
            "deep",
            "_placeholder",
            "num",
            "lounge",
            "__proto__",
            "$connect",
            "connect",
            "",
            SECRET,
        ])
        .prop_map(str::to_owned),
        "\\PC{0,12}",
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word().prop_map(Value::from),
        Just(json!({ "_placeholder": true, "num": 0 })),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((word(), inner), 0..6).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// An event that could be one, and the same with bytes changed.
fn event() -> impl Strategy<Value = (String, Vec<Vec<u8>>)> {
    let text = || {
        (word(), prop::collection::vec(value(), 0..4))
            .prop_map(|(name, args)| Value::Array(std::iter::once(Value::from(name)).chain(args).collect()).to_string())
    };
    let cut = (text(), any::<prop::sample::Index>(), "\\PC{0,3}").prop_map(|(text, place, instead)| {
        let at = (0..=place.index(text.len() + 1)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let after = text[at..].chars().next().map_or(at, |letter| at + letter.len_utf8());
        format!("{}{instead}{}", &text[..at], &text[after..])
    });
    let text = prop_oneof![3 => text(), 1 => cut, 1 => "\\PC{0,40}"];
    (text, prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 0..2))
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/regressions/inlet.txt"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_comes_is_answered_or_refused(events in prop::collection::vec(event(), 1..8)) {
        send(events);
    }
}

/// What comes of events that one session sends: `ok`, or the code of the refusal.
fn outcomes(bench: &Bench, runtime: &Runtime, texts: &[&str]) -> Vec<&'static str> {
    runtime.block_on(async {
        let session = bench.session(Identity::default()).await;
        let mut outcomes = Vec::new();
        for text in texts {
            let handled = bench.router.handle(&session, Bench::inbound(text)).await;
            outcomes.push(handled.map_or_else(|refused| refused.refusal.code(), |_| "ok"));
        }
        bench.router.node().depart(&session, false);
        outcomes
    })
}

#[test]
fn names_and_texts_are_what_json_says() {
    let Stage { runtime, .. } = &*STAGE;
    let table: String = ["chat/message", "événement", "say \"hi\"", "\u{fffd}"]
        .map(|event| format!("[[route]]\nevent = {}\naction = \"signal\"\nto = \"self\"\n", json!(event)))
        .concat();
    let table = RouteTable::parse("native", "names.toml", &table).unwrap();
    let bench = runtime.block_on(Bench::new(table));
    let events = [
        (r#"["chat/message",1]"#, "ok"),
        (r#"["chat\/message",1]"#, "ok"),
        (r#"["\u0063hat\u002fmessage",1]"#, "ok"),
        (r#"["événement"]"#, "ok"),
        (r#"["\u00e9v\u00E9nement"]"#, "ok"),
        (r#"["say \"hi\""]"#, "ok"),
        (r#"["no\/route"]"#, "unknown_event"),
        // Half a character is in no route's name, not even in that of the character which often stands for it.
        (r#"["\ufffd"]"#, "ok"),
        (r#"["\ud83d"]"#, "unknown_event"),
        (r#"["say \ude00"]"#, "unknown_event"),
        (r#"[7]"#, "bad_request"),
        (r#"["join",{"room":"caf\u00e9"}]"#, "ok"),
        (r#"["join",{"\ud83d":1,"room":"a\/b"}]"#, "ok"),
        (r#"["join",{"room":"\ud83d"}]"#, "bad_request"),
        (r#"["publish",{"room":"a/b","data":"cut \ud83d"}]"#, "ok"),
        (r#"["publish",{"room":"a/b","data":{"\ud83d":"\ude00"}}]"#, "ok"),
        (r#"["publish",{"room":"a/b","data":1,"event":"\ud83d"}]"#, "bad_request"),
        (r#"["publish",{"room":"a/b","data":1,"id":"\ud83d"}]"#, "bad_request"),
        (r#"["auth:refresh",{"token":"\ud83d"}]"#, "bad_request"),
        (r#"["auth:refresh",{"\ud83d":1,"token":"t"}]"#, "not_allowed"),
    ];
    let (texts, expected): (Vec<_>, Vec<_>) = events.into_iter().unzip();
    let found = outcomes(&bench, runtime, &texts);
    for (text, (found, expected)) in texts.iter().zip(found.into_iter().zip(expected)) {
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn history_gives_back_what_was_sent_beside_bytes() {
    let Stage { runtime, .. } = &*STAGE;
    let bench = runtime.block_on(Bench::new(RouteTable::parse("native", "none.toml", "").unwrap()));
    const DATA: &str = r#"{"zeta": 123456789012345678901234567890,"b":{"_placeholder":true,"num":0},"alpha":1.10,"\ud83d":"\ud83d \u00e9\/","10":-0}"#;
    runtime.block_on(async {
        let session = bench.session(Identity::default()).await;
        bench.router.handle(&session, Bench::inbound(r#"["join",{"room":"r"}]"#)).await.unwrap();
        for byte in 0..3 {
            let text = format!(r#"["publish",{{"room":"r","data":{DATA}}}]"#);
            let attachments = vec![Bytes::from(vec![byte])];
            let inbound = Inbound { attachments, ..Bench::inbound(&text) };
            bench.router.handle(&session, inbound).await.unwrap();
        }
        let answer = bench.router.handle(&session, Bench::inbound(r#"["history",{"room":"r"}]"#)).await.unwrap();
        assert_eq!(answer.attachments, [0, 1, 2].map(|byte| Bytes::from(vec![byte])));
        for number in 0..3 {
            let expected = DATA.replace("\"num\":0", &format!("\"num\":{number}"));
            assert!(answer.body.get().contains(&expected), "{expected} is not in {}", answer.body);
        }
        bench.router.node().depart(&session, false);
    });
}

/// Each is one event's text.
#[test]
fn what_is_known_to_hurt_parsers_does_not() {
    let deep = |open: &str, close: &str| format!(r#"["say",{}{}]"#, open.repeat(1_000), close.repeat(1_000));
    let many = format!(r#"["say"{}]"#, ",1".repeat(10_000));
    let texts = [
        deep("[", "]"),
        deep(r#"{"a":"#, "}").replace("}}", "1}}"),
        many,
        r#"["say",{"text":"a","text":["hunter2"]}]"#.into(),
        r#"["say",{"text":"\ud800"}]"#.into(),
        r#"["say",{"\ud800":1}]"#.into(),
        r#"["\ud800",1]"#.into(),
        r#"["say",NaN]"#.into(),
        r#"["say",{"data":-Infinity}]"#.into(),
        r#"["say",{"data":1e999999}]"#.into(),
        format!(r#"["say",{{"data":{}}}]"#, "9".repeat(10_000)),
        r#"["say",{"data":"hunter2","text":"hunter2hunter2"}]"#.into(),
        r#"["say",{"room":"\u0001canary:x"}]"#.into(),
        r#"["say",{"room":{"hunter2":1}}]"#.into(),
        r#"["tell",{"user":"\u0000","event":"hunter2"}]"#.into(),
        r#"["tell",{"user":"u","event":"gateway:session"}]"#.into(),
        r#"["sit",{"suffix":"5"}]"#.into(),
        format!(r#"["sit",{{"prefix":"{}"}}]"#, "p".repeat(250)),
        r#"["history",{"room":"lounge","limit":-1}]"#.into(),
        r#"["history",{"room":"lounge","limit":1e3,"after":"hunter2"}]"#.into(),
        r#"["$connect"]"#.into(),
        "[]".into(),
        "{}".into(),
        "[[]]".into(),
        String::new(),
        "\u{feff}[]".into(),
    ];
    send(texts.into_iter().map(|text| (text, Vec::new())).collect());
}

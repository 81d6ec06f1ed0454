//! Rooms of routes: into which a client may come, and in which it is heard.

use std::time::Duration;

use gateway_core::auth::{Identity, Rights};
use gateway_core::domain::{Refusal, RoomName};
use gateway_core::node::Session;
use gateway_core::routes::{RouteTable, Supposed, Verdict};
use serde_json::{Value, json};

use super::as_published::node_with;
use crate::router::Bench;
use crate::support::client::Client;

/// How long nothing is heard where something would be.
const QUIET: Duration = Duration::from_millis(100);

fn who(join: Option<&[&str]>) -> Identity {
    let patterns = join.map(|join| join.iter().map(|pattern| (*pattern).to_owned()).collect::<Vec<_>>());
    let rights = Rights::new(patterns.as_deref(), None).unwrap();
    Identity { rights: Some(rights.into()), ..Identity::default() }
}

async fn sits(bench: &Bench, session: &std::sync::Arc<Session>, prefix: &str) -> Result<Value, Refusal> {
    let text = json!(["sit", { "prefix": prefix }]).to_string();
    let answer = bench.router.handle(session, Bench::inbound(&text)).await.map_err(|not_done| not_done.refusal)?;
    Ok(serde_json::from_str::<Value>(answer.body.get()).unwrap()["room"].take())
}

fn rehearsed(bench: &Bench, identity: Identity, text: &Value, rooms: &[&str]) -> (Vec<Verdict>, Option<Refusal>) {
    let rooms = rooms.iter().map(|room| (*room).to_owned()).collect();
    let rehearsal = bench.router.rehearse(&Supposed { namespace: "/".into(), text: text.to_string(), identity, rooms });
    (rehearsal.routes.into_iter().map(|route| route.verdict).collect(), rehearsal.refusal)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_numbered_room_is_one_that_the_token_opens() {
    const TABLE: &str = r#"
[[route]]
event = "$connect"
action = "join"
room = "hall-{number}"
auto = true
capacity = 100

[[route]]
event = "sit"
action = "join"
room = "{arg.prefix|table}-{number}"
auto = true
capacity = 2
"#;
    let bench = Bench::new(RouteTable::parse("none", "rooms.toml", TABLE).unwrap()).await;
    for join in [&[][..], &["lobby"], &["secret"], &["secret-x*"], &["secret-0"]] {
        let session = bench.session(who(Some(join))).await;
        assert_eq!(sits(&bench, &session, "secret").await, Err(Refusal::NotAllowed), "{join:?}");
        assert!(!session.is_in(&RoomName::parse("secret-1").unwrap()));
        assert!(session.is_in(&RoomName::parse("hall-1").unwrap()), "{join:?}: this the route chose");
        let (verdicts, refusal) = rehearsed(&bench, who(Some(join)), &json!(["sit", { "prefix": "secret" }]), &[]);
        assert_eq!((verdicts, refusal), (vec![Verdict::Refused(Refusal::NotAllowed)], Some(Refusal::NotAllowed)));
        bench.router.node().depart(&session, false);
    }
    let full = Err(Refusal::RoomFull { limit: 2 });
    let mut sitting = Vec::new();
    for (join, room) in [
        (Some(&["lobby", "secret-*"][..]), Ok("secret-1")),
        (Some(&["secret-1"]), Ok("secret-1")),
        (Some(&["secret-1"]), full.clone()),
        (Some(&["secret-3", "secret-7"]), Ok("secret-3")),
        (Some(&["secret-1*"]), Ok("secret-10")),
        // Who may be anywhere is counted together with those who may not.
        (None, Ok("secret-2")),
        (Some(&["*"]), Ok("secret-2")),
        (None, Ok("secret-3")),
        (Some(&["secret-3", "secret-7"]), Ok("secret-7")),
        (None, Ok("secret-4")),
    ] {
        let (verdicts, _) = rehearsed(&bench, who(join), &json!(["sit", { "prefix": "secret" }]), &[]);
        assert_eq!(verdicts, [Verdict::Runs], "{join:?}");
        let session = bench.session(who(join)).await;
        for _ in 0..2 {
            let came = sits(&bench, &session, "secret").await;
            assert_eq!(came, room.clone().map(|room| json!(room)), "{join:?}, and who asks again stays");
        }
        sitting.push(session);
    }
}

/// Routes that follow a `leave`, in the room that it left.
const LEAVING: &str = r#"
profile = "native"

[[route]]
event = "exit"
action = "leave"

[[route]]
event = "exit"
action = "signal"
room = "{room}"
emit = "gone"
args = ["{arg.text}"]

[[route]]
event = "exit"
action = "publish"
room = "{room}"
emit = "left"
args = ["{arg.text}"]
allow = ["anyone"]

[[route]]
event = "look"
action = "leave"

[[route]]
event = "look"
action = "history"
room = "{room}"

[[route]]
event = "count"
action = "leave"

[[route]]
event = "count"
action = "presence"
room = "{room}"

[[route]]
event = "move"
action = "leave"
room = "{arg.from}"

[[route]]
event = "move"
action = "join"
room = "{arg.to}"

[[route]]
event = "move"
action = "signal"
room = "{room}"
emit = "moved"
args = ["{arg.text}"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_a_room_that_it_was_not_in_neither_speaks_nor_reads_there() {
    let node = node_with(LEAVING).await;
    let (mut member, mut other) = (Client::connect(node.address).await, Client::connect(node.address).await);
    member.join("r").await;
    for event in ["exit", "look", "count"] {
        let ack = other.ask(event, json!({ "room": "r", "text": "not one of you" })).await;
        assert_eq!(ack, json!({ "ok": true }), "{event}");
    }
    assert!(member.is_quiet(QUIET).await);
    assert_eq!(member.ask("history", json!({ "room": "r" })).await["events"], json!([]));

    other.join("r").await;
    assert_eq!(other.ask("exit", json!({ "room": "r", "text": "bye" })).await["ok"], true);
    assert_eq!(member.event().await, json!(["gone", "bye", null]));
    let left = member.event().await;
    assert_eq!((&left[0], &left[1]), (&json!("left"), &json!("bye")));
    for (event, has) in [("look", "events"), ("count", "members")] {
        other.join("r").await;
        let ack = other.ask(event, json!({ "room": "r" })).await;
        assert_eq!(ack[has].as_array().map(Vec::len), Some(1), "{ack}");
    }
    // Where a join comes between, the room is the one that was joined.
    for from in ["elsewhere", "r"] {
        let text = json!({ "from": from, "to": "r", "text": from });
        assert_eq!(other.ask("move", text).await["ok"], true);
        assert_eq!(member.event().await, json!(["moved", from, null]));
        other.ask("leave", json!({ "room": "r" })).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_knows_who_leaves_a_room_that_it_was_not_in() {
    let routes = LEAVING.replace("profile = \"native\"", "");
    let bench = Bench::new(RouteTable::parse("native", "rooms.toml", &routes).unwrap()).await;
    let (runs, skipped) = (|| Verdict::Runs, || Verdict::Skipped);
    for (text, rooms, verdicts) in [
        (json!(["exit", { "room": "r", "text": "x" }]), &["r"][..], vec![runs(), runs(), runs()]),
        (json!(["exit", { "room": "r", "text": "x" }]), &["s"], vec![runs(), skipped(), skipped()]),
        (json!(["move", { "from": "r", "to": "r", "text": "x" }]), &[], vec![runs(), runs(), runs()]),
    ] {
        assert_eq!(rehearsed(&bench, Identity::default(), &text, rooms), (verdicts, None), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_to_any_room_opens_its_past_to_offsets_unless_it_has_a_condition() {
    const ROUTES: &str = r#"
profile = "none"

[[route]]
event = "enter"
action = "join"

[[route]]
event = "say"
action = "publish"
"#;
    for (more, opens) in [("", true), ("when = \"{arg.room}\"\n", false)] {
        let node = node_with(&ROUTES.replace("action = \"join\"\n", &format!("action = \"join\"\n{more}"))).await;
        let mut speaker = Client::connect(node.address).await;
        let offset = speaker.ask("enter", json!({ "room": "r" })).await["offset"].take();
        assert_eq!(speaker.ask("say", json!({ "room": "r" })).await["ok"], true);
        let mut stranger = Client::try_connect(node.address, json!({ "offsets": { "r": offset } })).await.unwrap();
        assert_eq!(stranger.recovered(), opens, "{more}: {}", stranger.hello);
        if opens {
            assert_eq!(stranger.event().await[0], "say");
        } else {
            assert_eq!(stranger.hello[1]["reason"], "not_allowed");
            assert!(stranger.is_quiet(QUIET).await);
        }
    }
}

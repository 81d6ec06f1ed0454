//! Tables from texts: what they say.

mod hooks;
mod mistakes;

use proptest::prelude::*;

use super::*;
use crate::domain::UserId;

fn table(text: &str) -> RouteTable {
    RouteTable::parse("none", "own.toml", text).unwrap_or_else(|error| panic!("{error}"))
}

fn mistakes(text: &str) -> String {
    RouteTable::parse("none", "own.toml", text).expect_err(text).to_string()
}

/// One route with an event, an action and more lines; the event stands in line 2, `more` from line 4 on.
fn route(event: &str, action: &str, more: &str) -> String {
    format!("[[route]]\nevent = \"{event}\"\naction = \"{action}\"\n{more}\n")
}

fn first<'a>(table: &'a RouteTable, event: &str) -> &'a Route {
    &table.main().routes.get(event).unwrap()[0]
}

fn identity(roles: &[&str]) -> Identity {
    Identity {
        user: UserId::parse("alice"),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        ..Identity::default()
    }
}

#[test]
fn every_profile_loads_and_none_is_empty() {
    for profile in RouteTable::profiles() {
        let table = RouteTable::parse(profile, "own.toml", "").unwrap_or_else(|error| panic!("{error}"));
        assert!(!table.is_empty(), "{profile}");
    }
    let none = RouteTable::load("none", None).unwrap();
    assert!(none.is_empty() && none.namespace("/").is_some() && none.namespace("/other").is_none());
}

#[test]
fn the_native_profile_has_its_routes() {
    let table = RouteTable::load("native", None).unwrap();
    let events: Vec<_> = table.main().routes().map(|route| &*route.event).collect();
    assert_eq!(
        events,
        [
            "claim",
            "direct",
            "history",
            "identify",
            "join",
            "leave",
            "notifications",
            "presence",
            "publish",
            "read",
            "signal",
            "typing"
        ]
    );
    assert_eq!(table.main().way_in(&Identity::default()).as_deref(), Some("join"));
    let numbers: std::collections::HashSet<_> = table.main().routes().map(|route| route.number).collect();
    assert_eq!(numbers.len(), table.len());
    assert!(numbers.iter().all(|number| *number < table.len()));
}

#[test]
fn a_table_says_whether_events_end_with_offsets_and_the_own_file_counts() {
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("profile.toml");
    std::fs::write(&profile, "offset = false\n").unwrap();
    let profile = profile.to_str().unwrap();
    for (profile, own, adds) in [
        ("native", "", true),
        ("native", "offset = false", false),
        (profile, "", false),
        (profile, "offset = true", true),
    ] {
        let table = RouteTable::parse(profile, "own.toml", own).unwrap();
        assert_eq!(table.adds_offsets(), adds, "{profile} {own}");
        assert_eq!(table.to_string().contains("offset = false"), !adds);
    }
    let error = RouteTable::parse("none", "own.toml", "offset = 1").unwrap_err().to_string();
    assert!(error.contains("own.toml:1: offset: expected true or false"), "{error}");
    let error = RouteTable::parse("none", "own.toml", &route("x", "publish", "emit = \"{offset}\"")).unwrap_err();
    assert!(error.to_string().contains("{offset} cannot stand here"), "{error}");
}

#[test]
fn own_routes_replace_all_of_the_profile_s_for_the_event() {
    let own = format!("{}{}", route("joinRoom", "join", ""), route("joinRoom", "log", "message = \"{room}\""));
    let table = RouteTable::parse("notifier", "own.toml", &own).unwrap();
    let actions: Vec<_> = table.main().find("joinRoom").unwrap().iter().map(|route| route.action.name()).collect();
    assert_eq!(actions, ["join", "log"]);
    assert!(table.main().find("chatMessage").is_some());
    assert_eq!(&*first(&table, "joinRoom").place, "own.toml:2");
    assert_eq!(&*first(&table, "chatMessage").place, "profile notifier:27");
    // The same event of another namespace is another event.
    let other = RouteTable::parse("notifier", "own.toml", &route("joinRoom", "join", "namespace = \"/x\"")).unwrap();
    assert_eq!(other.main().find("joinRoom").unwrap().len(), 2);
}

#[test]
fn settings_have_their_defaults() {
    let table = table(&format!(
        "{}{}{}{}",
        route("a", "call", "url = \"http://h/\""),
        route("b", "typing", ""),
        route("c", "publish", "rate = { per_second = 7 }\nmax_bytes = 10"),
        route("d", "direct", ""),
    ));
    let Action::Call(call) = &first(&table, "a").action else { panic!() };
    assert_eq!(
        (call.endpoint.attempts, call.endpoint.timeout.as_secs(), call.endpoint.backoff.as_millis()),
        (3, 5, 100)
    );
    assert_eq!((call.endpoint.breaker.failures, call.endpoint.breaker.pause.as_secs()), (5, 10));
    assert_eq!(
        call.body.to_string(),
        r#"{"event":"{event}","namespace":"{namespace}","args":"{args}","user":"{user.id?}","session":"{session.id}"}"#
    );
    let Action::Typing(typing) = &first(&table, "b").action else { panic!() };
    assert_eq!((typing.ttl.as_secs(), typing.active.to_string()), (5, "{arg.typing|true}".into()));
    let publish = first(&table, "c");
    assert_eq!(publish.rate.map(|rate| (rate.per_second.get(), rate.burst.get())), Some((7, 7)));
    assert_eq!((publish.max_bytes, &publish.allow[..]), (Some(10), &[Allow::Member][..]));
    let Action::Direct(direct) = &first(&table, "d").action else { panic!() };
    assert!(direct.keep && direct.emission.args == super::super::Args::Client);
}

#[test]
fn members_may_speak_and_whoever_just_came_or_left_too() {
    let table = table(&format!(
        "{}{}{}{}",
        route("a", "publish", ""),
        route("a", "leave", ""),
        route("a", "signal", "room = \"{room}\""),
        route("$join", "signal", "emit = \"came\""),
    ));
    let allow = |event: &str| -> Vec<String> {
        table.main().routes[event].iter().map(|route| route.allow[0].to_string()).collect()
    };
    assert_eq!(allow("a"), ["member", "anyone", "anyone"]);
    assert_eq!(allow("$join"), ["anyone"]);
    let route = first(&table, "a");
    assert!(route.allows(&Identity::default(), || true) && !route.allows(&Identity::default(), || false));
}

#[test]
fn facts_are_what_the_routes_need() {
    let facts = |text: &str| table(text).main().facts.clone();
    assert_eq!(facts(""), Facts::default());
    assert!(facts(&route("a", "log", "message = \"{connections}\"")).tracks_connections);
    assert!(facts(&route("$disconnect", "log", "message = \"gone\"")).tracks_connections);
    let auth = facts(
        &route("a", "signal", "args = [\"{auth.z.y}\", { a = \"{auth.b?}\" }]\nid = 1\n").replace("id = 1\n", ""),
    );
    assert_eq!(auth.auth_keys, ["b", "z"]);
    let join = route("j", "join", "");
    let tracks = |text: &str| {
        let table = table(text);
        let joins = table.main().routes().filter_map(|route| match &route.action {
            Action::Join(join) => Some(join.seat().is_some()),
            _ => None,
        });
        joins.collect::<Vec<_>>().contains(&true)
    };
    let tracked = |more: &str| tracks(&format!("{join}{more}"));
    assert!(!tracked(""));
    for more in [
        route("p", "presence", ""),
        route("$join", "log", "message = \"x\""),
        route("$leave", "log", "message = \"x\""),
        route("m", "publish", "args = [\"{members}\"]"),
        route("c", "join", "capacity = 2"),
    ] {
        assert!(tracked(&more), "{more}");
    }
    assert!(!tracks(&format!("{}{}", route("j", "join", "presence = false"), route("p", "presence", ""))));
    let needs = table(&route("m", "publish", "args = [\"{members}\", { c = \"{connections}\" }]"));
    assert_eq!(first(&needs, "m").needs, Needs { members: true, connections: true });
}

#[test]
fn of_the_connect_payload_only_what_is_read_and_harmless_stays() {
    let facts =
        Facts { auth_keys: vec!["bad".into(), "deep".into(), "large".into(), "nick".into()], ..Facts::default() };
    let large = "x".repeat(5000);
    let payload = format!(
        r#"{{"nick":"al","token":"t","bad":{{"_placeholder":true,"num":9}},"deep":[[[[1]]]],"large":"{large}"}}"#
    );
    let fields = facts.auth_fields(&RawValue::from_string(payload).unwrap(), 3);
    assert_eq!(fields.keys().collect::<Vec<_>>(), ["nick"]);
    assert!(facts.auth_fields(RawValue::NULL, 3).is_empty());
    let odd = r#"{"\ud83d":1,"nick":1,"n\u0069ck":"Bob \ud83d","deep":123456789012345678901234567890}"#;
    let fields = facts.auth_fields(&RawValue::from_string(odd.into()).unwrap(), 3);
    let texts: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.get())).collect();
    assert_eq!(texts, [("deep", "123456789012345678901234567890"), ("nick", r#""Bob \ud83d""#)]);
}

#[test]
fn sessions_come_back_to_rooms_that_their_route_gives() {
    let table = table(&format!(
        "{}{}{}",
        route("$connect", "join", "room = \"chat\""),
        route("enter", "join", "room = \"team-{arg}\"\nallow = [\"role:staff\"]"),
        route("b_join", "join", "allow = [\"user\"]"),
    ));
    let main = table.main();
    let back = |via: &str, roles: &[&str], room: &str| {
        main.admits_back(via, &identity(roles), &RoomName::parse(room).unwrap()).is_some()
    };
    assert!(back("$connect", &[], "chat") && !back("$connect", &[], "other"));
    assert!(back("enter", &["staff"], "team-1") && !back("enter", &[], "team-1") && !back("enter", &["staff"], "x"));
    assert!(!back("gone", &[], "chat"));
    assert_eq!(main.way_in(&identity(&[])).as_deref(), Some("b_join"));
    assert_eq!(main.way_in(&Identity::default()), None);
    // Clients cannot emit what happens by itself.
    assert!(main.find("$connect").is_none() && !main.on(Lifecycle::Connect).is_empty());
}

#[test]
fn messages_are_the_last_ones_said() {
    let own = "[messages]\nunauthorized = \"No\"\n";
    let table = RouteTable::parse("notifier", "own.toml", own).unwrap();
    assert_eq!(table.message("unauthorized"), Some("No"));
    assert_eq!(table.message("token_required"), Some("Authentication error"));
    assert_eq!(table.message("busy"), None);
}

#[test]
fn an_event_sets_off_sixteen_routes_at_the_most() {
    let routes = |count: usize| route("x", "log", "message = \"x\"").repeat(count);
    assert_eq!(table(&routes(16)).len(), 16);
    assert!(mistakes(&routes(17)).contains("an event has at most 16 routes"));
}

#[test]
fn ten_thousand_routes_load_at_once() {
    let text: String =
        (0..10_000).map(|number| route(&format!("e{number}"), "publish", "args = [\"{arg}\"]")).collect();
    let start = tokio::time::Instant::now();
    let table = table(&text);
    assert_eq!(table.len(), 10_000);
    // Optimized it takes a twentieth of a second; this is an unoptimized build on a machine that may be busy.
    assert!(start.elapsed() < std::time::Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn to_a_schema_half_a_character_is_one() {
    let schema =
        r#"schema = { type = "array", items = { type = ["integer", "string"], maxLength = 3, pattern = "^[^x]*$" } }"#;
    let table = table(&route("x", "join", schema));
    let schema = first(&table, "x").schema.clone().unwrap();
    let check = |argument: &str| schema.check(&RawValue::from_string(argument.into()).unwrap()).is_ok();
    assert!(check(r#"["ab\ud83d", "\ude00\ud83d", "ab\ud83d\ude00", 123456789012345678901234567890]"#));
    assert!(!check(r#"["abc\ud83d"]"#));
    assert!(!check(r#"["x\ud83d"]"#));
}

#[test]
fn a_schema_says_where_it_fails_and_repeats_nothing() {
    let text = r#"
        schema = { type = "object", required = ["room"], properties = { room = { type = "string" }, items = { type = "array", items = { maximum = 9 } } }, additionalProperties = { type = "string" } }
    "#;
    let table = table(&route("x", "join", text.trim()));
    let schema = first(&table, "x").schema.clone().unwrap();
    let check = |json: &str| {
        let argument = RawValue::from_string(json.to_owned()).unwrap();
        schema.check(&argument).map_err(|refusal| refusal.message().replace("the arguments are not valid: ", ""))
    };
    let cases = [
        (r#"{"room":"a","items":[1,2]}"#, Ok(())),
        (r#"{"room":"a","items":[1,2,3,10]}"#, Err("arg/items/3: \"maximum\"")),
        (r#"{"items":[]}"#, Err("arg: \"required\": room")),
        (r#"{"room":1}"#, Err("arg/room: \"type\"")),
        (r#"{"room":"a","secret":7}"#, Err("arg/*: \"type\"")),
        (r#""secret""#, Err("arg: \"type\"")),
        // As the templates have it, the last of two counts.
        (r#"{"room":1,"room":"a"}"#, Ok(())),
        (r#"{"room":1e999}"#, Err("arg: not JSON that can be checked")),
    ];
    for (json, expected) in cases {
        assert_eq!(check(json), expected.map_err(str::to_owned), "{json}");
    }
    // Schemas that go round in a circle end all the same.
    for circle in ["\"$ref\" = \"#\"", "allOf = [{ \"$ref\" = \"#\" }]", "not = { \"$ref\" = \"#\" }"] {
        let text = route("x", "join", &format!("schema = {{ {circle} }}"));
        if let Ok(table) = RouteTable::parse("none", "own.toml", &text) {
            let _ = first(&table, "x").schema.as_ref().unwrap().check(RawValue::NULL);
        }
    }
    let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    assert_eq!(check(&deep), Err("arg: not JSON that can be checked".into()));
}

#[test]
fn what_is_shown_is_everything_but_secrets() {
    let text = format!(
        "{}{}{}",
        route("$connect", "signal", "to = \"self\"\nemit = \"hi\"\nafter = \"4s\""),
        route("x", "call", "url = \"http://h/\"\nheaders = { Authorization = \"Bearer hunter2\" }"),
        route(
            "y",
            "publish",
            "args = [\"{arg}\", \"{offset}\"]\nrate = { per_second = 2, burst = 3 }\nwhen = \"{arg}\""
        ),
    );
    let shown = table(&text).to_string();
    for part in [
        "namespace /",
        "  $connect\n    after 4s signal to self, emit hi []; allow anyone; own.toml:2",
        "headers authorization",
        "emit y [\"{arg}\",\"{offset}\"] when {arg}; allow member; 2/s, burst 3; own.toml:",
    ] {
        assert!(shown.contains(part), "{shown} does not have {part:?}");
    }
    assert!(!shown.contains("hunter2"), "{shown}");
}

proptest! {
    /// What is near to a table is a table, or its mistakes are told.
    #[test]
    fn no_text_makes_the_loader_fall_over(
        profile in 0..load::PROFILES.len(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..12usize, "[\\[\\]{}=\"'a-z$.,0-9\n ]{0,8}"), 1..6),
    ) {
        let mut text: Vec<char> = load::PROFILES[profile].1.chars().collect();
        for (at, cut, put) in cuts {
            let at = at.index(text.len() + 1);
            let end = (at + cut).min(text.len());
            text.splice(at..end, put.chars());
        }
        let text: String = text.into_iter().collect();
        match RouteTable::parse("none", "own.toml", &text) {
            Ok(table) => prop_assert!(table.to_string().starts_with("namespace /")),
            Err(error) => {
                let error = error.to_string();
                prop_assert!(error.lines().all(|line| line.starts_with("own.toml:") || line.starts_with("and ")), "{}", error);
            }
        }
    }
}

#[test]
fn every_action_is_counted() {
    for name in Action::NAMES {
        assert!(crate::metrics::ACTIONS.contains(&name), "{name} would not be counted");
    }
}

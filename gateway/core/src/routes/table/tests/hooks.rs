//! What a configuration may say of hooks, and what is said about mistakes.

use std::time::Duration;

use super::{mistakes, route, table};
use crate::outbox::What;
use crate::routes::Action;

const SECRET: &str = "0123456789abcdef";

/// A whole one; `more` from line 6 on.
fn hook(more: &str) -> String {
    let (url, events) = ("https://me:hunter2@api.test/hooks?key=hunter2", "[\"publish\", \"room.left\"]");
    format!("[[hook]]\nname = \"h\"\nurl = \"{url}\"\nevents = {events}\nsecrets = [\"{SECRET}\"]\n{more}\n")
}

/// The same with one of its lines changed.
fn with(key: &str, value: &str) -> String {
    let whole = hook("");
    let lines = whole.lines().map(|line| match line.starts_with(&format!("{key} =")) {
        true => format!("{key} = {value}"),
        false => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_hook_is_what_it_says() {
    let whole = table(&hook("rooms = \"orders-*\"\nnamespaces = [\"/\"]\ntimeout = \"3s\""));
    let [hook] = whole.hooks() else { panic!("{:?}", whole.hooks()) };
    assert_eq!((hook.name.as_str(), &*hook.rooms, hook.endpoint.timeout), ("h", "orders-*", Duration::from_secs(3)));
    assert_eq!(hook.events, [What::Left, What::Published]);
    assert_eq!(hook.secrets[0].expose(), SECRET);
    let shown = format!("{whole}{:?}", whole.hooks());
    assert!(shown.contains("hook h to https://api.test/hooks: room.left, publish of rooms orders-*"), "{shown}");
    assert!(shown.contains("own.toml:2"), "{shown}");
    assert!(!shown.contains("hunter2") && !shown.contains(SECRET), "{shown}");
    assert_eq!(table(&self::hook("")).hooks()[0].endpoint.timeout, Duration::from_secs(10));
}

#[test]
fn what_a_hook_is_told_is_counted() {
    let join = route("j", "join", "");
    let counts = |text: &str| {
        let table = table(&format!("{join}{text}"));
        let is_counted = table.main().routes().any(|route| match &route.action {
            Action::Join(join) => join.seat().is_some(),
            _ => false,
        });
        (is_counted, table.main().facts.tracks_connections)
    };
    assert_eq!(counts(""), (false, false));
    assert_eq!(counts(&with("events", "[\"publish\"]")), (false, false));
    assert_eq!(counts(&with("events", "[\"room.emptied\"]")), (true, false));
    assert_eq!(counts(&with("events", "[\"session.ended\"]")), (false, true));
    let elsewhere = route("k", "join", "namespace = \"/x\"") + &hook("namespaces = [\"/x\"]");
    assert_eq!(counts(&elsewhere), (false, false));
}

#[test]
fn mistakes_are_found_in_their_line() {
    let cases = [
        ("[[hook]]\nurl = \"http://h\"\n".into(), "own.toml:2: name: is missing"),
        (with("name", "\"a b\""), "own.toml:2: name: \"a b\" must have 1 to 64 letters"),
        (with("name", "\"\""), "own.toml:2: name: \"\" must"),
        (with("url", "\"ftp://me:hunter2@h\""), "own.toml:3: url: the URL must be http:// or https://"),
        (with("url", "\"me:hunter2@h\""), "own.toml:3: url: "),
        (with("url", "\"no url hunter2\""), "own.toml:3: url: "),
        (with("url", "\"http://h/{arg}\""), "own.toml:3: url: can have {env.NAME} but nothing else"),
        (with("events", "[]"), "own.toml:4: events: is empty"),
        (
            with("events", "[\"room.painted\"]"),
            "own.toml:4: events: \"room.painted\" is not one of: session.connected,",
        ),
        (with("events", "\"publish\""), "own.toml:4: events: is string, expected a list"),
        (with("secrets", "[]"), "own.toml:5: secrets: must have 1 to 5 entries"),
        (with("secrets", "[\"hunter2\"]"), "own.toml:5: secrets: each must have at least 16 bytes"),
        (with("secrets", "[72222222222222222]"), "own.toml:5: secrets: must be texts in quotes"),
        (
            with("secrets", "[\"{env.NOBODY_HAS_SET_THIS}\"]"),
            "own.toml:5: secrets: can have {env.NAME}, of a variable that",
        ),
        (with("secrets", "[\"{hunter2-0123456789}\"]"), "own.toml:5: secrets: can have {env.NAME}"),
        (hook("rooms = \"\""), "own.toml:6: rooms: must be a pattern"),
        (hook("namespaces = []"), "own.toml:6: namespaces: is empty"),
        (hook("namespaces = [\"/nobody\"]"), "own.toml:2: namespaces: no route is in \"/nobody\""),
        (hook("timeout = \"2m\""), "own.toml:6: timeout: \"2m\" must be a duration"),
        (
            hook("wings = 2"),
            "own.toml:6: wings: no such key; hook has: name, timeout, url, events, rooms, namespaces, secrets",
        ),
        (with("events", "[\"session.ended\"]") + "\nrooms = \"a\"", "own.toml:7: rooms: has no effect"),
        (hook("") + &hook(""), "own.toml:8: name: \"h\" is the hook at own.toml:2"),
        ("hook = 3".into(), "own.toml:1: hook: expected tables, as [[hook]]"),
        ("hook = [3]".into(), "own.toml:1: hook: expected tables, as [[hook]]"),
    ];
    for (text, expected) in cases {
        let said = mistakes(&text);
        assert!(said.lines().any(|line| line.starts_with(expected)), "{text}\nsays {said}\nand not {expected}");
        assert!(!said.contains("hunter2") && !said.contains("7222"), "{said}");
    }
    let without = |key: &str| hook("").lines().filter(|line| !line.starts_with(key)).collect::<Vec<_>>().join("\n");
    for key in ["name", "url", "events", "secrets"] {
        assert!(mistakes(&without(key)).contains(&format!("{key}: is missing")), "{key}");
    }
}

//! What is said about mistakes, and tables from files.

use std::path::Path;

use super::super::RouteTable;
use super::{first, mistakes, route};

#[test]
fn mistakes_are_found_in_their_line() {
    let at_4 = |event: &str, action: &str, more: &str| route(event, action, more);
    let cases = [
        ("[[route]]\naction = \"join\"\n".into(), "own.toml:2: event: is missing"),
        ("[[route]]\nevent = 1\n".into(), "own.toml:2: event: is integer, expected a text"),
        (route("x", "fly", ""), "own.toml:3: action: \"fly\" is not an action; there are: join, leave,"),
        ("\n\n[[route]]\nevent = \"x\"\n".into(), "own.toml:4: action: is missing"),
        (at_4("x", "join", "wings = 2"), "own.toml:4: wings: no such key; a route with the action join has: "),
        (route("", "join", ""), "own.toml:2: event: \"\" cannot be routed"),
        (route("disconnect", "join", ""), "own.toml:2: event: \"disconnect\" cannot be routed"),
        (route("auth:refresh", "join", ""), "own.toml:2: event: \"auth:refresh\" cannot be routed"),
        (route("gateway:x", "join", ""), "own.toml:2: event: \"gateway:x\" cannot be routed"),
        (
            route("$fly", "log", "message = \"x\""),
            "own.toml:2: event: \"$fly\" is not a lifecycle event; there are: $connect",
        ),
        (at_4("x", "join", "namespace = \"x\""), "own.toml:4: namespace: \"x\" must begin with /"),
        (at_4("x", "join", "namespace = \"/a,b\""), "own.toml:4: namespace: \"/a,b\" must"),
        (at_4("x", "join", "allow = [\"bob\"]"), "own.toml:4: allow: \"bob\" is not one of"),
        (at_4("x", "join", "allow = []"), "own.toml:4: allow: is empty"),
        (at_4("x", "join", "allow = [\"member\"]"), "own.toml:4: allow: member has no meaning for join"),
        (at_4("x", "direct", "allow = [\"member\"]"), "own.toml:4: allow: member has no meaning for direct"),
        (at_4("x", "join", "rate = 3"), "own.toml:4: rate: is integer, expected a table"),
        (at_4("x", "join", "rate = { per_second = 0 }"), "own.toml:4: rate.per_second: must be a whole number from 1"),
        (at_4("x", "join", "rate = { burst = 1 }"), "own.toml:4: rate.per_second: is missing"),
        (
            at_4("x", "join", "rate = { per_second = 1, wings = 1 }"),
            "own.toml:4: rate.wings: no such key; rate has: per_second, burst",
        ),
        (at_4("x", "join", "max_bytes = -1"), "own.toml:4: max_bytes: must be a whole number"),
        (at_4("x", "join", "when = \"yes\""), "own.toml:4: when: has no placeholder"),
        (
            at_4("x", "join", "when = \"{members}\""),
            "own.toml:4: when: {members} cannot stand here: nothing is counted",
        ),
        (at_4("x", "join", "after = \"1s\""), "own.toml:4: after: has no effect: only routes of $connect"),
        (at_4("x", "join", "to = \"all\""), "own.toml:4: to: no such key; a route with the action join"),
        (at_4("x", "join", "room = \"{wings}\""), "own.toml:4: room: {wings} is not a placeholder"),
        (at_4("x", "join", "partial = true"), "own.toml:4: partial: has no effect"),
        (at_4("x", "join", "auto = true\nroom = \"{number}\""), "own.toml:4: auto: needs capacity"),
        (at_4("x", "join", "auto = true\ncapacity = 2"), "own.toml:2: room: needs {number}"),
        (at_4("x", "join", "capacity = 2\npresence = false"), "own.toml:5: presence: cannot be false"),
        (at_4("x", "join", "capacity = 0"), "own.toml:4: capacity: must be a whole number"),
        (at_4("x", "publish", "to = \"self\""), "own.toml:4: to: \"self\" is not one of: all, others"),
        (at_4("x", "signal", "to = \"self\"\nroom = \"r\""), "own.toml:5: room: has no effect"),
        (at_4("x", "signal", "id = \"{arg.id}\""), "own.toml:4: id: no such key"),
        (at_4("x", "signal", "args = [\"{offset}\"]"), "own.toml:4: args: {offset} cannot stand here"),
        (at_4("x", "signal", "args = [\n1,\nnan]"), "own.toml:6: args: JSON has finite numbers only"),
        (at_4("x", "signal", "args = \"{arg}\""), "own.toml:4: args: is string, expected a list"),
        (at_4("x", "publish", "emit = \"connect\""), "own.toml:4: emit: \"connect\" cannot be emitted"),
        (at_4("x", "call", "url = \"http://a\"\ncache = \"1ms\""), "own.toml:5: cache: \"1ms\" must be a duration"),
        (at_4("x", "call", "url = \"http://a\"\nshared = true"), "own.toml:5: shared: has no effect: without cache"),
        (at_4("$join", "call", "url = \"http://a\"\ncache = \"1m\""), "own.toml:5: cache: has no effect: nobody waits"),
        (
            at_4("x", "call", "url = \"http://a\"\ncache = \"1m\"\nbody = { s = \"{session.id}\" }"),
            "own.toml:5: cache: the back end is sent {session.…}, so no answer",
        ),
        (
            at_4("x", "call", "url = \"http://a\"\ncache = \"1m\"\nheaders = { at = \"{now}\" }"),
            "own.toml:5: cache: the back end is sent {now…}, so no answer",
        ),
        (at_4("x", "direct", "keep = false\nid = \"{arg.id}\""), "own.toml:5: id: has no effect"),
        (at_4("x", "direct", "keep = false\nargs = [\"{offset}\"]"), "own.toml:5: args: {offset} cannot stand here"),
        (route("x", "claim", ""), "own.toml:2: name: is missing; it is the name to take"),
        (at_4("x", "claim", "name = \"{arg}\"\nargs = []"), "own.toml:5: args: has no effect"),
        (at_4("x", "notify", "emit = \"connect\""), "own.toml:4: emit: "),
        (at_4("x", "notify", "ttl = \"1ms\""), "own.toml:4: ttl: \"1ms\" must be a duration from 1s to"),
        (at_4("x", "notify", "args = [\"{unread}\"]"), "own.toml:4: args: {unread} cannot stand here"),
        (at_4("x", "notify", "args = [\"{offset}\"]"), "own.toml:4: args: {offset} cannot stand here"),
        (at_4("$leave", "notify", "user = \"u\""), "own.toml:2: message: is missing, and its default does not fit"),
        (at_4("x", "notifications", "args = [1]"), "own.toml:4: args: has no effect: without emit"),
        (at_4("x", "notifications", "emit = \"n\"\nlimit = \"1\""), "own.toml:5: limit: has no effect: with emit"),
        (route("$connect", "notifications", ""), "own.toml:2: emit: is missing"),
        (route("$join", "notifications", "emit = \"n\""), "own.toml:3: action: \"notifications\" has no meaning"),
        (at_4("x", "read", "room = \"r\""), "own.toml:4: room: no such key; a route with the action read has: "),
        (at_4("x", "typing", "ttl = \"2m\""), "own.toml:4: ttl: \"2m\" must be a duration from 1s to 1m"),
        (at_4("x", "typing", "ttl = 5"), "own.toml:4: ttl: is integer, expected a text"),
        (route("x", "call", ""), "own.toml:2: url: is missing"),
        (at_4("x", "call", "url = \"{arg}\""), "own.toml:4: url: can have {env.NAME} but nothing"),
        (at_4("x", "call", "url = \"ftp://h/\""), "own.toml:4: url: \"ftp://h/\" is not a URL of http"),
        (at_4("x", "call", "url = \"http://\""), "own.toml:4: url: "),
        (
            at_4("x", "call", "url = \"http://h\"\nheaders = { Host = \"x\" }"),
            "own.toml:5: headers.Host: is not the name",
        ),
        (
            at_4("x", "call", "url = \"http://h\"\nattempts = 11"),
            "own.toml:5: attempts: must be a whole number from 1 to 10",
        ),
        (at_4("x", "call", "url = \"http://h\"\nbreaker = { pause = \"1ms\" }"), "own.toml:5: breaker.pause: "),
        (route("x", "log", ""), "own.toml:2: message: is missing"),
        (at_4("x", "log", "message = \"\"\nlevel = \"loud\""), "own.toml:5: level: \"loud\" is not one of: error"),
        (at_4("x", "join", "refused = { args = [] }"), "own.toml:4: refused.emit: is missing"),
        (
            at_4("x", "join", "refused = { emit = \"e\", codes = [\"x\"] }"),
            "own.toml:4: refused.codes: \"x\" is not one of",
        ),
        (at_4("x", "join", "schema = 1"), "own.toml:4: schema: expected the path"),
        (at_4("x", "join", "schema = \"s.json\""), "own.toml:4: schema: a path is relative to the file"),
        (at_4("x", "join", "schema = { type = \"wings\" }"), "own.toml:4: schema: not a JSON Schema"),
        (
            at_4("x", "join", "schema = { \"$ref\" = \"https://example.com/s.json\" }"),
            "own.toml:4: schema: a $ref can only",
        ),
        (at_4("x", "join", "schema = { pattern = \"(a)\\\\1\" }"), "own.toml:4: schema: not a JSON Schema"),
        (at_4("$connect", "join", ""), "own.toml:2: room: is missing, and its default does not fit: {arg.room} cannot"),
        (at_4("$connect", "history", ""), "own.toml:3: action: \"history\" has no meaning for $connect"),
        (at_4("$join", "join", ""), "own.toml:3: action: \"join\" has no meaning for $join"),
        (at_4("$connect", "signal", "to = \"self\""), "own.toml:2: emit: is missing"),
        (
            at_4("$connect", "log", "message = \"x\"\nrate = { per_second = 1 }"),
            "own.toml:5: rate: has no effect: no client",
        ),
        (at_4("$connect", "log", "message = \"x\"\nafter = \"2h\""), "own.toml:5: after: \"2h\" must be a duration"),
        (at_4("$leave", "signal", "emit = \"x\"\nto = \"others\""), "own.toml:5: to: \"others\" is not one of: all"),
        (at_4("$leave", "log", "message = \"{auth.a}\""), "own.toml:4: message: {auth.a} cannot stand here"),
        (
            at_4("$disconnect", "log", "message = \"x\"\nallow = [\"role:a\"]"),
            "own.toml:5: allow: when a $disconnect route",
        ),
        (
            at_4("$disconnect", "log", "message = \"x\"\nrefused = { emit = \"a\" }"),
            "own.toml:5: refused: has no effect",
        ),
        (
            "[messages]\nwings = \"x\"\n".into(),
            "own.toml:2: messages.wings: no refusal has this code; there are: bad_request",
        ),
        ("[messages]\nbusy = 1\n".into(), "own.toml:2: messages.busy: expected a text"),
        ("messages = 1\n".into(), "own.toml:1: messages: expected a section"),
        ("route = 1\n".into(), "own.toml:1: route: expected tables"),
        ("route = [1]\n".into(), "own.toml:1: route: expected tables"),
        ("include = 1\n".into(), "own.toml:1: include: expected a list of paths"),
        ("include = [\"x.toml\"]\n".into(), "own.toml:1: include: expected a list of paths, in a file"),
        ("\n[[route]\n".into(), "own.toml:2: "),
    ];
    for (text, expected) in cases {
        let said = mistakes(&text);
        assert!(said.lines().any(|line| line.starts_with(expected)), "{text}\n{said:?} does not have {expected:?}");
        assert_eq!(said.lines().count(), 1, "{text}\n{said}");
    }
    let said = RouteTable::load("nope", None).unwrap_err().to_string();
    assert!(said.contains("there are: native, ") && said.contains("none"), "{said}");
}

#[test]
fn all_mistakes_are_listed_but_not_endlessly() {
    let two = format!("{}{}", route("x", "fly", ""), route("y", "join", "wings = 1"));
    assert_eq!(mistakes(&two).lines().count(), 2);
    let many: String = (0..30).map(|number| route(&format!("e{number}"), "fly", "")).collect();
    let said = mistakes(&many);
    assert_eq!(said.lines().count(), 21);
    assert!(said.ends_with("and 10 more"), "{said}");
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

fn from_folder(folder: &Path) -> Result<RouteTable, String> {
    RouteTable::load("none", Some(&folder.join("gateway.toml"))).map_err(|error| error.to_string())
}

#[test]
fn files_include_others_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::create_dir(at.join("more")).unwrap();
    write(at, "gateway.toml", &format!("listen = \"x\"\ninclude = [\"more/a.toml\"]\n{}", route("x", "join", "")));
    write(at, "more/a.toml", &format!("include = [\"b.toml\"]\n{}", route("x", "log", "message = \"a\"")));
    write(at, "more/b.toml", &route("x", "publish", "schema = \"s.json\"\n[messages]\nbusy = \"b\""));
    write(at, "more/s.json", r#"{"type": "object"}"#);
    let table = from_folder(at).unwrap();
    let actions: Vec<_> = table.main().find("x").unwrap().iter().map(|route| route.action.name()).collect();
    assert_eq!(actions, ["publish", "log", "join"]);
    assert_eq!(table.message("busy"), Some("b"));
    let place = &*first(&table, "x").place;
    assert!(place.ends_with("more/b.toml:2"), "{place}");
    // A profile may be such a file too.
    let profile = at.join("more/a.toml");
    assert_eq!(RouteTable::load(profile.to_str().unwrap(), None).unwrap().len(), 2);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let said = |main: &str| {
        write(at, "gateway.toml", main);
        from_folder(at).unwrap_err()
    };
    let line = said("\ninclude = [\"gone.toml\"]\n");
    assert!(
        line.contains("gateway.toml:2: include: cannot read") && line.contains("gone.toml: No such file"),
        "{line}"
    );
    write(at, "a.toml", "include = [\"gateway.toml\"]\n");
    let line = said("include = [\"a.toml\"]\n");
    assert!(line.contains("a.toml:1: include: ") && line.contains("never by itself"), "{line}");
    std::os::unix::fs::symlink(at.join("gateway.toml"), at.join("link.toml")).unwrap();
    assert!(said("include = [\"link.toml\"]\n").contains("never by itself"));
    write(at, "b.toml", "listen = \"x\"\n");
    assert!(said("include = [\"b.toml\"]\n").contains("b.toml:1: listen: no such key here; there are: include"));
    assert!(said("include = [\".\"]\n").contains("it is not a file"));
    write(at, "big.toml", &"#".repeat(1024 * 1024 + 1));
    assert!(said("include = [\"big.toml\"]\n").contains("larger than 1048576 bytes"));
    for number in 0..20 {
        write(at, &format!("deep{number}.toml"), &format!("include = [\"deep{}.toml\"]\n", number + 1));
    }
    assert!(said("include = [\"deep0.toml\"]\n").contains("more than 16 files"));
    write(at, "s.json", "{");
    assert!(said(&route("x", "join", "schema = \"s.json\"")).contains("gateway.toml:4: schema: "));
    assert!(said(&route("x", "join", "schema = \"t.json\"")).contains("t.json: No such file"));
    assert!(
        RouteTable::load(at.join("gone.toml").to_str().unwrap(), None)
            .unwrap_err()
            .to_string()
            .starts_with("profile: ")
    );
}

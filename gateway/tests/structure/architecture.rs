//! The architecture as a test: who may name whom, who may name which library, and how files begin.
//!
//! It reads source text. `super::super` across layers would escape it, so that is forbidden too.

use std::fs;
use std::path::{Path, PathBuf};

/// Each part of the crate with the parts that it may name. `config`, `metrics` and `domain` may be named by all that
/// list them and name nobody outside this table.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("config", &[]),
    ("metrics", &["domain"]),
    ("auth", &["config", "domain", "metrics", "port", "revocations"]),
    ("supervisor", &[]),
    ("formats", &[]),
    ("recurring", &[]),
    ("port", &[]),
    ("redis", &["config", "domain", "metrics", "port", "supervisor"]),
    ("sqlite", &["port"]),
    ("bus", &["config", "metrics", "port", "redis", "supervisor"]),
    ("calls", &["config", "domain", "metrics", "recurring"]),
    ("log", &["bus", "domain", "port", "recurring", "redis", "sqlite", "supervisor"]),
    ("presence", &["config", "domain", "formats", "metrics", "port", "redis"]),
    ("sessions", &["bus", "domain", "formats", "port", "redis", "sqlite"]),
    ("revocations", &["bus", "domain", "port", "redis", "sqlite"]),
    (
        "node",
        &[
            "auth",
            "bus",
            "config",
            "domain",
            "formats",
            "log",
            "metrics",
            "port",
            "presence",
            "recurring",
            "sessions",
            "supervisor",
        ],
    ),
    ("routes", &["auth", "calls", "config", "domain", "log", "metrics", "node", "presence", "recurring"]),
    ("control", &["bus", "domain", "node", "port", "sessions"]),
    ("socket", &["auth", "config", "domain", "metrics", "node", "recurring", "routes", "sessions", "supervisor"]),
    ("operators", &["auth", "bus", "config", "domain", "metrics", "node", "port"]),
    (
        "http",
        &["auth", "bus", "config", "control", "domain", "metrics", "node", "revocations", "supervisor", "telemetry"],
    ),
    ("shutdown", &[]),
    ("telemetry", &["config"]),
    (
        "app",
        &[
            "auth",
            "bus",
            "calls",
            "config",
            "control",
            "formats",
            "http",
            "log",
            "metrics",
            "node",
            "operators",
            "presence",
            "redis",
            "revocations",
            "routes",
            "sessions",
            "socket",
            "supervisor",
            "telemetry",
        ],
    ),
    ("process", &["app", "config", "shutdown", "telemetry"]),
    ("main", &["auth", "config", "domain", "process", "redis", "routes"]),
];

/// Types that only the composition root may name, with the folders that define them.
const BACKENDS: &[(&str, &str)] = &[
    ("MemoryLog", "log"),
    ("RedisLog", "log"),
    ("SqliteLog", "log"),
    ("MemoryPlaces", "presence"),
    ("MemoryPresence", "presence"),
    ("RedisPresence", "presence"),
    ("MemorySessions", "sessions"),
    ("RedisSessions", "sessions"),
    ("SqliteSessions", "sessions"),
    ("MemoryRevocations", "revocations"),
    ("RedisRevocations", "revocations"),
    ("SqliteRevocations", "revocations"),
    ("MemoryBus", "bus"),
    ("MemoryHub", "bus"),
    ("RedisBus", "bus"),
    ("Commands", "redis"),
    ("Pipeline", "redis"),
    ("Database", "sqlite"),
];

/// Libraries that belong to one place.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("socketioxide", &["operators"]),
    ("socketioxide_core", &["operators"]),
    ("socketioxide_redis", &["operators"]),
    ("engineioxide", &["operators"]),
    ("use engine", &["socket"]),
    ("fred", &["bus"]),
    ("deadpool", &["redis"]),
    ("deadpool_redis", &["redis", "log", "presence", "revocations", "sessions"]),
    ("sqlx", &["sqlite", "log", "revocations", "sessions"]),
    ("governor", &["node"]),
    ("jsonwebtoken", &["auth"]),
    ("reqwest", &["auth", "calls"]),
    ("backon", &["auth", "calls"]),
    ("flate2", &["http"]),
    ("ppp", &["socket"]),
];

/// Files, or folders of files, that another module uses and that must not use it: two files in a circle are one file.
const ONE_WAY: &[(&str, &str)] = &[
    ("src/routes/context.rs", "run"),
    ("src/routes/context.rs", "table"),
    ("src/routes/actions/", "run"),
    ("src/routes/actions/", "table"),
    ("src/routes/reader/", "actions"),
    ("src/routes/reader/", "table"),
    ("src/routes/template/", "reader"),
    ("src/routes/table/", "run"),
];

/// The parts of the node and what lies below them, each with what of the node it may name: all of it, or one thing. Every
/// other file of the node is the facade's: it may name all of these, and none of these may name it.
const OF_THE_NODE: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("limits", &[]),
    ("peers", &[]),
    ("troubles", &[]),
    ("wanted", &[]),
    ("session", &["limits"]),
    ("rooms", &["clock", "limits", "session", "troubles", "wanted"]),
    ("comebacks", &["rooms::Marks", "session", "troubles", "wanted"]),
    ("attendance", &["comebacks::Connected", "session", "troubles", "wanted"]),
];

struct Source {
    path: PathBuf,
    part: String,
    /// Without comments: prose may name anything.
    code: String,
    text: String,
}

/// What the engine must know nothing of. It may have words for these things in comments.
const UNKNOWN_TO_THE_ENGINE: &[&str] = &[
    "gateway",
    "axum",
    "fred",
    "redis",
    "deadpool_redis",
    "socketioxide",
    "governor",
    "metrics",
    "room",
    "rooms",
    "route",
];

fn sources() -> Vec<Source> {
    sources_in("src")
}

/// The files of a folder of this package.
fn sources_in(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files = Vec::new();
    collect(&root, &mut files);
    files
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let relative = path.strip_prefix(&root).unwrap();
            let first = relative.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
            Source { part: first.trim_end_matches(".rs").to_owned(), code, text, path }
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The identifiers that stand right after `prefix`.
fn named_after<'a>(code: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    code.match_indices(prefix).filter_map(move |(at, _)| {
        let before = code[..at].chars().next_back();
        let rest = &code[at + prefix.len()..];
        let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(rest.len());
        let is_word = !before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_' || letter == ':');
        (is_word && end > 0).then(|| &rest[..end])
    })
}

/// Whether a word stands in the code as a path's beginning or a type.
fn names(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let boundary = |letter: Option<char>| !letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
        boundary(code[..at].chars().next_back()) && boundary(code[at + word.len()..].chars().next())
    })
}

#[test]
fn dependencies_point_one_way() {
    let mut violations = Vec::new();
    for source in sources() {
        if source.part == "lib" {
            continue;
        }
        let Some((_, allowed)) = MAY_NAME.iter().find(|(part, _)| *part == source.part) else {
            violations.push(format!("{}: {} is not in the table", source.path.display(), source.part));
            continue;
        };
        let prefix = if source.part == "main" { "gateway::" } else { "crate::" };
        for named in named_after(&source.code, prefix) {
            if named != source.part && !allowed.contains(&named) {
                violations.push(format!("{}: {} may not name {named}", source.path.display(), source.part));
            }
        }
        if named_after(&source.code, "crate::{").next().is_some() {
            violations.push(format!("{}: one `use crate::part::…` line for each part", source.path.display()));
        }
        if source.code.contains("super::super::super") {
            violations.push(format!("{}: name the part by crate:: instead of climbing", source.path.display()));
        }
    }
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn files_that_left_a_circle_stay_out_of_it() {
    let sources = sources();
    for (place, module) in ONE_WAY {
        let here: Vec<_> = sources.iter().filter(|source| source.path.to_string_lossy().contains(place)).collect();
        assert!(!here.is_empty(), "{place} is not there any more");
        for source in here {
            let imports = source.code.lines().filter(|line| line.starts_with("use "));
            let names_it = imports.flat_map(|line| line.split("::")).any(|word| word == *module);
            assert!(!names_it, "{} uses {module}, which uses it", source.path.display());
        }
    }
}

/// What a file of the node, given by its path below `node`, names of other parts of it and may not.
fn reaches_across(path: &str, code: &str) -> Vec<String> {
    let modules = path.trim_end_matches(".rs").trim_end_matches("/mod");
    let (part, depth) = (modules.split('/').next().unwrap_or_default(), modules.split('/').count());
    let Some((_, allowed)) = OF_THE_NODE.iter().find(|(name, _)| *name == part) else { return Vec::new() };
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::node") {
        let rest = &code[at + "crate::node".len()..];
        // `pub(in crate::node)` says who may name it, not what it names.
        if rest.starts_with(')') {
            continue;
        }
        let is_part = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
        let named = &rest[..rest.find(|letter| !is_part(letter)).unwrap_or(rest.len())];
        let mut words = named.trim_start_matches("::").split("::");
        let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let one_thing = format!("{first}::{second}");
        if first != part && !allowed.contains(&first) && !allowed.contains(&one_thing.as_str()) {
            found.push(format!("{path}: {part} may not name {first}, or not all of it"));
        }
    }
    // A module of tests is one deeper than its file.
    let (code, tests) = code.split_once("mod tests {").unwrap_or((code, ""));
    let climbs = |code: &str, levels: usize| code.contains(&"super::".repeat(levels));
    if climbs(code, depth) || climbs(tests, depth + 1) {
        found.push(format!("{path}: what is outside of {part} is named by crate::node::"));
    }
    found
}

#[test]
fn the_parts_of_the_node_know_each_other_in_one_direction() {
    let node = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/node");
    let mut gone: Vec<_> = OF_THE_NODE.iter().map(|(part, _)| *part).collect();
    let mut violations = Vec::new();
    for source in sources().iter().filter(|source| source.part == "node") {
        let path = source.path.strip_prefix(&node).unwrap().to_str().unwrap();
        gone.retain(|part| path != format!("{part}.rs") && !path.starts_with(&format!("{part}/")));
        violations.extend(reaches_across(path, &source.code));
    }
    violations.extend(gone.iter().map(|part| format!("{part} is not there any more")));
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn whoever_reaches_across_the_parts_of_the_node_is_noticed() {
    let across = [
        ("rooms/fanout.rs", "use crate::node::attendance::Turn;"),
        ("rooms/fanout.rs", "use crate::node::Node;"),
        ("rooms/fanout.rs", "use crate::node::{self, Session};"),
        ("rooms/fanout.rs", "use crate::node;"),
        ("rooms/mod.rs", "fn all(them: &super::comebacks::Roster) {}"),
        ("rooms/hub/shard.rs", "use super::super::super::Node;"),
        ("session/gate/mod.rs", "use crate::node::rooms::Missed;"),
        ("comebacks/mod.rs", "use crate::node::rooms::Missed;"),
        ("comebacks/mod.rs", "use crate::node::rooms::{Marks, Missed};"),
        ("attendance/beat.rs", "use crate::node::comebacks::Roster;"),
        ("wanted.rs", "use super::Session;"),
        ("peers.rs", "mod tests { use super::super::Node;"),
    ];
    for (path, code) in across {
        assert!(!reaches_across(path, code).is_empty(), "{path}: {code}");
    }
    let at_home = [
        ("membership.rs", "use super::rooms::Missed; use crate::node::attendance::Turn;"),
        ("rooms/fanout.rs", "use super::Rooms; pub(in crate::node) fn run() {}"),
        ("rooms/hub/shard.rs", "use super::super::Rooms; pub(in crate::node::rooms) fn run() {}"),
        ("comebacks/mod.rs", "use crate::node::rooms::Marks;"),
        ("peers.rs", "mod tests { use super::*;"),
    ];
    for (path, code) in at_home {
        assert_eq!(reaches_across(path, code), Vec::<String>::new());
    }
}

#[test]
fn only_the_composition_root_names_backends() {
    let mut violations = Vec::new();
    for source in sources() {
        for &(backend, home) in BACKENDS {
            let is_built_on_it = ["log", "presence", "revocations", "sessions"].contains(&source.part.as_str())
                && ["redis", "sqlite"].contains(&home);
            if source.part != home && source.part != "app" && !is_built_on_it && names(&source.code, backend) {
                violations.push(format!("{} names {backend}", source.path.display()));
            }
        }
    }
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn libraries_stay_in_their_place() {
    let mut violations = Vec::new();
    for source in sources() {
        for &(library, homes) in LIBRARIES {
            if !homes.contains(&source.part.as_str()) && names(&source.code, library) {
                violations.push(format!("{} names {library}", source.path.display()));
            }
        }
    }
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

/// Where tasks are begun that nobody supervises, how many there are, and why each of them ends by itself. What must go on
/// as long as the node does belongs under the supervisor.
const ENDING_TASKS: &[(&str, usize, &str)] = &[
    ("src/auth/jwks.rs", 1, "a fetch has a timeout"),
    ("src/bus/redis/link.rs", 1, "watches a connection, and its end is the connection's"),
    ("src/bus/redis/listener.rs", 1, "what one connection is asked, until it is over"),
    ("src/http/serving.rs", 1, "until the connection ends"),
    ("src/node/attendance/beat.rs", 1, "settles what is owed, once"),
    ("src/node/comebacks/mod.rs", 1, "releases a session"),
    ("src/node/membership.rs", 1, "gives up what a session was counted in"),
    ("src/node/rooms/mod.rs", 1, "the threads of shards, supervised"),
    ("src/node/rooms/typing.rs", 2, "until the typing is over; tells what ended"),
    ("src/node/session/gate/hold.rs", 1, "hands over what waits"),
    ("src/operators/mod.rs", 1, "hears of the stop by itself, supervised"),
    ("src/operators/driver.rs", 1, "until the adapter or the bus lets go of the channel, with the listener"),
    ("src/revocations/redis.rs", 1, "until it has subscribed"),
    ("src/routes/later.rs", 1, "after a delay, once"),
    ("src/sessions/redis.rs", 1, "until it has subscribed"),
    ("src/socket/guest.rs", 1, "admits a client"),
    ("src/socket/inlet.rs", 3, "a session's queue, its pause, its greeting"),
    ("src/socket/listener.rs", 1, "until the connection ends"),
    ("src/socket/welcome.rs", 2, "stores a session, or fails to; waits for that"),
    ("src/recurring.rs", 1, "until nothing has come up for a while"),
    ("src/supervisor.rs", 5, "the supervisor's own"),
    ("engine/src/server.rs", 1, "until the connection ends"),
];

#[test]
fn what_must_not_end_is_supervised() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let gone = ENDING_TASKS.iter().filter(|(file, ..)| !root.join(file).exists());
    let mut violations: Vec<_> = gone.map(|(file, ..)| format!("{file} is not there")).collect();
    for source in sources().into_iter().chain(sources_in("engine/src")) {
        let code = source.code.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let is_test = source.path.ends_with("tests.rs") || source.path.ends_with("model.rs");
        // `tokio::spawn(…)`, `tasks.spawn(…)`, `thread.spawn(…)`: whatever is spawned, and by whom.
        let found =
            if is_test { 0 } else { code.matches("spawn(").count() + code.matches("run_until_cancelled").count() };
        let path = source.path.strip_prefix(root).unwrap().to_str().unwrap();
        let listed = ENDING_TASKS.iter().find(|(file, ..)| *file == path).map_or(0, |(_, count, _)| *count);
        if found != listed {
            violations.push(format!("{path} begins {found} tasks of its own, {listed} are known to end"));
        }
    }
    assert!(violations.is_empty(), "run them under the supervisor, or say why they end:\n{}", violations.join("\n"));
}

#[test]
fn the_engine_knows_nothing_of_the_gateway() {
    let mut violations = Vec::new();
    for source in sources_in("engine/src") {
        for word in UNKNOWN_TO_THE_ENGINE.iter().filter(|word| names(&source.code, word)) {
            violations.push(format!("{} names {word}", source.path.display()));
        }
    }
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("engine/Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    for line in manifest.lines().filter(|line| !line.starts_with("description")) {
        for word in UNKNOWN_TO_THE_ENGINE.iter().filter(|word| line.starts_with(&word.replace('_', "-"))) {
            violations.push(format!("engine/Cargo.toml names {word}"));
        }
    }
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    let all = sources().into_iter().chain(sources_in("engine/src"));
    let silent: Vec<_> = all.filter(|source| !source.text.starts_with("//! ")).collect();
    let paths: Vec<_> = silent.iter().map(|source| source.path.display().to_string()).collect();
    assert!(paths.is_empty(), "these do not begin with a `//!` sentence: {paths:#?}");
}

#[test]
fn files_stay_readable() {
    /// Over this a file needs a reason, and there is none yet.
    const LINES: usize = 400;
    let all = sources().into_iter().chain(sources_in("engine/src"));
    let long: Vec<_> = all.filter(|source| source.text.lines().count() > LINES).collect();
    let paths: Vec<_> = long.iter().map(|source| source.path.display().to_string()).collect();
    assert!(paths.is_empty(), "longer than {LINES} lines: {paths:#?}");
}

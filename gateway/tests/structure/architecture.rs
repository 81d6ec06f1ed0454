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
    ("content", &["config", "domain"]),
    ("auth", &["calls", "config", "content", "domain", "metrics", "port", "recurring", "revocations", "traces"]),
    ("supervisor", &[]),
    ("formats", &[]),
    ("recurring", &[]),
    ("traces", &[]),
    ("port", &[]),
    ("dates", &[]),
    ("redis", &["config", "domain", "metrics", "port", "supervisor"]),
    ("sqlite", &["port"]),
    ("caching", &["metrics"]),
    ("answers", &["port", "redis"]),
    ("bus", &["config", "metrics", "port", "recurring", "redis", "supervisor"]),
    ("calls", &["answers", "caching", "config", "domain", "metrics", "port", "recurring", "traces"]),
    ("outbox", &["dates", "domain", "port", "recurring", "redis", "sqlite", "traces"]),
    ("log", &["bus", "dates", "domain", "outbox", "port", "recurring", "redis", "sqlite", "supervisor", "traces"]),
    ("presence", &["caching", "config", "domain", "formats", "metrics", "outbox", "port", "redis"]),
    ("sessions", &["bus", "dates", "domain", "formats", "port", "redis", "sqlite"]),
    ("revocations", &["bus", "domain", "port", "redis", "sqlite"]),
    ("repeats", &["dates", "port", "redis", "sqlite"]),
    ("archive", &["domain", "log", "outbox", "port"]),
    ("notifications", &["bus", "caching", "domain", "metrics", "port"]),
    ("jobs", &["dates", "port", "sqlite", "traces"]),
    ("desk", &["config", "content", "domain", "jobs", "metrics", "node", "port", "recurring", "traces"]),
    (
        "kinds",
        &[
            "archiving",
            "calls",
            "config",
            "content",
            "desk",
            "domain",
            "hooks",
            "inbox",
            "jobs",
            "log",
            "metrics",
            "node",
            "traces",
        ],
    ),
    ("bullmq", &["jobs", "port", "recurring", "redis", "traces"]),
    ("ticks", &["port", "redis", "sqlite"]),
    ("contacts", &["domain", "port", "redis", "sqlite"]),
    ("whereabouts", &["config", "port", "redis"]),
    ("once", &["jobs", "repeats"]),
    ("mail", &["config", "jobs", "kinds", "metrics", "once", "recurring", "traces"]),
    ("novu", &["calls", "config", "domain", "jobs", "kinds", "mail", "metrics", "once"]),
    ("schedules", &["config", "domain", "jobs", "kinds", "metrics", "port", "recurring", "ticks"]),
    (
        "absent",
        &[
            "auth",
            "config",
            "contacts",
            "control",
            "domain",
            "inbox",
            "jobs",
            "kinds",
            "mail",
            "metrics",
            "node",
            "notifications",
            "port",
            "recurring",
        ],
    ),
    (
        "inbox",
        &[
            "config",
            "content",
            "domain",
            "jobs",
            "log",
            "metrics",
            "node",
            "notifications",
            "port",
            "recurring",
            "traces",
        ],
    ),
    (
        "node",
        &[
            "archive",
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
    ("archiving", &["archive", "config", "domain", "log", "metrics", "outbox", "port", "recurring", "traces"]),
    ("hooks", &["calls", "config", "domain", "metrics", "outbox", "port", "recurring", "routes", "traces"]),
    (
        "routes",
        &[
            "auth",
            "calls",
            "config",
            "content",
            "desk",
            "domain",
            "inbox",
            "jobs",
            "log",
            "metrics",
            "node",
            "notifications",
            "outbox",
            "presence",
            "recurring",
            "traces",
        ],
    ),
    ("balance", &["bus", "config", "metrics", "node", "recurring"]),
    ("control", &["bus", "domain", "metrics", "node", "port", "sessions"]),
    (
        "service",
        &[
            "archive",
            "asks",
            "auth",
            "contacts",
            "content",
            "control",
            "desk",
            "domain",
            "formats",
            "inbox",
            "jobs",
            "log",
            "metrics",
            "node",
            "port",
            "notifications",
            "presence",
            "revocations",
        ],
    ),
    (
        "emitters",
        &[
            "bus",
            "config",
            "content",
            "domain",
            "formats",
            "log",
            "metrics",
            "node",
            "port",
            "recurring",
            "redis",
            "supervisor",
        ],
    ),
    (
        "socket",
        &[
            "auth",
            "balance",
            "config",
            "content",
            "domain",
            "metrics",
            "node",
            "port",
            "recurring",
            "routes",
            "sessions",
            "supervisor",
            "whereabouts",
        ],
    ),
    ("asks", &["bus", "config", "content", "domain", "metrics", "node", "port"]),
    (
        "operators",
        &["audit", "auth", "bus", "config", "content", "control", "domain", "metrics", "node", "port", "routes"],
    ),
    (
        "http",
        &[
            "absent",
            "audit",
            "auth",
            "balance",
            "bus",
            "config",
            "contacts",
            "content",
            "control",
            "desk",
            "domain",
            "hooks",
            "inbox",
            "jobs",
            "mail",
            "metrics",
            "node",
            "outbox",
            "port",
            "repeats",
            "revocations",
            "routes",
            "schedules",
            "service",
            "supervisor",
            "ticks",
            "traces",
        ],
    ),
    ("store", &["archive", "config", "dates", "domain", "log", "notifications", "port", "sqlite"]),
    ("shutdown", &[]),
    ("audit", &["auth"]),
    ("collector", &["calls", "config", "metrics", "recurring", "supervisor", "traces"]),
    ("telemetry", &["audit", "config", "traces"]),
    (
        "app",
        &[
            "absent",
            "answers",
            "archive",
            "archiving",
            "asks",
            "audit",
            "auth",
            "balance",
            "bullmq",
            "bus",
            "calls",
            "collector",
            "config",
            "contacts",
            "content",
            "control",
            "desk",
            "domain",
            "emitters",
            "formats",
            "hooks",
            "http",
            "inbox",
            "jobs",
            "log",
            "mail",
            "metrics",
            "node",
            "notifications",
            "novu",
            "once",
            "operators",
            "outbox",
            "presence",
            "redis",
            "repeats",
            "revocations",
            "routes",
            "schedules",
            "service",
            "sessions",
            "socket",
            "supervisor",
            "ticks",
            "whereabouts",
        ],
    ),
    ("exchange", &["archiving", "config", "domain", "outbox", "process"]),
    ("process", &["app", "config", "shutdown", "telemetry"]),
    ("plan", &["config", "process"]),
    ("doctor", &["auth", "config", "domain", "mail", "process", "redis"]),
    ("main", &["auth", "config", "doctor", "domain", "exchange", "metrics", "plan", "process"]),
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
    ("MemoryRepeats", "repeats"),
    ("RedisRepeats", "repeats"),
    ("SqliteRepeats", "repeats"),
    ("RedisAnswers", "answers"),
    ("MemoryOutbox", "outbox"),
    ("RedisOutbox", "outbox"),
    ("SqliteOutbox", "outbox"),
    ("MemoryArchive", "archive"),
    ("MemoryNotifications", "notifications"),
    ("MemoryJobs", "jobs"),
    ("SqliteJobs", "jobs"),
    ("BullJobs", "bullmq"),
    ("MemoryTicks", "ticks"),
    ("RedisTicks", "ticks"),
    ("SqliteTicks", "ticks"),
    ("MemoryContacts", "contacts"),
    ("RedisContacts", "contacts"),
    ("RedisWhereabouts", "whereabouts"),
    ("SqliteContacts", "contacts"),
    ("SqliteArchive", "store"),
    ("SqliteNotifications", "store"),
    ("PostgresArchive", "store"),
    ("PostgresNotifications", "store"),
    ("MongoArchive", "store"),
    ("MongoNotifications", "store"),
    ("MemoryBus", "bus"),
    ("MemoryHub", "bus"),
    ("RedisBus", "bus"),
    ("Commands", "redis"),
    ("Pipeline", "redis"),
    ("Database", "sqlite"),
];

/// Parts whose backends are built on Redis and on files.
const BUILT_ON_STORES: &[&str] = &[
    "answers",
    "bullmq",
    "contacts",
    "emitters",
    "jobs",
    "log",
    "outbox",
    "presence",
    "repeats",
    "revocations",
    "sessions",
    "ticks",
    "whereabouts",
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
    (
        "deadpool_redis",
        &[
            "redis",
            "answers",
            "contacts",
            "emitters",
            "log",
            "outbox",
            "presence",
            "repeats",
            "revocations",
            "sessions",
            "ticks",
            "whereabouts",
        ],
    ),
    ("sqlx", &["sqlite", "contacts", "jobs", "log", "outbox", "repeats", "revocations", "sessions", "store", "ticks"]),
    ("use bullmq", &["bullmq"]),
    ("use mongodb", &["store"]),
    ("gateway_store", &["app", "doctor", "exchange", "process"]),
    ("governor", &["node"]),
    ("jsonwebtoken", &["auth"]),
    ("reqwest", &["auth", "calls"]),
    ("backon", &["auth", "calls"]),
    ("flate2", &["http"]),
    ("lettre", &["mail"]),
    ("minijinja", &["mail"]),
    ("croner", &["schedules"]),
    ("jiff", &["absent", "schedules"]),
    ("ppp", &["socket"]),
    ("tokio_tungstenite", &["doctor"]),
    ("tokio_rustls", &["doctor"]),
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

/// Parts that files of one place may not name, although their part may.
const UNKNOWN_TO: &[(&str, &[&str])] = &[
    (
        "src/http/api",
        &["bus", "control", "desk", "inbox", "jobs", "log", "node", "presence", "revocations", "routes", "sessions"],
    ),
    ("src/http/users", &["bus", "control", "log", "presence", "revocations", "sessions"]),
];

/// The parts of the node and what lies below them, each with what of the node it may name: all of it, or one thing. Every
/// other file of the node is the facade's: it may name all of these, and none of these may name it.
const OF_THE_NODE: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("limits", &[]),
    ("namespaces", &[]),
    ("peers", &[]),
    ("sights", &[]),
    ("troubles", &[]),
    ("wanted", &[]),
    ("session", &["clock", "limits"]),
    ("rooms", &["clock", "limits", "session", "sights", "troubles", "wanted"]),
    ("comebacks", &["namespaces", "rooms::Marks", "session", "troubles", "wanted"]),
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

/// The files of the crates that have parts, below this package's folder.
const CRATES: &[&str] = &["src", "core/src", "store/src", "work/src"];

/// How a file names a part: of its own crate, or of another.
const PATHS: &[&str] = &["crate::", "gateway_core::", "gateway_work::"];

/// All of them but the engine.
fn sources() -> Vec<Source> {
    CRATES.iter().flat_map(|folder| sources_in(folder)).collect()
}

/// The engine's too.
fn all_sources() -> impl Iterator<Item = Source> {
    sources().into_iter().chain(sources_in("engine/src"))
}

/// The parts that a file names, its own among them.
fn parts_named(source: &Source) -> impl Iterator<Item = &str> {
    // The databases are one part: what is inside has names of its own.
    let paths = PATHS.iter().filter(|path| source.part != "store" || **path != "crate::");
    paths.flat_map(move |path| named_after(&source.code, path))
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
            let part = match (folder, first.trim_end_matches(".rs")) {
                ("store/src", _) => "store",
                // The port and those who do what waits in it have one name.
                ("work/src", "jobs") => "kinds",
                (_, first) => first,
            };
            let part = part.to_owned();
            Source { part, code, text, path }
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
        let of_main = named_after(&source.code, "gateway::").filter(|_| source.part == "main");
        for named in parts_named(&source).chain(of_main) {
            if named != source.part && !allowed.contains(&named) {
                violations.push(format!("{}: {} may not name {named}", source.path.display(), source.part));
            }
        }
        let is_inside = |path: &str| source.part == "store" && path == "crate::";
        if PATHS.iter().any(|path| !is_inside(path) && source.code.contains(&format!("use {path}{{"))) {
            violations.push(format!("{}: one `use` line for each part", source.path.display()));
        }
        if source.code.contains("super::super::super") {
            violations.push(format!("{}: name the part by crate:: instead of climbing", source.path.display()));
        }
    }
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn places_know_no_more_than_they_need() {
    let sources = sources();
    for (place, unknown) in UNKNOWN_TO {
        let here: Vec<_> = sources.iter().filter(|source| source.path.to_string_lossy().contains(place)).collect();
        assert!(!here.is_empty(), "{place} is not there any more");
        for source in here {
            let named = parts_named(source).find(|named| unknown.contains(named));
            assert_eq!(named, None, "in {}", source.path.display());
        }
    }
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
    let node = Path::new(env!("CARGO_MANIFEST_DIR")).join("core/src/node");
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
            let is_built_on_it = BUILT_ON_STORES.contains(&source.part.as_str()) && ["redis", "sqlite"].contains(&home);
            // What is appended to a file is told in the same transaction.
            let is_built_on_it = is_built_on_it || (source.part == "log" && backend == "SqliteOutbox");
            // What has all databases has what stands for one, and files.
            let of_databases = ["archive", "notifications", "sqlite"].contains(&home);
            let is_built_on_it = is_built_on_it || (source.part == "store" && of_databases);
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
    ("core/src/auth/jwks.rs", 1, "a fetch has a timeout"),
    ("core/src/bus/redis/link.rs", 1, "watches a connection, and its end is the connection's"),
    ("core/src/bus/redis/listener.rs", 1, "what one connection is asked, until it is over"),
    ("core/src/jobs/shift.rs", 1, "a job, until it ends or its worker does"),
    ("core/src/jobs/worker.rs", 1, "a worker, until it is stopped or dropped; who has it is told if it ends before"),
    ("work/src/archiving/mod.rs", 1, "forgets until its stop; a part of the supervised task of the archive"),
    ("work/src/archiving/writer.rs", 1, "writes until its stop, and lets go; a part of that task"),
    ("work/src/bullmq/crew.rs", 1, "closes a worker that was let go of"),
    ("work/src/bullmq/duty.rs", 1, "a worker that was replaced, until what it has begun has ended"),
    ("work/src/hooks/courier.rs", 1, "until its hook is gone; a part of the supervised task of all hooks"),
    ("work/src/hooks/mod.rs", 2, "parts of that task, which waits for its stop by itself"),
    ("src/http/serving.rs", 1, "until the connection ends"),
    ("core/src/node/attendance/beat.rs", 1, "settles what is owed, once"),
    ("core/src/node/comebacks/mod.rs", 1, "releases a session"),
    ("core/src/node/membership.rs", 1, "gives up what a session was counted in"),
    ("core/src/node/rooms/mod.rs", 1, "the threads of shards, supervised"),
    ("core/src/node/rooms/typing.rs", 2, "until the typing is over; tells what ended"),
    ("core/src/node/session/gate/hold.rs", 1, "hands over what waits"),
    ("core/src/node/tap.rs", 1, "hands over what a reader missed"),
    ("src/operators/mod.rs", 1, "hears of the stop by itself, supervised"),
    ("src/operators/admit.rs", 1, "tells an operator of all sessions, once"),
    ("src/operators/wishes.rs", 1, "does what an operator wishes, until its socket is gone"),
    ("src/operators/tails.rs", 1, "until the tail is ended or its operator is gone"),
    ("src/app/orders.rs", 3, "stays empty until it is resumed or stops; tells that it is back, once"),
    ("src/operators/driver.rs", 1, "until the adapter or the bus lets go of the channel, with the listener"),
    ("core/src/revocations/redis.rs", 1, "until it has subscribed"),
    ("core/src/routes/later.rs", 1, "after a delay, once"),
    ("core/src/sessions/redis.rs", 1, "until it has subscribed"),
    ("src/socket/guest.rs", 1, "admits a client"),
    ("src/socket/inlet.rs", 4, "a session's queue, its pause, its greeting, its departure"),
    ("src/socket/listener.rs", 1, "until the connection ends"),
    ("src/socket/welcome.rs", 2, "stores a session, or fails to; waits for that"),
    ("core/src/recurring.rs", 1, "until nothing has come up for a while"),
    ("core/src/supervisor.rs", 5, "the supervisor's own"),
    ("src/http/passing.rs", 1, "until the other node's connection ends"),
    ("engine/src/opening.rs", 1, "until the connection ends"),
    ("engine/src/passing/tunnel.rs", 1, "until either end of the tunnel does"),
];

#[test]
fn what_must_not_end_is_supervised() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let gone = ENDING_TASKS.iter().filter(|(file, ..)| !root.join(file).exists());
    let mut violations: Vec<_> = gone.map(|(file, ..)| format!("{file} is not there")).collect();
    for source in all_sources() {
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
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

/// What crates may not depend on: a crate is opened for what must not know.
const NOT_NEEDED_BY: &[(&str, &[&str])] = &[
    ("engine", UNKNOWN_TO_THE_ENGINE),
    (
        "store",
        &["gateway-work", "engine", "axum", "hyper", "socketioxide", "utoipa", "fred", "deadpool", "reqwest", "bullmq"],
    ),
    (
        "core",
        &[
            "gateway-store",
            "gateway-work",
            "bullmq",
            "mongodb",
            "engine",
            "axum",
            "hyper",
            "socketioxide",
            "utoipa",
            "flate2",
            "ppp",
        ],
    ),
    ("work", &["engine", "axum", "hyper", "socketioxide", "utoipa", "fred", "deadpool", "reqwest", "sqlx"]),
];

#[test]
fn crates_depend_on_what_they_may_know() {
    let mut violations = Vec::new();
    for (krate, unknown) in NOT_NEEDED_BY {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join(krate).join("Cargo.toml");
        let manifest = fs::read_to_string(manifest).unwrap();
        let dependencies = manifest.split_once("[dependencies]").unwrap().1;
        for word in unknown.iter().map(|word| word.replace('_', "-")) {
            if dependencies.lines().any(|line| line.starts_with(&word)) {
                violations.push(format!("{krate}/Cargo.toml names {word}"));
            }
        }
    }
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    let all = all_sources();
    let silent: Vec<_> = all.filter(|source| !source.text.starts_with("//! ")).collect();
    let paths: Vec<_> = silent.iter().map(|source| source.path.display().to_string()).collect();
    assert!(paths.is_empty(), "these do not begin with a `//!` sentence: {paths:#?}");
}

#[test]
fn files_stay_readable() {
    /// Over this a file needs a reason, and there is none yet.
    const LINES: usize = 400;
    let all = all_sources();
    let long: Vec<_> = all.filter(|source| source.text.lines().count() > LINES).collect();
    let paths: Vec<_> = long.iter().map(|source| source.path.display().to_string()).collect();
    assert!(paths.is_empty(), "longer than {LINES} lines: {paths:#?}");
}

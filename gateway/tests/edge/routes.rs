//! Routes from the outside: the documentation compiles and names everything, profiles load, `gateway check` shows them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use gateway_core::routes::{Action, Lifecycle, RouteTable};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The fenced blocks of a language, each with the line where it begins.
fn blocks(document: &str, language: &str) -> Vec<(usize, String)> {
    let fence = format!("```{language}");
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in document.lines().enumerate() {
        match &mut open {
            None if line == fence => open = Some((index + 2, String::new())),
            Some(_) if line == "```" => found.extend(open.take()),
            Some((_, text)) => {
                text.push_str(line);
                text.push('\n');
            }
            None => {}
        }
    }
    found
}

#[test]
fn every_route_table_of_the_documentation_compiles() {
    let mut compiled = 0;
    for path in ["docs/routes.md", "docs/protocol.md"] {
        for (line, text) in blocks(&read(path), "toml") {
            if text.contains("[[route]]") || text.contains("[messages]") {
                let name = format!("{path} from line {line}");
                RouteTable::parse("none", &name, &text).unwrap_or_else(|error| panic!("{error}"));
                compiled += 1;
            }
        }
    }
    assert!(compiled >= 6, "only {compiled} tables were found");
}

#[test]
fn the_documentation_names_every_action_profile_and_lifecycle_event() {
    let document = read("docs/routes.md");
    for action in Action::NAMES {
        assert!(document.contains(&format!("| **{action}** |")), "{action}");
    }
    for profile in RouteTable::profiles() {
        assert!(document.contains(&format!("\n### {profile}\n")), "{profile}");
    }
    for lifecycle in Lifecycle::ALL {
        assert!(document.contains(&format!("| `{}` |", lifecycle.name())), "{}", lifecycle.name());
    }
}

/// Every event that a profile routes stands in its section of the documentation.
#[test]
fn the_documentation_names_every_event_of_the_profiles() {
    let document = read("docs/routes.md");
    for profile in RouteTable::profiles() {
        let (_, section) = document.split_once(&format!("\n### {profile}\n")).unwrap();
        let section = section.split("\n### ").next().unwrap();
        let table = RouteTable::load(profile, None).unwrap();
        for route in table.namespaces().flat_map(|namespace| namespace.routes()) {
            let event = &*route.event;
            assert!(event.starts_with('$') || section.contains(&format!("`{event}")), "{profile}: {event}");
        }
    }
}

/// Profiles explain themselves in their first lines, and none is forgotten in the binary.
#[test]
fn every_profile_comes_with_the_gateway_and_says_what_it_is_for() {
    let folder = root().join("gateway/profiles");
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let names: Vec<_> = files.iter().map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    let mut known: Vec<_> = RouteTable::profiles().collect();
    known.sort_unstable();
    assert_eq!(names, known);
    for file in files {
        assert!(fs::read_to_string(&file).unwrap().starts_with("# "), "{}", file.display());
    }
}

fn check(config: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command.env_clear().args(["check", "--config"]).arg(config).output().unwrap()
}

#[test]
fn check_prints_the_table_as_comments_of_a_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("gateway.toml");
    fs::write(&config, "profile = \"lobby\"\ninclude = [\"more.toml\"]\n").unwrap();
    fs::write(folder.path().join("more.toml"), "\n[[route]]\nevent = \"msg\"\naction = \"log\"\nmessage = \"{arg}\"\n")
        .unwrap();
    let output = check(&config);
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    for part in
        ["# namespace /my-namespace", "after 4s signal to self", "log {arg} at info; allow anyone; ", "more.toml:3"]
    {
        assert!(shown.contains(part), "{shown} does not have {part:?}");
    }
    // What is printed can be read again.
    fs::write(&config, shown).unwrap();
    assert!(check(&config).status.success());
}

#[test]
fn check_lists_every_mistake_and_fails() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("gateway.toml");
    fs::write(
        &config,
        "profile = \"none\"\n[[route]]\nevent = \"a\"\naction = \"fly\"\n[[route]]\nevent = \"\"\naction = \"join\"\n",
    )
    .unwrap();
    let output = check(&config);
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("gateway.toml:4: action: \"fly\"") && said.contains("gateway.toml:6: event: "), "{said}");
}

#[test]
fn check_tells_of_schedules_whose_jobs_nobody_could_do() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("gateway.toml");
    let checked = |kind: &str, data: &str, queue: &str| {
        let schedule = format!(
            "[[jobs.back_end]]\nname = \"shop\"\nurl = \"http://shop.example/\"\nsecrets = [\"0123456789abcdef\"]\n\
             [[jobs.queue]]\nname = \"theirs\"\nconcurrency = 0\n\
             [[schedule]]\nname = \"report\"\ncron = \"@daily\"\nqueue = \"{queue}\"\nkind = \"{kind}\"\ndata = {data}\n"
        );
        fs::write(&config, schedule).unwrap();
        let output = check(&config);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let fitting = [
        ("http", "{ to = \"shop\" }"),
        ("publish", "{ room = \"news\", event = \"said\", data = 1 }"),
        ("notify", "{ user = \"ann\", message = \"hello\" }"),
        ("upkeep", "{ of = \"notifications\" }"),
        ("mail", "{ to = \"ann@example.test\", subject = \"x\", text = \"y\" }"),
        ("novu", "{ name = \"flow\", to = { subscriberId = \"ann\" }, payload = {} }"),
    ];
    for (kind, data) in fitting {
        assert_eq!(checked(kind, data, "default").0, Some(0), "{kind} {data}: {}", checked(kind, data, "default").1);
        let (code, said) = checked(kind, "{ what = 1 }", "default");
        assert!(code == Some(64) && said.contains("schedule report: data: "), "{kind}: {code:?} {said}");
    }
    for (kind, data, word) in [
        ("http", "{ to = \"shp\" }", "there are: shop"),
        ("publish", "{ room = \"\", event = \"said\" }", "room"),
        ("publish", "{ room = \"news\", event = \"gateway:gap\" }", "gateway:"),
        ("notify", "{ users = [], message = 1 }", "1 to 1000"),
        ("upkeep", "{ of = \"archive\" }", "archive.rooms"),
        ("mail", "{ to = \"ann@example.test\", template = \"none\", data = {} }", "there is no template \"none\""),
        ("novu", "{ name = \"flow\", to = { subscriberId = \"a\", email = \"no\" }, payload = {} }", "to.email"),
        ("absent", "{ user = \"ann\" }", "nobody but the gateway"),
    ] {
        let (code, said) = checked(kind, data, "default");
        assert!(code == Some(64) && said.contains(word), "{kind} {data}: {code:?} {said}");
    }
    assert_eq!(checked("anything", "{ what = 1 }", "theirs").0, Some(0), "what others do is theirs to say");
}

/// A node in a process of its own says who may come in before it says that it is ready.
#[test]
fn a_start_that_lets_everybody_in_says_what_that_means() {
    let said = |secret: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command.env_clear().env("GATEWAY_LISTEN", "127.0.0.1:0").env("GATEWAY_ADMIN_LISTEN", "127.0.0.1:0");
        command.env("GATEWAY_DATA_DIR", "").env("GATEWAY_AUTH__SECRET", secret);
        let mut node = command.stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(node.stderr.take().unwrap()).lines().map(Result::unwrap);
        let mut said: Vec<String> = Vec::new();
        for line in lines {
            let is_ready = line.contains("ready");
            said.push(line);
            if is_ready {
                break;
            }
        }
        node.kill().unwrap();
        node.wait().unwrap();
        said.join("\n")
    };
    let open = said("");
    assert!(open.contains("every web page that is open in a browser here"), "{open}");
    assert!(open.contains("auth.secret") && open.contains("socket.origins"), "{open}");
    let closed = said("a secret for the tests only, long enough to be one");
    assert!(closed.contains("ready") && !closed.contains("web page"), "{closed}");
}

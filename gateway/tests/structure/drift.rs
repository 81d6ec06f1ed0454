//! What is said twice must agree: metrics, keys, codes and modules in the code and in every text that names them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use gateway_core::calls::{Asker, Caller, Endpoint, Source};
use gateway_core::domain::{Refusal, SessionId};
use serde_json::json;

use crate::support::client::Client;
use crate::support::{self, node};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Files that people and programs read, below folders that may name metrics, keys or codes.
fn texts(folders: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for folder in folders {
        let path = root().join(folder);
        if path.is_file() { found.push(path) } else { collect(&path, &mut found) }
    }
    assert!(!found.is_empty());
    found.into_iter().filter_map(|path| fs::read_to_string(&path).ok().map(|text| (path, text))).collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    let skipped = ["node_modules", "__pycache__", "target", "venv"];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if skipped.iter().any(|name| path.ends_with(name)) {
            continue;
        }
        if path.is_dir() { collect(&path, found) } else { found.push(path) }
    }
}

/// All words of a text that start with a prefix, and consist of the letters that names are made of.
fn words<'a>(text: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    text.split(|letter: char| !is_part(letter)).filter(|word| word.starts_with(prefix)).collect()
}

/// The metrics of a node that has done a bit of everything.
async fn live_metrics() -> BTreeSet<String> {
    let route = "[[route]]\nevent = \"tidy\"\naction = \"job\"\nkind = \"upkeep\"\ndata = { of = \"notifications\" }\n";
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    fs::write(file.path(), format!("{}{route}", read("gateway/profiles/native.toml"))).unwrap();
    let profile = file.path().to_str().unwrap();
    let node = node(&[("GATEWAY_CANARY__INTERVAL", "10ms"), ("GATEWAY_PROFILE", profile)]).await;
    let mut client = Client::connect(node.address).await;
    assert_eq!(client.ask("tidy", json!(null)).await["ok"], true);
    client.join("r").await;
    client.publish("r", json!(1)).await;
    client.message().await;
    support::eventually("the canary came back, and a job is done", || async {
        let text = node.metrics.render();
        ["gateway_canary_lag_seconds_count", "gateway_job_duration_seconds_count"]
            .iter()
            .all(|name| text.contains(name))
    })
    .await;
    // The port of a server that is gone: a call that fails is a call.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let caller = Caller::new(&support::config(&[]).calls, node.metrics.clone()).unwrap();
    let endpoint = Endpoint { attempts: 1, ..Endpoint::new(format!("http://{nobody}").parse().unwrap()) };
    let asker = Asker { session: SessionId::random(), source: Source::Gateway };
    caller.call(&endpoint, &asker, "1", "1".into()).await.unwrap_err();
    let text = node.metrics.render();
    let names = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['{', ' ']).next());
    names.filter(|name| name.starts_with("gateway_")).map(base).collect()
}

/// A metric's name without what histograms add to it.
fn base(name: &str) -> String {
    let suffixes = ["_bucket", "_count", "_sum"];
    suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_that_is_named_exists_and_every_one_that_exists_is_documented() {
    let live = live_metrics().await;
    // Tables have names of the same kind.
    let steps = ["gateway/store/src/postgres/schema.sql", "gateway/store/src/postgres/schema-2.sql"];
    let schema: String = steps.into_iter().map(read).collect();
    let tables = words(&schema, "gateway_");
    let mut unknown = Vec::new();
    for (path, text) in texts(&["grafana/dashboards", "grafana/rules", "docs", "README.md"]) {
        for word in words(&text, "gateway_") {
            if !live.contains(&base(word)) && !tables.contains(word) {
                unknown.push(format!("{} names {word}", path.display()));
            }
        }
    }
    assert!(unknown.is_empty(), "no node has these metrics:\n{}", unknown.join("\n"));
    let documented: BTreeSet<String> = words(&read("docs/metrics.md"), "gateway_").into_iter().map(base).collect();
    assert_eq!(live.difference(&documented).collect::<Vec<_>>(), Vec::<&String>::new(), "missing in docs/metrics.md");
}

#[test]
fn every_key_that_is_named_exists() {
    let defaults: toml::Table = gateway_core::config::DEFAULTS.parse().unwrap();
    let (mut keys, mut sections) = (BTreeSet::new(), vec![("GATEWAY_".to_owned(), &defaults)]);
    while let Some((prefix, section)) = sections.pop() {
        for (name, value) in section {
            match value {
                toml::Value::Table(section) => sections.push((format!("{prefix}{name}__"), section)),
                _ => drop(keys.insert(format!("{prefix}{name}").to_uppercase())),
            }
        }
    }
    // Read by the scripts around the gateway and never passed on to it.
    let foreign = ["GATEWAY_BIN"];
    let mut unknown = Vec::new();
    let folders = [
        "README.md",
        "docs",
        "deploy",
        "loadtest",
        "Makefile",
        ".ci",
        "gateway/tests/clients",
        "gateway/tests/browser",
        "examples",
    ];
    for (path, text) in texts(&folders) {
        for word in words(&text, "GATEWAY_") {
            let is_prefix = word.ends_with('_');
            // What stands in a file is named so.
            let key = word.strip_suffix("_FILE").filter(|_| !keys.contains(word)).unwrap_or(word);
            // Sections that people give names to are there under that of the example.
            let named = key.strip_prefix("GATEWAY_REDIS__OF__").and_then(|rest| rest.split_once("__"));
            let example = named.map(|(_, key)| format!("GATEWAY_REDIS__OF__NAME__{key}"));
            let key = example.as_deref().unwrap_or(key);
            if !is_prefix && !keys.contains(key) && !foreign.contains(&word) {
                unknown.push(format!("{} names {word}", path.display()));
            }
        }
    }
    assert!(unknown.is_empty(), "the gateway has no such keys:\n{}", unknown.join("\n"));
}

#[test]
fn the_default_file_says_why_of_every_key() {
    let mut previous = "";
    let mut explained = false;
    for line in gateway_core::config::DEFAULTS.lines() {
        let is_key = line.contains('=') && !line.starts_with('#');
        explained = line.starts_with('#') || (explained && is_key);
        if is_key {
            assert!(explained, "{line:?} after {previous:?} has no line of why");
        }
        previous = line;
    }
}

#[test]
fn the_protocol_names_every_refusal_code() {
    let protocol = read("docs/protocol.md");
    let documented: BTreeSet<&str> =
        protocol.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(code, _)| code)).collect();
    for code in Refusal::CODES {
        assert!(documented.contains(code), "docs/protocol.md does not have {code}");
    }
}

#[test]
fn the_architecture_names_every_part() {
    let architecture = read("ARCHITECTURE.md");
    let libs = ["gateway/src/lib.rs", "gateway/core/src/lib.rs", "gateway/work/src/lib.rs"].map(read).concat();
    for part in libs.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')) {
        let named =
            [format!("`{part}/`"), format!("`{part}.rs`")].iter().any(|name| architecture.contains(name.as_str()));
        assert!(named, "ARCHITECTURE.md does not have {part}");
    }
}

#[test]
fn the_commands_of_the_readme_exist() {
    let makefile = read("Makefile");
    for (path, text) in texts(&["README.md", "CONTRIBUTING.md", "docs"]) {
        for (at, _) in text.match_indices("`make ") {
            let target = text[at + 6..].split(['`', ' ', '\n']).next().unwrap();
            let exists = makefile.lines().any(|line| line.starts_with(&format!("{target}:")));
            assert!(exists, "{}: there is no `make {target}`", path.display());
        }
    }
}

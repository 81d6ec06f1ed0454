//! `gateway plan` as people call it: what it prints, what it refuses, and how it ends.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

/// How it ended, what it printed, and what it complained of.
fn plan(arguments: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    let output = command.env_clear().arg("plan").args(arguments.split_whitespace()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn object(arguments: &str) -> Value {
    let (_, text, complaints) = plan(&format!("{arguments} --json"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments}: {error}: {text}{complaints}"))
}

#[test]
fn a_plan_says_what_it_takes_and_how_that_was_reckoned() {
    let (code, text, complaints) = plan("--connections 50000 --rooms 5000 --rate 1000");
    assert_eq!((code, complaints.as_str()), (0, ""));
    for words in [
        "one of which may be away",
        "what limits first: ",
        "1,000 events/s × 40 µs",
        "docs/measurements.md",
        "maxmemory",
    ] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
    let (code, text, _) = plan("--connections 5000 --rooms 50 --rate 5000 --log memory");
    assert!(code == 1 && text.contains("DOES NOT FIT"), "{code}:\n{text}");
}

#[test]
fn the_configuration_is_heeded() {
    let nodes = |arguments: &str| object(arguments)["plan"]["nodes"]["count"].as_f64().unwrap();
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    fs::write(file.path(), "[limits]\nconnections = 1000\n").unwrap();
    assert_eq!(nodes("--connections 10000"), 2.0);
    assert_eq!(nodes(&format!("--connections 10000 --config {}", file.path().display())), 11.0);
}

#[test]
fn what_was_measured_elsewhere_is_planned_with() {
    let file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    let load = "--connections 2000 --rooms 50 --rate 300 --log memory";
    let here = object(load)["plan"]["nodes"]["cores"].as_f64().unwrap();
    let point = json!({
        "connections": 2000, "rooms": 50, "rate": 300, "log": "memory", "measured": { "node_cores": here * 2.5 }
    });
    fs::write(file.path(), json!({ "points": [point] }).to_string()).unwrap();
    let there = object(&format!("{load} --measured {}", file.path().display()));
    assert!((there["plan"]["nodes"]["cores"].as_f64().unwrap() / here - 2.5).abs() < 1e-6, "{there:#}");
    assert!((there["scale"]["nodes"].as_f64().unwrap() - 2.5).abs() < 1e-6);
}

#[test]
fn what_cannot_be_planned_is_refused_in_a_line() {
    let cases = [
        ("--connections 0", "from 1 to 1000000000"),
        ("--connections -1", "from 1 to 1000000000"),
        ("--connections 1000000000000", "from 1 to 1000000000"),
        (
            "--connections 10 --rooms 1 --members-per-room 11",
            "gateway: --members-per-room 11: there are 10 connections",
        ),
        ("--connections 10 --measured /nowhere/measured.json", "gateway: --measured /nowhere/measured.json: "),
        ("", "--connections"),
    ];
    for (arguments, words) in cases {
        let (code, text, complaints) = plan(arguments);
        assert!(code == 64 && text.is_empty() && complaints.contains(words), "{arguments}: {code}: {complaints}");
    }
}

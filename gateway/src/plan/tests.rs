//! The planner as a whole: loads that were measured, loads that do not fit, and what cannot be.

use clap::Parser;
use gateway_core::config::{self, Config};

use super::constants::Scale;
use super::model::{Plan, plan};
use super::shape::{LogKind, Settings, Shape};
use super::{Options, report};

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

fn defaults() -> Config {
    config::load(None, std::iter::empty()).unwrap()
}

/// What the default configuration says.
pub(super) fn settings() -> Settings {
    Settings::of(&defaults())
}

fn read(line: &str) -> Result<Shape, String> {
    let words = std::iter::once("plan").chain(line.split_whitespace());
    let options = Line::try_parse_from(words).map_err(|error| error.to_string())?.options;
    Ok(options.shape(&defaults(), settings()))
}

/// 5,000 connections in rooms of 100, one node in memory.
pub(super) fn shape() -> Shape {
    read("--connections 5000 --rooms 50 --rate 200 --log memory").unwrap()
}

fn planned(line: &str) -> Plan {
    plan(&read(line).unwrap(), Scale::NONE).unwrap()
}

fn refused(line: &str) -> String {
    match read(line) {
        Ok(shape) => plan(&shape, Scale::NONE).unwrap_err(),
        Err(why) => why,
    }
}

#[track_caller]
fn within_a_fifth(planned: f64, measured: f64) {
    assert!((planned / measured - 1.0).abs() < 0.2, "{planned} is planned, {measured} was measured");
}

/// Each from docs/measurements.md: the runs that the constants come from, and others.
#[test]
fn what_was_measured_is_planned_within_a_fifth() {
    let one = planned("--connections 5000 --rooms 50 --rate 200 --log memory");
    within_a_fifth(one.nodes.us_per_delivery.unwrap(), 9.9);
    let file = planned("--connections 5000 --rooms 50 --rate 200 --log sqlite");
    within_a_fifth(file.nodes.us_per_delivery.unwrap(), 12.3);
    let small = planned("--connections 4995 --rooms 555 --rate 1000 --nodes 3");
    within_a_fifth(small.nodes.us_per_delivery.unwrap(), 40.8);
    // A run of its own, of 900 connections: 296 µs of nodes and 105 of Redis a publish.
    let quiet = planned("--connections 900 --rooms 100 --rate 1000 --nodes 3");
    within_a_fifth(quiet.redis.unwrap().us_per_publish.unwrap(), 105.0);
    // Ratios of one run to another: rooms of 90 on three nodes against rooms of 100 on one.
    let large = planned("--connections 4950 --rooms 55 --rate 150 --nodes 3");
    within_a_fifth(large.nodes.us_per_delivery.unwrap() / one.nodes.us_per_delivery.unwrap(), 15.4 / 12.4);
    within_a_fifth(large.redis.unwrap().us_per_publish.unwrap(), 234.0);
    within_a_fifth(planned("--connections 10000 --log memory").nodes.kib_per_connection, 4.3);
}

#[test]
fn more_nodes_are_planned_for_more_load_and_each_is_bounded() {
    let mut last = 0.0_f64;
    for connections in [1_000_u64, 10_000, 100_000, 1_000_000] {
        let plan =
            planned(&format!("--connections {connections} --rooms {} --rate {}", connections / 10, connections / 50));
        assert!(plan.nodes.count >= last.max(2.0) && plan.nodes.spare == 1.0, "{plan:?}");
        last = plan.nodes.count;
        // With the one that may be away, the others are not full.
        for limit in plan.limits.iter().filter(|limit| limit.more_nodes_help) {
            assert!(limit.share * last / (last - 1.0) <= 1.0 + 1e-9, "{limit:?}");
        }
        assert!(plan.nodes.decided_by.is_some() && !plan.first.more_nodes_help);
    }
    assert!(last > 50.0, "a million connections, 20,000 on a node");
}

#[test]
fn what_limits_first_is_named() {
    let first = |line: &str| planned(line).first.resource;
    assert_eq!(first("--connections 50000 --rooms 25000 --rate 30000 --members-per-room 2"), "CPU of Redis");
    assert_eq!(first("--connections 200000 --rooms 2000000 --rate 100 --members-per-room 2"), "memory of Redis");
    assert_eq!(first("--connections 30000 --nodes 1"), "limits.connections of a node");
    assert_eq!(first("--connections 5000 --rooms 50 --rate 1500 --log memory"), "CPU of a node");
    assert_eq!(first("--connections 5000 --rooms 50 --rate 200 --bytes 60000 --log memory"), "network of a node");
    assert_eq!(first("--connections 15000 --log memory --memory 0.125"), "memory of a node");
    assert_eq!(
        first("--connections 5000 --rooms 500 --rate 20000 --archive --network 100 --redis-memory 1000"),
        "CPU of Redis"
    );
}

#[test]
fn what_does_not_fit_is_told() {
    assert!(planned("--connections 5000 --rooms 50 --rate 200 --log memory").fits);
    assert!(!planned("--connections 5000 --rooms 50 --rate 2000 --log memory").fits);
    assert!(!planned("--connections 100000 --rooms 50000 --rate 100000").fits, "one Redis");
    let hot = planned("--connections 1000 --rooms 1 --rate 100");
    assert!(hot.notes.iter().any(|note| note.contains("log.room_events")), "{:?}", hot.notes);
    let late = planned("--connections 1000000 --nodes 2 --window 1s");
    assert!(!late.fits && late.notes.iter().any(|note| note.contains("--window")), "{:?}", late.notes);
    let chatty = planned("--connections 10 --rooms 10 --rate 1000");
    assert!(chatty.notes.iter().any(|note| note.contains("limits.events_per_second")));
}

#[test]
fn each_option_changes_what_it_names() {
    let base = "--connections 20000 --rooms 2000 --rate 500";
    let plain = planned(base);
    let with = |more: &str| planned(&format!("{base} {more}"));
    assert!(with("--polling-share 10%").nodes.cores > plain.nodes.cores);
    assert!(with("--archive").redis.unwrap().core_share > plain.redis.as_ref().unwrap().core_share);
    assert!(with("--presence").redis.unwrap().memory_bytes > plain.redis.as_ref().unwrap().memory_bytes);
    assert!(with("--bytes 1000").network.to_clients_bits > plain.network.to_clients_bits * 3.0);
    assert!(with("--cores 0.1").nodes.count > plain.nodes.count);
    assert!(with("--memory 0.0625").nodes.count > plain.nodes.count);
    assert!(with("--network 0.01").nodes.count > plain.nodes.count);
    assert!(with("--members-per-room 100").deliveries_per_second > plain.deliveries_per_second);
    assert_eq!(with("--nodes 7").nodes.count, 7.0);
    let share = |plan: Plan| plan.limits.into_iter().find(|limit| limit.resource == "memory of Redis").unwrap().share;
    assert!((share(with("--redis-memory 4")) / share(plain) - 2.0).abs() < 1e-9);
}

#[test]
fn nonsense_is_refused_in_words() {
    let cases = [
        ("", "--connections"),
        ("--connections 0", "from 1 to 1000000000"),
        ("--connections -5", "from 1 to 1000000000"),
        ("--connections 1000000000000", "from 1 to 1000000000"),
        ("--connections 99999999999999999999999999999999", "from 1 to 1000000000"),
        ("--connections 10 --rate NaN", "a number from 0"),
        ("--connections 10 --rooms 1 --rate -1", "a number from 0"),
        ("--connections 10 --rate 5", "--rooms 0"),
        ("--connections 10 --rooms 1 --members-per-room 11", "there are 10 connections"),
        ("--connections 10 --rooms 1 --members-per-room 0", "from 1"),
        ("--connections 10 --rooms 2000 --members-per-room 10", "limits.rooms_per_session is 100"),
        ("--connections 10 --rooms 1 --bytes 65537", "limits.message_bytes is 65536"),
        ("--connections 10 --log sqlite --nodes 2", "without Redis there is one node"),
        ("--connections 10 --log tape", "tape"),
        ("--connections 10 --polling-share 1.1", "from 0 to 1"),
        ("--connections 10 --window 0s", "from 1s"),
        ("--connections 10 --cores 0", "from 0.1"),
        ("--connections 10 --memory 0", "from 0.0625"),
        ("--connections 10 --factor 0", "from 0.01"),
        (
            "--connections 1000000000 --rooms 1000000000 --rate 1000000000 --members-per-room 100 --cores 0.1",
            "more than 100000 nodes",
        ),
    ];
    for (line, why) in cases {
        let refusal = refused(line);
        assert!(refusal.contains(why), "{line}: {refusal}");
    }
}

/// At the ends of what may be asked every figure is a number.
#[test]
fn the_ends_of_what_may_be_asked_are_planned() {
    let ends = [
        "--connections 1 --nodes 1",
        "--connections 1 --rooms 1 --rate 1",
        "--connections 1 --rooms 100 --members-per-room 1 --rate 0.000001 --bytes 1",
        "--connections 1000000000 --rooms 1000000000 --rate 1000000000 --nodes 100000",
        "--connections 1000000000 --rooms 1 --rate 1000000000 --bytes 65536 --nodes 100000 --archive --presence",
        "--connections 1000000000 --nodes 1 --polling-share 1 --window 366d --factor 100 --cores 0.1 --memory 65536",
        "--connections 7 --rooms 3 --rate 2 --nodes 100000",
    ];
    for line in ends {
        let shape = read(line).unwrap();
        let plan = plan(&shape, Scale::NONE).unwrap();
        let values = plan.lines.iter().map(|line| line.value).chain(plan.limits.iter().map(|limit| limit.share));
        assert!(values.into_iter().all(|value| value.is_finite() && value >= 0.0), "{line}: {plan:?}");
        let json = report::json(&shape, &plan, Scale::NONE);
        assert_eq!(json["plan"]["nodes"]["count"], plan.nodes.count, "{line}");
        // What is no number is null in JSON.
        assert!(!report::text(&shape, &plan, Scale::NONE).contains("NaN"));
    }
}

#[test]
fn every_line_that_goes_by_a_constant_names_it_and_its_source_is_printed() {
    let shape = read("--connections 20000 --rooms 2000 --rate 500 --presence --archive --polling-share 1%").unwrap();
    let plan = plan(&shape, Scale::NONE).unwrap();
    let text = report::text(&shape, &plan, Scale::NONE);
    for line in &plan.lines {
        for key in &line.constants {
            let stands = text.lines().any(|text| text.trim_start().starts_with(&format!("{key} ")));
            assert!(stands, "{key} of {} has no source:\n{text}", line.what);
        }
    }
    for word in ["what limits first: ", "CPU of Redis", "500 events/s × 40 µs", "one of which may be away"] {
        assert!(text.contains(word), "{word}:\n{text}");
    }
    assert_eq!(shape.log, LogKind::Redis);
}

//! Fitting a plan to a machine: a file with what was measured there becomes factors.

use serde::Deserialize;
use serde_json::Value;

use super::constants::Scale;
use super::model::{Plan, plan};
use super::shape::{LogKind, Machine, Settings, Shape};

/// Beyond these a figure is a mistake, and no machine.
const SANE: std::ops::RangeInclusive<f64> = 0.01..=100.0;

/// A load that was run, and what was measured of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Point {
    connections: f64,
    #[serde(default)]
    rooms: f64,
    #[serde(default)]
    members_per_room: f64,
    #[serde(default)]
    rate: f64,
    #[serde(default = "usual_bytes")]
    bytes: f64,
    #[serde(default = "one")]
    nodes: u32,
    log: LogKind,
    measured: Measured,
}

/// What of it is known.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Measured {
    /// Cores that all nodes together kept busy.
    node_cores: Option<f64>,
    /// The share of its core that Redis kept busy.
    redis_cores: Option<f64>,
    /// Growth of a node's resident memory by a connection.
    kib_per_connection: Option<f64>,
}

fn usual_bytes() -> f64 {
    100.0
}

fn one() -> u32 {
    1
}

/// Reads what was measured: an object with `points`, or what `make bench` printed, of which the last line counts. What a
/// deployment of this kind (`log`) costs is taken from points of its kind, if there are any. What nobody measured is scaled by
/// `factor`.
pub(super) fn scale(text: &str, log: LogKind, settings: Settings, factor: f64) -> Result<Scale, String> {
    let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    let value: Value = serde_json::from_str(text)
        .or_else(|whole| serde_json::from_str(last).map_err(|_| format!("this is no JSON: {whole}")))?;
    let points: Vec<Point> = match (&value["points"], &value["lines"]) {
        (points @ Value::Array(_), _) => {
            serde_json::from_value(points.clone()).map_err(|error| format!("in points: {error}"))?
        }
        (_, Value::Array(lines)) => of_the_bench(lines, value["settings"]["connections"].as_f64().unwrap_or(5000.0)),
        _ => return Err("neither points nor the lines of make bench are in it".into()),
    };
    if points.is_empty() {
        return Err("there is nothing in it that a plan goes by".into());
    }
    let mut ratios = Ratios::default();
    for (at, point) in points.iter().enumerate() {
        let told = |why: String| format!("point {}: {why}", at + 1);
        let shape = point.shape(settings);
        in_bounds(&shape).map_err(told)?;
        let expected = plan(&shape, Scale::NONE).map_err(told)?;
        ratios.add(point, &expected).map_err(told)?;
    }
    let alike =
        |kind: bool| ratios.nodes.iter().filter(|(cluster, _)| *cluster == kind).map(|(_, ratio)| *ratio).collect();
    let of_kind: Vec<f64> = alike(log == LogKind::Redis);
    let nodes = if of_kind.is_empty() { alike(log != LogKind::Redis) } else { of_kind };
    let scale = Scale {
        nodes: mean(&nodes).unwrap_or(factor),
        redis: mean(&ratios.redis).unwrap_or(factor),
        memory: mean(&ratios.memory).unwrap_or(1.0),
    };
    Ok(scale)
}

/// What a file says need not have come through the command line.
fn in_bounds(shape: &Shape) -> Result<(), String> {
    let most = super::shape::MOST as f64;
    let known = [
        ("connections", shape.connections, 1.0),
        ("rooms", shape.rooms, 0.0),
        ("rate", shape.rate, 0.0),
        ("bytes", shape.bytes, 1.0),
    ];
    for (name, value, least) in known {
        if !(least..=most).contains(&value) {
            return Err(format!("{name} is a number from {least} to {most}"));
        }
    }
    if !(0.0..=most).contains(&shape.members_per_room) {
        return Err(format!("members_per_room is a number from 0 to {most}"));
    }
    if !(1..=100_000).contains(&shape.nodes.unwrap_or(0)) {
        return Err("nodes is a number from 1 to 100000".into());
    }
    Ok(())
}

impl Point {
    fn shape(&self, settings: Settings) -> Shape {
        let usual = if self.rooms > 0.0 { (self.connections / self.rooms).max(1.0) } else { 0.0 };
        Shape {
            connections: self.connections,
            rooms: self.rooms,
            members_per_room: if self.members_per_room > 0.0 { self.members_per_room } else { usual },
            rate: self.rate,
            bytes: self.bytes,
            polling: 0.0,
            log: self.log,
            presence: false,
            archive: false,
            window: 120.0,
            nodes: Some(self.nodes),
            machine: Machine::default(),
            settings,
        }
    }
}

/// What was measured, as parts of what the table says.
#[derive(Debug, Default)]
struct Ratios {
    /// Of processor time, and whether that was in a cluster.
    nodes: Vec<(bool, f64)>,
    redis: Vec<f64>,
    memory: Vec<f64>,
}

impl Ratios {
    fn add(&mut self, point: &Point, expected: &Plan) -> Result<(), String> {
        let ratio = |name: &str, measured: Option<f64>, expected: f64| match measured {
            None => Ok(None),
            Some(measured) if SANE.contains(&(measured / expected)) => Ok(Some(measured / expected)),
            Some(measured) => Err(format!("{name} {measured} cannot be: here it was {expected:.4}")),
        };
        let Measured { node_cores, redis_cores, kib_per_connection } = point.measured;
        let cluster = point.log == LogKind::Redis;
        self.nodes.extend(ratio("node_cores", node_cores, expected.nodes.cores)?.map(|ratio| (cluster, ratio)));
        let core = expected.redis.as_ref().map_or(f64::NAN, |redis| redis.core_share);
        self.redis.extend(ratio("redis_cores", redis_cores, core)?);
        self.memory.extend(ratio("kib_per_connection", kib_per_connection, expected.nodes.kib_per_connection)?);
        Ok(())
    }
}

/// The geometric one, as these are factors.
fn mean(ratios: &[f64]) -> Option<f64> {
    let sum: f64 = ratios.iter().map(|ratio| ratio.ln()).sum();
    (!ratios.is_empty()).then(|| (sum / ratios.len() as f64).exp())
}

/// The rows of loadtest/bench/rows.mjs, which say what was run.
fn of_the_bench(lines: &[Value], connections: f64) -> Vec<Point> {
    let find = |row: u64, what: &str| {
        let line = lines.iter().find(|line| line["row"] == row && line["what"] == what)?;
        line["gateway"].as_f64()
    };
    let point = |size: f64, rate: f64, nodes, log, measured| {
        let rooms = if size > 0.0 { (connections / size).floor() } else { 0.0 };
        let members_per_room = if rooms > 0.0 { size } else { 0.0 };
        Point { connections, rooms, members_per_room, rate, bytes: 100.0, nodes, log, measured }
    };
    let cores = |us: f64, size: f64, rate: f64| us * size * rate / 1e6;
    let mut points = Vec::new();
    for (what, log) in
        [("in memory: CPU, µs per delivery", LogKind::Memory), ("in SQLite: CPU, µs per delivery", LogKind::Sqlite)]
    {
        points.extend(find(1, what).map(|us| {
            let node_cores = Some(cores(us, 100.0, 200.0));
            point(100.0, 200.0, 1, log, Measured { node_cores, ..Measured::default() })
        }));
    }
    for (row, size, rate) in [(2, 90.0, 150.0), (3, 9.0, 1000.0)] {
        points.extend(find(row, "of it nodes").map(|us| {
            let redis_cores = find(row, "of it Redis").map(|us| cores(us, size, rate));
            let node_cores = Some(cores(us, size, rate));
            point(size, rate, 3, LogKind::Redis, Measured { node_cores, redis_cores, ..Measured::default() })
        }));
    }
    points.extend(find(4, "KiB resident of each").map(|kib| {
        let kib_per_connection = Some(kib);
        point(0.0, 0.0, 1, LogKind::Memory, Measured { kib_per_connection, ..Measured::default() })
    }));
    points
}

#[cfg(test)]
mod tests {
    use super::super::tests::{settings, shape};
    use super::*;

    fn fitted(text: &str, log: LogKind) -> Result<Scale, String> {
        scale(text, log, settings(), 1.5)
    }

    #[test]
    fn a_machine_that_takes_twice_as_long_is_planned_with_twice_the_time() {
        let shape = Shape { log: LogKind::Redis, nodes: Some(3), ..shape() };
        let here = plan(&shape, Scale::NONE).unwrap();
        let text = format!(
            r#"{{"points": [{{"connections": {}, "rooms": {}, "rate": {}, "nodes": 3, "log": "redis",
                "measured": {{"node_cores": {}, "redis_cores": {}, "kib_per_connection": {}}}}}]}}"#,
            shape.connections,
            shape.rooms,
            shape.rate,
            here.nodes.cores * 2.0,
            here.redis.as_ref().unwrap().core_share * 3.0,
            here.nodes.kib_per_connection * 1.25,
        );
        let scale = fitted(&text, LogKind::Redis).unwrap();
        let there = plan(&shape, scale).unwrap();
        let close = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-9;
        assert!(close(there.nodes.cores, here.nodes.cores * 2.0));
        assert!(close(there.redis.unwrap().core_share, here.redis.unwrap().core_share * 3.0));
        assert!(close(there.nodes.kib_per_connection, here.nodes.kib_per_connection * 1.25));
        // What only a cluster was measured for is the best guess for one node, too.
        assert!(close(fitted(&text, LogKind::Memory).unwrap().nodes, 2.0));
    }

    #[test]
    fn what_the_bench_prints_is_read_with_what_stands_before_it() {
        let text = concat!(
            "| | floor | gateway |\n",
            r#"{"settings": {"connections": 5000}, "lines": ["#,
            r#"{"row": 1, "what": "in memory: CPU, µs per delivery", "gateway": 19.8},"#,
            r#"{"row": 4, "what": "KiB resident of each", "gateway": 8.6}]}"#,
            "\n"
        );
        let scale = fitted(text, LogKind::Memory).unwrap();
        // Pings are in what was measured, and in the model: a little less than twice 9.9.
        assert!((1.8..2.1).contains(&scale.nodes), "{scale:?}");
        assert!((scale.memory - 2.0).abs() < 0.01, "{scale:?}");
        assert_eq!(scale.redis, 1.5, "nobody measured it");
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_place() {
        let point = |rest: &str| format!(r#"{{"points": [{{"connections": 100, "rooms": 10, "rate": 10, {rest}}}]}}"#);
        let cases = [
            ("", "no JSON"),
            ("[]", "neither"),
            ("{}", "neither"),
            (r#"{"points": []}"#, "nothing"),
            (r#"{"lines": []}"#, "nothing"),
            (r#"{"points": [{}]}"#, "connections"),
            (&point(r#""log": "tape", "measured": {}"#), "tape"),
            (&point(r#""log": "memory", "measured": {"node_core": 1}"#), "node_core"),
            (&point(r#""log": "memory", "measured": {"node_cores": -1}"#), "point 1: node_cores -1 cannot be"),
            (&point(r#""log": "memory", "measured": {"node_cores": 0}"#), "cannot be"),
            (&point(r#""log": "memory", "measured": {"node_cores": 1e300}"#), "cannot be"),
            (&point(r#""log": "memory", "measured": {"redis_cores": 0.1}"#), "cannot be"),
            (&point(r#""log": "memory", "nodes": 0, "measured": {}"#), "nodes is"),
            (&point(r#""log": "memory", "nodes": 2, "measured": {}"#), "without Redis"),
            (&point(r#""log": "redis", "bytes": 0, "measured": {}"#), "bytes is"),
            (r#"{"points": [{"connections": 1e12, "log": "memory", "measured": {}}]}"#, "connections is"),
        ];
        for (text, why) in cases {
            let refusal = fitted(text, LogKind::Memory).unwrap_err();
            assert!(refusal.contains(why), "{text}: {refusal}");
        }
    }
}

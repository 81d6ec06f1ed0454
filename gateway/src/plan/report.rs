//! A plan as people read it, and as programs do.

use std::fmt::Write;

use serde_json::{Value, json};

use super::constants::{ALL, Scale};
use super::limits::Limit;
use super::model::{GIB, Plan};
use super::shape::Shape;
use super::sheet::figure;

/// Bytes, bits and the like in the unit in which they are short.
fn quantity(value: f64, unit: &str) -> String {
    const KILO: f64 = 1000.0;
    let (value, unit) = match unit {
        "bit/s" if value >= KILO * KILO * KILO => (value / KILO / KILO / KILO, "Gbit/s"),
        "bit/s" if value >= KILO * KILO => (value / KILO / KILO, "Mbit/s"),
        "bit/s" => (value / KILO, "kbit/s"),
        "B" if value >= GIB => (value / GIB, "GiB"),
        "B" => (value / 1024.0 / 1024.0, "MiB"),
        "KiB" if value >= 1024.0 * 1024.0 => (value / 1024.0 / 1024.0, "GiB"),
        "KiB" => (value / 1024.0, "MiB"),
        unit => (value, unit),
    };
    format!("{} {unit}", figure(value)).trim_end().to_owned()
}

/// The whole plan as text: what came out, what is full first, and how everything was reckoned.
pub(super) fn text(shape: &Shape, plan: &Plan, scale: Scale) -> String {
    let mut out = String::new();
    // Writing into a text cannot fail.
    write_text(&mut out, shape, plan, scale).ok();
    out
}

fn write_text(out: &mut String, shape: &Shape, plan: &Plan, scale: Scale) -> std::fmt::Result {
    let nodes = &plan.nodes;
    let spare = if nodes.spare > 0.0 { ", one of which may be away" } else { "" };
    let decides = nodes.decided_by.map(|decides| format!("; {decides} decides")).unwrap_or_default();
    writeln!(out, "nodes     {}{spare}{decides}", figure(nodes.count))?;
    let each = quantity(nodes.memory_each_kib, "KiB");
    let kernel = quantity(nodes.kernel_each_kib, "KiB");
    writeln!(
        out,
        "          each {} connections, {} cores of {}, {each} and {kernel} of the kernel's",
        figure(nodes.connections_each),
        figure(nodes.cores / nodes.count),
        figure(shape.machine.cores)
    )?;
    let most = quantity(shape.settings.buffered_bytes, "B");
    if shape.settings.buffered_bytes > 0.0 {
        writeln!(out, "          and up to {most} more while clients do not read (limits.buffered_bytes)")?;
    }
    match &plan.redis {
        Some(redis) => writeln!(
            out,
            "Redis     {} of its core, {} (maxmemory {}), {} in, {} out, up to {} connections",
            figure(redis.core_share),
            quantity(redis.memory_bytes, "B"),
            quantity(redis.maxmemory_bytes, "B"),
            quantity(redis.in_bits, "bit/s"),
            quantity(redis.out_bits, "bit/s"),
            figure(redis.connections)
        )?,
        None => writeln!(out, "Redis     none: one node, which keeps its log itself")?,
    }
    let network = &plan.network;
    let (to, from) = (quantity(network.to_clients_bits, "bit/s"), quantity(network.from_clients_bits, "bit/s"));
    writeln!(out, "network   to clients {to}, from them {from}, {} at a node", quantity(network.node_bits, "bit/s"))?;
    let recovery = &plan.recovery;
    writeln!(
        out,
        "recovery  a lost node's {} sessions are back after {} s; {} decides",
        figure(recovery.sessions),
        figure(recovery.seconds),
        recovery.decided_by
    )?;

    writeln!(out, "\nwhat limits first: {}, at {}", plan.first.resource, times(&plan.first))?;
    writeln!(out, "  then: {}", plan.first.advice)?;
    let mut sorted: Vec<_> = plan.limits.iter().collect();
    sorted.sort_by(|a, b| b.share.total_cmp(&a.share));
    for limit in sorted {
        let (used, usable) = (quantity(limit.used, limit.unit), quantity(limit.usable, limit.unit));
        let full = if limit.share > 1.0 { "  DOES NOT FIT" } else { "" };
        writeln!(out, "  {:5.1} %  {:29} {used} of {usable}{full}", limit.share * 100.0, limit.resource)?;
    }
    for note in &plan.notes {
        writeln!(out, "\nnote: {note}")?;
    }

    let mut part = "";
    for line in &plan.lines {
        if line.part != part {
            part = line.part;
            writeln!(out, "\n{part}")?;
        }
        let constants =
            if line.constants.is_empty() { String::new() } else { format!("  [{}]", line.constants.join(", ")) };
        writeln!(out, "  {:34} {:>14} = {}{constants}", line.what, quantity(line.value, line.unit), line.how)?;
    }
    writeln!(out, "\nwhere these were measured: docs/measurements.md, on two cores")?;
    for constant in ALL.iter().filter(|constant| plan.lines.iter().any(|line| line.constants.contains(&constant.key))) {
        let scaled = scale.of(constant);
        let book =
            if scaled == constant.value { String::new() } else { format!(" ({} there)", figure(constant.value)) };
        writeln!(out, "  {:15} {} {}{book}: {}", constant.key, figure(scaled), constant.unit, constant.what)?;
        writeln!(out, "  {:15} {}", "", constant.source)?;
    }
    Ok(())
}

/// At which load it is full, of today's.
fn times(limit: &Limit) -> String {
    match limit.full_at {
        Some(times) if times < 1.0 => format!("{} of this load: it does not fit", figure(times)),
        Some(times) => format!("{} times this load", figure(times)),
        None => "no load of this kind".into(),
    }
}

/// The same for programs.
pub(super) fn json(shape: &Shape, plan: &Plan, scale: Scale) -> Value {
    let constants: serde_json::Map<_, _> = ALL
        .iter()
        .map(|constant| {
            let value = json!({
                "value": scale.of(constant), "unit": constant.unit, "what": constant.what, "source": constant.source,
            });
            (constant.key.to_owned(), value)
        })
        .collect();
    let scale = json!({ "nodes": scale.nodes, "redis": scale.redis, "memory": scale.memory });
    json!({ "input": shape, "scale": scale, "plan": plan, "constants": constants })
}

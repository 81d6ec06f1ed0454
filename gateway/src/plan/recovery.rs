//! What happens when a node is lost: who comes back, how long that takes, and whether the log reaches back that far.

use serde::Serialize;

use super::constants::{HANDSHAKE, REDIS_RECOVERY, REDIS_REJOIN};
use super::model::Nodes;
use super::redis::RedisNeeds;
use super::shape::Shape;
use super::sheet::{Sheet, figure};

/// An official client waits so long at most before it tries again, in seconds.
const CLIENT_DELAY: f64 = 1.5;
/// What is left of a core that is full: nobody comes back through it in any time that matters.
const LITTLE: f64 = 0.01;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Recovery {
    /// Sessions that a node has, and that come back when it is lost.
    pub(super) sessions: f64,
    /// Until the last is back, at least.
    pub(super) seconds: f64,
    pub(super) decided_by: &'static str,
    /// For how long a room's log reaches back, in seconds; none where nothing is said.
    pub(super) log_reaches: Option<f64>,
    /// Whether all are back within the window.
    pub(super) in_time: bool,
}

pub(super) fn recovery(
    shape: &Shape,
    (nodes, redis): (&Nodes, Option<&RedisNeeds>),
    sheet: &mut Sheet,
    notes: &mut Vec<String>,
) -> Recovery {
    sheet.about("a node is lost");
    let sessions = nodes.connections_each;
    // Alone, it is the one that starts anew.
    let others = (nodes.count - 1.0).max(1.0);
    let mut waits = Vec::new();
    if shape.settings.handshakes_per_second > 0.0 {
        let admitted = others * shape.settings.handshakes_per_second;
        let how = format!(
            "{} sessions / ({} nodes × limits.handshakes_per_second {})",
            figure(sessions),
            figure(others),
            figure(shape.settings.handshakes_per_second)
        );
        waits.push((
            "limits.handshakes_per_second",
            sheet.line("until all are admitted", (sessions / admitted, "s"), how, &[]),
        ));
    }
    // The others do all the work meanwhile.
    let free = (others * shape.machine.cores - nodes.cores).max(LITTLE);
    let each = sheet.of(&HANDSHAKE);
    let how = format!("{} sessions × {} µs / {} cores that are free", figure(sessions), figure(each), figure(free));
    waits.push(("CPU", sheet.line("CPU for them", (sessions * each / 1e6 / free, "s"), how, &[&HANDSHAKE])));
    if let Some(redis) = redis {
        let [session, room] = [&REDIS_RECOVERY, &REDIS_REJOIN].map(|constant| sheet.of(constant));
        let rooms = shape.memberships() / shape.connections;
        let free = (1.0 - redis.core_share).max(LITTLE);
        let how = format!(
            "{} sessions × ({} + {} rooms × {} µs) / {} of a core that is free",
            figure(sessions),
            figure(session),
            figure(rooms),
            figure(room),
            figure(free)
        );
        let seconds = sessions * (session + rooms * room) / 1e6 / free;
        waits.push(("Redis", sheet.line("Redis for them", (seconds, "s"), how, &[&REDIS_RECOVERY, &REDIS_REJOIN])));
    }
    let (decided_by, longest) = waits.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or(("CPU", 0.0));
    let seconds = CLIENT_DELAY + longest;
    sheet.line(
        "until all are back",
        (seconds, "s"),
        format!("a client's own delay, {CLIENT_DELAY} s, and the longest of these"),
        &[],
    );
    let in_time = seconds <= shape.window;
    if !in_time {
        notes.push(format!(
            "who is on a lost node is back after {} s, and the window is {} s: have more and smaller nodes, or a longer --window",
            figure(seconds),
            figure(shape.window)
        ));
    }

    let log_reaches = (shape.rate > 0.0 && shape.rooms > 0.0).then(|| {
        let of_room = shape.rate / shape.rooms;
        let how =
            format!("log.room_events {} / {} events/s of a room", figure(shape.settings.room_events), figure(of_room));
        sheet.line("the log of a room reaches back", (shape.settings.room_events / of_room, "s"), how, &[])
    });
    if let Some(reach) = log_reaches.filter(|reach| *reach < shape.window) {
        notes.push(format!(
            "a room says {} events a second, and its log keeps {}: who is away for longer than {} s is told, although the window is {} s; raise log.room_events",
            figure(shape.rate / shape.rooms),
            figure(shape.settings.room_events),
            figure(reach),
            figure(shape.window)
        ));
    }
    let own = shape.rate / shape.connections;
    if shape.settings.events_per_second > 0.0 && own > shape.settings.events_per_second {
        notes.push(format!(
            "every session would publish {} events a second, and limits.events_per_second is {}: unless back ends publish, most of it is refused",
            figure(own),
            figure(shape.settings.events_per_second)
        ));
    }
    Recovery { sessions, seconds, decided_by, log_reaches, in_time }
}

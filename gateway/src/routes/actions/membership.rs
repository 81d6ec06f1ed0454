//! `join` and `leave`: being in a room and no longer.

use serde::Serialize;

use super::offset;
use crate::domain::{Offset, Refusal, RoomName};
use crate::node::{Entrance, Unrecovered};
use crate::presence::Numbered;
use crate::routes::Answer;
use crate::routes::context::Run;
use crate::routes::table::{Join, Lifecycle, Route};
use crate::routes::template::Template;

#[derive(Serialize)]
struct Joined<'a> {
    ok: bool,
    room: &'a str,
    offset: Offset,
    /// Only for joins that named an offset: whether everything since then was delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    recovered: Option<bool>,
    /// Why it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

pub(in crate::routes) async fn join(run: &mut Run<'_>, route: &Route, join: &Join) -> Result<Answer, Refusal> {
    let (session, node) = (run.session()?, &run.router.node);
    let after = join.since.as_ref().map(|since| offset(since, &run.scope)).transpose()?.flatten();
    let entrance = Entrance { via: &route.event, after, partial: join.partial, seat: join.seat() };
    let joined = if let Some(capacity) = join.capacity.filter(|_| join.auto) {
        let rooms = numbered(run, &join.room)?;
        let (number, joined) = node.join_first(session, &rooms, capacity.get(), &entrance).await?;
        run.scope.number = Some(number.into());
        run.scope.room = Some(rooms.name(number));
        joined
    } else {
        node.join(session, &run.room()?, &entrance).await?
    };
    let room = run.room()?;
    if let Some(turn) = joined.first {
        run.router.happen(session, Lifecycle::Join, Some(room.clone()), Some(turn)).await;
    }
    Ok(Answer::new(&Joined {
        ok: true,
        room: room.shown().unwrap_or_default(),
        offset: joined.offset,
        recovered: joined.recovered.map(|recovered| recovered.is_ok()),
        reason: joined.recovered.and_then(Result::err).map(Unrecovered::reason),
    }))
}

/// The rooms that a template gives for all numbers.
fn numbered(run: &Run<'_>, room: &Template) -> Result<Numbered, Refusal> {
    let (before, after) = room.around_number(&run.scope)?;
    if after.starts_with(|letter: char| letter.is_ascii_digit()) {
        return Err(Refusal::BadRoom);
    }
    // All are rooms if the one with the longest name is.
    let end = format!("{}{after}", u32::MAX);
    let longest = RoomName::parse_in(&run.namespace.name, &format!("{before}{end}"))?;
    let before = longest.as_str().strip_suffix(&end).unwrap_or_default().to_owned();
    Ok(Numbered { before, after })
}

pub(in crate::routes) async fn leave(run: &Run<'_>) -> Result<(), Refusal> {
    let (departures, left) = run.router.node.leave(run.session()?, &run.room()?).await;
    run.router.heed(departures).await;
    left
}

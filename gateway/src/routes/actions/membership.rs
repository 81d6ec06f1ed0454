//! `join` and `leave`: being in a room and no longer.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::super::{Answer, Request};
use crate::domain::{Offset, Refusal, RoomName};
use crate::node::Unrecovered;

const JOIN: &str = "join takes {room, after?}, room a text, after an offset as text";
const LEAVE: &str = "leave takes {room}, room a text";

#[derive(Deserialize)]
struct JoinArgs<'a> {
    #[serde(borrow)]
    room: Cow<'a, str>,
    #[serde(borrow)]
    after: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
struct Joined<'a> {
    ok: bool,
    room: &'a RoomName,
    offset: Offset,
    /// Only for joins that named an offset: whether everything since then was delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    recovered: Option<bool>,
    /// Why it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

pub(in crate::routes) async fn join(call: Request<'_>) -> Result<Answer, Refusal> {
    let args: JoinArgs<'_> = call.argument(JOIN)?;
    let room = RoomName::parse(&args.room)?;
    let after = args.after.map(|text| Offset::parse(&text).ok_or(Refusal::bad_request(JOIN))).transpose()?;
    let joined = call.node.join(call.session, &room, after, &call.route.event).await?;
    Ok(Answer::new(&Joined {
        ok: true,
        room: &room,
        offset: joined.offset,
        recovered: joined.recovered.map(|recovered| recovered.is_ok()),
        reason: joined.recovered.and_then(Result::err).map(Unrecovered::reason),
    }))
}

#[derive(Deserialize)]
struct LeaveArgs<'a> {
    #[serde(borrow)]
    room: Cow<'a, str>,
}

pub(in crate::routes) async fn leave(call: &Request<'_>) -> Result<Answer, Refusal> {
    let args: LeaveArgs<'_> = call.argument(LEAVE)?;
    call.node.leave(call.session, &RoomName::parse(&args.room)?).await?;
    Ok(Answer::done())
}

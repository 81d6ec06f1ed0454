//! `publish` and `signal`: saying something to a room, kept or not.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::{Action, Answer, Request, Target, check_emitted};
use crate::domain::{Event, Offset, Refusal, RoomName, UserId};
use crate::node::now_ms;

const PUBLISH: &str = "publish takes {room, event?, data, id?}, texts but for data, which may be anything";
const SIGNAL: &str = "signal takes {room, event, data}, texts but for data, which may be anything";
const ID: &str = "the id of a publish has 1 to 128 bytes";

const MAX_ID_BYTES: usize = 128;

#[derive(Deserialize)]
struct SpeakArgs<'a> {
    #[serde(borrow)]
    room: Cow<'a, str>,
    #[serde(borrow)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
}

/// What members hear of a publish.
#[derive(Serialize)]
struct Published<'a> {
    room: &'a RoomName,
    user: Option<&'a UserId>,
    data: &'a RawValue,
    at: u64,
}

/// What members hear of a signal.
#[derive(Serialize)]
struct Signalled<'a> {
    room: &'a RoomName,
    user: Option<&'a UserId>,
    data: &'a RawValue,
}

#[derive(Serialize)]
struct Kept {
    ok: bool,
    offset: Offset,
}

pub(in crate::routes) async fn publish(call: Request<'_>) -> Result<Answer, Refusal> {
    let args: SpeakArgs<'_> = call.argument(PUBLISH)?;
    let room = RoomName::parse(&args.room)?;
    let id = args.id.as_deref();
    if id.is_some_and(|id| id.is_empty() || id.len() > MAX_ID_BYTES) {
        return Err(Refusal::bad_request(ID));
    }
    let at = now_ms();
    let user = call.session.identity.user.as_ref();
    let heard = Published { room: &room, user, data: args.data.unwrap_or(RawValue::NULL), at };
    let event = event(&call, args.event.as_deref().unwrap_or("message"), &(heard,), at)?;
    let offset = call.node.publish(call.session, &room, &event, id).await?;
    Ok(Answer::new(&Kept { ok: true, offset }))
}

pub(in crate::routes) async fn signal(call: Request<'_>) -> Result<Answer, Refusal> {
    let args: SpeakArgs<'_> = call.argument(SIGNAL)?;
    let (Some(name), None) = (args.event.as_deref(), &args.id) else {
        return Err(Refusal::bad_request(SIGNAL));
    };
    let room = RoomName::parse(&args.room)?;
    let user = call.session.identity.user.as_ref();
    let heard = Signalled { room: &room, user, data: args.data.unwrap_or(RawValue::NULL) };
    let event = event(&call, name, &(heard,), now_ms())?;
    call.node.signal(call.session, &room, &event).await?;
    Ok(Answer::done())
}

fn event(call: &Request<'_>, name: &str, args: &impl Serialize, at_ms: u64) -> Result<Event, Refusal> {
    check_emitted(name)?;
    let others = match &call.route.action {
        Action::Publish(publish) => publish.to == Target::Others,
        Action::Signal(signal) => signal.to == Target::Others,
        _ => false,
    };
    Ok(Event {
        name: name.to_owned(),
        args: serde_json::to_string(args).expect("an event's arguments are plain structs"),
        attachments: call.attachments.clone(),
        except: others.then_some(call.session.id),
        at_ms,
    })
}

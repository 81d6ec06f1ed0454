//! `publish` and `signal`: saying something to a room, kept or not.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::{Answer, Call, Target};
use crate::domain::{Event, Offset, Refusal, RoomName, UserId};
use crate::node::now_ms;

const PUBLISH: &str = "publish takes {room, event?, data, id?}, texts but for data, which may be anything";
const SIGNAL: &str = "signal takes {room, event, data}, texts but for data, which may be anything";
const EVENT: &str = "an event's name has 1 to 128 bytes, no control characters, and none of the names that Socket.IO and the gateway keep";
const ID: &str = "the id of a publish has 1 to 128 bytes";

const MAX_EVENT_BYTES: usize = 128;
const MAX_ID_BYTES: usize = 128;

/// Names that an official client does not accept from a server (it ends the connection), and the one by which it
/// learns of refusals.
const RESERVED: [&str; 7] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener", "refused"];

/// What the gateway's own notices begin with.
const NOTICES: &str = "gateway:";

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

pub(in crate::routes) async fn publish(call: Call<'_>) -> Result<Answer, Refusal> {
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

pub(in crate::routes) async fn signal(call: Call<'_>) -> Result<Answer, Refusal> {
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

fn event(call: &Call<'_>, name: &str, args: &impl Serialize, at_ms: u64) -> Result<Event, Refusal> {
    let is_ours = RESERVED.contains(&name) || name.starts_with(NOTICES);
    let fits = !name.is_empty() && name.len() <= MAX_EVENT_BYTES && !name.chars().any(char::is_control);
    if !fits || is_ours {
        return Err(Refusal::bad_request(EVENT));
    }
    Ok(Event {
        name: name.to_owned(),
        args: serde_json::to_string(args).expect("an event's arguments are plain structs"),
        attachments: call.attachments.clone(),
        except: (call.route.to == Target::Others).then_some(call.session.id),
        at_ms,
    })
}

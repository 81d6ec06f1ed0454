//! What actions share that say something, kept or not.

use std::fmt::{self, Formatter};

use serde::Serialize;

use crate::domain::{Event, Offset, Refusal, RoomName};
use crate::log::Terms;
use crate::node::{CloseReason, Verdict, dedupe};
use crate::outbox::By;
use crate::routes::Answer;
use crate::routes::context::Run;
use crate::routes::reader::{Emission, Reader};
use crate::routes::template::{Args, Context, Template};

const ID: &str = "the id of a publish has 1 to 128 bytes";
const MAX_ID_BYTES: usize = 128;

/// What is heard: the client's own event if the route says nothing else. `room`: there is one, and `kept`: there will
/// be an offset, whatever else there is.
pub(super) fn said(reader: &mut Reader<'_>, room: bool, kept: bool) -> Option<Emission> {
    let context = reader.context();
    let context = Context { room: room || context.room, counts: true, offset: kept, ..context };
    if reader.subject.lifecycle.is_some() {
        return Reader::emission(&mut reader.keys, &context, None, Args::none);
    }
    let event = Template::escape(&reader.subject.event);
    Reader::emission(&mut reader.keys, &context, Some(&event), || Args::Client)
}

/// Whether it is kept, and the id by which it is kept once.
pub(super) fn keep_and_id(reader: &mut Reader<'_>) -> (bool, Option<Template>) {
    let keep = reader.keys.boolean("keep").unwrap_or(true);
    let id = reader.keys.template("id", &reader.context());
    if !keep {
        reader.keys.without_effect("id", "with keep = false nothing is kept that could be told from it");
    }
    (keep, id)
}

pub(super) fn show_keep(keep: bool) -> &'static str {
    if keep { "" } else { " (not kept)" }
}

pub(super) fn show_id(f: &mut Formatter<'_>, id: Option<&Template>) -> fmt::Result {
    id.map_or(Ok(()), |id| write!(f, ", id {id}"))
}

/// Says it to a room.
pub(super) async fn say(
    run: &Run<'_>,
    room: &RoomName,
    event: &Event,
    kept: bool,
    id: Option<&Template>,
) -> Result<Option<Answer>, Refusal> {
    if kept {
        return keep(run, room, event, id).await.map(Some);
    }
    run.router.node.signal(room, event).await?;
    Ok(None)
}

/// Says it to a room, kept; a second event of the same id is not kept again.
pub(super) async fn keep(
    run: &Run<'_>,
    room: &RoomName,
    event: &Event,
    id: Option<&Template>,
) -> Result<Answer, Refusal> {
    let id = id.map(|id| id.optional(&run.scope)).transpose()?.flatten();
    if id.as_ref().is_some_and(|id| id.is_empty() || id.len() > MAX_ID_BYTES) {
        return Err(Refusal::bad_request(ID));
    }
    let key = id.zip(run.session).map(|(id, session)| dedupe(session, room, &id));
    let identity = run.session.map(|session| session.identity());
    let user = identity.as_ref().and_then(|identity| identity.user.as_ref());
    let by = run.session.map(|session| By { session: session.id, user });
    // Nobody sent what happened, but whoever made it happen has it kept. Nobody pays for a leaving: it follows a joining.
    let terms = Terms { dedupe: key.as_ref(), reserve: run.scope.event.starts_with('$'), by, ..Terms::default() };
    let account = run.session.and_then(|session| session.account());
    let published = run.router.node.publish(room, event, terms, account).await;
    if let (Err(refusal @ (Refusal::TooMuchKept { .. } | Refusal::TooManyNewRooms { .. })), Some(session)) =
        (&published, run.session)
        && session.allowance.refuse(refusal.clone()) == Verdict::Close
    {
        session.close(CloseReason::Flooding);
    }
    let offset = published?.position.offset;
    Ok(Answer::new(&Kept { ok: true, offset }))
}

#[derive(Serialize)]
struct Kept {
    ok: bool,
    offset: Offset,
}

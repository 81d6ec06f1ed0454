//! `publish`, `signal`, `direct`, `broadcast` and `typing`: saying something, kept or not.

use serde::Serialize;

use crate::domain::{Event, Frame, Offset, Refusal, RoomName, UserId};
use crate::log::Terms;
use crate::node::{CloseReason, Verdict, dedupe};
use crate::routes::Answer;
use crate::routes::context::Run;
use crate::routes::table::{Broadcast, Direct, Publish, Signal, Target, Typing};
use crate::routes::template::Template;

const ID: &str = "the id of a publish has 1 to 128 bytes";
const MAX_ID_BYTES: usize = 128;

#[derive(Serialize)]
struct Kept {
    ok: bool,
    offset: Offset,
}

pub(in crate::routes) async fn publish(run: &Run<'_>, publish: &Publish) -> Result<Answer, Refusal> {
    let event = run.event(&publish.emission, publish.to)?;
    keep(run, &run.room()?, &event, publish.id.as_ref()).await
}

pub(in crate::routes) async fn signal(run: &Run<'_>, signal: &Signal) -> Result<(), Refusal> {
    let event = run.event(&signal.emission, signal.to)?;
    if signal.room.is_some() {
        return run.router.node.signal(&run.room()?, &event).await;
    }
    let session = run.session()?;
    if let Some(frame) = Frame::signalled(&event) {
        session.say(&frame).await;
    }
    Ok(())
}

pub(in crate::routes) async fn direct(run: &Run<'_>, direct: &Direct) -> Result<Option<Answer>, Refusal> {
    let user = direct.user.text(&run.scope)?;
    let user = UserId::parse(&user).ok_or(Refusal::bad_request(UserId::RULE))?;
    let event = run.event(&direct.emission, Target::All)?;
    say(run, &RoomName::personal(&run.namespace.name, &user), &event, direct.keep, direct.id.as_ref()).await
}

pub(in crate::routes) async fn broadcast(run: &Run<'_>, broadcast: &Broadcast) -> Result<Option<Answer>, Refusal> {
    let event = run.event(&broadcast.emission, broadcast.to)?;
    let room = RoomName::everybody(&run.namespace.name);
    say(run, &room, &event, broadcast.keep, broadcast.id.as_ref()).await
}

async fn say(
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

async fn keep(run: &Run<'_>, room: &RoomName, event: &Event, id: Option<&Template>) -> Result<Answer, Refusal> {
    let id = id.map(|id| id.optional(&run.scope)).transpose()?.flatten();
    if id.as_ref().is_some_and(|id| id.is_empty() || id.len() > MAX_ID_BYTES) {
        return Err(Refusal::bad_request(ID));
    }
    let key = id.zip(run.session).map(|(id, session)| dedupe(session, room, &id));
    // Nobody sent what happened, but whoever made it happen has it kept. Nobody pays for a leaving: it follows a joining.
    let terms = Terms { dedupe: key.as_ref(), reserve: run.scope.event.starts_with('$'), ..Terms::default() };
    let account = run.session.and_then(|session| session.account());
    let published = run.router.node.publish(room, event, terms, account).await;
    if let (Err(refusal @ (Refusal::TooMuchKept { .. } | Refusal::TooManyNewRooms { .. })), Some(session)) =
        (&published, run.session)
        && session.allowance.refuse(refusal.clone()) == Verdict::Close
    {
        session.close(CloseReason::Flooding);
    }
    let offset = published?;
    Ok(Answer::new(&Kept { ok: true, offset }))
}

pub(in crate::routes) async fn typing(run: &mut Run<'_>, typing: &Typing) -> Result<(), Refusal> {
    let (session, node, room) = (run.session()?, &run.router.node, run.room()?);
    let begins = typing.active.holds(&run.scope);
    run.scope.typing = Some(false);
    let end = run.event(&typing.emission, Target::Others)?;
    if !begins {
        return node.end_typing(session, &room, &end).await;
    }
    run.scope.typing = Some(true);
    let begin = run.event(&typing.emission, Target::Others)?;
    node.begin_typing(session, &room, &begin, &end, typing.ttl).await
}

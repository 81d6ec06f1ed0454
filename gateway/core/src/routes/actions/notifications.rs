//! `notifications`: reading what a user was told, or how much of it is unread.

use std::fmt::{self, Formatter};
use std::sync::Arc;

use serde::Serialize;

use super::kind::Kind;
use super::values::{notification, number};
use crate::domain::{Frame, Refusal};
use crate::inbox::Form;
use crate::routes::Answer;
use crate::routes::context::Run;
use crate::routes::names::Lifecycle;
use crate::routes::reader::{Emission, Reader, Target, default_args};
use crate::routes::template::{Context, Template};

const ARGS: &str = "args = [{ unread = \"{unread}\" }]";

/// Read what the session's user was told.
#[derive(Debug)]
pub enum Notifications {
    /// Some of it: the answer is the ack.
    List {
        /// The one before which, in time, the page ends.
        before: Template,
        /// Only what is unread.
        unread: Template,
        /// How many.
        limit: Template,
    },
    /// How much of it is unread: the client hears that.
    Count(Emission),
}

impl Kind for Notifications {
    const NAME: &'static str = "notifications";
    const ON: &'static [Lifecycle] = &[Lifecycle::Connect];

    fn compile(reader: &mut Reader<'_>) -> Option<Self> {
        let context = reader.context();
        let keys = &mut reader.keys;
        if context.lifecycle.is_some() || keys.has("emit") {
            for key in ["before", "unread", "limit"] {
                keys.without_effect(key, "with emit the client hears how many are unread, and gets no list");
                keys.know(key);
            }
            let context = Context { counts: true, unread: true, ..context };
            let args = || default_args(ARGS, &context);
            return Reader::emission(keys, &context, None, args).map(Self::Count);
        }
        keys.know("emit");
        keys.know("args");
        keys.without_effect("args", "without emit nothing is said; the answer is the ack");
        let before = keys.template_or("before", "{arg.before?}", &context);
        let unread = keys.template_or("unread", "{arg.unread?}", &context);
        let limit = keys.template_or("limit", "{arg.limit?}", &context);
        Some(Self::List { before: before?, unread: unread?, limit: limit? })
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        let (list, count) = match self {
            Self::List { before, unread, limit } => (Some([before, unread, limit]), None),
            Self::Count(emission) => (None, Some(emission)),
        };
        list.into_iter().flatten().chain(count.into_iter().flat_map(Emission::templates))
    }

    fn show(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::List { before, unread, limit } => write!(f, " before {before} unread {unread} limit {limit}"),
            Self::Count(emission) => write!(f, " unread, {emission}"),
        }
    }

    async fn run(&self, run: &mut Run<'_>, _: &Arc<str>) -> Result<Option<Answer>, Refusal> {
        match self {
            Self::List { before, unread, limit } => list(run, [before, unread, limit]).await.map(Some),
            Self::Count(emission) => count(run, emission).await.map(|()| None),
        }
    }
}

async fn list(run: &Run<'_>, [before, unread, limit]: [&Template; 3]) -> Result<Answer, Refusal> {
    let session = run.session()?;
    let user = session.identity().user.clone().ok_or(Refusal::NotAllowed)?;
    let inbox = &run.router.inbox;
    let before = notification(before, &run.scope)?;
    let limit = number(limit, &run.scope)?.unwrap_or(usize::MAX);
    let bytes = run.router.bounds.message_bytes;
    let page = inbox.page(&user, before.as_ref(), unread.holds(&run.scope), limit, bytes).await?;
    let notifications = page.notifications.iter().map(|kept| Form::of(kept, true));
    let list =
        List { ok: true, notifications: notifications.collect(), unread: inbox.unread(&user).await?, more: page.more };
    let answer = Answer::new(&list);
    // What is read for somebody is traffic of theirs, as what they send.
    session.allowance.charge(answer.body.get().len())?;
    Ok(answer)
}

/// Has the client hear how many are unread. Where nobody knows who it is, nothing is kept or the store is away, it hears nothing:
/// it asked for something else.
async fn count(run: &mut Run<'_>, emission: &Emission) -> Result<(), Refusal> {
    let session = run.session()?;
    // A route before this one may have said who it is.
    let Some(user) = session.identity().user.clone().filter(|_| run.router.inbox.keeps()) else { return Ok(()) };
    let Ok(unread) = run.router.inbox.unread(&user).await else { return Ok(()) };
    run.scope.unread = Some(unread);
    let event = run.event(emission, Target::All)?;
    if let Some(frame) = Frame::signalled(&event) {
        session.say(&frame).await;
    }
    Ok(())
}

#[derive(Serialize)]
struct List<'a> {
    ok: bool,
    notifications: Vec<Form<'a>>,
    /// How many are, not only of those listed.
    unread: u64,
    /// Whether there are older ones.
    more: bool,
}

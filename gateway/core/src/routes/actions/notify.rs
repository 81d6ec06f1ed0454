//! `notify`: telling a user something that waits until it is read.

use std::borrow::Cow;
use std::fmt::{self, Formatter};
use std::iter;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use super::kind::Kind;
use super::speech;
use crate::content::check_emitted;
use crate::domain::{Event, Refusal, SessionId, UserId};
use crate::inbox::{Author, Form, Kept, Wish};
use crate::notifications::{New, NotificationId};
use crate::routes::Answer;
use crate::routes::context::Run;
use crate::routes::names::Lifecycle;
use crate::routes::reader::{Reader, Target, default_args};
use crate::routes::template::{Args, Context, Template};

const ARGS: &str = "args = [\"{notification}\"]";
const NO_BINARY: &str = "a notification has no binary in it";
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(3650 * 24 * 3600);

/// Tell a user something, now and until it is read.
#[derive(Debug)]
pub struct Notify {
    /// Whom.
    pub user: Template,
    /// What.
    pub message: Template,
    /// What comes with it.
    pub data: Option<Template>,
    /// How long it is worth being told.
    pub ttl: Option<Duration>,
    /// It takes the place of an unread one with the same of these.
    pub collapse: Option<Template>,
    /// A second one of the same id is not kept again.
    pub id: Option<Template>,
    /// The event that is heard, if it is not that of the settings.
    pub emit: Option<Template>,
    /// With what.
    pub args: Args,
}

impl Kind for Notify {
    const NAME: &'static str = "notify";
    const ON: &'static [Lifecycle] = &Lifecycle::ALL;

    fn compile(reader: &mut Reader<'_>) -> Option<Self> {
        let context = reader.context();
        let keys = &mut reader.keys;
        let user = keys.template_or("user", "{arg.receiverId}", &context);
        let message = keys.template_or("message", "{arg.message}", &context);
        // What happened by itself has no arguments.
        let data = match context.lifecycle {
            None => keys.template_or("data", "{arg.data?}", &context),
            Some(_) => keys.template("data", &context),
        };
        let ttl = keys.duration("ttl", SHORTEST, LONGEST);
        let collapse = keys.template("collapse", &context);
        let id = keys.template("id", &context);
        let context = Context { counts: true, notification: true, ..context };
        let emit = keys.template("emit", &Context { notification: false, ..context });
        if let Some(name) = emit.as_ref().and_then(Template::fixed)
            && let Err(refusal) = check_emitted(&name)
        {
            keys.error("emit", refusal.message());
        }
        let args = if keys.has("args") { keys.args("args", &context) } else { Some(default_args(ARGS, &context)) };
        keys.know("args");
        Some(Self { user: user?, message: message?, data, ttl, collapse, id, emit, args: args? })
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        let optional = self.collapse.iter().chain(&self.id).chain(&self.emit);
        iter::once(&self.user)
            .chain(iter::once(&self.message))
            .chain(&self.data)
            .chain(optional)
            .chain(self.args.templates())
    }

    fn show(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, " user {} message {}", self.user, self.message)?;
        if let Some(ttl) = self.ttl {
            write!(f, " for {}", humantime::format_duration(ttl))?;
        }
        if let Some(collapse) = &self.collapse {
            write!(f, ", collapse {collapse}")?;
        }
        if let Some(emit) = &self.emit {
            write!(f, ", emit {emit}")?;
        }
        write!(f, " {}", self.args)?;
        speech::show_id(f, self.id.as_ref())
    }

    async fn run(&self, run: &mut Run<'_>, _: &Arc<str>) -> Result<Option<Answer>, Refusal> {
        if !run.attachments.is_empty() {
            return Err(Refusal::bad_request(NO_BINARY));
        }
        let inbox = run.router.inbox.clone();
        let author = author(run);
        let new = inbox.draft(&author, self.wish(run)?)?;
        let is_kept = inbox.keeps();
        // Before it is kept: what cannot be said is refused, and then nothing of it is there.
        let event = self.event(run, &new, is_kept.then_some(&new.id), None)?;
        if !is_kept {
            let answer = speech::say(run, &inbox.room_of(&new.receiver), &event, true, self.id.as_ref()).await?;
            inbox.told_live(&author);
            return Ok(answer);
        }
        let kept = inbox.keep(&author, std::slice::from_ref(&new)).await?;
        let kept = kept.into_iter().next().ok_or(Refusal::Unavailable)?;
        let event = match &kept {
            Kept { duplicate: false, replaces: None, .. } => event,
            Kept { id, replaces, .. } => self.event(run, &new, Some(id), replaces.as_ref())?,
        };
        inbox.push(&new.receiver, &event, &kept, run.session.and_then(|session| session.account())).await;
        Ok(Some(Answer::new(&Notified { ok: true, id: &kept.id })))
    }
}

impl Notify {
    fn wish(&self, run: &Run<'_>) -> Result<Wish, Refusal> {
        let scope = &run.scope;
        let json = |template: &Template| {
            let mut text = String::new();
            template.json(scope, &mut text).map(|()| text)
        };
        let named = |template: &Option<Template>| -> Result<Option<String>, Refusal> {
            let text = template.as_ref().map(|template| template.optional(scope)).transpose()?.flatten();
            Ok(text.map(Cow::into_owned))
        };
        let data = self.data.as_ref().map(json).transpose()?;
        Ok(Wish {
            receiver: UserId::parse(&self.user.text(scope)?).ok_or(Refusal::bad_request(UserId::RULE))?,
            message: json(&self.message)?,
            data: data.filter(|data| data != "null"),
            ttl: self.ttl,
            id: named(&self.id)?,
            collapse: named(&self.collapse)?,
        })
    }

    /// What is heard, if it is known as this and came in the place of another one.
    fn event(
        &self,
        run: &mut Run<'_>,
        new: &New,
        id: Option<&NotificationId>,
        replaces: Option<&NotificationId>,
    ) -> Result<Event, Refusal> {
        let form = Form { new, id, is_read: false, replaces, twice: true };
        let form = serde_json::to_string(&form).ok().and_then(|text| RawValue::from_string(text).ok());
        run.scope.notification = form;
        let name = match &self.emit {
            None => run.router.inbox.event().to_owned(),
            Some(emit) => {
                let name = emit.text(&run.scope)?;
                check_emitted(&name)?;
                name.into_owned()
            }
        };
        run.event_named(name, &self.args, Target::All)
    }
}

fn author(run: &Run<'_>) -> Author {
    match run.session {
        Some(session) => Author::session(session),
        None => {
            let session = SessionId::parse(run.scope.session).unwrap_or_else(SessionId::random);
            Author::gone(session, run.scope.identity.user.clone())
        }
    }
}

#[derive(Serialize)]
struct Notified<'a> {
    ok: bool,
    id: &'a NotificationId,
}

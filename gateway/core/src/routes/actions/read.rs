//! `read`: marking as read what a user was told.

use std::fmt::{self, Formatter};
use std::sync::Arc;

use serde::Serialize;

use super::kind::Kind;
use super::values::notification;
use crate::domain::Refusal;
use crate::notifications::Marked;
use crate::routes::Answer;
use crate::routes::context::Run;
use crate::routes::reader::Reader;
use crate::routes::template::Template;

const ONE_OF: &str = "say which are read: an id, up to which id, or all of them";

/// Mark what the session's user was told as read.
#[derive(Debug)]
pub struct Read {
    /// One.
    pub id: Template,
    /// It and all that are older.
    pub up_to: Template,
    /// All.
    pub all: Template,
}

impl Kind for Read {
    const NAME: &'static str = "read";

    fn compile(reader: &mut Reader<'_>) -> Option<Self> {
        let context = reader.context();
        let id = reader.keys.template_or("id", "{arg.id?}", &context);
        let up_to = reader.keys.template_or("up_to", "{arg.upTo?}", &context);
        let all = reader.keys.template_or("all", "{arg.all?}", &context);
        Some(Self { id: id?, up_to: up_to?, all: all? })
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        [&self.id, &self.up_to, &self.all].into_iter()
    }

    fn show(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, " id {} up to {} all {}", self.id, self.up_to, self.all)
    }

    async fn run(&self, run: &mut Run<'_>, _: &Arc<str>) -> Result<Option<Answer>, Refusal> {
        let user = run.session()?.identity().user.clone().ok_or(Refusal::NotAllowed)?;
        let (id, up_to) = (notification(&self.id, &run.scope)?, notification(&self.up_to, &run.scope)?);
        let which = match (&id, &up_to, self.all.holds(&run.scope)) {
            (Some(id), None, false) => Marked::One(id),
            (None, Some(id), false) => Marked::UpTo(id),
            (None, None, true) => Marked::All,
            _ => return Err(Refusal::bad_request(ONE_OF)),
        };
        let marking = run.router.inbox.mark_read(&user, which).await?;
        Ok(Some(Answer::new(&WereRead { ok: true, read: marking.read, unread: marking.unread })))
    }
}

#[derive(Serialize)]
struct WereRead {
    ok: bool,
    /// How many were unread.
    read: u64,
    /// How many still are.
    unread: u64,
}

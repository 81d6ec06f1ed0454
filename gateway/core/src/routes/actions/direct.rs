//! `direct`: saying something to a user, wherever their sessions are.

use std::fmt::{self, Formatter};
use std::iter;
use std::sync::Arc;

use super::kind::Kind;
use super::speech;
use crate::domain::{Refusal, RoomName, UserId};
use crate::routes::Answer;
use crate::routes::context::Run;
use crate::routes::names::Lifecycle;
use crate::routes::reader::{Emission, Reader, Target};
use crate::routes::template::Template;

/// Say something to all sessions of a user.
#[derive(Debug)]
pub struct Direct {
    /// Whose.
    pub user: Template,
    /// What is heard.
    pub emission: Emission,
    /// Whether it is kept for who is away.
    pub keep: bool,
    /// A second event of the same id is not kept again.
    pub id: Option<Template>,
}

impl Kind for Direct {
    const NAME: &'static str = "direct";
    const ON: &'static [Lifecycle] = &Lifecycle::ALL;

    fn compile(reader: &mut Reader<'_>) -> Option<Self> {
        let user = reader.keys.template_or("user", "{arg.user}", &reader.context());
        let (keep, id) = speech::keep_and_id(reader);
        let emission = speech::said(reader, false, keep);
        Some(Self { user: user?, emission: emission?, keep, id })
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        iter::once(&self.user).chain(self.emission.templates()).chain(&self.id)
    }

    fn show(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, " user {}{}, {}", self.user, speech::show_keep(self.keep), self.emission)?;
        speech::show_id(f, self.id.as_ref())
    }

    async fn run(&self, run: &mut Run<'_>, _: &Arc<str>) -> Result<Option<Answer>, Refusal> {
        let user = self.user.text(&run.scope)?;
        let user = UserId::parse(&user).ok_or(Refusal::bad_request(UserId::RULE))?;
        let event = run.event(&self.emission, Target::All)?;
        let room = RoomName::personal(run.scope.namespace, &user);
        speech::say(run, &room, &event, self.keep, self.id.as_ref()).await
    }
}

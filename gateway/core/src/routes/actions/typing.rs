//! `typing`: telling a room that somebody types; it ends by itself.

use std::fmt::{self, Formatter};
use std::iter;
use std::sync::Arc;
use std::time::Duration;

use super::kind::{Access, Kind};
use crate::domain::Refusal;
use crate::routes::Answer;
use crate::routes::context::Run;
use crate::routes::reader::{Emission, Reader, Target, default_args};
use crate::routes::template::{Context, Template};

const ARGS: &str = "args = [{ room = \"{room}\", user = \"{user.id?}\", typing = \"{typing}\" }]";
const MIN_TTL: Duration = Duration::from_secs(1);
const MAX_TTL: Duration = Duration::from_secs(60);
const TTL: Duration = Duration::from_secs(5);

/// Tell a room that somebody types; it ends by itself.
#[derive(Debug)]
pub struct Typing {
    /// Which.
    pub room: Template,
    /// What the others hear.
    pub emission: Emission,
    /// When it ends by itself.
    pub ttl: Duration,
    /// Whether somebody types ([`Template::holds`]) or has ended.
    pub active: Template,
}

impl Kind for Typing {
    const NAME: &'static str = "typing";

    fn compile(reader: &mut Reader<'_>) -> Option<Self> {
        let room = reader.room();
        let ttl = reader.keys.duration("ttl", MIN_TTL, MAX_TTL).unwrap_or(TTL);
        let active = reader.keys.template_or("active", "{arg.typing|true}", &reader.context());
        let context = Context { room: true, counts: true, typing: true, ..reader.context() };
        let event = Template::escape(&reader.subject.event);
        let emission = Reader::emission(&mut reader.keys, &context, Some(&event), || default_args(ARGS, &context));
        Some(Self { room: room?, emission: emission?, ttl, active: active? })
    }

    fn room(&self) -> Option<(&Template, Access)> {
        Some((&self.room, Access::Speak))
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        iter::once(&self.active).chain(self.emission.templates())
    }

    fn show(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, " active {} for {}, {}", self.active, humantime::format_duration(self.ttl), self.emission)
    }

    async fn run(&self, run: &mut Run<'_>, _: &Arc<str>) -> Result<Option<Answer>, Refusal> {
        let (session, node, room) = (run.session()?, &run.router.node, run.room()?);
        let begins = self.active.holds(&run.scope);
        run.scope.typing = Some(false);
        let end = run.event(&self.emission, Target::Others)?;
        if !begins {
            node.end_typing(session, &room, &end).await?;
            return Ok(None);
        }
        run.scope.typing = Some(true);
        let begin = run.event(&self.emission, Target::Others)?;
        node.begin_typing(session, &room, &begin, &end, self.ttl).await?;
        Ok(None)
    }
}

//! `presence`: who is in a room.

use std::fmt::{self, Formatter};
use std::sync::Arc;

use serde::Serialize;

use super::kind::{Access, After, Kind};
use super::values::number;
use crate::domain::{Refusal, UserId};
use crate::routes::Answer;
use crate::routes::context::Run;
use crate::routes::reader::Reader;
use crate::routes::template::Template;

/// Ask who is in a room.
#[derive(Debug)]
pub struct Presence {
    /// Which.
    pub room: Template,
    /// Where the page before ended.
    pub after: Template,
    /// How many members.
    pub limit: Template,
}

impl Kind for Presence {
    const NAME: &'static str = "presence";
    const AFTER: After = After::Own;
    const ASKS_MEMBERS: bool = true;

    fn compile(reader: &mut Reader<'_>) -> Option<Self> {
        let context = reader.context();
        let room = reader.room();
        let after = reader.keys.template_or("after", "{arg.after?}", &context);
        let limit = reader.keys.template_or("limit", "{arg.limit?}", &context);
        Some(Self { room: room?, after: after?, limit: limit? })
    }

    fn room(&self) -> Option<(&Template, Access)> {
        Some((&self.room, Access::Read))
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        [&self.after, &self.limit].into_iter()
    }

    fn show(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, " after {} limit {}", self.after, self.limit)
    }

    async fn run(&self, run: &mut Run<'_>, _: &Arc<str>) -> Result<Option<Answer>, Refusal> {
        let after = self.after.optional(&run.scope)?;
        let limit = number(&self.limit, &run.scope)?.unwrap_or(usize::MAX);
        let after = after.as_deref().filter(|after| !after.is_empty());
        let page = run.router.node.list_members(&run.room()?, after, limit).await?;
        let listed = page.members.into_iter().map(|member| Listed {
            member: member.member,
            user: member.user,
            since: member.since_ms,
        });
        let members = Members { ok: true, count: page.count, members: listed.collect(), next: page.next };
        Ok(Some(Answer::new(&members)))
    }
}

#[derive(Serialize)]
struct Members {
    ok: bool,
    /// How many members the room has, not only those listed.
    count: u64,
    members: Vec<Listed>,
    /// Where the next page begins, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize)]
struct Listed {
    /// The same for all sessions of a user; an anonymous session is its own member.
    member: String,
    user: Option<UserId>,
    /// Milliseconds since 1970.
    since: u64,
}

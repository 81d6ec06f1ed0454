//! `leave`: being in a room no longer.

use std::fmt::{self, Formatter};
use std::iter;
use std::sync::Arc;

use super::kind::{Access, After, Kind};
use crate::domain::Refusal;
use crate::routes::Answer;
use crate::routes::context::Run;
use crate::routes::names::Lifecycle;
use crate::routes::reader::Reader;
use crate::routes::template::Template;

/// Leave a room.
#[derive(Debug)]
pub struct Leave {
    /// Which.
    pub room: Template,
}

impl Kind for Leave {
    const NAME: &'static str = "leave";
    const ON: &'static [Lifecycle] = &[Lifecycle::Connect];
    const AFTER: After = After::Never;

    fn compile(reader: &mut Reader<'_>) -> Option<Self> {
        reader.room().map(|room| Self { room })
    }

    fn room(&self) -> Option<(&Template, Access)> {
        Some((&self.room, Access::Leave))
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        iter::empty()
    }

    fn show(&self, _: &mut Formatter<'_>) -> fmt::Result {
        Ok(())
    }

    async fn run(&self, run: &mut Run<'_>, via: &Arc<str>) -> Result<Option<Answer>, Refusal> {
        let (session, room) = (run.session()?, run.room()?);
        let was_in = session.is_in(&room);
        let (departures, left) = run.router.node.leave(session, &room).await;
        run.router.heed(departures).await;
        run.scope.never_in = Some(room).filter(|_| !was_in && !via.starts_with('$'));
        left.map(|()| None)
    }
}

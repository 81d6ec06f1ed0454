//! `publish`: saying something to a room, kept.

use std::fmt::{self, Formatter};
use std::sync::Arc;

use super::kind::{Access, Kind};
use super::speech;
use crate::domain::Refusal;
use crate::routes::Answer;
use crate::routes::context::Run;
use crate::routes::names::Lifecycle;
use crate::routes::reader::{Emission, Reader, Target};
use crate::routes::template::Template;

/// Say something to a room, kept.
#[derive(Debug)]
pub struct Publish {
    /// Which.
    pub room: Template,
    /// What is heard.
    pub emission: Emission,
    /// By whom.
    pub to: Target,
    /// A second publish of the same id is not kept again.
    pub id: Option<Template>,
}

impl Kind for Publish {
    const NAME: &'static str = "publish";
    const ON: &'static [Lifecycle] = &Lifecycle::ALL;

    fn compile(reader: &mut Reader<'_>) -> Option<Self> {
        let room = reader.room();
        let to = reader.target();
        let emission = speech::said(reader, true, true);
        let id = reader.keys.template("id", &reader.context());
        Some(Self { room: room?, emission: emission?, to, id })
    }

    fn room(&self) -> Option<(&Template, Access)> {
        Some((&self.room, Access::Speak))
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        self.emission.templates().chain(&self.id)
    }

    fn show(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, " to {}, {}", self.to, self.emission)?;
        speech::show_id(f, self.id.as_ref())
    }

    async fn run(&self, run: &mut Run<'_>, _: &Arc<str>) -> Result<Option<Answer>, Refusal> {
        let event = run.event(&self.emission, self.to)?;
        speech::keep(run, &run.room()?, &event, self.id.as_ref()).await.map(Some)
    }
}

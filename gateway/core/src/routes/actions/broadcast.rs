//! `broadcast`: saying something to everybody in the namespace.

use std::fmt::{self, Formatter};
use std::sync::Arc;

use super::kind::Kind;
use super::speech;
use crate::domain::{Refusal, RoomName};
use crate::routes::Answer;
use crate::routes::context::Run;
use crate::routes::names::Lifecycle;
use crate::routes::reader::{Emission, Reader, Target};
use crate::routes::template::Template;

/// Say something to everybody in the namespace.
#[derive(Debug)]
pub struct Broadcast {
    /// What is heard.
    pub emission: Emission,
    /// By whom.
    pub to: Target,
    /// Whether it is kept for who is away.
    pub keep: bool,
    /// A second event of the same id is not kept again.
    pub id: Option<Template>,
}

impl Kind for Broadcast {
    const NAME: &'static str = "broadcast";
    const ON: &'static [Lifecycle] = &Lifecycle::ALL;

    fn compile(reader: &mut Reader<'_>) -> Option<Self> {
        let to = reader.target();
        let (keep, id) = speech::keep_and_id(reader);
        let emission = speech::said(reader, false, keep)?;
        Some(Self { emission, to, keep, id })
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        self.emission.templates().chain(&self.id)
    }

    fn show(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, " to {}{}, {}", self.to, speech::show_keep(self.keep), self.emission)?;
        speech::show_id(f, self.id.as_ref())
    }

    async fn run(&self, run: &mut Run<'_>, _: &Arc<str>) -> Result<Option<Answer>, Refusal> {
        let event = run.event(&self.emission, self.to)?;
        let room = RoomName::everybody(run.scope.namespace);
        speech::say(run, &room, &event, self.keep, self.id.as_ref()).await
    }
}

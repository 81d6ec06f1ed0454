//! `signal`: saying something to a room, or to the sender alone, not kept.

use std::fmt::{self, Formatter};
use std::sync::Arc;

use super::kind::{Access, Kind};
use super::speech;
use crate::domain::{Frame, Refusal};
use crate::routes::Answer;
use crate::routes::context::Run;
use crate::routes::names::Lifecycle;
use crate::routes::reader::{Emission, Reader, Target};
use crate::routes::template::Template;

/// Who hears what is not said to a room: the word, and nothing for the sender alone.
const ALL_OTHERS_SELF: [(&str, Option<Target>); 3] =
    [("all", Some(Target::All)), ("others", Some(Target::Others)), ("self", None)];

/// Say something to a room, not kept.
#[derive(Debug)]
pub struct Signal {
    /// Which; nothing if only the sender hears it.
    pub room: Option<Template>,
    /// What is heard.
    pub emission: Emission,
    /// By whom; has no meaning without a room.
    pub to: Target,
}

impl Kind for Signal {
    const NAME: &'static str = "signal";
    const ON: &'static [Lifecycle] = &Lifecycle::ALL;

    fn compile(reader: &mut Reader<'_>) -> Option<Self> {
        let mut words = ALL_OTHERS_SELF.to_vec();
        if reader.subject.lifecycle.is_some_and(Lifecycle::outlives_session) {
            words.truncate(1);
        }
        let to = reader.keys.word("to", &words).unwrap_or(Some(Target::All));
        if to.is_none() {
            reader.keys.without_effect("room", "to = \"self\" is heard by the sender alone, in whatever room");
            reader.keys.know("room");
            let emission = speech::said(reader, false, false)?;
            return Some(Self { room: None, emission, to: Target::All });
        }
        let room = reader.room();
        let emission = speech::said(reader, true, false);
        Some(Self { room: Some(room?), emission: emission?, to: to.unwrap_or_default() })
    }

    fn room(&self) -> Option<(&Template, Access)> {
        self.room.as_ref().map(|room| (room, Access::Speak))
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        self.emission.templates()
    }

    fn show(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.room {
            Some(_) => write!(f, " to {}, {}", self.to, self.emission),
            None => write!(f, " to self, {}", self.emission),
        }
    }

    async fn run(&self, run: &mut Run<'_>, _: &Arc<str>) -> Result<Option<Answer>, Refusal> {
        let event = run.event(&self.emission, self.to)?;
        if self.room.is_some() {
            run.router.node.signal(&run.room()?, &event).await?;
            return Ok(None);
        }
        let session = run.session()?;
        if let Some(frame) = Frame::signalled(&event) {
            session.say(&frame).await;
        }
        Ok(None)
    }
}

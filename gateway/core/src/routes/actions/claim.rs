//! `claim`: holding a name.

use std::fmt::{self, Formatter};
use std::iter;
use std::sync::Arc;

use super::kind::Kind;
use crate::domain::{Frame, Refusal, RoomName, UserId};
use crate::routes::Answer;
use crate::routes::context::Run;
use crate::routes::names::Lifecycle;
use crate::routes::reader::{Emission, Reader, Target};
use crate::routes::template::{Args, Context, Template};

const NAME: &str = "a name has 1 to 255 bytes, something that can be seen, and no control characters";

/// Take a name that one session in the cluster can hold.
#[derive(Debug)]
pub struct Claim {
    /// The name.
    pub name: Template,
    /// What the client hears once it holds it.
    pub success: Option<Emission>,
}

impl Kind for Claim {
    const NAME: &'static str = "claim";
    const ON: &'static [Lifecycle] = &[Lifecycle::Connect, Lifecycle::Join];
    const HAS_NAME: bool = true;

    fn compile(reader: &mut Reader<'_>) -> Option<Self> {
        let name = reader.keys.required("name", "it is the name to take, like \"{arg}\"", &reader.context());
        let context = Context { name: true, counts: true, ..reader.context() };
        let success = if reader.keys.has("emit") {
            Reader::emission(&mut reader.keys, &context, None, Args::none)
        } else {
            reader.keys.know("emit");
            reader.keys.know("args");
            reader.keys.without_effect("args", "without emit nothing is said");
            None
        };
        Some(Self { name: name?, success })
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        iter::once(&self.name).chain(self.success.iter().flat_map(Emission::templates))
    }

    fn show(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.success {
            Some(success) => write!(f, " name {}, {success}", self.name),
            None => write!(f, " name {}", self.name),
        }
    }

    async fn run(&self, run: &mut Run<'_>, via: &Arc<str>) -> Result<Option<Answer>, Refusal> {
        let name = self.name.text(&run.scope)?.into_owned();
        // The rule of user ids.
        UserId::parse(&name).ok_or(Refusal::bad_request(NAME))?;
        run.scope.name = Some(name.clone());
        let session = run.session()?;
        if RoomName::claimed(&session.namespace, &name).looks().is_empty() {
            return Err(Refusal::bad_request(NAME));
        }
        run.router.node.claim_name(session, via, &name).await?;
        if let Some(success) = &self.success {
            let event = run.event(success, Target::All)?;
            if let Some(frame) = Frame::signalled(&event) {
                session.say(&frame).await;
            }
        }
        Ok(None)
    }
}

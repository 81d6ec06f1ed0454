//! `identify`: being somebody without a token.

use std::fmt::{self, Formatter};
use std::iter;
use std::sync::Arc;

use super::kind::Kind;
use crate::domain::{Refusal, UserId};
use crate::routes::Answer;
use crate::routes::context::Run;
use crate::routes::reader::Reader;
use crate::routes::template::Template;

/// Bind a session without a token to a user.
#[derive(Debug)]
pub struct Identify {
    /// Whom.
    pub user: Template,
}

impl Kind for Identify {
    const NAME: &'static str = "identify";

    fn compile(reader: &mut Reader<'_>) -> Option<Self> {
        let user = reader.keys.template_or("user", "{arg}", &reader.context())?;
        Some(Self { user })
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        iter::once(&self.user)
    }

    fn show(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, " user {}", self.user)
    }

    /// Only where nobody needs a token: otherwise anybody could be anybody.
    async fn run(&self, run: &mut Run<'_>, _: &Arc<str>) -> Result<Option<Answer>, Refusal> {
        let user = self.user.text(&run.scope)?;
        let user = UserId::parse(&user).ok_or(Refusal::bad_request(UserId::RULE))?;
        if run.router.entry.configured() {
            return Err(Refusal::NotAllowed);
        }
        run.router.node.identify(run.session()?, user).await?;
        Ok(None)
    }
}

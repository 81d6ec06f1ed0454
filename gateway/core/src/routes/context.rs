//! The context of an event on its way through its routes: what actions work with.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::Router;
use super::reader::{Emission, Target};
use super::template::{Args, AuthFields, Scope};
use crate::auth::Identity;
use crate::content::{check_emitted, json};
use crate::domain::{Event, Except, Refusal, RoomName};
use crate::node::{Session, now_ms};

/// How much larger than what a client may send an event may be that is made from it.
const GROWTH: usize = 2;

/// An event on its way.
pub(super) struct Run<'a> {
    pub(super) router: &'a Arc<Router>,
    /// Whose event it is; nobody's if the session was gone when it happened.
    pub(super) session: Option<&'a Arc<Session>>,
    pub(super) scope: Scope<'a>,
    /// The place of what happened in the order of all that happens to members, if it has one.
    pub(super) sequence: Option<u64>,
    pub(super) attachments: Vec<Bytes>,
}

/// What templates of an event's routes can read.
pub(super) fn scope<'a>(
    namespace: &'a str,
    event: &'a str,
    args: &'a [&'a RawValue],
    identity: &'a Identity,
    session: &'a str,
    auth: &'a AuthFields,
) -> Scope<'a> {
    Scope::new(namespace, event, args, identity, session, auth, now_ms())
}

impl<'a> Run<'a> {
    pub(super) fn new(router: &'a Arc<Router>, session: Option<&'a Arc<Session>>, scope: Scope<'a>) -> Self {
        Self { router, session, scope, sequence: None, attachments: Vec::new() }
    }

    /// The event that receivers hear.
    pub(super) fn event(&self, emission: &Emission, to: Target) -> Result<Event, Refusal> {
        let name = emission.emit.text(&self.scope)?;
        if emission.emit.fixed().is_none() {
            check_emitted(&name)?;
        }
        self.event_named(name.into_owned(), &emission.args, to)
    }

    /// The same under a name that may be emitted.
    pub(super) fn event_named(&self, name: String, args: &Args, to: Target) -> Result<Event, Refusal> {
        let event = Event {
            name,
            args: args.json(&self.scope)?,
            attachments: self.attachments.clone(),
            except: self.session.filter(|_| to == Target::Others).map(|session| Except::Session(session.id)),
            at_ms: self.scope.now_ms,
        };
        // Templates may say a thing several times, and an attachment must not be there twice.
        let limit = self.router.bounds.message_bytes;
        if event.size() > GROWTH * limit {
            return Err(Refusal::TooLarge { limit });
        }
        if !event.attachments.is_empty() && !json::placeholders_fit(&event.args, event.attachments.len()) {
            return Err(Refusal::bad_request("its attachments do not fit into what the others hear"));
        }
        Ok(event)
    }

    /// Whose event it is, for actions that need to know.
    pub(super) fn session(&self) -> Result<&'a Arc<Session>, Refusal> {
        self.session.ok_or(Refusal::NotAllowed)
    }

    /// The room of the route, for actions that have one.
    pub(super) fn room(&self) -> Result<RoomName, Refusal> {
        self.scope.room.clone().ok_or(Refusal::BadRoom)
    }
}

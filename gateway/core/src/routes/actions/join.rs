//! `join`: being in a room.

use std::fmt::{self, Formatter};
use std::num::NonZeroUsize;
use std::sync::Arc;

use serde::Serialize;

use super::kind::{Access, After, Kind};
use super::values::offset;
use crate::auth::Identity;
use crate::domain::{Offset, Refusal, RoomName};
use crate::node::{Entrance, Joined, Seat, Unrecovered};
use crate::presence::Numbered;
use crate::routes::Answer;
use crate::routes::context::Run;
use crate::routes::names::Lifecycle;
use crate::routes::reader::Reader;
use crate::routes::template::{Context, Scope, Template};

const MAX_CAPACITY: u64 = 1_000_000;
/// The highest number that is looked at where a token opens only some of numbered rooms.
const MAX_NUMBER: u32 = 1_000;
/// How many of these are tried: as many as a claim may name.
const MAX_TRIED: usize = 100;
/// Stands for any number: only a `*` of a token matches it, as no pattern may have a control character.
const ANY_NUMBER: char = '\u{2}';

/// Enter a room.
#[derive(Debug)]
pub struct Join {
    /// Which.
    pub room: Template,
    /// An offset: what the room published after it is replayed.
    pub since: Option<Template>,
    /// Replay what is still kept if it is not all.
    pub partial: bool,
    /// How many members it takes.
    pub capacity: Option<NonZeroUsize>,
    /// The room is the first of number 1, 2, … that takes another member.
    pub auto: bool,
    /// Who is in it is known cluster-wide.
    pub presence: bool,
    /// Nobody said whether, so it is as the other routes of the namespace need it.
    pub(in crate::routes) presence_by_need: bool,
}

impl Join {
    /// Whether, and among how many, members of the room are counted.
    #[must_use]
    pub fn seat(&self) -> Option<Seat> {
        let capacity = self.capacity.map(NonZeroUsize::get);
        (self.presence || capacity.is_some()).then_some(Seat { capacity })
    }

    /// Whether the token of who joins opens some of its numbered rooms, if it has any.
    ///
    /// # Errors
    /// It opens none, or they are no rooms.
    pub(in crate::routes) fn check_numbered(&self, scope: &Scope<'_>) -> Result<(), Refusal> {
        if !self.auto {
            return Ok(());
        }
        let rooms = numbered(scope, &self.room)?;
        let opens = opens_all(&rooms, scope.identity) || opened(&rooms, scope.identity).next().is_some();
        if opens { Ok(()) } else { Err(Refusal::NotAllowed) }
    }
}

impl Kind for Join {
    const NAME: &'static str = "join";
    // Not when somebody joined: it would set itself off again.
    const ON: &'static [Lifecycle] = &[Lifecycle::Connect];
    const AFTER: After = After::Never;

    fn compile(reader: &mut Reader<'_>) -> Option<Self> {
        let auto = reader.keys.boolean("auto").unwrap_or(false);
        let context = Context { number: auto || reader.before.number, ..reader.context() };
        let room = reader.room_in(&context);
        let since = reader.keys.template("since", &reader.context());
        let partial = reader.keys.boolean("partial").unwrap_or(false);
        let capacity = reader.keys.number("capacity", MAX_CAPACITY);
        let presence = reader.keys.boolean("presence");
        if partial && !reader.keys.has("since") {
            reader.keys.error("partial", "has no effect: without since nothing is replayed");
        }
        let is_numbered = room.as_ref().is_some_and(Template::has_number);
        if auto && capacity.is_none() {
            reader.keys.error("auto", "needs capacity: how many members a room takes before the next one is opened");
        }
        if auto && room.is_some() && !is_numbered {
            reader
                .keys
                .error("room", "needs {number}, as auto = true joins the first of room 1, 2, … that has a place");
        }
        if presence == Some(false) && capacity.is_some() {
            reader.keys.error("presence", "cannot be false with a capacity: who is in the room has to be known");
        }
        let capacity = capacity.and_then(|capacity| NonZeroUsize::new(usize::try_from(capacity).ok()?));
        let presence_by_need = presence.is_none();
        let presence = presence.unwrap_or(capacity.is_some());
        Some(Self { room: room?, since, partial, capacity, auto, presence, presence_by_need })
    }

    fn room(&self) -> Option<(&Template, Access)> {
        Some((&self.room, Access::Enter { numbered: self.auto }))
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        self.since.iter()
    }

    fn show(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(since) = &self.since {
            write!(f, " since {since}{}", if self.partial { " (partial)" } else { "" })?;
        }
        if let Some(capacity) = self.capacity {
            write!(f, " capacity {capacity}{}", if self.auto { " (auto)" } else { "" })?;
        }
        f.write_str(if self.presence { " with presence" } else { "" })
    }

    async fn run(&self, run: &mut Run<'_>, via: &Arc<str>) -> Result<Option<Answer>, Refusal> {
        let (session, node) = (run.session()?, &run.router.node);
        let after = self.since.as_ref().map(|since| offset(since, &run.scope)).transpose()?.flatten();
        let entrance = Entrance { via, after, partial: self.partial, seat: self.seat() };
        let joined = if let Some(capacity) = self.capacity.filter(|_| self.auto) {
            let rooms = numbered(&run.scope, &self.room)?;
            // Into rooms of the routes' own choice everybody may be put.
            let (number, joined) = if via.starts_with('$') || opens_all(&rooms, run.scope.identity) {
                node.join_first(session, &rooms, capacity.get(), &entrance).await?
            } else {
                join_opened(run, &rooms, &entrance).await?
            };
            run.scope.number = Some(number.into());
            run.scope.room = Some(rooms.name(number));
            joined
        } else {
            node.join(session, &run.room()?, &entrance).await?
        };
        let room = run.room()?;
        run.scope.never_in = None;
        if let Some(turn) = joined.first {
            run.router.happen(session, Lifecycle::Join, Some(room.clone()), Some(turn)).await;
        }
        Ok(Some(Answer::new(&Entered {
            ok: true,
            room: room.shown().unwrap_or_default(),
            offset: joined.offset,
            recovered: joined.recovered.map(|recovered| recovered.is_ok()),
            reason: joined.recovered.and_then(Result::err).map(Unrecovered::reason),
        })))
    }
}

/// The rooms that a template gives for all numbers.
fn numbered(scope: &Scope<'_>, room: &Template) -> Result<Numbered, Refusal> {
    let (before, after) = room.around_number(scope)?;
    if after.starts_with(|letter: char| letter.is_ascii_digit()) {
        return Err(Refusal::BadRoom);
    }
    // All are rooms if the one with the longest name is.
    let end = format!("{}{after}", u32::MAX);
    let longest = RoomName::parse_in(scope.namespace, &format!("{before}{end}"))?;
    let before = longest.as_str().strip_suffix(&end).unwrap_or_default().to_owned();
    Ok(Numbered { before, after })
}

/// Whether a token opens all of numbered rooms by one pattern. Then the store chooses among them in one step.
fn opens_all(Numbered { before, after }: &Numbered, identity: &Identity) -> bool {
    let any = RoomName::trusted(&format!("{before}{ANY_NUMBER}{after}"));
    any.shown().is_some_and(|any| identity.may_join(any))
}

/// The numbers whose rooms a token opens.
fn opened(rooms: &Numbered, identity: &Identity) -> impl Iterator<Item = u32> {
    (1..=MAX_NUMBER).filter(|number| rooms.name(*number).shown().is_some_and(|room| identity.may_join(room)))
}

/// Enters the first room that the token opens and that has a place. The store knows nothing of tokens, so one after the
/// other is tried: a seat in one of the others would be seen.
async fn join_opened(run: &Run<'_>, rooms: &Numbered, entrance: &Entrance<'_>) -> Result<(u32, Joined), Refusal> {
    let session = run.session()?;
    let mut numbers: Vec<_> = opened(rooms, run.scope.identity).take(MAX_TRIED).collect();
    // Whoever is in one of them already stays there.
    if let Some(own) = numbers.iter().copied().find(|number| session.is_in(&rooms.name(*number))) {
        numbers = vec![own];
    }
    let mut refusal = Refusal::NotAllowed;
    for number in numbers {
        match run.router.node.join(session, &rooms.name(number), entrance).await {
            Err(full @ Refusal::RoomFull { .. }) => refusal = full,
            joined => return joined.map(|joined| (number, joined)),
        }
    }
    Err(refusal)
}

#[derive(Serialize)]
struct Entered<'a> {
    ok: bool,
    room: &'a str,
    offset: Offset,
    /// Only for joins that named an offset: whether everything since then was delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    recovered: Option<bool>,
    /// Why it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

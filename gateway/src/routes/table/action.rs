//! What routes do: one struct per action, with the settings that it knows.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::Emission;
use crate::calls::Endpoint;
use crate::node::Seat;
use crate::routes::template::{Json, Template};

/// What a route makes the node do.
#[derive(Debug)]
#[expect(missing_docs, reason = "each carries the struct of the same name")]
pub enum Action {
    Join(Join),
    Leave(Leave),
    Publish(Publish),
    Signal(Signal),
    Direct(Direct),
    Broadcast(Broadcast),
    History(History),
    Presence(Presence),
    Claim(Claim),
    Typing(Typing),
    Call(Box<Call>),
    Log(Log),
    Identify(Identify),
}

impl Action {
    /// Every action's word, in the order of the documentation.
    pub const NAMES: [&'static str; 13] = [
        "join",
        "leave",
        "publish",
        "signal",
        "direct",
        "broadcast",
        "history",
        "presence",
        "claim",
        "typing",
        "call",
        "log",
        "identify",
    ];

    /// The word in configuration and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Join(_) => "join",
            Self::Leave(_) => "leave",
            Self::Publish(_) => "publish",
            Self::Signal(_) => "signal",
            Self::Direct(_) => "direct",
            Self::Broadcast(_) => "broadcast",
            Self::History(_) => "history",
            Self::Presence(_) => "presence",
            Self::Claim(_) => "claim",
            Self::Typing(_) => "typing",
            Self::Call(_) => "call",
            Self::Log(_) => "log",
            Self::Identify(_) => "identify",
        }
    }

    /// The room that it is about. Of an auto join it takes a number to fill it in.
    #[must_use]
    pub fn room(&self) -> Option<&Template> {
        match self {
            Self::Join(join) => Some(&join.room),
            Self::Leave(leave) => Some(&leave.room),
            Self::Publish(publish) => Some(&publish.room),
            Self::Signal(signal) => signal.room.as_ref(),
            Self::History(history) => Some(&history.room),
            Self::Presence(presence) => Some(&presence.room),
            Self::Typing(typing) => Some(&typing.room),
            Self::Direct(_)
            | Self::Broadcast(_)
            | Self::Claim(_)
            | Self::Call(_)
            | Self::Log(_)
            | Self::Identify(_) => None,
        }
    }
}

/// Which of those who could hear an event do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// All, the sender included.
    #[default]
    All,
    /// All but the sender.
    Others,
}

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
    pub(super) presence_by_need: bool,
}

impl Join {
    /// Whether, and among how many, members of the room are counted.
    #[must_use]
    pub fn seat(&self) -> Option<Seat> {
        let capacity = self.capacity.map(NonZeroUsize::get);
        (self.presence || capacity.is_some()).then_some(Seat { capacity })
    }
}

/// Leave a room.
#[derive(Debug)]
pub struct Leave {
    /// Which.
    pub room: Template,
}

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

/// Say something to all sessions of a user.
#[derive(Debug)]
pub struct Direct {
    /// Whose.
    pub user: Template,
    /// What is heard.
    pub emission: Emission,
    /// Whether it is kept for who is away.
    pub keep: bool,
    /// A second event of the same id is not kept again.
    pub id: Option<Template>,
}

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

/// Read what a room's log holds.
#[derive(Debug)]
pub struct History {
    /// Which.
    pub room: Template,
    /// An offset to read from.
    pub since: Template,
    /// An offset to read up to.
    pub before: Template,
    /// How many events.
    pub limit: Template,
}

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

/// Take a name that one session in the cluster can hold.
#[derive(Debug)]
pub struct Claim {
    /// The name.
    pub name: Template,
    /// What the client hears once it holds it.
    pub success: Option<Emission>,
}

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

/// Tell a back end over HTTP.
#[derive(Debug)]
pub struct Call {
    /// Where, as it was written: what came from the environment is not shown.
    pub(super) url: Template,
    /// Where and how, but for headers that depend on the event.
    pub endpoint: Endpoint,
    /// Headers by name.
    pub headers: Vec<(http::HeaderName, Template)>,
    /// The JSON that is posted.
    pub body: Json,
}

/// Write a line to the log of the node.
#[derive(Debug)]
pub struct Log {
    /// The line.
    pub message: Template,
    /// How important it is.
    pub level: LogLevel,
}

/// How important a line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the usual words")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// The words in configuration.
    pub(super) const WORDS: [(&'static str, Self); 5] = [
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];

    /// The word in configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::WORDS.iter().find(|(_, level)| *level == self).map_or("info", |(word, _)| word)
    }
}

/// Bind a session without a token to a user.
#[derive(Debug)]
pub struct Identify {
    /// Whom.
    pub user: Template,
}

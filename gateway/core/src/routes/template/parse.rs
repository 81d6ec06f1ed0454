//! Reading templates: the grammar of placeholders, and which of them mean something where.

use super::placeholder::{Fallback, Placeholder, Source};
use super::scope::Step;
use super::{Piece, Template};
use crate::routes::names::Lifecycle;

/// How many steps a path may have.
const MAX_STEPS: usize = 16;

/// Variables of the process, by name.
pub(in crate::routes) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What the place of a template knows, and so what may be asked for there.
#[derive(Clone, Copy)]
pub(in crate::routes) struct Context<'a> {
    /// What the route is for, if it is not for an event of clients.
    pub(in crate::routes) lifecycle: Option<Lifecycle>,
    /// There is a room.
    pub(in crate::routes) room: bool,
    /// There is an auto room's number.
    pub(in crate::routes) number: bool,
    /// Members and connections are counted.
    pub(in crate::routes) counts: bool,
    /// The name of a claim.
    pub(in crate::routes) name: bool,
    /// Whether somebody types.
    pub(in crate::routes) typing: bool,
    /// The event will have an offset. It may stand only as a value of its own.
    pub(in crate::routes) offset: bool,
    /// Why the route refused.
    pub(in crate::routes) refusal: bool,
    /// A notification that is about to be told.
    pub(in crate::routes) notification: bool,
    /// How many notifications are unread.
    pub(in crate::routes) unread: bool,
    /// Variables of the process may be named.
    pub(in crate::routes) environment: Option<Environment<'a>>,
}

impl<'a> Context<'a> {
    /// Nothing is known but variables of the process, if these may be named.
    pub(in crate::routes) fn of_nothing(environment: Option<Environment<'a>>) -> Self {
        Self {
            lifecycle: None,
            room: false,
            number: false,
            counts: false,
            name: false,
            typing: false,
            offset: false,
            refusal: false,
            notification: false,
            unread: false,
            environment,
        }
    }
}

const KNOWN: &str = "{arg…}, {args…}, {user.id}, {user.roles}, {session.id}, {auth.NAME}, {room}, {number}, {members}, \
                     {connections}, {now}, {event}, {namespace}, {name}, {typing}, {offset}, {notification}, \
                     {notification.id}, {unread}, {refusal.code}, {refusal.message}, {env.NAME}";

impl Template {
    /// Compiles a text.
    ///
    /// # Errors
    /// What is wrong with it, in words for whoever wrote it.
    pub(in crate::routes) fn parse(text: &str, context: &Context<'_>) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            if brace == "}" {
                return Err(format!("{text:?} has a }} without {{; write }}}} for the brace itself"));
            }
            let Some(end) = rest.find(['{', '}']).filter(|end| rest[*end..].starts_with('}')) else {
                return Err(format!("{text:?} has a {{ without }}; write {{{{ for the brace itself"));
            };
            let piece = placeholder(&rest[..end], context)?;
            rest = &rest[end + 1..];
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(piece);
        }
        plain.push_str(rest);
        if !plain.is_empty() || pieces.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        let is_alone = pieces.len() == 1;
        let asks_offset = |piece: &Piece| matches!(piece, Piece::Value(value) if value.source == Source::Offset);
        if !is_alone && pieces.iter().any(asks_offset) {
            return Err("{offset} can only be a whole value, as in args = [\"{arg}\", { at = \"{offset}\" }]".into());
        }
        Ok(Self(pieces))
    }
}

fn placeholder(inside: &str, context: &Context<'_>) -> Result<Piece, String> {
    let (name, fallback) = match inside.split_once('|') {
        Some((name, text)) => (name, Fallback::Text(text.to_owned())),
        None => match inside.strip_suffix('?') {
            Some(name) => (name, Fallback::Optional),
            None => (inside, Fallback::Required),
        },
    };
    if name.ends_with('?') {
        return Err(format!("{{{inside}}} has both ? and a default; one of them is enough"));
    }
    if let Some(variable) = name.strip_prefix("env.") {
        return from_environment(inside, variable, fallback, context);
    }
    let source = source(name)?;
    allowed(&source, context)?;
    if source == Source::Offset && fallback != Fallback::Required {
        return Err("{offset} always has a value; write it without ? or default".into());
    }
    Ok(Piece::Value(Placeholder { source, fallback }))
}

fn source(name: &str) -> Result<Source, String> {
    let mut steps = name.split('.');
    let first = steps.next().unwrap_or_default();
    let path: Vec<&str> = steps.collect();
    if path.iter().any(|step| step.is_empty() || step.chars().any(char::is_control)) {
        return Err(format!("{{{name}}} has an empty step; a path is like {{arg.user.name}} or {{arg.0}}"));
    }
    if path.len() > MAX_STEPS {
        return Err(format!("{{{name}}} has more than {MAX_STEPS} steps"));
    }
    let steps = |path: &[&str]| path.iter().copied().map(Step::new).collect::<Vec<_>>();
    Ok(match (first, &path[..]) {
        ("arg", path) => Source::Arg(steps(path)),
        ("args", path) => {
            let path = steps(path);
            if path.first().is_some_and(|step| step.index().is_none()) {
                return Err(format!("{{{name}}}: {{args}} takes a number first, as in {{args.0.room}}"));
            }
            Source::Args(path)
        }
        ("user", ["id"]) => Source::UserId,
        ("user", ["roles"]) => Source::UserRoles,
        ("session", ["id"]) => Source::SessionId,
        ("auth", ["token" | "pid", ..]) => return Err(format!("{{{name}}} is a secret of the client and never shown")),
        ("auth", [field, path @ ..]) => Source::Auth((*field).to_owned(), steps(path)),
        ("room", []) => Source::Room,
        ("number", []) => Source::Number,
        ("members", []) => Source::Members,
        ("connections", []) => Source::Connections,
        ("now", []) => Source::Now,
        ("event", []) => Source::Event,
        ("namespace", []) => Source::Namespace,
        ("name", []) => Source::Name,
        ("typing", []) => Source::Typing,
        ("offset", []) => Source::Offset,
        ("notification", []) => Source::Notification,
        ("notification", ["id"]) => Source::NotificationId,
        ("unread", []) => Source::Unread,
        ("refusal", ["code"]) => Source::RefusalCode,
        ("refusal", ["message"]) => Source::RefusalMessage,
        ("user" | "session" | "auth" | "refusal" | "env", []) => {
            return Err(format!("{{{name}}} is not a placeholder by itself; there are: {KNOWN}"));
        }
        _ => return Err(format!("{{{name}}} is not a placeholder; there are: {KNOWN}")),
    })
}

/// Whether a placeholder means something in its place.
fn allowed(source: &Source, context: &Context<'_>) -> Result<(), String> {
    let lifecycle = context.lifecycle.map_or("", Lifecycle::name);
    let gone = context.lifecycle.is_some_and(Lifecycle::outlives_session);
    let why_not = match source {
        Source::Arg(_) | Source::Args(_) if !lifecycle.is_empty() => {
            format!("a {lifecycle} route has no arguments, as no client sent it")
        }
        Source::Auth(..) | Source::UserRoles if gone => {
            format!("when a {lifecycle} route runs the session may be long gone")
        }
        Source::Members if context.counts && !context.room => {
            "needs a room: give the route one, or put a join for the same event before it".into()
        }
        Source::Room if !context.room => {
            "there is no room yet: give the route one, or put a join or leave for the same event before it".into()
        }
        Source::Number if !context.number => {
            "only a join with auto = true has a number, in its room and in the routes after it".into()
        }
        Source::Members | Source::Connections if !context.counts => {
            "nothing is counted here; it can stand in emit, args, body and message".into()
        }
        Source::Name if !context.name => "only the action claim has a name, in its emit, args and refused".into(),
        Source::Typing if !context.typing => "only the args of the action typing know it".into(),
        Source::Offset if !context.offset => {
            "only an event that is kept has an offset: in args of publish, direct and broadcast".into()
        }
        Source::Notification | Source::NotificationId if !context.notification => {
            "only the args of the action notify have a notification".into()
        }
        Source::Unread if !context.unread => "only the args of the action notifications know it".into(),
        Source::RefusalCode | Source::RefusalMessage if !context.refusal => "it can stand in refused only".into(),
        _ => return Ok(()),
    };
    Err(format!("{{{source}}} cannot stand here: {why_not}"))
}

fn from_environment(inside: &str, variable: &str, fallback: Fallback, context: &Context<'_>) -> Result<Piece, String> {
    let Some(environment) = context.environment else {
        return Err(format!("{{env.{variable}}} cannot stand here"));
    };
    if variable.is_empty() || !variable.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err(format!("{{env.{variable}}}: a variable's name has letters, digits and _"));
    }
    if variable.starts_with("GATEWAY_") {
        return Err(format!("{{env.{variable}}} is a setting of the gateway, maybe a secret; use another variable"));
    }
    let value = match (environment(variable), fallback) {
        (Some(value), _) => value,
        (None, Fallback::Text(text)) => text,
        (None, Fallback::Optional) => String::new(),
        (None, Fallback::Required) => {
            return Err(format!("{{env.{variable}}}: {variable} is not set, and there is no default (as |text)"));
        }
    };
    Ok(Piece::Env { shown: inside.to_owned(), value })
}

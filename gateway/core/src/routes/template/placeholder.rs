//! One placeholder: where its value comes from, and what happens if there is none.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use serde_json::value::RawValue;

use super::scope::{Scope, Step, walk};
use super::{write_json, write_within_string};
use crate::content::json;
use crate::domain::Refusal;

const NO_TEXT: &str = "is not a text or a number";
/// A room or a user cannot be called so, a header or a line of the log cannot hold it.
const HALF: &str = "is a text with half a character in it: a surrogate without its other half";

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::routes) enum Source {
    /// The first argument, or what is at a path in it.
    Arg(Vec<Step>),
    /// All arguments, or what is at a path in them.
    Args(Vec<Step>),
    UserId,
    UserRoles,
    SessionId,
    /// A field of the CONNECT payload, and a path in it.
    Auth(String, Vec<Step>),
    Room,
    Number,
    Members,
    Connections,
    Now,
    Event,
    Namespace,
    Name,
    Typing,
    /// The event's own offset, filled in when it has one.
    Offset,
    /// What is about to be told, and as what it is kept.
    Notification,
    NotificationId,
    Unread,
    RefusalCode,
    RefusalMessage,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, path): (&str, &[Step]) = match self {
            Self::Arg(path) => ("arg", path),
            Self::Args(path) => ("args", path),
            Self::UserId => ("user.id", &[]),
            Self::UserRoles => ("user.roles", &[]),
            Self::SessionId => ("session.id", &[]),
            Self::Auth(field, path) => {
                write!(f, "auth.{field}")?;
                ("", path)
            }
            Self::Room => ("room", &[]),
            Self::Number => ("number", &[]),
            Self::Members => ("members", &[]),
            Self::Connections => ("connections", &[]),
            Self::Now => ("now", &[]),
            Self::Event => ("event", &[]),
            Self::Namespace => ("namespace", &[]),
            Self::Name => ("name", &[]),
            Self::Typing => ("typing", &[]),
            Self::Offset => ("offset", &[]),
            Self::Notification => ("notification", &[]),
            Self::NotificationId => ("notification.id", &[]),
            Self::Unread => ("unread", &[]),
            Self::RefusalCode => ("refusal.code", &[]),
            Self::RefusalMessage => ("refusal.message", &[]),
        };
        f.write_str(name)?;
        path.iter().try_for_each(|step| write!(f, ".{step}"))
    }
}

/// What stands for a value that is not there, or `null`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fallback {
    /// Nothing: the event is refused. `null` is a value.
    Required,
    /// `?`: nothing, and that is fine.
    Optional,
    /// `|text`
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placeholder {
    pub(super) source: Source,
    pub(super) fallback: Fallback,
}

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fallback {
            Fallback::Required => write!(f, "{{{}}}", self.source),
            Fallback::Optional => write!(f, "{{{}?}}", self.source),
            Fallback::Text(text) => write!(f, "{{{}|{text}}}", self.source),
        }
    }
}

impl Placeholder {
    pub(super) fn is_user(&self) -> bool {
        self.source == Source::UserId
    }

    /// Whether there has to be a value.
    pub(super) fn is_required(&self) -> bool {
        self.fallback == Fallback::Required
    }

    /// The value; nothing if there is none and none is needed.
    pub(super) fn resolve<'a>(&'a self, scope: &'a Scope<'_>) -> Result<Option<Value<'a>>, Refusal> {
        let value = self.value(scope);
        match (&self.fallback, value) {
            (Fallback::Required, None) => Err(self.refusal("has no value")),
            (Fallback::Required, value) => Ok(value),
            (_, Some(value)) if !value.is_null() => Ok(Some(value)),
            (Fallback::Optional, _) => Ok(None),
            (Fallback::Text(text), _) => Ok(Some(Value::Text(Cow::Borrowed(text)))),
        }
    }

    pub(super) fn refusal(&self, what: &str) -> Refusal {
        Refusal::bad_request(format!("{{{}}} {what}", self.source))
    }

    fn value<'a>(&self, scope: &'a Scope<'_>) -> Option<Value<'a>> {
        Some(match &self.source {
            Source::Arg(path) => Value::Raw(scope.in_first(path)?),
            Source::Args(path) => match path.split_first() {
                None => Value::Args(scope.args),
                Some((step, path)) => Value::Raw(walk(scope.args.get(step.index()?)?, path)?),
            },
            Source::UserId => Value::text(scope.identity.user.as_ref()?.as_str()),
            Source::UserRoles => Value::Texts(&scope.identity.roles),
            Source::SessionId => Value::text(scope.session),
            Source::Auth(field, path) => Value::Raw(walk(scope.auth.get(field)?, path)?),
            Source::Room => Value::text(scope.room.as_ref()?.shown()?),
            Source::Number => Value::Number(scope.number?),
            Source::Members => Value::Number(scope.members?),
            Source::Connections => Value::Number(scope.connections?),
            Source::Now => Value::Number(scope.now_ms),
            Source::Event => Value::text(scope.event),
            Source::Namespace => Value::text(scope.namespace),
            Source::Name => Value::text(scope.name.as_deref()?),
            Source::Typing => Value::Bool(scope.typing?),
            // The edge writes it, as it is known only when the event is kept.
            Source::Offset => Value::text(""),
            Source::Notification => Value::Raw(scope.notification.as_deref()?),
            // What is not kept has none, and that is no mistake of whoever sent it.
            Source::NotificationId => {
                let notification = scope.notification.as_deref()?;
                Value::Raw(json::field(notification, "id").unwrap_or(RawValue::NULL))
            }
            Source::Unread => Value::Number(scope.unread?),
            Source::RefusalCode => Value::text(scope.refusal.as_ref()?.0),
            Source::RefusalMessage => Value::text(&scope.refusal.as_ref()?.1),
        })
    }
}

/// What a placeholder stands for.
#[derive(Debug)]
pub(super) enum Value<'a> {
    Raw(&'a RawValue),
    Text(Cow<'a, str>),
    Texts(&'a [String]),
    Args(&'a [&'a RawValue]),
    Number(u64),
    Bool(bool),
}

impl<'a> Value<'a> {
    fn text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    fn is_null(&self) -> bool {
        matches!(self, Self::Raw(raw) if raw.get() == "null")
    }

    /// Whether it counts as yes.
    pub(super) fn holds(self) -> bool {
        match self {
            Self::Raw(raw) => !matches!(raw.get(), "null" | "false" | "\"\""),
            Self::Text(text) => !text.is_empty(),
            Self::Bool(yes) => yes,
            Self::Texts(_) | Self::Args(_) | Self::Number(_) => true,
        }
    }

    /// A text, or a number as text.
    ///
    /// # Errors
    /// What it is instead, in words that follow its placeholder.
    pub(super) fn into_text(self) -> Result<Cow<'a, str>, &'static str> {
        match self {
            Self::Raw(raw) if json::is_text(raw) => json::text(raw).ok_or(HALF),
            Self::Raw(raw) if raw.get().starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) => {
                Ok(Cow::Borrowed(raw.get()))
            }
            Self::Text(text) => Ok(text),
            Self::Number(number) => Ok(Cow::Owned(number.to_string())),
            Self::Raw(_) | Self::Texts(_) | Self::Args(_) | Self::Bool(_) => Err(NO_TEXT),
        }
    }

    /// Appends it as people write it: texts bare, nothing for `null`, objects and arrays as JSON.
    ///
    /// # Errors
    /// It is a text that is none here, in words that follow its placeholder. Nothing is appended.
    pub(super) fn write_text(self, out: &mut String) -> Result<(), &'static str> {
        match self {
            Self::Raw(raw) if raw.get() == "null" => {}
            Self::Raw(raw) if json::is_text(raw) => out.push_str(&json::text(raw).ok_or(HALF)?),
            Self::Text(text) => out.push_str(&text),
            other => other.write_json(out),
        }
        Ok(())
    }

    /// The same within a JSON string, where a client's text may stand as it was escaped, whatever is in it.
    pub(super) fn write_within_string(self, out: &mut String) {
        match self {
            Self::Raw(raw) if raw.get() == "null" => {}
            Self::Raw(raw) if json::is_text(raw) => out.push_str(&raw.get()[1..raw.get().len() - 1]),
            Self::Text(text) => write_within_string(out, &text),
            other => {
                let mut text = String::new();
                other.write_json(&mut text);
                write_within_string(out, &text);
            }
        }
    }

    /// Appends it as JSON; what a client sent as it was sent.
    pub(super) fn write_json(self, out: &mut String) {
        match self {
            Self::Raw(raw) => out.push_str(raw.get()),
            Self::Text(text) => write_json(out, &text),
            Self::Texts(texts) => write_list(out, texts, |out, text| write_json(out, text)),
            Self::Args(args) => write_list(out, args, |out, raw| out.push_str(raw.get())),
            Self::Number(number) => write!(out, "{number}").expect("a String takes everything"),
            Self::Bool(yes) => out.push_str(if yes { "true" } else { "false" }),
        }
    }
}

/// Appends a JSON array.
pub(super) fn write_list<T>(out: &mut String, items: &[T], mut write: impl FnMut(&mut String, &T)) {
    out.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(out, item);
    }
    out.push(']');
}

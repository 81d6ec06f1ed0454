//! Templates: texts and JSON with `{placeholders}`, compiled at load and filled in for every event.

mod args;
mod parse;
mod placeholder;
mod scope;

pub use args::{Args, Json};
pub use scope::{AuthFields, Scope};

pub(super) use args::{JsonError, literal};
pub(super) use parse::{Context, Environment};
pub(super) use placeholder::Source;

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io;

use placeholder::{Placeholder, Value};

use crate::auth::Identity;
use crate::domain::Refusal;

/// A text with placeholders, as `"{arg.room}"` or `"room-{number}"`.
///
/// [`fmt::Display`] gives the form of the configuration back; what came from the environment stays hidden.
#[derive(Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// What the environment said at load. Often a secret.
    Env {
        /// As it stands between the braces.
        shown: String,
        value: String,
    },
    Value(Placeholder),
}

impl Template {
    /// The text for an event. A template that is one placeholder takes a text or a number; in mixed text anything
    /// goes, objects and arrays as JSON.
    ///
    /// # Errors
    /// [`Refusal::BadRequest`] if a placeholder has no value and says nothing about that, or the one placeholder of
    /// the template stands for something else than a text or a number. The words name the placeholder and never quote
    /// the event.
    pub fn text<'a>(&'a self, scope: &'a Scope<'_>) -> Result<Cow<'a, str>, Refusal> {
        Ok(self.optional(scope)?.unwrap_or_default())
    }

    /// As [`Self::text`], but nothing if the template is one placeholder `{…?}` without a value.
    ///
    /// # Errors
    /// See [`Self::text`].
    pub fn optional<'a>(&'a self, scope: &'a Scope<'_>) -> Result<Option<Cow<'a, str>>, Refusal> {
        match &self.0[..] {
            [Piece::Text(text) | Piece::Env { value: text, .. }] => Ok(Some(Cow::Borrowed(text))),
            [Piece::Value(placeholder)] => match placeholder.resolve(scope)? {
                None => Ok(None),
                Some(value) => value.into_text().map(Some).map_err(|what| placeholder.refusal(what)),
            },
            pieces => Ok(Some(Cow::Owned(mixed(pieces, scope)?))),
        }
    }

    /// Appends the JSON for an event: the value itself if the template is one placeholder, its JSON text untouched if
    /// it came from the client; otherwise the text as a JSON string, in which a client's texts are escaped as they came.
    ///
    /// # Errors
    /// [`Refusal::BadRequest`] if a placeholder has no value and says nothing about that; any value is welcome.
    pub fn json(&self, scope: &Scope<'_>, out: &mut String) -> Result<(), Refusal> {
        match &self.0[..] {
            [Piece::Text(text) | Piece::Env { value: text, .. }] => write_json(out, text),
            [Piece::Value(placeholder)] => match placeholder.resolve(scope)? {
                Some(value) => value.write_json(out),
                None => out.push_str("null"),
            },
            pieces => {
                out.push('"');
                for piece in pieces {
                    match piece {
                        Piece::Text(text) | Piece::Env { value: text, .. } => write_within_string(out, text),
                        Piece::Value(placeholder) => {
                            if let Some(value) = placeholder.resolve(scope)? {
                                value.write_within_string(out);
                            }
                        }
                    }
                }
                out.push('"');
            }
        }
        Ok(())
    }

    /// Whether every placeholder has a value other than `null`, `false` and the empty text. A placeholder without a
    /// value is no error here.
    #[must_use]
    pub fn holds(&self, scope: &Scope<'_>) -> bool {
        self.placeholders()
            .all(|placeholder| placeholder.resolve(scope).is_ok_and(|value| value.is_some_and(Value::holds)))
    }

    /// The text of a template without placeholders, but for those of the environment.
    #[must_use]
    pub fn fixed(&self) -> Option<String> {
        let texts = self.0.iter().map(|piece| match piece {
            Piece::Text(text) | Piece::Env { value: text, .. } => Some(text.as_str()),
            Piece::Value(_) => None,
        });
        texts.collect()
    }

    /// The texts before and after `{number}`, which is not known yet.
    ///
    /// # Errors
    /// See [`Self::text`].
    pub fn around_number(&self, scope: &Scope<'_>) -> Result<(String, String), Refusal> {
        let is_number =
            |piece: &Piece| matches!(piece, Piece::Value(placeholder) if placeholder.source == Source::Number);
        let place = self.0.iter().position(is_number).unwrap_or(self.0.len());
        let (before, after) = (&self.0[..place], self.0.get(place + 1..).unwrap_or_default());
        Ok((mixed(before, scope)?, mixed(after, scope)?))
    }

    /// Whether a text may have come from this template for a session of this identity: its fixed parts are there, in
    /// order. What other placeholders stood for is not known any more, so they may have been anything.
    #[must_use]
    pub fn may_give(&self, text: &str, identity: &Identity) -> bool {
        // The fixed parts between the placeholders that may be anything.
        let mut parts = vec![String::new()];
        for piece in &self.0 {
            let last = parts.last_mut().expect("it begins with one");
            match piece {
                Piece::Text(text) | Piece::Env { value: text, .. } => last.push_str(text),
                Piece::Value(placeholder) if placeholder.is_user() => match &identity.user {
                    Some(user) => last.push_str(user.as_str()),
                    None if placeholder.is_required() => return false,
                    None => parts.push(String::new()),
                },
                Piece::Value(_) => parts.push(String::new()),
            }
        }
        let last = parts.pop().expect("it begins with one");
        let Some((first, middle)) = parts.split_first() else {
            return text == last;
        };
        let Some(mut rest) = text.strip_prefix(first.as_str()).and_then(|rest| rest.strip_suffix(last.as_str())) else {
            return false;
        };
        for part in middle {
            match rest.find(part.as_str()) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        true
    }

    /// Whether it holds what is not to be shown.
    fn is_hidden(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Env { .. }))
    }

    /// Whether it asks for the number of an auto room.
    fn is_offset(&self) -> bool {
        matches!(&self.0[..], [Piece::Value(placeholder)] if placeholder.source == Source::Offset)
    }

    pub(super) fn has_number(&self) -> bool {
        self.sources().any(|source| *source == Source::Number)
    }

    /// The template that gives this text.
    pub(super) fn escape(text: &str) -> String {
        text.replace('{', "{{").replace('}', "}}")
    }

    pub(super) fn sources(&self) -> impl Iterator<Item = &Source> {
        self.placeholders().map(|placeholder| &placeholder.source)
    }

    fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Value(placeholder) => Some(placeholder),
            _ => None,
        })
    }
}

fn mixed(pieces: &[Piece], scope: &Scope<'_>) -> Result<String, Refusal> {
    let mut out = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) | Piece::Env { value: text, .. } => out.push_str(text),
            Piece::Value(placeholder) => {
                if let Some(value) = placeholder.resolve(scope)? {
                    value.write_text(&mut out).map_err(|what| placeholder.refusal(what))?;
                }
            }
        }
    }
    Ok(out)
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => {
                    for letter in text.chars() {
                        if matches!(letter, '{' | '}') {
                            f.write_char(letter)?;
                        }
                        f.write_char(letter)?;
                    }
                }
                Piece::Env { shown, .. } => write!(f, "{{{shown}}}")?,
                Piece::Value(placeholder) => write!(f, "{placeholder}")?,
            }
        }
        Ok(())
    }
}

/// Secrets of the environment must not reach logs.
impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({self})")
    }
}

/// Appends a text as a JSON string.
fn write_json(out: &mut String, text: &str) {
    struct Utf8<'a>(&'a mut String);
    impl io::Write for Utf8<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push_str(std::str::from_utf8(bytes).map_err(io::Error::other)?);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    serde_json::to_writer(Utf8(out), text).expect("a text is cut only between characters");
}

/// Appends a text as what stands between the quotes of a JSON string.
fn write_within_string(out: &mut String, text: &str) {
    let mut json = String::with_capacity(text.len() + 2);
    write_json(&mut json, text);
    out.push_str(&json[1..json.len() - 1]);
}

#[cfg(test)]
mod tests;

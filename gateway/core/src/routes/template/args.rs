//! JSON with templates in it: the arguments of an event, the body of a call.

use std::fmt;

use toml::de::DeValue;

use super::placeholder::write_list;
use super::{Context, Scope, Template, write_json};
use crate::domain::{Event, Refusal};

/// The arguments that receivers hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Args {
    /// What the client sent, untouched.
    Client,
    /// A list of the configuration.
    List(Json),
}

/// JSON with templates, its fixed parts encoded at load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json(Vec<Chunk>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Chunk {
    Fixed(String),
    Template(Template),
    /// Where the event's own offset belongs.
    Offset,
}

/// What is wrong with a value, and where it stands in the file.
#[derive(Debug)]
pub(in crate::routes) struct JsonError {
    pub(in crate::routes) at: usize,
    pub(in crate::routes) why: String,
}

impl Args {
    /// No arguments.
    pub(in crate::routes) fn none() -> Self {
        Self::List(Json(vec![Chunk::Fixed("[]".into())]))
    }

    /// The arguments for an event: a JSON array, in which [`Event::OFFSET`] stands for the event's own offset.
    ///
    /// # Errors
    /// See [`Template::json`].
    pub fn json(&self, scope: &Scope<'_>) -> Result<String, Refusal> {
        match self {
            Self::Client => {
                let bytes = scope.args.iter().map(|raw| raw.get().len() + 1).sum::<usize>();
                let mut json = String::with_capacity(bytes + 1);
                write_list(&mut json, scope.args, |out, raw| out.push_str(raw.get()));
                Ok(json)
            }
            Self::List(json) => json.render(scope),
        }
    }

    /// The templates in it.
    pub(in crate::routes) fn templates(&self) -> impl Iterator<Item = &Template> {
        let json = match self {
            Self::Client => None,
            Self::List(json) => Some(json),
        };
        json.into_iter().flat_map(Json::templates)
    }
}

impl Json {
    /// The JSON text for an event.
    ///
    /// # Errors
    /// See [`Template::json`].
    pub fn render(&self, scope: &Scope<'_>) -> Result<String, Refusal> {
        let mut out = String::with_capacity(256);
        for chunk in &self.0 {
            match chunk {
                Chunk::Fixed(text) => out.push_str(text),
                Chunk::Template(template) => template.json(scope, &mut out)?,
                Chunk::Offset => out.push(Event::OFFSET),
            }
        }
        Ok(out)
    }

    /// Compiles a value of the configuration: its texts are templates, at any depth.
    pub(in crate::routes) fn compile(
        value: &toml::Spanned<DeValue<'_>>,
        context: &Context<'_>,
    ) -> Result<Self, JsonError> {
        let mut chunks = Chunks::default();
        chunks.value(value, context)?;
        Ok(chunks.finish())
    }

    pub(in crate::routes) fn templates(&self) -> impl Iterator<Item = &Template> {
        self.0.iter().filter_map(|chunk| match chunk {
            Chunk::Template(template) => Some(template),
            Chunk::Fixed(_) | Chunk::Offset => None,
        })
    }
}

impl Args {
    /// Compiles a list of the configuration.
    pub(in crate::routes) fn compile(
        items: &[&toml::Spanned<DeValue<'_>>],
        context: &Context<'_>,
    ) -> Result<Self, JsonError> {
        let mut chunks = Chunks::default();
        chunks.fixed("[");
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                chunks.fixed(",");
            }
            chunks.value(item, context)?;
        }
        chunks.fixed("]");
        Ok(Self::List(chunks.finish()))
    }
}

/// Fixed text of the form that the configuration has, with templates as the JSON texts that they are there.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|chunk| match chunk {
            Chunk::Fixed(text) => f.write_str(text),
            Chunk::Offset => f.write_str("\"{offset}\""),
            Chunk::Template(template) => {
                let mut text = String::new();
                write_json(&mut text, &template.to_string());
                f.write_str(&text)
            }
        })
    }
}

impl fmt::Display for Args {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => f.write_str("as sent"),
            Self::List(json) => json.fmt(f),
        }
    }
}

#[derive(Default)]
struct Chunks {
    done: Vec<Chunk>,
    fixed: String,
}

impl Chunks {
    fn fixed(&mut self, text: &str) {
        self.fixed.push_str(text);
    }

    fn template(&mut self, template: Template) {
        if template.is_offset() {
            self.flush();
            return self.done.push(Chunk::Offset);
        }
        match template.fixed() {
            // What is fixed is encoded once, unless it must not be shown.
            Some(text) if !template.is_hidden() => write_json(&mut self.fixed, &text),
            _ => {
                self.flush();
                self.done.push(Chunk::Template(template));
            }
        }
    }

    fn flush(&mut self) {
        if !self.fixed.is_empty() {
            self.done.push(Chunk::Fixed(std::mem::take(&mut self.fixed)));
        }
    }

    fn finish(mut self) -> Json {
        self.flush();
        Json(self.done)
    }

    fn value(&mut self, value: &toml::Spanned<DeValue<'_>>, context: &Context<'_>) -> Result<(), JsonError> {
        match value.get_ref() {
            DeValue::String(text) => {
                let template = Template::parse(text, context);
                self.template(template.map_err(|why| JsonError { at: value.span().start, why })?);
            }
            DeValue::Array(items) => {
                self.fixed("[");
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        self.fixed(",");
                    }
                    self.value(item, context)?;
                }
                self.fixed("]");
            }
            DeValue::Table(fields) => {
                self.fixed("{");
                for (index, (name, field)) in fields.iter().enumerate() {
                    if index > 0 {
                        self.fixed(",");
                    }
                    write_json(&mut self.fixed, name.get_ref());
                    self.fixed(":");
                    self.value(field, context)?;
                }
                self.fixed("}");
            }
            scalar => {
                let value = plain(scalar).map_err(|why| JsonError { at: value.span().start, why })?;
                self.fixed(&value.to_string());
            }
        }
        Ok(())
    }
}

/// A number, truth value or date as JSON.
fn plain(value: &DeValue<'_>) -> Result<serde_json::Value, String> {
    match value {
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(Into::into)
            .map_err(|_| "the number does not fit into 64 bits".into()),
        DeValue::Float(number) => {
            let number = number.as_str().parse().ok().and_then(serde_json::Number::from_f64);
            number.map(Into::into).ok_or_else(|| "JSON has finite numbers only".into())
        }
        DeValue::Boolean(yes) => Ok((*yes).into()),
        DeValue::Datetime(time) => Ok(time.to_string().into()),
        DeValue::String(text) => Ok(text.as_ref().into()),
        DeValue::Array(_) | DeValue::Table(_) => Err("a plain value is expected".into()),
    }
}

/// A value of the configuration as JSON, its texts as they are.
pub(in crate::routes) fn literal(value: &toml::Spanned<DeValue<'_>>) -> Result<serde_json::Value, JsonError> {
    Ok(match value.get_ref() {
        DeValue::Array(items) => items.iter().map(literal).collect::<Result<Vec<_>, _>>()?.into(),
        DeValue::Table(fields) => {
            let fields = fields.iter().map(|(name, field)| Ok((name.get_ref().to_string(), literal(field)?)));
            serde_json::Value::Object(fields.collect::<Result<_, JsonError>>()?)
        }
        scalar => plain(scalar).map_err(|why| JsonError { at: value.span().start, why })?,
    })
}

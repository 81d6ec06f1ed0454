//! Reading a TOML table key by key: every mistake is noted with its line, and what nobody asked for is one.

use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Errors, Source};
use crate::routes::template::{Args, Context, Json, JsonError, Template, literal};

/// A table that is being read. Getters return nothing if the key is not there, or is there and was noted as wrong.
pub(in crate::routes) struct Keys<'a> {
    source: &'a Source,
    errors: &'a Errors,
    table: &'a DeTable<'a>,
    /// Where the table begins.
    at: usize,
    /// What stands before its keys in messages: nothing, or as `rate.`.
    prefix: String,
    /// The keys that were asked for.
    known: Vec<&'static str>,
}

impl<'a> Keys<'a> {
    pub(in crate::routes) fn new(source: &'a Source, errors: &'a Errors, table: &'a DeTable<'a>, at: usize) -> Self {
        Self { source, errors, table, at, prefix: String::new(), known: Vec::new() }
    }

    /// `file:line` of the table: of its first key, as a header of a table has none of its own.
    pub(in crate::routes) fn place(&self) -> String {
        self.source.place(self.at)
    }

    /// Notes a mistake at a key, or at the table if it does not have the key.
    pub(in crate::routes) fn error(&self, key: &str, why: impl AsRef<str>) {
        let at = self.table.get(key).map_or(self.at, |value| value.span().start);
        self.error_at(at, key, why);
    }

    pub(in crate::routes) fn error_at(&self, at: usize, key: &str, why: impl AsRef<str>) {
        self.errors.add(format!("{}: {}{key}: {}", self.source.place(at), self.prefix, why.as_ref()));
    }

    /// Notes every key that was not asked for. `what` is the thing whose keys these are.
    pub(in crate::routes) fn finish(&self, what: &str) {
        for (key, _) in self.table {
            if !self.known.contains(&key.get_ref().as_ref()) {
                let known = self.known.join(", ");
                self.error_at(key.span().start, key.get_ref(), format!("no such key; {what} has: {known}"));
            }
        }
    }

    pub(in crate::routes) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A text, without saying that the key exists.
    pub(in crate::routes) fn peek(&self, key: &str) -> Option<&'a str> {
        self.table.get(key)?.get_ref().as_str()
    }

    /// Says that a key exists without reading it.
    pub(in crate::routes) fn know(&mut self, key: &'static str) {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
    }

    pub(in crate::routes) fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.know(key);
        self.table.get(key)
    }

    /// A key that is known but has no effect where it stands.
    pub(in crate::routes) fn without_effect(&self, key: &'static str, why: &str) {
        if self.table.contains_key(key) {
            self.error(key, format!("has no effect: {why}"));
        }
    }

    fn wrong<T>(&self, key: &str, value: &DeValue<'_>, expected: &str) -> Option<T> {
        self.error(key, format!("is {}, expected {expected}", value.type_str()));
        None
    }

    pub(in crate::routes) fn text(&mut self, key: &'static str) -> Option<&'a str> {
        let value = self.value(key)?.get_ref();
        value.as_str().or_else(|| self.wrong(key, value, "a text"))
    }

    pub(in crate::routes) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?.get_ref();
        value.as_bool().or_else(|| self.wrong(key, value, "true or false"))
    }

    pub(in crate::routes) fn number(&mut self, key: &'static str, most: u64) -> Option<u64> {
        let value = self.value(key)?.get_ref();
        let Some(number) = value.as_integer() else {
            return self.wrong(key, value, "a whole number");
        };
        let number = u64::from_str_radix(number.as_str(), number.radix()).ok();
        number.filter(|number| (1..=most).contains(number)).or_else(|| {
            self.error(key, format!("must be a whole number from 1 to {most}"));
            None
        })
    }

    pub(in crate::routes) fn duration(
        &mut self,
        key: &'static str,
        least: Duration,
        most: Duration,
    ) -> Option<Duration> {
        let text = self.text(key)?;
        let duration = humantime::parse_duration(text).ok();
        duration.filter(|duration| (least..=most).contains(duration)).or_else(|| {
            let (least, most) = (humantime::format_duration(least), humantime::format_duration(most));
            self.error(key, format!("{text:?} must be a duration from {least} to {most}, like \"500ms\" or \"5s\""));
            None
        })
    }

    pub(in crate::routes) fn word<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        self.one_of(key, text, words)
    }

    /// A list of words.
    pub(in crate::routes) fn words<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<Vec<T>> {
        let items = self.array(key)?;
        let one = |item: &Spanned<DeValue<'_>>| {
            let text = item.get_ref().as_str().or_else(|| self.wrong(key, item.get_ref(), "a text"))?;
            self.one_of(key, text, words)
        };
        items.into_iter().map(one).collect()
    }

    fn one_of<T: Copy>(&self, key: &str, text: &str, words: &[(&str, T)]) -> Option<T> {
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| *value).or_else(|| {
            let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            self.error(key, format!("{text:?} is not one of: {}", words.join(", ")));
            None
        })
    }

    pub(in crate::routes) fn array(&mut self, key: &'static str) -> Option<Vec<&'a Spanned<DeValue<'a>>>> {
        let value = self.value(key)?.get_ref();
        value.as_array().map(|items| items.iter().collect()).or_else(|| self.wrong(key, value, "a list"))
    }

    pub(in crate::routes) fn table(&mut self, key: &'static str) -> Option<Keys<'a>> {
        let value = self.value(key)?;
        let Some(table) = value.get_ref().as_table() else {
            return self.wrong(key, value.get_ref(), "a table, like { … }");
        };
        let mut keys = Keys::new(self.source, self.errors, table, value.span().start);
        keys.prefix = format!("{}{key}.", self.prefix);
        Some(keys)
    }

    /// All entries of a table of texts.
    pub(in crate::routes) fn entries(&self) -> impl Iterator<Item = (&'a str, &'a Spanned<DeValue<'a>>)> + use<'a> {
        self.table.iter().map(|(key, value)| (key.get_ref().as_ref(), value))
    }

    pub(in crate::routes) fn template(&mut self, key: &'static str, context: &Context<'_>) -> Option<Template> {
        let text = self.text(key)?;
        self.parse(key, text, context)
    }

    /// A template that has to be there.
    pub(in crate::routes) fn required(
        &mut self,
        key: &'static str,
        what: &str,
        context: &Context<'_>,
    ) -> Option<Template> {
        if !self.table.contains_key(key) {
            self.error(key, format!("is missing; {what}"));
        }
        self.template(key, context)
    }

    /// A template with a default, which may not fit where the route stands.
    pub(in crate::routes) fn template_or(
        &mut self,
        key: &'static str,
        default: &str,
        context: &Context<'_>,
    ) -> Option<Template> {
        if self.table.contains_key(key) {
            return self.template(key, context);
        }
        self.know(key);
        Template::parse(default, context)
            .map_err(|why| self.error(key, format!("is missing, and its default does not fit: {why}")))
            .ok()
    }

    fn parse(&self, key: &str, text: &str, context: &Context<'_>) -> Option<Template> {
        Template::parse(text, context).map_err(|why| self.error(key, why)).ok()
    }

    /// A template in a table of them.
    pub(in crate::routes) fn parse_at(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        context: &Context<'_>,
    ) -> Option<Template> {
        match value.get_ref().as_str() {
            Some(text) => self.parse(key, text, context),
            None => self.wrong(key, value.get_ref(), "a text"),
        }
    }

    pub(in crate::routes) fn args(&mut self, key: &'static str, context: &Context<'_>) -> Option<Args> {
        let items = self.array(key)?;
        self.json_result(key, Args::compile(&items, context))
    }

    pub(in crate::routes) fn json(&mut self, key: &'static str, context: &Context<'_>) -> Option<Json> {
        let value = self.value(key)?;
        self.json_result(key, Json::compile(value, context))
    }

    /// A table as JSON, its texts as they are.
    pub(in crate::routes) fn literal(&mut self, key: &'static str) -> Option<serde_json::Value> {
        let value = self.value(key)?;
        self.json_result(key, literal(value))
    }

    fn json_result<T>(&self, key: &str, result: Result<T, JsonError>) -> Option<T> {
        result.map_err(|JsonError { at, why }| self.error_at(at, key, why)).ok()
    }
}

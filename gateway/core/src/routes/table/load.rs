//! Reading the files of a table: a profile, the configuration's file, and what that includes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::{Route, RouteTable, Schema};
use super::{compile, hooks};
use crate::domain::Refusal;
use crate::routes::Hook;
use crate::routes::actions::Access;
use crate::routes::reader::{Before, Errors, Keys, Reader, RouteError, Source};
use crate::routes::template::Environment;

/// Profiles that come with the gateway.
pub(super) const PROFILES: [(&str, &str); 6] = [
    ("native", include_str!("../../../../profiles/native.toml")),
    ("room-alerts", include_str!("../../../../profiles/room-alerts.toml")),
    ("broadcast", include_str!("../../../../profiles/broadcast.toml")),
    ("lobby", include_str!("../../../../profiles/lobby.toml")),
    ("notifier", include_str!("../../../../profiles/notifier.toml")),
    ("persistent-chat", include_str!("../../../../profiles/persistent-chat.toml")),
];
/// The profile without routes.
const NONE: &str = "none";

const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// Files that include each other, one in the other.
const MAX_DEPTH: usize = 16;
/// Routes that one event may set off.
const MAX_ROUTES_PER_EVENT: usize = 16;

/// Where the routes come from that are not of the profile.
#[derive(Clone, Copy)]
pub(super) enum Own<'a> {
    File(Option<&'a Path>),
    Text { name: &'a str, text: &'a str },
}

/// What one origin, a profile or the configuration, says.
#[derive(Debug, Default)]
pub(super) struct Layer {
    /// By namespace and event.
    pub(super) groups: BTreeMap<(Arc<str>, Arc<str>), Group>,
    pub(super) messages: HashMap<&'static str, String>,
    /// In their order.
    pub(super) hooks: Vec<Hook>,
    /// Whether events end with offsets, if it says so.
    pub(super) offset: Option<bool>,
}

/// The routes of one event, and what they leave for the next.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) routes: Vec<Route>,
    before: Before,
    /// With those that have mistakes.
    count: usize,
}

pub(super) fn load(profile: &str, own: Own<'_>, environment: Environment<'_>) -> Result<RouteTable, RouteError> {
    let mut loader = Loader { environment, errors: Errors::default(), schemas: HashMap::new(), files: HashSet::new() };
    let mut layers = [Layer::default(), Layer::default()];
    if let Some((name, text)) = PROFILES.iter().find(|(name, _)| *name == profile) {
        let source = Source::new(format!("profile {name}"), (*text).to_owned());
        loader.text(&source, None, Kind::Routes, 0, &mut layers[0]);
    } else if profile.contains('/') || Path::new(profile).extension().is_some_and(|extension| extension == "toml") {
        loader.file(Path::new(profile), "profile", Kind::Routes, 0, &mut layers[0]);
    } else if profile != NONE {
        let known = PROFILES.map(|(name, _)| name).join(", ");
        loader.errors.add(format!(
            "profile: no profile is called {profile:?}; there are: {known}, {NONE}, or the path of a file (with a / \
             in it or .toml at its end)"
        ));
    }
    match own {
        Own::File(None) => {}
        Own::File(Some(path)) => loader.file(path, "configuration", Kind::Configuration, 0, &mut layers[1]),
        Own::Text { name, text } => {
            let source = Source::new(name.to_owned(), text.to_owned());
            loader.text(&source, None, Kind::Configuration, 0, &mut layers[1]);
        }
    }
    loader.check_hooks(&layers);
    loader.errors.finish()?;
    Ok(RouteTable::build(layers.into()))
}

/// What a file may hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Settings too, which are not this module's business.
    Configuration,
    /// Nothing but routes, messages and further files.
    Routes,
}

struct Loader<'a> {
    environment: Environment<'a>,
    errors: Errors,
    /// Compiled ones, by path: many routes may share one.
    schemas: HashMap<PathBuf, Option<Schema>>,
    /// Every file that was read, so that none is read twice and none includes itself.
    files: HashSet<PathBuf>,
}

impl Loader<'_> {
    /// Reads a file that `origin` names.
    fn file(&mut self, path: &Path, origin: &str, kind: Kind, depth: usize, layer: &mut Layer) {
        let shown = path.display().to_string();
        let read = path.canonicalize().map_err(|error| error.to_string()).and_then(|canonical| {
            if !self.files.insert(canonical) {
                return Err("it was read before: a file is included once, and never by itself".into());
            }
            read(path)
        });
        match read {
            Ok(text) => self.text(&Source::new(shown, text), path.parent(), kind, depth, layer),
            Err(why) => self.errors.add(format!("{origin}: cannot read {shown}: {why}")),
        }
    }

    /// Reads the text of a file. `folder` is what its paths are relative to.
    fn text(&mut self, source: &Source, folder: Option<&Path>, kind: Kind, depth: usize, layer: &mut Layer) {
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        for error in &errors {
            let at = error.span().map_or(0, |span| span.start);
            self.errors.add(format!("{}: {}", source.place(at), error.message().replace('\n', " ")));
        }
        if !errors.is_empty() {
            return;
        }
        let table = table.get_ref();
        for (key, value) in table {
            let at = key.span().start;
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("include", DeValue::Array(paths)) => {
                    for path in paths {
                        self.include(source, folder, path, depth, layer);
                    }
                }
                ("route", DeValue::Array(routes)) => {
                    for route in routes {
                        match route.get_ref() {
                            DeValue::Table(keys) => self.route(source, folder, keys, route.span().start, layer),
                            _ => self.note(source, route.span().start, "route: expected tables, as [[route]]"),
                        }
                    }
                }
                ("hook", DeValue::Array(hooks)) => {
                    for hook in hooks {
                        match hook.get_ref() {
                            DeValue::Table(keys) => self.hook(source, keys, hook.span().start, layer),
                            _ => self.note(source, hook.span().start, "hook: expected tables, as [[hook]]"),
                        }
                    }
                }
                ("messages", DeValue::Table(messages)) => self.messages(source, messages, layer),
                ("offset", DeValue::Boolean(offset)) => layer.offset = Some(*offset),
                ("include", _) => self.note(source, at, "include: expected a list of paths"),
                ("route", _) => self.note(source, at, "route: expected tables, as [[route]]"),
                ("hook", _) => self.note(source, at, "hook: expected tables, as [[hook]]"),
                ("messages", _) => self.note(source, at, "messages: expected a section, as [messages]"),
                ("offset", _) => self.note(source, at, "offset: expected true or false"),
                (key, _) if kind == Kind::Routes => {
                    self.note(
                        source,
                        at,
                        &format!("{key}: no such key here; there are: include, route, hook, messages, offset"),
                    );
                }
                _ => {}
            }
        }
    }

    fn note(&self, source: &Source, at: usize, what: &str) {
        self.errors.add(format!("{}: {what}", source.place(at)));
    }

    fn include(
        &mut self,
        source: &Source,
        folder: Option<&Path>,
        path: &toml::Spanned<DeValue<'_>>,
        depth: usize,
        layer: &mut Layer,
    ) {
        let at = path.span().start;
        let (Some(folder), Some(path)) = (folder, path.get_ref().as_str()) else {
            return self.note(source, at, "include: expected a list of paths, in a file that has a place itself");
        };
        if depth == MAX_DEPTH {
            return self.note(source, at, &format!("include: more than {MAX_DEPTH} files, one in the other"));
        }
        let origin = format!("{}: include", source.place(at));
        self.file(&folder.join(path), &origin, Kind::Routes, depth + 1, layer);
    }

    fn messages(&self, source: &Source, messages: &DeTable<'_>, layer: &mut Layer) {
        for (code, text) in messages {
            let known = Refusal::CODES.into_iter().find(|known| *known == code.get_ref().as_ref());
            match (known, text.get_ref().as_str()) {
                (Some(code), Some(text)) => drop(layer.messages.insert(code, text.to_owned())),
                (Some(code), None) => {
                    self.note(source, text.span().start, &format!("messages.{code}: expected a text"))
                }
                (None, _) => {
                    let (code, codes) = (code.get_ref(), Refusal::CODES.join(", "));
                    let what = format!("messages.{code}: no refusal has this code; there are: {codes}");
                    self.note(source, text.span().start, &what);
                }
            }
        }
    }

    fn hook(&self, source: &Source, table: &DeTable<'_>, at: usize, layer: &mut Layer) {
        let at = table.keys().next().map_or(at, |key| key.span().start);
        let keys = Keys::new(source, &self.errors, table, at);
        layer.hooks.extend(hooks::hook(keys, self.environment));
    }

    /// What hooks say of each other and of what else there is.
    fn check_hooks(&self, layers: &[Layer]) {
        let all: Vec<&Hook> = layers.iter().flat_map(|layer| &layer.hooks).collect();
        let is_there = |name: &str| {
            name == "/" || layers.iter().any(|layer| layer.groups.keys().any(|(namespace, _)| **namespace == *name))
        };
        for (index, hook) in all.iter().enumerate() {
            if let Some(other) = all[..index].iter().find(|other| other.name == hook.name) {
                self.errors.add(format!("{}: name: {:?} is the hook at {}", hook.place, hook.name, other.place));
            }
            for name in hook.namespaces.iter().filter(|name| !is_there(name)) {
                self.errors.add(format!("{}: namespaces: no route is in {name:?}", hook.place));
            }
        }
        if let Some(hook) = all.get(hooks::MAX_HOOKS) {
            self.errors.add(format!("{}: hook: there are more than {}", hook.place, hooks::MAX_HOOKS));
        }
    }

    fn route(&mut self, source: &Source, folder: Option<&Path>, table: &DeTable<'_>, at: usize, layer: &mut Layer) {
        // The header of an array's table has no place of its own, its first key has.
        let at = table.keys().next().map_or(at, |key| key.span().start);
        let mut keys = Keys::new(source, &self.errors, table, at);
        let Some(subject) = compile::subject(&mut keys) else { return };
        let group = layer.groups.entry((subject.namespace.clone(), subject.event.clone())).or_default();
        group.count += 1;
        if group.count > MAX_ROUTES_PER_EVENT {
            return keys.error("event", format!("an event has at most {MAX_ROUTES_PER_EVENT} routes"));
        }
        let reader = Reader { keys, subject, before: group.before, environment: self.environment };
        let schemas = &mut self.schemas;
        let route = compile::route(reader, |keys| schema(keys, folder, schemas));
        if let Some(route) = route {
            let access = route.action.aim().map(|(_, access)| access);
            group.before.room |= matches!(access, Some(Access::Enter { .. } | Access::Leave));
            group.before.number |= access == Some(Access::Enter { numbered: true });
            group.routes.push(route);
        }
    }
}

/// The schema of a route: in a file, or in its place.
fn schema(keys: &mut Keys<'_>, folder: Option<&Path>, known: &mut HashMap<PathBuf, Option<Schema>>) -> Option<Schema> {
    let value = keys.value("schema")?.get_ref();
    let Some(path) = value.as_str() else {
        if !value.is_table() {
            keys.error("schema", "expected the path of a JSON file, or a table");
            return None;
        }
        let schema = keys.literal("schema")?;
        return Schema::compile(&schema).map_err(|why| keys.error("schema", why)).ok();
    };
    let Some(folder) = folder else {
        keys.error("schema", "a path is relative to the file that names it, and this is none; write the schema here");
        return None;
    };
    let path = folder.join(path);
    if let Some(schema) = known.get(&path) {
        return schema.clone();
    }
    let compile = |text: String| {
        let schema = serde_json::from_str(&text).map_err(|error| format!("not JSON: {error}"))?;
        Schema::compile(&schema)
    };
    let schema =
        read(&path).and_then(compile).map_err(|why| keys.error("schema", format!("{}: {why}", path.display()))).ok();
    known.insert(path, schema.clone());
    schema
}

fn read(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err("it is not a file".into());
    }
    let mut text = String::new();
    let read = file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text);
    read.map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("it is larger than {MAX_FILE_BYTES} bytes"));
    }
    Ok(text)
}

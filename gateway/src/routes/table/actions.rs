//! What each action's route may say, and what it means if it does not.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::reader::Reader;
use super::{
    Action, Broadcast, Call, Claim, Direct, Emission, History, Identify, Join, Leave, Lifecycle, Log, LogLevel,
    Presence, Publish, Refused, Signal, Target, Typing,
};
use crate::calls::{Breaker, Endpoint, Url};
use crate::config::shown_url;
use crate::domain::Refusal;
use crate::routes::template::{Args, Context, Json, Template};

const ALL: (&str, Target) = ("all", Target::All);
const OTHERS: (&str, Target) = ("others", Target::Others);
/// Who hears what is not said to a room: the word, and nothing for the sender alone.
const ALL_OTHERS_SELF: [(&str, Option<Target>); 3] =
    [("all", Some(Target::All)), ("others", Some(Target::Others)), ("self", None)];

const ROOM: &str = "{arg.room}";
const TYPING: &str = "args = [{ room = \"{room}\", user = \"{user.id?}\", typing = \"{typing}\" }]";
const REFUSED: &str = "args = [{ code = \"{refusal.code}\", message = \"{refusal.message}\" }]";
const BODY: &str = "body = { event = \"{event}\", namespace = \"{namespace}\", args = \"{args}\", \
                    user = \"{user.id?}\", session = \"{session.id}\" }";
/// No client sent arguments, but there may be a room.
const LIFECYCLE_BODY: &str = "body = { event = \"{event}\", namespace = \"{namespace}\", user = \"{user.id?}\", \
                              session = \"{session.id}\" }";
const ROOM_BODY: &str = "body = { event = \"{event}\", namespace = \"{namespace}\", room = \"{room}\", \
                         user = \"{user.id?}\", session = \"{session.id}\" }";

const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const MAX_COUNT: u64 = 1_000_000;

/// A route's action with what depends on it.
pub(super) struct Compiled {
    pub(super) action: Action,
    pub(super) refused: Option<Refused>,
}

impl Compiled {
    pub(super) fn name(&self) -> &'static str {
        self.action.name()
    }

    pub(super) fn room(&self) -> Option<&Template> {
        self.action.room()
    }
}

/// Compiles the action and notes every key that it does not have.
pub(super) fn compile(reader: &mut Reader<'_>) -> Option<Compiled> {
    let Some(word) = reader.keys.text("action") else {
        if !reader.keys.has("action") {
            reader.keys.error("action", format!("is missing; there are: {}", Action::NAMES.join(", ")));
        }
        return None;
    };
    if !Action::NAMES.contains(&word) {
        let known = Action::NAMES.join(", ");
        reader.keys.error("action", format!("{word:?} is not an action; there are: {known}"));
        return None;
    }
    if let Some(lifecycle) = reader.subject.lifecycle {
        let known = may_do(lifecycle);
        if !known.contains(&word) {
            let (name, known) = (lifecycle.name(), known.join(", "));
            reader.keys.error("action", format!("{word:?} has no meaning for {name}; there it can be: {known}"));
            return None;
        }
    }
    let action = match word {
        "join" => reader.join().map(Action::Join),
        "leave" => reader.room(ROOM).map(|room| Action::Leave(Leave { room })),
        "publish" => reader.publish().map(Action::Publish),
        "signal" => reader.signal().map(Action::Signal),
        "direct" => reader.direct().map(Action::Direct),
        "broadcast" => reader.broadcast().map(Action::Broadcast),
        "history" => reader.history().map(Action::History),
        "presence" => reader.presence().map(Action::Presence),
        "claim" => reader.claim().map(Action::Claim),
        "typing" => reader.typing().map(Action::Typing),
        "call" => reader.call().map(|call| Action::Call(Box::new(call))),
        "log" => reader.log().map(Action::Log),
        _ => reader.identify().map(Action::Identify),
    };
    let refused = reader.refused(word);
    reader.keys.finish(&format!("a route with the action {word}"));
    Some(Compiled { action: action?, refused })
}

fn may_do(lifecycle: Lifecycle) -> &'static [&'static str] {
    match lifecycle {
        Lifecycle::Connect => &["join", "leave", "publish", "signal", "direct", "broadcast", "claim", "call", "log"],
        // A join that joins would set itself off again.
        Lifecycle::Join => &["publish", "signal", "direct", "broadcast", "claim", "call", "log"],
        Lifecycle::Leave | Lifecycle::Disconnect => &["publish", "signal", "direct", "broadcast", "call", "log"],
    }
}

impl Reader<'_> {
    fn join(&mut self) -> Option<Join> {
        let auto = self.keys.boolean("auto").unwrap_or(false);
        let context = Context { number: auto || self.before.number, ..self.context() };
        let room = self.room_in(ROOM, &context);
        let since = self.keys.template("since", &self.context());
        let partial = self.keys.boolean("partial").unwrap_or(false);
        let capacity = self.keys.number("capacity", MAX_COUNT);
        let presence = self.keys.boolean("presence");
        if partial && !self.keys.has("since") {
            self.keys.error("partial", "has no effect: without since nothing is replayed");
        }
        let is_numbered = room.as_ref().is_some_and(Template::has_number);
        if auto && capacity.is_none() {
            self.keys.error("auto", "needs capacity: how many members a room takes before the next one is opened");
        }
        if auto && room.is_some() && !is_numbered {
            self.keys.error("room", "needs {number}, as auto = true joins the first of room 1, 2, … that has a place");
        }
        if presence == Some(false) && capacity.is_some() {
            self.keys.error("presence", "cannot be false with a capacity: who is in the room has to be known");
        }
        let capacity = capacity.and_then(|capacity| NonZeroUsize::new(usize::try_from(capacity).ok()?));
        let presence_by_need = presence.is_none();
        let presence = presence.unwrap_or(capacity.is_some());
        Some(Join { room: room?, since, partial, capacity, auto, presence, presence_by_need })
    }

    fn publish(&mut self) -> Option<Publish> {
        let room = self.room(ROOM);
        let to = self.target();
        let emission = self.said(true, true);
        let id = self.keys.template("id", &self.context());
        Some(Publish { room: room?, emission: emission?, to, id })
    }

    fn signal(&mut self) -> Option<Signal> {
        let mut words = ALL_OTHERS_SELF.to_vec();
        if self.subject.lifecycle.is_some_and(Lifecycle::outlives_session) {
            words.truncate(1);
        }
        let to = self.keys.word("to", &words).unwrap_or(Some(Target::All));
        if to.is_none() {
            self.keys.without_effect("room", "to = \"self\" is heard by the sender alone, in whatever room");
            self.keys.know("room");
            let emission = self.said(false, false)?;
            return Some(Signal { room: None, emission, to: Target::All });
        }
        let room = self.room(ROOM);
        let emission = self.said(true, false);
        Some(Signal { room: Some(room?), emission: emission?, to: to.unwrap_or_default() })
    }

    fn direct(&mut self) -> Option<Direct> {
        let user = self.keys.template_or("user", "{arg.user}", &self.context());
        let (keep, id) = self.keep_and_id();
        let emission = self.said(false, keep);
        Some(Direct { user: user?, emission: emission?, keep, id })
    }

    fn broadcast(&mut self) -> Option<Broadcast> {
        let to = self.target();
        let (keep, id) = self.keep_and_id();
        let emission = self.said(false, keep)?;
        Some(Broadcast { emission, to, keep, id })
    }

    fn history(&mut self) -> Option<History> {
        let context = self.context();
        let room = self.room(ROOM);
        let since = self.keys.template_or("since", "{arg.after?}", &context);
        let before = self.keys.template_or("before", "{arg.before?}", &context);
        let limit = self.keys.template_or("limit", "{arg.limit?}", &context);
        Some(History { room: room?, since: since?, before: before?, limit: limit? })
    }

    fn presence(&mut self) -> Option<Presence> {
        let context = self.context();
        let room = self.room(ROOM);
        let after = self.keys.template_or("after", "{arg.after?}", &context);
        let limit = self.keys.template_or("limit", "{arg.limit?}", &context);
        Some(Presence { room: room?, after: after?, limit: limit? })
    }

    fn claim(&mut self) -> Option<Claim> {
        let name = self.keys.required("name", "it is the name to take, like \"{arg}\"", &self.context());
        let context = Context { name: true, counts: true, ..self.context() };
        let success = if self.keys.has("emit") {
            Self::emission(&mut self.keys, &context, None, Args::none)
        } else {
            self.keys.know("emit");
            self.keys.know("args");
            self.keys.without_effect("args", "without emit nothing is said");
            None
        };
        Some(Claim { name: name?, success })
    }

    fn typing(&mut self) -> Option<Typing> {
        let room = self.room(ROOM);
        let ttl = self.keys.duration("ttl", Duration::from_secs(1), MINUTE).unwrap_or(Duration::from_secs(5));
        let active = self.keys.template_or("active", "{arg.typing|true}", &self.context());
        let context = Context { room: true, counts: true, typing: true, ..self.context() };
        let event = Template::escape(&self.subject.event);
        let emission = Self::emission(&mut self.keys, &context, Some(&event), || default_args(TYPING, &context));
        Some(Typing { room: room?, emission: emission?, ttl, active: active? })
    }

    fn call(&mut self) -> Option<Call> {
        let url = self.keys.required("url", "it is where the back end is asked", &self.context());
        let url = url.and_then(|url| Some((self.usable(&url)?, url))).map(|(parsed, url)| (url, parsed));
        let context = Context { counts: true, ..self.context() };
        let headers = self.headers(&context);
        let default = match self.subject.lifecycle {
            None => BODY,
            Some(lifecycle) if lifecycle.has_room() => ROOM_BODY,
            Some(_) => LIFECYCLE_BODY,
        };
        let body = if self.keys.has("body") {
            self.keys.json("body", &context)
        } else {
            self.keys.know("body");
            Some(with_default(default, |body| {
                Json::compile(body, &context).expect("the defaults fit where they are used")
            }))
        };
        let timeout = self.keys.duration("timeout", Duration::from_millis(100), MINUTE);
        let attempts = self.keys.number("attempts", 10);
        let backoff = self.keys.duration("backoff", MILLISECOND, MINUTE);
        let breaker = self.breaker();
        let (url, parsed) = url?;
        let mut endpoint = Endpoint::new(parsed);
        endpoint.timeout = timeout.unwrap_or(endpoint.timeout);
        endpoint.attempts = attempts.map_or(endpoint.attempts, |attempts| count(attempts).get());
        endpoint.backoff = backoff.unwrap_or(endpoint.backoff);
        endpoint.breaker = breaker;
        if let Err(error) = endpoint.check() {
            self.keys.error("url", error.to_string());
            return None;
        }
        Some(Call { url, endpoint, headers, body: body? })
    }

    fn usable(&self, url: &Template) -> Option<Url> {
        let Some(text) = url.fixed() else {
            self.keys.error(
                "url",
                "can have {env.NAME} but nothing that depends on the event, so that no client decides who is called",
            );
            return None;
        };
        let usable = text.parse::<Url>().ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if usable.is_none() {
            self.keys.error(
                "url",
                format!(
                    "{:?} is not a URL of http or https, like \"http://127.0.0.1:8080/hook\"",
                    shown_url(&url.to_string())
                ),
            );
        }
        usable
    }

    fn headers(&mut self, context: &Context<'_>) -> Vec<(http::HeaderName, Template)> {
        const KEPT: [&str; 5] = ["host", "content-length", "content-type", "transfer-encoding", "connection"];
        let Some(keys) = self.keys.table("headers") else { return Vec::new() };
        let mut headers = Vec::new();
        for (name, value) in keys.entries() {
            let header = http::HeaderName::try_from(name).ok();
            let Some(header) = header.filter(|header| !KEPT.contains(&header.as_str())) else {
                keys.error(name, "is not the name of a header that can be set");
                continue;
            };
            headers.extend(keys.parse_at(name, value, context).map(|template| (header, template)));
        }
        headers
    }

    fn breaker(&mut self) -> Breaker {
        let (mut failures, mut pause) = (None, None);
        if let Some(mut keys) = self.keys.table("breaker") {
            failures = keys.number("failures", MAX_COUNT);
            pause = keys.duration("pause", Duration::from_millis(100), MINUTE * 60);
            keys.finish("breaker");
        }
        let usual = Breaker::default();
        let failures = failures.map_or(usual.failures, |failures| count(failures).get());
        Breaker { failures, pause: pause.unwrap_or(usual.pause) }
    }

    fn log(&mut self) -> Option<Log> {
        let context = Context { counts: true, ..self.context() };
        let message = self.keys.required("message", "it is the line to write", &context);
        let level = self.keys.word("level", &LogLevel::WORDS).unwrap_or_default();
        Some(Log { message: message?, level })
    }

    fn identify(&mut self) -> Option<Identify> {
        let user = self.keys.template_or("user", "{arg}", &self.context())?;
        Some(Identify { user })
    }

    fn refused(&mut self, action: &str) -> Option<Refused> {
        let mut keys = self.keys.table("refused")?;
        let context = Context { refusal: true, name: action == "claim", ..self.context() };
        let emission = Self::emission(&mut keys, &context, None, || default_args(REFUSED, &context));
        let codes = keys.words("codes", &Refusal::CODES.map(|code| (code, code)));
        keys.finish("refused");
        Some(Refused { codes: codes.unwrap_or_default(), emission: emission? })
    }

    fn room(&mut self, default: &str) -> Option<Template> {
        self.room_in(default, &self.context())
    }

    fn room_in(&mut self, default: &str, context: &Context<'_>) -> Option<Template> {
        // Where a lifecycle event is about a room it is the one that is meant.
        let has_room = self.subject.lifecycle.is_some_and(Lifecycle::has_room);
        self.keys.template_or("room", if has_room { "{room}" } else { default }, context)
    }

    fn target(&mut self) -> Target {
        let gone = self.subject.lifecycle.is_some_and(Lifecycle::outlives_session);
        let words: &[_] = if gone { &[ALL] } else { &[ALL, OTHERS] };
        self.keys.word("to", words).unwrap_or_default()
    }

    fn keep_and_id(&mut self) -> (bool, Option<Template>) {
        let keep = self.keys.boolean("keep").unwrap_or(true);
        let id = self.keys.template("id", &self.context());
        if !keep {
            self.keys.without_effect("id", "with keep = false nothing is kept that could be told from it");
        }
        (keep, id)
    }

    /// What is heard of a route that speaks: the client's own event if it says nothing else.
    fn said(&mut self, room: bool, kept: bool) -> Option<Emission> {
        let context = self.context();
        let context = Context { room: room || context.room, counts: true, offset: kept, ..context };
        if self.subject.lifecycle.is_some() {
            return Self::emission(&mut self.keys, &context, None, Args::none);
        }
        let event = Template::escape(&self.subject.event);
        Self::emission(&mut self.keys, &context, Some(&event), || Args::Client)
    }
}

fn count(number: u64) -> NonZeroU32 {
    u32::try_from(number).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN)
}

fn default_args(text: &str, context: &Context<'_>) -> Args {
    with_default(text, |value| {
        let items: Vec<_> = value.get_ref().as_array().into_iter().flatten().collect();
        Args::compile(&items, context).expect("the defaults fit where they are used")
    })
}

/// Hands over the one value of a line of TOML.
fn with_default<T>(text: &str, take: impl FnOnce(&toml::Spanned<DeValue<'_>>) -> T) -> T {
    let table = DeTable::parse(text).expect("the defaults are TOML");
    take(table.get_ref().values().next().expect("the defaults have one key"))
}

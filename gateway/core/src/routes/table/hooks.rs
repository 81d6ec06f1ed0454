//! From a `[[hook]]` table to a hook: which back end is told what happens.

use std::time::Duration;

use toml::de::DeValue;

use crate::calls::{Endpoint, Purpose, Url};
use crate::config::{Secret, shown_url};
use crate::domain::RoomName;
use crate::outbox::What;
use crate::routes::Hook;
use crate::routes::reader::Keys;
use crate::routes::template::{Context, Environment, Template};

const MAX_NAME_BYTES: usize = 64;
/// A shorter one could be guessed.
const MIN_SECRET_BYTES: usize = 16;
/// More are no rotation.
const MAX_SECRETS: usize = 5;
/// Each is a task and a queue, and is looked at for everything that happens.
pub(super) const MAX_HOOKS: usize = 64;
const TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Reads a hook; mistakes are noted, and it is usable only if there were none.
pub(super) fn hook(mut keys: Keys<'_>, environment: Environment<'_>) -> Option<Hook> {
    let context = context(environment);
    let name = name(&mut keys);
    let endpoint = endpoint(&mut keys, &context);
    let events = events(&mut keys);
    let rooms = keys.text("rooms").unwrap_or("*");
    if rooms.is_empty() || rooms.len() > RoomName::MAX_BYTES || rooms.chars().any(char::is_control) {
        keys.error("rooms", "must be a pattern of 1 to 255 bytes without control characters, as \"orders-*\"");
    }
    if events.as_ref().is_some_and(|events| events.iter().all(|what| what.is_of_sessions())) {
        keys.without_effect("rooms", "none of the events is of a room");
    }
    let namespaces = namespaces(&mut keys);
    let secrets = secrets(&mut keys, &context);
    let place = keys.place();
    keys.finish("hook");
    Some(Hook {
        name: name?,
        endpoint: endpoint?,
        events: events?,
        rooms: rooms.to_owned(),
        namespaces,
        secrets: secrets?,
        place,
    })
}

/// Nothing is known but the environment.
fn context(environment: Environment<'_>) -> Context<'_> {
    Context::of_nothing(Some(environment))
}

fn name(keys: &mut Keys<'_>) -> Option<String> {
    if !keys.has("name") {
        keys.error("name", "is missing; it tells the hook from others, and what waits for it is kept under it");
    }
    let name = keys.text("name")?;
    let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.chars().all(fits) {
        keys.error("name", format!("{name:?} must have 1 to {MAX_NAME_BYTES} letters, digits, - and _"));
        return None;
    }
    Some(name.to_owned())
}

fn endpoint(keys: &mut Keys<'_>, context: &Context<'_>) -> Option<Endpoint> {
    let timeout = keys.duration("timeout", Duration::from_millis(100), LONGEST_TIMEOUT).unwrap_or(TIMEOUT);
    let url = keys.required("url", "it is where the back end is told", context)?;
    let Some(text) = url.fixed() else {
        keys.error("url", "can have {env.NAME} but nothing else");
        return None;
    };
    let Ok(parsed) = text.parse::<Url>() else {
        let shown = shown_url(&url.to_string());
        keys.error("url", format!("{shown:?} is not a URL of http or https, like \"https://api.example/hooks\""));
        return None;
    };
    let mut endpoint = Endpoint::new(parsed);
    (endpoint.timeout, endpoint.attempts, endpoint.purpose) = (timeout, 1, Purpose::Hooks);
    endpoint.check().map_err(|error| keys.error("url", error.to_string())).ok()?;
    Some(endpoint)
}

fn events(keys: &mut Keys<'_>) -> Option<Vec<What>> {
    if !keys.has("events") {
        keys.error("events", format!("is missing; there are: {}", What::ALL.map(What::as_str).join(", ")));
    }
    let mut events = keys.words("events", &What::ALL.map(|what| (what.as_str(), what)))?;
    if events.is_empty() {
        keys.error("events", "is empty, so nothing would be told");
        return None;
    }
    events.sort_unstable_by_key(|what| What::ALL.iter().position(|known| known == what));
    events.dedup();
    Some(events)
}

fn namespaces(keys: &mut Keys<'_>) -> Vec<String> {
    let Some(items) = keys.array("namespaces") else { return Vec::new() };
    if items.is_empty() {
        keys.error("namespaces", "is empty, so nothing would be told; leave it out for all");
    }
    let mut names = Vec::new();
    for item in items {
        match item.get_ref().as_str() {
            Some(name) => names.push(name.to_owned()),
            None => keys.error("namespaces", "expected texts, as [\"/\"]"),
        }
    }
    names
}

fn secrets(keys: &mut Keys<'_>, context: &Context<'_>) -> Option<Vec<Secret>> {
    if !keys.has("secrets") {
        keys.error("secrets", "is missing; without one whoever finds the URL could say what happens");
    }
    let items = keys.array("secrets")?;
    if items.is_empty() || items.len() > MAX_SECRETS {
        keys.error("secrets", format!("must have 1 to {MAX_SECRETS} entries"));
        return None;
    }
    let mut secrets = Vec::new();
    for item in items {
        // What it is must not be told.
        let DeValue::String(text) = item.get_ref() else {
            keys.error("secrets", "must be texts in quotes");
            return None;
        };
        let Some(secret) = Template::parse(text, context).ok().and_then(|template| template.fixed()) else {
            keys.error("secrets", "can have {env.NAME}, of a variable that is set, and no other braces");
            return None;
        };
        if secret.len() < MIN_SECRET_BYTES {
            keys.error("secrets", format!("each must have at least {MIN_SECRET_BYTES} bytes"));
            return None;
        }
        secrets.push(Secret::from(secret));
    }
    Some(secrets)
}

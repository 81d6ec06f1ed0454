//! Operations: what can be asked, with the scope that it needs and the parameters that it may have.

use http::Method;

use super::call::{PathParams, decoded};
use super::problem::{Kind, Problem};
use gateway_core::config::Scope;

/// Where the API begins.
pub(super) const ROOT: &str = "/api/v1";

/// What is said of a path where there is nothing, and of a method that a path does not have.
pub(super) const NOTHING_HERE: &str = "there is nothing at this path";
pub(super) const OTHER_METHODS: &str = "this path has other methods; Allow names them";

/// One request of the table in `docs/api.md`.
#[derive(Debug)]
pub(super) struct Operation {
    /// Its name in metrics and in the log: one of `metrics::API_OPERATIONS`.
    pub(super) name: &'static str,
    method: Method,
    /// The path below [`ROOT`], as the router has it.
    path: &'static str,
    /// What a key needs for it.
    pub(super) scope: Scope,
    /// What may stand in its query.
    pub(super) query: &'static [&'static str],
    /// Whether each is logged, and not only the ones that fail.
    pub(super) is_control: bool,
}

const NAMESPACE: &[&str] = &["namespace"];
const QUEUE: &[&str] = &["queue"];
const PAGE: &[&str] = &["namespace", "after", "limit"];

const fn operation(
    name: &'static str,
    method: Method,
    path: &'static str,
    scope: Scope,
    query: &'static [&'static str],
) -> Operation {
    let is_control = matches!(scope, Scope::Control | Scope::Moderate | Scope::Admin);
    Operation { name, method, path, scope, query, is_control }
}

/// One of which each is logged, though its scope has others that are not.
const fn told(
    name: &'static str,
    method: Method,
    path: &'static str,
    scope: Scope,
    query: &'static [&'static str],
) -> Operation {
    Operation { name, method, path, scope, query, is_control: true }
}

/// All of them.
pub(super) const OPERATIONS: &[Operation] = &[
    operation("publish", Method::POST, "/rooms/{room}/events", Scope::Publish, NAMESPACE),
    operation("publish_to_user", Method::POST, "/users/{user}/events", Scope::Publish, NAMESPACE),
    operation("publish_to_all", Method::POST, "/events", Scope::Publish, NAMESPACE),
    // Each item needs its own scope.
    operation("batch", Method::POST, "/batch", Scope::Publish, &[]),
    operation("history", Method::GET, "/rooms/{room}/events", Scope::Read, &["namespace", "after", "before", "limit"]),
    operation("rooms", Method::GET, "/rooms", Scope::Read, PAGE),
    operation("stream", Method::GET, "/rooms/{room}/stream", Scope::Read, &["namespace", "after"]),
    operation("members", Method::GET, "/rooms/{room}/members", Scope::Read, PAGE),
    operation("sessions", Method::GET, "/users/{user}/sessions", Scope::Read, &[]),
    operation("end_user", Method::DELETE, "/users/{user}/sessions", Scope::Control, &[]),
    operation("end_session", Method::DELETE, "/sessions/{session}", Scope::Control, &[]),
    operation("seat", Method::PUT, "/users/{user}/rooms/{room}", Scope::Control, NAMESPACE),
    operation("unseat", Method::DELETE, "/users/{user}/rooms/{room}", Scope::Control, NAMESPACE),
    operation("revoke", Method::POST, "/revocations", Scope::Control, &[]),
    operation("ask_session", Method::POST, "/sessions/{session}/ask", Scope::Publish, &[]),
    operation("ask_user", Method::POST, "/users/{user}/ask", Scope::Publish, NAMESPACE),
    operation("ask_room", Method::POST, "/rooms/{room}/ask", Scope::Publish, NAMESPACE),
    operation("take_back", Method::DELETE, "/rooms/{room}/events/{offset}", Scope::Moderate, NAMESPACE),
    operation("take_back_user", Method::DELETE, "/users/{user}/messages", Scope::Moderate, &[]),
    operation("notify", Method::POST, "/users/{user}/notifications", Scope::Notify, &[]),
    operation("notify_many", Method::POST, "/notifications", Scope::Notify, &[]),
    operation("notifications", Method::GET, "/users/{user}/notifications", Scope::Read, &["after", "limit", "unread"]),
    operation("read_notifications", Method::PUT, "/users/{user}/notifications/read", Scope::Notify, &["id", "upTo"]),
    operation("delete_notification", Method::DELETE, "/users/{user}/notifications/{notification}", Scope::Notify, &[]),
    operation("clear_notifications", Method::DELETE, "/users/{user}/notifications", Scope::Notify, &[]),
    operation("contact", Method::GET, "/users/{user}/contact", Scope::Notify, &[]),
    told("put_contact", Method::PUT, "/users/{user}/contact", Scope::Notify, &[]),
    told("delete_contact", Method::DELETE, "/users/{user}/contact", Scope::Notify, &[]),
    operation("enqueue", Method::POST, "/jobs", Scope::Jobs, &[]),
    operation("jobs", Method::GET, "/jobs", Scope::Jobs, &["queue", "state", "after", "limit"]),
    operation("job", Method::GET, "/jobs/{job}", Scope::Jobs, QUEUE),
    told("remove_job", Method::DELETE, "/jobs/{job}", Scope::Jobs, QUEUE),
    told("retry_job", Method::POST, "/jobs/{job}/retry", Scope::Jobs, QUEUE),
    operation("queues", Method::GET, "/queues", Scope::Jobs, &[]),
    told("pause_queue", Method::POST, "/queues/{queue}/pause", Scope::Jobs, &[]),
    told("resume_queue", Method::POST, "/queues/{queue}/resume", Scope::Jobs, &[]),
    operation("schedules", Method::GET, "/schedules", Scope::Jobs, &[]),
    operation("nodes", Method::GET, "/nodes", Scope::Admin, &[]),
];

/// Whether requests of an operation are each logged.
pub(super) fn is_control(name: &str) -> bool {
    OPERATIONS.iter().any(|operation| operation.name == name && operation.is_control)
}

/// What viewers of the console may ask: nothing that changes something, and nothing that is a payload.
const OPEN_TO_VIEWERS: &[&str] = &["rooms", "members", "sessions", "queues", "schedules", "nodes"];

/// Whether viewers may ask an operation.
pub(super) fn is_open_to_viewers(name: &str) -> bool {
    OPEN_TO_VIEWERS.contains(&name)
}

impl Operation {
    /// The one of a name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        OPERATIONS.iter().find(|operation| operation.name == name)
    }

    /// The path below [`ROOT`], with names in braces for what differs.
    pub(super) fn path(&self) -> &'static str {
        self.path
    }

    /// That of a method at a path that the router matched.
    pub(super) fn find(method: &Method, matched: &str) -> Option<&'static Self> {
        // What HEAD asks for is what GET would answer.
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        let path = matched.strip_prefix(ROOT).unwrap_or(matched);
        OPERATIONS.iter().find(|operation| operation.method == *method && operation.path == path)
    }

    /// That of a method at a path below [`ROOT`], with what stands in the path, for whoever has no router.
    ///
    /// # Errors
    /// There is nothing at the path, or nothing for the method.
    pub(super) fn at(method: &Method, path: &str) -> Result<(&'static Self, PathParams), Problem> {
        let mut is_known = false;
        for operation in OPERATIONS {
            let Some(params) = operation.matched(path) else { continue };
            if operation.method == *method {
                let decoded = |(name, value): (&str, &str)| Ok((name.to_owned(), decoded(value)?.into_owned()));
                return Ok((operation, params.into_iter().map(decoded).collect::<Result<_, Problem>>()?));
            }
            is_known = true;
        }
        Err(if is_known {
            Problem::new(Kind::MethodNotAllowed, OTHER_METHODS)
        } else {
            Problem::new(Kind::UnknownPath, NOTHING_HERE)
        })
    }

    /// What stands in a path for each name in braces; nothing if it is another path.
    fn matched<'a>(&self, path: &'a str) -> Option<Vec<(&'static str, &'a str)>> {
        let mut params = Vec::new();
        let mut words = path.split('/');
        for part in self.path.split('/') {
            let word = words.next()?;
            match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                Some(_) if word.is_empty() => return None,
                Some(name) => params.push((name, word)),
                None if part == word => {}
                None => return None,
            }
        }
        words.next().is_none().then_some(params)
    }

    /// Whether it changes something.
    pub(super) fn is_write(&self) -> bool {
        self.method != Method::GET
    }

    /// Whether it waits for others, or goes on: what comes after it in a batch would wait, too.
    pub(super) fn takes_its_time(&self) -> bool {
        ["stream", "ask_session", "ask_user", "ask_room"].contains(&self.name)
    }

    /// Whether any key may try: what is in it is looked at item by item.
    pub(super) fn is_batch(&self) -> bool {
        self.name == "batch"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_an_operation_or_nothing() {
        let at = |method: &str, path: &str| {
            let found = Operation::at(&method.parse().unwrap(), path);
            found.map(|(operation, params)| (operation.name, params)).map_err(|problem| problem.code)
        };
        let param = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(at("POST", "/rooms/a%2Fb/events"), Ok(("publish", vec![param("room", "a/b")])));
        assert_eq!(at("GET", "/rooms/a/events"), Ok(("history", vec![param("room", "a")])));
        assert_eq!(at("PUT", "/users/u/rooms/r"), Ok(("seat", vec![param("user", "u"), param("room", "r")])));
        assert_eq!(at("GET", "/rooms"), Ok(("rooms", Vec::new())));
        for path in ["/rooms//events", "/rooms/", "/rooms/a/events/", "/rooms/a", "", "/", "/nothing", "rooms"] {
            assert_eq!(at("GET", path), Err("unknown_path"), "{path}");
        }
        assert_eq!(at("DELETE", "/rooms"), Err("method_not_allowed"));
        assert_eq!(at("GET", "/rooms/%zz/events"), Err("bad_encoding"));
    }
}

//! Operations: what can be asked, with the scope that it needs and the parameters that it may have.

use http::Method;

use crate::config::Scope;

/// Where the API begins.
pub(super) const ROOT: &str = "/api/v1";

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
const PAGE: &[&str] = &["namespace", "after", "limit"];

const fn operation(
    name: &'static str,
    method: Method,
    path: &'static str,
    scope: Scope,
    query: &'static [&'static str],
) -> Operation {
    let is_control = matches!(scope, Scope::Control | Scope::Admin);
    Operation { name, method, path, scope, query, is_control }
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
    operation("nodes", Method::GET, "/nodes", Scope::Admin, &[]),
];

/// Whether requests of an operation are each logged.
pub(super) fn is_control(name: &str) -> bool {
    OPERATIONS.iter().any(|operation| operation.name == name && operation.is_control)
}

impl Operation {
    /// That of a method at a path that the router matched.
    pub(super) fn find(method: &Method, matched: &str) -> Option<&'static Self> {
        // What HEAD asks for is what GET would answer.
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        let path = matched.strip_prefix(ROOT).unwrap_or(matched);
        OPERATIONS.iter().find(|operation| operation.method == *method && operation.path == path)
    }

    /// Whether it changes something.
    pub(super) fn is_write(&self) -> bool {
        self.method != Method::GET
    }

    /// Whether any key may try: what is in it is looked at item by item.
    pub(super) fn is_batch(&self) -> bool {
        self.name == "batch"
    }
}

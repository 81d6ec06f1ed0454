//! The words that labels of metrics may have: fixed, so that no client can add a series.

/// How a client reaches the node.
pub const TRANSPORTS: [&str; 2] = ["websocket", "polling"];

/// What came of a handshake.
pub const HANDSHAKE_RESULTS: [&str; 10] = [
    "ok",
    "rate_limited",
    "busy",
    "capacity",
    "draining",
    "elsewhere",
    "unavailable",
    "bad_request",
    "too_many_connections",
    "forbidden_origin",
];

/// What was wrong with a request.
pub const BAD_REQUESTS: [&str; 3] = ["handshake", "request", "http"];

/// What came of passing a request on: it was answered, nobody has its connection, there were too many, its node could not be
/// reached or broke off, or its client went away.
pub const PASSED_ON: [&str; 5] = ["answered", "gone", "refused", "failed", "aborted"];

/// What came of a node's wish to pass requests on here: it may, it is looking for another node, it did not prove that it is one of
/// this deployment, or there were too many.
pub const PASSING_DOORS: [&str; 4] = ["ok", "other_node", "unproven", "full"];

/// What became of the PROXY header that a trusted peer must send.
pub const PROXY_HEADER_RESULTS: [&str; 5] = ["ok", "local", "none", "bad", "timeout"];

/// What came of a request for a session.
pub const CONNECT_RESULTS: [&str; 5] = ["ok", "auth", "not_allowed", "too_many", "unavailable"];

/// Why a connection ended.
pub const CLOSE_REASONS: [&str; 16] = [
    "client_close",
    "transport_close",
    "transport_error",
    "ping_timeout",
    "slow",
    "flooding",
    "draining",
    "balanced",
    "aged",
    "replaced",
    "kicked",
    "expired",
    "revoked",
    "bad_packet",
    "unavailable",
    "server",
];

/// How balancing stands on a node.
pub const BALANCE_STATES: [&str; 6] = ["off", "stopped", "waiting", "even", "moving", "given_up"];

/// What came of a client's wish to get its session or its rooms back: it did, or why not.
pub const RECOVERY_RESULTS: [&str; 12] = [
    "recovered",
    "unknown",
    "offset",
    "history",
    "retention",
    "interrupted",
    "not_allowed",
    "too_much",
    "unreadable",
    "replaced",
    "archive",
    "unavailable",
];

/// Who decides how fast: about what connections send, about handshakes, about what sessions send and have kept, and about
/// answering refusals.
pub const LIMITERS: [&str; 24] = [
    "connection_packets",
    "connection_bytes",
    "session_events",
    "session_bytes",
    "user_events",
    "user_bytes",
    "address_events",
    "address_bytes",
    "user_kept_bytes",
    "user_new_rooms",
    "address_kept_bytes",
    "address_new_rooms",
    "session_refusals",
    "route_events",
    "address_handshakes",
    "address_failures",
    "address_requests",
    "address_http",
    "key_requests",
    "node_handshakes",
    "notification_sender",
    "notification_receiver",
    "job_sender",
    "mail_sender",
];

/// What a client event made the node do.
pub const ACTIONS: [&str; 19] = [
    "join",
    "leave",
    "publish",
    "signal",
    "direct",
    "broadcast",
    "history",
    "presence",
    "claim",
    "typing",
    "call",
    "log",
    "identify",
    "notify",
    "notifications",
    "read",
    "job",
    "refresh",
    "unknown",
];

/// Libraries of emitters, by what they speak: `@socket.io/redis-emitter` and its kin, the manager of `python-socketio`, and
/// `@socket.io/redis-streams-emitter`.
pub const EMITTER_DIALECTS: [&str; 3] = ["redis", "python", "streams"];

/// What emitters wish for; `ignored` is of no concern to a gateway.
pub const EMITTER_WISHES: [&str; 5] = ["emit", "join", "leave", "disconnect", "ignored"];

/// Why a message of an emitter was not heeded, or not done.
pub const EMITTER_REFUSALS: [&str; 12] = [
    "malformed",
    "too_large",
    "too_deep",
    "bad_room",
    "bad_namespace",
    "bad_event",
    "bad_arguments",
    "too_many_rooms",
    "pickle",
    "unsupported",
    "failed",
    "trimmed",
];

/// What the log was asked.
pub const LOG_OPERATIONS: [&str; 5] = ["append", "read", "subscribe", "signal", "mark"];

/// What came of a call to a back end.
pub const CALL_RESULTS: [&str; 8] =
    ["ok", "rejected", "postponed", "failed", "timeout", "open", "overloaded", "cancelled"];

/// What back ends are asked for: by routes, who comes in, events that hooks are told, jobs, and workflows of Novu.
pub const PURPOSES: [&str; 5] = ["routes", "auth", "hooks", "jobs", "novu"];

/// What came of an attempt to tell a hook something.
pub const HOOK_RESULTS: [&str; 7] = ["taken", "refused", "postponed", "redirected", "timeout", "failed", "open"];

/// Why something is given up that a hook was to be told.
pub const GIVEN_UP_REASONS: [&str; 3] = ["refused", "late", "unreadable"];

/// What the store of outboxes was asked.
pub const OUTBOX_OPERATIONS: [&str; 6] = ["read", "settle", "let_go", "survey", "given_up", "decide"];

/// What the archive was asked.
pub const ARCHIVE_OPERATIONS: [&str; 7] = ["write", "read", "cursor", "rooms", "rooms_of", "take_back", "forget"];

/// Why the archive does not have everything.
pub const ARCHIVE_GAPS: [&str; 4] = ["missing", "dropped", "new_history", "unreadable"];

/// What the store of sessions was asked.
pub const SESSION_OPERATIONS: [&str; 5] = ["save", "claim", "release", "renew", "forget"];

/// What presence was asked.
pub const PRESENCE_OPERATIONS: [&str; 7] = ["enter", "enter_first", "leave", "count", "list", "beat", "rooms"];

/// Why a member departed from a place.
pub const DEPARTURE_CAUSES: [&str; 3] = ["left", "lingered", "lease"];

/// What the back end of `auth.hook` said, or why it did not.
pub const AUTH_HOOK_ANSWERS: [&str; 5] = ["yes", "no", "kept", "unavailable", "unusable"];

/// What came of a question to clients.
pub const ASK_RESULTS: [&str; 4] = ["whole", "partial", "overloaded", "unavailable"];

/// What came of asking one client.
pub const ASK_ANSWERS: [&str; 4] = ["taken", "discarded", "silent", "unasked"];

/// What came of fetching keys.
pub const JWKS_RESULTS: [&str; 3] = ["ok", "unreachable", "unusable"];

/// What the store of revocations was asked.
pub const REVOCATION_OPERATIONS: [&str; 2] = ["add", "load"];

/// Why what answered as Redis was not, or not yet, the primary.
pub const REDIS_DOUBTS: [&str; 6] = ["readonly", "replica", "masterdown", "loading", "moved", "run_id"];

/// Which settings of Redis are not safe; `unknown`: the gateway may not read them.
pub const REDIS_RISKS: [&str; 4] = ["eviction", "persistence", "unbounded", "unknown"];

/// By which way a user is told something.
pub const NOTIFIED_BY: [&str; 4] = ["event", "http", "api", "job"];

/// What the store of notifications was asked.
pub const NOTIFICATION_OPERATIONS: [&str; 7] = ["add", "list", "mark_read", "remove", "unread", "forget", "owner"];

/// What users ask of their notifications over HTTP; `unknown` is none of it.
pub const NOTIFICATION_REQUESTS: [&str; 6] = ["send", "list", "unread", "read", "delete", "unknown"];

/// What came of looking after a user who may be away.
pub const ABSENT_RESULTS: [&str; 6] = ["mailed", "heard", "there", "later", "unsubscribed", "no_address"];

/// What the store of contacts was asked.
pub const CONTACT_OPERATIONS: [&str; 5] = ["put", "find", "remove", "subscribe", "mark"];

/// What front ends ask for over HTTP beside notifications.
pub const JOB_REQUESTS: [&str; 4] = ["send_email", "schedule_email", "trigger", "unsubscribe"];

/// Where in its life a job is.
pub const JOB_STATES: [&str; 5] = ["waiting", "delayed", "active", "completed", "failed"];

/// What kinds of jobs the gateway does itself; `other` is none of them.
pub const JOB_KINDS: [&str; 9] = ["http", "publish", "notify", "upkeep", "mail", "novu", "schedule", "absent", "other"];

/// What came of an attempt at a job: it was done, is tried again, is given up, or was not let come to its end.
pub const JOB_OUTCOMES: [&str; 4] = ["done", "failed", "dead", "cut_off"];

/// Who had a job enqueued: a back end, a client by an event, or a front end over HTTP.
pub const JOB_SOURCES: [&str; 3] = ["api", "event", "http"];

/// What came of having a job enqueued.
pub const JOB_RESULTS: [&str; 3] = ["new", "known", "refused"];

/// What the store of jobs was asked.
pub const JOB_OPERATIONS: [&str; 15] = [
    "open", "connect", "register", "enqueue", "work", "claim", "renew", "settle", "tidy", "survey", "list", "find",
    "retry", "remove", "pause",
];

/// The version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The git revision that it was built from: `dev` in builds for development, `unknown` if it was built without git.
pub const REVISION: &str = env!("REVISION");

/// Both, as `--version` prints them.
pub const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("REVISION"), ")");

/// What the HTTP API is asked to do; `unknown` is none of it.
pub const API_OPERATIONS: [&str; 41] = [
    "publish",
    "publish_to_user",
    "publish_to_all",
    "batch",
    "history",
    "stream",
    "members",
    "rooms",
    "sessions",
    "end_user",
    "end_session",
    "seat",
    "unseat",
    "revoke",
    "take_back",
    "take_back_user",
    "nodes",
    "ask_session",
    "ask_user",
    "ask_room",
    "notify",
    "notify_many",
    "notifications",
    "read_notifications",
    "delete_notification",
    "clear_notifications",
    "contact",
    "put_contact",
    "delete_contact",
    "enqueue",
    "jobs",
    "job",
    "remove_job",
    "retry_job",
    "queues",
    "pause_queue",
    "resume_queue",
    "schedules",
    "contract",
    "docs",
    "unknown",
];

/// The first digit of an answer's status.
pub const STATUS_CLASSES: [&str; 3] = ["2xx", "4xx", "5xx"];

/// Why a request for the HTTP API was nobody's.
pub const API_REFUSALS: [&str; 3] = ["no_key", "wrong_key", "too_many"];

/// What became of a request with an `Idempotency-Key`.
pub const REPEAT_RESULTS: [&str; 5] = ["new", "replayed", "running", "different", "unavailable"];

/// What is kept in memory for who asks again.
pub const CACHES: [&str; 3] = ["calls", "presence", "unread"];

/// How somebody was answered who asked for what is kept.
pub const CACHE_RESULTS: [&str; 5] = ["hit", "wait", "shared", "old", "miss"];

/// What became of spans that somebody was to record.
pub const SPAN_RESULTS: [&str; 4] = ["exported", "dropped", "rejected", "failed"];

/// What the store of answers that nodes share was asked.
pub const ANSWER_OPERATIONS: [&str; 3] = ["recall", "keep", "give_up"];

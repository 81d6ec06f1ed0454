//! Every metric of a node, in one place: the doc comment of a field is its help text in the exposition.
//!
//! Label values are fixed words, never text from clients. All series exist from the start, at 0. A node owns
//! its registry, so that several nodes can live in one process.

mod exposition;
mod families;
mod labels;
mod readable;
mod redises;
mod series;
mod shares;
mod timed;

use metrics::{Counter, Gauge, Histogram};
use metrics_exporter_prometheus::PrometheusRecorder;

use crate::domain::Refusal;

use exposition::Exposition;
pub use families::{Family, Family2};
pub use labels::*;
pub use readable::{Current, Total};
pub use redises::PerRedis;
use series::{Kind, Series};
pub use shares::Share;
pub use timed::{Counts, Timed};

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ty = $name:literal $([$($label:literal: $values:expr),+])?;)+) => {
        /// The handles through which a node records.
        #[derive(Debug)]
        pub struct Metrics { $($(#[doc = $help])+ pub $field: $kind,)+ exposition: Exposition }

        impl Metrics {
            fn register(recorder: PrometheusRecorder) -> Self {
                Self {
                    $($field: <$kind as Series>::make(
                        &recorder,
                        $name,
                        concat!($($help),+).trim_ascii(),
                        &[$($(($label, &$values[..])),+)?],
                    ),)+
                    exposition: Exposition::of(recorder),
                }
            }
        }
    };
}

metrics! {
    /// Client connections with a session on this node.
    connections: Family<Current> = "gateway_connections" ["transport": TRANSPORTS];
    /// Connections this node may hold, 0 for no limit.
    connections_limit: Gauge = "gateway_connections_limit";
    /// 1 while the node hands its clients over, else 0.
    draining: Current = "gateway_draining";
    /// Drains that still had clients when `drain.timeout` was over: of this node, and of others that told it.
    drain_overruns: Counter = "gateway_drain_overruns_total";
    /// How balancing stands on this node: 1 for the state that it is in, 0 for the others.
    balance_state: Family<Gauge> = "gateway_balance_state" ["state": BALANCE_STATES];
    /// Clients of this node that were asked to come back elsewhere because other nodes had fewer.
    balance_moves: Counter = "gateway_balance_moves_total";
    /// Connections that this node has beyond its share of all, as it last looked; negative if it has room, 0 while it knows no share.
    balance_surplus: Gauge = "gateway_balance_surplus";
    /// Connections that got a session.
    connections_opened: Family<Total> = "gateway_connections_opened_total" ["transport": TRANSPORTS];
    /// Connections with a session that ended, by what ended them.
    connections_closed: Family2<Total> = "gateway_connections_closed_total" ["transport": TRANSPORTS, "reason": CLOSE_REASONS];
    /// Transport handshakes, by result.
    handshakes: Family<Counter> = "gateway_handshakes_total" ["result": HANDSHAKE_RESULTS];
    /// HTTP requests that were refused as none of the protocol: handshakes, requests of connections, or no HTTP at all.
    bad_requests: Family<Counter> = "gateway_bad_requests_total" ["kind": BAD_REQUESTS];
    /// Connections of trusted proxies, by what their PROXY header came to.
    proxy_headers: Family<Counter> = "gateway_proxy_headers_total" ["result": PROXY_HEADER_RESULTS];
    /// Requests for a session (Socket.IO CONNECT), by result.
    connects: Family<Counter> = "gateway_connects_total" ["result": CONNECT_RESULTS];
    /// Routes of client events that ran, by what they do.
    events_received: Family<Total> = "gateway_events_received_total" ["action": ACTIONS];
    /// Events and signals taken for clients, counted once per receiver.
    events_delivered: Total = "gateway_events_delivered_total";
    /// Requests that were refused, by code.
    refusals: Family<Total> = "gateway_refusals_total" ["code": Refusal::CODES];
    /// Bytes read from clients, without the heads of HTTP requests.
    received_bytes: Total = "gateway_received_bytes_total";
    /// Bytes written to clients, without the heads of HTTP answers.
    sent_bytes: Total = "gateway_sent_bytes_total";
    /// Bytes that connections make this node hold: what waits for clients, each packet once, and what they sent in part.
    buffered_bytes: Gauge = "gateway_buffered_bytes";
    /// How many of them it may hold, 0 for no limit.
    buffered_bytes_limit: Gauge = "gateway_buffered_bytes_limit";
    /// From taking a publish to its acknowledgement, in seconds.
    publish_duration: Timed = "gateway_publish_duration_seconds";
    /// How long the log took to append an event, in seconds.
    log_append_duration: Histogram = "gateway_log_append_duration_seconds";
    /// Bytes that the log keeps, as it last measured; with Redis all that Redis keeps, of several the fullest.
    log_bytes: Gauge = "gateway_log_bytes";
    /// How many of them it may keep before what clients publish is refused, 0 for no limit.
    log_bytes_limit: Gauge = "gateway_log_bytes_limit";
    /// Rooms that were new to the log when this node appended to them.
    log_new_rooms: Counter = "gateway_log_new_rooms_total";
    /// Clients that wanted their session or their rooms back when they connected, by result.
    recoveries: Family<Counter> = "gateway_recoveries_total" ["result": RECOVERY_RESULTS];
    /// From the request for a session to be recovered to having read what it missed, in seconds.
    recovery_duration: Histogram = "gateway_recovery_duration_seconds";
    /// Events handed to clients from the log because they had missed them.
    replayed_events: Counter = "gateway_replayed_events_total";
    /// Replays that wait for their turn, by size: each is read as a small one first.
    replays_waiting: Family<Gauge> = "gateway_replays_waiting" ["size": ["small", "large"]];
    /// Replays whose turn did not come in time; their clients were told to come back.
    replays_put_off: Counter = "gateway_replays_put_off_total";
    /// Requests that the store of sessions failed to serve, by operation.
    session_errors: Family<Counter> = "gateway_session_errors_total" ["op": SESSION_OPERATIONS];
    /// Requests that presence failed to serve, by operation.
    presence_errors: Family<Counter> = "gateway_presence_errors_total" ["op": PRESENCE_OPERATIONS];
    /// Sessions that this node has in places, each counted in each place, as of its last beat.
    presence_entries: Gauge = "gateway_presence_entries";
    /// Members whose departure from a place this node was told, by cause.
    presence_departures: Family<Counter> = "gateway_presence_departures_total" ["cause": DEPARTURE_CAUSES];
    /// What this node still has to tell the store of presence, as of its last beat: leavings that failed, and sessions that
    /// are to be entered again.
    presence_pending: Family<Gauge> = "gateway_presence_pending" ["kind": ["leavings", "sessions"]];
    /// How often this node entered its sessions anew because more leavings had failed than are kept.
    presence_restarts: Counter = "gateway_presence_restarts_total";
    /// Sessions in places that the store had lost and that this node `entered` again, and those that it had kept for nobody and
    /// that this node had `taken_out`.
    presence_mended: Family<Counter> = "gateway_presence_mended_total" ["what": ["entered", "taken_out"]];
    /// Lifecycle events that wait to be acted on, as of the last beat. When there is no room, departures wait in the store.
    lifecycle_waiting: Gauge = "gateway_lifecycle_waiting";
    /// Lifecycle routes with a delay that are to run later.
    lifecycle_delayed: Gauge = "gateway_lifecycle_delayed";
    /// Lifecycle events that were left out because as many as may be waited, or were to run later.
    lifecycle_dropped: Family<Counter> = "gateway_lifecycle_dropped_total" ["reason": ["delayed", "full"]];
    /// Requests that the log failed to serve, by operation.
    log_errors: Family<Counter> = "gateway_log_errors_total" ["op": LOG_OPERATIONS];
    /// Streams of rooms that back ends read.
    taps: Gauge = "gateway_api_streams";
    /// Questions of back ends to clients, by result.
    asks: Family<Counter> = "gateway_asks_total" ["result": ASK_RESULTS];
    /// Clients of this node that were to be asked something, by what came of it.
    ask_answers: Family<Counter> = "gateway_ask_answers_total" ["answer": ASK_ANSWERS];
    /// Answers about clients that want in, of the back end of `auth.hook` or kept ones of it, by what they were.
    auth_hook_answers: Family<Counter> = "gateway_auth_hook_answers_total" ["answer": AUTH_HOOK_ANSWERS];
    /// Attempts to fetch the keys of `auth.jwks_url`, by result.
    jwks_fetches: Family<Counter> = "gateway_jwks_fetches_total" ["result": JWKS_RESULTS];
    /// Keys of `auth.jwks_url` that tokens are checked by.
    jwks_keys: Gauge = "gateway_jwks_keys";
    /// Revocations of tokens and users that this node knows.
    revocations: Gauge = "gateway_revocations";
    /// Requests that the store of revocations failed to serve, by operation.
    revocation_errors: Family<Counter> = "gateway_revocation_errors_total" ["op": REVOCATION_OPERATIONS];
    /// Events and signals that reached this node's fan-out.
    feed_items: Family<Counter> = "gateway_feed_items_total" ["kind": ["event", "signal"]];
    /// From taking an event anywhere in the cluster to its first delivery in a shard here, in seconds; clocks of nodes
    /// included.
    feed_lag: Histogram = "gateway_feed_lag_seconds";
    /// Interruptions of the feed: filled from the log, or with events lost because the log no longer had them.
    feed_gaps: Family<Counter> = "gateway_feed_gaps_total" ["result": ["filled", "lost"]];
    /// Rounds in which gaps of the feed were filled: one for each, and more where what was missed is more than is held in
    /// memory at a time.
    feed_gap_rounds: Counter = "gateway_feed_gap_rounds_total";
    /// How often all connections to Redis were given up because what answered was not, or not yet, the primary, by reason.
    redis_distrusted: Family<Counter> = "gateway_redis_distrusted_total" ["reason": REDIS_DOUBTS];
    /// How many Redis have a setting that puts what the gateway keeps there at risk, or cannot be read: 0 or 1 where there is one.
    redis_unsafe: Family<Gauge> = "gateway_redis_unsafe" ["setting": REDIS_RISKS];
    /// 1 while another node has another Redis for some namespace than this one, else 0.
    redis_disagreement: Gauge = "gateway_redis_disagreement";
    /// 1 while the database answers that is configured, or none is; else 0.
    database_up: Gauge = "gateway_database_up";
    /// 1 while the bus between nodes is connected, with several Redis over each of them; else 0.
    bus_connected: Gauge = "gateway_bus_connected";
    /// 1 while the bus over a Redis is connected, else 0. Without Redis there is none but what is in the process.
    redis_connected: PerRedis = "gateway_redis_connected";
    /// How long ago this node last heard its own canary over a Redis, in seconds.
    redis_canary_silence: PerRedis = "gateway_redis_canary_silence_seconds";
    /// Bytes that a Redis keeps in all, as they were last measured.
    redis_log_bytes: PerRedis = "gateway_redis_log_bytes";
    /// How many of them it may keep before what clients publish to its namespaces is refused, 0 for no limit.
    redis_log_bytes_limit: PerRedis = "gateway_redis_log_bytes_limit";
    /// How often the bus had to connect again.
    bus_reconnects: Counter = "gateway_bus_reconnects_total";
    /// Messages of the bus that this node could not take. Events among them are read from the log again.
    bus_dropped: Counter = "gateway_bus_dropped_total";
    /// From sending the canary to hearing it, through the same way as events, in seconds.
    canary_lag: Histogram = "gateway_canary_lag_seconds";
    /// How long ago this node last heard its own canary, in seconds; with several Redis the longest.
    canary_silence: Gauge = "gateway_canary_silence_seconds";
    /// Calls of back ends on behalf of clients, by result.
    calls: Family<Counter> = "gateway_calls_total" ["result": CALL_RESULTS];
    /// Calls of back ends that are under way.
    calls_in_flight: Gauge = "gateway_calls_in_flight";
    /// How long back ends were asked until the call had its result, further attempts included, in seconds.
    call_duration: Histogram = "gateway_call_duration_seconds";
    /// Attempts to ask a back end after the first of a call.
    call_retries: Counter = "gateway_call_retries_total";
    /// How often a back end was left alone for a while because it had failed too often in a row: by all, or by the one user or
    /// session for which it failed.
    call_breaker_openings: Family<Counter> = "gateway_call_breaker_openings_total" ["by": ["all", "one"]];
    /// Back ends that are left alone by all clients, or by the gateway itself, until they are seen to work again, by what they are
    /// asked for; those that nobody has wanted to ask for three minutes are left out.
    call_breakers_open: Family<Gauge> = "gateway_call_breakers_open" ["of": PURPOSES];
    /// What was heard of emitters, by the library that speaks so and by what it wishes.
    emitters_heard: Family2<Counter> = "gateway_emitters_heard_total" ["dialect": EMITTER_DIALECTS, "what": EMITTER_WISHES];
    /// Messages of emitters that were not heeded, or not done, by reason.
    emitters_refused: Family2<Counter> = "gateway_emitters_refused_total"
        ["dialect": EMITTER_DIALECTS, "reason": EMITTER_REFUSALS];
    /// Messages of emitters that this node could not take.
    emitters_lost: Counter = "gateway_emitters_lost_total";
    /// 1 while this node takes what emitters say for the whole cluster, else 0.
    emitters_taking: Family<Gauge> = "gateway_emitters_taking" ["of": ["channels", "stream"]];
    /// How long ago the first of the entries was added that this node took last from the stream of emitters, in seconds.
    emitters_behind: Gauge = "gateway_emitters_stream_behind_seconds";
    /// Events that wait for the hooks that this node works on.
    hook_events_waiting: Gauge = "gateway_hook_events_waiting";
    /// For how long the oldest of them waits, in seconds.
    hook_oldest: Gauge = "gateway_hook_oldest_seconds";
    /// Events that the back ends of hooks have taken.
    hook_events_delivered: Counter = "gateway_hook_events_delivered_total";
    /// Attempts to tell hooks what happened, by result.
    hook_attempts: Family<Counter> = "gateway_hook_attempts_total" ["result": HOOK_RESULTS];
    /// Events that a hook was to be told and that were given up, by reason.
    hook_events_given_up: Family<Counter> = "gateway_hook_events_given_up_total" ["reason": GIVEN_UP_REASONS];
    /// Events that were dropped because as many waited for a hook as may wait.
    hook_events_dropped: Counter = "gateway_hook_events_dropped_total";
    /// Events that wait for the archive in each Redis, where this node writes them; else 0.
    redis_archive_waiting: PerRedis = "gateway_redis_archive_waiting";
    /// For how long the oldest of these has waited, in seconds.
    redis_archive_lag: PerRedis = "gateway_redis_archive_lag_seconds";
    /// Events that this node wrote into the archive.
    archive_events: Counter = "gateway_archive_events_total";
    /// Parts of rooms of which the archive may not have everything, as this node found them, by why.
    archive_gaps: Family<Counter> = "gateway_archive_gaps_total" ["why": ARCHIVE_GAPS];
    /// Events that wait for the archive, where this node writes it; else 0.
    archive_waiting: Gauge = "gateway_archive_waiting";
    /// For how long the oldest of them waits, in seconds.
    archive_lag: Gauge = "gateway_archive_lag_seconds";
    /// How long the archive took to write a batch, in seconds.
    archive_write_duration: Histogram = "gateway_archive_write_duration_seconds";
    /// Rows that this node had the archive forget for their age.
    archive_forgotten: Counter = "gateway_archive_forgotten_total";
    /// What was read of rooms beyond what the log has: whole, or with something missing.
    archive_reads: Family<Counter> = "gateway_archive_reads_total" ["result": ["whole", "incomplete"]];
    /// Requests that the archive failed to serve, by operation.
    archive_errors: Family<Counter> = "gateway_archive_errors_total" ["op": ARCHIVE_OPERATIONS];
    /// Requests that the store of outboxes failed to serve, by operation.
    outbox_errors: Family<Counter> = "gateway_outbox_errors_total" ["op": OUTBOX_OPERATIONS];
    /// Notifications that users were told, by the way by which they came (an event of a client, HTTP of a user, the API, a job) and
    /// by what became of them: kept, known already, or only live, as there is no database.
    notifications: Family2<Counter> = "gateway_notifications_total" ["by": NOTIFIED_BY, "result": ["kept", "duplicate", "live"]];
    /// What sessions of users were to hear of notifications: in the log, only now, as the log takes no more, or not at all.
    notification_pushes: Family<Counter> = "gateway_notification_pushes_total" ["result": ["logged", "signalled", "failed"]];
    /// Notifications that were marked as read.
    notifications_read: Counter = "gateway_notifications_read_total";
    /// Notifications that are kept no more, by reason.
    notifications_gone: Family<Counter> = "gateway_notifications_gone_total"
        ["reason": ["collapsed", "surplus", "deleted", "forgotten"]];
    /// Requests that the store of notifications failed to serve, by operation.
    notification_errors: Family<Counter> = "gateway_notification_errors_total" ["op": NOTIFICATION_OPERATIONS];
    /// Requests of users for their notifications over HTTP that were answered, by what they asked for and by status.
    notification_requests: Family2<Counter> = "gateway_notification_requests_total"
        ["operation": NOTIFICATION_REQUESTS, "status": STATUS_CLASSES];
    /// Mails, by what became of them: handed over, refused for good, failed for now, or left out, as the same was sent a moment ago.
    mails: Family<Counter> = "gateway_mails_total" ["result": ["sent", "refused", "failed", "repeated"]];
    /// How long it took to hand over a mail, in seconds, whatever came of it.
    mail_duration: Histogram = "gateway_mail_duration_seconds";
    /// Triggers of Novu, by what became of them: processed, refused for good, failed for now, or left out, as the same was triggered a
    /// moment ago.
    triggers: Family<Counter> = "gateway_novu_triggers_total" ["result": ["done", "refused", "failed", "repeated"]];
    /// Ticks of schedules that this node came to: it enqueued them, another node had, it could not, or nobody had been there in time.
    schedule_ticks: Family<Counter> = "gateway_schedule_ticks_total" ["result": ["enqueued", "known", "failed", "missed"]];
    /// Attempts to do what schedules have done, on this node: done, failed, or left out, as a newer tick was begun or this one done.
    schedule_runs: Family<Counter> = "gateway_schedule_runs_total" ["result": ["done", "failed", "old"]];
    /// Users after whom this node looked, as they might be away, by what came of it.
    absent: Family<Counter> = "gateway_absent_total" ["result": ABSENT_RESULTS];
    /// Requests that the store of contacts failed to serve, by operation.
    contact_errors: Family<Counter> = "gateway_contact_errors_total" ["op": CONTACT_OPERATIONS];
    /// Requests of front ends for mail and jobs over HTTP that were answered, by what they asked for and by status.
    job_requests: Family2<Counter> = "gateway_job_requests_total" ["operation": JOB_REQUESTS, "status": STATUS_CLASSES];
    /// Jobs of all queues, by state, as this node last looked.
    jobs: Family<Gauge> = "gateway_jobs" ["state": JOB_STATES];
    /// For how long the job has been due that is next, in the queue where that is longest; paused ones are left out.
    jobs_lag: Gauge = "gateway_jobs_lag_seconds";
    /// Queues that are paused.
    queues_paused: Gauge = "gateway_job_queues_paused";
    /// Jobs that this node does just now.
    jobs_running: Gauge = "gateway_jobs_running";
    /// Attempts at jobs on this node, by what kind they are and what came of them.
    jobs_done: Family2<Counter> = "gateway_jobs_done_total" ["kind": JOB_KINDS, "outcome": JOB_OUTCOMES];
    /// How long attempts at jobs took, in seconds.
    job_duration: Histogram = "gateway_job_duration_seconds";
    /// Jobs that this node handed back because it stopped before they were done.
    jobs_handed_back: Counter = "gateway_jobs_handed_back_total";
    /// Jobs that somebody wanted to have done, by who it was and what came of it: they are new, were known by their id, or refused.
    jobs_enqueued: Family2<Counter> = "gateway_jobs_enqueued_total" ["by": JOB_SOURCES, "result": JOB_RESULTS];
    /// Requests that the store of jobs failed to serve, by operation.
    job_errors: Family<Counter> = "gateway_job_errors_total" ["op": JOB_OPERATIONS];
    /// Spans of traces, by what became of them: the collector took them, they found no room to wait for it, it did not want them, or
    /// it could not be reached.
    spans: Family<Counter> = "gateway_spans_total" ["result": SPAN_RESULTS];
    /// 1 in a process that only works on jobs, and lets no client in; else 0.
    works_only: Gauge = "gateway_works_only";
    /// Decisions of the rate limiters.
    rate_limit_decisions: Family2<Counter> = "gateway_rate_limit_decisions_total"
        ["limiter": LIMITERS, "decision": ["allow", "deny"]];
    /// Keys that a rate limiter remembers.
    rate_limit_keys: Family<Gauge> = "gateway_rate_limit_keys" [
        "limiter": [
            "address_handshakes",
            "address_failures",
            "address_requests",
            "address_http",
            "user",
            "address",
            "kept",
            "route",
            "notification_sender",
            "notification_receiver",
            "job_sender",
            "mail_sender"
        ]
    ];
    /// Other nodes that say that they hear the bus, as this node last learned.
    hearing_peers: Gauge = "gateway_hearing_peers";
    /// 1 while this node hears nothing although others do, or there are no others; which makes it not ready. Else 0.
    deaf: Gauge = "gateway_deaf";
    /// How often this node handed its clients over because it had been deaf for too long.
    deaf_drains: Counter = "gateway_deaf_drains_total";
    /// Rooms with members on this node.
    rooms: Current = "gateway_rooms";
    /// Rooms whose log this node listens to.
    subscriptions: Gauge = "gateway_subscriptions";
    /// The number of the format in which this node writes what others read: the newest that all nodes read.
    format: Gauge = "gateway_format";
    /// Nodes that hear the bus and let clients in, this one included: not those that drain or only work.
    cluster_nodes: Gauge = "gateway_cluster_nodes";
    /// Requests of clients for connections of other nodes, by what came of passing them on.
    passed_on: Family<Counter> = "gateway_passed_on_total" ["result": PASSED_ON];
    /// What passing on a client's message, or its upgrade, took until there was an answer, in seconds; polls wait for something.
    passing_duration: Histogram = "gateway_passing_duration_seconds";
    /// Connections to other nodes, on which requests are passed on; those that nobody uses now included.
    passing_connections: Gauge = "gateway_passing_connections";
    /// How many of them there may be, and as many from other nodes; 0 if nothing is passed on.
    passing_limit: Gauge = "gateway_passing_connections_limit";
    /// Clients for which other nodes have the connection, as of a second ago: websockets that go on to them, polls that wait for them.
    passing: Family<Gauge> = "gateway_passing" ["transport": TRANSPORTS];
    /// Connections on which other nodes pass on requests to this one.
    passing_taken: Gauge = "gateway_passing_taken_connections";
    /// Wishes of other nodes for such a connection, by what came of them.
    passing_doors: Family<Counter> = "gateway_passing_doors_total" ["result": PASSING_DOORS];
    /// Nodes that this one knows where to find, itself included.
    passing_nodes: Gauge = "gateway_passing_nodes";
    /// Connections to the admin listener.
    admin_connections: Gauge = "gateway_admin_connections";
    /// Connections to the admin listener that were ended: crowded out by newer ones, or too slow with the head of a request,
    /// the next one included.
    admin_ended: Family<Counter> = "gateway_admin_connections_ended_total" ["reason": ["crowded", "slow_head"]];
    /// Requests of operators that were refused: their token was wrong, or too many of their address waited already.
    operators_refused: Family<Counter> = "gateway_operators_refused_total" ["reason": ["wrong_token", "too_many"]];
    /// Requests for the HTTP API that were answered, items of batches included, by what they asked for and by status.
    api_requests: Family2<Counter> = "gateway_api_requests_total" ["operation": API_OPERATIONS, "status": STATUS_CLASSES];
    /// Who asked for what is kept in memory, by how it was answered: from there (`hit`), by waiting for who had asked already
    /// (`wait`), from what another node had learned (`shared`), likewise while it is learned anew (`old`), or by asking (`miss`).
    cache_requests: Family2<Counter> = "gateway_cache_requests_total" ["cache": CACHES, "result": CACHE_RESULTS];
    /// What is kept in memory, in bytes, as of the last upkeep.
    cache_bytes: Family<Gauge> = "gateway_cache_bytes" ["cache": CACHES];
    /// Requests that the store of answers that nodes share failed to serve, by operation.
    answer_errors: Family<Counter> = "gateway_answer_errors_total" ["op": ANSWER_OPERATIONS];
    /// From having read a request for the HTTP API to its answer, in seconds; of batches as a whole.
    api_duration: Histogram = "gateway_api_request_duration_seconds";
    /// Requests for the HTTP API that were nobody's: without a key, with a wrong one, or with a wrong one while too many of
    /// their address waited already.
    api_refused: Family<Counter> = "gateway_api_refused_total" ["reason": API_REFUSALS];
    /// Requests with an `Idempotency-Key`, by what became of them.
    api_repeats: Family<Counter> = "gateway_api_repeats_total" ["result": REPEAT_RESULTS];
    /// Operators that are connected to this node.
    operators: Gauge = "gateway_operators";
    /// What happened to sessions while operators listened, without these being told one by one.
    operators_left_out: Counter = "gateway_operators_left_out_total";
    /// 1, with the version of the program and the git revision that it was built from.
    build_info: Family2<Gauge> = "gateway_build_info" ["version": [VERSION], "revision": [REVISION]];
}

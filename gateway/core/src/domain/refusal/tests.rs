//! The table of refusals, as clients read it.

use super::*;

/// Clients are written against these: a change here is a breaking change.
#[test]
fn the_table_of_refusals() {
    let wait = Duration::from_micros(1_500);
    let table = [
        (
            Refusal::bad_request("an object"),
            r#"{"code":"bad_request","message":"the arguments are not valid: an object"}"#,
        ),
        (
            Refusal::BadRoom,
            r#"{"code":"bad_room","message":"a room name has 1 to 255 bytes and no control characters"}"#,
        ),
        (Refusal::UnknownEvent, r#"{"code":"unknown_event","message":"no route accepts this event"}"#),
        (Refusal::NotAllowed, r#"{"code":"not_allowed","message":"this session may not send this event"}"#),
        (Refusal::NotInRoom, r#"{"code":"not_in_room","message":"join the room first"}"#),
        (
            Refusal::TooLarge { limit: 65536 },
            r#"{"code":"too_large","message":"the event is larger than 65536 bytes"}"#,
        ),
        (
            Refusal::TooManyRooms { limit: 100 },
            r#"{"code":"too_many_rooms","message":"a session may be in 100 rooms; leave one first"}"#,
        ),
        (
            Refusal::RateLimited { retry_after: wait },
            r#"{"code":"rate_limited","message":"too fast; try again after the wait","retryAfterMs":2}"#,
        ),
        (
            Refusal::Overloaded,
            r#"{"code":"overloaded","message":"events arrive faster than they can be handled; slow down","retryAfterMs":1000}"#,
        ),
        (
            Refusal::Unavailable,
            r#"{"code":"unavailable","message":"what this needs cannot be reached; try again","retryAfterMs":1000}"#,
        ),
        (Refusal::Capacity, r#"{"code":"capacity","message":"this node is full; try again","retryAfterMs":1000}"#),
        (
            Refusal::Busy,
            r#"{"code":"busy","message":"this node takes new connections at a limited rate; try again","retryAfterMs":1000}"#,
        ),
        (
            Refusal::Draining,
            r#"{"code":"draining","message":"this node is leaving; connect again","retryAfterMs":1000}"#,
        ),
        (Refusal::Elsewhere, r#"{"code":"elsewhere","message":"others have room; connect again","retryAfterMs":1000}"#),
        (
            Refusal::TokenRequired,
            r#"{"code":"token_required","message":"unauthorized: a token is required, in auth.token or the Authorization header"}"#,
        ),
        (Refusal::Unauthorized, r#"{"code":"unauthorized","message":"unauthorized: the token is not valid here"}"#),
        (
            Refusal::TokenExpired,
            r#"{"code":"token_expired","message":"unauthorized: the token has expired; come back with a new one"}"#,
        ),
        (Refusal::TokenRevoked, r#"{"code":"token_revoked","message":"unauthorized: the token was revoked"}"#),
        (Refusal::TooManyConnects, r#"{"code":"too_many_connects","message":"too many attempts on one connection"}"#),
        (
            Refusal::TooManyNamespaces { limit: 8 },
            r#"{"code":"too_many_namespaces","message":"a connection may be in 8 namespaces"}"#,
        ),
        (
            Refusal::TooManyConnections,
            r#"{"code":"too_many_connections","message":"too many connections from this address; close one first","retryAfterMs":1000}"#,
        ),
        (
            Refusal::TooManySessions { limit: 5 },
            r#"{"code":"too_many_sessions","message":"a user may have 5 sessions on a node; close one first"}"#,
        ),
        (Refusal::ForbiddenOrigin, r#"{"code":"forbidden_origin","message":"pages of this origin may not connect"}"#),
        (Refusal::Taken, r#"{"code":"taken","message":"somebody else holds this name"}"#),
        (Refusal::RoomFull { limit: 2 }, r#"{"code":"room_full","message":"the room has its 2 members"}"#),
        (
            Refusal::LogFull,
            r#"{"code":"log_full","message":"no more can be kept at the moment; try again","retryAfterMs":5000}"#,
        ),
        (
            Refusal::TooMuchKept { retry_after: wait },
            r#"{"code":"too_much_kept","message":"too much was kept for you; try again after the wait","retryAfterMs":2}"#,
        ),
        (
            Refusal::TooManyNewRooms { retry_after: wait },
            r#"{"code":"too_many_new_rooms","message":"too many rooms were new; try again after the wait","retryAfterMs":2}"#,
        ),
        (
            Refusal::NoDatabase,
            r#"{"code":"no_database","message":"this deployment has no database, so that is not kept here"}"#,
        ),
        (
            Refusal::QueueFull,
            r#"{"code":"queue_full","message":"as many jobs wait in this queue as may; try again","retryAfterMs":5000}"#,
        ),
        (Refusal::Rejected("no credit".into()), r#"{"code":"rejected","message":"no credit"}"#),
    ];
    let codes: Vec<_> = table.iter().map(|(refusal, _)| refusal.code()).collect();
    assert_eq!(codes, Refusal::CODES);
    for (refusal, json) in table {
        assert_eq!(serde_json::to_string(&refusal).unwrap(), json);
    }
}

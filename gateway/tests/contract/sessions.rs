//! The contract of the sessions, run against every backend.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::BoxStream;
use gateway_core::bus::{Bus, RedisBus};
use gateway_core::domain::{Offset, Pid, RoomName, SessionId, UserId};
use gateway_core::formats::{Format, Formats};
use gateway_core::metrics::Metrics;
use gateway_core::port::{ErrorKind, Port, PortError};
use gateway_core::redis::{Commands, History};
use gateway_core::sessions::{
    Lease, MemorySessions, Record, RedisSessions, RoomRecord, Sessions, SqliteSessions, Whose,
};
use gateway_core::supervisor::Supervisor;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::time::{Instant, sleep};

use crate::support;
use crate::support::redis::Redis;

const WINDOW: Duration = Duration::from_secs(1);
/// Until something is surely over that ends after a time.
const MARGIN: Duration = Duration::from_millis(150);

fn user(name: &str) -> Option<UserId> {
    Some(UserId::parse(name).unwrap())
}

fn record(user: Option<UserId>) -> Record {
    let room = RoomName::parse("général").unwrap();
    let rooms = vec![RoomRecord {
        room,
        since: Offset(u64::MAX),
        complete_from: Offset(1),
        replay: 3,
        handed: Offset(7),
        via: "join".into(),
    }];
    let names = vec![("claim".to_owned(), RoomName::claimed("/", "a name"))];
    let (namespace, identified) = ("/".to_owned(), UserId::parse("somebody"));
    let (handed, complete_to) = (Offset(7), Offset(9));
    let session = SessionId::random();
    Record { session, user, version: 1, term: 0, rooms, namespace, identified, names, handed, complete_to }
}

/// A session of alice's that is held.
async fn held(sessions: &dyn Sessions) -> (Lease, Record) {
    let (lease, record) = (Lease::new(Pid::random()), record(user("alice")));
    assert!(sessions.save(lease, &record).await.unwrap());
    (lease, record)
}

/// A record as whoever claims the session gets it.
fn claimed(record: Record) -> Record {
    Record { term: record.term + Record::TERMS, ..record }
}

fn rival(lease: Lease) -> Lease {
    Lease::new(lease.pid)
}

async fn holds(sessions: &dyn Sessions, lease: Lease) -> bool {
    sessions.renew(&[lease]).await.unwrap().is_empty()
}

/// What whoever claims a session gets, wherever the log stood when it was saved.
async fn claim(sessions: &dyn Sessions, lease: Lease, namespace: &str, user: Option<&UserId>) -> Option<Record> {
    sessions.claim(lease, namespace, user).await.unwrap().map(|claimed| claimed.record)
}

async fn claims(sessions: &dyn Sessions, lease: Lease) -> Option<Record> {
    claim(sessions, lease, "/", user("alice").as_ref()).await
}

async fn next(superseded: &mut BoxStream<'static, Lease>) -> Lease {
    tokio::time::timeout(support::PATIENCE, superseded.next()).await.expect("nobody was superseded").unwrap()
}

async fn a_session_comes_back_as_it_was_saved_last(one: &dyn Sessions, two: &dyn Sessions) {
    let (lease, first) = held(one).await;
    let second = record(user("alice"));
    assert!(one.save(lease, &second).await.unwrap());
    one.release(lease, true).await.unwrap();
    let back = rival(lease);
    assert_eq!(claims(two, back).await, Some(claimed(second)));
    assert!(!one.save(lease, &first).await.unwrap(), "it is another's now");
    let first = claimed(first);
    assert!(two.save(back, &first).await.unwrap());
    assert_eq!(claims(one, rival(lease)).await, Some(claimed(first)));
    assert_eq!(claims(one, Lease::new(Pid::random())).await, None, "nobody has this one");
}

async fn each_claim_begins_a_later_term(one: &dyn Sessions, two: &dyn Sessions) {
    let (lease, mine) = (Lease::new(Pid::random()), Record { term: 7, ..record(user("alice")) });
    assert!(one.save(lease, &mine).await.unwrap());
    assert_eq!(claims(two, rival(lease)).await.unwrap().term, 9);
    let second = rival(lease);
    assert_eq!(claims(one, second).await.unwrap().term, 11, "also if nothing was saved in between");
    assert!(one.save(second, &Record { term: 11, ..mine.clone() }).await.unwrap());
    one.release(second, true).await.unwrap();
    assert_eq!(claims(two, second).await.unwrap().term, 13, "also of one that nobody held");
    two.release(second, false).await.unwrap();
    assert!(two.save(second, &Record { term: 13, ..mine }).await.unwrap(), "what was forgotten is made good");
    assert_eq!(claims(one, rival(lease)).await.unwrap().term, 15);
}

async fn only_the_holder_can_do_anything(one: &dyn Sessions, two: &dyn Sessions) {
    let (lease, mine) = held(one).await;
    let stranger = rival(lease);
    assert!(!two.save(stranger, &record(None)).await.unwrap());
    assert_eq!(two.renew(&[stranger]).await.unwrap(), [stranger]);
    two.release(stranger, false).await.unwrap();
    two.release(stranger, true).await.unwrap();
    assert!(holds(one, lease).await);
    assert_eq!(claims(two, stranger).await, Some(claimed(mine.clone())));
    assert!(!holds(one, lease).await && holds(two, stranger).await);
    assert!(!one.save(lease, &mine).await.unwrap());
    one.release(lease, false).await.unwrap();
    assert!(holds(two, stranger).await, "who was superseded cannot end it");
}

async fn a_released_session_is_nobodys_until_it_is_claimed(one: &dyn Sessions, two: &dyn Sessions) {
    let (lease, mine) = held(one).await;
    one.release(lease, true).await.unwrap();
    assert!(!one.save(lease, &mine).await.unwrap(), "a save that comes late does not take it back");
    assert_eq!(one.renew(&[lease]).await.unwrap(), [lease]);
    assert_eq!(claims(two, lease).await, Some(claimed(mine)), "the same holder may claim it");
    two.release(lease, false).await.unwrap();
    assert_eq!(claims(one, rival(lease)).await, None, "forgotten at once");
    assert!(one.save(lease, &record(None)).await.unwrap(), "what is forgotten can be saved anew");
}

async fn a_session_is_its_users_alone(one: &dyn Sessions, two: &dyn Sessions) {
    let people = [user("alice"), user("bob"), None, user("-"), user("anonymous")];
    for owner in &people {
        let (lease, mine) = (Lease::new(Pid::random()), record(owner.clone()));
        assert!(one.save(lease, &mine).await.unwrap());
        for other in people.iter().filter(|other| *other != owner) {
            assert_eq!(claim(two, rival(lease), "/", other.as_ref()).await, None, "{other:?} is not {owner:?}");
        }
        assert!(holds(one, lease).await, "who may not have it does not end it");
        assert_eq!(claim(two, rival(lease), "/", owner.as_ref()).await, Some(claimed(mine)));
    }
}

async fn a_session_is_of_one_namespace(one: &dyn Sessions, two: &dyn Sessions) {
    for (namespace, others) in [("/", ["/chat", ""]), ("/chat", ["/", "/chat2"])] {
        let lease = Lease::new(Pid::random());
        let mine = Record { namespace: namespace.to_owned(), ..record(None) };
        assert!(one.save(lease, &mine).await.unwrap());
        for other in others {
            assert_eq!(claim(two, rival(lease), other, None).await, None, "{other} is not {namespace}");
        }
        assert!(holds(one, lease).await, "who asks elsewhere does not end it");
        assert_eq!(claim(two, rival(lease), namespace, None).await, Some(claimed(mine)));
    }
}

async fn of(sessions: &dyn Sessions, owner: &str, identified: Option<&str>) -> (Lease, Record) {
    let identified = identified.and_then(UserId::parse);
    let (lease, record) = (Lease::new(Pid::random()), Record { identified, ..record(UserId::parse(owner)) });
    assert!(sessions.save(lease, &record).await.unwrap());
    (lease, record)
}

async fn what_is_ended_nobody_gets_back(one: &dyn Sessions, two: &dyn Sessions) {
    let whose = |name: &str| Whose::User(UserId::parse(name).unwrap());
    // Each in another state: held, released, claimed by another, released and claimed, a user by its own word.
    let (held, mine) = of(one, "erin", None).await;
    let (released, _) = of(one, "erin", None).await;
    one.release(released, true).await.unwrap();
    let (lost, _) = of(one, "erin", None).await;
    let claimed = rival(lost);
    assert!(claim(two, claimed, "/", user("erin").as_ref()).await.is_some());
    let (said, _) = of(two, "", Some("erin")).await;
    let (others, theirs) = of(one, "frank", None).await;
    let (was, changed) = of(one, "", Some("erin")).await;
    let changed = Record { version: 2, identified: UserId::parse("frank"), ..changed };
    assert!(one.save(was, &changed).await.unwrap());
    assert_eq!(two.forget(&whose("nobody")).await.unwrap(), 0);
    assert_eq!(two.forget(&whose("erin")).await.unwrap(), 4);
    assert_eq!(one.forget(&whose("erin")).await.unwrap(), 0, "they are gone");
    for (lease, owner) in [(held, "erin"), (released, "erin"), (claimed, "erin"), (lost, "erin"), (said, "")] {
        let owner = UserId::parse(owner);
        assert!(!holds(one, lease).await);
        assert!(!two.save(lease, &mine).await.unwrap(), "its holder does not bring it back");
        assert!(!one.save(rival(lease), &mine).await.unwrap(), "nor does anybody else");
        one.release(lease, true).await.unwrap();
        assert_eq!(claim(one, rival(lease), "/", owner.as_ref()).await, None);
        assert_eq!(claim(two, lease, "/", owner.as_ref()).await, None);
    }
    assert!(holds(two, others).await && holds(two, was).await, "others stay");
    // One alone, connected or away.
    let (second, _) = of(one, "frank", None).await;
    one.release(others, true).await.unwrap();
    assert_eq!(two.forget(&Whose::Session(SessionId::random())).await.unwrap(), 0);
    assert_eq!(two.forget(&Whose::Session(theirs.session)).await.unwrap(), 1);
    assert_eq!(claim(one, rival(others), "/", user("frank").as_ref()).await, None);
    assert!(holds(one, second).await);
    // Who comes anew is not concerned.
    let (again, _) = of(two, "erin", None).await;
    assert!(holds(one, again).await);
    // What was forgotten at once is not found any more.
    one.release(second, false).await.unwrap();
    assert_eq!(one.forget(&whose("frank")).await.unwrap(), 1, "the one that became frank's");
}

/// A record is found as long as it is kept, however it is kept, and not longer.
async fn what_is_kept_can_be_ended(one: &dyn Sessions) {
    let whose = Whose::User(UserId::parse("grace").unwrap());
    let (renewed, _) = of(one, "grace", None).await;
    let (released, _) = of(one, "grace", None).await;
    for _ in 0..4 {
        sleep(WINDOW / 2).await;
        assert!(holds(one, renewed).await);
    }
    assert_eq!(claim(one, rival(released), "/", user("grace").as_ref()).await, None, "its time was over");
    one.release(renewed, true).await.unwrap();
    assert_eq!(one.forget(&whose).await.unwrap(), 1);
    // The mark of the end stays as long as a holder could have kept the session.
    sleep(WINDOW * 3 / 2 + MARGIN).await;
    assert!(one.save(renewed, &record(user("grace"))).await.unwrap());
    assert_eq!(one.forget(&whose).await.unwrap(), 1);
}

async fn many_are_renewed_at_once(one: &dyn Sessions) {
    let (mut leases, mut gone) = (Vec::new(), Vec::new());
    // Again and again, so that the first ones are still kept when the last one is.
    for _ in 0..11 {
        let more = join_all((0..100).map(|_| held(one))).await;
        leases.extend(more.iter().map(|(lease, _)| *lease));
        let (left, _) = more[7];
        one.release(left, false).await.unwrap();
        gone.push(left);
        assert!(one.renew(&leases).await.unwrap() == gone, "others than those that are gone are not renewed");
    }
    assert_eq!(one.renew(&[]).await.unwrap(), []);
}

async fn the_one_that_was_superseded_is_told(
    one: &dyn Sessions,
    two: &dyn Sessions,
    superseded: &mut [BoxStream<'static, Lease>],
) {
    let (lease, _) = held(one).await;
    let second = rival(lease);
    claims(two, second).await.unwrap();
    claims(two, second).await.unwrap();
    two.release(second, true).await.unwrap();
    let third = rival(lease);
    claims(one, third).await.unwrap();
    claims(two, rival(lease)).await.unwrap();
    for stream in superseded {
        assert_eq!(next(stream).await, lease);
        // Neither who claims its own nor who released it is superseded.
        assert_eq!(next(stream).await, third);
    }
}

async fn of_a_thousand_claims_one_holds_in_the_end(
    one: &dyn Sessions,
    two: &dyn Sessions,
    superseded: &mut [BoxStream<'static, Lease>],
) {
    let (lease, mine) = held(one).await;
    let mut leases: Vec<_> = (0..1_000).map(|_| rival(lease)).collect();
    let records = join_all(leases.iter().enumerate().map(|(number, lease)| {
        let sessions = if number % 2 == 0 { one } else { two };
        claims(sessions, *lease)
    }))
    .await;
    let mut terms: Vec<_> = records.iter().flatten().map(|record| record.term).collect();
    terms.sort_unstable();
    assert!(terms.into_iter().eq((1..=1_000).map(|claim| claim * Record::TERMS)), "each has a term of its own");
    assert!(records.into_iter().flatten().all(|record| Record { term: 0, ..record } == mine));
    leases.push(lease);
    let lost: HashSet<_> = one.renew(&leases).await.unwrap().into_iter().collect();
    assert_eq!(lost.len(), leases.len() - 1, "exactly one still holds it");
    for stream in superseded {
        let mut told = HashSet::new();
        for _ in 0..lost.len() {
            told.insert(next(stream).await);
        }
        assert_eq!(told, lost);
    }
}

/// What is still to be had after a time is asserted only if this machine was fast enough to ask in time.
async fn sessions_are_forgotten_after_their_time_and_not_before(one: &dyn Sessions) {
    let held_for = WINDOW * 3 / 2;
    let released = async {
        let (lease, _) = held(one).await;
        one.release(lease, true).await.unwrap();
        sleep(WINDOW + MARGIN).await;
        assert_eq!(claims(one, lease).await, None, "released for longer than the window");
    };
    let released_late = async {
        let (lease, _) = held(one).await;
        sleep(WINDOW).await;
        let since = Instant::now();
        one.release(lease, true).await.unwrap();
        sleep(WINDOW * 3 / 4).await;
        let found = claims(one, lease).await;
        assert!(found.is_some() || since.elapsed() >= WINDOW, "the window begins with the release");
    };
    let killed = async {
        let since = Instant::now();
        let (lease, _) = held(one).await;
        sleep(WINDOW * 5 / 4).await;
        let renewed = Instant::now();
        let (kept, in_time) = (holds(one, lease).await, since.elapsed() < held_for);
        assert!(kept || !in_time, "held for longer than the window");
        sleep(WINDOW * 5 / 4).await;
        let found = claims(one, lease).await;
        assert!(!kept || found.is_some() || renewed.elapsed() >= held_for, "kept by the renewal");
        sleep(held_for + MARGIN).await;
        assert!(!holds(one, lease).await, "nobody renewed it");
        assert_eq!(claims(one, rival(lease)).await, None);
        assert!(one.save(rival(lease), &record(None)).await.unwrap(), "what is forgotten is anybody's");
    };
    tokio::join!(released, released_late, killed);
}

async fn the_whole_contract(one: &dyn Sessions, two: &dyn Sessions, mut superseded: Vec<BoxStream<'static, Lease>>) {
    the_one_that_was_superseded_is_told(one, two, &mut superseded).await;
    of_a_thousand_claims_one_holds_in_the_end(one, two, &mut superseded).await;
    a_session_comes_back_as_it_was_saved_last(one, two).await;
    each_claim_begins_a_later_term(one, two).await;
    only_the_holder_can_do_anything(one, two).await;
    a_released_session_is_nobodys_until_it_is_claimed(one, two).await;
    a_session_is_its_users_alone(one, two).await;
    a_session_is_of_one_namespace(one, two).await;
    what_is_ended_nobody_gets_back(one, two).await;
    what_is_kept_can_be_ended(one).await;
    many_are_renewed_at_once(one).await;
    sessions_are_forgotten_after_their_time_and_not_before(one).await;
    for sessions in [one, two] {
        assert!(sessions.superseded().next().await.is_none(), "it is taken once");
    }
}

#[tokio::test(start_paused = true)]
async fn memory() {
    let sessions = MemorySessions::new(WINDOW);
    the_whole_contract(&sessions, &sessions, vec![sessions.superseded()]).await;
}

async fn sqlite_sessions(folder: &Path) -> Result<SqliteSessions, PortError> {
    SqliteSessions::open(&folder.join("data/sessions.sqlite"), WINDOW).await
}

#[tokio::test]
async fn sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = sqlite_sessions(folder.path()).await.unwrap();
    the_whole_contract(&sessions, &sessions, vec![sessions.superseded()]).await;
}

#[tokio::test]
async fn sessions_in_a_file_survive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let long = Duration::from_secs(60);
    let path = folder.path().join("sessions.sqlite");
    let sessions = SqliteSessions::open(&path, long).await.unwrap();
    let (lease, mine) = held(&sessions).await;
    let second = SqliteSessions::open(&path, long).await.unwrap_err().to_string();
    assert!(second.contains("in use by another process"), "{second}");
    drop(sessions);
    let sessions = SqliteSessions::open(&path, long).await.unwrap();
    assert!(holds(&sessions, lease).await);
    assert_eq!(claims(&sessions, rival(lease)).await, Some(claimed(mine)));
    sessions.close().await;
    assert!(sessions.renew(&[lease]).await.is_err(), "it is closed");
    SqliteSessions::open(&path, long).await.unwrap();
}

#[tokio::test]
async fn a_record_of_another_format_in_a_file_is_no_session_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = sqlite_sessions(folder.path()).await.unwrap();
    let (lease, _) = held(&sessions).await;
    let file = SqliteConnectOptions::new().filename(folder.path().join("data/sessions.sqlite"));
    let mut other = file.connect().await.unwrap();
    sqlx::raw_sql("UPDATE sessions SET record = x'0900'").execute(&mut other).await.unwrap();
    assert_eq!(claims(&sessions, rival(lease)).await, None);
    assert!(holds(&sessions, lease).await);
}

async fn redis_sessions(redis: &Redis, prefix: &str) -> (RedisSessions, Arc<RedisBus>) {
    redis_sessions_in(redis, prefix, Format::NEWEST).await
}

async fn redis_sessions_in(redis: &Redis, prefix: &str, format: Format) -> (RedisSessions, Arc<RedisBus>) {
    // A thousand at once take their time in a small pool.
    let settings = support::config(&[("GATEWAY_REDIS__TIMEOUT", "20s")]).redis;
    let bus =
        RedisBus::connect(&redis.url(), &settings, Arc::new(Metrics::new()), &Supervisor::default()).await.unwrap();
    let (bus, commands) = (Arc::new(bus), Commands::new(&redis.url(), &settings).unwrap());
    let history = History::new(commands.clone(), prefix, Duration::from_secs(3600));
    (RedisSessions::new(commands, bus.clone(), prefix, WINDOW, Formats::new(format), history), bus)
}

#[tokio::test]
async fn a_session_goes_on_at_nodes_that_write_an_older_format() {
    let redis = Redis::start().await;
    let (older, _bus) = redis_sessions_in(&redis, "mixed", Format::Unordered).await;
    let (newer, _bus) = redis_sessions_in(&redis, "mixed", Format::Ordered).await;
    let (lease, first) = (Lease::new(Pid::random()), Record { term: 3, ..record(user("alice")) });
    assert!(older.save(lease, &first).await.unwrap());
    let stored = redis.command(&format!("HGET mixed:session:{} r", lease.pid)).await;
    assert!(stored.contains("\r\n\u{3}"), "the format comes first: {stored:?}");
    let (second, third) = (rival(lease), rival(lease));
    let claimed = claim(&newer, second, "/", user("alice").as_ref()).await;
    assert_eq!(claimed, Some(Record { term: 5, ..first.clone() }));
    assert!(newer.save(second, &Record { term: 5, ..first.clone() }).await.unwrap());
    let claimed = claim(&older, third, "/", user("alice").as_ref()).await;
    assert_eq!(claimed, Some(Record { term: 7, ..first }), "terms count on");
}

#[tokio::test]
async fn redis() {
    let redis = Redis::start().await;
    let (one, bus) = redis_sessions(&redis, "shared").await;
    let (two, _) = redis_sessions(&redis, "shared").await;
    let superseded = vec![one.superseded(), two.superseded()];
    support::eventually("both listen", || async { bus.subscribers("shared:superseded").await.unwrap() == 2 }).await;
    the_whole_contract(&one, &two, superseded).await;
    let (stranger, _) = redis_sessions(&redis, "other").await;
    let (lease, _) = held(&one).await;
    assert_eq!(claims(&stranger, lease).await, None, "deployments are apart");
}

#[tokio::test]
async fn a_record_of_another_format_in_redis_is_no_session_and_stays() {
    let redis = Redis::start().await;
    let (sessions, _) = redis_sessions(&redis, "new").await;
    let (lease, _) = held(&sessions).await;
    let key = format!("new:session:{}", lease.pid);
    assert_eq!(redis.command(&format!("HGET {key} h")).await, format!("$16\r\n{:016x}\r\n", lease.holder));
    assert_eq!(redis.command(&format!("HSET {key} r format-nine")).await, ":0\r\n");
    assert_eq!(claims(&sessions, rival(lease)).await, None);
    assert!(holds(&sessions, lease).await);
}

#[tokio::test]
async fn what_fails_in_redis_says_whether_trying_again_may_help() {
    let mut redis = Redis::start().await;
    let (sessions, _bus) = redis_sessions(&redis, "kinds").await;
    let (lease, record) = held(&sessions).await;
    let bad = Lease::new(Pid::random());
    redis.command(&format!("SET kinds:session:{} occupied", bad.pid)).await;
    let error = sessions.save(bad, &record).await.unwrap_err();
    assert_eq!((error.port, error.kind), (Port::Sessions, ErrorKind::Permanent), "{error}");
    assert!(holds(&sessions, lease).await, "others are not damaged");
    redis.stop().await;
    let error = sessions.renew(&[lease]).await.unwrap_err();
    assert_eq!((error.port, error.kind), (Port::Sessions, ErrorKind::Transient), "{error}");
}

#[tokio::test]
async fn nothing_of_sessions_stays_in_redis_when_their_time_is_over() {
    let redis = Redis::start().await;
    let (sessions, _bus) = redis_sessions(&redis, "left").await;
    let (ended, _) = of(&sessions, "alice", None).await;
    let (kept, _) = of(&sessions, "bob", Some("carol")).await;
    of(&sessions, "dave", None).await;
    sessions.release(ended, false).await.unwrap();
    sessions.release(kept, true).await.unwrap();
    sessions.forget(&Whose::User(UserId::parse("dave").unwrap())).await.unwrap();
    let keys = || async { redis.command("KEYS left:session*").await };
    assert_ne!(keys().await, "*0\r\n");
    support::eventually("all keys are gone", || async { keys().await == "*0\r\n" }).await;
}

#[tokio::test]
async fn claims_are_heard_as_soon_as_redis_is_there() {
    let mut redis = Redis::start().await;
    let (sessions, bus) = redis_sessions(&redis, "late").await;
    redis.stop().await;
    let mut superseded = sessions.superseded();
    redis.start_again().await;
    let listens = || async { bus.subscribers("late:superseded").await.is_ok_and(|listeners| listeners == 1) };
    support::eventually("it listens", listens).await;
    let (lease, _) = held(&sessions).await;
    claims(&sessions, rival(lease)).await.unwrap();
    assert_eq!(next(&mut superseded).await, lease);
}

#[tokio::test]
async fn a_save_that_redis_carries_out_late_does_not_undo_a_newer_one() {
    let redis = Redis::start().await;
    let (store, _bus) = redis_sessions(&redis, "late").await;
    let lease = Lease::new(Pid::random());
    let first = record(None);
    let second = Record { version: 2, rooms: Vec::new(), ..first.clone() };
    assert!(store.save(lease, &second).await.unwrap());
    assert!(store.save(lease, &first).await.unwrap(), "it still is the holder");
    let next = rival(lease);
    assert_eq!(claim(&store, next, "/", None).await, Some(claimed(second)));
    let first = claimed(first);
    assert!(store.save(next, &first).await.unwrap(), "the next holder counts from the beginning");
    assert_eq!(claim(&store, rival(lease), "/", None).await, Some(claimed(first)));
}

//! The contract of the outboxes, every test against every backend, with the log and the presence that write into them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gateway_core::bus::RedisBus;
use gateway_core::config;
use gateway_core::domain::{Event, RoomName, SessionId, UserId};
use gateway_core::formats::{Format, Formats};
use gateway_core::log::{Dedupe, Log, MemoryLog, RedisLog, Retention, SqliteLog, Terms};
use gateway_core::metrics::Metrics;
use gateway_core::outbox::{
    Batch, Bounds, By, Claim, Decision, Fate, Happening, MemoryOutbox, Most, Outbox, Pattern, Place as At, RedisOutbox,
    Scribe, SqliteOutbox, Want, Wants, What,
};
use gateway_core::port::{ErrorKind, Port};
use gateway_core::presence::{
    Arrival, Attendee, Beating, MemoryPlaces, MemoryPresence, Numbered, Place, Presence, RedisPresence,
};
use gateway_core::redis::Commands;
use gateway_core::supervisor::Supervisor;
use gateway_core::traces::{Kind, Trace, Traces};

use crate::support::redis::Redis;
use crate::support::{self, eventually};

const RETENTION: Retention = Retention::of_events(200, Duration::from_secs(600), Duration::from_secs(600));
const BOUNDS: Bounds = Bounds { entries: 20, bytes: 20_000 };
/// Of the archive, which wants what is said in rooms that begin with `kept-`.
const ARCHIVE: Bounds = Bounds { entries: 5, bytes: 20_000 };
const LONG: Duration = Duration::from_secs(600);
const ALL: Most = Most { entries: 1000, bytes: 1_000_000 };
const KEPT: usize = 5;

/// A log, a presence and outboxes over one store.
pub(crate) struct Deployment {
    pub(crate) log: Arc<dyn Log>,
    presence: Arc<dyn Presence>,
    pub(crate) outbox: Arc<dyn Outbox>,
    pub(crate) wants: Wants,
    /// What must live as long.
    _store: Box<dyn std::any::Any>,
}

fn settings() -> config::Presence {
    config::Presence { lease: LONG, linger: LONG, page: 100 }
}

pub(crate) fn in_memory(wants: &Wants) -> Deployment {
    let outbox = Arc::new(MemoryOutbox::new(wants.clone()));
    let presence = MemoryPresence::new(Arc::<MemoryPlaces>::default(), "node", &settings());
    Deployment {
        log: Arc::new(MemoryLog::new(RETENTION).with_outbox(outbox.clone())),
        presence: Arc::new(presence.with_outbox(outbox.clone())),
        outbox,
        wants: wants.clone(),
        _store: Box::new(()),
    }
}

pub(crate) async fn in_file(path: &Path, wants: &Wants) -> (Deployment, Arc<SqliteLog>, Arc<SqliteOutbox>) {
    // Another one may be about to leave the file.
    let deadline = tokio::time::Instant::now() + support::PATIENCE;
    let log = loop {
        match SqliteLog::open(path, RETENTION, &Supervisor::default()).await {
            Ok(log) => break log,
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let outbox = Arc::new(SqliteOutbox::open(log.database(), wants.clone()).await.unwrap());
    let log = Arc::new(log.with_outbox(outbox.clone()));
    let presence = MemoryPresence::new(Arc::<MemoryPlaces>::default(), "node", &settings());
    let deployment = Deployment {
        log: log.clone(),
        presence: Arc::new(presence.with_outbox(outbox.clone())),
        outbox: outbox.clone(),
        wants: wants.clone(),
        _store: Box::new(()),
    };
    (deployment, log, outbox)
}

pub(crate) async fn in_redis(redis: &Redis, prefix: &str, wants: &Wants) -> Deployment {
    let settings_of_redis = support::config(&[]).redis;
    let (metrics, supervisor) = (Arc::new(Metrics::new()), Supervisor::default());
    let bus = RedisBus::connect(&redis.url(), &settings_of_redis, metrics, &supervisor).await.unwrap();
    let commands = Commands::new(&redis.url(), &settings_of_redis).unwrap();
    let presence = RedisPresence::new(commands.clone(), prefix, "node", &settings(), Formats::new(Format::NEWEST));
    let outbox = Arc::new(RedisOutbox::new(commands.clone(), wants.clone()));
    let log = RedisLog::new(commands, Arc::new(bus), prefix, RETENTION, settings_of_redis.feed_buffer);
    Deployment {
        log: Arc::new(log.with_outbox(wants.clone())),
        presence: Arc::new(presence.with_outbox(wants.clone())),
        outbox,
        wants: wants.clone(),
        _store: Box::new(()),
    }
}

pub(crate) fn wants() -> Wants {
    Wants::new("test", BOUNDS).with_archive(vec![Pattern::new("kept-*")], ARCHIVE)
}

/// Each test on a fresh store of each kind.
macro_rules! contract {
    ($($name:ident,)+) => {
        mod memory {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                super::$name(in_memory(&wants())).await;
            })+
        }
        mod sqlite {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                let folder = tempfile::tempdir().unwrap();
                super::$name(in_file(&folder.path().join("log.sqlite"), &wants()).await.0).await;
            })+
        }
        mod redis {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                let redis = Redis::start().await;
                super::$name(in_redis(&redis, "test", &wants()).await).await;
            })+
        }
    };
}

contract! {
    what_is_appended_is_in_the_outboxes_that_want_it,
    a_second_append_of_a_key_is_not_told,
    who_comes_and_leaves_is_told_in_order,
    sessions_and_numbered_rooms_are_told_and_names_are_not,
    who_leaves_later_is_told_then,
    nobody_is_told_what_nobody_wants,
    one_reads_at_a_time_and_an_older_claim_changes_nothing,
    what_is_not_settled_is_read_again,
    what_is_taken_out_in_whatever_parts_takes_its_weight_with_it_once,
    a_batch_has_no_more_bytes_than_it_may_but_one_event,
    a_full_outbox_drops_and_says_so_once,
    an_outbox_is_full_in_bytes_too,
    what_is_given_up_is_kept_and_can_be_delivered_after_all,
    what_nobody_wants_any_more_goes_after_its_time,
    what_is_archived_names_the_event_before_it,
    what_is_appended_in_a_trace_waits_with_it,
    what_found_no_room_for_the_archive_is_told_until_it_is_settled,
    what_takes_something_back_has_room_where_the_archive_s_is_full,
}

fn room(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

fn event(text: &str) -> Event {
    Event {
        name: "message".into(),
        args: format!("[{text:?}]"),
        attachments: vec![Bytes::from_static(b"\x00\xff")],
        except: None,
        at_ms: 17,
    }
}

fn want(outbox: &str, kinds: &[What], rooms: &str) -> Want {
    Want { outbox: outbox.into(), kinds: kinds.to_vec(), rooms: Pattern::new(rooms), namespaces: Vec::new() }
}

fn claim() -> Claim {
    Claim::new(LONG)
}

async fn read(it: &Deployment, name: &str, claim: &Claim, most: Most) -> Batch {
    it.outbox.read(name, claim, most).await.unwrap().expect("nobody else has it")
}

fn happenings(batch: &Batch) -> Vec<Happening> {
    batch.entries.iter().map(|waiting| waiting.happening.clone().expect("this version wrote it")).collect()
}

fn places(batch: &Batch) -> Vec<At> {
    batch.entries.iter().map(|waiting| waiting.place.clone()).collect()
}

/// Everything that waits, in its order, which is then settled.
async fn take(it: &Deployment, name: &str) -> Vec<Happening> {
    let claim = claim();
    let batch = read(it, name, &claim, ALL).await;
    assert!(it.outbox.settle(name, &claim, &places(&batch), Fate::Delivered).await.unwrap());
    it.outbox.let_go(name, &claim).await.unwrap();
    happenings(&batch)
}

async fn publish(it: &Deployment, name: &str, text: &str) -> String {
    let appended = it.log.append(&room(name), &event(text), Terms::default()).await.unwrap();
    format!("publish:{}", appended.position.offset)
}

fn ids(happenings: &[Happening]) -> Vec<String> {
    happenings.iter().map(Happening::id).collect()
}

fn one_of(member: &str) -> Attendee {
    Attendee {
        session: SessionId::random(),
        holder: rand::random(),
        term: 0,
        step: 1,
        member: format!("u:{member}"),
        user: UserId::parse(member),
    }
}

async fn enter(it: &Deployment, who: &Attendee, place: &RoomName) -> u64 {
    let place = Place { room: place.clone(), capacity: None };
    it.presence.enter(who, &[place], Arrival::Newest).await.unwrap()[0].sequence
}

async fn leave(it: &Deployment, who: &Attendee, places: &[RoomName]) {
    it.presence.leave(who, places, Duration::ZERO).await.unwrap();
}

async fn what_is_appended_is_in_the_outboxes_that_want_it(it: Deployment) {
    it.wants.replace(vec![
        want("orders", &[What::Published], "orders-*"),
        want("all", &[What::Published], "*"),
        Want { namespaces: vec!["/x".into()], ..want("elsewhere", &[What::Published], "*") },
    ]);
    let (session, user) = (SessionId::random(), UserId::parse("alice").unwrap());
    let terms = Terms { by: Some(By { session, user: Some(&user) }), ..Terms::default() };
    let first = it.log.append(&room("orders-1"), &event("a"), terms).await.unwrap().position.offset;
    let second = publish(&it, "chat", "b").await;
    let elsewhere = RoomName::parse_in("/x", "orders-2").unwrap();
    let third = it.log.append(&elsewhere, &event("c"), Terms::default()).await.unwrap();
    let third = format!("publish:{}", third.position.offset);
    it.log.append(&RoomName::everybody("/"), &event("d"), Terms::default()).await.unwrap();
    let told = take(&it, "orders").await;
    assert_eq!(
        told[0],
        Happening {
            session: Some(session),
            user: Some(user),
            event: Some(event("a")),
            ..Happening::new(What::Published, room("orders-1"), first.0, 17)
        }
    );
    assert_eq!(ids(&told)[1..], *std::slice::from_ref(&third));
    assert_eq!((told[1].session, told[1].user.clone()), (None, None));
    assert_eq!(ids(&take(&it, "all").await), [format!("publish:{first}"), second, third.clone()]);
    assert_eq!(ids(&take(&it, "elsewhere").await), [third]);
    assert!(take(&it, "all").await.is_empty(), "it was settled");
}

async fn what_is_archived_names_the_event_before_it(it: Deployment) {
    it.wants.replace(vec![want("all", &[What::Published], "*")]);
    let user = UserId::parse("alice").unwrap();
    let by = Some(By { session: SessionId::random(), user: Some(&user) });
    let append =
        async |name: &str, terms: Terms<'_>| it.log.append(&room(name), &event(name), terms).await.unwrap().position;
    let first = append("kept-a", Terms { by, ..Terms::default() }).await;
    append("other", Terms::default()).await;
    let second = append("kept-b", Terms::default()).await;
    let third = append("kept-a", Terms { takes_back: Some(first.offset), ..Terms::default() }).await;
    let fourth = append("kept-a", Terms::default()).await;
    let archived = take(&it, Wants::ARCHIVE).await;
    let numbers: Vec<_> = archived.iter().map(|it| it.number).collect();
    assert_eq!(numbers, [first, second, third, fourth].map(|position| position.offset.0));
    let links: Vec<_> = archived.iter().map(|it| it.link.unwrap()).collect();
    assert!(links.iter().all(|link| link.epoch == first.epoch));
    let before: Vec<_> = links.iter().map(|link| link.before).collect();
    assert_eq!(before, [None, None, Some(first.offset), Some(third.offset)]);
    let taken: Vec<_> = links.iter().map(|link| link.takes_back).collect();
    assert_eq!(taken, [None, None, Some(first.offset), None]);
    assert_eq!((archived[0].user.as_ref(), archived[0].event.as_ref()), (Some(&user), Some(&event("kept-a"))));
    let told = take(&it, "all").await;
    assert_eq!(told.len(), 5);
    assert!(told.iter().all(|it| it.link.is_none()), "nobody else asked for it");
}

async fn what_is_appended_in_a_trace_waits_with_it(it: Deployment) {
    it.wants.replace(vec![want("all", &[What::Published], "*")]);
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let trace = Trace::parse(parent, &format!("a={}", "x".repeat(250))).unwrap();
    let span = Traces::default().begin(Some(trace.clone()), Kind::Server, "test");
    span.within(publish(&it, "kept-a", "traced")).await;
    publish(&it, "kept-a", "plain").await;
    let traces = |told: &[Happening]| told.iter().map(|it| it.trace.clone()).collect::<Vec<_>>();
    let expected = [Some(trace), None];
    assert_eq!(traces(&take(&it, Wants::ARCHIVE).await), expected);
    // What is given up has it, too, and when it is delivered after all.
    let claim = claim();
    let batch = read(&it, "all", &claim, ALL).await;
    let places: Vec<_> = batch.entries.iter().map(|waiting| waiting.place.clone()).collect();
    it.outbox.settle("all", &claim, &places, Fate::GivenUp { why: "no", kept: KEPT }).await.unwrap();
    let given_up = it.outbox.given_up("all", None, 10).await.unwrap();
    let again: Vec<_> = given_up.iter().map(|it| it.place.clone()).collect();
    assert_eq!(given_up.iter().map(|it| it.happening.clone().unwrap().trace).collect::<Vec<_>>(), expected);
    assert_eq!(it.outbox.decide("all", &again, Decision::Again).await.unwrap(), 2);
    it.outbox.let_go("all", &claim).await.unwrap();
    assert_eq!(traces(&take(&it, "all").await), expected);
    let standings = it.outbox.survey(&["all".to_owned()], LONG).await.unwrap();
    assert!(standings.iter().all(|standing| standing.bytes == 0), "{standings:?}");
}

async fn what_found_no_room_for_the_archive_is_told_until_it_is_settled(it: Deployment) {
    it.wants.replace(vec![want("all", &[What::Published], "*")]);
    let append =
        async || it.log.append(&room("kept-a"), &event("x"), Terms::default()).await.unwrap().position.offset.0;
    let mut offsets = Vec::new();
    for _ in 0..ARCHIVE.entries + 3 {
        offsets.push(append().await);
    }
    let claim = claim();
    let batch = read(&it, Wants::ARCHIVE, &claim, ALL).await;
    assert_eq!((batch.entries.len(), batch.waiting, batch.dropped), (5, 5, 3), "its bounds are its own");
    assert_eq!(read(&it, "all", &claim, ALL).await.entries.len(), 8);
    let lost = batch.lost.clone().unwrap();
    assert_eq!((lost.first, lost.last), (offsets[5], offsets[7]));
    assert_eq!(read(&it, Wants::ARCHIVE, &claim, Most::NOTHING).await.lost, Some(lost.clone()), "it is told again");
    let last = append().await;
    assert!(
        it.outbox.settle(Wants::ARCHIVE, &claim, std::slice::from_ref(&lost.place), Fate::Delivered).await.unwrap()
    );
    let more = read(&it, Wants::ARCHIVE, &claim, ALL).await.lost.expect("there is more by now");
    assert_eq!((more.first, more.last), (lost.first, last));
    let mut settled = places(&batch);
    settled.push(more.place);
    assert!(it.outbox.settle(Wants::ARCHIVE, &claim, &settled, Fate::Delivered).await.unwrap());
    let next = append().await;
    let batch = read(&it, Wants::ARCHIVE, &claim, ALL).await;
    assert_eq!((batch.waiting, batch.lost.clone()), (1, None));
    let link = happenings(&batch)[0].link.unwrap();
    assert_eq!((happenings(&batch)[0].number, link.before.map(|before| before.0)), (next, Some(last)));
}

async fn what_takes_something_back_has_room_where_the_archive_s_is_full(it: Deployment) {
    it.wants.replace(vec![want("all", &[What::Published], "*")]);
    let append = async |text: &str, takes_back| {
        let terms = Terms { takes_back, ..Terms::default() };
        it.log.append(&room("kept-a"), &event(text), terms).await.unwrap().position.offset
    };
    // Full in bytes, and then in entries.
    for (text, fits) in [("x".repeat(ARCHIVE.bytes / 3), 2), ("x".to_owned(), ARCHIVE.entries)] {
        let mut said = Vec::new();
        for _ in 0..fits + 1 {
            said.push(append(&text, None).await);
        }
        let mut expected = said[..fits].to_vec();
        for taken in &said {
            expected.push(append(&text, Some(*taken)).await);
        }
        let dropped = append(&text, None).await;
        let claim = claim();
        let batch = read(&it, Wants::ARCHIVE, &claim, ALL).await;
        let told = happenings(&batch);
        assert_eq!(
            told.iter().map(|it| it.number).collect::<Vec<_>>(),
            expected.iter().map(|it| it.0).collect::<Vec<_>>()
        );
        let taken: Vec<_> = told[fits..].iter().filter_map(|it| it.link?.takes_back).collect();
        assert_eq!((taken, batch.dropped), (said.clone(), 2));
        let lost = batch.lost.clone().unwrap();
        assert_eq!((lost.first, lost.last), (said[fits].0, dropped.0));
        let mut settled = places(&batch);
        settled.push(lost.place);
        assert!(it.outbox.settle(Wants::ARCHIVE, &claim, &settled, Fate::Delivered).await.unwrap());
        it.outbox.let_go(Wants::ARCHIVE, &claim).await.unwrap();
        let standings = it.outbox.survey(&[Wants::ARCHIVE.to_owned()], LONG).await.unwrap();
        let archive = standings.iter().find(|standing| standing.name == Wants::ARCHIVE).unwrap();
        assert_eq!((archive.waiting, archive.bytes), (0, 0));
    }
    assert!(read(&it, "all", &claim(), ALL).await.waiting <= BOUNDS.entries, "hooks have their bounds");
}

async fn a_second_append_of_a_key_is_not_told(it: Deployment) {
    it.wants.replace(vec![want("all", &[What::Published], "*")]);
    let key = Dedupe("u:alice:1".into());
    it.log.append(&room("r"), &event("x"), Terms::once(&key)).await.unwrap();
    assert!(it.log.append(&room("r"), &event("x"), Terms::once(&key)).await.unwrap().duplicate);
    assert_eq!(take(&it, "all").await.len(), 1);
}

async fn who_comes_and_leaves_is_told_in_order(it: Deployment) {
    let members = [What::Joined, What::Left, What::Emptied];
    it.wants.replace(vec![want("members", &members, "r*"), want("empty", &[What::Emptied], "*")]);
    let (alice, again, bob) = (one_of("alice"), one_of("alice"), one_of("bob"));
    let here = room("room");
    let first = enter(&it, &alice, &here).await;
    enter(&it, &again, &here).await;
    let second = enter(&it, &bob, &here).await;
    enter(&it, &bob, &room("other")).await;
    leave(&it, &alice, std::slice::from_ref(&here)).await;
    leave(&it, &again, std::slice::from_ref(&here)).await;
    leave(&it, &bob, &[here.clone(), room("other")]).await;
    let told = take(&it, "members").await;
    let seen: Vec<_> = told.iter().map(|it| (it.what, it.member.as_deref().unwrap(), it.session.unwrap())).collect();
    let (joined, left, emptied) = (What::Joined, What::Left, What::Emptied);
    assert_eq!(
        seen,
        [
            (joined, "u:alice", alice.session),
            (joined, "u:bob", bob.session),
            (left, "u:alice", again.session),
            (left, "u:bob", bob.session),
            (emptied, "u:bob", bob.session)
        ]
    );
    assert_eq!((told[0].number, told[1].number), (first, second));
    assert!(told.windows(2).all(|pair| pair[0].number <= pair[1].number) && told[3].number == told[4].number);
    assert!(told.iter().all(|it| it.place == here && it.user.is_some() && it.at_ms > 1_600_000_000_000), "{told:?}");
    assert_eq!((told[0].cause.as_deref(), told[2].cause.as_deref()), (None, Some("left")));
    let empty = take(&it, "empty").await;
    assert_eq!(empty.iter().map(|it| it.place.as_str()).collect::<Vec<_>>(), ["room", "other"]);
}

async fn sessions_and_numbered_rooms_are_told_and_names_are_not(it: Deployment) {
    it.wants.replace(vec![
        want("all", &What::ALL, "*"),
        Want { namespaces: vec!["/x".into()], ..want("sessions", &[What::Connected, What::Ended], "*") },
    ]);
    let who = one_of("alice");
    let places = [RoomName::everybody("/x"), RoomName::everybody("/")];
    for place in &places {
        enter(&it, &who, place).await;
    }
    let looks = RoomName::claimed("/", "alice").looks();
    enter(&it, &who, &looks[0]).await;
    let rooms = Numbered { before: "table-".into(), after: String::new() };
    let (number, _) = it.presence.enter_first(&who, &rooms, 2, Arrival::Newest).await.unwrap();
    leave(&it, &who, &[rooms.name(number), looks[0].clone(), places[0].clone()]).await;
    let told = take(&it, "all").await;
    let seen: Vec<_> =
        told.iter().map(|it| (it.what.as_str(), it.place.namespace().unwrap(), it.place.shown())).collect();
    assert_eq!(
        seen,
        [
            ("session.connected", "/x", None),
            ("session.connected", "/", None),
            ("room.joined", "/", Some("table-1")),
            ("room.left", "/", Some("table-1")),
            ("room.emptied", "/", Some("table-1")),
            ("session.ended", "/x", None),
        ]
    );
    let told = take(&it, "sessions").await;
    assert_eq!(told.iter().map(|it| it.what).collect::<Vec<_>>(), [What::Connected, What::Ended]);
}

async fn who_leaves_later_is_told_then(it: Deployment) {
    it.wants.replace(vec![want("all", &[What::Left, What::Emptied], "*")]);
    let (alice, bob) = (one_of("alice"), one_of("bob"));
    for who in [&alice, &bob] {
        enter(&it, who, &room("r")).await;
        it.presence.leave(who, &[room("r")], Duration::from_millis(1)).await.unwrap();
    }
    assert!(take(&it, "all").await.is_empty());
    tokio::time::sleep(Duration::from_millis(20)).await;
    it.presence.beat(Beating::default()).await.unwrap();
    let told = take(&it, "all").await;
    assert_eq!(told.iter().map(|it| it.what).collect::<Vec<_>>(), [What::Left, What::Left, What::Emptied]);
    assert!(told.iter().all(|it| it.cause.as_deref() == Some("lingered")), "{told:?}");
}

async fn nobody_is_told_what_nobody_wants(it: Deployment) {
    it.wants.replace(vec![want("said", &[What::Published], "*")]);
    enter(&it, &one_of("alice"), &room("r")).await;
    assert!(take(&it, "said").await.is_empty());
    it.wants.replace(Vec::new());
    publish(&it, "r", "x").await;
    assert!(take(&it, "said").await.is_empty());
}

async fn one_reads_at_a_time_and_an_older_claim_changes_nothing(it: Deployment) {
    it.wants.replace(vec![want("all", &[What::Published], "*")]);
    let id = publish(&it, "r", "x").await;
    let (old, other) = (Claim::new(Duration::from_millis(200)), claim());
    let batch = read(&it, "all", &old, ALL).await;
    assert_eq!(it.outbox.read("all", &other, ALL).await.unwrap(), None, "somebody has it");
    it.outbox.let_go("all", &other).await.unwrap();
    assert_eq!(it.outbox.read("all", &other, Most::NOTHING).await.unwrap(), None, "who has nothing gives nothing back");
    // What is renewed lasts.
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(80)).await;
        assert_eq!(read(&it, "all", &old, Most::NOTHING).await.entries, []);
    }
    assert_eq!(it.outbox.read("all", &other, ALL).await.unwrap(), None);
    eventually("the lease runs out", || async { it.outbox.read("all", &other, ALL).await.unwrap().is_some() }).await;
    assert_eq!(it.outbox.read("all", &old, ALL).await.unwrap(), None);
    for fate in [Fate::Delivered, Fate::GivenUp { why: "late", kept: KEPT }] {
        assert!(!it.outbox.settle("all", &old, &places(&batch), fate).await.unwrap());
    }
    assert_eq!(ids(&happenings(&read(&it, "all", &other, ALL).await)), [id]);
    it.outbox.let_go("all", &other).await.unwrap();
    assert_eq!(read(&it, "all", &old, ALL).await.entries.len(), 1, "what was given back can be had at once");
}

async fn what_is_not_settled_is_read_again(it: Deployment) {
    it.wants.replace(vec![want("all", &[What::Published], "*")]);
    let mut expected = Vec::new();
    for number in 0..5 {
        expected.push(publish(&it, "r", &number.to_string()).await);
    }
    let claim = claim();
    let first = read(&it, "all", &claim, Most { entries: 2, ..ALL }).await;
    assert_eq!((ids(&happenings(&first)), first.waiting), (expected[..2].to_vec(), 5));
    let all = read(&it, "all", &claim, ALL).await;
    assert_eq!(ids(&happenings(&all)), expected, "in their order, again and again");
    // One in the middle alone, twice.
    for _ in 0..2 {
        assert!(it.outbox.settle("all", &claim, &places(&all)[1..2], Fate::Delivered).await.unwrap());
    }
    expected.remove(1);
    let rest = read(&it, "all", &claim, ALL).await;
    assert_eq!((ids(&happenings(&rest)), rest.waiting), (expected, 4));
}

async fn what_is_taken_out_in_whatever_parts_takes_its_weight_with_it_once(it: Deployment) {
    it.wants.replace(vec![want("all", &[What::Published], "*")]);
    it.outbox.survey(&["all".into()], LONG).await.unwrap();
    let weighs = async || it.outbox.survey(&["all".into()], LONG).await.unwrap().remove(0).bytes;
    let mut expected = Vec::new();
    for number in 0..6 {
        expected.push(publish(&it, "r", &number.to_string()).await);
    }
    let (claim, one) = (claim(), weighs().await / 6);
    assert!(one > 0);
    let six = places(&read(&it, "all", &claim, ALL).await);
    let seventh = publish(&it, "r", "6").await;
    // The oldest, twice as if it was not known whether that got through; more than these; some from between.
    for (part, left) in [(0..2, 5), (0..2, 5), (0..3, 4), (4..5, 3), (3..5, 2)] {
        assert!(it.outbox.settle("all", &claim, &six[part.clone()], Fate::Delivered).await.unwrap());
        assert_eq!(weighs().await, one * left, "{part:?}");
    }
    let rest = read(&it, "all", &claim, ALL).await;
    assert_eq!(ids(&happenings(&rest)), [expected.remove(5), seventh], "what came meanwhile stays");
    let eighth = publish(&it, "r", "7").await;
    for _ in 0..2 {
        assert!(it.outbox.settle("all", &claim, &places(&rest), Fate::Delivered).await.unwrap());
        assert_eq!(weighs().await, one);
    }
    assert_eq!(ids(&happenings(&read(&it, "all", &claim, ALL).await)), [eighth]);
}

async fn a_batch_has_no_more_bytes_than_it_may_but_one_event(it: Deployment) {
    it.wants.replace(vec![want("all", &[What::Published], "*")]);
    for bytes in [2000, 2000, 1000, 1000] {
        publish(&it, "r", &"x".repeat(bytes)).await;
    }
    let claim = claim();
    for (bytes, expected) in [(1, 1), (3000, 1), (5800, 3), (8000, 4)] {
        let batch = read(&it, "all", &claim, Most { bytes, ..ALL }).await;
        assert_eq!(batch.entries.len(), expected, "{bytes}");
    }
}

async fn a_full_outbox_drops_and_says_so_once(it: Deployment) {
    it.wants.replace(vec![want("all", &[What::Published], "*")]);
    it.outbox.survey(&["all".into()], LONG).await.unwrap();
    let mut expected = Vec::new();
    for number in 0..BOUNDS.entries + 3 {
        expected.push(publish(&it, "r", &number.to_string()).await);
    }
    let claim = claim();
    let batch = read(&it, "all", &claim, ALL).await;
    assert_eq!(ids(&happenings(&batch)), expected[..BOUNDS.entries], "the oldest stay");
    assert_eq!((batch.waiting, batch.dropped), (BOUNDS.entries, 3));
    assert_eq!(read(&it, "all", &claim, Most::NOTHING).await.dropped, 0, "it was told");
    let standing = it.outbox.survey(&["all".into()], LONG).await.unwrap().remove(0);
    assert_eq!((standing.waiting, standing.dropped), (BOUNDS.entries, 3));
    assert!(standing.bytes > 0 && standing.oldest.is_some());
    assert!(it.outbox.settle("all", &claim, &places(&batch), Fate::Delivered).await.unwrap());
    publish(&it, "r", "fits again").await;
    let batch = read(&it, "all", &claim, ALL).await;
    assert_eq!((batch.entries.len(), batch.dropped), (1, 0));
    it.outbox.settle("all", &claim, &places(&batch), Fate::Delivered).await.unwrap();
    let standing = it.outbox.survey(&["all".into()], LONG).await.unwrap().remove(0);
    assert_eq!((standing.waiting, standing.bytes, standing.oldest), (0, 0, None));
}

async fn an_outbox_is_full_in_bytes_too(it: Deployment) {
    it.wants.replace(vec![want("all", &[What::Published], "*")]);
    for _ in 0..6 {
        publish(&it, "r", &"x".repeat(BOUNDS.bytes / 4)).await;
    }
    publish(&it, "r", "small").await;
    let batch = read(&it, "all", &claim(), ALL).await;
    assert_eq!((batch.waiting, batch.dropped), (4, 3), "what is small fits where there is room for it");
}

async fn what_is_given_up_is_kept_and_can_be_delivered_after_all(it: Deployment) {
    it.wants.replace(vec![want("all", &[What::Published], "*")]);
    let mut expected = Vec::new();
    for number in 0..KEPT + 2 {
        expected.push(publish(&it, "r", &number.to_string()).await);
    }
    let claim = claim();
    let batch = read(&it, "all", &claim, ALL).await;
    let gone = Fate::GivenUp { why: "it answers 422", kept: KEPT };
    for place in places(&batch) {
        assert!(it.outbox.settle("all", &claim, &[place], gone).await.unwrap());
    }
    assert_eq!(read(&it, "all", &claim, ALL).await.waiting, 0);
    let listed = it.outbox.given_up("all", None, 100).await.unwrap();
    let names: Vec<_> = listed.iter().map(|it| it.happening.as_ref().unwrap().id()).collect();
    assert_eq!(names, expected[2..], "the newest are kept, the oldest first");
    assert!(listed.iter().all(|it| it.why == "it answers 422"));
    let page = it.outbox.given_up("all", Some(&listed[1].place), 2).await.unwrap();
    assert_eq!(page, listed[2..4]);
    let standing = it.outbox.survey(&["all".into()], LONG).await.unwrap().remove(0);
    assert_eq!((standing.waiting, standing.bytes, standing.given_up), (0, 0, KEPT));
    let chosen = [listed[3].place.clone(), listed[0].place.clone()];
    let later = publish(&it, "r", "later").await;
    assert_eq!(it.outbox.decide("all", &chosen, Decision::Again).await.unwrap(), 2);
    assert_eq!(it.outbox.decide("all", &chosen, Decision::Again).await.unwrap(), 0, "it is not there any more");
    assert_eq!(it.outbox.decide("all", &[listed[1].place.clone()], Decision::Drop).await.unwrap(), 1);
    let again = happenings(&read(&it, "all", &claim, ALL).await);
    let mut behind = ids(&again)[1..].to_vec();
    behind.sort_unstable();
    assert_eq!((ids(&again)[0].clone(), behind), (later, vec![expected[2].clone(), expected[5].clone()]));
    assert!(again.iter().any(|it| it.event == Some(event("2"))), "whole, and by the same id");
    let left = it.outbox.given_up("all", None, 100).await.unwrap();
    assert_eq!(
        left.iter().map(|it| it.happening.as_ref().unwrap().id()).collect::<Vec<_>>(),
        [&*expected[4], &expected[6]]
    );
    // What does not fit stays given up.
    for _ in 0..BOUNDS.entries {
        publish(&it, "r", "x").await;
    }
    assert_eq!(it.outbox.decide("all", &[left[0].place.clone()], Decision::Again).await.unwrap(), 0);
    assert_eq!(it.outbox.given_up("all", None, 100).await.unwrap().len(), 2);
}

async fn what_nobody_wants_any_more_goes_after_its_time(it: Deployment) {
    it.wants.replace(vec![want("stays", &[What::Published], "*"), want("goes", &[What::Published], "*")]);
    let both = ["stays".to_owned(), "goes".to_owned()];
    let keep = Duration::from_millis(300);
    let names =
        |standings: Vec<gateway_core::outbox::Standing>| standings.into_iter().map(|it| it.name).collect::<Vec<_>>();
    assert_eq!(names(it.outbox.survey(&both, keep).await.unwrap()), ["goes", "stays"]);
    publish(&it, "r", "x").await;
    assert_eq!(names(it.outbox.survey(&both[..1], keep).await.unwrap()), ["goes", "stays"], "not at once");
    eventually("it goes", || async { names(it.outbox.survey(&both[..1], keep).await.unwrap()) == ["stays"] }).await;
    assert_eq!(read(&it, "goes", &claim(), ALL).await.waiting, 0);
    assert_eq!(take(&it, "stays").await.len(), 1);
    assert_eq!(
        names(it.outbox.survey(&[], LONG).await.unwrap())[..1],
        ["stays".to_owned()],
        "what waits is not lost by a survey"
    );
}

#[tokio::test]
async fn what_waits_in_a_file_survives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.sqlite");
    let wants = wants();
    wants.replace(vec![want("all", &What::ALL, "*")]);
    let (it, log, outbox) = in_file(&path, &wants).await;
    it.outbox.survey(&["all".into()], LONG).await.unwrap();
    let id = publish(&it, "r", "x").await;
    let sequence = enter(&it, &one_of("alice"), &room("r")).await;
    // As a killed process leaves it: nothing is closed.
    drop((it, log, outbox));
    let (it, log, outbox) = in_file(&path, &wants).await;
    let standing = it.outbox.survey(&[], LONG).await.unwrap().remove(0);
    assert_eq!((standing.name.as_str(), standing.waiting), ("all", 2));
    assert_eq!(ids(&take(&it, "all").await), [id, format!("room.joined:{sequence}")]);
    outbox.close().await;
    log.close().await;
    let error = it.outbox.survey(&[], LONG).await.unwrap_err();
    assert_eq!((error.port, error.operation), (Port::Outbox, "survey"));
    // A log without outboxes goes on with the same file.
    SqliteLog::open(&path, RETENTION, &Supervisor::default()).await.unwrap();
}

#[tokio::test]
async fn what_is_written_into_a_file_does_not_go_with_who_writes_it() {
    let folder = tempfile::tempdir().unwrap();
    let wants = wants();
    wants.replace(vec![want("all", &What::ALL, "*")]);
    let (it, _log, outbox) = in_file(&folder.path().join("log.sqlite"), &wants).await;
    it.outbox.survey(&["all".into()], LONG).await.unwrap();
    let happening = |number| Happening::new(What::Joined, room("r"), number, 17);
    for number in 0..3 {
        outbox.put(vec![happening(number)]);
        // Whoever writes for all is gone in the middle of it.
        let mut writing = outbox.written();
        assert!(futures_util::poll!(writing.as_mut()).is_pending());
        assert!(futures_util::poll!(writing.as_mut()).is_pending());
        drop(writing);
    }
    outbox.put(vec![happening(3)]);
    outbox.written().await;
    let mut told = take(&it, "all").await;
    // Nobody knows whether it was written, so it may be there twice.
    told.dedup_by_key(|happening| happening.id());
    assert_eq!(ids(&told), [0, 1, 2, 3].map(|number| happening(number).id()));
}

#[tokio::test]
async fn nodes_share_outboxes_in_redis_and_deployments_do_not() {
    let redis = Redis::start().await;
    let (one, two) = (in_redis(&redis, "test", &wants()).await, in_redis(&redis, "test", &wants()).await);
    let stranger = in_redis(&redis, "other", &Wants::new("other", BOUNDS)).await;
    for it in [&one, &two, &stranger] {
        it.wants.replace(vec![want("all", &What::ALL, "*")]);
    }
    let expected = [publish(&one, "r", "1").await, publish(&two, "r", "2").await];
    publish(&stranger, "r", "3").await;
    // A member of a node that comes, and that another node finds gone.
    let who = one_of("alice");
    enter(&one, &who, &room("r")).await;
    one.presence.leave(&who, &[room("r")], Duration::from_millis(1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    two.presence.beat(Beating::default()).await.unwrap();
    let told = take(&two, "all").await;
    assert_eq!(ids(&told)[..2], expected);
    let kinds: Vec<_> = told[2..].iter().map(|it| it.what).collect();
    assert_eq!(kinds, [What::Joined, What::Left, What::Emptied]);
    assert_eq!(take(&stranger, "all").await.len(), 1);
}

#[tokio::test]
async fn what_another_version_wrote_is_not_guessed_and_what_is_no_outbox_is_told() {
    let redis = Redis::start().await;
    let it = in_redis(&redis, "test", &wants()).await;
    it.wants.replace(vec![want("all", &[What::Published], "*"), want("broken", &[What::Published], "*")]);
    redis.command("SET test:outbox:broken occupied").await;
    redis.command("XADD test:outbox:all * k room.painted r r n 1 s x a 5").await;
    // What happens does not fail because it cannot be told.
    let id = publish(&it, "r", "x").await;
    let batch = read(&it, "all", &claim(), ALL).await;
    assert_eq!(batch.entries[0].happening, None);
    assert_eq!(batch.entries[1].happening.as_ref().unwrap().id(), id);
    let error = it.outbox.read("broken", &claim(), ALL).await.unwrap_err();
    assert_eq!((error.port, error.kind, error.operation), (Port::Outbox, ErrorKind::Permanent, "read"), "{error}");
}

#[tokio::test]
async fn scripts_and_nodes_agree_on_patterns() {
    let redis = Redis::start().await;
    let it = in_redis(&redis, "test", &Wants::new("test", Bounds { entries: 1000, bytes: 1_000_000 })).await;
    let names = ["", "a", "ab", "abc", "aab", "ba", "aba", "ababa", "%d", "^a$", "über", "a-b", "a.b"];
    let patterns = ["*", "a*", "*a", "a*a", "a*b*a", "aba*ba", "*b*", "a**b", "%*", "^a$", "*.*", "ü*", "a-b"];
    for pattern in patterns {
        it.wants.replace(vec![want("all", &[What::Joined], pattern)]);
        let pattern_here = Pattern::new(pattern);
        for name in names.iter().filter(|name| !name.is_empty()) {
            let who = one_of("alice");
            enter(&it, &who, &room(name)).await;
            let told = !take(&it, "all").await.is_empty();
            assert_eq!(told, pattern_here.matches(name), "{pattern} {name}");
            leave(&it, &who, &[room(name)]).await;
            take(&it, "all").await;
        }
    }
}

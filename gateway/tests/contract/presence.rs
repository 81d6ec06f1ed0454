//! The contract of presence, every test against every backend.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use gateway::config;
use gateway::domain::{RoomName, SessionId, UserId};
use gateway::formats::{Format, Formats};
use gateway::metrics::Metrics;
use gateway::port::{ErrorKind, Port};
use gateway::presence::{
    Arrival, Attendee, Beating, Busy, Cause, Departed, Directory, Entered, Entry, Held, MeasuredPresence, MemoryPlaces,
    MemoryPresence, Numbered, Place, Presence, RedisPresence,
};
use gateway::redis::Commands;
use rand::rngs::StdRng;
use rand::seq::{IndexedMutRandom, IndexedRandom};
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep};

use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::{self, eventually};

/// Long enough that nothing ends by itself, on the slowest machine.
const LONG: Duration = Duration::from_secs(600);
/// The lease of nodes that are to die. Those that are to live have a long one and beat first: a machine that stands still
/// for a moment is no failure.
const LEASE: Duration = Duration::from_millis(600);
const PAGE: usize = 100;
/// Clocks of milliseconds round down.
const TICK: Duration = Duration::from_millis(2);

type Node = Arc<dyn Presence>;

/// What the nodes of a deployment share.
enum Store {
    Memory(Arc<MemoryPlaces>),
    Redis(Box<Redis>),
}

impl Store {
    fn node(&self, lease: Duration) -> Node {
        self.named("node", lease)
    }

    fn named(&self, name: &str, lease: Duration) -> Node {
        let settings = config::Presence { lease, linger: LONG, page: PAGE };
        match self {
            Self::Memory(places) => Arc::new(MemoryPresence::new(places.clone(), name, &settings)),
            Self::Redis(redis) => Arc::new(redis_presence(commands(redis), "test", name, &settings)),
        }
    }

    /// Who knows which rooms have somebody.
    fn directory(&self) -> Arc<dyn Directory> {
        let settings = config::Presence { lease: LONG, linger: LONG, page: PAGE };
        match self {
            Self::Memory(places) => Arc::new(MemoryPresence::new(places.clone(), "looks", &settings)),
            Self::Redis(redis) => Arc::new(redis_presence(commands(redis), "test", "looks", &settings)),
        }
    }

    /// What is left of places, other than the nodes themselves.
    async fn remains(&self) -> String {
        match self {
            Self::Memory(places) => format!("{places:?}").split_once("places: ").unwrap().1.to_owned(),
            Self::Redis(redis) => redis.command("KEYS *").await,
        }
    }
}

/// A node among others of this version.
fn redis_presence(commands: Commands, prefix: &str, name: &str, settings: &config::Presence) -> RedisPresence {
    RedisPresence::new(commands, prefix, name, settings, Formats::new(Format::NEWEST))
}

/// Hundreds at once take their time in a small pool.
fn commands(redis: &Redis) -> Commands {
    let settings = support::config(&[("GATEWAY_REDIS__TIMEOUT", "20s")]).redis;
    Commands::new(&redis.url(), &settings).unwrap()
}

/// Each test on a fresh store of each kind; in memory with a clock that jumps.
macro_rules! contract {
    ($($name:ident,)+) => {
        mod memory {
            use super::*;
            $(#[tokio::test(start_paused = true)]
            async fn $name() {
                super::$name(Store::Memory(Arc::default())).await;
            })+
        }
        mod redis {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                super::$name(Store::Redis(Box::new(Redis::start().await))).await;
            })+
        }
    };
}

contract! {
    members_are_counted_and_not_sessions,
    a_session_is_in_a_place_once,
    each_place_has_its_own_answer_and_capacity,
    a_capacity_holds_against_two_hundred,
    a_hundred_fill_fifty_numbered_places,
    numbers_are_had_again,
    a_name_is_one_members,
    who_comes_back_in_time_never_left,
    who_does_not_come_back_leaves_after_its_time,
    an_older_holder_changes_nothing,
    a_dead_nodes_members_depart_once,
    a_node_that_was_given_up_is_told,
    a_node_that_is_late_but_not_missed_keeps_everything,
    after_an_outage_nobody_is_given_up_at_once,
    nobody_is_passed_over_in_pages,
    rooms_with_somebody_are_listed,
    names_are_only_names,
    five_thousand_on_a_dead_node,
    what_happens_is_numbered_in_its_order,
    departures_wait_until_they_are_wanted,
    who_begins_anew_loses_what_it_does_not_enter_again,
    finding_a_numbered_place_takes_nothing_from_a_newer_holder,
    a_late_leaving_is_not_of_who_came_since,
    a_late_entering_is_not_of_who_left_or_came_since,
    a_late_entering_of_an_older_holder_takes_nothing,
    a_late_search_for_a_numbered_place_takes_nothing,
    a_node_is_told_what_it_has_entered,
    what_happens_is_counted,
    random_operations_do_what_a_model_does,
}

fn room(name: &str) -> RoomName {
    RoomName::trusted(name)
}

fn open(name: &str) -> Place {
    Place { room: room(name), capacity: None }
}

fn limited(name: &str, capacity: usize) -> Place {
    Place { room: room(name), capacity: Some(capacity) }
}

/// A new session of a member.
fn one_of(member: &str) -> Attendee {
    Attendee {
        session: SessionId::random(),
        holder: rand::random(),
        term: 0,
        step: 1,
        member: member.to_owned(),
        user: UserId::parse(member),
    }
}

/// The same session on another connection.
fn back(who: &Attendee) -> Attendee {
    Attendee { holder: rand::random(), term: who.term + 1, ..who.clone() }
}

/// The same holder, with something that it decided then.
fn at(step: u32, who: &Attendee) -> Attendee {
    Attendee { step, ..who.clone() }
}

/// The same session, taken over in a later term.
fn held_anew(who: &Attendee, term: u32) -> Attendee {
    Attendee { holder: rand::random(), term, ..who.clone() }
}

/// A node that is not given up during a test.
async fn alive(store: &Store) -> Node {
    let node = store.node(LONG);
    node.beat(Beating::default()).await.unwrap();
    node
}

async fn enter(node: &Node, who: &Attendee, place: Place) -> Entered {
    node.enter(who, &[place], Arrival::Newest).await.unwrap()[0].entered
}

fn kinds(entries: Vec<Entry>) -> Vec<Entered> {
    entries.into_iter().map(|entry| entry.entered).collect()
}

async fn seated(node: &Node, who: &Attendee, places: &Numbered, capacity: usize) -> (u32, Entered) {
    let (number, entry) = node.enter_first(who, places, capacity, Arrival::Newest).await.unwrap();
    (number, entry.entered)
}

async fn restore(node: &Node, who: &Attendee, place: Place) -> Entered {
    node.enter(who, &[place], Arrival::Restored).await.unwrap()[0].entered
}

/// Leaves at once; whether the member did.
async fn leave(node: &Node, who: &Attendee, place: &str) -> bool {
    let departed = node.leave(who, &[room(place)], Duration::ZERO).await.unwrap();
    let told = |departed: &Departed| {
        departed.place == room(place) && departed.session == who.session && departed.cause == Cause::Left
    };
    assert!(departed.len() <= 1 && departed.iter().all(told), "{departed:?}");
    !departed.is_empty()
}

async fn linger(node: &Node, who: &Attendee, place: &str, time: Duration) {
    assert_eq!(node.leave(who, &[room(place)], time).await.unwrap(), []);
}

async fn count(node: &Node, place: &str) -> u64 {
    node.count(&[room(place)]).await.unwrap()[0]
}

/// All members, by pages of a size.
async fn members(node: &Node, place: &str, page: usize) -> Vec<String> {
    let (mut all, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = node.list(&room(place), after.as_deref(), page).await.unwrap();
        all.extend(page.members.into_iter().map(|member| member.member));
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

/// Beats as nodes do until as many have departed as are expected, and a while longer: nobody may depart twice.
async fn departures(nodes: &[&Node], lease: Duration, expected: usize) -> Vec<Departed> {
    let deadline = Instant::now() + support::PATIENCE;
    let (mut departed, mut surplus) = (Vec::new(), 4);
    while surplus > 0 {
        for beat in join_all(nodes.iter().map(|node| node.beat(Beating::default()))).await {
            departed.extend(beat.unwrap().departed);
        }
        assert!(Instant::now() < deadline, "{} of {expected} departed", departed.len());
        surplus -= u32::from(departed.len() >= expected);
        sleep(lease / 6).await;
    }
    assert_eq!(departed.len(), expected, "{departed:?}");
    departed
}

async fn members_are_counted_and_not_sessions(store: Store) {
    let (one, two) = (store.node(LONG), store.node(LONG));
    let (phone, desk, bob) = (one_of("alice"), one_of("alice"), one_of("bob"));
    assert_eq!(enter(&one, &phone, open("r")).await, Entered::First);
    assert_eq!(enter(&two, &desk, open("r")).await, Entered::Again);
    assert_eq!(enter(&two, &bob, open("r")).await, Entered::First);
    assert_eq!(two.count(&[room("r"), room("empty"), room("r")]).await.unwrap(), [2, 0, 2]);
    assert_eq!(members(&one, "r", PAGE).await, ["alice", "bob"]);
    assert!(!leave(&one, &phone, "r").await, "her other session is there");
    assert_eq!(count(&one, "r").await, 2);
    let departed = two.leave(&desk, &[room("empty"), room("r")], Duration::ZERO).await.unwrap();
    let (alice, sequence) = (UserId::parse("alice"), departed[0].sequence);
    let left = Departed {
        place: room("r"),
        session: desk.session,
        member: "alice".into(),
        user: alice,
        cause: Cause::Left,
        sequence,
    };
    assert_eq!(departed, [left]);
    assert_eq!(members(&one, "r", PAGE).await, ["bob"]);
    assert_eq!(enter(&one, &phone, open("r")).await, Entered::First, "she left, so she comes anew");
}

async fn a_session_is_in_a_place_once(store: Store) {
    let (one, two) = (store.node(LONG), store.node(LONG));
    let who = one_of("alice");
    assert_eq!(enter(&one, &who, open("r")).await, Entered::First);
    assert_eq!(enter(&one, &who, open("r")).await, Entered::Again);
    assert_eq!(enter(&two, &who, open("r")).await, Entered::Again, "on whichever node");
    let other = Attendee { member: "bob".into(), ..who.clone() };
    assert_eq!(enter(&one, &other, open("r")).await, Entered::Again, "it stays who it was until it has left");
    assert_eq!(members(&one, "r", PAGE).await, ["alice"]);
    assert_eq!(one.enter(&who, &[], Arrival::Newest).await.unwrap(), []);
    assert!(one.count(&[]).await.unwrap().is_empty());
    assert!(leave(&two, &who, "r").await, "it was there once");
    assert!(!leave(&two, &who, "r").await);
    assert_eq!(count(&one, "r").await, 0);
}

async fn each_place_has_its_own_answer_and_capacity(store: Store) {
    let node = store.node(LONG);
    let (alice, bob) = (one_of("alice"), one_of("bob"));
    let places = [limited("a", 1), open("b"), limited("c", 2), limited("none", 0)];
    let entered = kinds(node.enter(&alice, &places, Arrival::Newest).await.unwrap());
    assert_eq!(entered, [Entered::First, Entered::First, Entered::First, Entered::Full]);
    let entered = kinds(node.enter(&bob, &places, Arrival::Newest).await.unwrap());
    assert_eq!(entered, [Entered::Full, Entered::First, Entered::First, Entered::Full]);
    assert_eq!(enter(&node, &one_of("alice"), limited("a", 1)).await, Entered::Again, "who is in is never too many");
    let rooms: Vec<_> = ["a", "b", "c", "none"].map(room).into();
    assert_eq!(node.count(&rooms).await.unwrap(), [1, 2, 2, 0]);
    let many: Vec<_> = (0..450).map(|number| open(&format!("many:{number}"))).collect();
    assert_eq!(kinds(node.enter(&alice, &many, Arrival::Newest).await.unwrap()), [Entered::First; 450]);
    let rooms: Vec<_> = many.into_iter().map(|place| place.room).collect();
    assert_eq!(node.count(&rooms).await.unwrap(), [1; 450]);
    let left = node.leave(&alice, &rooms, Duration::ZERO).await.unwrap();
    assert_eq!(left.into_iter().map(|departed| departed.place).collect::<Vec<_>>(), rooms);
}

async fn a_capacity_holds_against_two_hundred(store: Store) {
    let nodes = [store.node(LONG), store.node(LONG), store.node(LONG)];
    let entering = (0..200).map(async |number: usize| {
        let who = one_of(&number.to_string());
        (enter(&nodes[number % 3], &who, limited("r", 7)).await, who)
    });
    let entered = join_all(entering).await;
    let inside: Vec<_> = entered.iter().filter(|(entered, _)| *entered == Entered::First).collect();
    assert_eq!(inside.len(), 7);
    assert!(entered.iter().all(|(entered, _)| matches!(entered, Entered::First | Entered::Full)));
    assert_eq!(count(&nodes[0], "r").await, 7);
    assert!(leave(&nodes[1], &inside[0].1, "r").await);
    assert_eq!(enter(&nodes[2], &one_of("late"), limited("r", 7)).await, Entered::First);
    assert_eq!(enter(&nodes[2], &one_of("later"), limited("r", 7)).await, Entered::Full);
}

fn games() -> Numbered {
    Numbered { before: "game:".into(), after: "/tables".into() }
}

async fn a_hundred_fill_fifty_numbered_places(store: Store) {
    let nodes = [store.node(LONG), store.node(LONG), store.node(LONG)];
    let games = games();
    let sessions: Vec<_> = (0..100).map(|number| one_of(&format!("player {number}"))).collect();
    let seating = sessions.iter().enumerate().map(async |(number, who)| {
        let (seat, entered) = seated(&nodes[number % 3], who, &games, 2).await;
        assert_eq!(entered, Entered::First);
        seat
    });
    let seats = join_all(seating).await;
    let mut by_number: BTreeMap<u32, usize> = BTreeMap::new();
    for seat in &seats {
        *by_number.entry(*seat).or_default() += 1;
    }
    assert_eq!(by_number, (1..=50).map(|number| (number, 2)).collect());
    let rooms: Vec<_> = (1..=51).map(|number| games.name(number)).collect();
    let counts = nodes[0].count(&rooms).await.unwrap();
    assert_eq!((&counts[..50], counts[50]), (&[2; 50][..], 0));
    for (who, seat) in sessions.iter().zip(&seats) {
        assert_eq!(seated(&nodes[0], who, &games, 2).await, (*seat, Entered::Again), "asked again");
    }
    for (who, seat) in sessions.iter().zip(&seats) {
        assert!(leave(&nodes[0], who, games.name(*seat).as_str()).await);
    }
    assert_eq!(nodes[0].count(&rooms).await.unwrap(), [0; 51]);
    assert_no_places(&store).await;
}

async fn numbers_are_had_again(store: Store) {
    let node = store.node(LONG);
    let games = games();
    let first = async |who: &Attendee, capacity| seated(&node, who, &games, capacity).await;
    let people: Vec<_> = (0..8).map(|number| one_of(&number.to_string())).collect();
    for (number, who) in (1..).zip(&people[..4]) {
        assert_eq!(first(who, 1).await, (number, Entered::First));
    }
    assert!(leave(&node, &people[2], "game:3/tables").await);
    assert!(leave(&node, &people[1], "game:2/tables").await);
    assert_eq!(enter(&node, &people[4], limited("game:2/tables", 1)).await, Entered::First, "by its name alone");
    assert_eq!(first(&people[1], 1).await, (3, Entered::First), "the first that is free now");
    assert_eq!(first(&people[2], 1).await, (5, Entered::First));
    assert!(leave(&node, &people[4], "game:2/tables").await);
    assert_eq!(first(&people[4], 1).await, (2, Entered::First));
    assert_eq!(first(&people[5], 3).await, (1, Entered::First), "with another capacity full is something else");
    assert_eq!(first(&one_of("5"), 3).await, (1, Entered::Again), "another session of the same member");
    assert!(leave(&node, &people[2], "game:5/tables").await);
    assert_eq!(first(&one_of("more"), 3).await, (1, Entered::First), "lower than the one that is empty again");
    assert_eq!(first(&people[6], 1).await, (5, Entered::First));
    assert_eq!(first(&people[7], 0).await, (6, Entered::First), "at least one fits");
    linger(&node, &people[7], "game:6/tables", Duration::from_millis(1)).await;
    departures(&[&node], Duration::from_millis(12), 1).await;
    assert_eq!(first(&one_of("another"), 1).await, (6, Entered::First));
}

async fn a_name_is_one_members(store: Store) {
    let (one, two) = (store.node(LONG), store.node(LONG));
    let claim = || limited("\u{1}name:bob", 1);
    let (mine, theirs) = (one_of("alice"), one_of("mallory"));
    assert_eq!(enter(&one, &mine, claim()).await, Entered::First);
    assert_eq!(enter(&two, &theirs, claim()).await, Entered::Full);
    assert!(!leave(&two, &theirs, "\u{1}name:bob").await);
    linger(&one, &mine, "\u{1}name:bob", LONG).await;
    assert_eq!(enter(&two, &theirs, claim()).await, Entered::Full, "she may come back");
    assert_eq!(enter(&two, &back(&mine), claim()).await, Entered::Again);
    let found = two.list(&room("\u{1}name:bob"), None, 1).await.unwrap();
    assert_eq!((found.members[0].member.as_str(), found.count), ("alice", 1));
}

async fn who_comes_back_in_time_never_left(store: Store) {
    let (one, two) = (store.node(LONG), store.node(LONG));
    let here = one_of("alice");
    assert_eq!(enter(&one, &here, limited("r", 1)).await, Entered::First);
    linger(&one, &here, "r", LONG).await;
    assert_eq!((one.beat(Beating::default()).await.unwrap().departed, count(&two, "r").await), (vec![], 1));
    let there = back(&here);
    assert_eq!(enter(&two, &there, limited("r", 1)).await, Entered::Again);
    assert_eq!(
        (one.beat(Beating::default()).await.unwrap().entries, two.beat(Beating::default()).await.unwrap().entries),
        (0, 1)
    );
    // The node from which it went may be slow to notice.
    linger(&one, &here, "r", Duration::from_millis(1)).await;
    assert!(!leave(&one, &here, "r").await);
    sleep(Duration::from_millis(5)).await;
    assert_eq!((one.beat(Beating::default()).await.unwrap().departed, count(&two, "r").await), (vec![], 1));
    linger(&two, &there, "r", LONG).await;
    assert_eq!(enter(&one, &one_of("alice"), limited("r", 1)).await, Entered::Again, "another session of hers");
    assert!(!leave(&two, &there, "r").await, "the lingering one may be ended, and she is still there");
    assert_eq!(count(&two, "r").await, 1);
}

async fn who_does_not_come_back_leaves_after_its_time(store: Store) {
    let (one, two) = (store.node(LONG), store.node(LONG));
    let time = Duration::from_millis(120);
    let (alice, phone, desk) = (one_of("alice"), one_of("bob"), one_of("bob"));
    for who in [&alice, &phone, &desk] {
        enter(&one, who, open("r")).await;
    }
    let since = Instant::now();
    linger(&one, &alice, "r", time).await;
    linger(&one, &phone, "r", time).await;
    linger(&one, &alice, "r", LONG).await;
    let departed = departures(&[&one, &two], time, 1).await;
    assert!(since.elapsed() + TICK >= time, "not before its time");
    let (user, sequence) = (UserId::parse("alice"), departed[0].sequence);
    let left = Departed {
        place: room("r"),
        session: alice.session,
        member: "alice".into(),
        user,
        cause: Cause::Lingered,
        sequence,
    };
    assert_eq!(departed, [left]);
    assert_eq!(members(&two, "r", PAGE).await, ["bob"]);
    assert!(leave(&one, &desk, "r").await, "his other session left before");
    assert_no_places(&store).await;
}

async fn an_older_holder_changes_nothing(store: Store) {
    let (one, two) = (store.node(LONG), store.node(LONG));
    let old = one_of("alice");
    enter(&one, &old, open("r")).await;
    let new = back(&old);
    assert_eq!(enter(&two, &new, open("r")).await, Entered::Again);
    assert_eq!(restore(&one, &old, open("r")).await, Entered::Elsewhere, "a node that woke up");
    assert!(!leave(&one, &old, "r").await);
    assert_eq!(count(&one, "r").await, 1);
    linger(&two, &new, "r", LONG).await;
    assert_eq!(restore(&one, &old, open("r")).await, Entered::Elsewhere);
    assert_eq!(restore(&two, &new, open("r")).await, Entered::Again, "its own holder may");
    assert_eq!(restore(&one, &old, open("s")).await, Entered::First, "where nobody else has it");
    assert!(leave(&two, &new, "r").await);
}

async fn a_dead_nodes_members_depart_once(store: Store) {
    let since = Instant::now();
    let (dead, one, two) = (store.named("dead", LEASE), alive(&store).await, alive(&store).await);
    let people: Vec<_> = (0..10).map(|number| one_of(&number.to_string())).collect();
    for who in &people {
        assert_eq!(enter(&dead, who, open("r")).await, Entered::First);
    }
    enter(&one, &one_of("0"), open("r")).await;
    let moved = back(&people[1]);
    assert_eq!(enter(&two, &moved, open("r")).await, Entered::Again);
    let mut lost = Vec::new();
    let mut departed = Vec::new();
    let deadline = Instant::now() + support::PATIENCE;
    while departed.len() < 8 {
        for beat in [one.beat(Beating::default()).await.unwrap(), two.beat(Beating::default()).await.unwrap()] {
            lost.extend(beat.lost);
            departed.extend(beat.departed);
        }
        assert!(Instant::now() < deadline, "{departed:?}");
        sleep(LEASE / 6).await;
    }
    assert!(since.elapsed() + TICK >= LEASE, "not before its lease ran out");
    let is_exact = matches!(store, Store::Memory(_));
    assert!(!is_exact || since.elapsed() <= LEASE + LEASE / 3, "at most a lease and a beat: {:?}", since.elapsed());
    assert_eq!(lost, ["dead"]);
    assert!(departed.iter().all(|departed| departed.cause == Cause::Lease));
    let gone: HashSet<_> = departed.iter().map(|departed| departed.member.as_str()).collect();
    let expected: HashSet<_> = people[2..].iter().map(|who| who.member.as_str()).collect();
    assert_eq!(gone, expected, "neither who has another session nor who moved");
    departures(&[&one, &two], LEASE, 0).await;
    assert_eq!(members(&two, "r", PAGE).await, ["0", "1"]);
}

async fn a_node_that_was_given_up_is_told(store: Store) {
    let (paused, other) = (store.node(LEASE), alive(&store).await);
    let (stays, moves, left) = (one_of("stays"), one_of("moves"), one_of("left"));
    for who in [&stays, &moves, &left] {
        assert_eq!(enter(&paused, who, open("r")).await, Entered::First);
    }
    assert!(!paused.beat(Beating::default()).await.unwrap().forgotten);
    departures(&[&other], LEASE, 3).await;
    let moved = back(&moves);
    assert_eq!(enter(&other, &moved, open("r")).await, Entered::First);
    // What it does before it knows makes it known again, but not unforgotten.
    assert_eq!(enter(&paused, &one_of("new"), open("r")).await, Entered::First);
    let beat = paused.beat(Beating::default()).await.unwrap();
    assert!(beat.forgotten);
    assert_eq!(beat.entries, 1);
    assert_eq!(restore(&paused, &stays, open("r")).await, Entered::First);
    assert_eq!(restore(&paused, &moves, open("r")).await, Entered::Elsewhere);
    let beat = paused.beat(Beating::default()).await.unwrap();
    assert!(!beat.forgotten, "told once");
    assert_eq!(beat.entries, 2);
    assert_eq!(members(&other, "r", PAGE).await, ["moves", "new", "stays"]);
}

async fn a_node_that_is_late_but_not_missed_keeps_everything(store: Store) {
    let node = store.node(LEASE);
    let who = one_of("alice");
    enter(&node, &who, open("r")).await;
    sleep(LEASE * 2).await;
    let beat = node.beat(Beating::default()).await.unwrap();
    assert_eq!((beat.forgotten, beat.departed, beat.entries), (false, vec![], 1));
    assert!(leave(&node, &who, "r").await);
}

async fn after_an_outage_nobody_is_given_up_at_once(store: Store) {
    const LEASE: Duration = Duration::from_secs(2);
    let (one, two, dead) = (store.node(LEASE), store.node(LEASE), store.node(LEASE));
    let (alice, bob, ghost) = (one_of("alice"), one_of("bob"), one_of("ghost"));
    for (node, who) in [(&one, &alice), (&two, &bob), (&dead, &ghost)] {
        enter(node, who, open("r")).await;
    }
    // Nobody can reach the store for longer than all leases.
    sleep(LEASE * 2).await;
    let first = one.beat(Beating::default()).await.unwrap();
    let second = two.beat(Beating::default()).await.unwrap();
    assert_eq!((first.departed, second.forgotten), (vec![], false));
    let departed = departures(&[&one, &two], LEASE, 1).await;
    assert_eq!(departed[0].member, "ghost", "the one that did not come back");
    assert_eq!(members(&one, "r", PAGE).await, ["alice", "bob"]);
}

async fn nobody_is_passed_over_in_pages(store: Store) {
    let node = store.node(LONG);
    let names: Vec<_> = (0..250).map(|number| format!("{number:04}")).collect();
    let people: Vec<_> = names.iter().map(|name| one_of(name)).collect();
    for who in people.iter().rev() {
        enter(&node, who, open("r")).await;
    }
    assert_eq!(members(&node, "r", 7).await, names);
    let first = node.list(&room("r"), None, usize::MAX).await.unwrap();
    assert_eq!((first.members.len(), first.count), (PAGE, 250), "never more than the configured page");
    assert_eq!(node.list(&room("r"), None, 0).await.unwrap().members.len(), 1, "and never nothing");
    assert!(first.members.iter().all(|member| member.user == UserId::parse(&member.member)));
    assert!(first.members.iter().all(|member| member.since_ms > 1_700_000_000_000));
    let next = first.next.unwrap();
    assert_eq!(next, "0099");
    // Between two pages the last of the first one leaves, one of the second one, and others come on both.
    for number in [0, 99, 150] {
        leave(&node, &people[number], "r").await;
    }
    for name in ["00500", "01500"] {
        enter(&node, &one_of(name), open("r")).await;
    }
    let second = node.list(&room("r"), Some(&next), PAGE).await.unwrap();
    let listed: Vec<_> = second.members.iter().map(|member| member.member.as_str()).collect();
    let mut expected: Vec<_> = names[100..].iter().map(String::as_str).filter(|name| *name != "0150").collect();
    expected.push("01500");
    expected.sort_unstable();
    assert_eq!(listed, expected[..PAGE]);
    let last = node.list(&room("r"), second.next.as_deref(), PAGE).await.unwrap();
    assert_eq!((last.members.len(), last.next, last.count), (50, None, 249));
    assert_eq!(node.list(&room("nowhere"), Some("x"), 5).await.unwrap(), Default::default());
}

/// All rooms of a namespace that are listed, page by page.
async fn listed(directory: &dyn Directory, namespace: &str, page: usize) -> Vec<(String, u64)> {
    let (mut rooms, mut after) = (Vec::new(), None);
    loop {
        let found = directory.rooms(namespace, after.as_ref(), page).await.unwrap();
        assert!(found.rooms.len() <= page.clamp(1, PAGE));
        rooms.extend(found.rooms.into_iter().map(|Busy { room, members }| (room.shown().unwrap().to_owned(), members)));
        after = found.next;
        if after.is_none() {
            return rooms;
        }
    }
}

async fn rooms_with_somebody_are_listed(store: Store) {
    let (node, directory) = (alive(&store).await, store.directory());
    let all = async |namespace: &str, page| listed(&*directory, namespace, page).await;
    assert_eq!(all("/", 10).await, []);
    let (alice, bob) = (one_of("alice"), one_of("bob"));
    let names = ["a", "a b", "b", "é", "z\u{10ffff}", " "];
    for name in names {
        enter(&node, &alice, open(name)).await;
    }
    enter(&node, &bob, open("b")).await;
    // What is no room of the namespace.
    for place in [
        RoomName::everybody("/"),
        RoomName::personal("/", &UserId::parse("alice").unwrap()),
        RoomName::claimed("/", "name").looks().remove(0),
        RoomName::internal("canary"),
        RoomName::parse_in("/x", "inside").unwrap(),
        RoomName::parse_in("/xy", "elsewhere").unwrap(),
    ] {
        enter(&node, &alice, Place { room: place, capacity: None }).await;
    }
    let mut expected: Vec<_> =
        names.iter().map(|name| ((*name).to_owned(), if *name == "b" { 2 } else { 1 })).collect();
    expected.sort_by(|one, other| one.0.as_bytes().cmp(other.0.as_bytes()));
    for page in [1, 2, 3, 100, usize::MAX] {
        assert_eq!(all("/", page).await, expected, "by pages of {page}");
    }
    assert_eq!(all("/x", 0).await, [("inside".to_owned(), 1)]);
    assert_eq!(all("/y", 10).await, []);
    let behind = directory.rooms("/x", Some(&RoomName::parse("zzz").unwrap()), 10).await.unwrap();
    assert_eq!(behind.rooms.len(), 0, "a cursor of elsewhere finds nothing of elsewhere");
    // A room is listed until its last member has left, however it leaves.
    leave(&node, &alice, "b").await;
    leave(&node, &alice, "a").await;
    expected.retain(|(name, _)| name != "a");
    expected.iter_mut().for_each(|(_, members)| *members = 1);
    assert_eq!(all("/", 2).await, expected);
    // Many, and numbered ones.
    for number in 0..2 * PAGE {
        enter(&node, &alice, open(&format!("many {number}"))).await;
    }
    seated(&node, &bob, &games(), 1).await;
    assert_eq!(all("/", usize::MAX).await.len(), expected.len() + 2 * PAGE + 1);
}

async fn names_are_only_names(store: Store) {
    let node = store.node(LONG);
    let long = "ü".repeat(127) + "x";
    let names = [
        "a",
        "a:b",
        "a\u{0}b",
        "général",
        "\u{1}ns:/admin",
        "{tag}",
        "*",
        "%s",
        " ",
        "-",
        "+",
        "(a",
        "[a",
        "🦀",
        &long,
    ];
    let people: HashMap<_, _> = names.iter().map(|name| (*name, one_of(name))).collect();
    for name in names {
        for who in people.values() {
            assert_eq!(enter(&node, who, open(name)).await, Entered::First);
        }
    }
    let mut sorted = names;
    sorted.sort_unstable();
    for name in names {
        assert_eq!(members(&node, name, 2).await, sorted);
        let numbered = Numbered { before: name.to_owned(), after: name.trim_start_matches(char::is_numeric).into() };
        let (number, _) = seated(&node, &people[name], &numbered, 1).await;
        assert_eq!((number, count(&node, numbered.name(1).as_str()).await), (1, 1));
        assert!(leave(&node, &people[name], numbered.name(1).as_str()).await);
    }
    for name in names {
        for (member, who) in &people {
            linger(&node, who, name, Duration::from_millis(1)).await;
            assert!(members(&node, name, PAGE).await.iter().any(|listed| listed == member));
        }
    }
    let departed = departures(&[&node], Duration::from_millis(12), names.len() * names.len()).await;
    let told: HashSet<_> = departed.iter().map(|departed| (departed.place.as_str(), &*departed.member)).collect();
    let all: HashSet<_> = names.iter().flat_map(|place| names.iter().map(move |member| (*place, *member))).collect();
    assert_eq!(told, all);
    for Departed { place, member, user, session, .. } in &departed {
        let who = &people[member.as_str()];
        assert_eq!((user, *session), (&who.user, who.session), "{place}");
    }
    assert_no_places(&store).await;
}

async fn five_thousand_on_a_dead_node(store: Store) {
    let (dead, alive) = (store.node(LEASE), alive(&store).await);
    let places: Vec<_> = (0..50).map(|number| open(&format!("room {number}"))).collect();
    let entering = (0..100).map(async |number: usize| {
        let entered = kinds(dead.enter(&one_of(&number.to_string()), &places, Arrival::Newest).await.unwrap());
        assert_eq!(entered, [Entered::First; 50]);
    });
    join_all(entering).await;
    let deadline = Instant::now() + support::PATIENCE;
    let departed = loop {
        let since = Instant::now();
        let departed = alive.beat(Beating::default()).await.unwrap().departed;
        if !departed.is_empty() {
            assert_eq!(departed.len(), 5_000, "all in one beat");
            assert!(since.elapsed() < Duration::from_secs(5), "a third of the default lease: {:?}", since.elapsed());
            break departed;
        }
        assert!(Instant::now() < deadline);
        sleep(LEASE / 12).await;
    };
    let told: HashSet<_> = departed.iter().map(|departed| (&departed.place, &departed.member)).collect();
    assert_eq!(told.len(), 5_000, "each once");
    assert_no_places(&store).await;
}

async fn what_happens_is_counted(store: Store) {
    let metrics = Arc::new(Metrics::new());
    let (dead, node) = (store.node(LEASE), alive(&store).await);
    let node: Node = Arc::new(MeasuredPresence::new(node, metrics.clone()));
    for name in ["a", "b"] {
        enter(&dead, &one_of(name), open("r")).await;
    }
    let (left, lingers, stays) = (one_of("left"), one_of("lingers"), one_of("stays"));
    for who in [&left, &lingers, &stays] {
        enter(&node, who, open("r")).await;
    }
    assert!(leave(&node, &left, "r").await);
    linger(&node, &lingers, "r", Duration::from_millis(1)).await;
    departures(&[&node], LEASE, 3).await;
    let text = metrics.render();
    for line in [
        "gateway_presence_entries 1",
        r#"gateway_presence_departures_total{cause="left"} 1"#,
        r#"gateway_presence_departures_total{cause="lingered"} 1"#,
        r#"gateway_presence_departures_total{cause="lease"} 2"#,
        r#"gateway_presence_errors_total{op="enter"} 0"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
}

async fn what_happens_is_numbered_in_its_order(store: Store) {
    let (one, two) = (store.node(LONG), store.node(LONG));
    let mut last = 0;
    let mut later = |sequence: u64| {
        assert!(sequence > last, "{sequence} after {last}");
        last = sequence;
    };
    for round in 0..20 {
        let (who, numbered) = (one_of("alice"), one_of("bob"));
        let (node, other) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let entered = node.enter(&who, &[open("a"), open("b")], Arrival::Newest).await.unwrap();
        entered.iter().for_each(|entry| later(entry.sequence));
        let newer = back(&who);
        let again = other.enter(&newer, &[open("a")], Arrival::Newest).await.unwrap();
        assert_eq!(again, [Entry { entered: Entered::Again, sequence: 0 }]);
        later(other.enter_first(&numbered, &games(), 1, Arrival::Newest).await.unwrap().1.sequence);
        let departed = node.leave(&numbered, &[games().name(1)], Duration::ZERO).await.unwrap();
        later(departed[0].sequence);
        linger(node, &who, "b", Duration::from_millis(1)).await;
        later(departures(&[other], Duration::from_millis(12), 1).await[0].sequence);
        later(other.leave(&newer, &[room("a")], Duration::ZERO).await.unwrap()[0].sequence);
    }
}

async fn departures_wait_until_they_are_wanted(store: Store) {
    let (dead, alive) = (store.node(LEASE), alive(&store).await);
    for number in 0..5 {
        enter(&dead, &one_of(&number.to_string()), open("r")).await;
        let who = one_of(&format!("lingers {number}"));
        enter(&alive, &who, open("r")).await;
        linger(&alive, &who, "r", Duration::from_millis(1)).await;
    }
    let deadline = Instant::now() + support::PATIENCE;
    let mut departed = Vec::new();
    for most in [0, 3, 0, 1].into_iter().chain(std::iter::repeat(2)) {
        let beat = alive.beat(Beating { most, ..Beating::default() }).await.unwrap();
        assert!(beat.departed.len() <= most, "{:?}", beat.departed);
        departed.extend(beat.departed.into_iter().map(|departed| departed.member));
        assert_eq!(count(&alive, "r").await, 10 - departed.len() as u64, "who is not told of is still there");
        if departed.len() == 10 {
            break;
        }
        assert!(Instant::now() < deadline, "{departed:?}");
        sleep(LEASE / 6).await;
    }
    let told: HashSet<_> = departed.into_iter().collect();
    assert_eq!(told.len(), 10, "each once");
    assert_no_places(&store).await;
}

async fn who_begins_anew_loses_what_it_does_not_enter_again(store: Store) {
    let (node, other) = (store.node(LEASE * 3), alive(&store).await);
    let (stays, left) = (one_of("stays"), one_of("left"));
    for who in [&stays, &left] {
        enter(&node, who, open("r")).await;
    }
    let beat = node.beat(Beating { anew: true, ..Beating::default() }).await.unwrap();
    assert!(beat.forgotten && beat.departed.is_empty(), "{beat:?}");
    assert_eq!(restore(&node, &stays, open("r")).await, Entered::Again);
    let departed = departures(&[&node, &other], LEASE, 1).await;
    assert_eq!((departed[0].member.as_str(), departed[0].cause), ("left", Cause::Lease));
    assert_eq!(members(&node, "r", PAGE).await, ["stays"]);
}

async fn finding_a_numbered_place_takes_nothing_from_a_newer_holder(store: Store) {
    let (one, two) = (store.node(LONG), store.node(LONG));
    let who = one_of("alice");
    assert_eq!(seated(&one, &who, &games(), 1).await, (1, Entered::First));
    let newer = back(&who);
    assert_eq!(seated(&two, &newer, &games(), 1).await, (1, Entered::Again));
    let (number, entry) = one.enter_first(&who, &games(), 1, Arrival::Restored).await.unwrap();
    assert_eq!((number, entry), (1, Entry { entered: Entered::Elsewhere, sequence: 0 }));
    assert!(!leave(&one, &who, "game:1/tables").await);
    assert!(leave(&two, &newer, "game:1/tables").await, "it kept its seat");
}

async fn a_late_leaving_is_not_of_who_came_since(store: Store) {
    let (one, other) = (store.node(LONG), alive(&store).await);
    let who = one_of("alice");
    enter(&one, &at(1, &who), open("r")).await;
    // It leaves by step 2, which is given up and stays on its way, and comes again.
    assert_eq!(enter(&one, &at(3, &who), limited("r", 1)).await, Entered::Again);
    assert!(!leave(&one, &at(2, &who), "r").await);
    linger(&one, &at(2, &who), "r", Duration::from_millis(1)).await;
    departures(&[&one, &other], Duration::from_millis(12), 0).await;
    assert_eq!(members(&one, "r", PAGE).await, ["alice"]);
    // The same after a restoring.
    assert_eq!(restore(&one, &at(5, &who), open("r")).await, Entered::Again);
    assert!(!leave(&one, &at(4, &who), "r").await);
    assert!(leave(&one, &at(6, &who), "r").await, "this one is meant");
    assert_no_places(&store).await;
}

async fn a_late_entering_is_not_of_who_left_or_came_since(store: Store) {
    let node = store.node(LONG);
    let who = one_of("alice");
    enter(&node, &at(1, &who), open("r")).await;
    linger(&node, &at(4, &who), "r", Duration::from_millis(1)).await;
    assert_eq!(enter(&node, &at(2, &who), open("r")).await, Entered::Again);
    assert_eq!(restore(&node, &at(3, &who), open("r")).await, Entered::Again);
    assert_eq!(departures(&[&node], Duration::from_millis(12), 1).await[0].cause, Cause::Lingered);
    // It came again by a later step: an earlier one does not make that an earlier one.
    enter(&node, &at(8, &who), open("r")).await;
    assert_eq!(enter(&node, &at(5, &who), open("r")).await, Entered::Again);
    assert_eq!(restore(&node, &at(6, &who), open("r")).await, Entered::Again);
    assert!(!leave(&node, &at(7, &who), "r").await);
    assert_eq!(count(&node, "r").await, 1);
    // Where it is not, what comes late stays, and the node can tell.
    assert!(leave(&node, &at(10, &who), "r").await);
    assert_eq!(enter(&node, &at(9, &who), open("r")).await, Entered::First);
    let held = node.beat(Beating { review: true, ..Beating::default() }).await.unwrap().held.unwrap();
    assert_eq!(held.iter().map(|held| held.step).collect::<Vec<_>>(), [9]);
    assert!(leave(&node, &at(held[0].step, &who), "r").await, "just this is taken out");
    assert_no_places(&store).await;
}

async fn a_late_entering_of_an_older_holder_takes_nothing(store: Store) {
    let (one, two) = (store.node(LONG), store.node(LONG));
    let old = one_of("alice");
    let new = back(&old);
    assert_eq!(enter(&two, &new, open("r")).await, Entered::First);
    assert_eq!(enter(&one, &at(99, &old), open("r")).await, Entered::Elsewhere, "a request that was held back");
    assert!(!leave(&one, &at(100, &old), "r").await);
    assert_eq!(members(&one, "r", PAGE).await, ["alice"]);
    linger(&two, &new, "r", LONG).await;
    assert_eq!(enter(&one, &at(101, &old), open("r")).await, Entered::Elsewhere, "also while it is away");
    let newest = back(&new);
    assert_eq!(enter(&one, &newest, open("r")).await, Entered::Again);
    assert!(leave(&one, &newest, "r").await);
}

async fn a_late_search_for_a_numbered_place_takes_nothing(store: Store) {
    let (one, two) = (store.node(LONG), store.node(LONG));
    let (old, games) = (one_of("alice"), games());
    let new = back(&old);
    assert_eq!(seated(&two, &at(3, &new), &games, 1).await, (1, Entered::First));
    assert_eq!(seated(&one, &at(9, &old), &games, 1).await, (1, Entered::Elsewhere));
    assert_eq!(seated(&two, &at(2, &new), &games, 1).await, (1, Entered::Again));
    assert!(!leave(&two, &at(2, &new), "game:1/tables").await);
    assert!(leave(&two, &at(4, &new), "game:1/tables").await);
    assert_no_places(&store).await;
}

async fn a_node_is_told_what_it_has_entered(store: Store) {
    let (node, other) = (store.node(LONG), store.node(LONG));
    let review = async |node: &Node| {
        let beat = node.beat(Beating { review: true, ..Beating::default() }).await.unwrap();
        let held = beat.held.unwrap();
        assert_eq!(held.len() as u64, beat.entries);
        held.into_iter().collect::<HashSet<_>>()
    };
    assert!(review(&node).await.is_empty());
    let entry = |who: &Attendee, place: &str| {
        let Attendee { session, holder, term, step, .. } = *who;
        Held { session, holder, term, step, place: room(place) }
    };
    let places: Vec<_> = (0..30).map(|number| format!("room {number}")).collect();
    let (mut expected, mut people) = (HashSet::new(), Vec::new());
    for number in 0..50 {
        let who = at(u32::MAX - number, &back(&one_of(&number.to_string())));
        let open: Vec<_> = places.iter().map(|place| open(place)).collect();
        node.enter(&who, &open, Arrival::Newest).await.unwrap();
        expected.extend(places.iter().map(|place| entry(&who, place)));
        people.push(who);
    }
    assert_eq!(review(&node).await, expected, "all of them, each once");
    assert!(review(&other).await.is_empty(), "only the node's own");
    let [left, lingers, moves, again] = [0, 1, 2, 3].map(|number| &people[number]);
    assert!(leave(&node, left, "room 7").await);
    linger(&node, lingers, "room 7", LONG).await;
    let moved = back(moves);
    assert_eq!(enter(&other, &moved, open("room 7")).await, Entered::Again);
    let later = Attendee { holder: again.holder, ..at(u32::MAX, again) };
    assert_eq!(enter(&node, &later, open("room 7")).await, Entered::Again);
    for who in [left, lingers, moves, again] {
        assert!(expected.remove(&entry(who, "room 7")));
    }
    expected.insert(entry(&later, "room 7"));
    assert_eq!(review(&node).await, expected);
    assert_eq!(review(&other).await, HashSet::from([entry(&moved, "room 7")]));
    assert!(node.beat(Beating::default()).await.unwrap().held.is_none(), "only when it is asked for");
}

/// Nobody is anywhere, and nothing is left of it.
async fn assert_no_places(store: &Store) {
    let remains = store.remains().await;
    match store {
        Store::Memory(_) => {
            let empty = "{}, series: {}, lingering: {}";
            assert!(remains.starts_with(empty), "{remains}");
        }
        Store::Redis(_) => {
            let keys: Vec<_> = remains.lines().filter(|line| line.contains(':')).collect();
            let nodes = ["test:presence:nodes", "test:presence:grace", "test:presence:sequence"];
            assert!(keys.iter().all(|key| nodes.contains(key)), "{keys:?}");
        }
    }
}

/// Presence as one would write it without caring for speed: who is where, in lists.
#[derive(Default)]
struct Model {
    entries: Vec<ModelEntry>,
    /// Members that were seated in numbered places, and are still there.
    seats: HashMap<String, u32>,
}

struct ModelEntry {
    room: RoomName,
    session: SessionId,
    member: String,
    holder: u64,
    term: u32,
    step: u32,
    lingers: bool,
    is_due: bool,
}

impl Model {
    fn members(&self, room: &RoomName) -> Vec<String> {
        let here = self.entries.iter().filter(|entry| entry.room == *room).map(|entry| entry.member.clone());
        here.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }

    fn enter(&mut self, who: &Attendee, place: &Place, arrival: Arrival) -> Entered {
        let is_it = |entry: &&mut ModelEntry| entry.room == place.room && entry.session == who.session;
        if let Some(entry) = self.entries.iter_mut().find(is_it) {
            if entry.holder == who.holder && entry.step > who.step {
                return Entered::Again;
            }
            if entry.holder != who.holder && (arrival == Arrival::Restored || entry.term > who.term) {
                return Entered::Elsewhere;
            }
            (entry.holder, entry.term, entry.step) = (who.holder, who.term, who.step);
            (entry.lingers, entry.is_due) = (false, false);
            return Entered::Again;
        }
        let members = self.members(&place.room);
        let was_there = members.contains(&who.member);
        if !was_there && place.capacity.is_some_and(|capacity| members.len() >= capacity) {
            return Entered::Full;
        }
        self.entries.push(ModelEntry {
            room: place.room.clone(),
            session: who.session,
            member: who.member.clone(),
            holder: who.holder,
            term: who.term,
            step: who.step,
            lingers: false,
            is_due: false,
        });
        if was_there { Entered::Again } else { Entered::First }
    }

    fn enter_first(&mut self, who: &Attendee, numbered: &Numbered, capacity: usize) -> (u32, Entered) {
        if let Some(&seat) = self.seats.get(&who.member) {
            let place = Place { room: numbered.name(seat), capacity: None };
            return (seat, self.enter(who, &place, Arrival::Newest));
        }
        let has_room = |number: &u32| self.members(&numbered.name(*number)).len() < capacity;
        let number = (1..).find(has_room).unwrap();
        let place = Place { room: numbered.name(number), capacity: None };
        self.seats.insert(who.member.clone(), number);
        (number, self.enter(who, &place, Arrival::Newest))
    }

    fn leave(&mut self, who: &Attendee, room: &RoomName, time: Duration, numbered: &Numbered) -> Vec<String> {
        let is_its = |entry: &ModelEntry| entry.holder == who.holder && entry.step <= who.step;
        let is_it = |entry: &ModelEntry| entry.room == *room && entry.session == who.session && is_its(entry);
        if time.is_zero() {
            return self.take_out(numbered, is_it);
        }
        if let Some(entry) = self.entries.iter_mut().find(|entry| is_it(entry) && !entry.lingers) {
            (entry.lingers, entry.is_due, entry.step) = (true, time < LONG, who.step);
        }
        Vec::new()
    }

    /// Removes entries; returns who is no longer where.
    fn take_out(&mut self, numbered: &Numbered, is_over: impl Fn(&ModelEntry) -> bool) -> Vec<String> {
        let over: Vec<_> = self.entries.extract_if(.., |entry| is_over(entry)).collect();
        let mut gone: Vec<_> = over.iter().map(|entry| (entry.room.clone(), entry.member.clone())).collect();
        gone.sort();
        gone.dedup();
        gone.retain(|(room, member)| !self.members(room).contains(member));
        self.seats.retain(|member, seat| !gone.contains(&(numbered.name(*seat), member.clone())));
        let mut gone: Vec<_> = gone.into_iter().map(|(room, member)| format!("{member} in {room}")).collect();
        gone.sort();
        gone
    }
}

fn told(departed: Vec<Departed>) -> Vec<String> {
    let mut told: Vec<_> = departed.into_iter().map(|gone| format!("{} in {}", gone.member, gone.place)).collect();
    told.sort();
    told
}

async fn random_operations_do_what_a_model_does(store: Store) {
    for seed in 0..12 {
        let nodes = [store.node(LONG), store.node(LONG), store.node(LONG)];
        one_random_run(seed, &nodes).await;
        assert_no_places(&store).await;
    }
}

async fn one_random_run(seed: u64, nodes: &[Node]) {
    const CAPACITY: usize = 2;
    let mut random = StdRng::seed_from_u64(seed);
    let mut model = Model::default();
    let games = games();
    let rooms: Vec<_> = (1..=5).map(|number| games.name(number)).chain([room("a"), room("b")]).collect();
    // Twelve sessions of eight members; each remembers the holders it had, newest last.
    let mut sessions: Vec<_> = (0..12).map(|number| vec![one_of(&format!("m{}", number % 8))]).collect();
    for step in 0..250 {
        let node = nodes.choose(&mut random).unwrap();
        let holders = sessions.choose_mut(&mut random).unwrap();
        if random.random_bool(0.2) {
            holders.push(back(holders.last().unwrap()));
        }
        // What is asked now, or was asked before and comes late.
        let mut some_step = || if random.random_bool(0.7) { step } else { random.random_range(0..=step) };
        let steps = [some_step(), some_step()];
        let newest = at(steps[0], holders.last().unwrap());
        let any = at(steps[1], holders.choose(&mut random).unwrap());
        let place = rooms.choose(&mut random).unwrap().clone();
        let context = format!("seed {seed}, step {step}, {} in {place}", any.member);
        match random.random_range(0..9) {
            0..3 => {
                let capacity = [None, Some(1), Some(3)][random.random_range(0..3)];
                let place = Place { room: place, capacity };
                let who = if random.random_bool(0.2) { &any } else { &newest };
                let expected = model.enter(who, &place, Arrival::Newest);
                assert_eq!(enter(node, who, place).await, expected, "{context}: enters");
            }
            3 => {
                let place = Place { room: place, capacity: None };
                let expected = model.enter(&any, &place, Arrival::Restored);
                assert_eq!(restore(node, &any, place).await, expected, "{context}: is restored");
            }
            4 => {
                let expected = model.enter_first(&newest, &games, CAPACITY);
                let seated = seated(node, &newest, &games, CAPACITY).await;
                assert_eq!(seated, expected, "{context}: is seated");
            }
            5..8 => {
                let time = [Duration::ZERO, Duration::from_millis(1), LONG][random.random_range(0..3)];
                let expected = model.leave(&any, &place, time, &games);
                let departed = node.leave(&any, &[place], time).await.unwrap();
                assert_eq!(told(departed), expected, "{context}: leaves");
            }
            _ => {
                sleep(Duration::from_millis(4)).await;
                let expected = model.take_out(&games, |entry| entry.is_due);
                assert_eq!(told(node.beat(Beating::default()).await.unwrap().departed), expected, "{context}: a beat");
            }
        }
        let place = rooms.choose(&mut random).unwrap();
        let expected = model.members(place);
        let page = node.list(place, None, PAGE).await.unwrap();
        assert_eq!(page.count, expected.len() as u64, "{context}: count of {place}");
        let listed: Vec<_> = page.members.into_iter().map(|member| member.member).collect();
        assert_eq!(listed, expected, "{context}: list of {place}");
    }
    let rooms: Vec<_> = rooms.into_iter().chain((6..20).map(|number| games.name(number))).collect();
    for who in sessions.iter().flatten() {
        nodes[0].leave(&at(u32::MAX, who), &rooms, Duration::ZERO).await.unwrap();
    }
}

/// The evalshas that a Redis has carried out.
async fn scripts(redis: &Redis) -> u64 {
    let statistics = redis.command("INFO commandstats").await;
    let line = statistics.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn a_leaving_that_redis_carries_out_late_takes_nobody_out() {
    let redis = Redis::start().await;
    let proxy = Proxy::before(&redis).await;
    let timeouts = support::config(&[("GATEWAY_REDIS__TIMEOUT", "1s")]).redis;
    let settings = config::Presence { lease: LONG, linger: LONG, page: PAGE };
    let commands = Commands::new(&proxy.url(), &timeouts).unwrap();
    let node: Node = Arc::new(redis_presence(commands, "test", "node", &settings));
    let who = one_of("alice");
    assert_eq!(enter(&node, &at(1, &who), open("r")).await, Entered::First);
    assert!(leave(&node, &at(2, &who), "r").await);
    assert_eq!(enter(&node, &at(3, &who), open("r")).await, Entered::First);
    let before = node.beat(Beating::default()).await.unwrap();
    assert!(!before.in_doubt, "{before:?}");
    // What is under way stays under way; what connects from now on does not.
    proxy.hold_back();
    let lost = node.leave(&at(4, &who), &[room("r")], Duration::ZERO).await;
    assert!(lost.is_err(), "{lost:?}");
    assert_eq!(enter(&node, &at(5, &who), open("r")).await, Entered::Again);
    let carried_out = scripts(&redis).await;
    proxy.hold(false);
    eventually("the leaving is carried out", || async { scripts(&redis).await > carried_out }).await;
    assert_eq!(members(&node, "r", PAGE).await, ["alice"]);
    assert!(node.beat(Beating::default()).await.unwrap().in_doubt, "a connection was given up");
    assert!(!node.beat(Beating::default()).await.unwrap().in_doubt, "told once");
}

#[tokio::test]
async fn a_redis_that_lost_everything_has_forgotten_the_node() {
    let mut redis = Redis::start().await;
    let settings = config::Presence { lease: LONG, linger: LONG, page: PAGE };
    let node: Node = Arc::new(redis_presence(commands(&redis), "test", "node", &settings));
    let who = one_of("alice");
    assert_eq!(enter(&node, &who, open("r")).await, Entered::First);
    assert!(!node.beat(Beating::default()).await.unwrap().forgotten);
    redis.kill();
    redis.lose_everything();
    redis.start_again().await;
    let deadline = Instant::now() + support::PATIENCE;
    let beat = loop {
        match node.beat(Beating::default()).await {
            Ok(beat) => break beat,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        sleep(Duration::from_millis(20)).await;
    };
    assert!(beat.forgotten);
    assert_eq!(restore(&node, &who, open("r")).await, Entered::First);
    assert!(!node.beat(Beating::default()).await.unwrap().forgotten);
}

#[tokio::test]
async fn a_redis_that_went_back_in_time_has_forgotten_the_node() {
    let redis = Redis::start().await;
    let store = Store::Redis(Box::new(redis));
    let (node, other) = (store.node(LEASE * 3), alive(&store).await);
    let Store::Redis(redis) = &store else { unreachable!() };
    let (stays, left) = (one_of("stays"), one_of("left"));
    for who in [&stays, &left] {
        assert_eq!(enter(&node, who, open("r")).await, Entered::First);
    }
    node.beat(Beating::default()).await.unwrap();
    let nodes = redis.command("ZRANGE test:presence:nodes 0 -1").await;
    let name = nodes.lines().find(|line| line.ends_with("node")).unwrap().trim().to_owned();
    redis.command(&format!("ZINCRBY test:presence:nodes -1 {name}")).await;
    assert!(node.beat(Beating::default()).await.unwrap().forgotten, "it is not the state after the last beat");
    assert_eq!(restore(&node, &stays, open("r")).await, Entered::Again);
    // What the node no longer cares for ends with its old lease.
    let departed = departures(&[&node, &other], LEASE, 1).await;
    assert_eq!((departed[0].member.as_str(), departed[0].cause), ("left", Cause::Lease));
    assert_eq!(members(&node, "r", PAGE).await, ["stays"]);
}

/// How many sessions' entries in places have a moment, as Redis has them.
async fn with_moments(redis: &Redis) -> String {
    let script = "local n = 0 for _, key in ipairs(redis.call('KEYS', 'test:presence:place:*')) do \
                  local all = redis.call('HGETALL', key) for i = 1, #all, 2 do \
                  if string.sub(all[i], 1, 1) == 's' and string.byte(all[i + 1], 33) == 1 then n = n + 1 end end end \
                  return n";
    redis.command(&format!("EVAL \"{script}\" 0")).await.trim().to_owned()
}

#[tokio::test]
async fn nodes_share_places_with_those_that_write_an_older_format() {
    let redis = Redis::start().await;
    let settings = config::Presence { lease: LONG, linger: LONG, page: PAGE };
    let node = |name, format| -> Node {
        let formats = Formats::new(format);
        Arc::new(RedisPresence::new(commands(&redis), "test", name, &settings, formats))
    };
    let (older, newer) = (node("older", Format::Unordered), node("newer", Format::Ordered));
    let (alice, bob) = (one_of("alice"), one_of("bob"));
    assert_eq!(enter(&older, &alice, limited("r", 2)).await, Entered::First);
    assert_eq!(with_moments(&redis).await, ":0");
    assert_eq!(enter(&newer, &bob, limited("r", 2)).await, Entered::First);
    assert_eq!(with_moments(&redis).await, ":1");
    assert_eq!(enter(&newer, &one_of("carol"), limited("r", 2)).await, Entered::Full);
    for node in [&older, &newer] {
        assert_eq!(members(node, "r", PAGE).await, ["alice", "bob"]);
    }
    // They go on as each other's, by whoever comes back, and leave.
    let (alice_anew, bob_anew) = (held_anew(&alice, 1), held_anew(&bob, 1));
    assert_eq!(enter(&newer, &alice_anew, open("r")).await, Entered::Again);
    assert_eq!(enter(&older, &bob_anew, open("r")).await, Entered::Again);
    assert_eq!(with_moments(&redis).await, ":1");
    assert!(!leave(&older, &alice, "r").await && !leave(&newer, &bob, "r").await, "they are others' by now");
    assert!(leave(&older, &alice_anew, "r").await && leave(&newer, &bob_anew, "r").await);
    assert_eq!(count(&newer, "r").await, 0);
    for (who, linger_at, settle_at) in [("dora", &newer, &older), ("erin", &older, &newer)] {
        let who = one_of(who);
        enter(linger_at, &who, open("r")).await;
        linger(linger_at, &who, "r", TICK).await;
        sleep(TICK * 5).await;
        let departed = settle_at.beat(Beating { most: 10, ..Beating::default() }).await.unwrap().departed;
        assert_eq!((departed.len(), departed[0].member.as_str()), (1, who.member.as_str()));
    }
}

#[tokio::test]
async fn what_is_there_is_written_anew_for_a_node_that_comes_with_an_older_format() {
    let redis = Redis::start().await;
    let settings = config::Presence { lease: LONG, linger: LONG, page: PAGE };
    let formats = Formats::new(Format::NEWEST);
    let node: Node = Arc::new(RedisPresence::new(commands(&redis), "test", "node", &settings, formats.clone()));
    let (alice, lingers) = (one_of("alice"), one_of("lingers"));
    // More than are written in one script.
    let places: Vec<_> = (0..1_300).map(|number| open(&format!("r{number}"))).collect();
    node.enter(&alice, &places, Arrival::Newest).await.unwrap();
    enter(&node, &lingers, open("r0")).await;
    linger(&node, &at(2, &lingers), "r0", LONG).await;
    node.beat(Beating::default()).await.unwrap();
    assert_eq!(with_moments(&redis).await, ":1301");
    formats.write(Format::Unordered);
    node.beat(Beating::default()).await.unwrap();
    assert_eq!(with_moments(&redis).await, ":0");
    assert_eq!(members(&node, "r0", PAGE).await, ["alice", "lingers"]);
    let held = node.beat(Beating { review: true, ..Beating::default() }).await.unwrap().held.unwrap();
    assert_eq!(held.len(), 1_300);
    // And what was written so is taken for what it is once all read more again.
    formats.write(Format::NEWEST);
    assert_eq!(enter(&node, &at(3, &alice), open("r0")).await, Entered::Again);
    assert_eq!(with_moments(&redis).await, ":1");
    assert!(leave(&node, &at(4, &alice), "r0").await && leave(&node, &at(5, &alice), "r1").await);
}

#[tokio::test]
async fn deployments_are_apart_and_errors_say_what_was_asked() {
    let mut redis = Redis::start().await;
    let settings = config::Presence { lease: LONG, linger: LONG, page: PAGE };
    let metrics = Arc::new(Metrics::new());
    let node = |prefix: &str| -> Node {
        let presence = redis_presence(commands(&redis), prefix, "node", &settings);
        Arc::new(MeasuredPresence::new(Arc::new(presence), metrics.clone()))
    };
    let (one, two) = (node("one"), node("two"));
    let who = one_of("alice");
    enter(&one, &who, open("r")).await;
    assert_eq!((count(&one, "r").await, count(&two, "r").await), (1, 0));
    redis.command("SET three:presence:members:r occupied").await;
    let damaged = redis_presence(commands(&redis), "three", "node", &settings);
    let error = damaged.count(&[room("r")]).await.unwrap_err();
    assert_eq!((error.port, error.kind), (Port::Presence, ErrorKind::Permanent), "{error}");
    redis.stop().await;
    let places = [room("r")];
    let errors = [
        one.enter(&who, &[open("r")], Arrival::Newest).await.unwrap_err(),
        one.enter_first(&who, &games(), 1, Arrival::Newest).await.unwrap_err(),
        one.leave(&who, &places, LONG).await.unwrap_err(),
        one.count(&places).await.unwrap_err(),
        one.list(&places[0], None, 1).await.unwrap_err(),
        one.beat(Beating::default()).await.unwrap_err(),
    ];
    for error in &errors {
        assert_eq!((error.port, error.kind), (Port::Presence, ErrorKind::Transient), "{error}");
    }
    let operations = errors.map(|error| error.operation);
    // What only the directory is asked is no operation of these.
    assert_eq!(operations[..], gateway::metrics::PRESENCE_OPERATIONS[..6]);
    let text = metrics.render();
    for operation in operations {
        let line = format!(r#"gateway_presence_errors_total{{op="{operation}"}} 1"#);
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    redis.start_again().await;
    eventually("it heals", async || one.beat(Beating::default()).await.is_ok_and(|beat| beat.entries == 1)).await;
    assert!(leave(&one, &who, "r").await, "the server kept its file");
}

#[tokio::test]
async fn rooms_that_older_nodes_entered_or_left_are_mended_in_the_index() {
    let redis = Redis::start().await;
    let store = Store::Redis(Box::new(redis));
    let Store::Redis(redis) = &store else { unreachable!() };
    let (node, directory) = (alive(&store).await, store.directory());
    let alice = one_of("alice");
    enter(&node, &alice, open("there")).await;
    // As a version leaves it that does not know the index.
    redis.command("ZREM test:presence:rooms there").await;
    redis.command("ZADD test:presence:rooms 0 gone").await;
    assert_eq!(listed(&*directory, "/", 10).await, []);
    assert_eq!(redis.command("EXISTS test:presence:rooms").await, ":0\r\n", "what is left over goes when it is seen");
    node.beat(Beating { review: true, ..Beating::default() }).await.unwrap();
    assert_eq!(listed(&*directory, "/", 10).await, [("there".to_owned(), 1)]);
    leave(&node, &alice, "there").await;
    assert_eq!(redis.command("EXISTS test:presence:rooms").await, ":0\r\n");
}

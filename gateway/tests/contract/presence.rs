//! The contract of presence, every test against every backend.

mod happenings;
mod holders;
mod leases;
mod model;
mod only_redis;
mod pages;
mod places;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use gateway_core::config;
use gateway_core::domain::{RoomName, SessionId, UserId};
use gateway_core::formats::{Format, Formats};
use gateway_core::metrics::Metrics;
use gateway_core::port::{ErrorKind, Port};
use gateway_core::presence::{
    Arrival, Attendee, Beating, Busy, Cause, Departed, Directory, Entered, Entry, Held, MeasuredPresence, MemoryPlaces,
    MemoryPresence, Numbered, Place, Presence, RedisPresence,
};
use gateway_core::redis::Commands;
use rand::rngs::StdRng;
use rand::seq::{IndexedMutRandom, IndexedRandom};
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep};

use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::{self, eventually};

use happenings::*;
use holders::*;
use leases::*;
use model::*;
use pages::*;
use places::*;

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

fn games() -> Numbered {
    Numbered { before: "game:".into(), after: "/tables".into() }
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

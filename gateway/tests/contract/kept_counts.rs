//! Counts of members that are kept: what their own node does shows at once, what others do when their time is over.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use gateway_core::config;
use gateway_core::domain::{RoomName, SessionId};
use gateway_core::metrics::Metrics;
use gateway_core::port::Port;
use gateway_core::presence::{
    Arrival, Attendee, Beating, Entered, KeptPresence, MemoryPlaces, MemoryPresence, Numbered, Place, Presence,
    RedisPresence,
};
use gateway_core::redis::Commands;

use crate::support::eventually;
use crate::support::{self, redis::Redis};

const LONG: Duration = Duration::from_secs(3_600);

fn one_of(member: &str) -> Attendee {
    let (session, holder) = (SessionId::random(), rand::random());
    Attendee { session, holder, term: 1, step: 1, member: member.to_owned(), user: None }
}

fn settings() -> config::Presence {
    config::Presence { lease: LONG, linger: LONG, page: 100 }
}

fn room(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

async fn enter(presence: &dyn Presence, who: &Attendee, name: &str) {
    let place = Place { room: room(name), capacity: None };
    let entered = presence.enter(who, &[place], Arrival::Newest).await.unwrap();
    assert_eq!(entered[0].entered, Entered::First);
}

async fn counts(presence: &dyn Presence, names: &[&str]) -> Vec<u64> {
    presence.count(&names.iter().map(|name| room(name)).collect::<Vec<_>>()).await.unwrap()
}

/// A node that keeps counts, and another one of the same deployment that does not.
fn two_nodes(keep: Duration) -> (Arc<KeptPresence>, MemoryPresence, Arc<Metrics>) {
    let (places, metrics) = (Arc::<MemoryPlaces>::default(), Arc::new(Metrics::new()));
    let one = Arc::new(MemoryPresence::new(places.clone(), "one", &settings()));
    let two = MemoryPresence::new(places, "two", &settings());
    (Arc::new(KeptPresence::new(one, keep, metrics.clone())), two, metrics)
}

fn counted(metrics: &Metrics, result: &str) -> u64 {
    let series = format!("gateway_cache_requests_total{{cache=\"presence\",result=\"{result}\"}} ");
    let text = metrics.render();
    text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_a_node_does_it_counts_at_once_and_what_others_do_later() {
    let (one, two, metrics) = two_nodes(LONG);
    for node in [&*one as &dyn Presence, &two] {
        node.beat(Beating::default()).await.unwrap();
    }
    let (ann, bob, cid) = (one_of("ann"), one_of("bob"), one_of("cid"));
    assert_eq!(counts(&*one, &["r", "s"]).await, [0, 0]);
    enter(&*one, &ann, "r").await;
    assert_eq!(counts(&*one, &["r", "s"]).await, [1, 0]);
    enter(&two, &bob, "r").await;
    assert_eq!((counts(&*one, &["r"]).await, counts(&two, &["r"]).await), (vec![1], vec![2]));
    enter(&*one, &cid, "r").await;
    assert_eq!(counts(&*one, &["r", "s"]).await, [3, 0]);
    let departed = one.leave(&Attendee { step: 2, ..ann }, &[room("r")], Duration::ZERO).await.unwrap();
    assert_eq!((departed.len(), counts(&*one, &["r"]).await), (1, vec![2]));
    let games = Numbered { before: room("game ").as_str().to_owned(), after: String::new() };
    assert_eq!(counts(&*one, &["game 1"]).await, [0]);
    let (number, _) = one.enter_first(&one_of("dan"), &games, 2, Arrival::Newest).await.unwrap();
    assert_eq!((number, counts(&*one, &["game 1"]).await), (1, vec![1]));
    assert!(counted(&metrics, "hit") >= 3 && counted(&metrics, "miss") >= 5);
}

#[tokio::test]
async fn whose_time_is_over_is_counted_no_more_with_the_beat_that_says_so() {
    let (one, _, _) = two_nodes(LONG);
    one.beat(Beating::default()).await.unwrap();
    let ann = one_of("ann");
    enter(&*one, &ann, "r").await;
    let lingers = Duration::from_millis(20);
    assert!(one.leave(&Attendee { step: 2, ..ann }, &[room("r")], lingers).await.unwrap().is_empty());
    assert_eq!(counts(&*one, &["r"]).await, [1]);
    eventually("it departs", || async { !one.beat(Beating::default()).await.unwrap().departed.is_empty() }).await;
    assert_eq!(counts(&*one, &["r"]).await, [0]);
}

#[tokio::test]
async fn what_others_do_shows_when_the_time_is_over() {
    let (one, two, _) = two_nodes(Duration::from_millis(50));
    two.beat(Beating::default()).await.unwrap();
    assert_eq!(counts(&*one, &["r"]).await, [0]);
    enter(&two, &one_of("bob"), "r").await;
    eventually("it is counted", || async { counts(&*one, &["r"]).await == [1] }).await;
}

/// However they come in between, who has entered counts itself.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_entered_is_counted_by_itself_however_many_count() {
    let (one, _, metrics) = two_nodes(LONG);
    one.beat(Beating::default()).await.unwrap();
    let all = (0..200_usize).map(|number| {
        let one = one.clone();
        tokio::spawn(async move {
            enter(&*one, &one_of(&number.to_string()), "r").await;
            counts(&*one, &["r"]).await[0]
        })
    });
    let mut counts: Vec<_> = join_all(all).await.into_iter().map(Result::unwrap).collect();
    counts.sort_unstable();
    // Of the first k who counted, each had entered before: k of them cannot all have seen fewer than k.
    assert!(counts.iter().enumerate().all(|(index, count)| *count > index as u64), "{counts:?}");
    let asked = counted(&metrics, "miss") + counted(&metrics, "wait") + counted(&metrics, "hit");
    assert!(asked >= 200, "{asked}");
}

#[tokio::test]
async fn what_cannot_be_counted_is_told_and_counted_when_it_can() {
    let mut redis = Redis::start().await;
    let commands = Commands::new(&redis.url(), &support::config(&[]).redis).unwrap();
    let formats = gateway_core::formats::Formats::new(gateway_core::formats::Format::NEWEST);
    let presence = Arc::new(RedisPresence::new(commands, "test", "one", &settings(), formats));
    let kept = KeptPresence::new(presence, LONG, Arc::new(Metrics::new()));
    redis.stop().await;
    let error = kept.count(&[room("r")]).await.unwrap_err();
    assert_eq!((error.port, error.operation), (Port::Presence, "count"), "{error}");
    redis.start_again().await;
    eventually("it is counted", || async { kept.count(&[room("r")]).await.is_ok_and(|counts| counts == [0]) }).await;
}

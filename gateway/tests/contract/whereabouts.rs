//! The contract of the whereabouts of nodes.

use std::sync::Arc;
use std::time::Duration;

use gateway_core::config::Secret;
use gateway_core::port::{ErrorKind, Port};
use gateway_core::redis::Commands;
use gateway_core::whereabouts::{RedisWhereabouts, Whereabout, Whereabouts};

use crate::support::redis::Redis;
use crate::support::{self, eventually};

const LONG: Duration = Duration::from_secs(60);

fn at(name: &str, address: &str) -> Whereabout {
    Whereabout { name: name.to_owned(), address: address.to_owned() }
}

fn secret(text: &str) -> Secret {
    Secret::from(text.to_owned())
}

/// Notes a node and returns all that are noted, in the order of their names.
async fn note(store: &dyn Whereabouts, me: &Whereabout, kept: Duration) -> Vec<Whereabout> {
    let mut nodes = store.note(me, kept, &secret("late")).await.unwrap().nodes;
    nodes.sort_by(|one, other| one.name.cmp(&other.name));
    nodes
}

async fn the_contract(one: &dyn Whereabouts, two: &dyn Whereabouts) {
    let (a, b) = (at("a", "10.0.0.1:9100"), at("b", "node-b.example:9100"));
    let first = one.note(&a, LONG, &secret("first")).await.unwrap();
    assert_eq!((first.secret, first.nodes), (secret("first"), vec![a.clone()]));
    let second = two.note(&b, LONG, &secret("second")).await.unwrap();
    assert_eq!(second.secret, secret("first"), "the first one said it");
    assert_eq!(note(one, &a, LONG).await, [a.clone(), b.clone()]);
    // Who says so again may have moved.
    let moved = at("b", "[2001:db8::1]:9100");
    assert_eq!(note(two, &moved, LONG).await, [a.clone(), moved.clone()]);
    one.forget("b").await.unwrap();
    one.forget("nobody").await.unwrap();
    assert_eq!(note(one, &a, LONG).await, std::slice::from_ref(&a));
    note(two, &b, Duration::from_millis(50)).await;
    eventually("who says nothing more is not there", || async { note(one, &a, LONG).await == [a.clone()] }).await;
}

fn whereabouts(redis: &Redis, prefix: &str) -> Arc<RedisWhereabouts> {
    let commands = Commands::new(&redis.url(), &support::config(&[]).redis).unwrap();
    Arc::new(RedisWhereabouts::new(commands, prefix))
}

#[tokio::test]
async fn redis() {
    let mut redis = Redis::start().await;
    let (one, two) = (whereabouts(&redis, "shared"), whereabouts(&redis, "shared"));
    the_contract(&*one, &*two).await;
    let stranger = whereabouts(&redis, "other").note(&at("a", "x:1"), LONG, &secret("other")).await.unwrap();
    assert_eq!((stranger.secret, stranger.nodes.len()), (secret("other"), 1), "deployments are apart");
    let left: i64 = redis.command("PTTL shared:whereabouts").await.trim().trim_start_matches(':').parse().unwrap();
    assert!(left > 0, "nothing is kept for ever: {left}");
    // What somebody else left there is nobody.
    redis.command("HSET shared:whereabouts n:c rubbish x y").await;
    assert_eq!(note(&*one, &at("a", "10.0.0.1:9100"), LONG).await.len(), 1);
    redis.command("SET bad:whereabouts occupied").await;
    let bad = whereabouts(&redis, "bad");
    let mut errors =
        vec![(bad.note(&at("a", "x:1"), LONG, &secret("s")).await.unwrap_err(), "note", ErrorKind::Permanent)];
    errors.push((bad.forget("a").await.unwrap_err(), "forget", ErrorKind::Permanent));
    redis.stop().await;
    errors.push((one.note(&at("a", "x:1"), LONG, &secret("s")).await.unwrap_err(), "note", ErrorKind::Transient));
    errors.push((one.forget("a").await.unwrap_err(), "forget", ErrorKind::Transient));
    for (error, operation, kind) in errors {
        assert_eq!((error.port, error.operation, error.kind), (Port::Whereabouts, operation, kind), "{error}");
    }
}

//! The contract of the answers that nodes share.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use gateway_core::answers::{Answers, Recalled, RedisAnswers, Times};
use gateway_core::port::{ErrorKind, Port};
use gateway_core::redis::Commands;

use crate::support::redis::Redis;
use crate::support::{self, eventually};

const LONG: Duration = Duration::from_secs(3_600);
const SHORT: Duration = Duration::from_millis(300);
const GOOD: Times = Times { good: LONG, old: LONG };

async fn one_asks_and_all_have_what_it_learned(one: &dyn Answers, two: &dyn Answers) {
    assert_eq!(one.recall("a", 1, LONG).await.unwrap(), Recalled::Yours);
    assert_eq!(two.recall("a", 2, LONG).await.unwrap(), Recalled::Asked);
    one.keep("a", 1, "[\"ä\\u0000\"]", GOOD).await.unwrap();
    for store in [one, two] {
        let Recalled::Good(answer, left) = store.recall("a", 3, LONG).await.unwrap() else { panic!("it is not good") };
        assert_eq!(answer, "[\"ä\\u0000\"]");
        assert!(left <= LONG && left > LONG - support::PATIENCE, "{left:?}");
    }
    assert_eq!(two.recall("b", 2, LONG).await.unwrap(), Recalled::Yours, "each name for itself");
}

async fn of_a_hundred_one_asks(one: &dyn Answers, two: &dyn Answers) {
    let all = (0..100).map(|turn| async move {
        let store = if turn % 2 == 0 { one } else { two };
        store.recall("crowd", turn, LONG).await.unwrap()
    });
    let recalled = join_all(all).await;
    assert_eq!(recalled.iter().filter(|recalled| **recalled == Recalled::Yours).count(), 1);
    assert_eq!(recalled.iter().filter(|recalled| **recalled == Recalled::Asked).count(), 99);
}

async fn what_is_old_is_given_while_one_asks(one: &dyn Answers, two: &dyn Answers) {
    assert_eq!(one.recall("old", 1, LONG).await.unwrap(), Recalled::Yours);
    one.keep("old", 1, "1", Times { good: Duration::from_millis(1), old: LONG }).await.unwrap();
    // The first who finds that it is not good any more has the turn.
    eventually("it is old", || async { one.recall("old", 2, LONG).await.unwrap() == Recalled::Yours }).await;
    assert_eq!(two.recall("old", 3, LONG).await.unwrap(), Recalled::Old("1".into()));
    one.give_up("old", 2).await.unwrap();
    assert_eq!(two.recall("old", 3, LONG).await.unwrap(), Recalled::Yours, "who had the turn has given it back");
    assert_eq!(one.recall("old", 4, LONG).await.unwrap(), Recalled::Old("1".into()), "and what was there stays");
    two.keep("old", 3, "2", GOOD).await.unwrap();
    assert!(matches!(one.recall("old", 4, LONG).await.unwrap(), Recalled::Good(answer, _) if answer == "2"));
}

async fn who_says_nothing_loses_the_turn_and_is_late(one: &dyn Answers, two: &dyn Answers) {
    assert_eq!(one.recall("late", 1, SHORT).await.unwrap(), Recalled::Yours);
    eventually("the lease is over", || async { two.recall("late", 2, LONG).await.unwrap() == Recalled::Yours }).await;
    one.keep("late", 1, "1", GOOD).await.unwrap();
    one.give_up("late", 1).await.unwrap();
    assert_eq!(one.recall("late", 3, LONG).await.unwrap(), Recalled::Asked, "it is the other's");
    two.keep("late", 2, "2", GOOD).await.unwrap();
    assert!(matches!(one.recall("late", 3, LONG).await.unwrap(), Recalled::Good(answer, _) if answer == "2"));
}

async fn its_time_is_over(store: &dyn Answers) {
    assert_eq!(store.recall("over", 1, LONG).await.unwrap(), Recalled::Yours);
    store.keep("over", 1, "1", Times { good: SHORT, old: Duration::ZERO }).await.unwrap();
    eventually("nothing is left", || async { store.recall("over", 2, LONG).await.unwrap() == Recalled::Yours }).await;
    assert_eq!(store.recall("over", 3, LONG).await.unwrap(), Recalled::Asked, "not what was there before");
}

async fn an_old_answer_ends_in_its_time_whoever_asks_meanwhile(store: &dyn Answers) {
    assert_eq!(store.recall("ends", 1, LONG).await.unwrap(), Recalled::Yours);
    store.keep("ends", 1, "1", Times { good: Duration::from_millis(1), old: SHORT }).await.unwrap();
    eventually("it is old", || async { store.recall("ends", 2, LONG).await.unwrap() == Recalled::Yours }).await;
    eventually("nothing is left", || async { store.recall("ends", 3, LONG).await.unwrap() == Recalled::Asked }).await;
}

async fn the_contract(one: &dyn Answers, two: &dyn Answers) {
    one_asks_and_all_have_what_it_learned(one, two).await;
    of_a_hundred_one_asks(one, two).await;
    what_is_old_is_given_while_one_asks(one, two).await;
    who_says_nothing_loses_the_turn_and_is_late(one, two).await;
    its_time_is_over(one).await;
    an_old_answer_ends_in_its_time_whoever_asks_meanwhile(one).await;
}

fn redis_answers(redis: &Redis, prefix: &str) -> Arc<RedisAnswers> {
    let commands = Commands::new(&redis.url(), &support::config(&[]).redis).unwrap();
    Arc::new(RedisAnswers::new(commands, prefix))
}

#[tokio::test]
async fn redis() {
    let mut redis = Redis::start().await;
    let (one, two) = (redis_answers(&redis, "shared"), redis_answers(&redis, "shared"));
    the_contract(&*one, &*two).await;
    let stranger = redis_answers(&redis, "other");
    assert_eq!(stranger.recall("a", 1, LONG).await.unwrap(), Recalled::Yours, "deployments are apart");
    // Nothing is kept for ever: not what is kept, nor the turn of who has died.
    for key in ["shared:answer:a", "other:answer:a"] {
        let left: i64 = redis.command(&format!("PTTL {key}")).await.trim().trim_start_matches(':').parse().unwrap();
        assert!(left > 0 && left <= 2 * LONG.as_millis() as i64, "{key}: {left}");
    }
    redis.command("SET bad:answer:a occupied").await;
    let bad = redis_answers(&redis, "bad");
    let mut errors = vec![(bad.recall("a", 1, LONG).await.unwrap_err(), "recall", ErrorKind::Permanent)];
    redis.stop().await;
    errors.push((one.recall("a", 1, LONG).await.unwrap_err(), "recall", ErrorKind::Transient));
    errors.push((one.keep("a", 1, "1", GOOD).await.unwrap_err(), "keep", ErrorKind::Transient));
    errors.push((one.give_up("a", 1).await.unwrap_err(), "give_up", ErrorKind::Transient));
    for (error, operation, kind) in errors {
        assert_eq!((error.port, error.operation, error.kind), (Port::Answers, operation, kind), "{error}");
    }
}

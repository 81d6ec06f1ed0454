//! A node whose feed is behind: whoever comes with an offset has what it says it has, wherever the node stands.

use std::sync::Arc;

use gateway_core::domain::Offset;
use gateway_core::log::{Log, MemoryLog, Retention, Terms};
use gateway_core::node::{Entrance, Unrecovered};
use gateway_core::supervisor::Supervisor;

use crate::by_hand::{World, event, room};
use crate::support::{self, eventually};

#[tokio::test]
async fn who_is_told_of_a_gap_is_not_handed_again_what_it_has() {
    // Nothing fits into a replay: who misses something is told so.
    let config = support::config(&[("GATEWAY_RECOVERY__MAX_BYTES", "1")]);
    let (events, kept) = (config.log.room_events, config.log.room_retention);
    let log = Arc::new(MemoryLog::new(Retention::of_events(events, kept, config.log.dedupe_window)));
    let world = World::new(config, log.clone());
    let say = async |name: &str| log.append(&room("r"), &event(name, "[]"), Terms::default()).await.unwrap().position;
    let via = "join".into();
    let entrance = |after| Entrance { via: &via, after, partial: false, seat: None };
    let (early, hears_all) = world.session();
    world.node.join(&early, &room("r"), &entrance(None)).await.unwrap();
    say("1").await;
    let has = say("2").await.offset;
    say("3").await;
    // The room stands where the first member came: nothing of this was dispatched.
    let (late, hears) = world.session();
    let joined = world.node.join(&late, &room("r"), &entrance(Some(has))).await.unwrap();
    assert_eq!((joined.offset, joined.recovered), (has, Some(Err(Unrecovered::TooMuch))));
    let (stranger, hears_from_here) = world.session();
    let from_nowhere = world.node.join(&stranger, &room("r"), &entrance(Some(Offset(u64::MAX)))).await.unwrap();
    assert_eq!(from_nowhere.recovered, Some(Err(Unrecovered::Offset)), "what it says cannot be");
    world.node.run("node", &world.config, &Supervisor::default());
    eventually("everything is fanned out", || async { hears_all.names() == ["1", "2", "3"] }).await;
    eventually("the rest of it", || async { hears.names() == ["3"] }).await;
    eventually("all of it", || async { hears_from_here.names() == ["1", "2", "3"] }).await;
}

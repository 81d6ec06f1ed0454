//! Joins for which a part of what was said will do: what is missing is told, before what is there.

use std::sync::Arc;
use std::time::Duration;

use gateway_core::domain::{Mark, Offset, Pid};
use gateway_core::log::{Log, MemoryLog, Retention, Terms};
use gateway_core::node::{Entrance, Unrecovered, wanted};
use gateway_core::sessions::{Lease, Sessions};
use serde_json::{Value, json};

use crate::by_hand::{World, event, room};
use crate::support::client::Client;
use crate::support::{self, node};

/// The log has 5 of 8, and a replay has room for 5 or 3.
#[tokio::test]
async fn what_is_missing_is_told_and_what_is_there_follows() {
    for (most, why, has) in [("5", Unrecovered::Retention, 5), ("3", Unrecovered::Retention, 3)] {
        let hour = Duration::from_secs(3600);
        let log = Arc::new(MemoryLog::new(Retention::of_events(5, hour, hour)));
        let world = World::new(support::config(&[("GATEWAY_RECOVERY__MAX_EVENTS", most)]), log.clone());
        let mut said = Vec::new();
        for number in 0..8 {
            let one = event(&format!("e{number}"), "[]");
            said.push(log.append(&room("r"), &one, Terms::default()).await.unwrap().position.offset);
        }
        let pid = Pid::random();
        let (session, hears) = world.session_of(pid);
        let via: Arc<str> = "join".into();
        let entrance = |after: Offset| Entrance { via: &via, after: Some(after), partial: true, seat: None };
        let joined = world.node.join(&session, &room("r"), &entrance(said[0])).await.unwrap();
        assert_eq!(joined.recovered, Some(Err(why)), "{most}");
        let heard = hears.all();
        // Before the oldest that the log has, or the last that there was no room for.
        let through = if most == "5" { Offset(said[3].0 - 1) } else { said[4] };
        let gap = json!({ "room": "r", "reason": why.reason(), "through": through });
        assert_eq!((&heard[0][0], &heard[0][1]), (&json!("gateway:gap"), &gap), "{heard:?}");
        assert_eq!(hears.names(), (8 - has..8).map(|number| format!("e{number}")).collect::<Vec<_>>());
        let end = heard.last().unwrap();
        assert_eq!((&end[0], &end[1]), (&json!("gateway:replayed"), &json!({ "room": "r", "events": has })));

        // What is asked again, and what is stored, says so too.
        let again = world.node.join(&session, &room("r"), &entrance(said[0])).await.unwrap();
        assert_eq!(again.recovered, Some(Err(Unrecovered::Retention)));
        let from = world.node.join(&session, &room("r"), &entrance(through)).await.unwrap();
        assert_eq!(from.recovered, Some(Ok(())), "it has everything from there on");
        let stored = world.sessions.claim(Lease::new(pid), "/", None).await.unwrap().unwrap();
        let end = Mark::parse(end[2].as_str().unwrap()).unwrap();
        assert_eq!(wanted(&stored, Mark::default()).unwrap_err(), Unrecovered::Interrupted, "it heard nothing of it");
        assert_eq!(wanted(&stored, end).unwrap()[0].complete_from, through);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_everything_is_told_of_nothing_missing() {
    let hour = Duration::from_secs(3600);
    let log = Arc::new(MemoryLog::new(Retention::of_events(5, hour, hour)));
    let world = World::new(support::config(&[]), log.clone());
    let mut said = Vec::new();
    for number in 0..8 {
        let one = event(&format!("e{number}"), "[]");
        said.push(log.append(&room("r"), &one, Terms::default()).await.unwrap().position.offset);
    }
    let (session, hears) = world.session();
    let entrance = Entrance { via: &"join".into(), after: Some(said[3]), partial: true, seat: None };
    let joined = world.node.join(&session, &room("r"), &entrance).await.unwrap();
    assert_eq!(joined.recovered, Some(Ok(())));
    assert_eq!(hears.notices("gateway:gap"), Vec::<Value>::new());
    assert_eq!(hears.names(), ["e4", "e5", "e6", "e7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_that_remembers_says_what_it_does_not() {
    let node = node(&[("GATEWAY_PROFILE", "persistent-chat"), ("GATEWAY_LOG__ROOM_EVENTS", "5")]).await;
    let mut speaker = Client::connect(node.address).await;
    for number in 0..40 {
        speaker.send(&format!("42{}", json!(["chat message", format!("text {number}")]))).await;
    }
    let mut offsets = Vec::new();
    while offsets.len() < 40 {
        // Who wants all that was ever said is told that nobody knows what was said before the log began.
        let event = speaker.event().await;
        if event[0] == "chat message" {
            offsets.push(event[2].as_str().unwrap().to_owned());
        }
    }
    let auth = json!({ "serverOffset": offsets[1] });
    let mut client = Client::try_connect(node.address, auth).await.unwrap();
    let gap = client.event().await;
    assert_eq!(
        (&gap[0], &gap[1]["room"], &gap[1]["reason"]),
        (&json!("gateway:gap"), &json!("chat"), &json!("retention"))
    );
    let first: u64 = client.event().await[2].as_str().unwrap().parse().unwrap();
    let through: u64 = gap[1]["through"].as_str().unwrap().parse().unwrap();
    assert_eq!(first, through + 1, "what comes is everything from there on");
    assert_eq!(first.to_string(), offsets[35]);
}

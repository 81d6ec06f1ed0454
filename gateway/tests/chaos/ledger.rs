//! The server's own records, compared with what members heard and with who is there.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::books::{Stamp, Wrong};
use super::client::{room_name, user_name};
use super::heard::read_stamp;
use super::plan::NODES;
use super::run::Run;
use super::support::client::Client;

/// How long the presence of those who left may outlive them: the default lease of a node, and a beat.
pub(super) const LEASE: Duration = Duration::from_secs(15 + 5 + 5);

/// Reads the history of every room, and who is in it, through an ordinary member, each room's on another node than the
/// last one's.
pub(crate) async fn compare(run: &Run, token: &dyn Fn(u32) -> String) {
    let mut members = Vec::new();
    for node in 0..NODES {
        members.push(come(run, node, &token(0)).await);
    }
    for room in 0..run.settings.rooms {
        let member = &mut members[room % NODES];
        member.join(&room_name(room)).await;
        match read(member, room).await {
            Ok(history) => run.audit.lock().rooms[room].compare(&history),
            Err(answer) => {
                let note = format!("history cannot be read: {answer}");
                run.audit.lock().find(Wrong::Contradiction, 0, Some(room), note);
            }
        }
    }
    let deadline = Instant::now() + LEASE;
    for room in 0..run.settings.rooms {
        let member = &mut members[room % NODES];
        let mut expected: BTreeSet<String> =
            (0..run.settings.clients).filter(|client| run.rooms_of(*client).contains(&room)).map(user_name).collect();
        expected.insert(user_name(0));
        loop {
            let listed = present(member, room).await;
            if listed.as_ref().is_ok_and(|listed| *listed == expected) {
                break;
            }
            if Instant::now() >= deadline {
                let note = format!("presence lists {listed:?} instead of {expected:?}");
                run.audit.lock().find(Wrong::Contradiction, 0, Some(room), note);
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Comes to a node, or to another one if it has more than its share.
async fn come(run: &Run, node: usize, token: &str) -> Client {
    let deadline = Instant::now() + LEASE;
    for number in node.. {
        let address = run.cluster.address(number % NODES).expect("every node is up again");
        match Client::try_connect(address, json!({ "token": token })).await {
            Ok(client) => return client,
            Err(refused) => assert!(Instant::now() < deadline, "no node lets anybody in: {refused}"),
        }
        sleep(Duration::from_millis(100)).await;
    }
    unreachable!("there is no last number")
}

/// The users that are in a room, page by page.
async fn present(member: &mut Client, room: usize) -> Result<BTreeSet<String>, Value> {
    let mut listed = BTreeSet::new();
    let mut argument = json!({ "room": room_name(room), "limit": 7 });
    loop {
        let answer = member.ask("presence", argument.clone()).await;
        for entry in answer["members"].as_array().ok_or_else(|| answer.clone())? {
            listed.insert(entry["user"].as_str().ok_or_else(|| answer.clone())?.to_owned());
        }
        match answer.get("next") {
            Some(next) => argument["after"] = next.clone(),
            None if answer["count"] == json!(listed.len()) => return Ok(listed),
            None => return Err(answer),
        }
    }
}

/// All that the room still has, oldest first.
async fn read(member: &mut Client, room: usize) -> Result<Vec<(u64, Stamp)>, Value> {
    let mut history = Vec::new();
    let mut argument = json!({ "room": room_name(room), "limit": 100 });
    loop {
        let answer = member.ask("history", argument.clone()).await;
        let mut page = Vec::new();
        for event in answer["events"].as_array().ok_or_else(|| answer.clone())? {
            let offset = event["offset"].as_str().and_then(|offset| offset.parse().ok());
            page.push(offset.zip(read_stamp(&event["args"][0]["data"])).ok_or_else(|| answer.clone())?);
        }
        let oldest: Option<u64> = page.first().map(|(offset, _)| *offset);
        page.append(&mut history);
        history = page;
        match (answer["more"] == true, oldest) {
            (true, Some(oldest)) => argument["before"] = json!(oldest.to_string()),
            _ => return Ok(history),
        }
    }
}

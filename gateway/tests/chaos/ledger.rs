//! The server's own record, compared with what members heard.

use serde_json::{Value, json};

use super::books::{Stamp, Wrong};
use super::client::room_name;
use super::heard::read_stamp;
use super::plan::NODES;
use super::run::Run;
use super::support::client::Client;

/// Reads the history of every room through an ordinary member, each room's on another node than the last one's.
pub(crate) async fn compare(run: &Run, token: &dyn Fn(u32) -> String) {
    let mut members = Vec::new();
    for node in 0..NODES {
        let address = run.cluster.address(node).expect("every node is up again");
        members.push(Client::try_connect(address, json!({ "token": token(0) })).await.unwrap());
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

//! A back end that reads what rooms say over HTTP, page by page, from whichever node: it must get what members hear.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::Value;
use tokio::time::sleep;

use super::books::Wrong;
use super::caller::Caller;
use super::client::room_name;
use super::heard::{RETRY, TRANSIENT, read_offset, read_stamp};
use super::plan::about;
use super::run::{Phase, Run};
use super::speaker::path_of;
use super::trail::Step;

/// How many events it asks for at the most. Few, so that there are many pages.
const PAGE: usize = 10;
/// How long it waits once it has read all rooms, in the middle.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) struct Reader {
    /// Counted on from the clients and the speakers.
    id: u32,
    run: Arc<Run>,
    random: StdRng,
    caller: Caller,
    /// How far it has read each room; nothing until the room has something.
    read: Vec<Option<u64>>,
}

impl Reader {
    pub(crate) fn new(id: u32, run: Arc<Run>, key: &str) -> Self {
        let random = run.settings.random(1 + u64::from(id));
        let read = vec![None; run.settings.rooms];
        Self { id, caller: Caller::new(run.clone(), key), run, random, read }
    }

    pub(crate) async fn live(mut self) {
        while self.run.phase() != Phase::Over {
            for room in 0..self.read.len() {
                while self.run.phase() != Phase::Over && self.turn_page(room).await {}
            }
            sleep(about(&mut self.random, PAUSE)).await;
        }
    }

    /// Reads what comes next in a room; whether there may be more.
    async fn turn_page(&mut self, room: usize) -> bool {
        let limit = self.random.random_range(1..=PAGE);
        let after = self.read[room].map(|read| format!("&after={read}")).unwrap_or_default();
        let path = format!("{}?limit={limit}{after}", path_of(room));
        let (status, answer) = match self.caller.ask(&mut self.random, "GET", &path, "").await {
            Ok(answer) => answer,
            Err(why) => {
                self.run.audit.lock().tally("asked in vain", &why);
                sleep(RETRY).await;
                return true;
            }
        };
        if status != 200 {
            let code = answer["code"].as_str().unwrap_or("no code");
            self.run.audit.lock().tally("refused", &format!("page {code}"));
            if !TRANSIENT.contains(&code) {
                self.find(room, format!("a page was answered with {status}: {answer}"));
            }
            sleep(answer["retryAfterMs"].as_u64().map_or(RETRY, Duration::from_millis)).await;
            return true;
        }
        self.take(room, limit, &answer)
    }

    fn take(&mut self, room: usize, limit: usize, answer: &Value) -> bool {
        let events: Option<Vec<_>> = answer["events"].as_array().and_then(|events| events.iter().map(read).collect());
        let Some(events) = events.filter(|events| events.len() <= limit) else {
            self.find(room, format!("no page of {limit} in {}: {answer}", room_name(room)));
            return false;
        };
        let mut audit = self.run.audit.lock();
        audit.tally("pages", if events.is_empty() { "empty" } else { "read" });
        match self.read[room] {
            Some(_) if answer["complete"] == true => {}
            // It is told that something since what it read is not there any more: before this page, or within it.
            Some(after) => {
                audit.tally("gaps announced", "to a reader");
                audit.note(self.id, Step::Gap { room, reason: None });
                let through = read_offset(&answer["readTo"]).max(events.last().map(|(offset, _)| *offset));
                audit.rooms[room].gap_between(self.id, after, through.unwrap_or(after));
            }
            None => {
                let Some((first, _)) = events.first() else { return false };
                audit.note(self.id, Step::Joined { room, offset: first - 1, recovered: None });
                audit.rooms[room].joined(self.id, first - 1);
            }
        }
        for (offset, stamp) in &events {
            audit.heard(self.id, room, *stamp, *offset, false);
        }
        let last = events.last().map(|(offset, _)| *offset);
        // Where reading goes on may lie behind what was read: in between is nothing that could be read.
        self.read[room] = read_offset(&answer["readTo"]).max(last).max(self.read[room]);
        answer["more"] == true && last.is_some()
    }

    fn find(&self, room: usize, note: String) {
        self.run.audit.lock().find(Wrong::Contradiction, self.id, Some(room), note);
    }
}

fn read(event: &Value) -> Option<(u64, super::books::Stamp)> {
    read_offset(&event["offset"]).zip(read_stamp(&event["args"][0]["data"]))
}

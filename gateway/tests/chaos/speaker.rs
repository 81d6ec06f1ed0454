//! A back end that publishes over HTTP: each event under an id, again and again until a node says that it is kept.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::books::{Stamp, Wrong};
use super::caller::Caller;
use super::client::room_name;
use super::heard::{RETRY, TRANSIENT, read_offset};
use super::plan::about;
use super::run::{Phase, Run};
use super::trail::Step;

/// How long it waits between two events, in the middle.
const PAUSE: Duration = Duration::from_millis(150);
/// How often it looks whether it should speak.
const TICK: Duration = Duration::from_millis(100);

pub(crate) struct Speaker {
    /// Counted on from the clients.
    id: u32,
    run: Arc<Run>,
    random: StdRng,
    caller: Caller,
    said: u32,
}

impl Speaker {
    pub(crate) fn new(id: u32, run: Arc<Run>, key: &str) -> Self {
        let random = run.settings.random(1 + u64::from(id));
        Self { id, caller: Caller::new(run.clone(), key), run, random, said: 0 }
    }

    pub(crate) async fn live(mut self) {
        loop {
            match self.run.phase() {
                Phase::Over => return,
                Phase::Chaos => {
                    self.say().await;
                    sleep(about(&mut self.random, PAUSE)).await;
                }
                Phase::Quiet | Phase::Markers(_) => sleep(TICK).await,
            }
        }
    }

    async fn say(&mut self) {
        let clients = self.run.settings.clients;
        let rooms = self.run.rooms_of(self.random.random_range(0..clients));
        let room = rooms[self.random.random_range(0..rooms.len())];
        let stamp = Stamp { publisher: self.id, number: self.said };
        self.said += 1;
        let padding = "x".repeat(self.random.random_range(0..1_000));
        let data = json!({ "p": stamp.publisher, "n": stamp.number, "padding": padding });
        let body = json!({
            "event": "message",
            "data": { "room": room_name(room), "data": data },
            "id": format!("{}-{}", stamp.publisher, stamp.number),
        });
        let path = path_of(room);
        let mut is_first = true;
        while self.run.phase() != Phase::Over {
            {
                let mut audit = self.run.audit.lock();
                audit.note(self.id, Step::Sent { room, number: stamp.number });
                audit.rooms[room].sent(stamp);
            }
            let answer = self.caller.ask(&mut self.random, "POST", &path, &body.to_string()).await;
            match self.take(room, stamp, is_first, answer) {
                Some(pause) => sleep(pause).await,
                None => return,
            }
            is_first = false;
        }
    }

    /// How long to wait before asking again, if that is needed.
    fn take(
        &self,
        room: usize,
        stamp: Stamp,
        is_first: bool,
        answer: Result<(u16, Value), String>,
    ) -> Option<Duration> {
        let mut audit = self.run.audit.lock();
        let (status, answer) = match answer {
            Ok(answer) => answer,
            Err(why) => {
                audit.tally("asked in vain", &why);
                return Some(RETRY);
            }
        };
        if let (201, Some(offset), Some(duplicate)) =
            (status, read_offset(&answer["offset"]), answer["duplicate"].as_bool())
        {
            audit.tally("acknowledged", if duplicate { "over HTTP, again" } else { "over HTTP" });
            audit.note(self.id, Step::Kept { room, number: stamp.number, offset });
            audit.rooms[room].acknowledged(stamp, offset);
            if duplicate && is_first {
                let note = format!("{stamp:?} was said once and is a duplicate");
                audit.find(Wrong::Contradiction, self.id, Some(room), note);
            }
            return None;
        }
        let code = answer["code"].as_str().unwrap_or("no code").to_owned();
        audit.tally("refused", &format!("over HTTP {code}"));
        if !TRANSIENT.contains(&code.as_str()) {
            let note = format!("a publish over HTTP was answered with {status}: {answer}");
            audit.find(Wrong::Contradiction, self.id, Some(room), note);
        }
        audit.note(self.id, Step::Refused { room, code });
        Some(answer["retryAfterMs"].as_u64().map_or(RETRY, Duration::from_millis))
    }
}

/// Where the events of a room are.
pub(super) fn path_of(room: usize) -> String {
    format!("/api/v1/rooms/{}/events", room_name(room).replace(' ', "%20"))
}

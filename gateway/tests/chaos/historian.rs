//! A back end that reads all that a room ever said over HTTP, page by page from whichever node, from one end to the other:
//! out of the archive into the log or the other way, while the one moves into the other.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::Value;
use tokio::time::sleep;

use super::books::{Reading, Stamp, Wrong};
use super::caller::Caller;
use super::heard::{RETRY, TRANSIENT, read_offset, read_stamp};
use super::plan::about;
use super::run::{Phase, Run};
use super::speaker::path_of;

/// How many events it asks for at the most.
const PAGE: usize = 25;
/// How long it waits before it reads another room, in the middle.
const PAUSE: Duration = Duration::from_millis(200);

pub(crate) struct Historian {
    /// Counted on from all others.
    id: u32,
    run: Arc<Run>,
    random: StdRng,
    caller: Caller,
    rooms: Vec<usize>,
}

/// One page.
struct Page {
    events: Vec<(u64, Stamp)>,
    more: bool,
    complete: bool,
    read_to: Option<u64>,
}

impl Historian {
    pub(crate) fn new(id: u32, run: Arc<Run>, key: &str) -> Self {
        let random = run.settings.random(1 + u64::from(id));
        let rooms = run.settings.archived_rooms();
        Self { id, caller: Caller::new(run.clone(), key), run, random, rooms }
    }

    pub(crate) async fn live(mut self) {
        while let Some(room) = self.rooms.choose(&mut self.random).copied() {
            let upto = self.run.audit.lock().rooms[room].newest();
            let read = match self.random.random() {
                true => self.forwards(room, upto).await,
                false => self.backwards(room, upto).await,
            };
            if self.run.phase() == Phase::Over {
                return;
            }
            if let Some(reading) = read {
                let mut audit = self.run.audit.lock();
                audit.tally("walks", if reading.backwards { "backwards" } else { "forwards" });
                if !reading.excused.is_empty() {
                    audit.tally("walks", "with a gap");
                }
                // The log has hardly more of a room than it has to keep: Redis lets events go in parts of some kilobytes.
                if reading.entries.len() > 2 * self.run.settings.log_events {
                    audit.tally("walks", "over the seam");
                }
                audit.rooms[room].read(self.id, &reading);
            }
            sleep(about(&mut self.random, PAUSE)).await;
        }
    }

    async fn forwards(&mut self, room: usize, upto: u64) -> Option<Reading> {
        let mut reading = Reading { upto, ..Reading::default() };
        let mut after = 0;
        loop {
            let page = self.turn_page(room, &format!("&after={after}")).await?;
            let read_to = page.read_to.max(page.events.last().map(|(offset, _)| *offset)).unwrap_or(after);
            if !page.complete {
                reading.excused.push((after + 1, if page.more { read_to } else { u64::MAX }));
            }
            reading.entries.extend(page.events);
            if !page.more {
                return Some(reading);
            }
            if read_to <= after {
                self.find(room, format!("there is more after {after}, but a page with more ends at {read_to}"));
                return None;
            }
            after = read_to;
        }
    }

    async fn backwards(&mut self, room: usize, upto: u64) -> Option<Reading> {
        let mut reading = Reading { upto, backwards: true, ..Reading::default() };
        let (mut before, mut pages) = (None, Vec::new());
        loop {
            let bound = before.map(|before| format!("&before={before}")).unwrap_or_default();
            let page = self.turn_page(room, &bound).await?;
            let first = page.events.first().map(|(offset, _)| *offset);
            if !page.complete {
                let last = before.map_or(u64::MAX, |before: u64| before - 1);
                reading.excused.push((first.filter(|_| page.more).unwrap_or(0), last));
            }
            pages.push(page.events);
            if !page.more {
                reading.entries = pages.into_iter().rev().flatten().collect();
                return Some(reading);
            }
            if first.is_none() || first >= before.or(Some(u64::MAX)) {
                self.find(room, format!("there is more before {before:?}, but a page with more begins at {first:?}"));
                return None;
            }
            before = first;
        }
    }

    /// A page, asked for until some node has it; nothing when the run is over, or it is none.
    async fn turn_page(&mut self, room: usize, bound: &str) -> Option<Page> {
        let limit = self.random.random_range(1..=PAGE);
        let path = format!("{}?limit={limit}{bound}", path_of(room));
        while self.run.phase() != Phase::Over {
            let (status, answer) = match self.caller.ask(&mut self.random, "GET", &path, "").await {
                Ok(answer) => answer,
                Err(why) => {
                    self.run.audit.lock().tally("asked in vain", &why);
                    sleep(RETRY).await;
                    continue;
                }
            };
            if status == 200 {
                let page = read(&answer).filter(|page| page.events.len() <= limit);
                if page.is_none() {
                    self.find(room, format!("no page of {limit}: {answer}"));
                }
                return page;
            }
            let code = answer["code"].as_str().unwrap_or("no code");
            self.run.audit.lock().tally("refused", &format!("page of a walk {code}"));
            if !TRANSIENT.contains(&code) {
                self.find(room, format!("a page was answered with {status}: {answer}"));
                return None;
            }
            sleep(answer["retryAfterMs"].as_u64().map_or(RETRY, Duration::from_millis)).await;
        }
        None
    }

    fn find(&self, room: usize, note: String) {
        self.run.audit.lock().find(Wrong::Contradiction, self.id, Some(room), note);
    }
}

fn read(answer: &Value) -> Option<Page> {
    let event = |event: &Value| read_offset(&event["offset"]).zip(read_stamp(&event["args"][0]["data"]));
    Some(Page {
        events: answer["events"].as_array()?.iter().map(event).collect::<Option<_>>()?,
        more: answer["more"].as_bool()?,
        // Who reads backwards within the log is told nothing of it.
        complete: answer["complete"] != false,
        read_to: read_offset(&answer["readTo"]),
    })
}

//! A back end that listens to a room as a stream of server-sent events, breaks off, and comes back by its last event's id, to
//! whichever node: it must hear what members hear.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

use super::books::Wrong;
use super::caller::Caller;
use super::heard::{RETRY, read_offset, read_stamp};
use super::http::connect;
use super::plan::{NODES, about};
use super::run::{Phase, Run};
use super::speaker::path_of;
use super::trail::Step;

/// How long it listens to one node, in the middle.
const STAYS: Duration = Duration::from_secs(5);
/// How long it waits before it comes back, in the middle.
const PAUSE: Duration = Duration::from_millis(100);
/// After how long without a sign of life a stream is dead: several times what nodes take for one.
const SILENCE: Duration = Duration::from_secs(8);
/// Statuses after which the same request may succeed.
const TRANSIENT: [u16; 2] = [429, 503];

pub(crate) struct Follower {
    /// Counted on from the clients, the speakers and the readers.
    id: u32,
    run: Arc<Run>,
    random: StdRng,
    caller: Caller,
    key: String,
    room: usize,
    /// The last event that it heard, or the one after which it began.
    stands: Option<u64>,
}

impl Follower {
    pub(crate) fn new(id: u32, run: Arc<Run>, key: &str) -> Self {
        let mut random = run.settings.random(1 + u64::from(id));
        let rooms = run.rooms_of(random.random_range(0..run.settings.clients));
        let room = rooms[random.random_range(0..rooms.len())];
        Self { id, caller: Caller::new(run.clone(), key), key: key.to_owned(), run, random, room, stands: None }
    }

    pub(crate) async fn live(mut self) {
        while self.run.phase() != Phase::Over {
            let ended = match self.stands {
                Some(stands) => self.follow(stands).await,
                None => self.begin().await,
            };
            if let Err(why) = ended {
                let mut audit = self.run.audit.lock();
                audit.tally("streams", &why);
                audit.note(self.id, Step::Ended(why));
            }
            sleep(about(&mut self.random, PAUSE)).await;
        }
    }

    /// Looks for the newest event of the room: from there on it is owed everything.
    async fn begin(&mut self) -> Result<(), String> {
        let path = format!("{}?limit=1", path_of(self.room));
        let (status, page) = self.caller.ask(&mut self.random, "GET", &path, "").await?;
        let Some(offset) = read_offset(&page["events"][0]["offset"]).filter(|_| status == 200) else {
            sleep(RETRY).await;
            return Err("nothing to begin with".to_owned());
        };
        let mut audit = self.run.audit.lock();
        audit.note(self.id, Step::Joined { room: self.room, offset, recovered: None });
        audit.rooms[self.room].joined(self.id, offset);
        self.stands = Some(offset);
        Ok(())
    }

    /// Listens to some node until one of both breaks off.
    async fn follow(&mut self, stands: u64) -> Result<(), String> {
        let node = self.random.random_range(0..NODES);
        let address = self.run.cluster.address(node).ok_or("no node there")?;
        let mut stream = timeout(SILENCE, connect(address)).await.map_err(|_| "no connection in time")??;
        let path = path_of(self.room).replace("/events", "/stream");
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nLast-Event-ID: {stands}\r\n\r\n",
            self.key
        );
        stream.write_all(request.as_bytes()).await.map_err(|error| error.kind().to_string())?;
        let leaves = Instant::now() + about(&mut self.random, STAYS);
        let mut body = Body::default();
        while self.run.phase() != Phase::Over {
            let read = timeout(SILENCE, stream.read_buf(&mut body.raw)).await.map_err(|_| "no sign of life")?;
            if read.map_err(|error| error.kind().to_string())? == 0 {
                return Err("ended".to_owned());
            }
            let Some(status) = body.read()? else { continue };
            if status != 200 {
                if !TRANSIENT.contains(&status) {
                    self.find(format!("a stream was answered with {status}"));
                }
                sleep(RETRY).await;
                return Err(format!("status {status}"));
            }
            while let Some(event) = body.event() {
                self.take(&event);
            }
            if Instant::now() >= leaves {
                return Err("broke off".to_owned());
            }
        }
        Ok(())
    }

    fn take(&mut self, event: &str) {
        let field = |name: &'static str| event.lines().filter_map(move |line| line.strip_prefix(name));
        let data = field("data: ").collect::<Vec<_>>().join("\n");
        if data.is_empty() {
            // A sign of life, or how soon to come back.
            return;
        }
        let Ok(data) = serde_json::from_str::<Value>(&data) else {
            return self.find(format!("data that is no JSON: {event:?}"));
        };
        if field("event: ").next() == Some("gap") {
            let reason = data["reason"].as_str().map(str::to_owned);
            let mut audit = self.run.audit.lock();
            audit.tally("gaps announced", "to a follower");
            audit.note(self.id, Step::Gap { room: self.room, reason });
            return audit.rooms[self.room].gap(self.id, read_offset(&data["through"]));
        }
        let offset = field("id: ").next().and_then(|id| id.parse().ok());
        let Some((offset, stamp)) = offset.zip(read_stamp(&data["args"][0]["data"])) else {
            return self.find(format!("no event: {event:?}"));
        };
        self.stands = Some(offset);
        let mut audit = self.run.audit.lock();
        audit.tally("streamed", "events");
        audit.heard(self.id, self.room, stamp, offset, false);
    }

    fn find(&self, note: String) {
        self.run.audit.lock().find(Wrong::Contradiction, self.id, Some(self.room), note);
    }
}

/// What comes of an answer in chunks.
#[derive(Default)]
struct Body {
    /// Not taken apart yet.
    raw: Vec<u8>,
    status: Option<u16>,
    text: Vec<u8>,
}

impl Body {
    /// Takes apart what is whole; the status, once the head is there.
    fn read(&mut self) -> Result<Option<u16>, String> {
        if self.status.is_none() {
            let Some(end) = self.raw.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
            let head: Vec<u8> = self.raw.drain(..end + 4).collect();
            let head = String::from_utf8_lossy(&head).to_lowercase();
            let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
            let status = status.ok_or_else(|| format!("unreadable answer {head}"))?;
            if status == 200 && !head.contains("transfer-encoding: chunked") {
                return Err("a stream that is not in chunks".to_owned());
            }
            self.status = Some(status);
        }
        while self.status == Some(200)
            && let Some(end) = self.raw.windows(2).position(|two| two == b"\r\n")
        {
            let length =
                std::str::from_utf8(&self.raw[..end]).ok().and_then(|digits| usize::from_str_radix(digits, 16).ok());
            let length = length.ok_or("a chunk without a length")?;
            if self.raw.len() < end + 2 + length + 2 {
                break;
            }
            self.text.extend_from_slice(&self.raw[end + 2..end + 2 + length]);
            self.raw.drain(..end + 2 + length + 2);
        }
        Ok(self.status)
    }

    /// The next event that is whole, without the empty line after it.
    fn event(&mut self) -> Option<String> {
        let end = self.text.windows(2).position(|two| two == b"\n\n")?;
        let event: Vec<u8> = self.text.drain(..end + 2).collect();
        Some(String::from_utf8_lossy(&event[..end]).into_owned())
    }
}

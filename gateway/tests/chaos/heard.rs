//! What a client does with what the server says, and what it finds wrong with it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::books::{Stamp, Wrong};
use super::client::{Client, Stage, room_name, user_name};
use super::link::{Ask, Link};
use super::trail::Step;
use super::wire::Packet;

/// Refusals after which the same request may succeed.
const TRANSIENT: [&str; 4] = ["unavailable", "rate_limited", "overloaded", "log_full"];
/// How long to wait where the server does not say it.
const RETRY: Duration = Duration::from_millis(300);

impl Client {
    pub(super) fn take(&mut self, link: &mut Link, packet: Packet) -> Result<(), String> {
        match packet {
            Packet::Open => {}
            Packet::Connected { pid } => {
                link.pids.1.clone_from(&pid);
                if pid != self.pid {
                    // Official clients say in this moment that nothing was recovered.
                    self.get_up();
                }
                self.pid = pid;
            }
            Packet::Refused(why) => {
                self.find(Wrong::Contradiction, None, format!("turned away for good: {why}"));
                return Err(format!("turned away: {why}"));
            }
            Packet::Event(event) => self.take_event(link, &event),
            Packet::Ack { id, answer } => match link.asked.remove(&id) {
                Some((Ask::Join { seat, after }, ..)) => self.take_join(seat, after, &answer),
                Some((Ask::Publish, ..)) => self.take_publish(&answer),
                None => self.find(Wrong::Contradiction, None, format!("an ack that nobody asked for: {answer}")),
            },
        }
        Ok(())
    }

    fn take_event(&mut self, link: &mut Link, event: &[Value]) {
        let Some((Value::String(name), arguments)) = event.split_first() else {
            return self.find(Wrong::Contradiction, None, format!("an event without a name: {event:?}"));
        };
        let offset = arguments.last().and_then(Value::as_str);
        if let (Some(_), Some(offset)) = (&self.pid, offset) {
            self.offset = Some(offset.to_owned());
        }
        let none = Value::Null;
        let argument = arguments.first().unwrap_or(&none);
        if !link.greeted && name != "gateway:session" {
            self.find(Wrong::Silent, None, format!("{name} before gateway:session"));
        }
        match name.as_str() {
            "gateway:session" => self.take_session(link, argument, offset),
            "message" => self.take_message(link, arguments),
            "gateway:replayed" => {
                let room = room_number(&argument["room"]);
                let (events, offset) = (argument["events"].as_u64(), offset.map(str::to_owned));
                self.run.audit.lock().note(self.id, Step::Replayed { room, events, offset });
            }
            "gateway:gap" => {
                let room = room_number(&argument["room"]);
                let reason = argument["reason"].as_str().map(str::to_owned);
                let mut audit = self.run.audit.lock();
                audit.tally("gaps announced", reason.as_deref().unwrap_or("without reason"));
                audit.note(self.id, Step::Gap { room, reason });
                if let Some(books) = audit.rooms.get_mut(room) {
                    books.gap(self.id, read_offset(&argument["through"]));
                }
            }
            _ => self.find(Wrong::Contradiction, None, format!("{name} {arguments:?} was not expected")),
        }
    }

    fn take_session(&mut self, link: &mut Link, session: &Value, offset: Option<&str>) {
        let recovered = session["recovered"] == true;
        let reason = session["reason"].as_str();
        let rooms: Option<Vec<usize>> =
            session["rooms"].as_array().map(|rooms| rooms.iter().map(room_number).collect());
        let (before, now) = &link.pids;
        let by_offsets = std::mem::take(&mut self.by_offsets) && before.is_none();
        let came_back = before.is_some() && before == now;
        let fits = recovered == came_back || by_offsets;
        {
            let mut audit = self.run.audit.lock();
            let asked = before.is_some() || by_offsets;
            let kind = if asked { reason.unwrap_or("without reason") } else { "not asked for" };
            match recovered {
                true => audit.tally("recovered", if by_offsets { "by offsets" } else { "by pid" }),
                false if link.rooms_before > 0 => audit.tally("fresh", &format!("{kind} (was in rooms)")),
                false => audit.tally("fresh", kind),
            }
            let (reason, offset) = (reason.map(str::to_owned), offset.map(str::to_owned));
            audit.note(self.id, Step::Session { recovered, reason, rooms: rooms.as_ref().map(Vec::len), offset });
        }
        if link.greeted || !fits || session["pid"].as_str() != now.as_deref() {
            self.find(Wrong::Contradiction, None, format!("{session} does not fit to {:?}", link.pids));
        }
        if !recovered && (before.is_some() || by_offsets) && reason.is_none() {
            self.find(Wrong::Silent, None, "a new session, and no reason".to_owned());
        }
        link.greeted = true;
        for seat in 0..self.seats.len() {
            let room = self.seats[seat].room;
            let stage = self.seats[seat].stage;
            self.run.audit.lock().rooms[room].asks(self.id, false);
            let is_back = recovered && rooms.as_ref().map_or(stage == Stage::In, |rooms| rooms.contains(&room));
            if is_back && stage != Stage::In {
                // A join worked whose answer was lost.
                self.run.audit.lock().rooms[room].adopted(self.id);
            }
            if recovered && !is_back && stage == Stage::In {
                self.find(Wrong::Silent, Some(room), "recovered, but not into this room".to_owned());
            }
            self.seats[seat].stage = if is_back { Stage::In } else { Stage::Out(Instant::now()) };
        }
    }

    fn take_message(&mut self, link: &mut Link, arguments: &[Value]) {
        let heard = read_message(arguments);
        let Some((room, stamp, offset, replayed)) = heard else {
            return self.find(Wrong::Contradiction, None, format!("not a message: {arguments:?}"));
        };
        let Some(seat) = self.seats.iter_mut().find(|seat| seat.room == room) else {
            return self.find(Wrong::Contradiction, Some(room), format!("{stamp:?} of a room that it is not in"));
        };
        seat.last = seat.last.max(Some(offset));
        self.run.audit.lock().heard(self.id, room, stamp, offset, replayed);
        if !replayed {
            if offset <= link.live {
                let note = format!("{offset} after {} on one connection, over all rooms", link.live);
                self.find(Wrong::Reordered, None, note);
            }
            link.live = offset;
        }
    }

    fn take_join(&mut self, seat: usize, after: Option<u64>, answer: &Value) {
        let room = self.seats[seat].room;
        self.run.audit.lock().rooms[room].asks(self.id, false);
        let offset = read_offset(&answer["offset"]);
        let (true, Some(offset)) = (answer["ok"] == true, offset) else {
            self.seats[seat].stage = Stage::Out(self.take_refusal(room, "join", answer));
            return;
        };
        let recovered = answer["recovered"].as_bool();
        if recovered.is_some() != after.is_some() || answer["room"] != room_name(room).as_str() {
            self.find(Wrong::Contradiction, Some(room), format!("joined after {after:?}: {answer}"));
        }
        let seat = &mut self.seats[seat];
        seat.stage = Stage::In;
        seat.last = seat.last.max(Some(offset));
        let mut audit = self.run.audit.lock();
        audit.note(self.id, Step::Joined { room, offset, recovered });
        let kind = match recovered {
            None => "without an offset",
            Some(true) => "recovered",
            Some(false) => "not recovered",
        };
        audit.tally("joins", kind);
        if let (Some(false), Some(after)) = (recovered, after) {
            audit.rooms[room].gap_between(self.id, after, offset);
        }
        match after {
            None => audit.rooms[room].joined(self.id, offset),
            // If no earlier join was answered, one that was refused let something through; from there it is owed all.
            Some(_) => audit.rooms[room].adopted(self.id),
        }
    }

    fn take_publish(&mut self, answer: &Value) {
        let Some(mut publish) = self.publish.take() else { return };
        let room = publish.room;
        if let (true, Some(offset)) = (answer["ok"] == true, read_offset(&answer["offset"])) {
            let mut audit = self.run.audit.lock();
            audit.tally("acknowledged", "ok");
            audit.note(self.id, Step::Kept { room, number: publish.stamp.number, offset });
            audit.rooms[room].acknowledged(publish.stamp, offset);
            if publish.is_marker {
                self.run.markers.fetch_add(1, Ordering::AcqRel);
            }
            return;
        }
        let not_before = self.take_refusal(room, "publish", answer);
        if answer["error"]["code"] == "not_in_room" {
            let seat = self.seats.iter_mut().find(|seat| seat.room == room);
            seat.into_iter().for_each(|seat| seat.stage = Stage::Out(not_before));
        }
        publish.not_before = not_before;
        self.publish = Some(publish);
    }

    /// When the refused request may be tried again.
    fn take_refusal(&mut self, room: usize, request: &str, answer: &Value) -> Instant {
        let error = &answer["error"];
        let code = error["code"].as_str().unwrap_or("no code").to_owned();
        let is_spent = self.is_spendthrift() && request == "publish" && code == "too_much_kept";
        if !TRANSIENT.contains(&code.as_str()) && !is_spent {
            self.find(Wrong::Contradiction, Some(room), format!("{request} was refused: {answer}"));
        }
        let mut audit = self.run.audit.lock();
        audit.tally("refused", &format!("{request} {code}"));
        audit.note(self.id, Step::Refused { room, code });
        Instant::now() + error["retryAfterMs"].as_u64().map_or(RETRY, Duration::from_millis)
    }
}

/// Room, stamp, offset, and whether it was replayed for a join: then it does not end with its offset.
pub(crate) fn read_message(arguments: &[Value]) -> Option<(usize, Stamp, u64, bool)> {
    let (body, offset, replayed) = match arguments {
        [body, offset] => (body, offset, false),
        [body, offset, Value::Null] => (body, offset, true),
        _ => return None,
    };
    let stamp = read_stamp(&body["data"])?;
    let is_whole =
        body["user"] == user_name(stamp.publisher).as_str() && body["at"].is_u64() && body["offset"] == *offset;
    is_whole.then_some((room_number(&body["room"]), stamp, read_offset(offset)?, replayed))
}

pub(crate) fn read_stamp(data: &Value) -> Option<Stamp> {
    let number = |key: &str| data[key].as_u64().and_then(|number| u32::try_from(number).ok());
    Some(Stamp { publisher: number("p")?, number: number("n")? })
}

fn read_offset(offset: &Value) -> Option<u64> {
    offset.as_str()?.parse().ok()
}

/// The number of a room by its name; of a name that no room has, one that no room has.
fn room_number(name: &Value) -> usize {
    name.as_str().and_then(|name| name.strip_prefix("room ")?.parse().ok()).unwrap_or(usize::MAX)
}

//! A client as the official one behaves: it keeps its pid and the last offset that it saw, comes back by itself, and
//! joins again where it was not brought back to.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::books::{Stamp, Wrong};
use super::link::{Ask, Link};
use super::plan::{Habit, NODES, about};
use super::run::{Phase, Run};
use super::trail::Step;
use super::wire::{PATIENCE, Packet, Wire};

/// How often a client looks at what is due.
const TICK: Duration = Duration::from_millis(100);
/// The official client's first pause before it connects again is 1 s and the longest 5 s. A fifth of it is more chaos.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long a client is away after it lost its connection, in the middle.
const AWAY: Duration = Duration::from_secs(2);
/// When a polling client tries to upgrade, in the middle.
const FIRST_UPGRADE: Duration = Duration::from_millis(300);
/// How large what the spendthrift publishes is at the most, and how long it waits in between.
const SPENT: usize = 6_000;
const SPENDING: Duration = Duration::from_millis(50);
/// Of how many troubles one is that the client stops reading, and of how many cuts one after which it starts anew.
const STOPS_ONCE_IN: u32 = 12;
const ANEW_ONCE_IN: u32 = 8;
/// Of how many joins one is given up before it is answered.
const GIVEN_UP_ONCE_IN: u32 = 30;

pub(crate) struct Client {
    pub(super) id: u32,
    pub(super) run: Arc<Run>,
    pub(super) random: StdRng,
    token: String,
    pub(super) habit: Habit,
    /// Of the session that it would like to come back to.
    pub(super) pid: Option<String>,
    /// The last argument of the last event whose last argument was a string.
    pub(super) offset: Option<String>,
    /// It has no session to come back to, but knows the offset of each room and asks for them all when it connects.
    pub(super) by_offsets: bool,
    pub(super) seats: Vec<Seat>,
    pub(super) publish: Option<Publish>,
    published: u32,
    pub(super) next_publish: Instant,
    /// Nothing before the chaos begins.
    next_trouble: Option<Instant>,
    /// Rooms whose last event is still to be published; nothing before that time comes.
    /// Of which round, the rooms whose last event is still to be published.
    markers: (usize, Vec<usize>),
}

/// A client's place in a room.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) room: usize,
    pub(super) stage: Stage,
    /// Everything up to here it has, or has no right to.
    pub(super) last: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// To be joined, not before this time.
    Out(Instant),
    /// A join was sent and is not answered.
    Asked,
    In,
}

/// The publish that a client wants to get acknowledged before the next one.
#[derive(Debug)]
pub(super) struct Publish {
    pub(super) room: usize,
    pub(super) stamp: Stamp,
    pub(super) not_before: Instant,
    pub(super) is_marker: bool,
    pub(super) data: Value,
}

impl Publish {
    pub(super) fn event(&self) -> Value {
        let Self { room, stamp, data, .. } = self;
        json!(["publish", { "room": room_name(*room), "data": data, "id": stamp.number.to_string() }])
    }
}

/// How a connection ended.
pub(super) enum End {
    /// Not by the client: it tries again after a pause.
    Lost(String),
    /// By the plan, in some way that is still to be chosen: the client is away for a while.
    Cut,
    /// The same, and it is done already.
    Away,
    Over,
}

impl Client {
    pub(crate) fn new(id: u32, run: Arc<Run>, token: String) -> Self {
        let mut random = run.settings.random(1 + u64::from(id));
        let habit = match Habit::any(&mut random) {
            // The version before may not pass on.
            Habit::Wandering if run.settings.previous.is_some() => Habit::Polling,
            habit => habit,
        };
        let now = Instant::now();
        let seat = |room| Seat { room, stage: Stage::Out(now), last: None };
        let seats = run.rooms_of(id).into_iter().map(seat).collect();
        Self {
            id,
            run,
            random,
            token,
            habit,
            pid: None,
            offset: None,
            by_offsets: false,
            seats,
            publish: None,
            published: 0,
            next_publish: now,
            next_trouble: None,
            markers: (0, Vec::new()),
        }
    }

    pub(crate) async fn live(mut self) {
        let mut pause = FIRST_PAUSE;
        while self.run.phase() != Phase::Over {
            let end = match self.dial().await {
                Ok((wire, node)) => {
                    let (end, greeted) = self.stay(wire, node).await;
                    if greeted {
                        pause = FIRST_PAUSE;
                    }
                    end
                }
                Err(why) => {
                    self.run.audit.lock().tally("dials failed", &why);
                    None
                }
            };
            self.run.calm[self.id as usize].store(false, Ordering::Release);
            match end {
                Some(End::Over) => return,
                Some(End::Cut | End::Away) => {
                    sleep(about(&mut self.random, AWAY)).await;
                    if self.random.random_ratio(1, ANEW_ONCE_IN) {
                        self.start_anew();
                    }
                }
                Some(End::Lost(why)) => {
                    let mut audit = self.run.audit.lock();
                    audit.tally("connections lost", &why);
                    audit.note(self.id, Step::Ended(why));
                }
                None => {}
            }
            sleep(about(&mut self.random, pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn dial(&mut self) -> Result<(Wire, usize), String> {
        let node = self.random.random_range(0..NODES);
        let address = self.run.cluster.address(node).ok_or("no node there")?;
        let all = (0..NODES).filter_map(|node| self.run.cluster.address(node));
        let nodes = if self.habit == Habit::Wandering { all.collect() } else { Vec::new() };
        let wire = Wire::dial(address, self.habit != Habit::Websocket, nodes).await?;
        let mut audit = self.run.audit.lock();
        audit.tally("dials", "ok");
        audit.note(self.id, Step::Dialled { node, habit: self.habit });
        Ok((wire, node))
    }

    /// From the first packet to the end of the connection; whether it got as far as a session.
    async fn stay(&mut self, wire: Wire, node: usize) -> (Option<End>, bool) {
        let rooms_before = self.seats.iter().filter(|seat| seat.stage == Stage::In).count();
        let mut link = Link::new(wire, node, self.pid.clone(), rooms_before);
        if self.habit == Habit::Upgrading {
            link.upgrade_at = Some(Instant::now() + about(&mut self.random, FIRST_UPGRADE));
        }
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = loop {
            let turn = tokio::select! {
                packet = link.wire.read() => match packet {
                    Ok(Packet::Open) => self.say_hello(&mut link).await,
                    Ok(packet) => self.take(&mut link, packet),
                    Err(why) => Err(why),
                },
                _ = tick.tick() => match self.do_what_is_due(&mut link).await {
                    Ok(None) => Ok(()),
                    Ok(Some(end)) => break end,
                    Err(why) => Err(why),
                }
            };
            if let Err(why) = turn {
                break End::Lost(why);
            }
        };
        let greeted = link.greeted;
        if matches!(end, End::Cut) {
            self.cut(link).await;
        }
        (Some(end), greeted)
    }

    async fn say_hello(&mut self, link: &mut Link) -> Result<(), String> {
        let mut auth = json!({ "token": self.token });
        if let Some(pid) = &self.pid {
            auth["pid"] = json!(pid);
            if let Some(offset) = &self.offset {
                auth["offset"] = json!(offset);
            }
        } else if self.by_offsets {
            let known = |seat: &Seat| seat.last.map(|last| (room_name(seat.room), json!(last.to_string())));
            auth["offsets"] = Value::Object(self.seats.iter().filter_map(known).collect());
        }
        self.run.audit.lock().note(self.id, Step::Hello { pid: self.pid.clone(), offset: self.offset.clone() });
        link.wire.send(format!("40{auth}")).await
    }

    async fn do_what_is_due(&mut self, link: &mut Link) -> Result<Option<End>, String> {
        let now = Instant::now();
        let phase = self.run.phase();
        if phase == Phase::Over {
            return Ok(Some(End::Over));
        }
        if phase == Phase::Chaos && self.next_trouble.is_none_or(|trouble| now >= trouble) {
            let next = now + about(&mut self.random, self.run.settings.cut_every);
            if self.next_trouble.replace(next).is_none() {
                return Ok(None);
            }
            if !self.random.random_ratio(1, STOPS_ONCE_IN) {
                return Ok(Some(End::Cut));
            }
            self.stop_reading(link).await;
        }
        self.watch(link, now);
        if let Some(end) = self.upgrade(link, phase).await? {
            return Ok(Some(end));
        }
        if !link.greeted {
            let patient = now < link.began + PATIENCE;
            return if patient { Ok(None) } else { Err(self.unanswered(link, "CONNECT", Duration::ZERO)) };
        }
        if let Some((ask, _, quiet)) = link.asked.values().find(|(_, since, _)| now > *since + PATIENCE) {
            return Err(self.unanswered(link, ask.name(), *quiet));
        }
        for seat in 0..self.seats.len() {
            if matches!(self.seats[seat].stage, Stage::Out(not_before) if not_before <= now) {
                self.join(link, seat).await?;
                if phase == Phase::Chaos && self.random.random_ratio(1, GIVEN_UP_ONCE_IN) {
                    self.suffer("client gave up a join", Step::Ended("client gave up a join".to_owned()));
                    return Ok(Some(End::Away));
                }
            }
        }
        self.choose_a_publish(phase, now);
        self.send_the_publish(link, now).await?;
        let is_done = self.publish.is_none() && !matches!(phase, Phase::Markers(round) if self.has_markers_of(round));
        let calm = is_done && self.seats.iter().all(|seat| seat.stage == Stage::In);
        self.run.calm[self.id as usize].store(calm, Ordering::Release);
        Ok(None)
    }

    async fn join(&mut self, link: &mut Link, seat: usize) -> Result<(), String> {
        let Seat { room, last: after, .. } = self.seats[seat];
        self.seats[seat].stage = Stage::Asked;
        {
            let mut audit = self.run.audit.lock();
            audit.note(self.id, Step::Asked { room, after });
            audit.rooms[room].asks(self.id, true);
        }
        let mut argument = json!({ "room": room_name(room) });
        if let Some(after) = after {
            argument["after"] = json!(after.to_string());
        }
        link.ask(Ask::Join { seat, after }, json!(["join", argument])).await
    }

    pub(super) fn choose_a_publish(&mut self, phase: Phase, now: Instant) {
        if self.publish.is_some() {
            return;
        }
        let room = match phase {
            Phase::Chaos if now >= self.next_publish => {
                let usual = Duration::from_secs_f64(f64::from(self.run.settings.clients) / self.run.settings.rate);
                let middle = if self.is_spendthrift() { SPENDING } else { usual };
                self.next_publish = now + about(&mut self.random, middle);
                self.seats[self.random.random_range(0..self.seats.len())].room
            }
            Phase::Markers(round) if self.has_markers_of(round) => {
                if self.markers.0 < round {
                    self.markers = (round, self.run.owned_by(self.id));
                }
                let Some(room) = self.markers.1.pop() else { return };
                room
            }
            _ => return,
        };
        let stamp = Stamp { publisher: self.id, number: self.published };
        self.published += 1;
        let most = if self.is_spendthrift() && phase == Phase::Chaos { SPENT } else { 1_000 };
        let padding = "x".repeat(self.random.random_range(0..most));
        let data = json!({ "p": stamp.publisher, "n": stamp.number, "padding": padding });
        self.publish =
            Some(Publish { room, stamp, not_before: now, is_marker: matches!(phase, Phase::Markers(_)), data });
    }

    /// Whether it publishes as much as it can, which is more than a user may have kept.
    pub(super) fn is_spendthrift(&self) -> bool {
        // The version before may have no budget.
        self.run.settings.previous.is_none() && self.id + 1 == self.run.settings.clients
    }

    /// Whether it has last events of this round to publish, or does not know yet.
    fn has_markers_of(&self, round: usize) -> bool {
        self.markers.0 < round || !self.markers.1.is_empty()
    }

    /// Sends the publish, or sends it again, if the client is in the room and it is not on its way already.
    async fn send_the_publish(&mut self, link: &mut Link, now: Instant) -> Result<(), String> {
        let Some(publish) = &self.publish else { return Ok(()) };
        let is_in = self.seats.iter().any(|seat| seat.room == publish.room && seat.stage == Stage::In);
        let on_its_way = link.asked.values().any(|(ask, ..)| *ask == Ask::Publish);
        if !is_in || on_its_way || now < publish.not_before {
            return Ok(());
        }
        {
            let mut audit = self.run.audit.lock();
            audit.note(self.id, Step::Sent { room: publish.room, number: publish.stamp.number });
            audit.rooms[publish.room].sent(publish.stamp);
        }
        link.ask(Ask::Publish, publish.event()).await
    }

    /// It is in no room any more.
    pub(super) fn get_up(&mut self) {
        let now = Instant::now();
        self.seats.iter_mut().for_each(|seat| seat.stage = Stage::Out(now));
    }

    /// Something is wrong that this client noticed.
    pub(super) fn find(&self, wrong: Wrong, room: Option<usize>, note: String) {
        self.run.audit.lock().find(wrong, self.id, room, note);
    }
}

pub(crate) fn room_name(room: usize) -> String {
    format!("room {room}")
}

pub(crate) fn user_name(client: u32) -> String {
    format!("client {client}")
}

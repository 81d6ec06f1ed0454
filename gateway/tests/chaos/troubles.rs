//! What a client makes itself, or has made, trouble with: it stops reading, its connections break, its upgrades fail.

use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use super::books::Wrong;
use super::client::{Client, End, Stage};
use super::link::Link;
use super::plan::{Cut, Habit, NODES, UpgradeFault, about};
use super::run::Phase;
use super::stall::STALL;
use super::trail::Step;
use super::wire::Upgrade;

/// The longest time for which a client stops reading.
const STOPPED: f64 = 15.0;
/// When an upgrade that failed is tried again, in the middle.
const NEXT_UPGRADE: Duration = Duration::from_secs(2);

impl Client {
    /// Whether nothing is being done to whom it needs: its node, or all of them.
    fn is_quiet(&self, link: &Link) -> bool {
        let mut nodes = if self.habit == Habit::Wandering { 0..NODES } else { link.node..link.node + 1 };
        nodes.all(|node| self.run.cluster.is_quiet(node))
    }

    pub(super) async fn stop_reading(&mut self, link: &mut Link) {
        let length = Duration::from_secs_f64(self.random.random_range(1.0..STOPPED));
        self.suffer("client stopped reading", Step::StoppedReading(length));
        link.wire.stop_reading(length).await;
        // That was the client's own silence, not the server's.
        let now = Instant::now();
        link.began = now;
        link.asked.values_mut().for_each(|(_, since, _)| *since = now);
    }

    /// As a page that was loaded again, and remembers only where it stood in each room.
    pub(super) fn start_anew(&mut self) {
        (self.pid, self.offset) = (None, None);
        self.by_offsets = self.random.random();
        self.get_up();
        let how = if self.by_offsets { "client started anew by offsets" } else { "client started anew" };
        self.suffer(how, Step::Ended(how.to_owned()));
    }

    pub(super) async fn cut(&mut self, link: Link) {
        let how = Cut::any(&mut self.random);
        let name = how.name(link.wire.is_polling());
        self.suffer(name, Step::Ended(name.to_owned()));
        // What is sent in half is something that matters: a publish, if one may be made.
        let now = Instant::now();
        if how == Cut::Half {
            self.next_publish = now;
            self.choose_a_publish(self.run.phase(), now);
        }
        let packet = self.publish.as_ref().map_or_else(|| "3".to_owned(), |publish| format!("42{}", publish.event()));
        link.wire.cut(how, &packet).await;
    }

    /// Tries to go from polling to a websocket when it is time for that.
    pub(super) async fn upgrade(&mut self, link: &mut Link, phase: Phase) -> Result<Option<End>, String> {
        let began = Instant::now();
        let is_due = link.upgrade_at.is_some_and(|at| began >= at) && link.wire.is_open();
        if !is_due || link.wire.hangs() {
            return Ok(None);
        }
        let fault = if phase == Phase::Chaos { UpgradeFault::perhaps(&mut self.random) } else { None };
        let is_quiet = self.is_quiet(link);
        let upgrade = link.wire.upgrade(fault).await?;
        self.run.audit.lock().note(self.id, Step::Upgraded(upgrade.clone()));
        if let Some(fault) = fault.filter(|_| upgrade == Upgrade::Broken || upgrade == Upgrade::Spoiled) {
            self.run.audit.lock().tally("faults", fault.name());
        }
        let kind = match &upgrade {
            Upgrade::Done => "done",
            Upgrade::Broken | Upgrade::Spoiled => "made to fail",
            Upgrade::Failed(why) => &format!("failed ({why})"),
            Upgrade::Unanswered => "unanswered",
        };
        self.run.audit.lock().tally("upgrades", kind);
        link.upgrade_at = (upgrade != Upgrade::Done).then(|| Instant::now() + about(&mut self.random, NEXT_UPGRADE));
        match upgrade {
            Upgrade::Broken => return Ok(Some(End::Away)),
            Upgrade::Unanswered if is_quiet && self.is_quiet(link) => {
                self.find(Wrong::Stalled, None, format!("an upgrade got no answer within {:?}", began.elapsed()));
            }
            _ => {}
        }
        Ok(None)
    }

    /// Looks whether something does not come that should.
    pub(super) fn watch(&self, link: &mut Link, now: Instant) {
        link.quiet.look(now, self.is_quiet(link));
        link.watches.resize_with(self.seats.len(), Default::default);
        let quiet = link.quiet.passed();
        let mut audit = self.run.audit.lock();
        for (seat, watch) in self.seats.iter().zip(&mut link.watches) {
            let (heard, newest) = audit.rooms[seat.room].progress(self.id);
            let last = if seat.stage == Stage::In { seat.last.unwrap_or_default().max(heard) } else { newest };
            if watch.look((last, newest), quiet) {
                let note = format!("it stands at {last}, others have heard {newest}");
                audit.find(Wrong::Stalled, self.id, Some(seat.room), note);
            }
        }
    }

    /// Why a connection is given up on which a request was not answered, asked when there had been so much quiet.
    pub(super) fn unanswered(&self, link: &Link, request: &str, quiet: Duration) -> String {
        let why = format!("no answer to {request}");
        if link.quiet.passed().saturating_sub(quiet) >= STALL {
            self.find(Wrong::Stalled, None, why.clone());
        }
        why
    }

    pub(super) fn suffer(&self, fault: &str, step: Step) {
        let mut audit = self.run.audit.lock();
        audit.tally("faults", fault);
        audit.note(self.id, step);
    }
}

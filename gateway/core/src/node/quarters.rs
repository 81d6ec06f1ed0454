//! Quarters: the node's parts once more for each ground that namespaces stand on, so that one that is away, slow or not heard
//! is so for its own namespaces alone.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::attendance::Attendance;
use super::comebacks::{Comebacks, Roster};
use super::namespaces::Namespaces;
use super::rooms::{Hearing, Past, Rooms};
use super::{Node, Session, Sights};
use crate::config::Config;
use crate::domain::RoomName;
use crate::metrics::Metrics;
use crate::presence::Presence;
use crate::sessions::Sessions;
use crate::supervisor::Supervisor;

/// What namespaces stand on: where what they say is kept, who is in their rooms, and what their sessions need to come back.
pub struct Ground {
    /// What it is called, in metrics and in the log: the name of its Redis.
    pub name: String,
    /// Which they are. The first ground of a node has all that no other has.
    pub namespaces: Vec<String>,
    /// The log, and the archive if there is one.
    pub past: Past,
    /// What sessions need to come back.
    pub sessions: Arc<dyn Sessions>,
    /// Who is where.
    pub presence: Arc<dyn Presence>,
}

impl std::fmt::Debug for Ground {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ground").field("name", &self.name).field("namespaces", &self.namespaces).finish_non_exhaustive()
    }
}

/// The parts of a node for the namespaces of one ground.
#[derive(Debug)]
pub(super) struct Quarter {
    namespaces: Namespaces,
    /// What the names of its tasks end with.
    of: String,
    pub(super) rooms: Arc<Rooms>,
    pub(super) comebacks: Arc<Comebacks>,
    pub(super) attendance: Arc<Attendance>,
}

/// All quarters of a node. The order of what sessions hear is kept in each: a session is in one namespace.
#[derive(Debug)]
pub(super) struct Quarters {
    main: Quarter,
    others: Vec<Quarter>,
}

/// What all quarters of a node share.
pub(super) struct Shared<'a> {
    pub(super) roster: &'a Arc<Roster>,
    pub(super) hearing: &'a Arc<Hearing>,
    pub(super) sights: &'a Arc<Sights>,
    pub(super) config: &'a Config,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tasks: &'a TaskTracker,
}

impl Quarter {
    fn new(number: usize, namespaces: Namespaces, ground: Ground, shared: &Shared<'_>) -> Self {
        let Shared { roster, hearing, sights, config, metrics, tasks } = shared;
        let own = hearing.of(number);
        let rooms =
            Rooms::new(&ground.name, ground.past, own, config, (*sights).clone(), (*metrics).clone(), (*tasks).clone());
        let marks = rooms.marks();
        let of_these = ((*roster).clone(), namespaces.clone());
        let comebacks = Comebacks::new(ground.sessions, of_these, marks, config, (*metrics).clone(), (*tasks).clone());
        let connected = comebacks.connected();
        let attendance = Attendance::new(ground.presence, connected, config, (*metrics).clone(), (*tasks).clone());
        let of = if number == 0 { String::new() } else { format!(" of {}", ground.name) };
        let (rooms, comebacks, attendance) = (Arc::new(rooms), Arc::new(comebacks), Arc::new(attendance));
        Self { namespaces, of, rooms, comebacks, attendance }
    }

    fn run(&self, name: &str, settings: &Config, supervisor: &Supervisor) {
        let (of, canary): (&str, Duration) = (&self.of, settings.canary.interval);
        self.rooms.run(name, of, canary, supervisor);
        self.comebacks.run(of, settings.recovery.window, supervisor);
        self.attendance.run(of, settings.presence.lease, supervisor);
    }
}

impl Quarters {
    /// One for each ground; the first is the main one.
    pub(super) fn new(main: Ground, others: Vec<Ground>, shared: &Shared<'_>) -> Self {
        let elsewhere: Vec<String> = others.iter().flat_map(|ground| ground.namespaces.clone()).collect();
        let main = Quarter::new(0, Namespaces::AllBut(elsewhere.into()), main, shared);
        let others = others.into_iter().enumerate().map(|(number, ground)| {
            let namespaces = Namespaces::Only(ground.namespaces.clone().into());
            Quarter::new(number + 1, namespaces, ground, shared)
        });
        Self { main, others: others.collect() }
    }

    pub(super) fn run(&self, name: &str, settings: &Config, supervisor: &Supervisor) {
        self.all().for_each(|quarter| quarter.run(name, settings, supervisor));
    }

    /// That of all namespaces that have none of their own, and of what is in no namespace.
    pub(super) fn main(&self) -> &Quarter {
        &self.main
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Quarter> {
        std::iter::once(&self.main).chain(&self.others)
    }

    /// That of a namespace.
    pub(super) fn of(&self, namespace: &str) -> &Quarter {
        self.others.iter().find(|quarter| quarter.namespaces.has(namespace)).unwrap_or(&self.main)
    }

    /// That of a room's namespace.
    pub(super) fn of_room(&self, room: &RoomName) -> &Quarter {
        if self.others.is_empty() {
            return &self.main;
        }
        room.namespace().map_or(&self.main, |namespace| self.of(namespace))
    }

    /// The one with a number, as [`Self::number_of`] gives it.
    pub(super) fn number(&self, number: usize) -> &Quarter {
        number.checked_sub(1).map_or(&self.main, |number| &self.others[number])
    }

    /// The number of a room's: 0 for the main one.
    pub(super) fn number_of(&self, room: &RoomName) -> usize {
        let quarter = self.of_room(room);
        self.all().position(|other| std::ptr::eq(other, quarter)).unwrap_or(0)
    }
}

impl Node {
    /// The quarter that a session is in.
    pub(super) fn quarter(&self, session: &Session) -> &Quarter {
        self.quarters.of(&session.namespace)
    }
}

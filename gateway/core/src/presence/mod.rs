//! PORT: presence. Who is in which place, cluster-wide, leased by node; the trait is the contract,
//! `tests/contract/presence.rs` checks every backend against it.

mod kept;
mod measured;
mod memory;
mod redis;
mod split;

pub use kept::KeptPresence;
pub use measured::MeasuredPresence;
pub use memory::{MemoryPlaces, MemoryPresence};
pub use redis::RedisPresence;
pub use split::SplitDirectory;

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::{RoomName, SessionId, UserId};
use crate::port::PortError;

/// One node's view of who is in which place of a deployment.
///
/// **Places.** A place is anything that has members: a room, a namespace, a name that only one may have (a place with a
/// capacity of 1). Members are counted, not sessions: several sessions of one member are in a place once. A session
/// keeps the member as which it entered until it has left.
///
/// **Joined once, left once.** For each member and place, [`Entered::First`] and [`Departed`] take turns, whichever
/// nodes they are told on. A departure is told to one node, once; an answer that is lost on its way is not told again.
/// Each carries a sequence number: whatever happened later in a deployment has a higher one, also after the store lost what
/// it had, so that those who are told by different nodes can tell which came last.
///
/// **One holder.** A session is in a place for one holder, the last one that entered it as [`Arrival::Newest`]. What an
/// older one still asks, on whichever node, changes nothing: no leaving, no entering as [`Arrival::Restored`], nor as
/// [`Arrival::Newest`] if its term is lower. Entering where the session already is takes no seat, and is
/// [`Entered::Again`].
///
/// **Lateness.** What was given up may be carried out later, after what its holder asked since. Each operation carries its
/// step; where the session is in a place by a higher one, what comes late changes nothing. What comes late where the
/// session is not, an entering after the leaving, stays: [`Beat::held`] shows it to the node, which takes it out.
///
/// **Leases.** What a node entered stays as long as the node beats, every third of its lease. When the lease has run
/// out, the next beat of any other node takes all of it out: at most a lease and a beat after a node was killed.
/// When nobody has beaten for half a lease, the store itself was away: then no node is given up for another lease.
///
/// **Backpressure.** Departures wait in the store until some node's beat takes them ([`Beating::most`]).
///
/// **Outboxes.** Who is told to have come or left, and which place is empty then, is in the outboxes that want it by the same step,
/// where they share a store.
///
/// **Errors.** What was asked may have been done, in part or later. All of it may be asked again, with the same step.
#[async_trait]
pub trait Presence: Send + Sync + 'static {
    /// Enters a session into places; one answer for each, in order. Others that are full change nothing for the rest.
    async fn enter(&self, who: &Attendee, places: &[Place], arrival: Arrival) -> Result<Vec<Entry>, PortError>;

    /// Enters a session into the first of numbered places that has fewer members than
    /// `capacity` (0 counts as 1), in one step; returns its number. A member that this has seated and that is still there
    /// gets the same place. As [`Arrival::Restored`] it finds out where a session is, or would be.
    async fn enter_first(
        &self,
        who: &Attendee,
        places: &Numbered,
        capacity: usize,
        arrival: Arrival,
    ) -> Result<(u32, Entry), PortError>;

    /// Takes a session out of places: at once, or when `linger` has passed (on the beat after that) unless it comes back.
    /// Where it lingers already, the time goes on. Returns the members whose last session left just now, which none does
    /// that lingers.
    async fn leave(&self, who: &Attendee, places: &[RoomName], linger: Duration) -> Result<Vec<Departed>, PortError>;

    /// How many members each place has, in order.
    async fn count(&self, places: &[RoomName]) -> Result<Vec<u64>, PortError>;

    /// Members of a place in the order of their bytes, from the one after `after` on, at least 1 and at most `limit` or
    /// the configured page. Who is there all the while is on exactly one page, whoever else comes and goes.
    async fn list(&self, place: &RoomName, after: Option<&str>, limit: usize) -> Result<Page, PortError>;

    /// Renews the node's lease and takes out everybody whose time is over. To be called every third of the lease, and
    /// sooner after an error. What it found before an error is in the next answer.
    async fn beat(&self, wish: Beating) -> Result<Beat, PortError>;
}

/// Which places of a deployment have somebody, for people and back ends that look around: the reading side of [`Presence`].
///
/// **Rooms alone.** Namespaces, names and the like are no rooms, and not listed.
///
/// **Pages.** In the order of their bytes. What has somebody all the while is on exactly one page, whoever else comes and goes;
/// a page may have fewer rooms than it might, also none, while there are more.
#[async_trait]
pub trait Directory: Send + Sync + 'static {
    /// Rooms of a namespace that have members, those after `after`: at least 1 is looked at, and at most `limit` or the
    /// configured page.
    async fn rooms(&self, namespace: &str, after: Option<&RoomName>, limit: usize) -> Result<BusyRooms, PortError>;
}

/// Some of the rooms that have members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BusyRooms {
    /// In the order of their bytes.
    pub rooms: Vec<Busy>,
    /// After which room the next page begins, if there may be more.
    pub next: Option<RoomName>,
}

/// A room that has members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Busy {
    /// Which.
    pub room: RoomName,
    /// How many.
    pub members: u64,
}

/// What a beat is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beating {
    /// How many departures it takes at the most.
    pub most: usize,
    /// Whether the node begins anew, as one that the store does not know: [`Beat::forgotten`] is the answer, and what it does
    /// not enter again ends with its old lease.
    pub anew: bool,
    /// Whether it tells what the node has entered ([`Beat::held`]): as many round trips as it has hundreds of entries.
    pub review: bool,
}

impl Default for Beating {
    fn default() -> Self {
        Self { most: usize::MAX, anew: false, review: false }
    }
}

/// A session, as it is in places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attendee {
    /// Which session.
    pub session: SessionId,
    /// Which connection has it: random, as in the lease by which it holds the session.
    pub holder: u64,
    /// Which of the session's holders that is, in their order: of two, the later one has the higher number.
    pub term: u32,
    /// When this was decided, in the order of what the holder asks.
    pub step: u32,
    /// Who it is in places: a user with several sessions is one member, a session that stands for itself is its own.
    pub member: String,
    /// Who the token says it is.
    pub user: Option<UserId>,
}

/// Why a session enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Its connection is new, or asks for the place: it takes the session over from an older connection.
    Newest,
    /// The store had forgotten the node ([`Beat::forgotten`]). The session may have come back elsewhere meanwhile.
    Restored,
}

/// A place to enter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub room: RoomName,
    /// How many members may be in it; nothing for any number.
    pub capacity: Option<usize>,
}

/// What came of entering, and its place in the order of what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What came of it.
    pub entered: Entered,
    /// Its sequence number, if it is [`Entered::First`]; else 0.
    pub sequence: u64,
}

/// What came of entering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// The member was not there.
    First,
    /// It was: another session of it, or the same one, that perhaps came back in time.
    Again,
    /// As many members as fit are there, and this is none of them.
    Full,
    /// Another holder has the session there: any for [`Arrival::Restored`], else one with a higher term.
    Elsewhere,
}

/// Places that differ in a number, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Numbered {
    /// What stands before the number: the beginning of a room's name.
    pub before: String,
    /// What stands after it; it does not begin with a digit.
    pub after: String,
}

impl Numbered {
    /// The place of a number.
    #[must_use]
    pub fn name(&self, number: u32) -> RoomName {
        RoomName::trusted(&format!("{}{number}{}", self.before, self.after))
    }
}

/// A member's last session left a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departed {
    /// Which place.
    pub place: RoomName,
    /// That session.
    pub session: SessionId,
    /// Who left.
    pub member: String,
    /// Who the token said it was when it entered.
    pub user: Option<UserId>,
    /// Why.
    pub cause: Cause,
    /// Its place in the order of what happened.
    pub sequence: u64,
}

/// Why a member departed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It left.
    Left,
    /// It did not come back in time.
    Lingered,
    /// The lease of its node ran out.
    Lease,
}

impl Cause {
    /// One of `metrics::DEPARTURE_CAUSES`; the word that backends use as well.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Lingered => "lingered",
            Self::Lease => "lease",
        }
    }
}

/// Some of a place's members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order of their bytes.
    pub members: Vec<Member>,
    /// Where the next page begins, if there are more.
    pub next: Option<String>,
    /// How many there are in all.
    pub count: u64,
}

/// A member of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// As which its sessions entered.
    pub member: String,
    /// Who the token of the first of them says it is.
    pub user: Option<UserId>,
    /// When the first of them entered, in milliseconds since 1970.
    pub since_ms: u64,
}

/// What a beat found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// The store no longer knew the node: each of its sessions is to be entered again, as [`Arrival::Restored`].
    pub forgotten: bool,
    /// Who left since the last beat because its time was over, wherever it had entered.
    pub departed: Vec<Departed>,
    /// The nodes whose lease ran out with sessions on them, by name. Each is told to one node.
    pub lost: Vec<String>,
    /// Sessions that this node has in places, each counted in each place.
    pub entries: u64,
    /// All of these, if that was wished and could be read in time. Others enter and leave meanwhile.
    pub held: Option<Vec<Held>>,
    /// Whether connections to the store were lost since the last beat, or it is another one: what it had acknowledged may
    /// be gone, and what was given up may still come.
    pub in_doubt: bool,
}

/// A session in a place, as the store has it for a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    /// Which session.
    pub session: SessionId,
    /// For which holder it is there.
    pub holder: u64,
    /// Which of the session's holders that is.
    pub term: u32,
    /// By which of its steps it is there.
    pub step: u32,
    /// The place.
    pub place: RoomName,
}

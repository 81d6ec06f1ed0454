//! The hub with its shards against the plainest fan-out there could be: whatever is joined, left and sent, and however
//! far the shards are behind, each session is handed the same, in the same order, once.

use std::sync::atomic::AtomicUsize;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::stream::BoxStream;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::auth::Identity;
use crate::domain::{Epoch, Event, Except, Frame, Pid, SessionId};
use crate::log::{AppendError, Appended, FeedItem, Page, Range, Terms};
use crate::node::limits::Limiters;
use crate::node::session::{Client, CloseReason, Outlet, Patience, Undelivered, Waiting};
use crate::port::{Port, PortError};
use crate::sessions::Lease;

const EPOCH: Epoch = Epoch(1);
const SESSIONS: usize = 6;
const ROOMS: usize = 3;

/// Nothing, of a log that stands at an offset.
pub(super) fn page(head: u64) -> Page {
    Page {
        events: Vec::new(),
        read_to: None,
        unreadable: false,
        more: false,
        trimmed: false,
        oldest: None,
        floor: Offset::START,
        began: Offset::START,
        head: Position { epoch: EPOCH, offset: Offset(head) },
        in_doubt_before: None,
    }
}

/// A log that stands where its test says.
struct Head(Arc<AtomicU64>);

#[async_trait]
impl Log for Head {
    async fn append(&self, _: &RoomName, _: &Event, _: Terms<'_>) -> Result<Appended, AppendError> {
        Err(Port::Log.not_now("append", "only read here").into())
    }

    async fn read(&self, _: &RoomName, _: Range, _: usize) -> Result<Page, PortError> {
        Ok(page(self.0.load(Ordering::SeqCst)))
    }

    async fn subscribe(&self, _: &RoomName) -> Result<(), PortError> {
        Ok(())
    }

    async fn unsubscribe(&self, _: &RoomName) {}

    async fn signal(&self, _: &RoomName, _: &Event) -> Result<(), PortError> {
        Err(Port::Log.not_now("signal", "only read here"))
    }

    async fn mark(&self, _: &RoomName, _: u64) -> Result<(), PortError> {
        Err(Port::Log.not_now("mark", "only read here"))
    }

    fn feed(&self) -> BoxStream<'static, FeedItem> {
        Box::pin(futures_util::stream::pending())
    }
}

/// The names of the frames that a client was handed.
#[derive(Clone, Default)]
pub(super) struct Heard(Arc<Mutex<Vec<String>>>);

impl Outlet for Heard {
    fn deliver(&self, frame: &Frame) -> Result<(), Undelivered> {
        let list: Vec<serde_json::Value> = serde_json::from_str(&frame.text(false)).unwrap();
        self.0.lock().push(list[0].as_str().unwrap().to_owned());
        Ok(())
    }

    fn waiting(&self) -> Waiting {
        Waiting::default()
    }

    fn close(&self, _: CloseReason) {}
}

impl Heard {
    fn names(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}

pub(super) struct World {
    hub: Hub,
    head: Arc<AtomicU64>,
    via: Arc<str>,
    limiters: Limiters,
}

pub(super) fn room(number: usize) -> RoomName {
    RoomName::parse(&format!("room {number}")).unwrap()
}

impl World {
    pub(super) fn new(shards: usize, slice: usize) -> Self {
        let (head, metrics) = (Arc::<AtomicU64>::default(), Arc::new(Metrics::new()));
        let mut hub = Hub::new(Arc::new(Head(head.clone())), Duration::ZERO, shards, Arc::default(), metrics.clone());
        let small = |number| Arc::new(Shard::with_slice(number, metrics.clone(), slice));
        hub.shards = (0..shards).map(small).collect();
        let limits = crate::config::load(None, std::iter::empty()).unwrap().limits;
        Self { hub, head, via: "join".into(), limiters: Limiters::new(&limits, metrics) }
    }

    /// A session, and what its client is handed.
    pub(super) fn session(&self, holder: u64) -> (Arc<Session>, Heard) {
        let (address, transport) = ([127, 0, 0, 1].into(), "websocket");
        let auth = Default::default();
        let client = Client { identity: Identity::default(), namespace: "/".into(), auth, address, transport };
        let allowance = Arc::new(self.limiters.allowance(None, [127, 0, 0, 1].into()));
        let patience = Patience { events: 10, bytes: 10_000, time: Duration::from_secs(1) };
        let (lease, heard) = (Lease { pid: Pid::random().into(), holder }, Heard::default());
        let outlet = Box::new(heard.clone());
        (Arc::new(Session::new(SessionId::random(), client, lease, allowance, patience, outlet)), heard)
    }

    fn join(&self, session: &Arc<Session>, number: usize) -> Position {
        let entered = self.hub.enter(session, &room(number), &self.via).now_or_never();
        entered.expect("the log answers at once").unwrap()
    }

    fn send(&self, number: usize, kind: Kind, name: &str, except: Option<SessionId>) {
        let except = except.map(Except::Session);
        let (name, args) = (name.to_owned(), "[]".to_owned());
        let event = Event { name, args, attachments: Vec::new(), except: except.clone(), at_ms: 0 };
        let frame = Arc::new(Frame::signalled(&event).unwrap());
        let message = Message { kind, frame, except, taken_ms: None };
        // By turns handed over here and now, where that can be, and by the shards.
        let calm = self.head.load(Ordering::Relaxed).is_multiple_of(2);
        self.hub.dispatch(&room(number), message, calm).now_or_never().expect("the queues are not full");
    }

    /// Publishes an event that is called like its offset.
    fn publish(&self, number: usize, except: Option<SessionId>) -> Offset {
        let offset = Offset(self.head.fetch_add(1, Ordering::SeqCst) + 1);
        self.send(number, Kind::Event(Position { epoch: EPOCH, offset }), &offset.to_string(), except);
        offset
    }

    fn finish(&self) {
        for shard in self.hub.shards.iter() {
            while shard.round() {}
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Join(usize, usize),
    Leave(usize, usize),
    /// To a room; not to a session, if there is one of that number.
    Publish(usize, usize),
    Repeat(usize),
    Signal(usize),
    Notice(usize),
    /// A session is given everything of a room from the log.
    Skip(usize, usize),
    Work(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (session, room) = (0..SESSIONS, 0..ROOMS);
    prop_oneof![
        4 => (session.clone(), room.clone()).prop_map(|(session, room)| Step::Join(session, room)),
        2 => (session.clone(), room.clone()).prop_map(|(session, room)| Step::Leave(session, room)),
        6 => (room.clone(), 0..SESSIONS * 3).prop_map(|(room, except)| Step::Publish(room, except)),
        1 => room.clone().prop_map(Step::Repeat),
        2 => room.clone().prop_map(Step::Signal),
        1 => room.clone().prop_map(Step::Notice),
        1 => (session, room).prop_map(|(session, room)| Step::Skip(session, room)),
        6 => (0..2_usize).prop_map(Step::Work),
    ]
}

/// What one session is to be handed: at once, as if everybody were.
#[derive(Default)]
struct Expected {
    rooms: Vec<usize>,
    /// Name, room, and whether it is a published event.
    handed: Vec<(String, usize, bool)>,
}

impl Expected {
    fn names(&self) -> Vec<String> {
        self.handed.iter().map(|(name, ..)| name.clone()).collect()
    }

    /// Of what was not handed over yet, some is not to be any more.
    fn cancel(&mut self, heard: &Heard, mut cancelled: impl FnMut(usize, bool) -> bool) {
        let (mut at, done) = (0, heard.0.lock().len());
        self.handed.retain(|(_, room, published)| {
            at += 1;
            at <= done || !cancelled(*room, *published)
        });
    }
}

fn check(steps: &[Step], shards: usize, slice: usize) -> Result<(), TestCaseError> {
    let world = World::new(shards, slice);
    let sessions: Vec<_> = (1..=SESSIONS as u64).map(|holder| world.session(holder)).collect();
    let mut expected: Vec<_> = (0..SESSIONS).map(|_| Expected::default()).collect();
    for (number, step) in steps.iter().enumerate() {
        let mut expect = |name: String, room: usize, published: bool, except: usize| {
            for (at, expected) in expected.iter_mut().enumerate() {
                if at != except && expected.rooms.contains(&room) {
                    expected.handed.push((name.clone(), room, published));
                }
            }
        };
        match *step {
            Step::Join(session, room) => {
                world.join(&sessions[session].0, room);
                expected[session].rooms.retain(|joined| *joined != room);
                expected[session].rooms.push(room);
            }
            Step::Leave(at, left) => {
                let (session, heard) = &sessions[at];
                session.forget(&room(left));
                world.hub.leave(session, &room(left));
                expected[at].rooms.retain(|joined| *joined != left);
                expected[at].cancel(heard, |room, _| room == left);
            }
            Step::Publish(room, except) => {
                let offset = world.publish(room, sessions.get(except).map(|(session, _)| session.id));
                expect(offset.to_string(), room, true, except);
            }
            // The feed may bring again what it brought already.
            Step::Repeat(number) => {
                let last = world.hub.rooms.lock().get(&room(number)).and_then(|room| room.state.lock().last);
                last.into_iter().for_each(|last| world.send(number, Kind::Event(last), "again", None));
            }
            Step::Signal(room) => {
                world.send(room, Kind::Signal, &format!("signal {number}"), None);
                expect(format!("signal {number}"), room, false, SESSIONS);
            }
            Step::Notice(room) => {
                world.send(room, Kind::Notice, &format!("notice {number}"), None);
                expect(format!("notice {number}"), room, false, SESSIONS);
            }
            Step::Skip(at, skipped) => {
                let (session, heard) = &sessions[at];
                world.hub.skip_to(session, &room(skipped), Offset(world.head.load(Ordering::SeqCst)));
                expected[at].cancel(heard, |room, published| room == skipped && published);
            }
            Step::Work(shard) => {
                world.hub.shards[shard % shards].round();
            }
        }
        for ((_, heard), expected) in sessions.iter().zip(&expected) {
            prop_assert!(expected.names().starts_with(&heard.names()), "after step {number}: {:?}", heard.names());
        }
    }
    world.finish();
    for ((_, heard), expected) in sessions.iter().zip(&expected) {
        prop_assert_eq!(heard.names(), expected.names());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn each_session_is_handed_what_one_plain_fan_out_would_hand_it(
        steps in vec(step(), 0..150), shards in 1..=2_usize, slice in 1..=3_usize,
    ) {
        check(&steps, shards, slice)?;
    }
}

#[test]
fn what_comes_after_a_broadcast_does_not_wait_for_its_end_and_never_overtakes_it() {
    let world = World::new(1, 4);
    let crowd: Vec<_> = (1..=100).map(|holder| world.session(holder)).collect();
    let (few, (alone, heard)) = (&crowd[98..], world.session(101));
    for (session, _) in &crowd {
        world.join(session, 0);
    }
    for session in few.iter().map(|(session, _)| session).chain([&alone]) {
        world.join(session, 1);
    }
    let (broadcast, event) = (world.publish(0, None).to_string(), world.publish(1, None).to_string());
    for _ in 0..4 {
        assert!(world.hub.shards[0].round(), "the broadcast goes on");
    }
    assert_eq!(heard.names(), [event.as_str()]);
    for (_, heard) in few {
        assert_eq!(heard.names(), [broadcast.as_str(), event.as_str()]);
    }
    world.finish();
    for (at, (_, heard)) in crowd.iter().enumerate() {
        assert_eq!(heard.names().len(), if at < 98 { 1 } else { 2 });
    }
}

#[test]
fn what_is_left_of_an_older_history_is_no_news_once_the_room_was_read_to_a_newer_one() {
    let world = World::new(1, 4);
    let (member, heard) = world.session(1);
    world.join(&member, 0);
    let older = Position { epoch: EPOCH, offset: world.publish(0, None) };
    let newer = Position { epoch: Epoch(EPOCH.0 + 1), offset: Offset(older.offset.0 + 5) };
    world.hub.catch_up(&room(0), newer);
    let leftover = Position { epoch: EPOCH, offset: Offset(older.offset.0 + 2) };
    world.send(0, Kind::Event(leftover), "leftover", None);
    let next = Position { offset: Offset(newer.offset.0 + 1), ..newer };
    world.send(0, Kind::Event(next), "next", None);
    world.finish();
    assert_eq!(*heard.0.lock(), [older.offset.to_string(), "next".to_owned()]);
}

#[test]
fn after_a_join_or_a_leave_or_a_skip_nothing_of_before_is_on_its_way() {
    let world = Arc::new(World::new(1, 64));
    let stop = Arc::new(AtomicUsize::new(0));
    let (session, heard) = world.session(1);
    let worker = std::thread::spawn({
        let (world, stop) = (world.clone(), stop.clone());
        move || {
            while stop.load(Ordering::Acquire) == 0 {
                world.hub.shards[0].round();
            }
        }
    });
    for turn in 0..5_000 {
        let boundary = world.join(&session, 0).offset;
        let first = world.publish(0, None);
        assert_eq!(boundary.0 + 1, first.0);
        world.publish(0, None);
        if turn % 2 == 0 {
            world.hub.skip_to(&session, &room(0), Offset(first.0 + 1));
        } else {
            session.forget(&room(0));
            world.hub.leave(&session, &room(0));
        }
        let heard_then = heard.names();
        while !world.hub.shards[0].is_idle() {
            std::thread::yield_now();
        }
        assert_eq!(heard.names(), heard_then, "in turn {turn}");
        heard.0.lock().clear();
        session.forget(&room(0));
        world.hub.leave(&session, &room(0));
    }
    stop.store(1, Ordering::Release);
    worker.join().unwrap();
}

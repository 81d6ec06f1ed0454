//! What is still being answered, a join or a comeback: what is stored of its session meanwhile says so, and what the log does
//! meanwhile changes nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use gateway_core::archive::{Archive, Archived, Archives, MemoryArchive, Record};
use gateway_core::auth::Identity;
use gateway_core::domain::{Event, Mark, Offset, Pid, Position, RoomName, UserId};
use gateway_core::log::{AppendError, Appended, FeedItem, Log, MemoryLog, Page, Range, Retention, Terms};
use gateway_core::node::{Entrance, Past, Unrecovered, Wanted, wanted};
use gateway_core::outbox::{Bounds, Pattern, Wants};
use gateway_core::port::PortError;
use gateway_core::sessions::{Lease, Sessions};
use gateway_core::supervisor::Supervisor;
use tokio::sync::Semaphore;

use crate::by_hand::{World, event, room};
use crate::support::{self, eventually};

/// A log that reads nothing back for a while, and does not listen to a room for a while.
struct Slow {
    log: MemoryLog,
    reads: Semaphore,
    waiting: Semaphore,
    /// Whose events nobody may hear yet.
    silent: RoomName,
    listens: Semaphore,
}

impl Slow {
    fn new(events: usize) -> Arc<Self> {
        let hour = Duration::from_secs(3600);
        Arc::new(Self {
            log: MemoryLog::new(Retention::of_events(events, hour, hour)),
            reads: Semaphore::new(0),
            waiting: Semaphore::new(0),
            silent: room("silent"),
            listens: Semaphore::new(0),
        })
    }

    async fn say(&self, name: &str) -> Position {
        self.log.append(&room("r"), &event(name, "[]"), Terms::default()).await.unwrap().position
    }
}

#[async_trait]
impl Log for Slow {
    async fn append(&self, room: &RoomName, event: &Event, terms: Terms<'_>) -> Result<Appended, AppendError> {
        self.log.append(room, event, terms).await
    }

    async fn read(&self, room: &RoomName, range: Range, bytes: usize) -> Result<Page, PortError> {
        if matches!(range, Range::After { .. }) {
            self.waiting.add_permits(1);
            self.reads.acquire().await.unwrap().forget();
        }
        self.log.read(room, range, bytes).await
    }

    async fn subscribe(&self, room: &RoomName) -> Result<(), PortError> {
        if *room == self.silent {
            self.waiting.add_permits(1);
            self.listens.acquire().await.unwrap().forget();
        }
        self.log.subscribe(room).await
    }

    async fn unsubscribe(&self, room: &RoomName) {
        self.log.unsubscribe(room).await;
    }

    async fn signal(&self, room: &RoomName, event: &Event) -> Result<(), PortError> {
        self.log.signal(room, event).await
    }

    async fn mark(&self, room: &RoomName, at_ms: u64) -> Result<(), PortError> {
        self.log.mark(room, at_ms).await
    }

    fn feed(&self) -> BoxStream<'static, FeedItem> {
        self.log.feed()
    }
}

#[tokio::test]
async fn who_is_stored_while_it_joins_and_breaks_off_is_not_taken_for_one_that_has_everything() {
    let log = Slow::new(100);
    let (world, pid) = (World::new(support::config(&[]), log.clone()), Pid::random());
    let (session, _) = world.session_of(pid);
    let heard = log.say("1").await.offset;
    let missed = log.say("2").await.offset;
    let via = "join".into();
    let entrance = |after: Option<Offset>| Entrance { via: &via, after, partial: false, seat: None };
    let (name, enters) = (room("r"), entrance(Some(heard)));
    let mut joining = std::pin::pin!(world.node.join(&session, &name, &enters));
    tokio::select! {
        _ = &mut joining => panic!("nothing was read"),
        _ = log.waiting.acquire() => {}
    }
    // Something else has it stored.
    world.node.join(&session, &room("other"), &entrance(None)).await.unwrap();
    let stored = async || world.sessions.claim(Lease::new(pid), "/", None).await.unwrap().unwrap();
    let rooms = wanted(&stored().await, Mark::default());
    assert_eq!(rooms.unwrap_err(), Unrecovered::Interrupted, "it heard neither what it missed nor that it did");
    log.reads.add_permits(100);
    joining.await.unwrap();
    assert!(missed > heard);
}

#[tokio::test]
async fn who_is_stored_while_it_comes_back_and_breaks_off_misses_what_it_missed() {
    let log = Slow::new(100);
    let (world, pid) = (World::new(support::config(&[]), log.clone()), Pid::random());
    let (session, _) = world.session_of(pid);
    let heard = log.say("1").await.offset;
    log.say("2").await;
    let via: Arc<str> = "join".into();
    let comes_to = |name: &str| Wanted {
        room: room(name),
        after: heard,
        complete_from: heard,
        kept_at: None,
        since: Some(heard),
        via: via.clone(),
        partial: false,
        seat: None,
    };
    let rooms = vec![comes_to("r"), comes_to("taken"), comes_to("silent")];
    let mark = Mark { offset: heard, replay: 0 };
    let mut coming = std::pin::pin!(world.node.recover(&session, rooms, &[], mark));
    tokio::select! {
        _ = &mut coming => panic!("it was not listened to"),
        _ = log.waiting.acquire() => {}
    }
    // A back end takes it out of a room, and that is stored.
    assert!(world.node.take_out_of(&session, &room("taken")).await.unwrap());
    let stored = world.sessions.claim(Lease::new(pid), "/", None).await.unwrap().unwrap();
    let rooms = wanted(&stored, mark).unwrap();
    let room_r = rooms.iter().find(|wanted| wanted.room == room("r")).expect("it is in the room");
    assert_eq!((room_r.after, room_r.complete_from), (heard, heard), "it heard no more yet");
    log.reads.add_permits(100);
    log.listens.add_permits(1);
    let (hold, replay) = coming.await.unwrap();
    assert_eq!(replay.events(), 1);
    world.node.replay(&session, hold, replay).await;
}

#[tokio::test]
async fn who_is_taken_out_of_rooms_while_it_comes_back_to_them_is_out() {
    let log = Slow::new(100);
    let world = World::new(support::config(&[]), log.clone());
    let (session, _) = world.session();
    let ann = UserId::parse("ann").unwrap();
    session.identify(Identity { user: Some(ann.clone()), ..Identity::default() });
    let heard = log.say("1").await.offset;
    let via: Arc<str> = "join".into();
    let comes_to = |name: &str, since: Option<Offset>| Wanted {
        room: room(name),
        after: heard,
        complete_from: heard,
        kept_at: None,
        since,
        via: via.clone(),
        partial: false,
        seat: None,
    };
    let later = Offset(heard.0 + 1);
    let rooms = vec![
        comes_to("r", Some(heard)),
        comes_to("silent", Some(heard)),
        comes_to("later", Some(later)),
        comes_to("now", None),
    ];
    let mark = Mark { offset: heard, replay: 0 };
    let mut coming = std::pin::pin!(world.node.recover(&session, rooms, &[], mark));
    tokio::select! {
        _ = &mut coming => panic!("it was not listened to"),
        _ = log.waiting.acquire() => {}
    }
    // What came before is still to be heard in this room: it is not in it yet.
    for name in ["silent", "later", "now"] {
        world.node.note_removal(&ann, &room(name), heard);
    }
    assert!(!world.node.take_out_of(&session, &room("silent")).await.unwrap());
    log.reads.add_permits(100);
    log.listens.add_permits(1);
    let (hold, replay) = coming.await.unwrap();
    assert!(!session.is_in(&room("silent")), "it was taken out of it");
    assert!(["r", "later", "now"].iter().all(|name| session.is_in(&room(name))), "it joined these later");
    assert_eq!(replay.rooms(), ["r", "later", "now"].map(room));
    world.node.replay(&session, hold, replay).await;
}

#[tokio::test]
async fn what_leaves_the_log_while_a_room_is_entered_comes_from_the_archive() {
    let silent = room("silent");
    for (partial, later) in [(true, 7), (false, 7), (false, 40)] {
        let log = Slow::new(5);
        log.reads.add_permits(1_000);
        let (archive, bounds) = (Arc::new(MemoryArchive::new(1 << 20)), Bounds { entries: 1, bytes: 1 });
        let wants = Wants::new("test", bounds).with_archive(vec![Pattern::new("silent")], bounds);
        let archived = Archived::new(Archives::one(archive.clone()), wants);
        let world = World::new(support::config(&[]), Past::new(log.clone(), Some(archived), support::PATIENCE));
        world.node.run("node", &world.config, &Supervisor::default());
        let mut said = Vec::new();
        let mut say = async |until: usize| {
            let mut records = Vec::new();
            while said.len() < until {
                let (name, before) = (format!("e{}", said.len()), said.last().copied());
                let position = log.append(&silent, &event(&name, "[]"), Terms::default()).await.unwrap().position;
                let (room, event, user) = (silent.clone(), event(&name, "[]"), None);
                records.push(Record::Event { room, position, before, user, event, takes_back: None });
                said.push(position.offset);
            }
            archive.write(&records, said[said.len() - 1]).await.unwrap();
        };
        say(12).await;
        let (session, hears) = world.session();
        let (via, name) = ("join".into(), silent.clone());
        let entrance = Entrance { via: &via, after: Some(Offset::START), partial, seat: None };
        let mut joining = std::pin::pin!(world.node.join(&session, &name, &entrance));
        tokio::select! {
            _ = &mut joining => panic!("it was not listened to"),
            _ = log.waiting.acquire() => {}
        }
        // The archive was read, and what comes next is nowhere in the log when that is.
        say(12 + later).await;
        log.listens.add_permits(1);
        let joined = joining.await.unwrap();
        assert_eq!(joined.recovered, Some(Ok(())), "partial: {partial}, {later} later");
        say(12 + later + 3).await;
        let all: Vec<_> = (0..12 + later + 3).map(|number| format!("e{number}")).collect();
        eventually("it hears what is live", || async { hears.names().last() == all.last() }).await;
        assert_eq!(hears.names(), all, "each once, in order");
        assert_eq!(hears.notices("gateway:gap"), Vec::<serde_json::Value>::new());
        let told = hears.notices("gateway:replayed");
        assert_eq!(told, [serde_json::json!({ "room": "silent", "events": 12 + later })]);
    }
}

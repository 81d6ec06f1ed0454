//! What the fan-out delivers on one core and on two, and what a broadcast to 20,000 does to other rooms.
//!
//! `cargo bench --package gateway --bench fanout`. Everything of a node but sockets: log in memory, feed, shards, gates, and clients
//! that cost about as much CPU as a small write to a socket.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark that cannot go on should panic")]

#[path = "../tests/support/router.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "shared with tests")]
mod router;

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use gateway_core::auth::Identity;
use gateway_core::domain::{Event, Frame, RoomName};
use gateway_core::log::Terms;
use gateway_core::node::{CloseReason, Entrance, Node, Outlet, Session, Undelivered, Waiting};
use gateway_core::routes::RouteTable;
use router::Bench;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Rounds of work of a delivery: about 5 µs at 3 GHz. Not a time, which would pass for a thread that does not run too.
const WORK: u64 = 4_000;
const CROWD: usize = 20_000;
const DATA: &str =
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";

fn main() {
    divan::main();
    // Not when it is only tried out, as a test.
    if std::env::args().any(|argument| argument == "--bench") {
        during_broadcasts(1);
        during_broadcasts(2);
    }
}

/// How many frames some clients were handed together, and who waits for how many.
#[derive(Default)]
struct Heard {
    frames: AtomicUsize,
    awaited: AtomicUsize,
    reached: Notify,
}

impl Heard {
    /// Begins to wait for that many more.
    fn expect(&self, more: usize) {
        self.awaited.fetch_add(more, Ordering::SeqCst);
    }

    fn has_all(&self) -> bool {
        self.frames.load(Ordering::SeqCst) >= self.awaited.load(Ordering::SeqCst)
    }

    async fn all(&self) {
        while !self.has_all() {
            self.reached.notified().await;
        }
    }
}

/// A client that costs something to deliver to.
struct Costly(Arc<Heard>);

impl Outlet for Costly {
    fn deliver(&self, frame: &Frame) -> Result<(), Undelivered> {
        let start = frame.size() as u64;
        black_box((0..WORK).fold(start, |value, round| black_box(value.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ round)));
        if self.0.frames.fetch_add(1, Ordering::SeqCst) + 1 == self.0.awaited.load(Ordering::SeqCst) {
            self.0.reached.notify_one();
        }
        Ok(())
    }

    fn waiting(&self) -> Waiting {
        Waiting::default()
    }

    fn close(&self, _: CloseReason) {}
}

struct World {
    runtime: Runtime,
    bench: Bench,
}

impl World {
    fn new(threads: usize) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(threads).enable_all().build().unwrap();
        let bench = runtime.block_on(Bench::new(RouteTable::load("native", None).unwrap()));
        Self { runtime, bench }
    }

    /// Clients that count what they hear together.
    fn clients(&self, number: usize) -> (Vec<Arc<Session>>, Arc<Heard>) {
        let heard = Arc::<Heard>::default();
        let session = async || self.bench.session_to(Identity::default(), Box::new(Costly(heard.clone()))).await;
        let sessions = self.runtime.block_on(async {
            let mut sessions = Vec::new();
            for _ in 0..number {
                sessions.push(session().await);
            }
            sessions
        });
        (sessions, heard)
    }

    fn join<'a>(&self, sessions: impl IntoIterator<Item = &'a Arc<Session>>, room: &RoomName) {
        let via = "join".into();
        let entrance = Entrance { via: &via, after: None, partial: false, seat: None };
        self.runtime.block_on(async {
            for session in sessions {
                self.bench.router.node().join(session, room, &entrance).await.unwrap();
            }
        });
    }

    fn node(&self) -> Arc<Node> {
        self.bench.router.node().clone()
    }

    /// Runs on a worker, like everything of a node.
    fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        self.runtime.block_on(self.runtime.spawn(work)).unwrap()
    }
}

async fn publish(node: &Node, room: &RoomName) {
    let args = format!(r#"["{DATA}"]"#);
    let event = Event { name: "message".into(), args, attachments: Vec::new(), except: None, at_ms: 0 };
    node.publish(room, &event, Terms::default(), None).await.unwrap();
}

fn room(number: usize) -> RoomName {
    RoomName::parse(&format!("room {number}")).unwrap()
}

/// Deliveries per second when there is always something to deliver, with rooms of 100, by worker threads.
#[divan::bench(args = [1, 2], sample_size = 1, sample_count = 20)]
fn saturation(bencher: Bencher<'_, '_>, threads: usize) {
    const ROOMS: usize = 20;
    const EVENTS: usize = 500;
    let world = World::new(threads);
    let (sessions, heard) = world.clients(ROOMS * 100);
    sessions.chunks(100).enumerate().for_each(|(number, members)| world.join(members, &room(number)));
    let rooms: Vec<_> = (0..EVENTS).map(|number| room(number % ROOMS)).collect();
    bencher.counter(ItemsCount::new(EVENTS * 100)).bench_local(|| {
        heard.expect(EVENTS * 100);
        let (node, rooms, heard) = (world.node(), rooms.clone(), heard.clone());
        world.run(async move {
            for room in &rooms {
                publish(&node, room).await;
            }
            heard.all().await;
        });
    });
}

/// An event to a room of nine on an idle node, until the last has heard it.
#[divan::bench(args = [1, 2], sample_size = 1, sample_count = 500)]
fn a_small_room(bencher: Bencher<'_, '_>, threads: usize) {
    let world = World::new(threads);
    let (sessions, heard) = world.clients(9);
    world.join(&sessions, &room(0));
    bencher.bench_local(|| {
        heard.expect(9);
        let (node, heard) = (world.node(), heard.clone());
        world.run(async move {
            publish(&node, &room(0)).await;
            heard.all().await;
        });
    });
}

/// A join and a leave, by how many others are in the room.
#[divan::bench(args = [1, CROWD], sample_size = 100, sample_count = 50)]
fn join_and_leave(bencher: Bencher<'_, '_>, others: usize) {
    let world = World::new(2);
    let (sessions, _) = world.clients(others);
    world.join(&sessions, &room(0));
    let (one, _) = world.clients(1);
    bencher.bench_local(|| {
        world.join(&one, &room(0));
        world.runtime.block_on(world.bench.router.node().leave(&one[0], &room(0))).1.unwrap();
    });
}

/// What other rooms notice of broadcasts to 20,000: an event to a room of nine again and again while one is under way,
/// until the last of the nine has heard it. Two of them are in both.
fn during_broadcasts(threads: usize) {
    const BROADCASTS: usize = 20;
    let world = World::new(threads);
    let ((crowd, crowd_heard), (both, both_heard), (few, few_heard)) =
        (world.clients(CROWD - 2), world.clients(2), world.clients(7));
    world.join(crowd.iter().chain(&both), &room(0));
    world.join(few.iter().chain(&both), &room(1));
    let node = world.node();
    let (mut delays, took) = world.run(async move {
        let (mut delays, started) = (Vec::new(), Instant::now());
        for _ in 0..BROADCASTS {
            crowd_heard.expect(CROWD - 2);
            both_heard.expect(2);
            publish(&node, &room(0)).await;
            while !crowd_heard.has_all() {
                few_heard.expect(7);
                both_heard.expect(2);
                let sent = Instant::now();
                publish(&node, &room(1)).await;
                few_heard.all().await;
                both_heard.all().await;
                delays.push(sent.elapsed());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        (delays, started.elapsed())
    });
    delays.sort();
    let (count, part) = (delays.len(), |percent: usize| delays[(delays.len() - 1) * percent / 100]);
    println!(
        "{threads} threads: {BROADCASTS} broadcasts took {took:?}; {count} events to nine meanwhile: p50 {:?}, p99 {:?}, max {:?}",
        part(50),
        part(99),
        part(100),
    );
}

//! Joins that are given up: at whichever moment, and however the log answers, nothing of them stays.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use futures_util::poll;
use futures_util::stream::BoxStream;
use tokio::task::yield_now;

use super::model::{World, page, room};
use super::*;
use crate::domain::Event;
use crate::log::{AppendError, Appended, FeedItem, Page, Range, Terms};
use crate::port::{Port, PortError};

/// A log that lets others go first with everything it does, and knows who listens.
#[derive(Default)]
struct Listened {
    rooms: Mutex<HashSet<RoomName>>,
    /// Fails to say where it stands.
    is_unreadable: AtomicBool,
}

#[async_trait]
impl Log for Listened {
    async fn append(&self, _: &RoomName, _: &Event, _: Terms<'_>) -> Result<Appended, AppendError> {
        Err(Port::Log.not_now("append", "only listened to here").into())
    }

    async fn read(&self, _: &RoomName, _: Range, _: usize) -> Result<Page, PortError> {
        yield_now().await;
        if self.is_unreadable.load(Ordering::SeqCst) {
            return Err(Port::Log.not_now("read", "as its test wants"));
        }
        Ok(page(7))
    }

    async fn subscribe(&self, room: &RoomName) -> Result<(), PortError> {
        yield_now().await;
        self.rooms.lock().insert(room.clone());
        yield_now().await;
        Ok(())
    }

    async fn unsubscribe(&self, room: &RoomName) {
        yield_now().await;
        self.rooms.lock().remove(room);
        yield_now().await;
    }

    async fn signal(&self, _: &RoomName, _: &Event) -> Result<(), PortError> {
        Err(Port::Log.not_now("signal", "only listened to here"))
    }

    async fn mark(&self, _: &RoomName, _: u64) -> Result<(), PortError> {
        Ok(())
    }

    fn feed(&self) -> BoxStream<'static, FeedItem> {
        Box::pin(futures_util::stream::pending())
    }
}

struct Scene {
    log: Arc<Listened>,
    hub: Hub,
    world: World,
    via: Arc<str>,
    metrics: Arc<Metrics>,
}

impl Scene {
    fn new() -> Self {
        let (log, metrics) = (Arc::<Listened>::default(), Arc::new(Metrics::new()));
        let hub = Hub::new(log.clone(), Duration::from_secs(30), 1, Arc::default(), metrics.clone());
        Self { log, hub, world: World::new(1, 1), via: "join".into(), metrics }
    }

    async fn sweep(&self) {
        let rooms: Vec<_> = self.hub.rooms.lock().values().cloned().collect();
        for room in rooms {
            self.hub.sweep(&room).await;
        }
    }

    /// Nothing of any room is left.
    fn is_clean(&self) -> bool {
        let listens = self.metrics.render().lines().any(|line| line == "gateway_subscriptions 0");
        self.hub.rooms.lock().is_empty() && self.log.rooms.lock().is_empty() && listens
    }
}

#[tokio::test(start_paused = true)]
async fn a_join_that_is_given_up_at_any_moment_leaves_nothing() {
    for (moment, is_unreadable) in (0..10).flat_map(|moment| [(moment, false), (moment, true)]) {
        let scene = Scene::new();
        scene.log.is_unreadable.store(is_unreadable, Ordering::SeqCst);
        let (one, two) = (scene.world.session(1).0, scene.world.session(2).0);
        let name = room(0);
        {
            let mut join = Box::pin(scene.hub.enter(&one, &name, &scene.via));
            let mut other = Box::pin(scene.hub.enter(&two, &name, &scene.via));
            for _ in 0..moment {
                if poll!(&mut join).is_ready() || poll!(&mut other).is_ready() {
                    break;
                }
            }
        }
        scene.sweep().await;
        let came = one.is_in(&name) || two.is_in(&name);
        assert!(came || !scene.hub.rooms.lock().is_empty() || scene.is_clean(), "not before its time");
        for session in [&one, &two] {
            session.forget(&name);
            scene.hub.leave(session, &name);
        }
        tokio::time::advance(Duration::from_secs(30)).await;
        // Sweeping may be given up as well.
        {
            let mut sweeping = Box::pin(scene.sweep());
            _ = poll!(&mut sweeping);
        }
        scene.sweep().await;
        assert!(scene.is_clean(), "given up at moment {moment}, unreadable: {is_unreadable}");
    }
}

#[tokio::test]
async fn who_comes_after_one_that_was_given_up_hears_from_where_the_log_stands() {
    for moment in 0..6 {
        let scene = Scene::new();
        let (one, two) = (scene.world.session(1).0, scene.world.session(2).0);
        {
            let name = room(0);
            let mut join = Box::pin(scene.hub.enter(&one, &name, &scene.via));
            for _ in 0..moment {
                if poll!(&mut join).is_ready() {
                    break;
                }
            }
        }
        let boundary = scene.hub.enter(&two, &room(0), &scene.via).await.unwrap();
        assert_eq!(boundary, page(7).head);
        assert!(two.is_in(&room(0)) && scene.log.rooms.lock().contains(&room(0)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_room_whose_log_does_not_answer_holds_up_no_sweep() {
    let scene = Scene::new();
    let (one, two) = (scene.world.session(1).0, scene.world.session(2).0);
    let (stuck, idle) = (room(0), room(1));
    let mut join = Box::pin(scene.hub.enter(&one, &stuck, &scene.via));
    assert!(poll!(&mut join).is_pending());
    scene.hub.enter(&two, &idle, &scene.via).await.unwrap();
    two.forget(&idle);
    scene.hub.leave(&two, &idle);
    tokio::time::advance(Duration::from_secs(30)).await;
    scene.sweep().await;
    assert!(!scene.log.rooms.lock().contains(&idle));
    assert_eq!(join.await.unwrap(), page(7).head);
    assert!(scene.log.rooms.lock().contains(&stuck));
}

//! Lifecycle: routes of what happens to sessions and rooms without any client having said so.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;

use super::run::{Run, scope};
use super::table::{Lifecycle, Namespace, Route};
use super::template::AuthFields;
use super::{NotDone, Router};
use crate::auth::Identity;
use crate::domain::{Frame, RoomName};
use crate::node::{Change, CloseReason, Replay, Session};
use crate::presence::Departed;

/// Changes that are acted on at the same time: a node that was lost takes thousands with it.
const CONCURRENCY: usize = 32;

/// What the routes of an event know that ran later than others.
#[derive(Clone)]
struct Known {
    room: Option<RoomName>,
    number: Option<u64>,
}

impl Router {
    /// Begins a session whose client has been greeted: hands over what it missed, and runs what is to happen when a new
    /// one comes. False if it may not begin after all.
    pub async fn begin(self: &Arc<Self>, session: &Arc<Session>, replay: Option<Replay>, is_new: bool) -> bool {
        // It may have been revoked when the session was not yet among those that are ended by it.
        if self.tokens.revoked().covers(&session.identity()) {
            session.close(CloseReason::Revoked);
            return false;
        }
        let counts = self.table().namespace(&session.namespace).is_some_and(|name| name.facts.tracks_connections);
        if is_new {
            // What others say meanwhile comes after what `$connect` says to the client.
            self.node.hold(session);
        }
        let firsts = replay.as_ref().map_or_else(Vec::new, |replay| replay.seats().firsts.clone());
        match replay {
            Some(replay) => self.node.replay(session, replay).await,
            None => self.node.set_out(session).await,
        }
        if is_new {
            if counts {
                self.node.count_in(session).await;
            }
            if session.is_over() {
                // Nobody would be told that it has gone.
                return false;
            }
            self.happen(session, Lifecycle::Connect, None).await;
            self.node.set_out(session).await;
        }
        for room in firsts.into_iter().filter(|room| room.shown().is_some()) {
            self.happen(session, Lifecycle::Join, Some(room)).await;
        }
        true
    }

    /// Runs the routes of something that happened to a session: at once in their order, or each after its delay. Boxed,
    /// because it may be what one of these routes does.
    pub(super) fn happen<'a>(
        self: &'a Arc<Self>,
        session: &'a Arc<Session>,
        what: Lifecycle,
        room: Option<RoomName>,
    ) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let happened = Instant::now();
            let table = self.table();
            let Some(namespace) = table.namespace(&session.namespace) else { return };
            let (at_once, later): (Vec<_>, Vec<_>) =
                namespace.on(what).iter().cloned().partition(|route| route.after.is_zero());
            let mut known = Known { room, number: None };
            if !at_once.is_empty() {
                known = self.run_for(session, namespace, what, known, &at_once).await;
            }
            for routes in later.chunk_by(|one, next| one.after == next.after) {
                let (router, session, table) = (self.clone(), Arc::downgrade(session), table.clone());
                let (known, routes) = (known.clone(), routes.to_vec());
                // Not waited for when the node stops, and no reason for a session to stay that has ended.
                tokio::spawn(async move {
                    sleep_until(happened + routes[0].after).await;
                    let Some(session) = session.upgrade().filter(|session| !session.is_over()) else { return };
                    if let Some(namespace) = table.namespace(&session.namespace) {
                        router.run_for(&session, namespace, what, known, &routes).await;
                    }
                });
            }
        })
    }

    /// Returns what the routes found out.
    async fn run_for(
        self: &Arc<Self>,
        session: &Arc<Session>,
        namespace: &Namespace,
        what: Lifecycle,
        known: Known,
        routes: &[Arc<Route>],
    ) -> Known {
        let (identity, id) = (session.identity(), session.id.to_string());
        let scope = scope(namespace, what.name(), &[], &identity, &id, &session.auth);
        let mut run = Run::new(self, namespace, Some(session), scope);
        (run.scope.room, run.scope.number) = (known.room, known.number);
        for route in routes {
            if let Err(refused) = run.happened(route).await {
                self.note(route, &refused);
                if !refused.told {
                    session.say(&Frame::notice("refused", &self.worded(&refused.refusal), None)).await;
                }
                break;
            }
        }
        Known { room: run.scope.room, number: run.scope.number }
    }

    /// Runs what is to happen when members have left rooms and sessions are gone, for ever.
    pub async fn act_on_changes(self: Arc<Self>, changes: mpsc::Receiver<Change>) {
        let act = |change| {
            let router = self.clone();
            async move {
                match change {
                    Change::Departed(departed) => router.heed([departed]).await,
                    Change::Returned(session, room) if room.shown().is_some() => {
                        let _busy = session.busy.lock().await;
                        if !session.is_over() {
                            router.happen(&session, Lifecycle::Join, Some(room)).await;
                        }
                    }
                    Change::Returned(..) => {}
                }
            }
        };
        ReceiverStream::new(changes).for_each_concurrent(CONCURRENCY, act).await;
    }

    /// Runs what is to happen when members have left.
    pub(super) fn heed(self: &Arc<Self>, departed: impl IntoIterator<Item = Departed> + Send) -> BoxFuture<'_, ()> {
        let all: Vec<_> = departed.into_iter().collect();
        Box::pin(async move {
            for departed in all {
                self.departed(departed).await;
            }
        })
    }

    async fn departed(self: &Arc<Self>, departed: Departed) {
        let table = self.table();
        let Some(namespace) = departed.place.namespace().and_then(|name| table.namespace(name)) else { return };
        let what = if departed.place.shown().is_some() {
            Lifecycle::Leave
        } else if departed.place == RoomName::everybody(&namespace.name) {
            Lifecycle::Disconnect
        } else {
            // A name that was let go.
            return;
        };
        let at_once = namespace.on(what).iter().filter(|route| route.after.is_zero());
        let departed = Arc::new(departed);
        for route in at_once {
            self.run_without(namespace, what, &departed, route).await;
        }
        for route in namespace.on(what).iter().filter(|route| !route.after.is_zero()).cloned() {
            let (router, table, departed) = (self.clone(), table.clone(), departed.clone());
            tokio::spawn(async move {
                tokio::time::sleep(route.after).await;
                if let Some(namespace) = departed.place.namespace().and_then(|name| table.namespace(name)) {
                    router.run_without(namespace, what, &departed, &route).await;
                }
            });
        }
    }

    /// Runs a route for a session that is gone, wherever it was.
    async fn run_without(self: &Arc<Self>, namespace: &Namespace, what: Lifecycle, departed: &Departed, route: &Route) {
        let identity = Identity { user: departed.user.clone(), ..Identity::default() };
        let (auth, id) = (AuthFields::new(), departed.session.to_string());
        let mut run = Run::new(self, namespace, None, scope(namespace, what.name(), &[], &identity, &id, &auth));
        run.scope.room = Some(departed.place.clone()).filter(|room| room.shown().is_some());
        if let Err(refused) = run.happened(route).await {
            self.note(route, &refused);
        }
    }

    /// Counts sessions where they were not counted before the table wanted it.
    pub fn recount(&self) {
        let table = self.table();
        for session in self.node.roster().all() {
            let Some(namespace) = table.namespace(&session.namespace) else { continue };
            if namespace.facts.tracks_connections {
                self.node.count_in_rooms(&session, [RoomName::everybody(&session.namespace)]);
            }
            let identity = session.identity();
            let counted = session.stays().into_iter().filter(|(room, via)| {
                namespace.admits_back(via, &identity, room).is_some_and(|join| join.seat().is_some())
            });
            self.node.count_in_rooms(&session, counted.map(|(room, _)| room));
        }
    }

    /// Nobody asked for it, so operators are told too.
    fn note(&self, route: &Route, refused: &NotDone) {
        self.metrics.refusals.with(refused.refusal.code()).increment(1);
        let (place, event, refusal) = (&*route.place, &*route.event, &refused.refusal);
        tracing::debug!(route = place, event, %refusal, "a route of a lifecycle event refused");
        self.refusals.note(|what| tracing::info!(route = place, event, %refusal, "{what}"));
    }
}

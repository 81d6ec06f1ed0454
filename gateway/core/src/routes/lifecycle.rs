//! Lifecycle: routes of what happens to sessions and rooms without any client having said so.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use super::context::{Run, scope};
use super::names::Lifecycle;
use super::table::{Namespace, Route};
use super::template::AuthFields;
use super::{NotDone, Router};
use crate::auth::Identity;
use crate::domain::{Frame, RoomName};
use crate::node::{Change, CloseReason, Departure, Firsts, GIVEN, Hold, Replay, Session, Turn};
use crate::presence::Departed;

/// Changes that are acted on at the same time: a node that was lost takes thousands with it.
const CONCURRENCY: usize = 32;

/// What the routes of an event know that ran later than others.
#[derive(Clone)]
struct Known {
    room: Option<RoomName>,
    number: Option<u64>,
    /// The place of what happened in the order of all that happens to members.
    sequence: Option<u64>,
}

impl Router {
    /// Begins a session whose client has been greeted: hands over what it missed, and runs what is to happen when a new
    /// one comes. `given` are the rooms in which its user was not before it was put there. False if it may not begin after all.
    pub async fn begin(
        self: &Arc<Self>,
        session: &Arc<Session>,
        hold: Hold,
        replay: Option<Replay>,
        is_new: bool,
        given: Option<Firsts>,
    ) -> bool {
        // It may have been revoked when the session was not yet among those that are ended by it.
        if self.tokens().revoked().covers(&session.identity()) {
            session.close(CloseReason::Revoked);
            return false;
        }
        let counts = self.table().namespace(&session.namespace).is_some_and(|name| name.facts.tracks_connections);
        // What others say meanwhile comes after what `$connect` says to the client.
        let connecting = is_new.then(|| self.node.hold(session));
        let firsts = match replay {
            Some(replay) => Some(self.node.replay(session, hold, replay).await),
            None => {
                hold.release().await;
                None
            }
        };
        if let Some(connecting) = connecting {
            let turn = if counts { self.node.count_in(session).await } else { None };
            if session.is_over() {
                // Nobody would be told that it has gone.
                return false;
            }
            self.happen(session, Lifecycle::Connect, None, turn).await;
            connecting.release().await;
        }
        for (room, turn) in firsts.into_iter().chain(given).flatten().filter(|(room, _)| room.shown().is_some()) {
            self.happen(session, Lifecycle::Join, Some(room), Some(turn)).await;
        }
        true
    }

    /// Runs the routes of something that happened to a session: at once in their order, or each after its delay. Boxed,
    /// because it may be what one of these routes does. What runs at once runs in its turn, if it has one.
    pub(super) fn happen<'a>(
        self: &'a Arc<Self>,
        session: &'a Arc<Session>,
        what: Lifecycle,
        room: Option<RoomName>,
        turn: Option<Turn>,
    ) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let happened = Instant::now();
            let table = self.table();
            let Some(namespace) = table.namespace(&session.namespace) else { return };
            let (at_once, later): (Vec<_>, Vec<_>) =
                namespace.on(what).iter().cloned().partition(|route| route.after.is_zero());
            let mut known = Known { room, number: None, sequence: turn.as_ref().map(Turn::sequence) };
            if !at_once.is_empty() {
                let mut turn = turn;
                if let Some(turn) = &mut turn {
                    turn.come().await;
                }
                known = self.run_for(session, namespace, what, known, &at_once).await;
            }
            for routes in later.chunk_by(|one, next| one.after == next.after) {
                let (router, session, table) = (self.clone(), Arc::downgrade(session), table.clone());
                let (known, routes) = (known.clone(), routes.to_vec());
                let lives = session.clone();
                let lives = move || lives.upgrade().is_some_and(|session| !session.is_over());
                self.later.run(happened + routes[0].after, lives, async move {
                    let Some(session) = session.upgrade() else { return };
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
        let scope = scope(&namespace.name, what.name(), &[], &identity, &id, &session.auth);
        let mut run = Run::new(self, Some(session), scope);
        (run.scope.room, run.scope.number, run.sequence) = (known.room, known.number, known.sequence);
        for route in routes {
            if let Err(refused) = run.happened(route).await {
                self.note(route, &refused);
                if !refused.told {
                    session.say(&Frame::notice("refused", &self.worded(&refused.refusal), None)).await;
                }
                break;
            }
        }
        Known { room: run.scope.room, number: run.scope.number, sequence: run.sequence }
    }

    /// Runs what is to happen when members have left rooms and sessions are gone, for ever.
    pub async fn act_on_changes(self: Arc<Self>, changes: mpsc::Receiver<Change>) {
        let act = |change| {
            let router = self.clone();
            async move {
                match change {
                    Change::Departed(departure) => router.heed([departure]).await,
                    // Also if the session is over by now: that its member leaves is told in its turn. Not while the
                    // session is busy: it may be waiting for this turn.
                    Change::Returned(session, room, turn) if room.shown().is_some() => {
                        router.happen(&session, Lifecycle::Join, Some(room), Some(turn)).await;
                    }
                    Change::Returned(..) => {}
                }
            }
        };
        ReceiverStream::new(changes).for_each_concurrent(CONCURRENCY, act).await;
    }

    /// Runs what is to happen when members have left.
    pub(super) fn heed(self: &Arc<Self>, departures: impl IntoIterator<Item = Departure> + Send) -> BoxFuture<'_, ()> {
        let all: Vec<_> = departures.into_iter().collect();
        Box::pin(async move {
            for departure in all {
                self.departed(departure).await;
            }
        })
    }

    async fn departed(self: &Arc<Self>, Departure { departed, mut turn }: Departure) {
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
        let (departed, happened) = (Arc::new(departed), Instant::now());
        if namespace.on(what).is_empty() {
            return;
        }
        turn.come().await;
        for route in namespace.on(what).iter().filter(|route| route.after.is_zero()) {
            self.run_without(namespace, what, &departed, route).await;
        }
        drop(turn);
        for route in namespace.on(what).iter().filter(|route| !route.after.is_zero()).cloned() {
            let (router, table, departed) = (self.clone(), table.clone(), departed.clone());
            self.later.run(happened + route.after, || true, async move {
                if let Some(namespace) = departed.place.namespace().and_then(|name| table.namespace(name)) {
                    router.run_without(namespace, what, &departed, &route).await;
                }
            });
        }
    }

    /// Runs a route for a session that is gone, wherever it was.
    async fn run_without(
        self: &Arc<Self>,
        namespace: &Namespace,
        what: Lifecycle,
        departed: &Departed,
        route: &Arc<Route>,
    ) {
        let identity = Identity { user: departed.user.clone(), ..Identity::default() };
        let (auth, id) = (AuthFields::new(), departed.session.to_string());
        let mut run = Run::new(self, None, scope(&namespace.name, what.name(), &[], &identity, &id, &auth));
        run.sequence = Some(departed.sequence);
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
                if **via == *GIVEN {
                    return namespace.given_seat(&identity, room).is_some();
                }
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

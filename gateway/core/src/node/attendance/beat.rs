//! The beat: keeps what this node's sessions are counted in, and learns who has gone.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, sleep};

use super::{Attendance, CHANGES, CONCURRENCY, Change, Unknown, by_attendee};
use crate::domain::RoomName;
use crate::node::session::Session;
use crate::port::PortError;
use crate::presence::{Arrival, Beating, Entered, Place};

/// How soon a beat that failed is tried again, at the latest.
const SOON: Duration = Duration::from_secs(1);
/// How soon the store is asked again if it may have more departures than there was room for.
const AGAIN: Duration = Duration::from_millis(50);
/// Departures that one beat takes: a part of the changes that may wait, so that sessions that leave have room as well.
const MOST: usize = CHANGES / 2;
/// Places that a session is entered into again at a time.
const BATCH: usize = 100;

impl Attendance {
    /// Beats, for ever.
    pub(super) async fn beat_forever(self: &Arc<Self>, every: Duration) {
        loop {
            let pause = self.beat(every).await;
            if let Ok(settling) = self.settling.clone().try_lock_owned() {
                let owed = std::mem::take(&mut *self.owed.lock());
                let unknown = std::mem::take(&mut *self.unknown.lock());
                if !owed.is_empty() || !unknown.is_empty() {
                    // Beside the beat, which keeps the lease meanwhile; one at a time, or a store that is slow would have
                    // more and more of them.
                    let attendance = self.clone();
                    self.tasks.spawn(async move {
                        attendance.settle_debts(owed).await;
                        attendance.make_known(unknown.into_values().collect()).await;
                        drop(settling);
                    });
                }
            }
            sleep(pause).await;
        }
    }

    /// Returns when to beat next.
    async fn beat(&self, every: Duration) -> Duration {
        // Without a listener nobody wants to know.
        let is_heard = self.is_heard();
        let most = if is_heard { self.changes.capacity().min(MOST) } else { usize::MAX };
        let room = if is_heard { self.changes.try_reserve_many(most).ok() } else { None };
        let most = if is_heard && room.is_none() { 0 } else { most };
        let anew = self.is_overdrawn.load(Ordering::Acquire);
        let review = self.is_review_due();
        let pause = match self.presence.beat(Beating { most, anew, review }).await {
            Ok(beat) => {
                if beat.in_doubt {
                    self.review.lock().doubt();
                }
                if anew {
                    self.is_overdrawn.store(false, Ordering::Release);
                    self.metrics.presence_restarts.increment(1);
                }
                if beat.forgotten {
                    self.connected.all().iter().for_each(|session| self.note_unknown(session));
                }
                let pause = match (beat.departed.len() < most, most) {
                    (true, _) if beat.in_doubt => every.min(SOON),
                    (true, _) => every,
                    // There is no room: those who act on changes are slower than this.
                    (false, 0) => every.min(SOON),
                    (false, _) => every.min(AGAIN),
                };
                let departures = self.departures(beat.departed);
                for (permit, departure) in room.into_iter().flatten().zip(departures) {
                    permit.send(Change::Departed(departure));
                }
                match beat.held {
                    Some(held) => self.review(held).await,
                    None if review => self.review.lock().give_up(Instant::now()),
                    None => {}
                }
                pause
            }
            Err(error) => {
                self.note(&error);
                every.min(SOON)
            }
        };
        self.show_attendance();
        pause
    }

    #[expect(clippy::cast_precision_loss, reason = "none of these is larger than 2^53")]
    fn show_attendance(&self) {
        let figures = &self.figures;
        figures.leavings.set(self.owed.lock().len() as f64);
        figures.sessions.set(self.unknown.lock().len() as f64);
        figures.waiting.set((CHANGES - self.changes.capacity()) as f64);
    }

    async fn make_known(&self, sessions: Vec<Unknown>) {
        let enter = async |Unknown { session, lost }: Unknown| {
            let Some(session) = session.upgrade().filter(|session| !session.has_hung_up()) else { return 0 };
            // Who was superseded unheard is not to come again where its successor has left. What the store of sessions lost
            // as well is stored again by and by, and found missing until then.
            if !lost.is_empty() && !self.connected.holds(&session).await {
                // Else nobody looked again before the next review without a reason, minutes later.
                self.review.lock().doubt();
                return 0;
            }
            let known = self.enter_again(&session, &lost).await;
            // What it is just taking is to be known too.
            if known.is_err() || session.is_taking_seats() {
                self.note_lost(&session, if known.is_err() { lost } else { Vec::new() });
            }
            known.inspect_err(|error| self.note(error)).unwrap_or_default()
        };
        let enter: Vec<_> = sessions.into_iter().map(enter).collect();
        let entered = futures_util::stream::iter(enter).buffer_unordered(CONCURRENCY);
        let entered = entered.fold(0, async |sum, entered| sum + entered).await;
        if entered > 0 {
            tracing::warn!(entered, "sessions were entered again where the store of presence had lost them");
            self.metrics.presence_mended.with("entered").increment(entered);
        }
    }

    /// Enters what the store does not know or has forgotten; returns in how many of the places that it had `lost`.
    async fn enter_again(&self, session: &Arc<Session>, lost: &[RoomName]) -> Result<u64, PortError> {
        let mut mended = 0;
        for (who, places) in by_attendee(session, session.seats(), |place| place) {
            for places in places.chunks(BATCH) {
                // Everybody had a seat, so nobody is turned away now.
                let place = |room: &RoomName| Place { room: room.clone(), capacity: None };
                let again: Vec<_> = places.iter().map(place).collect();
                // What comes of it is told once, so there must be room for it before.
                let is_heard = self.is_heard();
                let room = if is_heard { self.changes.reserve_many(again.len()).await.ok() } else { None };
                let entered = self.presence.enter(&who, &again, Arrival::Restored).await?;
                let mut room = room.into_iter().flatten();
                // It may have left while it was entered, and before anybody could know.
                let seats = session.seats();
                let mut left = Vec::new();
                for (Place { room: place, .. }, entry) in again.into_iter().zip(entered) {
                    match entry.entered {
                        Entered::Elsewhere => session.note_elsewhere(),
                        _ => mended += u64::from(lost.contains(&place)),
                    }
                    if !seats.contains(&place) {
                        left.push(place);
                    } else if entry.entered == Entered::First
                        && let Some(permit) = room.next()
                    {
                        let turn = self.order.enlist(&place, &who.member, entry.sequence);
                        permit.send(Change::Returned(session.clone(), place, turn));
                    }
                }
                drop(room);
                if !left.is_empty() {
                    self.give_up_seats(session, left, false).await;
                }
            }
        }
        Ok(mended)
    }
}

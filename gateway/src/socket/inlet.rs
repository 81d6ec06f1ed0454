//! The inlet: takes every event of a session as raw text, in order, and has it handled one after the other.
//!
//! The engine calls it in the reading loop; it only checks the rate and queues. One task per busy session, and none for an
//! idle one, works the queue off.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::{Connection, End, Event, Packet, SendError};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::Edge;
use super::welcome::Welcome;
use gateway_core::domain::{Refusal, Worded};
use gateway_core::metrics::Metrics;
use gateway_core::node::{Party, Session, Slot, Verdict};
use gateway_core::routes::{Inbound, NotDone, Router};

/// How often a full queue is looked at again.
const PAUSE: Duration = Duration::from_millis(10);

/// For how long what a client sent before its connection was over is still done as if it were there.
const LAST_EVENTS: Duration = Duration::from_secs(5);

/// Count a session, for its connection and its user.
pub(super) type Held = (Slot, Option<Slot<Party>>);

/// The events of one session that wait to be handled.
pub(super) struct Mailbox {
    router: Arc<Router>,
    session: Arc<Session>,
    connection: Connection,
    slots: Mutex<Option<Held>>,
    queue: Mutex<Queue>,
    /// How long an answer may wait for a client that does not read.
    patience: Duration,
    pause_at: usize,
    longest_pause: Duration,
    max_events: usize,
    max_bytes: usize,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Pending>,
    bytes: usize,
    /// From the beginning: nothing is handled before [`Mailbox::open`].
    worked_on: bool,
    /// Whether an event is being handled.
    handles: bool,
    /// Dropped when nothing is left to do before the session departs, whose connection is over.
    last: Option<oneshot::Sender<()>>,
    pause: Pause,
    /// How many there were.
    pauses: u64,
}

/// Whether the client waits for its events to be handled before more of them are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Pause {
    #[default]
    No,
    Yes,
    /// It waited as long as it may; more is read although its queue has not become shorter.
    WasTooLong,
}

struct Pending {
    inbound: Inbound,
    /// Where the client waits for an answer.
    ack: Option<u64>,
}

/// The session of one namespace, as the engine knows it.
impl engine::Session for Mailbox {
    fn event(self: Arc<Self>, event: Event) {
        let Event { text, attachments, ack } = event;
        let bytes = text.len() + attachments.iter().map(Bytes::len).sum::<usize>();
        let verdict = match self.session.allowance.check(bytes) {
            Verdict::Allow => self.accept(Inbound { text, attachments, received: Instant::now() }, ack),
            verdict => verdict,
        };
        match verdict {
            Verdict::Allow => {}
            Verdict::Refuse(refusal) => {
                self.metrics.refusals.with(refusal.code()).increment(1);
                if self.try_refuse(ack, &self.router.worded(&refusal)) == Err(SendError::Full) {
                    // A client that asks without reading the answers is as slow as one that does not read its rooms.
                    self.connection.end_now("slow");
                }
            }
            Verdict::Close => self.connection.end_now("flooding"),
        }
    }

    fn answer(&self, answer: Event) {
        if let Some(number) = answer.ack {
            self.router.node().answered(&self.session, number, answer.text, answer.attachments);
        }
    }

    fn over(&self, end: &End) {
        self.slots.lock().take();
        // Who leaves on purpose does not come back to where it was.
        let keep = *end != End::Left;
        let Some(done) = self.done_with_all(end) else { return self.router.node().depart(&self.session, keep) };
        self.router.node().hang_up(&self.session, keep);
        let (router, session) = (self.router.clone(), self.session.clone());
        self.tasks.spawn(async move {
            // However slow a store is, others must not see it in its rooms for ever.
            timeout(LAST_EVENTS, done).await.ok();
            router.node().depart(&session, keep);
        });
    }
}

/// Whether an end is the client's own, or its line's, or the node hands it over: what it sent before is not lost with it.
fn is_parting(end: &End) -> bool {
    match end {
        End::Left | End::Closed | End::Cut | End::Broken | End::Parted | End::Silent => true,
        End::Ended(reason) => ["draining", "balanced", "aged"].contains(reason),
        End::Sessionless | End::BadPacket | End::Flooding | End::Slow => false,
    }
}

impl Mailbox {
    pub(super) fn new(edge: &Edge, session: Arc<Session>, connection: Connection, slots: Held) -> Arc<Self> {
        let (limits, times) = (&edge.settings.limits, &edge.settings.socket);
        Arc::new(Self {
            router: edge.router.clone(),
            session,
            connection,
            slots: Mutex::new(Some(slots)),
            queue: Mutex::new(Queue { worked_on: true, ..Queue::default() }),
            patience: times.write_timeout,
            pause_at: limits.mailbox_pause_events,
            longest_pause: times.ping_timeout / 2,
            max_events: limits.mailbox_events,
            max_bytes: limits.mailbox_bytes,
            metrics: edge.metrics.clone(),
            tasks: edge.tasks.clone(),
        })
    }

    /// When all is done that the client sent before its connection was over; nothing if that is so now, or is not to be.
    fn done_with_all(&self, end: &End) -> Option<oneshot::Receiver<()>> {
        let mut queue = self.queue.lock();
        // Who was ended for what it did, or for good, does nothing more.
        if !is_parting(end) || (queue.events.is_empty() && !queue.handles) {
            return None;
        }
        let (last, done) = oneshot::channel();
        queue.last = Some(last);
        Some(done)
    }

    fn accept(self: &Arc<Self>, inbound: Inbound, ack: Option<u64>) -> Verdict {
        let mut queue = self.queue.lock();
        let bytes = queue.bytes + inbound.size();
        if queue.events.len() >= self.max_events || (bytes > self.max_bytes && !queue.events.is_empty()) {
            return self.session.allowance.refuse(Refusal::Overloaded);
        }
        queue.bytes = bytes;
        queue.events.push_back(Pending { inbound, ack });
        if queue.events.len() >= self.pause_at && queue.pause == Pause::No {
            queue.pause = Pause::Yes;
            queue.pauses += 1;
            self.connection.pause();
            let (mailbox, pause) = (self.clone(), queue.pauses);
            // The client's pongs are not read either: what takes longer than this is refused instead of put off.
            self.tasks.spawn(async move {
                tokio::time::sleep(mailbox.longest_pause).await;
                mailbox.end_pause(pause);
            });
        }
        if !queue.worked_on {
            queue.worked_on = true;
            let span = self.span();
            self.tasks.spawn(self.clone().work().instrument(span));
        }
        Verdict::Allow
    }

    /// Greets the client, hands over what it missed, and from then on handles its events.
    pub(super) fn open(self: &Arc<Self>, welcome: Welcome) {
        let span = self.span();
        self.tasks.spawn(self.clone().begin(welcome).instrument(span));
    }

    pub(super) async fn begin(self: Arc<Self>, welcome: Welcome) {
        self.session.say(&welcome.hello).await;
        let begun = {
            let _busy = self.session.busy.lock().await;
            let Welcome { hold, replay, is_new, given, .. } = welcome;
            self.router.begin(&self.session, hold, replay, is_new, Some(given)).await
        };
        // Most have not said anything yet, and should not carry what handling it needs.
        if begun && let Some(first) = self.next() {
            Box::pin(self.work_off(first)).await;
        } else if !begun {
            self.queue.lock().last = None;
        }
    }

    /// Who is in the lines that are logged while its events are handled; whoever knows the room adds it. At the highest
    /// level, so that whatever is logged has it. Made for each burst: an idle session needs none.
    fn span(&self) -> tracing::Span {
        let (session, peer) = (&self.session.id, self.session.address);
        tracing::error_span!("session", %session, %peer, room = tracing::field::Empty)
    }

    /// Handles what waits, then ends; the next event begins anew.
    pub(super) async fn work(self: Arc<Self>) {
        if let Some(first) = self.next() {
            self.work_off(first).await;
        }
    }

    async fn work_off(self: Arc<Self>, first: Pending) {
        let mut next = Some(first);
        while let Some(Pending { inbound, ack }) = next.take().or_else(|| self.next()) {
            let handled = {
                let _busy = self.session.busy.lock().await;
                self.router.handle(&self.session, inbound).await
            };
            match handled {
                Ok(answer) => {
                    let body = answer.body.get();
                    self.insist(|| self.acknowledge(ack, body, &answer.attachments)).await;
                }
                Err(NotDone { told: true, .. }) if ack.is_none() => {}
                Err(NotDone { refusal, .. }) => {
                    let refused = self.router.worded(&refusal);
                    self.insist(|| self.try_refuse(ack, &refused)).await;
                }
            }
        }
    }

    /// Sends an answer, if need be as soon as the client has read what is queued for it. Meanwhile its next events
    /// wait, so that one who only asks slows itself down.
    async fn insist(&self, send: impl Fn() -> Result<(), SendError>) {
        let deadline = Instant::now() + self.patience;
        while send() == Err(SendError::Full) {
            if Instant::now() >= deadline {
                return self.connection.end_now("slow");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Ends a pause that has lasted as long as it may.
    fn end_pause(&self, pause: u64) {
        let mut queue = self.queue.lock();
        if queue.pause == Pause::Yes && queue.pauses == pause {
            self.unpause(&mut queue, Pause::WasTooLong);
        }
    }

    fn unpause(&self, queue: &mut Queue, then: Pause) {
        if queue.pause == Pause::Yes {
            self.connection.resume();
        }
        queue.pause = then;
    }

    fn next(&self) -> Option<Pending> {
        let mut queue = self.queue.lock();
        let next = queue.events.pop_front();
        queue.bytes -= next.as_ref().map_or(0, |pending| pending.inbound.size());
        if queue.events.len() <= self.pause_at / 2 {
            self.unpause(&mut queue, Pause::No);
        }
        queue.handles = next.is_some();
        if next.is_none() {
            queue.worked_on = false;
            queue.last = None;
            // A burst must not stay in the memory of an idle session.
            queue.events = VecDeque::new();
        }
        next
    }

    /// Answers an event, if its client waits for that.
    fn acknowledge(&self, ack: Option<u64>, body: &str, attachments: &[Bytes]) -> Result<(), SendError> {
        let Some(ack) = ack else { return Ok(()) };
        // An array of one: the client's callback gets the object as its one argument.
        self.connection.send(&Packet::ack(&self.session.namespace, ack, &format!("[{body}]"), attachments))
    }

    /// A refusal goes where the answer would go; without an ack it is an event of its own.
    fn try_refuse(&self, ack: Option<u64>, refused: &Worded<'_>) -> Result<(), SendError> {
        let body = serde_json::to_string(refused).unwrap_or_default();
        if ack.is_some() {
            return self.acknowledge(ack, &body, &[]);
        }
        let packet = Packet::event(&self.session.namespace, &format!("[\"refused\",{body}]"), &[]);
        self.connection.send(&packet)
    }
}

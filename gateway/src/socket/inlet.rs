//! The inlet: takes every event of a session as raw text, in order, and has it handled one after the other.
//!
//! socketioxide runs an async handler per event concurrently, which reorders them. A handler of our own is called in
//! the reading loop instead; it only checks the rate and queues. One task per busy session, and none for an idle one,
//! works the queue off.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;
use socketioxide::SendError;
use socketioxide::extract::AckSender;
use socketioxide::handler::{FromMessageParts, MessageHandler};
use socketioxide::socket::Socket;
use socketioxide_core::Value;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::Adapter;
use super::link::Link;
use super::outlet::{WithAttachments, undelivered};
use super::welcome::Welcome;
use crate::config::Config;
use crate::domain::{Refusal, Worded};
use crate::metrics::Metrics;
use crate::node::{Session, Undelivered, Verdict};
use crate::routes::{Answer, Inbound, NotDone, Router};

/// How often a full queue is looked at again.
const PAUSE: Duration = Duration::from_millis(10);

/// Takes the events of one session.
pub(super) struct Inlet(pub(super) Arc<Mailbox>);

/// The events of one session that wait to be handled.
pub(super) struct Mailbox {
    router: Arc<Router>,
    session: Arc<Session>,
    link: Arc<Link>,
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
    asker: Asker,
}

/// Who is told what came of an event.
struct Asker {
    socket: Arc<Socket<Adapter>>,
    ack: Option<i64>,
}

impl MessageHandler<Adapter, ()> for Inlet {
    fn call(&self, socket: Arc<Socket<Adapter>>, value: Value, ack: Option<i64>) {
        let asker = Asker { socket, ack };
        let Value::Str(text, attachments) = value else {
            return;
        };
        let attachments: Vec<Bytes> = attachments.map(Vec::from).unwrap_or_default();
        // Before anything is copied: refusing a flood must cost next to nothing.
        let bytes = text.as_str().len() + attachments.iter().map(Bytes::len).sum::<usize>();
        let verdict = match self.0.session.allowance.check(bytes) {
            Verdict::Allow => {
                let inbound = Inbound { text: text.as_str().to_owned(), attachments, received: Instant::now() };
                self.0.accept(inbound, &asker)
            }
            verdict => verdict,
        };
        match verdict {
            Verdict::Allow => {}
            Verdict::Refuse(refusal) => {
                self.0.metrics.refusals.with(refusal.code()).increment(1);
                if asker.try_refuse(&self.0.router.worded(&refusal)).is_err() {
                    // A client that asks without reading the answers is as slow as one that does not read its rooms.
                    self.0.link.kill("slow");
                }
            }
            Verdict::Close => self.0.link.kill("flooding"),
        }
    }
}

impl Mailbox {
    pub(super) fn new(
        router: Arc<Router>,
        session: Arc<Session>,
        link: Arc<Link>,
        settings: &Config,
        metrics: Arc<Metrics>,
        tasks: TaskTracker,
    ) -> Arc<Self> {
        let limits = &settings.limits;
        Arc::new(Self {
            router,
            session,
            link,
            queue: Mutex::new(Queue { worked_on: true, ..Queue::default() }),
            patience: settings.socket.write_timeout,
            pause_at: limits.mailbox_pause_events,
            longest_pause: settings.socket.ping_timeout / 2,
            max_events: limits.mailbox_events,
            max_bytes: limits.mailbox_bytes,
            metrics,
            tasks,
        })
    }

    fn accept(self: &Arc<Self>, inbound: Inbound, asker: &Asker) -> Verdict {
        let mut queue = self.queue.lock();
        let bytes = queue.bytes + inbound.size();
        if queue.events.len() >= self.max_events || (bytes > self.max_bytes && !queue.events.is_empty()) {
            return self.session.allowance.refuse(Refusal::Overloaded);
        }
        queue.bytes = bytes;
        let asker = Asker { socket: asker.socket.clone(), ack: asker.ack };
        queue.events.push_back(Pending { inbound, asker });
        if queue.events.len() >= self.pause_at && queue.pause == Pause::No {
            queue.pause = Pause::Yes;
            queue.pauses += 1;
            self.link.pause();
            let (mailbox, pause) = (self.clone(), queue.pauses);
            // The client's pongs are not read either: what takes longer than this is refused instead of put off.
            self.tasks.spawn(async move {
                tokio::time::sleep(mailbox.longest_pause).await;
                mailbox.end_pause(pause);
            });
        }
        if !queue.worked_on {
            queue.worked_on = true;
            self.tasks.spawn(self.clone().work());
        }
        Verdict::Allow
    }

    /// Greets the client, hands over what it missed, and from then on handles its events.
    pub(super) fn open(self: &Arc<Self>, welcome: Welcome) {
        let mailbox = self.clone();
        self.tasks.spawn(async move {
            mailbox.session.say(&welcome.hello).await;
            let begun = {
                let _busy = mailbox.session.busy.lock().await;
                mailbox.router.begin(&mailbox.session, welcome.replay, welcome.is_new).await
            };
            if begun {
                mailbox.work().await;
            }
        });
    }

    /// Handles what waits, then ends; the next event begins anew.
    async fn work(self: Arc<Self>) {
        while let Some(Pending { inbound, asker }) = self.next() {
            let handled = {
                let _busy = self.session.busy.lock().await;
                self.router.handle(&self.session, inbound).await
            };
            match handled {
                Ok(answer) => self.insist(|| asker.try_answer(&answer)).await,
                Err(NotDone { told: true, .. }) if asker.ack.is_none() => {}
                Err(NotDone { refusal, .. }) => {
                    let refused = self.router.worded(&refusal);
                    self.insist(|| asker.try_refuse(&refused)).await;
                }
            }
        }
    }

    /// Sends an answer, if need be as soon as the client has read what is queued for it. Meanwhile its next events
    /// wait, so that one who only asks slows itself down.
    async fn insist(&self, send: impl Fn() -> Result<(), SendError>) {
        let deadline = Instant::now() + self.patience;
        while let Err(error) = send()
            && undelivered(&error) == Undelivered::Full
        {
            if Instant::now() >= deadline {
                return self.link.kill("slow");
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
            self.link.resume();
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
        if next.is_none() {
            queue.worked_on = false;
            // A burst must not stay in the memory of an idle session.
            queue.events = VecDeque::new();
        }
        next
    }
}

impl Asker {
    fn try_answer(&self, answer: &Answer) -> Result<(), SendError> {
        self.acknowledge(&WithAttachments { json: &answer.body, attachments: &answer.attachments })
    }

    /// A refusal goes where the answer would go; without an ack it is an event of its own.
    fn try_refuse(&self, refused: &Worded<'_>) -> Result<(), SendError> {
        if self.ack.is_some() { self.acknowledge(refused) } else { self.socket.emit("refused", refused) }
    }

    fn acknowledge(&self, body: &impl Serialize) -> Result<(), SendError> {
        let Ok(sender) =
            AckSender::<Adapter>::from_message_parts(&self.socket, &mut Value::Bytes(Bytes::new()), &self.ack);
        // An array of one: the client's callback gets the object as its one argument.
        sender.send(&[body])
    }
}

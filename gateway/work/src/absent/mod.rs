//! Mail for who is away: what was neither heard nor read is mailed, several notifications as one letter.

mod digest;
mod link;
mod watch;

pub use link::Links;
pub use watch::Watch;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::value::{RawValue, to_raw_value};

use crate::jobs::Kind;
use crate::mail::{Letter, Mail, Unsubscribe};
use gateway_core::contacts::{Contact, Contacts, Mark};
use gateway_core::control::Control;
use gateway_core::domain::{Refusal, UserId};
use gateway_core::inbox::{Absence, Digest, Inbox};
use gateway_core::jobs::{Failure, Handler, Job};
use gateway_core::metrics::Metrics;
use gateway_core::node::now_ms;
use gateway_core::notifications::Notification;
use gateway_core::port::PortError;

/// Notifications that are looked at, and about how many bytes of them. Of the others a mail has the number at the most.
const LOOKED_AT: usize = 100;
const LOOKED_AT_BYTES: usize = 256 * 1024;
/// From this attempt on a node that does not say who is there counts as one where nobody is.
const LAST_WORD: u32 = 4;

/// Looks after users that were told something: the kind `absent`.
pub struct Absent {
    inbox: Arc<Inbox>,
    /// There when the node has joined the others.
    control: OnceLock<Arc<Control>>,
    contacts: Arc<dyn Contacts>,
    mail: Arc<Mail>,
    absence: Absence,
    links: Arc<Links>,
    /// Notifications that one mail lists.
    most: usize,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Absent").field("absence", &self.absence).finish_non_exhaustive()
    }
}

/// What it works with.
#[derive(Clone)]
pub struct Around {
    /// What users were told.
    pub inbox: Arc<Inbox>,
    /// Where they get mail.
    pub contacts: Arc<dyn Contacts>,
    /// What sends it.
    pub mail: Arc<Mail>,
    /// Links by which they have an end of it.
    pub links: Arc<Links>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl fmt::Debug for Around {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Around")
    }
}

/// What came of looking.
enum Seen {
    /// Nothing is to be done, and why: a label of the metric.
    Nothing(&'static str),
    /// Something is too new: it is to be looked again after a time, for this one.
    Later(Duration, String),
    /// These are to be mailed, newest first, and whether there are older ones that were not looked at.
    Mail(Box<Contact>, Vec<Notification>, bool),
}

impl Absent {
    /// One that looks again by `absence`, with `most` notifications in a mail.
    #[must_use]
    pub fn new(around: Around, absence: Absence, most: usize) -> Arc<Self> {
        let Around { inbox, contacts, mail, links, metrics } = around;
        let control = OnceLock::new();
        Arc::new(Self { inbox, control, contacts, mail, absence, links, most, metrics })
    }

    /// Asks all nodes by this who is there; to be called once.
    pub fn asking(&self, control: Arc<Control>) {
        self.control.set(control).ok();
    }

    async fn look(&self, user: &UserId, attempt: u32) -> Result<Seen, Failure> {
        let away = |error: PortError| Failure::not_now(format!("contacts: {error}"));
        let Some(contact) = self.contacts.find(user).await.map_err(away)? else {
            return Ok(Seen::Nothing("no_address"));
        };
        if !contact.wants {
            return Ok(Seen::Nothing("unsubscribed"));
        }
        let now = now_ms();
        let control = self.control.get().ok_or_else(|| Failure::not_now("this node has not joined the others yet"))?;
        let census = control.count_sessions(user).await;
        let census =
            census.map_err(|error| Failure::not_now(format!("the nodes cannot be asked who is there: {error}")))?;
        if census.sessions.values().any(|sessions| *sessions > 0) {
            self.contacts.mark(user, Mark::Seen, now).await.map_err(away)?;
            return Ok(Seen::Nothing("there"));
        }
        if census.missing > 0 && attempt < LAST_WORD {
            return Err(Failure::not_now("a node does not say whether the user is there"));
        }
        let page =
            self.inbox.page(user, None, true, LOOKED_AT, LOOKED_AT_BYTES).await.map_err(|refusal| unread(&refusal))?;
        let known = contact.seen_ms.max(contact.mailed_ms);
        let mut pending = page.notifications;
        let all = pending.len();
        pending.retain(|one| one.new.at_ms > known);
        let more = page.more && pending.len() == all;
        let Some(oldest) = pending.last() else { return Ok(Seen::Nothing("heard")) };
        let after = u64::try_from(self.absence.after().as_millis()).unwrap_or(u64::MAX);
        let due = oldest.new.at_ms.saturating_add(after);
        if due > now && !more {
            return Ok(Seen::Later(Duration::from_millis(due - now), oldest.new.id.as_str().to_owned()));
        }
        Ok(Seen::Mail(Box::new(contact), pending, more))
    }

    async fn send(
        &self,
        user: &UserId,
        contact: &Contact,
        pending: &[Notification],
        more: bool,
    ) -> Result<(), Failure> {
        let Some(newest) = pending.first() else { return Ok(()) };
        let url = self.links.unsubscribe(user);
        let data = digest::data(contact, pending, more, self.most, self.links.home(), &url);
        // As long as the same is new it is the same mail: if this node ends before it notes that it was sent, nobody gets it twice.
        let id = format!("digest-{}", newest.new.id.as_str());
        let letter = Letter {
            to: contact.address.email.clone(),
            template: Some("digest".to_owned()),
            data,
            unsubscribe: Some(Unsubscribe { url }),
            once: Some(id.clone()),
            ..Letter::default()
        };
        self.mail.send(&id, &letter).await?;
        let mailed = self.contacts.mark(user, Mark::Mailed, newest.new.at_ms).await;
        mailed.map_err(|error| Failure::not_now(format!("that a mail was sent is not noted: {error}")))
    }
}

// Nobody else has it done, so there is nothing to be looked at before.
impl Kind for Absent {}

#[async_trait]
impl Handler for Absent {
    async fn handle(&self, job: &Job) -> Result<Option<Box<RawValue>>, Failure> {
        let Digest { user } = serde_json::from_str(job.data.get())
            .map_err(|error| Failure::never(format!("the data of this job names no user: {error}")))?;
        let result = match self.look(&user, job.attempt).await? {
            Seen::Nothing(why) => why,
            Seen::Later(delay, which) => {
                let enqueued = self.absence.look(&user, &which, delay).await;
                let enqueued =
                    enqueued.map_err(|error| Failure::not_now(format!("it cannot be looked later: {error}")))?;
                // It would be this one, which ends now: it was begun too early, by hand or by another clock.
                if enqueued.known && enqueued.id == job.id {
                    return Err(Failure::after(delay, "what the user was told is too new"));
                }
                "later"
            }
            Seen::Mail(contact, pending, more) => {
                self.send(&user, &contact, &pending, more).await?;
                "mailed"
            }
        };
        self.metrics.absent.with(result).increment(1);
        Ok(to_raw_value(result).ok())
    }
}

fn unread(refusal: &Refusal) -> Failure {
    Failure::not_now(format!("notifications cannot be read: {}", refusal.code()))
}

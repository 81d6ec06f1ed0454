//! Telling users something: kept first, then pushed.

use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use futures_util::stream;
use sha2::{Digest, Sha256};

use super::{Author, Form, Inbox, Wish};
use crate::content::{Bounds, check_placeholders};
use crate::domain::{Event, Refusal, UserId};
use crate::log::Terms;
use crate::node::{Account, dedupe_of, now_ms};
use crate::notifications::{Added, New, NotificationId};
use crate::traces::{self, Kind};

/// The longest id, and the longest collapse key, in bytes.
const MAX_NAME_BYTES: usize = 128;
const ID: &str = "the id of a notification has 1 to 128 bytes";
const COLLAPSE: &str = "the collapse key of a notification has 1 to 128 bytes";
/// The longest time that a notification can be worth being told: ten years.
const MAX_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
const TTL: &str = "the ttl of a notification is at most ten years, and more than nothing";
/// Pushes of one request that are under way at the same time.
const AT_ONCE: usize = 32;

/// A notification that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// As what it is known.
    pub id: NotificationId,
    /// Whether it had been kept before, by the same id.
    pub duplicate: bool,
    /// The unread one in whose place it is.
    pub replaces: Option<NotificationId>,
}

/// What became of a wish.
#[derive(Clone, Debug)]
pub struct Told {
    /// What was said.
    pub new: New,
    /// As what it is kept.
    pub kept: Kept,
}

impl Wish {
    /// Looks whether it can be kept within these bounds, whoever wishes it.
    ///
    /// # Errors
    /// It is too much, or no notification.
    pub fn check(&self, bounds: &Bounds) -> Result<(), Refusal> {
        let Self { message, data, ttl, id, collapse, .. } = self;
        let size = message.len() + data.as_ref().map_or(0, String::len);
        for text in [Some(message), data.as_ref()].into_iter().flatten() {
            bounds.check_text(text, size)?;
            check_placeholders(text, 0)?;
        }
        for (name, words) in [(id, ID), (collapse, COLLAPSE)] {
            if name.as_ref().is_some_and(|name| !(1..=MAX_NAME_BYTES).contains(&name.len())) {
                return Err(Refusal::bad_request(words));
            }
        }
        if ttl.is_some_and(|ttl| ttl.is_zero() || ttl > MAX_TTL) {
            return Err(Refusal::bad_request(TTL));
        }
        Ok(())
    }
}

impl Inbox {
    /// What is to be kept for a wish, as what it is to be known, if it may be. It counts for its author and its receiver.
    ///
    /// # Errors
    /// It is too much, too fast, or no notification.
    pub fn draft(&self, author: &Author, wish: Wish) -> Result<New, Refusal> {
        wish.check(&self.bounds)?;
        let Wish { receiver, message, data, ttl, id, collapse } = wish;
        self.count(author, &receiver)?;
        let at_ms = now_ms();
        let until_ms = ttl.map(|ttl| at_ms.saturating_add(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)));
        let room = self.room_of(&receiver);
        let named = |name: String| hash(&dedupe_of(&author.name, &room, &name).0);
        Ok(New {
            id: NotificationId::new(SystemTime::UNIX_EPOCH + Duration::from_millis(at_ms)),
            receiver,
            sender: author.user.clone(),
            message,
            data,
            at_ms,
            until_ms,
            key: id.map(named),
            // Nobody takes away what others said by guessing their keys.
            collapse: collapse.map(named),
        })
    }

    fn count(&self, author: &Author, receiver: &UserId) -> Result<(), Refusal> {
        let Some(payer) = &author.pays else { return Ok(()) };
        // One after the other: what its sender may not send takes nothing from its receiver.
        self.decide("notification_sender", self.limiter.send(payer.user.as_ref(), payer.address))?;
        self.decide("notification_receiver", self.limiter.receive(receiver))
    }

    fn decide(&self, limiter: &str, decided: Option<Result<(), Refusal>>) -> Result<(), Refusal> {
        let Some(decided) = decided else { return Ok(()) };
        let decision = if decided.is_ok() { "allow" } else { "deny" };
        self.metrics.rate_limit_decisions.with(limiter, decision).increment(1);
        decided
    }

    /// Keeps what was drafted, in this order.
    ///
    /// # Errors
    /// There is no database, or it cannot be reached: some of them may be kept all the same.
    pub async fn keep(&self, author: &Author, drafts: &[New]) -> Result<Vec<Kept>, Refusal> {
        let shelf = self.shelf()?;
        if let Some(absence) = &self.absence {
            // Before: what is kept and not looked after nobody would find.
            absence.mind(drafts).await;
        }
        let mut span = traces::span(Kind::Client, "keep notifications");
        let added = shelf.notifications.add(drafts, self.settings.kept_per_user).await;
        if added.is_err() {
            span.fail("failed");
        }
        drop(span);
        let added = added.map_err(|error| self.unavailable(&error))?;
        let kept = drafts.iter().zip(added).map(|(new, added)| match added {
            Added::New { instead_of, dropped } => {
                self.metrics.notifications.with(author.by, "kept").increment(1);
                self.metrics.notifications_gone.with("surplus").increment(dropped);
                self.metrics.notifications_gone.with("collapsed").increment(u64::from(instead_of.is_some()));
                Kept { id: new.id.clone(), duplicate: false, replaces: instead_of }
            }
            Added::Known(id) => {
                self.metrics.notifications.with(author.by, "duplicate").increment(1);
                Kept { id, duplicate: true, replaces: None }
            }
        });
        Ok(kept.collect())
    }

    /// Notes that somebody was told something that is not kept.
    pub fn told_live(&self, author: &Author) {
        self.metrics.notifications.with(author.by, "live").increment(1);
    }

    /// Has all sessions of a user hear of what is kept, once however often it is tried. It is kept, so nothing of this is an
    /// error: what cannot be pushed now is found later.
    pub async fn push(&self, user: &UserId, event: &Event, kept: &Kept, account: Option<&Account>) {
        // Whoever comes again may do so because the node ended in between. What was pushed then is known to the log, but not
        // for ever.
        let age = Duration::from_millis(now_ms().saturating_sub(kept.id.made_at_ms()));
        if kept.duplicate && age >= self.window {
            return;
        }
        let key = dedupe_of("n:", &self.room_of(user), kept.id.as_str());
        self.say(user, event, Terms::once(&key), account).await;
    }

    /// Has all sessions of a user hear an event, in the log or at least now.
    pub(super) async fn say(&self, user: &UserId, event: &Event, terms: Terms<'_>, account: Option<&Account>) {
        let room = self.room_of(user);
        let result = match self.node.publish(&room, event, terms, account).await {
            Ok(_) => "logged",
            Err(Refusal::LogFull | Refusal::TooMuchKept { .. } | Refusal::TooManyNewRooms { .. }) => {
                match self.node.signal(&room, event).await {
                    Ok(()) => "signalled",
                    Err(_) => "failed",
                }
            }
            Err(_) => "failed",
        };
        self.metrics.notification_pushes.with(result).increment(1);
    }

    /// The event by which clients hear of a notification, unless a route has its own.
    #[must_use]
    pub fn event_of(&self, new: &New, kept: &Kept) -> Event {
        let form = Form { new, id: Some(&kept.id), is_read: false, replaces: kept.replaces.as_ref(), twice: true };
        self.event_with(self.event(), &form)
    }

    /// An event with one argument.
    pub(super) fn event_with(&self, name: &str, argument: &impl serde::Serialize) -> Event {
        let args = serde_json::to_string(&[argument]).expect("what is said of notifications are plain structs");
        Event { name: name.to_owned(), args, attachments: Vec::new(), except: None, at_ms: now_ms() }
    }

    /// Tells users something: keeps it for all of them, and pushes it to each.
    ///
    /// # Errors
    /// One of the wishes is refused, or there is no database, or it cannot be reached. Then nobody hears of anything, though
    /// some of it may be kept.
    pub async fn tell(&self, author: &Author, wishes: Vec<Wish>) -> Result<Vec<Told>, Refusal> {
        self.shelf()?;
        let drafts: Vec<_> = wishes.into_iter().map(|wish| self.draft(author, wish)).collect::<Result<_, _>>()?;
        let kept = self.keep(author, &drafts).await?;
        let told: Vec<_> = drafts
            .into_iter()
            .zip(kept)
            .map(|(new, kept)| Told { new: New { id: kept.id.clone(), ..new }, kept })
            .collect();
        stream::iter(&told)
            .for_each_concurrent(AT_ONCE, |Told { new, kept }| async move {
                self.push(&new.receiver, &self.event_of(new, kept), kept, None).await;
            })
            .await;
        Ok(told)
    }
}

/// A name of bounded length that is as good as the text: databases have it in an index.
fn hash(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

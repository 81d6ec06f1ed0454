//! The notifications of one process, gone when it ends: the oldest go when there are more than fit.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{Added, Listed, Marked, New, Notification, NotificationId, Notifications, Owners, Which};
use crate::domain::UserId;
use crate::port::PortError;

/// What one weighs beside its texts.
const ENTRY_BYTES: usize = 500;
/// How many are marked at once.
const MARKED: usize = 1_000;

/// Notifications in memory.
#[derive(Debug)]
pub struct MemoryNotifications {
    most_bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    users: HashMap<UserId, Inbox>,
    /// Whose each is, by its id.
    owners: HashMap<NotificationId, UserId>,
    /// The same in the order in which they were added.
    order: BTreeMap<u64, UserId>,
    /// The place of the next.
    next: u64,
    bytes: usize,
}

/// What one user has, by its place in the order of all.
#[derive(Debug, Default)]
struct Inbox {
    all: BTreeMap<u64, Notification>,
    ids: HashMap<NotificationId, u64>,
    keys: HashMap<String, u64>,
    /// The unread one of each collapse key.
    collapsing: HashMap<String, u64>,
}

impl MemoryNotifications {
    /// None yet, and room for about so many bytes: their texts, and 500 for each.
    #[must_use]
    pub fn new(most_bytes: usize) -> Self {
        Self { most_bytes, state: Mutex::default() }
    }
}

impl Inbox {
    fn known(&self, new: &New) -> Option<NotificationId> {
        let by_key = new.key.as_ref().and_then(|key| self.keys.get(key));
        let place = by_key.or_else(|| self.ids.get(&new.id))?;
        self.all.get(place).map(|notification| notification.new.id.clone())
    }

    fn insert(&mut self, place: u64, new: &New) {
        self.ids.insert(new.id.clone(), place);
        if let Some(key) = &new.key {
            self.keys.insert(key.clone(), place);
        }
        if let Some(collapse) = &new.collapse {
            self.collapsing.insert(collapse.clone(), place);
        }
        self.all.insert(place, Notification { new: new.clone(), is_read: false });
    }

    fn take(&mut self, place: u64) -> Option<New> {
        let Notification { new, .. } = self.all.remove(&place)?;
        self.ids.remove(&new.id);
        if let Some(key) = &new.key {
            self.keys.remove(key);
        }
        self.let_go(place, &new);
        Some(new)
    }

    /// It is not the unread one of its collapse key any more.
    fn let_go(&mut self, place: u64, new: &New) {
        if let Some(collapse) = new.collapse.as_ref().filter(|key| self.collapsing.get(*key) == Some(&place)) {
            self.collapsing.remove(collapse);
        }
    }

    /// The place of the newest that is not newer than one, also if that is gone.
    fn place_of(&self, id: &NotificationId) -> Option<u64> {
        let older = || self.all.iter().rev().find(|(_, one)| one.new.at_ms < id.made_at_ms()).map(|(place, _)| *place);
        self.ids.get(id).copied().or_else(older)
    }
}

impl State {
    fn remove(&mut self, user: &UserId, place: u64) -> Option<New> {
        let inbox = self.users.get_mut(user)?;
        let new = inbox.take(place)?;
        if inbox.all.is_empty() {
            self.users.remove(user);
        }
        self.order.remove(&place);
        self.owners.remove(&new.id);
        self.bytes -= weight(&new);
        Some(new)
    }

    fn add(&mut self, new: &New, kept: usize) -> Added {
        let inbox = self.users.entry(new.receiver.clone()).or_default();
        if let Some(known) = inbox.known(new) {
            return Added::Known(known);
        }
        let unread = new.collapse.as_ref().and_then(|key| inbox.collapsing.get(key)).copied();
        let place = self.next;
        inbox.insert(place, new);
        self.next += 1;
        self.order.insert(place, new.receiver.clone());
        self.owners.insert(new.id.clone(), new.receiver.clone());
        self.bytes += weight(new);
        let instead_of = unread.and_then(|unread| self.remove(&new.receiver, unread)).map(|gone| gone.id);
        let mut dropped = 0;
        while let Some(oldest) = self.oldest_beyond(&new.receiver, kept) {
            self.remove(&new.receiver, oldest);
            dropped += 1;
        }
        Added::New { instead_of, dropped }
    }

    fn oldest_beyond(&self, user: &UserId, kept: usize) -> Option<u64> {
        let inbox = self.users.get(user).filter(|inbox| inbox.all.len() > kept)?;
        inbox.all.first_key_value().map(|(place, _)| *place)
    }

    fn shrink(&mut self, most_bytes: usize) {
        while self.bytes > most_bytes {
            let Some((place, user)) = self.order.first_key_value().map(|(place, user)| (*place, user.clone())) else {
                return;
            };
            self.remove(&user, place);
        }
    }
}

fn weight(new: &New) -> usize {
    let texts = [Some(&new.message), new.data.as_ref(), new.key.as_ref(), new.collapse.as_ref()];
    ENTRY_BYTES + texts.into_iter().flatten().map(String::len).sum::<usize>()
}

fn is_over(new: &New, now: u64) -> bool {
    new.until_ms.is_some_and(|until| until <= now)
}

#[async_trait]
impl Notifications for MemoryNotifications {
    async fn add(&self, all: &[New], kept: usize) -> Result<Vec<Added>, PortError> {
        let mut state = self.state.lock();
        let added = all.iter().map(|new| state.add(new, kept)).collect();
        state.shrink(self.most_bytes);
        Ok(added)
    }

    async fn list(&self, user: &UserId, which: Which<'_>) -> Result<Listed, PortError> {
        let (state, now, nothing) = (self.state.lock(), now_ms(), Inbox::default());
        let inbox = state.users.get(user).unwrap_or(&nothing);
        // What comes after it in the order of reading stands before it. One that is gone is none of these.
        let end = match which.after {
            None => u64::MAX,
            Some(id) => match inbox.ids.get(id) {
                Some(place) => *place,
                None => inbox.place_of(id).map_or(0, |place| place + 1),
            },
        };
        let mut found = inbox.all.range(..end).rev().map(|(_, one)| one);
        let mut notifications = Vec::new();
        let more = loop {
            let is_wanted = |one: &&Notification| !is_over(&one.new, now) && (!which.unread || !one.is_read);
            match found.find(is_wanted) {
                None => break false,
                Some(_) if notifications.len() == which.limit => break true,
                Some(one) => notifications.push(one.clone()),
            }
        };
        Ok(Listed { notifications, more })
    }

    async fn mark_read(&self, user: &UserId, which: Marked<'_>) -> Result<Vec<NotificationId>, PortError> {
        let (mut state, now) = (self.state.lock(), now_ms());
        let Some(inbox) = state.users.get_mut(user) else { return Ok(Vec::new()) };
        let (first, last) = match which {
            Marked::All => (0, u64::MAX),
            Marked::UpTo(id) => match inbox.place_of(id) {
                Some(place) => (0, place),
                None => return Ok(Vec::new()),
            },
            Marked::One(id) => match inbox.ids.get(id) {
                Some(place) => (*place, *place),
                None => return Ok(Vec::new()),
            },
        };
        let unread = inbox.all.range(first..=last).rev().filter(|(_, one)| !one.is_read && !is_over(&one.new, now));
        let unread: Vec<_> = unread.take(MARKED).map(|(place, _)| *place).collect();
        let mut marked = Vec::with_capacity(unread.len());
        for place in unread {
            let Some(one) = inbox.all.get_mut(&place) else { continue };
            one.is_read = true;
            let new = one.new.clone();
            inbox.let_go(place, &new);
            marked.push(new.id);
        }
        Ok(marked)
    }

    async fn remove(&self, user: &UserId, id: &NotificationId) -> Result<bool, PortError> {
        let (mut state, now) = (self.state.lock(), now_ms());
        let place = state.users.get(user).and_then(|inbox| inbox.ids.get(id)).copied();
        let removed = place.and_then(|place| state.remove(user, place));
        Ok(removed.is_some_and(|new| !is_over(&new, now)))
    }

    async fn unread(&self, user: &UserId) -> Result<u64, PortError> {
        let (state, now) = (self.state.lock(), now_ms());
        let Some(inbox) = state.users.get(user) else { return Ok(0) };
        Ok(inbox.all.values().filter(|one| !one.is_read && !is_over(&one.new, now)).count() as u64)
    }

    async fn forget(&self, keep: Option<Duration>, most: usize) -> Result<u64, PortError> {
        let (mut state, now) = (self.state.lock(), now_ms());
        let keep = keep.map(|keep| u64::try_from(keep.as_millis()).unwrap_or(u64::MAX));
        let before = keep.map_or(0, |keep| now.saturating_sub(keep));
        let is_old = |new: &New| is_over(new, now) || new.at_ms < before;
        let of_one = |(user, inbox): (&UserId, &Inbox)| {
            let old = inbox.all.iter().filter(|(_, one)| is_old(&one.new));
            old.map(|(place, _)| (user.clone(), *place)).collect::<Vec<_>>()
        };
        let old: Vec<_> = state.users.iter().flat_map(of_one).take(most).collect();
        Ok(old.iter().filter_map(|(user, place)| state.remove(user, *place)).count() as u64)
    }
}

#[async_trait]
impl Owners for MemoryNotifications {
    async fn owner(&self, id: &NotificationId) -> Result<Option<UserId>, PortError> {
        let (state, now) = (self.state.lock(), now_ms());
        let is_there = |user: &&UserId| {
            let inbox = state.users.get(*user);
            let one = inbox.and_then(|inbox| inbox.ids.get(id).and_then(|place| inbox.all.get(place)));
            one.is_some_and(|one| !is_over(&one.new, now))
        };
        Ok(state.owners.get(id).filter(is_there).cloned())
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_does_not_fit_goes_and_the_oldest_first() {
        let store = MemoryNotifications::new(100 * 600);
        for number in 0..1_000_u64 {
            let new = New {
                id: NotificationId::new(SystemTime::now()),
                receiver: UserId::parse(&format!("user {}", number % 500)).unwrap(),
                sender: None,
                message: "x".repeat(90),
                data: None,
                at_ms: number,
                until_ms: None,
                key: Some(format!("key {number:06}")),
                collapse: None,
            };
            store.add(&[new], 10).await.unwrap();
        }
        let state = store.state.lock();
        assert_eq!((state.order.len(), state.bytes), (100, 100 * 600));
        assert_eq!(state.users.len(), 100, "who has none is not known");
        assert_eq!(state.order.first_key_value().map(|(place, _)| *place), Some(900));
    }
}

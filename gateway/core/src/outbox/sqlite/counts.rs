//! How much waits in each outbox of a file, so that nobody has to ask the file when something happens.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::outbox::Wants;

/// What waits, and what was dropped.
#[derive(Debug)]
pub(super) struct Counts {
    wants: Wants,
    all: Mutex<HashMap<String, Count>>,
}

#[derive(Debug, Default)]
struct Count {
    entries: usize,
    bytes: usize,
    /// Dropped, and not told yet.
    dropped: u64,
}

impl Counts {
    pub(super) fn new(wants: Wants) -> Self {
        Self { wants, all: Mutex::default() }
    }

    /// What was found in the file.
    pub(super) fn set(&self, name: &str, entries: usize, bytes: usize) {
        let mut all = self.all.lock();
        let count = all.entry(name.to_owned()).or_default();
        (count.entries, count.bytes) = (entries, bytes);
    }

    /// What is gone from the file.
    pub(super) fn forget_others(&self, names: &[&str]) {
        self.all.lock().retain(|name, _| names.contains(&name.as_str()));
    }

    /// Counts something in if there is room for it, or if it must come in; else as dropped.
    pub(super) fn admit(&self, name: &str, weight: usize, must: bool) -> bool {
        let bounds = self.wants.bounds(name);
        let mut all = self.all.lock();
        if !all.contains_key(name) {
            all.insert(name.to_owned(), Count::default());
        }
        let Some(count) = all.get_mut(name) else { return false };
        if !must && (count.entries >= bounds.entries || count.bytes + weight > bounds.bytes) {
            count.dropped += 1;
            return false;
        }
        (count.entries, count.bytes) = (count.entries + 1, count.bytes + weight);
        true
    }

    pub(super) fn has_room(&self, name: &str, weight: usize) -> bool {
        let bounds = self.wants.bounds(name);
        let has_room = |count: &Count| count.entries < bounds.entries && count.bytes + weight <= bounds.bytes;
        self.all.lock().get(name).is_none_or(has_room)
    }

    pub(super) fn take_out(&self, name: &str, entries: usize, bytes: usize) {
        if let Some(count) = self.all.lock().get_mut(name) {
            count.entries = count.entries.saturating_sub(entries);
            count.bytes = count.bytes.saturating_sub(bytes);
        }
    }

    pub(super) fn entries(&self, name: &str) -> usize {
        self.all.lock().get(name).map_or(0, |count| count.entries)
    }

    /// How many were dropped and are not written down yet.
    pub(super) fn dropped(&self, name: &str) -> u64 {
        self.all.lock().get(name).map_or(0, |count| count.dropped)
    }

    /// The same, which are told now.
    pub(super) fn tell_dropped(&self, name: &str) -> u64 {
        self.all.lock().get_mut(name).map_or(0, |count| std::mem::take(&mut count.dropped))
    }
}

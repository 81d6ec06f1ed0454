//! Reading what a session missed in one room, page by page, within a budget.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::wanted::{RecoveryError, Unrecovered, Wanted};
use crate::config;
use crate::domain::{Event, Frame, Offset, SessionId};
use crate::log::{Log, Range};

/// Events that are read at a time: at the largest, a few megabytes.
const PAGE: usize = 100;

/// How much may still be replayed to one session.
pub(super) struct Budget {
    events: AtomicUsize,
    bytes: AtomicUsize,
}

impl Budget {
    pub(super) fn new(settings: &config::Recovery) -> Self {
        Self { events: settings.max_events.into(), bytes: settings.max_bytes.into() }
    }

    fn spend(&self, event: &Event) -> Result<(), Unrecovered> {
        let take = |left: &AtomicUsize, amount: usize| {
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(amount)).is_ok()
        };
        if !take(&self.events, 1) {
            return Err(Unrecovered::TooMuch);
        }
        take(&self.bytes, event.size()).then_some(()).ok_or_else(|| {
            self.events.fetch_add(1, Ordering::Relaxed);
            Unrecovered::TooMuch
        })
    }

    /// Takes back what an event cost that is not replayed after all.
    fn refund(&self, bytes: usize) {
        self.events.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// What one room has for a session.
pub(super) struct Part {
    pub(super) frames: Vec<(Offset, Frame)>,
    pub(super) upto: Offset,
}

pub(super) async fn read_room(
    log: &dyn Log,
    wanted: &Wanted,
    session: SessionId,
    budget: &Budget,
) -> Result<Part, RecoveryError> {
    let mut frames = VecDeque::new();
    let mut from = wanted.after;
    loop {
        let page = log.read(&wanted.room, Range::After { offset: from, limit: PAGE }).await?;
        // Asked of every page: what is still to be read may go while earlier pages are.
        if !page.reaches_back_to(from) && !wanted.partial {
            return Err(why_not(from, page.began, page.head.offset).into());
        }
        if page.unreadable && !wanted.partial {
            return Err(Unrecovered::Unreadable.into());
        }
        from = page.read_to.unwrap_or(from);
        for (offset, event) in page.events {
            if event.except == Some(session) {
                continue;
            }
            while let Err(too_much) = budget.spend(&event) {
                // The newest are what a part is wanted for.
                let oldest = frames.pop_front().filter(|_| wanted.partial).ok_or(too_much)?;
                let (_, weight, _) = oldest;
                budget.refund(weight);
            }
            let weight = event.size();
            frames.extend(Frame::published(&event, offset).map(|frame| (offset, weight, frame)));
        }
        if !page.more {
            let frames = frames.into_iter().map(|(offset, _, frame)| (offset, frame)).collect();
            return Ok(Part { frames, upto: page.head.offset });
        }
    }
}

fn why_not(offset: Offset, began: Offset, head: Offset) -> Unrecovered {
    if offset > head {
        Unrecovered::Offset
    } else if offset < began {
        Unrecovered::History
    } else {
        Unrecovered::Retention
    }
}

//! Reading what a session missed in one room, page by page, within a budget.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::turns::{SMALL_BYTES, SMALL_EVENTS};
use crate::config;
use crate::domain::{Event, Frame, Offset};
use crate::log::{Log, Page, Range};
use crate::node::session::Session;
use crate::node::wanted::{Missing, RecoveryError, Unrecovered, Wanted};

/// Events that are read at a time, and their bytes.
pub(super) const PAGE: usize = 100;
pub(super) const PAGE_BYTES: usize = 1024 * 1024;

/// How long those who come back wait for the nodes to find out whether the log lost its last writes, from the first one on,
/// and how often it is looked. After that they are told that they may have missed something.
const PATIENCE: Duration = Duration::from_millis(300);
const LOOK: Duration = Duration::from_millis(25);

/// Before which offset the log was in doubt last, and since when this node knows.
#[derive(Debug, Default)]
pub(super) struct Doubt(Mutex<Option<(Offset, Instant)>>);

impl Doubt {
    /// Whether the nodes have had their time to find out.
    fn is_old(&self, before: Offset) -> bool {
        let mut doubt = self.0.lock();
        let (_, since) = *match &mut *doubt {
            Some(known) if known.0 == before => known,
            other => other.insert((before, Instant::now())),
        };
        since.elapsed() >= PATIENCE
    }
}

/// How much may still be replayed to one session.
pub(super) struct Budget {
    events: AtomicUsize,
    bytes: AtomicUsize,
    /// More than this may be replayed, but not in this reading.
    is_small: bool,
}

impl Budget {
    pub(super) fn new(settings: &config::Recovery) -> Self {
        Self { events: settings.max_events.into(), bytes: settings.max_bytes.into(), is_small: false }
    }

    /// That of a first reading, which ends where a replay turns out to be large.
    pub(super) fn small(settings: &config::Recovery) -> Self {
        let (events, bytes) = (settings.max_events.min(SMALL_EVENTS), settings.max_bytes.min(SMALL_BYTES));
        let is_small = events < settings.max_events || bytes < settings.max_bytes;
        Self { events: events.into(), bytes: bytes.into(), is_small }
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
    /// What is missing, if it may be.
    pub(super) missing: Option<Missing>,
}

/// Reads some rooms, each from its first page on; nothing if a larger budget may do.
pub(super) async fn read_some(
    log: &dyn Log,
    doubt: &Doubt,
    wanted: &[Wanted],
    session: &Session,
    budget: &Budget,
) -> Result<Option<Vec<Part>>, RecoveryError> {
    let rooms: Vec<_> = wanted.iter().map(|wanted| (&wanted.room, wanted.after)).collect();
    let pages = log.read_each(&rooms, PAGE, PAGE_BYTES).await?;
    let mut parts = Vec::with_capacity(wanted.len());
    for (wanted, page) in wanted.iter().zip(pages) {
        let Some(part) = read_room(log, doubt, wanted, session, budget, page).await? else { return Ok(None) };
        parts.push(part);
    }
    Ok(Some(parts))
}

/// Reads the rest of a room whose first page was read; nothing if a larger budget may do.
async fn read_room(
    log: &dyn Log,
    doubt: &Doubt,
    wanted: &Wanted,
    session: &Session,
    budget: &Budget,
    first: Page,
) -> Result<Option<Part>, RecoveryError> {
    let mut frames = VecDeque::new();
    let (mut from, mut missing, mut first) = (wanted.after, None, Some(first));
    loop {
        let page = match first.take() {
            Some(page) => page,
            None => log.read(&wanted.room, Range::After { offset: from, limit: PAGE }, PAGE_BYTES).await?,
        };
        if let Some(before) = page.in_doubt_before.filter(|before| wanted.stands_at(from) < *before && !wanted.partial)
        {
            if doubt.is_old(before) {
                return Err(Unrecovered::History.into());
            }
            sleep(LOOK).await;
            continue;
        }
        // Asked of every page: what is still to be read may go while earlier pages are.
        if let Some(why) = why_not(&page, wanted, from) {
            if !wanted.partial {
                return Err(why.into());
            }
            let through = page.missing_to(from).filter(|through| *through > from);
            missing = Some(Missing::with(missing, Missing { why, through }));
        }
        from = page.read_to.unwrap_or(from);
        for (offset, event) in page.events {
            if event.except.as_ref().is_some_and(|except| session.is_excepted(except)) {
                continue;
            }
            while let Err(too_much) = budget.spend(&event) {
                if budget.is_small {
                    return Ok(None);
                }
                // The newest are what a part is wanted for.
                let oldest = frames.pop_front().filter(|_| wanted.partial).ok_or(too_much)?;
                let (left_out, weight, _) = oldest;
                missing = Some(Missing::with(missing, Missing { why: too_much, through: Some(left_out) }));
                budget.refund(weight);
            }
            let weight = event.size();
            frames.extend(Frame::published(&event, offset).map(|frame| (offset, weight, frame)));
        }
        if !page.more {
            let frames = frames.into_iter().map(|(offset, _, frame)| (offset, frame)).collect();
            return Ok(Some(Part { frames, upto: page.head.offset, missing }));
        }
    }
}

/// Why not everything after an offset is to be had, as far as a page reads.
fn why_not(page: &Page, wanted: &Wanted, from: Offset) -> Option<Unrecovered> {
    let stands_at = wanted.stands_at(from);
    if from > page.head.offset {
        Some(Unrecovered::Offset)
    } else if stands_at < page.began || page.in_doubt_before.is_some_and(|before| stands_at < before) {
        Some(Unrecovered::History)
    } else if !page.reaches_back_to(from) {
        Some(Unrecovered::Retention)
    } else {
        page.unreadable.then_some(Unrecovered::Unreadable)
    }
}

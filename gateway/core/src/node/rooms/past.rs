//! The past of a room: what the log has of it, and before that what the archive has, in one order and without a seam.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::archive::{self, Archive, Archived, Entry, Gap};
use crate::domain::{Event, Offset, RoomName};
use crate::log::{Log, Page, Range};
use crate::port::PortError;

/// How often it is looked whether the archive has what has left the log.
const LOOK: Duration = Duration::from_millis(50);
/// What tombstones are read at a time, and how often, until somebody is told of nothing but that.
const EMPTY_PAGE: usize = 1_000;
const EMPTY_PAGES: usize = 100;

/// Where what was said is read.
#[derive(Clone, Debug)]
pub struct Past {
    pub(super) log: Arc<dyn Log>,
    archived: Option<Archived>,
    /// How long what has left the log is waited for in the archive.
    patience: Duration,
}

/// A part of what a room said, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Stretch {
    /// What was said.
    pub events: Vec<(Offset, Event)>,
    /// The place of the last that was read, shown or not: where reading after it goes on.
    pub read_to: Option<Offset>,
    /// Whether there is more in the direction of reading.
    pub more: bool,
    /// Whether nothing of this part is missing, as far as is known.
    pub whole: bool,
    /// Whether some of it is from the archive.
    pub archived: bool,
    /// Whether the archive itself has more after it.
    pub from_archive_goes_on: bool,
    /// If something is missing, up to where at the most.
    pub missing_to: Option<Offset>,
    /// The log has everything of the room from here on.
    pub log_from: Offset,
    /// Where the log stood: what is said later comes after it. Nothing while it may have lost something.
    pub settled_to: Option<Offset>,
}

impl<L: Log> From<Arc<L>> for Past {
    fn from(log: Arc<L>) -> Self {
        Self { log, archived: None, patience: Duration::ZERO }
    }
}

impl Past {
    /// What the log has, and beyond that the archive. What has left the log is waited for as long as `patience`.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, archived: Option<Archived>, patience: Duration) -> Self {
        Self { log, archived, patience }
    }

    fn archive_of(&self, room: &RoomName) -> Option<&dyn Archive> {
        self.archived.as_ref()?.of(room)
    }

    /// Whether there is more of a room than the log has.
    pub(super) fn is_archived(&self, room: &RoomName) -> bool {
        self.archive_of(room).is_some()
    }

    /// Reads a part of what a room said.
    pub(super) async fn read(&self, room: &RoomName, range: Range, bytes: usize) -> Result<Stretch, PortError> {
        let page = self.log.read(room, range, bytes).await?;
        let Some(archive) = self.archive_of(room) else { return Ok(of_log(page, range)) };
        let whole = Whole { archive, room, bytes, patience: self.patience };
        match range {
            Range::After { offset, .. } if page.reaches_back_to(offset) || offset > page.head.offset => {
                Ok(of_log(page, range))
            }
            Range::After { offset, limit } => whole.after(page, offset, limit).await,
            Range::Newest { .. } if page.in_doubt_before.is_some() => {
                // It may lack what the archive has, or will have a gap for.
                Ok(Stretch { whole: false, archived: true, ..of_log(page, range) })
            }
            Range::Newest { .. } if page.more && is_of_this_history(&page) => Ok(of_log(page, range)),
            Range::Newest { before, limit } => whole.newest(page, before, limit).await,
        }
    }

    /// Whether an event is where it is said to be.
    pub(super) async fn has(&self, room: &RoomName, offset: Offset) -> Result<bool, PortError> {
        let Some(before) = offset.0.checked_sub(1) else { return Ok(false) };
        let range = Range::After { offset: Offset(before), limit: 1 };
        let page = self.log.read(room, range, 1).await?;
        if page.events.first().is_some_and(|(at, _)| *at == offset) {
            return Ok(true);
        }
        let Some(archived) = &self.archived else { return Ok(false) };
        let page = archived.archives().of(room).read(room, range, 1).await?;
        Ok(page.entries.first().is_some_and(|entry| entry.position.offset == offset && entry.event.is_some()))
    }

    /// Reads what the archive has of a room after an offset, if the log does not reach back to it.
    pub(super) async fn before_log(
        &self,
        room: &RoomName,
        after: Offset,
        limit: usize,
        bytes: usize,
    ) -> Result<Option<Stretch>, PortError> {
        let Some(archive) = self.archive_of(room) else { return Ok(None) };
        let page = self.log.read(room, Range::Newest { before: None, limit: 0 }, 0).await?;
        if page.reaches_back_to(after) || after > page.head.offset {
            return Ok(None);
        }
        // The log goes on behind it.
        let page = Page { more: true, ..page };
        let whole = Whole { archive, room, bytes, patience: self.patience };
        whole.after(page, after, limit).await.map(Some)
    }
}

/// Whether the log has everything of the room since the oldest of a part: what is left of an older history may have holes.
fn is_of_this_history(page: &Page) -> bool {
    page.events.first().is_none_or(|(oldest, _)| *oldest > page.reaches_back())
}

fn of_log(page: Page, range: Range) -> Stretch {
    let whole = match range {
        Range::After { offset, .. } => page.is_whole_after(offset),
        Range::Newest { .. } => !page.unreadable,
    };
    let (log_from, settled_to) = (page.reaches_back(), settled_to(&page));
    let Page { events, read_to, more, .. } = page;
    Stretch { events, read_to, more, whole, log_from, settled_to, ..Stretch::default() }
}

/// What the log has, where the archive does not say what there is beside it.
fn not_whole(made: Stretch) -> Stretch {
    Stretch { more: true, whole: false, archived: true, ..made }
}

fn settled_to(page: &Page) -> Option<Offset> {
    page.in_doubt_before.is_none().then_some(page.head.offset)
}

fn fold(gaps: &[Gap], missing_to: Option<Offset>) -> Option<Offset> {
    gaps.iter().map(|gap| gap.through).max().max(missing_to)
}

fn shown(entries: Vec<Entry>) -> impl Iterator<Item = (Offset, Event)> {
    entries.into_iter().filter_map(|Entry { position, event, .. }| Some((position.offset, event?)))
}

/// A room of which a part has left the log. The log has everything from some offset on, and what it does not have there was taken
/// back; up to there the archive counts.
struct Whole<'a> {
    archive: &'a dyn Archive,
    room: &'a RoomName,
    bytes: usize,
    patience: Duration,
}

impl Whole<'_> {
    /// Reads from the archive, once it has everything up to an offset; if it does not get there in time, as it is. Says whether
    /// it has. The cursor is asked first: what it covers is in what is read then.
    async fn read(&self, range: Range, upto: Offset, bytes: usize) -> Result<(archive::Page, bool), PortError> {
        let deadline = Instant::now() + self.patience;
        loop {
            let has_all = self.archive.cursor().await?.is_some_and(|cursor| cursor >= upto);
            let page = self.archive.read(self.room, range, bytes).await?;
            // What comes before the end of the archive is there, whatever comes later.
            let is_inside = matches!(range, Range::After { .. }) && page.more;
            if has_all || is_inside || Instant::now() >= deadline {
                return Ok((page, has_all || is_inside));
            }
            sleep(LOOK).await;
        }
    }

    async fn after(&self, page: Page, offset: Offset, limit: usize) -> Result<Stretch, PortError> {
        let log_from = page.reaches_back();
        let settled_to = settled_to(&page);
        let mut made = Stretch { whole: true, archived: true, log_from, settled_to, ..Stretch::default() };
        let (mut after, mut count) = (offset, limit);
        for _ in 0..EMPTY_PAGES {
            let range = Range::After { offset: after, limit: count };
            let (mut part, has_all) = self.read(range, log_from, self.bytes).await?;
            let read = part.entries.len();
            part.entries.retain(|entry| entry.position.offset <= log_from);
            part.gaps.retain(|gap| gap.after < log_from);
            let goes_on = part.more && part.entries.len() == read;
            let is_forgotten = part.forgotten.is_some_and(|forgotten| forgotten > after);
            made.whole &= has_all && part.gaps.is_empty() && !is_forgotten;
            made.missing_to = fold(&part.gaps, made.missing_to).max((!has_all).then_some(log_from));
            after = part.entries.last().map_or(after, |last| last.position.offset);
            made.events.extend(shown(part.entries));
            made.more = goes_on;
            if !made.events.is_empty() || !goes_on {
                break;
            }
            count = EMPTY_PAGE;
        }
        made.from_archive_goes_on = made.more;
        made.read_to = (after > offset).then_some(after);
        if !made.more {
            self.join(&mut made, page, limit);
        }
        Ok(made)
    }

    /// Adds what the log has beyond the end of the archive.
    fn join(&self, made: &mut Stretch, page: Page, limit: usize) {
        made.whole &= page.is_whole_after(made.log_from);
        let mut used: usize = made.events.iter().map(|(_, event)| event.size()).sum();
        made.more = page.more;
        // The log may have what it had before its history began: it has it once more, and the archive counts there.
        let upto = made.read_to.unwrap_or_default();
        for (offset, event) in page.events.into_iter().filter(|(offset, _)| *offset > upto) {
            used += event.size();
            if made.events.len() >= limit || (used > self.bytes && !made.events.is_empty()) {
                made.more = true;
                return;
            }
            made.read_to = Some(offset);
            made.events.push((offset, event));
        }
        made.read_to = made.read_to.max(page.read_to);
    }

    async fn newest(&self, mut page: Page, before: Option<Offset>, limit: usize) -> Result<Stretch, PortError> {
        let log_from = page.reaches_back();
        let range = Range::Newest { before, limit };
        // What is left of an older history counts only where the archive cannot say.
        let left_over = (!is_of_this_history(&page)).then(|| of_log(page.clone(), range));
        if left_over.is_some() {
            page.events.retain(|(offset, _)| *offset > log_from);
        }
        let read_to = page.read_to.filter(|_| left_over.is_none());
        let oldest = page.events.first().map(|(offset, _)| *offset).or(read_to);
        let (left, used) =
            (limit.saturating_sub(page.events.len()), page.events.iter().map(|(_, event)| event.size()).sum());
        let is_full = left == 0 || (used >= self.bytes && !page.events.is_empty());
        // Only what has left the log is asked of the archive.
        let end = Offset(log_from.0.saturating_add(1));
        let before = oldest.or(before).unwrap_or(end).min(end);
        let (mut before, mut count) = (before, if is_full { 1 } else { left });
        let mut made = of_log(page, range);
        let mut older = Vec::new();
        for _ in 0..EMPTY_PAGES {
            let upto = Offset(before.0.saturating_sub(1));
            let bytes = self.bytes.saturating_sub(used).max(1);
            let part = self.read(Range::Newest { before: Some(before), limit: count }, upto, bytes).await;
            let (part, has_all) = match part {
                Ok(read) => read,
                // What the log has is right, and there may be more.
                Err(error) => {
                    let known = left_over.or(Some(made).filter(|made| !made.events.is_empty()));
                    return known.map(not_whole).ok_or(error);
                }
            };
            if !has_all && let Some(left_over) = left_over {
                return Ok(not_whole(left_over));
            }
            if is_full {
                made.more = !part.entries.is_empty();
                made.whole &= has_all || made.more;
                return Ok(made);
            }
            made.archived = true;
            made.whole &= has_all && part.gaps.is_empty();
            made.missing_to = fold(&part.gaps, made.missing_to).max((!has_all).then_some(log_from));
            made.more = part.more;
            before = part.entries.first().map_or(before, |first| first.position.offset);
            made.read_to = made.read_to.max(part.entries.last().map(|last| last.position.offset));
            older = shown(part.entries).collect();
            if !older.is_empty() || !made.events.is_empty() || !made.more {
                break;
            }
            count = EMPTY_PAGE;
        }
        older.append(&mut made.events);
        made.events = older;
        Ok(made)
    }
}

//! `history`: reading what a room said, from its log and its archive.

use std::fmt::{self, Formatter};
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::kind::{Access, Kind};
use super::values::{number, offset};
use crate::config::MAX_ATTACHMENTS;
use crate::content::json;
use crate::domain::{Event, Offset, Refusal};
use crate::log::Range;
use crate::routes::Answer;
use crate::routes::context::Run;
use crate::routes::reader::Reader;
use crate::routes::template::Template;

const EITHER: &str = "history reads after an offset or before one, not both";

/// Read what a room said.
#[derive(Debug)]
pub struct History {
    /// Which.
    pub room: Template,
    /// An offset to read from.
    pub since: Template,
    /// An offset to read up to.
    pub before: Template,
    /// How many events.
    pub limit: Template,
}

impl Kind for History {
    const NAME: &'static str = "history";

    fn compile(reader: &mut Reader<'_>) -> Option<Self> {
        let context = reader.context();
        let room = reader.room();
        let since = reader.keys.template_or("since", "{arg.after?}", &context);
        let before = reader.keys.template_or("before", "{arg.before?}", &context);
        let limit = reader.keys.template_or("limit", "{arg.limit?}", &context);
        Some(Self { room: room?, since: since?, before: before?, limit: limit? })
    }

    fn room(&self) -> Option<(&Template, Access)> {
        Some((&self.room, Access::Read))
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        [&self.since, &self.before, &self.limit].into_iter()
    }

    fn show(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, " since {} before {} limit {}", self.since, self.before, self.limit)
    }

    async fn run(&self, run: &mut Run<'_>, _: &Arc<str>) -> Result<Option<Answer>, Refusal> {
        let (after, before) = (offset(&self.since, &run.scope)?, offset(&self.before, &run.scope)?);
        let limit = number(&self.limit, &run.scope)?.unwrap_or(usize::MAX);
        let range = match (after, before) {
            (Some(_), Some(_)) => return Err(Refusal::bad_request(EITHER)),
            (Some(offset), None) => Range::After { offset, limit },
            (None, before) => Range::Newest { before, limit },
        };
        let bytes = run.router.bounds.message_bytes;
        let page = run.router.node.history(&run.room()?, range, bytes).await?;
        let (events, cut) = fitting(page.events, bytes, matches!(range, Range::Newest { .. }));
        // What is read for somebody is traffic of theirs, as what they send: a small request must not cost much for nothing.
        if let Some(session) = run.session {
            session.allowance.charge(events.iter().map(|(_, event)| event.size()).sum())?;
        }
        let mut attachments = Vec::new();
        let events = events.into_iter().filter_map(|(offset, event)| entry(offset, event, &mut attachments)).collect();
        let complete = (page.archived && !page.whole).then_some(false);
        let mut answer = Answer::new(&Entries { ok: true, events, more: page.more || cut, complete });
        answer.attachments = attachments;
        Ok(Some(answer))
    }
}

#[derive(Serialize)]
struct Entries {
    ok: bool,
    events: Vec<Entry>,
    /// Whether there are further events in the direction of reading.
    more: bool,
    /// False if something of an archived room is missing here.
    #[serde(skip_serializing_if = "Option::is_none")]
    complete: Option<bool>,
}

#[derive(Serialize)]
struct Entry {
    offset: Offset,
    event: String,
    args: Box<RawValue>,
}

/// As many events as fit, at least one, from the end that reading began at; and whether any did not.
fn fitting(mut events: Vec<(Offset, Event)>, bytes: usize, from_newest: bool) -> (Vec<(Offset, Event)>, bool) {
    if from_newest {
        events.reverse();
    }
    let (mut used, mut attachments) = (0, 0);
    let fits = |(index, (_, event)): &(usize, &(Offset, Event))| {
        used += event.size();
        attachments += event.attachments.len();
        (used <= bytes && attachments <= MAX_ATTACHMENTS) || *index == 0
    };
    let count = events.iter().enumerate().take_while(fits).count();
    let cut = count < events.len();
    events.truncate(count);
    if from_newest {
        events.reverse();
    }
    (events, cut)
}

/// An entry of the answer; its attachments go behind those of the entries before it.
fn entry(offset: Offset, event: Event, attachments: &mut Vec<Bytes>) -> Option<Entry> {
    let args = event.args_at(offset);
    let args = if event.attachments.is_empty() {
        args.into_owned()
    } else {
        json::shift_placeholders(&args, attachments.len())?
    };
    let args = RawValue::from_string(args).ok()?;
    attachments.extend(event.attachments);
    Some(Entry { offset, event: event.name, args })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(attachments: &[usize]) -> Vec<(Offset, Event)> {
        let event = |count| Event {
            name: "e".to_owned(),
            args: "[]".to_owned(),
            attachments: vec![Bytes::from_static(b"x"); count],
            except: None,
            at_ms: 0,
        };
        (1..).map(Offset).zip(attachments.iter().map(|&count| event(count))).collect()
    }

    fn offsets_that_fit(attachments: &[usize], bytes: usize, from_newest: bool) -> (Vec<u64>, bool) {
        let (events, cut) = fitting(events(attachments), bytes, from_newest);
        (events.into_iter().map(|(offset, _)| offset.0).collect(), cut)
    }

    #[test]
    fn a_page_ends_before_the_event_that_no_longer_fits() {
        assert_eq!(offsets_that_fit(&[0, 0, 0], 6, false), (vec![1, 2], true));
        assert_eq!(offsets_that_fit(&[0, 0, 0], 6, true), (vec![2, 3], true));
        assert_eq!(offsets_that_fit(&[0, 0, 0], 1, true), (vec![3], true));
        assert_eq!(offsets_that_fit(&[4, 6, 0, 1], 1_000, false), (vec![1, 2, 3], true));
        assert_eq!(offsets_that_fit(&[5, 6, 0, 4], 1_000, true), (vec![2, 3, 4], true));
        assert_eq!(offsets_that_fit(&[11, 1], 1_000, false), (vec![1], true));
        assert_eq!(offsets_that_fit(&[4, 6], 1_000, true), (vec![1, 2], false));
    }
}

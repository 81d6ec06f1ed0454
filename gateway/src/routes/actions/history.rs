//! `history`: reading what a room's log holds.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::super::{Answer, Request, json};
use crate::domain::{Event, Offset, Refusal, RoomName};
use crate::log::Range;

const HISTORY: &str = "history takes {room, after?, before?, limit?}, offsets as text, after or before but not both";

#[derive(Deserialize)]
struct HistoryArgs<'a> {
    #[serde(borrow)]
    room: Cow<'a, str>,
    #[serde(borrow)]
    after: Option<Cow<'a, str>>,
    #[serde(borrow)]
    before: Option<Cow<'a, str>>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct History {
    ok: bool,
    events: Vec<Entry>,
    /// Whether there are further events in the direction of reading.
    more: bool,
}

#[derive(Serialize)]
struct Entry {
    offset: Offset,
    event: String,
    args: Box<RawValue>,
}

pub(in crate::routes) async fn history(call: Request<'_>) -> Result<Answer, Refusal> {
    let args: HistoryArgs<'_> = call.argument(HISTORY)?;
    let room = RoomName::parse(&args.room)?;
    let offset = |text: Cow<'_, str>| Offset::parse(&text).ok_or(Refusal::bad_request(HISTORY));
    let (after, before) = (args.after.map(offset).transpose()?, args.before.map(offset).transpose()?);
    let limit = args.limit.unwrap_or(usize::MAX);
    let range = match (after, before) {
        (Some(_), Some(_)) => return Err(Refusal::bad_request(HISTORY)),
        (Some(offset), None) => Range::After { offset, limit },
        (None, before) => Range::Newest { before, limit },
    };
    let page = call.node.history(call.session, &room, range).await?;
    let (events, cut) = fitting(page.events, call.answer_bytes, matches!(range, Range::Newest { .. }));
    let mut attachments = Vec::new();
    let events = events.into_iter().filter_map(|(offset, event)| entry(offset, event, &mut attachments)).collect();
    let mut answer = Answer::new(&History { ok: true, events, more: page.more || cut });
    answer.attachments = attachments;
    Ok(answer)
}

/// As many events as fit, at least one, from the end that reading began at; and whether any did not.
fn fitting(mut events: Vec<(Offset, Event)>, bytes: usize, from_newest: bool) -> (Vec<(Offset, Event)>, bool) {
    if from_newest {
        events.reverse();
    }
    let mut used = 0;
    let fits = |(index, (_, event)): &(usize, &(Offset, Event))| {
        used += event.size();
        used <= bytes || *index == 0
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
    let args = if event.attachments.is_empty() {
        RawValue::from_string(event.args).ok()?
    } else {
        to_raw_value(&json::shift_placeholders(&event.args, attachments.len())?).ok()?
    };
    attachments.extend(event.attachments);
    Some(Entry { offset, event: event.name, args })
}

//! `history` and `presence`: reading what a room's log holds, and who is in it.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{number, offset};
use crate::config::MAX_ATTACHMENTS;
use crate::domain::{Event, Offset, Refusal, UserId};
use crate::log::Range;
use crate::routes::context::Run;
use crate::routes::table::{History, Presence};
use crate::routes::{Answer, json};

const EITHER: &str = "history reads after an offset or before one, not both";

#[derive(Serialize)]
struct Entries {
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

pub(in crate::routes) async fn history(run: &Run<'_>, history: &History) -> Result<Answer, Refusal> {
    let (after, before) = (offset(&history.since, &run.scope)?, offset(&history.before, &run.scope)?);
    let limit = number(&history.limit, &run.scope)?.unwrap_or(usize::MAX);
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
    let mut answer = Answer::new(&Entries { ok: true, events, more: page.more || cut });
    answer.attachments = attachments;
    Ok(answer)
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

#[derive(Serialize)]
struct Members {
    ok: bool,
    /// How many members the room has, not only those listed.
    count: u64,
    members: Vec<Listed>,
    /// Where the next page begins, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize)]
struct Listed {
    /// The same for all sessions of a user; an anonymous session is its own member.
    member: String,
    user: Option<UserId>,
    /// Milliseconds since 1970.
    since: u64,
}

pub(in crate::routes) async fn presence(run: &Run<'_>, presence: &Presence) -> Result<Answer, Refusal> {
    let after = presence.after.optional(&run.scope)?;
    let limit = number(&presence.limit, &run.scope)?.unwrap_or(usize::MAX);
    let after = after.as_deref().filter(|after| !after.is_empty());
    let page = run.router.node.list_members(&run.room()?, after, limit).await?;
    let listed = page.members.into_iter().map(|member| Listed {
        member: member.member,
        user: member.user,
        since: member.since_ms,
    });
    Ok(Answer::new(&Members { ok: true, count: page.count, members: listed.collect(), next: page.next }))
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

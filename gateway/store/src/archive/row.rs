//! An event as a row: columns that people can search with their own tools, and apart from them what only the gateway reads.

use bytes::Bytes;
use gateway_core::archive::{Entry, Record};
use gateway_core::domain::{Epoch, Event, Offset, Position, UserId};
use gateway_core::port::{Port, PortError};

use crate::text;

/// What tables and documents have of an entry, in whatever database. Without `event` it is a tombstone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    /// The place in the log.
    pub(crate) offset: i64,
    /// Whose history it counts: 16 hexadecimal digits.
    pub(crate) epoch: String,
    /// When the gateway took it, in milliseconds since 1970.
    pub(crate) at_ms: i64,
    /// Who said it.
    pub(crate) user: Option<String>,
    /// The event's name.
    pub(crate) event: Option<String>,
    /// Its arguments, a JSON array as members heard it.
    pub(crate) data: Option<String>,
    /// What these do not say, as only the gateway reads it.
    pub(crate) apart: Option<Vec<u8>>,
    /// What it weighs.
    pub(crate) bytes: i64,
}

/// A row as it is selected from a table: offset, epoch, time, user, event, data, what stands apart, bytes.
pub(crate) type Columns = (i64, String, i64, Option<String>, Option<String>, Option<String>, Option<Vec<u8>>, i64);

impl From<Columns> for Row {
    fn from((offset, epoch, at_ms, user, event, data, apart, bytes): Columns) -> Self {
        Self { offset, epoch, at_ms, user, event, data, apart, bytes }
    }
}

/// The entries of what was selected.
///
/// # Errors
/// One of the rows is not what the gateway wrote.
pub(crate) fn entries(rows: Vec<Columns>) -> Result<Vec<Entry>, PortError> {
    let entries: Result<_, Damaged> = rows.into_iter().map(|columns| Row::from(columns).entry()).collect();
    entries.map_err(|damaged| Port::Archive.broken("read", damaged))
}

/// A row is not what the gateway wrote.
#[derive(Debug, thiserror::Error)]
#[error("the row of offset {offset} was changed by somebody else: {what} cannot be read; delete the row or restore it")]
pub(crate) struct Damaged {
    offset: i64,
    what: &'static str,
}

/// The format of what stands apart: its first byte.
const FORMAT: u8 = 1;

impl Row {
    /// The row of an event; nothing of a gap.
    pub(crate) fn of(record: &Record) -> Option<Self> {
        let Record::Event { position, user, event, .. } = record else { return None };
        let offset = number(position.offset);
        Some(Self {
            offset,
            epoch: position.epoch.to_string(),
            at_ms: i64::try_from(event.at_ms).unwrap_or(i64::MAX),
            user: user.as_ref().map(|user| text::kept(user.as_str()).into_owned()),
            event: Some(text::kept(&event.name).into_owned()),
            data: Some(text::kept(&event.args_at(position.offset)).into_owned()),
            apart: apart(event, position.offset),
            bytes: i64::try_from(event.size()).unwrap_or(i64::MAX),
        })
    }

    /// The entry that it is a row of.
    ///
    /// # Errors
    /// Somebody else has written or changed it.
    pub(crate) fn entry(self) -> Result<Entry, Damaged> {
        let damaged = |what| Damaged { offset: self.offset, what };
        let epoch = Epoch::parse(&self.epoch).ok_or_else(|| damaged("epoch"))?;
        let position = Position { epoch, offset: offset(self.offset) };
        let Some(name) = self.event else { return Ok(Entry { position, user: None, event: None }) };
        let user = match self.user {
            None => None,
            Some(user) => Some(UserId::parse(&text::read(user)).ok_or_else(|| damaged("user"))?),
        };
        let mut event = Event {
            name: text::read(name),
            args: text::read(self.data.unwrap_or_default()),
            attachments: Vec::new(),
            except: None,
            at_ms: u64::try_from(self.at_ms).unwrap_or_default(),
        };
        if let Some(apart) = self.apart {
            put_together(&mut event, position.offset, &apart).ok_or_else(|| damaged("what stands apart"))?;
        }
        Ok(Entry { position, user, event: Some(event) })
    }
}

/// An offset as databases have numbers. Those of the log are microseconds of the clock, or little more: it ends in 292,000
/// years.
pub(crate) fn number(offset: Offset) -> i64 {
    i64::try_from(offset.0).unwrap_or(i64::MAX)
}

/// The offset of a number.
pub(crate) fn offset(number: i64) -> Offset {
    Offset(u64::try_from(number).unwrap_or_default())
}

/// Where among the arguments the event's own offset stands, and an event with the attachments and exceptions; nothing if
/// there is none of these.
fn apart(event: &Event, offset: Offset) -> Option<Vec<u8>> {
    let written = offset.to_string().len() + 2;
    let places = event.args.match_indices(Event::OFFSET).map(|(at, _)| at).enumerate();
    // Each that stands before has become longer by so much.
    let places: Vec<u32> = places
        .filter_map(|(before, at)| u32::try_from(at + before * (written - Event::OFFSET.len_utf8())).ok())
        .collect();
    if places.is_empty() && event.attachments.is_empty() && event.except.is_none() {
        return None;
    }
    let Event { attachments, except, .. } = event.clone();
    let rest = Event { name: String::new(), args: String::new(), attachments, except, at_ms: 0 };
    let mut bytes = vec![FORMAT];
    rmp_serde::encode::write(&mut bytes, &(places, Bytes::from(rest.encode()))).ok()?;
    Some(bytes)
}

fn put_together(event: &mut Event, offset: Offset, apart: &[u8]) -> Option<()> {
    let body = apart.strip_prefix(&[FORMAT])?;
    let (places, rest): (Vec<u32>, Bytes) = rmp_serde::from_slice(body).ok()?;
    let rest = Event::decode(&rest)?;
    (event.attachments, event.except) = (rest.attachments, rest.except);
    if places.is_empty() {
        return Some(());
    }
    let written = format!("\"{offset}\"");
    let (mut args, mut done) = (String::with_capacity(event.args.len()), 0);
    for place in places {
        let place = usize::try_from(place).ok()?;
        let before = event.args.get(done..place)?;
        event.args.get(place..)?.strip_prefix(&written)?;
        args.push_str(before);
        args.push(Event::OFFSET);
        done = place + written.len();
    }
    args.push_str(event.args.get(done..)?);
    event.args = args;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::domain::RoomName;

    fn record(args: &str) -> Record {
        Record::Event {
            room: RoomName::trusted("r"),
            position: Position { epoch: Epoch(u64::MAX), offset: Offset(1_700_000_000_000_000) },
            before: None,
            user: None,
            event: Event { name: "e".into(), args: args.into(), attachments: vec![], except: None, at_ms: 7 },
            takes_back: None,
        }
    }

    #[test]
    fn what_people_search_is_what_members_heard() {
        let row = Row::of(&record("[{\"a\":\u{1}},\u{1},\"é\"]")).unwrap();
        assert_eq!(row.data.as_deref(), Some(r#"[{"a":"1700000000000000"},"1700000000000000","é"]"#));
        let Some(event) = row.entry().unwrap().event else { panic!("it is no tombstone") };
        assert_eq!(event.args, "[{\"a\":\u{1}},\u{1},\"é\"]");
        let row = Row::of(&record("[1]")).unwrap();
        assert_eq!(row.apart, None, "what has nothing of it takes no room");
    }

    #[test]
    fn what_somebody_changed_is_told() {
        let row = Row::of(&record("[\u{1}]")).unwrap();
        for (damage, what) in [
            (Row { epoch: "x".into(), ..row.clone() }, "epoch"),
            (Row { user: Some(String::new()), ..row.clone() }, "user"),
            (Row { apart: Some(vec![9]), ..row.clone() }, "apart"),
            (Row { apart: Some(vec![FORMAT]), ..row.clone() }, "apart"),
            (Row { data: Some("[2]".into()), ..row.clone() }, "apart"),
            (Row { data: None, ..row }, "apart"),
        ] {
            let said = damage.entry().unwrap_err().to_string();
            assert!(said.contains(what) && said.contains("1700000000000000"), "{said}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arguments_come_back(args in "[\u{1}a\"\0é🦀\u{10ffff}\\[\\]]{0,30}") {
            let entry = Row::of(&record(&args)).unwrap().entry().unwrap();
            proptest::prop_assert_eq!(entry.event.unwrap().args, args);
        }
    }
}

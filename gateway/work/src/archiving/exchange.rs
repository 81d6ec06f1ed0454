//! Exchange: what the archive has, as lines of JSON, so that people can leave with it and arrive.

use std::io::{self, BufRead, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use gateway_core::archive::{Archive, Archives, Entry, Gap, Record, Why};
use gateway_core::domain::{Epoch, Event, Except, Excepted, Offset, Position, RoomName, UserId};
use gateway_core::log::Range;
use gateway_core::outbox::Pattern;
use gateway_core::port::PortError;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Entries that are read or written at a time, and about how many bytes they have together.
const PAGE: usize = 500;
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// Rooms that are asked for at a time.
const ROOMS: usize = 100;
/// The longest line that is read, in bytes.
const LINE_BYTES: u64 = 64 * 1024 * 1024;

/// Why something was not exported or imported.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The archive did not do it.
    #[error("the archive: {0}")]
    Archive(#[from] PortError),
    /// What is read or written is not there any more.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A line is none that was exported.
    #[error("line {line}: {why}")]
    Line {
        /// Which, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
}

/// How much it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exchanged {
    /// Lines that were written, or read.
    pub lines: u64,
    /// Of those that were read, events that were not there before.
    pub new: u64,
}

/// A line that was read.
enum Line {
    Gap(GapLine),
    Event(Box<EventLine>),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EventLine {
    #[serde(default = "main", skip_serializing_if = "is_main")]
    namespace: String,
    room: String,
    offset: Offset,
    /// 16 hexadecimal digits.
    epoch: String,
    /// In milliseconds since 1970.
    at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    event: String,
    args: Box<RawValue>,
    /// In base64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<String>,
    /// Who in the room does not hear it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    except: Option<Excepted>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GapLine {
    gap: String,
    #[serde(default = "main", skip_serializing_if = "is_main")]
    namespace: String,
    /// None for all rooms of the log that has the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    room: Option<String>,
    after: Offset,
    through: Offset,
}

fn main() -> String {
    "/".to_owned()
}

fn is_main(namespace: &str) -> bool {
    namespace == "/"
}

/// Writes what rooms said after an offset, a line for each event and each gap, room by room in the order of their names. What was
/// taken back is left out.
///
/// # Errors
/// The archive fails, or nobody takes what is written.
pub async fn export(
    archives: &Archives,
    rooms: &[Pattern],
    since: Offset,
    mut out: impl Write + Send,
) -> Result<Exchanged, ExchangeError> {
    let mut done = Exchanged::default();
    let mut last: Option<RoomName> = None;
    loop {
        let names = archives.main().rooms(last.as_ref(), ROOMS).await?;
        for room in &names {
            if room.shown().is_some_and(|name| rooms.iter().any(|pattern| pattern.matches(name))) {
                done.lines += export_room(&**archives.of(room), room, since, &mut out).await?;
            }
        }
        last = names.last().cloned();
        if names.len() < ROOMS {
            out.flush()?;
            return Ok(done);
        }
    }
}

async fn export_room(
    archive: &dyn Archive,
    room: &RoomName,
    since: Offset,
    out: &mut (impl Write + Send),
) -> Result<u64, ExchangeError> {
    let (mut after, mut lines, mut told) = (since, 0, Vec::<Gap>::new());
    loop {
        let page = archive.read(room, Range::After { offset: after, limit: PAGE }, PAGE_BYTES).await?;
        for gap in page.gaps {
            if !told.contains(&gap) {
                write_line(out, &gap_line(room, &gap))?;
                lines += 1;
                told.push(gap);
            }
        }
        for entry in page.entries {
            after = entry.position.offset;
            if let Some(line) = event_line(room, entry) {
                write_line(out, &line)?;
                lines += 1;
            }
        }
        told.retain(|gap| gap.through > after);
        if !page.more {
            return Ok(lines);
        }
    }
}

fn write_line(out: &mut impl Write, line: &impl Serialize) -> Result<(), ExchangeError> {
    serde_json::to_writer(&mut *out, line).map_err(io::Error::from)?;
    Ok(out.write_all(b"\n")?)
}

/// A gap that touches a room: that of all rooms says by the namespace whose log it is.
fn gap_line(of: &RoomName, gap: &Gap) -> GapLine {
    let namespace = of.namespace().unwrap_or("/").to_owned();
    let room = gap.room.as_ref().and_then(|room| room.shown()).map(str::to_owned);
    GapLine { gap: gap.why.as_str().to_owned(), namespace, room, after: gap.after, through: gap.through }
}

/// Nothing for what was taken back.
fn event_line(room: &RoomName, entry: Entry) -> Option<EventLine> {
    let (event, offset) = (entry.event?, entry.position.offset);
    let except = event.except.as_ref().map(|except| match except {
        Except::Session(session) => Excepted { sessions: vec![*session], ..Excepted::default() },
        Except::These(these) => (**these).clone(),
    });
    Some(EventLine {
        namespace: room.namespace().unwrap_or("/").to_owned(),
        room: room.shown()?.to_owned(),
        offset,
        epoch: entry.position.epoch.to_string(),
        at: event.at_ms,
        user: entry.user.map(|user| user.as_str().to_owned()),
        args: RawValue::from_string(event.args_at(offset).into_owned()).ok()?,
        event: event.name,
        attachments: event.attachments.iter().map(|bytes| STANDARD.encode(bytes)).collect(),
        except,
    })
}

/// Reads lines of [`export`] and writes what they say into the archive, each event at its place if that is free: the same lines
/// again change nothing, so whatever ended it, it may be done again. How far the archive is stays as it is; one that never had
/// anything is as far as these lines, once all of them are there.
///
/// # Errors
/// The archive fails, or a line is none; then what came before that is there.
pub async fn import(archives: &Archives, mut lines: impl BufRead + Send) -> Result<Exchanged, ExchangeError> {
    let mut importing = Vec::new();
    for (_, archive) in archives.all() {
        importing.push(Importing::into(&**archive).await?);
    }
    let (mut done, mut number) = (Exchanged::default(), 0);
    loop {
        let next = next_line(&mut lines, &mut number);
        let is_end = !matches!(next, Ok(Some(_)));
        let failed = match next {
            Ok(Some((said, length))) => {
                done.lines += 1;
                done.new += importing[archives.number_of(&said.namespace)].take(said, length).await?;
                None
            }
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if is_end {
            for log in &mut importing {
                done.new += log.write().await?;
            }
            if let Some(error) = failed {
                return Err(error);
            }
            break;
        }
    }
    for log in importing {
        log.end().await?;
    }
    Ok(done)
}

/// What is on its way into the archive of a log.
struct Importing<'a> {
    archive: &'a dyn Archive,
    /// How far it was before, if it ever had anything.
    had: Option<Offset>,
    records: Vec<Record>,
    bytes: usize,
    /// The last that was read for it.
    reached: Offset,
}

impl<'a> Importing<'a> {
    async fn into(archive: &'a dyn Archive) -> Result<Self, PortError> {
        // One that ended in the middle has left it at the start.
        let had = archive.cursor().await?.filter(|cursor| *cursor > Offset::START);
        Ok(Self { archive, had, records: Vec::new(), bytes: 0, reached: Offset::START })
    }

    /// Takes what a line says; returns how many events were new, if that wrote any.
    async fn take(&mut self, said: Said, length: usize) -> Result<u64, PortError> {
        self.reached = self.reached.max(said.upto);
        self.bytes += length;
        self.records.push(said.record);
        if self.records.len() >= PAGE || self.bytes >= PAGE_BYTES { self.write().await } else { Ok(0) }
    }

    async fn write(&mut self) -> Result<u64, PortError> {
        if self.records.is_empty() {
            return Ok(0);
        }
        let written = self.archive.write(&self.records, self.had.unwrap_or_default()).await?;
        self.records.clear();
        self.bytes = 0;
        Ok(written.events)
    }

    async fn end(self) -> Result<(), PortError> {
        if self.had.is_none() && self.reached > Offset::START {
            self.archive.write(&[], self.reached).await?;
        }
        Ok(())
    }
}

/// What a line says.
struct Said {
    /// Of which namespace, also if it is of no room.
    namespace: String,
    record: Record,
    /// Up to which offset.
    upto: Offset,
}

/// What the next line says, and how long it is; nothing at the end. Empty lines are counted and passed over.
fn next_line(lines: &mut impl BufRead, number: &mut u64) -> Result<Option<(Said, usize)>, ExchangeError> {
    loop {
        let mut bytes = Vec::new();
        let length = io::Read::take(&mut *lines, LINE_BYTES).read_until(b'\n', &mut bytes)?;
        if length == 0 {
            return Ok(None);
        }
        *number += 1;
        let at = |why: String| ExchangeError::Line { line: *number, why };
        if !bytes.ends_with(b"\n") && length as u64 == LINE_BYTES {
            return Err(at("it is too long".into()));
        }
        let text = std::str::from_utf8(&bytes).map_err(|error| at(format!("it is not UTF-8: {error}")))?;
        if !text.trim().is_empty() {
            return Ok(Some((read_line(text).and_then(said).map_err(at)?, length)));
        }
    }
}

fn read_line(text: &str) -> Result<Line, String> {
    if let Ok(gap) = serde_json::from_str(text) {
        return Ok(Line::Gap(gap));
    }
    let event = serde_json::from_str(text).map(|event| Line::Event(Box::new(event)));
    event.map_err(|error| format!("it is none that `gateway export` writes: {error}"))
}

fn said(line: Line) -> Result<Said, String> {
    let named = |namespace: &str, room: &str| {
        RoomName::parse_in(namespace, room).map_err(|_| format!("{room:?} cannot be the name of a room"))
    };
    match line {
        Line::Gap(GapLine { gap, namespace, room, after, through }) => {
            let why = Why::of_word(&gap).ok_or_else(|| format!("{gap:?} is no reason for a gap"))?;
            let room = room.map(|room| named(&namespace, &room)).transpose()?;
            Ok(Said { namespace, record: Record::Gap(Gap { room, after, through, why }), upto: through })
        }
        Line::Event(line) => {
            let epoch = Epoch::parse(&line.epoch).ok_or("the epoch has 16 hexadecimal digits")?;
            let user = line.user.as_deref().map(|user| UserId::parse(user).ok_or(UserId::RULE)).transpose()?;
            if !line.args.get().starts_with('[') {
                return Err("args is a list".into());
            }
            let attachments = line.attachments.iter().map(|text| STANDARD.decode(text).map(Bytes::from));
            let attachments = attachments.collect::<Result<_, _>>().map_err(|_| "attachments are in base64")?;
            let except = line.except.map(|except| match &except.sessions[..] {
                [session] if except.rooms.is_empty() && !except.busy => Except::Session(*session),
                _ => Except::These(except.into()),
            });
            let event =
                Event { name: line.event, args: line.args.get().to_owned(), attachments, except, at_ms: line.at };
            let (room, position) = (named(&line.namespace, &line.room)?, Position { epoch, offset: line.offset });
            // What comes before it in the file, or is not in it, is nobody's to miss.
            let record = Record::Event { room, position, before: None, user, event, takes_back: None };
            Ok(Said { namespace: line.namespace, record, upto: line.offset })
        }
    }
}

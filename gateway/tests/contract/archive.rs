//! The contract of the archive, run against every backend.

mod awkward;
mod backends;
mod gaps;
mod logs;
mod retention;
mod writers;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use gateway_core::archive::{Archive, Entry, Gap, Page, Record, Why, Written};
use gateway_core::domain::{Epoch, Event, Offset, Position, RoomName, UserId};
use gateway_core::log::Range;

/// More than any test reads.
const ALL: usize = 1 << 30;

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn room(name: &str) -> RoomName {
    RoomName::trusted(name)
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn event(text: &str) -> Event {
    Event { name: "said".into(), args: text.into(), attachments: vec![], except: None, at_ms: now_ms() }
}

/// An event with the one before it, if it is known.
fn said(name: &str, offset: u64, before: Option<u64>) -> Record {
    Record::Event {
        room: room(name),
        position: Position { epoch: Epoch(0xfedc_ba98_7654_3210), offset: Offset(offset) },
        before: before.map(Offset),
        user: Some(user("ann")),
        event: event(&format!("[{offset}]")),
        takes_back: None,
    }
}

/// The same with something changed.
fn changed(record: Record, change: impl FnOnce(&mut Option<UserId>, &mut Event, &mut Option<Offset>)) -> Record {
    let Record::Event { room, position, before, mut user, mut event, mut takes_back } = record else { panic!() };
    change(&mut user, &mut event, &mut takes_back);
    Record::Event { room, position, before, user, event, takes_back }
}

fn by(name: &str, record: Record) -> Record {
    changed(record, |by, _, _| *by = Some(user(name)))
}

fn at(at_ms: u64, record: Record) -> Record {
    changed(record, |_, event, _| event.at_ms = at_ms)
}

fn taking_back(offset: u64, record: Record) -> Record {
    changed(record, |_, _, takes_back| *takes_back = Some(Offset(offset)))
}

fn gap(name: Option<&str>, after: u64, through: u64, why: Why) -> Gap {
    Gap { room: name.map(room), after: Offset(after), through: Offset(through), why }
}

/// What reading gives of a record.
fn entry(record: &Record) -> Entry {
    let Record::Event { position, user, event, .. } = record else { panic!("not an event") };
    Entry { position: *position, user: user.clone(), event: Some(event.clone()) }
}

fn tombstone(record: &Record) -> Entry {
    Entry { user: None, event: None, ..entry(record) }
}

fn entries<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<Entry> {
    records.into_iter().map(entry).collect()
}

fn after(offset: u64, limit: usize) -> Range {
    Range::After { offset: Offset(offset), limit }
}

fn newest(before: Option<u64>, limit: usize) -> Range {
    Range::Newest { before: before.map(Offset), limit }
}

async fn write(store: &dyn Archive, records: &[Record]) -> Written {
    let newest = records.iter().map(|record| match record {
        Record::Event { position, .. } => position.offset,
        Record::Gap(gap) => gap.through,
    });
    store.write(records, newest.max().unwrap()).await.unwrap()
}

async fn read(store: &dyn Archive, name: &str, range: Range) -> Page {
    store.read(&room(name), range, ALL).await.unwrap()
}

/// All that a room has.
async fn all(store: &dyn Archive, name: &str) -> Page {
    read(store, name, after(0, 1_000_000)).await
}

async fn offsets(store: &dyn Archive, name: &str) -> Vec<u64> {
    all(store, name).await.entries.iter().map(|entry| entry.position.offset.0).collect()
}

async fn nothing_is_there_at_first(store: &dyn Archive) {
    assert_eq!(store.cursor().await.unwrap(), None);
    assert_eq!(store.rooms(None, 10).await.unwrap(), []);
    for range in [after(0, 10), newest(None, 10), newest(Some(5), 0)] {
        assert_eq!(read(store, "nowhere", range).await, Page::default());
    }
}

async fn the_cursor_is_where_it_was_put_and_never_goes_back(one: &dyn Archive, two: &dyn Archive) {
    one.write(&[], Offset(5)).await.unwrap();
    assert_eq!(two.cursor().await.unwrap(), Some(Offset(5)));
    assert_eq!(two.write(&[said("cursor", 7, None)], Offset(9)).await.unwrap().events, 1);
    assert_eq!(one.cursor().await.unwrap(), Some(Offset(9)));
    one.write(&[], Offset(8)).await.unwrap();
    assert_eq!(two.cursor().await.unwrap(), Some(Offset(9)), "whoever is late does not move it back");
}

async fn what_was_written_is_read_in_order_and_in_parts(one: &dyn Archive, two: &dyn Archive) {
    let records: Vec<_> = (0..10_u64).map(|n| said("parts", 1_000 + n * 3, (n > 0).then(|| 997 + n * 3))).collect();
    // Another room's stand between.
    let others: Vec<_> =
        (0..10_u64).map(|n| said("other parts", 1_001 + n * 3, (n > 0).then(|| 998 + n * 3))).collect();
    let mixed: Vec<_> = records.iter().zip(&others).flat_map(|(one, other)| [one.clone(), other.clone()]).collect();
    let written = write(one, &mixed).await;
    assert_eq!(written, Written { events: 20, gaps: vec![] });
    let page =
        |range: std::ops::Range<usize>, more| Page { entries: entries(&records[range]), more, ..Page::default() };
    for (range, expected) in [
        (after(0, 100), page(0..10, false)),
        (after(0, 10), page(0..10, false)),
        (after(0, 4), page(0..4, true)),
        (after(1_009, 4), page(4..8, true)),
        (after(1_010, 4), page(4..8, true)),
        (after(1_021, 4), page(8..10, false)),
        (after(1_027, 4), page(10..10, false)),
        (after(u64::MAX, 4), page(10..10, false)),
        (after(0, 0), page(0..0, true)),
        (after(1_027, 0), page(10..10, false)),
        (newest(None, 4), page(6..10, true)),
        (newest(None, 100), page(0..10, false)),
        (newest(Some(1_018), 4), page(2..6, true)),
        (newest(Some(1_017), 4), page(2..6, true)),
        (newest(Some(1_003), 4), page(0..1, false)),
        (newest(Some(1_000), 4), page(0..0, false)),
        (newest(Some(0), 4), page(0..0, false)),
        (newest(Some(u64::MAX), 4), page(6..10, true)),
        (newest(None, 0), page(0..0, true)),
    ] {
        assert_eq!(read(two, "parts", range).await, expected, "{range:?}");
    }
    assert_eq!(all(two, "other parts").await.entries, entries(&others));
}

async fn no_more_bytes_are_read_than_are_wanted(store: &dyn Archive) {
    let weighs = |bytes: usize| {
        move |_: &mut Option<UserId>, event: &mut Event, _: &mut Option<Offset>| {
            event.name = "12345".into();
            event.args = format!("\"{}\"", "x".repeat(bytes - 17));
            event.attachments = vec![Bytes::from_static(b"1234567890")];
        }
    };
    let sizes = [100, 100, 100, 1_000, 100];
    let records: Vec<_> =
        sizes.iter().zip(0_u64..).map(|(size, n)| changed(said("bytes", 1_100 + n, None), weighs(*size))).collect();
    write(store, &records).await;
    for (range, bytes, expected, more) in [
        (after(0, 10), 300, 0..3, true),
        (after(0, 10), 299, 0..2, true),
        (after(0, 10), 1, 0..1, true),
        (after(0, 10), 0, 0..1, true),
        (after(1_102, 10), 100, 3..4, true),
        (after(0, 2), 1_000, 0..2, true),
        (after(0, 10), 1_400, 0..5, false),
        (newest(None, 10), 1_099, 4..5, true),
        (newest(None, 10), 1_100, 3..5, true),
        (newest(Some(1_104), 10), 10, 3..4, true),
        (newest(Some(1_101), 10), 10, 0..1, false),
    ] {
        let page = store.read(&room("bytes"), range, bytes).await.unwrap();
        assert_eq!((page.entries, page.more), (entries(&records[expected]), more), "{range:?} {bytes}");
    }
}

async fn rooms_are_listed_by_their_names(one: &dyn Archive, two: &dyn Archive) {
    let names = ["list", "list \u{1}", "listA", "lista", "list🦀", "listé"];
    let mut sorted = names.map(room);
    sorted.sort();
    let records: Vec<_> = names.iter().zip(1_200_u64..).map(|(name, offset)| said(name, offset, None)).collect();
    write(one, &records).await;
    write(one, &[Record::Gap(gap(Some("list of gaps"), 1_210, 1_211, Why::Unreadable))]).await;
    let (mut found, mut last) = (Vec::new(), Some(room("lis")));
    loop {
        let part = two.rooms(last.as_ref(), 2).await.unwrap();
        assert!(part.len() <= 2);
        let Some(name) = part.last() else { break };
        last = Some(name.clone());
        found.extend(part.into_iter().filter(|name| name.as_str().starts_with("list")));
    }
    let mut expected: Vec<_> = sorted.into_iter().chain([room("list of gaps")]).collect();
    expected.sort();
    assert_eq!(found, expected, "in the order of their bytes, and each once");
    assert_eq!(two.rooms(None, 0).await.unwrap(), []);
}

/// All of it, over an archive that is empty, and two ways to it.
async fn the_contract(one: &dyn Archive, two: &dyn Archive) {
    what_is_written_is_read(one, two).await;
    Box::pin(writers::who_writes_again_or_at_once_changes_nothing(one, two)).await;
    Box::pin(retention::what_is_taken_back_or_forgotten_is_gone(one, two)).await;
    // Last, as gaps of all rooms are in all of them.
    Box::pin(gaps::what_is_missing_is_said(one, two)).await;
    Box::pin(logs::several_logs_are_in_one_place(one, two)).await;
}

/// Over an archive that is empty.
async fn what_is_written_is_read(one: &dyn Archive, two: &dyn Archive) {
    nothing_is_there_at_first(one).await;
    the_cursor_is_where_it_was_put_and_never_goes_back(one, two).await;
    what_was_written_is_read_in_order_and_in_parts(one, two).await;
    no_more_bytes_are_read_than_are_wanted(one).await;
    rooms_are_listed_by_their_names(one, two).await;
    Box::pin(awkward::what_is_said_comes_back_byte_for_byte(one, two)).await;
}

/// Long enough ago for everything to be younger.
const AGES: Duration = Duration::from_secs(10 * 365 * 86_400);

//! What the archive has at the end, read past all nodes: all that was acknowledged, once and in order, or a gap that covers it.

use std::collections::BTreeSet;
use std::time::Duration;

use gateway_core::archive::{Archive, Entry};
use gateway_core::domain::{Offset, RoomName};
use gateway_core::log::Range;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::books::{Reading, Stamp, Wrong};
use super::client::{room_name, user_name};
use super::heard::read_stamp;
use super::run::Run;

/// How long everything may take to get into the archive once nobody does any harm.
const ARRIVING: Duration = Duration::from_secs(60);
/// How much is read at a time.
const PAGE: usize = 500;
const BYTES: usize = 1 << 20;

/// Compares all archived rooms with the books.
pub(crate) async fn compare(run: &Run) {
    let Some(database) = run.cluster.database() else { return };
    let store = database.open().await;
    let archive = if run.settings.two_redis { store.archive.of_log("audited") } else { store.archive.clone() };
    let rooms = run.settings.archived_rooms();
    let newest = rooms.iter().map(|room| run.audit.lock().rooms[*room].newest()).max().unwrap_or_default();
    let deadline = Instant::now() + ARRIVING;
    while archive.cursor().await.unwrap().is_none_or(|cursor| cursor.0 < newest) {
        if Instant::now() >= deadline {
            let note = format!("{newest} was said, and the archive has all up to {:?}", archive.cursor().await);
            run.audit.lock().find(Wrong::Contradiction, 0, None, note);
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    let expected: BTreeSet<_> = rooms.iter().map(|room| room_name(*room)).collect();
    let there = archive.rooms(None, usize::from(u16::MAX)).await.unwrap();
    for room in there.iter().filter(|room| !room.shown().is_some_and(|name| expected.contains(name))) {
        run.audit.lock().find(Wrong::Contradiction, 0, None, format!("{room} is archived, and should not be"));
    }
    let mut gaps = BTreeSet::new();
    for room in rooms {
        let reading = read(run, &*archive, room, &mut gaps).await;
        let mut audit = run.audit.lock();
        reading.entries.iter().for_each(|_| audit.tally("archived", "events"));
        audit.rooms[room].archived_as(&Reading { upto: newest, ..reading });
    }
    for (_, _, _, why) in gaps {
        run.audit.lock().tally("gaps of the archive", why);
    }
    store.close().await;
}

/// All of a room, and its gaps beside those that are known: room if it is of one, first, last, why.
async fn read(
    run: &Run,
    archive: &dyn Archive,
    room: usize,
    known: &mut BTreeSet<(Option<String>, u64, u64, &'static str)>,
) -> Reading {
    let name = RoomName::parse(&room_name(room)).unwrap();
    let mut reading = Reading::default();
    let mut after = Offset::START;
    loop {
        let page = archive.read(&name, Range::After { offset: after, limit: PAGE }, BYTES).await.unwrap();
        for gap in page.gaps {
            reading.excused.push((gap.after.0 + 1, gap.through.0));
            known.insert((gap.room.map(|room| room.to_string()), gap.after.0, gap.through.0, gap.why.as_str()));
        }
        after = page.entries.last().map_or(after, |last| last.position.offset);
        for entry in page.entries {
            let offset = entry.position.offset.0;
            match stamp(run, &entry) {
                Some(stamp) => reading.entries.push((offset, stamp)),
                None => {
                    let note = format!("at {offset} something else is archived than was said: {entry:?}");
                    run.audit.lock().find(Wrong::Contradiction, 0, Some(room), note);
                }
            }
        }
        if !page.more {
            return reading;
        }
    }
}

/// What was said, if it is archived as it was said, as its author's.
fn stamp(run: &Run, entry: &Entry) -> Option<Stamp> {
    let event = entry.event.as_ref()?;
    let args: Value = serde_json::from_str(&event.args_at(entry.position.offset)).ok()?;
    let stamp = read_stamp(&args[0]["data"])?;
    let author = (stamp.publisher < run.settings.clients).then(|| user_name(stamp.publisher));
    (entry.user.as_ref().map(|user| user.as_str().to_owned()) == author).then_some(stamp)
}

//! `gateway export` and `gateway import`, as they are run: out of a database, into one of another kind, and again after they ended
//! in the middle.

use std::io::Write;
use std::process::{Command, Stdio};

use bytes::Bytes;
use gateway_core::archive::{Gap, Record, Taken, Why};
use gateway_core::domain::{Epoch, Event, Offset, Position, RoomName, UserId};
use gateway_core::log::Range;
use gateway_store::Store;

use super::nodes::said;
use super::{batches, is_whole, last};
use crate::support::databases::{settings, store};
use crate::support::eventually;
use crate::support::ferretdb::FerretDb;
use crate::support::postgres::Postgres;

/// Where a database is, as a variable of the environment.
type Place<'a> = (&'a str, &'a str);

fn at(url: &str) -> Place<'_> {
    ("GATEWAY_DATABASE__URL", url)
}

fn command(arguments: &[&str], place: Place<'_>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command.args(arguments).env("GATEWAY_DATA_DIR", "").envs([place, ("GATEWAY_DATABASE__TIMEOUT", "60s")]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What it wrote.
fn exported(arguments: &[&str], place: Place<'_>) -> String {
    let output = command(&[&["export"], arguments].concat(), place).output().unwrap();
    let (lines, told) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains(&format!("gateway: {} lines written", lines.lines().count())), "{told}");
    lines
}

/// Its exit code and what it said.
fn imported(lines: impl AsRef<[u8]>, place: Place<'_>) -> (Option<i32>, String) {
    let mut process = command(&["import"], place).spawn().unwrap();
    // It may have seen enough before the end.
    process.stdin.take().unwrap().write_all(lines.as_ref()).ok();
    said(&process.wait_with_output().unwrap())
}

/// Whatever may be in an archive, and as many of one room as are read in several parts.
async fn fill(store: &Store) {
    let (chat, shop) = (RoomName::parse("chat").unwrap(), RoomName::parse_in("/shop", "orders").unwrap());
    let said = |room: &RoomName, offset: u64, args: &str| Record::Event {
        room: room.clone(),
        position: Position { epoch: Epoch(7), offset: Offset(offset) },
        before: None,
        user: UserId::parse("$a.b 🦀"),
        event: Event {
            name: "message".into(),
            args: args.into(),
            attachments: vec![Bytes::from_static(b"\x00\xff")],
            except: None,
            at_ms: 17,
        },
        takes_back: None,
    };
    for batch in batches(1_100, 550) {
        store.archive.write(&batch, last(&batch)).await.unwrap();
    }
    let dropped = Gap { room: Some(chat.clone()), after: Offset(2_011), through: Offset(2_014), why: Why::Dropped };
    let records = [
        said(&shop, 2_001, "[1e3, \"\u{1f600}\"]"),
        said(&chat, 2_010, "[{\"a.$b\": 18446744073709551616, \"$set\": {}},\u{1}]"),
        said(&chat, 2_011, "[\"\\u0000\"]"),
        Record::Gap(dropped),
        said(&chat, 2_015, "[\"taken back\"]"),
        said(&chat, 2_016, &format!("[\"{}\"]", "🦀".repeat(16 * 1024))),
    ];
    store.archive.write(&records, Offset(2_016)).await.unwrap();
    assert_eq!(store.archive.take_back(&Taken::One { room: chat, offset: Offset(2_015) }, 1).await.unwrap(), 1);
}

#[tokio::test]
async fn what_rooms_said_leaves_one_kind_of_database_and_arrives_in_another() {
    let (postgres, ferretdb) = (Postgres::start().await, FerretDb::start().await);
    let folder = tempfile::tempdir().unwrap();
    postgres.run_in("postgres", &["CREATE DATABASE other"]).await;
    let (first, second, third) = (postgres.url(), ferretdb.url_of("other"), postgres.url_of("other"));
    let filled = store(&first).await;
    fill(&filled).await;
    filled.close().await;
    let lines = exported(&["--room", "*"], at(&first));
    assert_eq!(lines.lines().count(), 1_100 + 4 + 1, "all but what was taken back, and the gap");
    let file = ("GATEWAY_DATA_DIR", folder.path().to_str().unwrap());
    let mut from = lines.clone();
    for place in [file, at(&second), at(&third)] {
        let (code, told) = imported(&from, place);
        assert_eq!((code, told.as_str()), (Some(0), "gateway: 1105 lines read, 1104 of their events are new\n"));
        let (code, told) = imported(&from, place);
        assert_eq!((code, told.as_str()), (Some(0), "gateway: 1105 lines read, 0 of their events are new\n"));
        from = exported(&["--room", "*"], place);
        assert!(from == lines, "{place:?}: it is the same everywhere");
    }
    assert_eq!(exported(&["--room", "ord*", "--room", "chat"], file).lines().count(), 5);
    assert_eq!(exported(&["--room", "nobody"], file), "");
    // Whose offsets are microseconds of 1970.
    assert_eq!(exported(&["--room", "*", "--since", "1970-01-01T00:00:00.001100Z"], file).lines().count(), 5);
    assert_eq!(exported(&["--room", "*", "--since", "1d"], file), "");
}

#[tokio::test]
async fn what_ended_in_the_middle_is_done_again() {
    let server = Postgres::start().await;
    let (place, folder) = (server.url(), tempfile::tempdir().unwrap());
    let from = ("GATEWAY_DATA_DIR", folder.path().to_str().unwrap());
    let filled = crate::support::databases::store_in(folder.path()).await;
    for batch in batches(2_000, 500) {
        filled.archive.write(&batch, last(&batch)).await.unwrap();
    }
    filled.close().await;
    let lines = exported(&["--room", "*"], from);
    let target = Store::open(&settings(&place, "20s")).await.unwrap().unwrap();
    target.migrate().await.unwrap();
    let mut process = command(&["import"], at(&place)).spawn().unwrap();
    let half: String = lines.lines().take(1_200).map(|line| format!("{line}\n")).collect();
    let mut input = process.stdin.take().unwrap();
    input.write_all(half.as_bytes()).unwrap();
    // It waits for more; what came is there, up to a part that is not full.
    let all = Range::After { offset: Offset::START, limit: 10_000 };
    eventually("a part of it is there", || async {
        target.archive.read(&RoomName::trusted("batches"), all, usize::MAX).await.unwrap().entries.len() == 1_000
    })
    .await;
    process.kill().unwrap();
    process.wait().unwrap();
    let (code, told) = imported(&lines, at(&place));
    assert_eq!((code, told.as_str()), (Some(0), "gateway: 2000 lines read, 1000 of their events are new\n"));
    // It is as far as if nothing had ended it.
    is_whole(&*target.archive, 2_000).await;
    assert!(exported(&["--room", "*"], at(&place)) == lines);
}

#[tokio::test]
async fn a_line_that_is_none_ends_it_with_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let place = ("GATEWAY_DATA_DIR", folder.path().to_str().unwrap());
    let line = |offset: u64| {
        format!(
            r#"{{"room":"chat","offset":"{offset}","epoch":"0000000000000007","at":1,"event":"e","args":[{offset}]}}"#
        )
    };
    let good: String = (11..=20).map(|offset| line(offset) + "\n").collect();
    for (bad, why) in
        [(&b"{\"room\":\"chat\"}"[..], "gateway export"), (b"\xff\xfe", "not UTF-8"), (b"nonsense", "gateway export")]
    {
        let text = [good.as_bytes(), b"\n", bad, b"\n", line(21).as_bytes()].concat();
        let (code, told) = imported(text, place);
        assert_eq!(code, Some(64), "{told}");
        assert!(told.contains("line 12: ") && told.contains(why), "{told}");
        assert_eq!(exported(&["--room", "chat"], place), good, "what came before it is there, and nothing else");
    }
    let (code, told) = imported("", ("GATEWAY_REDIS_URL", "redis://127.0.0.1:1"));
    assert!(code == Some(64) && told.contains("there is no database"), "{code:?} {told}");
    let away =
        format!("postgres://gateway:hunter2@127.0.0.1:{}/d?connect_timeout=1", crate::support::redis::free_port());
    let mut away = command(&["export", "--room", "*"], at(&away));
    let (code, told) = said(&away.env("GATEWAY_DATABASE__TIMEOUT", "200ms").output().unwrap());
    assert!(code == Some(69) && told.contains("no connection within") && !told.contains("hunter2"), "{code:?} {told}");
}

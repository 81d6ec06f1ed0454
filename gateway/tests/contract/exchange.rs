//! What an archive has as lines of JSON: it leaves whole, and arrives where it is free.

use std::sync::Arc;

use bytes::Bytes;
use gateway_core::archive::{Archive, Archives, Gap, MemoryArchive, Record, Taken, Why};
use gateway_core::domain::{Epoch, Event, Except, Offset, Position, RoomName, SessionId, UserId};
use gateway_core::log::Range;
use gateway_core::outbox::Pattern;
use gateway_work::archiving::{Exchanged, export, import};

fn said(room: &RoomName, offset: u64, args: &str) -> Record {
    Record::Event {
        room: room.clone(),
        position: Position { epoch: Epoch(7), offset: Offset(offset) },
        before: None,
        user: UserId::parse("alice"),
        event: Event {
            name: "message".into(),
            args: args.into(),
            attachments: vec![Bytes::from_static(b"\x00\xff")],
            except: Some(Except::Session(SessionId::parse(&"0a".repeat(16)).unwrap())),
            at_ms: 17,
        },
        takes_back: None,
    }
}

async fn lines(archive: &Arc<MemoryArchive>, pattern: &str, since: u64) -> String {
    let mut text = Vec::new();
    export(&Archives::one(archive.clone()), &[Pattern::new(pattern)], Offset(since), &mut text).await.unwrap();
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn what_is_exported_arrives_elsewhere_and_again_changes_nothing() {
    let (chat, shop) = (RoomName::parse("chat").unwrap(), RoomName::parse_in("/shop", "orders").unwrap());
    let archive = Arc::new(MemoryArchive::new(64 << 20));
    let gap = Gap { room: Some(chat.clone()), after: Offset(11), through: Offset(14), why: Why::Dropped };
    let mut records: Vec<_> = (0..1_200).map(|number| said(&shop, 2_000 + number, "[1e3, \"\u{1f600}\"]")).collect();
    records.extend([said(&chat, 10, "[{\"a.$b\": 18446744073709551616},\u{1}]"), said(&chat, 11, "[\"\\u0000\"]")]);
    records.extend([Record::Gap(gap.clone()), said(&chat, 15, "[]")]);
    archive.write(&records, Offset(3_200)).await.unwrap();
    archive.take_back(&Taken::One { room: chat.clone(), offset: Offset(11) }, 1).await.unwrap();
    let text = lines(&archive, "*", 0).await;
    assert_eq!(text.lines().count(), 1_200 + 3, "what was taken back is nowhere");
    assert!(text.contains("\"args\":[{\"a.$b\": 18446744073709551616},\"10\"]"), "as it was said");

    let other = Arc::new(MemoryArchive::new(64 << 20));
    let done = import(&Archives::one(other.clone()), text.as_bytes()).await.unwrap();
    assert_eq!(done, Exchanged { lines: 1_203, new: 1_202 });
    assert_eq!(lines(&other, "*", 0).await, text);
    assert_eq!(other.cursor().await.unwrap(), Some(Offset(3_199)));
    assert_eq!(
        import(&Archives::one(other.clone()), text.as_bytes()).await.unwrap(),
        Exchanged { lines: 1_203, new: 0 }
    );
    assert_eq!(lines(&other, "*", 0).await, text);
    // Nor does what was taken back come again, by an older file.
    let taken = r#"{"room":"chat","offset":"11","epoch":"0000000000000007","at":1,"event":"e","args":[]}"#;
    assert_eq!(import(&Archives::one(archive.clone()), taken.as_bytes()).await.unwrap().new, 0);
    assert_eq!(archive.cursor().await.unwrap(), Some(Offset(3_200)), "it is as far as it was");

    assert_eq!(lines(&archive, "or*", 3_198).await.lines().count(), 1);
    assert_eq!(lines(&archive, "chat", 14).await.lines().count(), 1);
    assert_eq!(lines(&archive, "nobody", 0).await, "");
}

#[tokio::test]
async fn what_is_of_another_log_arrives_in_that_one_s() {
    let of = |main: &Arc<MemoryArchive>| Archives::new(main.clone(), [("shop".to_owned(), vec!["/shop".to_owned()])]);
    let (chat, orders) = (RoomName::parse("chat").unwrap(), RoomName::parse_in("/shop", "orders").unwrap());
    let from = Arc::new(MemoryArchive::new(1 << 20));
    let gap = |after, through| Gap { room: None, after: Offset(after), through: Offset(through), why: Why::NewHistory };
    let shop = of(&from).of(&orders).clone();
    shop.write(&[Record::Gap(gap(20, 30)), said(&orders, 31, "[]")], Offset(40)).await.unwrap();
    from.write(&[said(&chat, 900, "[]"), Record::Gap(gap(900, 910))], Offset(1_000)).await.unwrap();
    let mut text = Vec::new();
    export(&of(&from), &[Pattern::new("*")], Offset::START, &mut text).await.unwrap();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.contains(r#"{"gap":"new_history","namespace":"/shop","after":"20","through":"30"}"#), "{text}");

    let into = Arc::new(MemoryArchive::new(1 << 20));
    assert_eq!(import(&of(&into), text.as_bytes()).await.unwrap(), Exchanged { lines: 4, new: 2 });
    assert_eq!(into.cursor().await.unwrap(), Some(Offset(910)), "as far as its own lines");
    let shop = of(&into).of(&orders).clone();
    assert_eq!(shop.cursor().await.unwrap(), Some(Offset(31)));
    let all = Range::After { offset: Offset::START, limit: 10 };
    assert_eq!(shop.read(&orders, all, 1 << 20).await.unwrap().gaps, [gap(20, 30)]);
    assert_eq!(into.read(&chat, all, 1 << 20).await.unwrap().gaps, [gap(900, 910)]);
}

#[tokio::test]
async fn a_line_that_is_none_is_told_with_its_number() {
    let good = r#"{"room":"chat","offset":"11","epoch":"0000000000000007","at":1,"event":"e","args":[]}"#;
    for (bad, why) in [
        ("{", "none that `gateway export` writes"),
        ("[]", "none that"),
        (&good.replace("chat", "\\u0007"), "name of a room"),
        (&good.replace("0000000000000007", "7"), "16 hexadecimal digits"),
        (&good.replace("[]", "{}"), "args is a list"),
        (&good.replace("\"at\":1", "\"at\":1,\"attachments\":[\"%\"]"), "base64"),
        (&good.replace("\"at\":1", "\"at\":1,\"user\":\"\""), UserId::RULE),
        (r#"{"gap":"whim","after":"1","through":"2"}"#, "no reason"),
    ] {
        let archive = Arc::new(MemoryArchive::new(1 << 20));
        let text = format!("{good}\n\n{bad}");
        let error = import(&Archives::one(archive.clone()), text.as_bytes()).await.unwrap_err().to_string();
        assert!(error.starts_with("line 3: ") && error.contains(why), "{bad}: {error}");
        assert_eq!(lines(&archive, "*", 0).await.trim_end(), good, "what came before it is there");
    }
}

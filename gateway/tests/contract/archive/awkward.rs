//! What people say, at its worst: it comes back byte for byte.

use std::sync::Arc;

use bytes::Bytes;
use gateway_core::archive::{Archive, Record};
use gateway_core::domain::{Epoch, Event, Except, Excepted, Offset, Position, SessionId};

use super::{all, changed, entries, room, said, write};

fn event(name: &str, args: &str) -> Event {
    Event { name: name.into(), args: args.into(), attachments: vec![], except: None, at_ms: 1_700_000_000_123 }
}

fn events() -> Vec<Event> {
    let session = SessionId::random();
    let these = Excepted { sessions: vec![session], rooms: vec![room("a"), room("\u{1}/ns\u{1}b")], busy: true };
    let mut events = vec![
        event("", "[]"),
        event("emoji", &format!("[\"{}\"]", "🦀".repeat(16 * 1024))),
        event("nul \0 in \0", r#"["a\u0000b","\u0000"]"#),
        event("\0", "[\"raw \0, which JSON does not have\"]"),
        event("␀ 0 ␀0 \u{10ffff} \u{10ffff}0 \u{10ffff}1 \u{fffe}", "[\"␀ \u{10ffff}0\"]"),
        event("$where", r#"[{"$set":{"a.b":1,"":2,"$":3,".":4,"a\u0000":5},"_id":"x","a.b.c":[{"$gt":""}]}]"#),
        event("twice", r#"[{"a":1,"a":2,"b":{"__proto__":null}} , 1 ]"#),
        event(
            "numbers",
            "[9223372036854775807,9223372036854775808,18446744073709551616,-0,1e400,1.0,0.1e-7,12345678901234567890123456789]",
        ),
        event("surrogates", r#"["\ud800","\udc00\ud800"," \u2028"]"#),
        event("quotes \"'`\\;--%_", r#"["'; DROP TABLE gateway_archive; --","\\","\"","%s $1 ?1"]"#),
        event("own offset", "[\"text\",\u{1},null,\"\u{1}\"]"),
        event("offset", "[\u{1}]"),
        event("offset \u{1} in the name", "[{\"at\":\u{1}}]"),
        event("attached", r#"[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#),
        event("others", "[1]"),
        event("excepting", "[\"\u{1}\",2]"),
        Event { at_ms: 0, ..event("early", "[1]") },
        Event { at_ms: 4_102_444_800_000, ..event("late", "[1]") },
    ];
    events[13].attachments =
        vec![Bytes::from_static(&[0, 159, 146, 150, 255]), Bytes::from(vec![7; 70_000]), Bytes::new()];
    events[14].except = Some(Except::Session(session));
    events[15].except = Some(Except::These(Arc::new(these)));
    events
}

pub(super) async fn what_is_said_comes_back_byte_for_byte(one: &dyn Archive, two: &dyn Archive) {
    let of = |name: &str, from: u64| {
        let record = |(event, offset)| changed(said(name, offset, None), |_, said, _| *said = event);
        events().into_iter().zip(from..).map(record).collect::<Vec<_>>()
    };
    // All in one step, and each in its own.
    let together = of("together", 2_000);
    assert_eq!(write(one, &together).await.events, together.len() as u64);
    assert_eq!(all(two, "together").await.entries, entries(&together));
    let single = of("single", 2_100);
    for record in &single {
        assert_eq!(write(one, std::slice::from_ref(record)).await.events, 1);
    }
    assert_eq!(all(two, "single").await.entries, entries(&single));

    let names =
        ["\u{1}/other\u{1}room", "\u{1}user:/\u{1}ann", "a.b$c", "$a", "'\"\\%_", "Ünï 🦀", " ", &"x".repeat(255)];
    for (name, offset) in names.iter().zip(2_200..) {
        let record = super::by("$a.b'\"\\🦀", said(name, offset, None));
        write(one, std::slice::from_ref(&record)).await;
        assert_eq!(all(two, name).await.entries, entries([&record]), "{name:?}");
    }
    // Whoever reads a part of the name as a pattern finds others.
    assert_eq!(all(two, "%").await.entries, []);

    let nobody = changed(said("nobody", 2_300, None), |user, _, _| *user = None);
    let Record::Event { room, before, user, event, takes_back, .. } = nobody else { panic!() };
    for (epoch, offset) in [(0, 2_300), (u64::MAX, 2_301), (1 << 63, 9_000_000_000_000_000)] {
        let position = Position { epoch: Epoch(epoch), offset: Offset(offset) };
        let record = Record::Event {
            room: room.clone(),
            position,
            before,
            user: user.clone(),
            event: event.clone(),
            takes_back,
        };
        // The cursor stays where it is: what follows comes before.
        one.write(std::slice::from_ref(&record), Offset(2_301)).await.unwrap();
        let page = all(two, "nobody").await;
        assert_eq!(page.entries.last(), Some(&super::entry(&record)));
    }
}

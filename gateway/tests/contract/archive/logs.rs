//! Several logs in one place: each has its own cursor and gaps of all rooms, and what rooms said is everybody's.

use std::time::Duration;

use gateway_core::archive::{Archive, Record, Taken, Why};
use gateway_core::domain::{Offset, RoomName};

use super::{after, all, at, by, gap, read, room, said, user, write};

async fn each_has_a_cursor_of_its_own(one: &dyn Archive, two: &dyn Archive) {
    let (here, there) = (one.of_log("chat"), two.of_log("chat"));
    assert_eq!(here.cursor().await.unwrap(), None);
    one.write(&[said("of main", 8_000, None)], Offset(8_000)).await.unwrap();
    let main = one.cursor().await.unwrap();
    assert!(main.is_some(), "the main one was written to before");
    here.write(&[said("of chat", 50, None)], Offset(50)).await.unwrap();
    here.write(&[], Offset(40)).await.unwrap();
    assert_eq!(there.cursor().await.unwrap(), Some(Offset(50)), "it never goes back either");
    assert_eq!(two.cursor().await.unwrap(), main);
    assert_eq!(one.of_log("game").cursor().await.unwrap(), None);
    two.write(&[], Offset(main.unwrap().0 + 1)).await.unwrap();
    assert_eq!(one.cursor().await.unwrap(), Some(Offset(main.unwrap().0 + 1)));
    assert_eq!(here.cursor().await.unwrap(), Some(Offset(50)));
}

async fn a_log_that_begins_takes_over_what_the_others_miss_of_all_rooms(one: &dyn Archive, two: &dyn Archive) {
    // A room that is the main log's, and then another's.
    let (early, moved) = (gap(None, 8_101, 8_110, Why::Dropped), one.of_log("moved"));
    write(one, &[said("moves", 8_101, None), Record::Gap(early.clone()), said("moves", 8_120, Some(8_101))]).await;
    assert_eq!(read(&*moved, "moves", after(8_100, 10)).await.gaps, [], "it has not begun");
    // What is imported does not begin it.
    moved.write(&[Record::Gap(gap(None, 8_130, 8_131, Why::Missing))], Offset::START).await.unwrap();
    let import = two.of_log("imported");
    import.write(&[said("moves", 8_140, None)], Offset::START).await.unwrap();
    import.write(&[], Offset(8_140)).await.unwrap();
    assert_eq!(read(&*import, "moves", after(8_100, 10)).await.gaps, []);
    let begun = two.of_log("begun");
    assert_eq!(begun.write(&[said("moves", 8_150, None)], Offset(8_150)).await.unwrap().gaps, [], "they were known");
    let expected = [early.clone(), gap(None, 8_130, 8_131, Why::Missing)];
    assert_eq!(read(&*one.of_log("begun"), "moves", after(8_100, 10)).await.gaps, expected);
    // From there on each misses its own.
    write(one, &[Record::Gap(gap(None, 8_160, 8_170, Why::NewHistory))]).await;
    begun.write(&[said("moves", 8_180, None)], Offset(8_180)).await.unwrap();
    one.of_log("begun").write(&[said("moves", 8_181, None)], Offset(8_181)).await.unwrap();
    assert_eq!(read(&*begun, "moves", after(8_100, 10)).await.gaps, expected);
}

async fn gaps_of_all_rooms_are_of_one_log(one: &dyn Archive, two: &dyn Archive) {
    let (chat, game) = (one.of_log("chat"), two.of_log("game"));
    game.write(&[], Offset(8_999)).await.unwrap();
    write(&*chat, &[said("split", 9_000, None)]).await;
    let dropped = gap(None, 9_001, 9_010, Why::Dropped);
    assert_eq!(write(&*chat, &[Record::Gap(dropped.clone())]).await.gaps, std::slice::from_ref(&dropped));
    assert_eq!(write(&*two.of_log("chat"), &[Record::Gap(dropped.clone())]).await.gaps, [], "it is known");
    assert_eq!(read(&*chat, "split", after(8_999, 10)).await.gaps, std::slice::from_ref(&dropped));
    for other in [one, &*game] {
        let page = all(other, "split").await;
        assert_eq!(page.entries.len(), 1);
        assert!(!page.gaps.contains(&dropped), "another log has lost nothing");
    }
    // The same one may be in another log, too: they count alike.
    assert_eq!(write(&*game, &[Record::Gap(dropped.clone())]).await.gaps, std::slice::from_ref(&dropped));
    // It covers a link in its own log alone.
    assert_eq!(write(&*chat, &[said("covered", 9_020, None), said("split", 9_021, Some(9_008))]).await.gaps, []);
    let missing = gap(Some("split"), 9_021, 9_025, Why::Missing);
    assert_eq!(write(&*chat, &[said("split", 9_026, Some(9_025))]).await.gaps, [missing]);
}

async fn what_rooms_said_is_everybody_s(one: &dyn Archive, two: &dyn Archive) {
    let chat = one.of_log("chat");
    // Long ago: what was said in this millisecond is not older than no time.
    let said_then = |offset, before| at(1_000, by("kim", said("shared", offset, before)));
    write(&*chat, &[said_then(9_100, None), said_then(9_101, Some(9_100))]).await;
    assert!(two.rooms(None, 100_000).await.unwrap().contains(&room("shared")));
    let is_of_all = |name: &RoomName| name.as_str().starts_with("\u{1}all:");
    assert!(!two.rooms(None, 100_000).await.unwrap().iter().any(is_of_all), "what stands for all rooms is none");
    assert_eq!(two.take_back(&Taken::One { room: room("shared"), offset: Offset(9_100) }, 1).await.unwrap(), 1);
    assert_eq!(two.take_back(&Taken::User(user("kim")), 10).await.unwrap(), 1);
    assert!(all(&*chat, "shared").await.entries.iter().all(|entry| entry.event.is_none()));
    assert_eq!(two.forget(&room("shared"), Duration::ZERO, 10).await.unwrap(), 2);
    assert_eq!(all(&*chat, "shared").await.forgotten, Some(Offset(9_101)));
    assert_eq!(write(&*chat, &[said("shared", 9_101, None)]).await.events, 0, "it does not come back");
}

pub(super) async fn several_logs_are_in_one_place(one: &dyn Archive, two: &dyn Archive) {
    each_has_a_cursor_of_its_own(one, two).await;
    a_log_that_begins_takes_over_what_the_others_miss_of_all_rooms(one, two).await;
    gaps_of_all_rooms_are_of_one_log(one, two).await;
    what_rooms_said_is_everybody_s(one, two).await;
}

//! The auditor under audit: records with one thing wrong each, in which it must find exactly that.

use std::sync::Arc;

use super::books::{Reading, Room, Stamp, Wrong};
use super::torn::Torn;

fn stamp(number: u32) -> Stamp {
    Stamp { publisher: 7, number }
}

/// A room with a member who joined at offset 10, and five events at 11, 13, 15, 17 and 19.
fn room() -> Room {
    torn_room(0)
}

/// The same, of which Redis has lost what came up to an offset.
fn torn_room(torn: u64) -> Room {
    let mut room = Room::of(&Arc::new(Torn::between(torn, torn)));
    room.joined(1, 10);
    for number in 0..5 {
        room.sent(stamp(number));
        room.acknowledged(stamp(number), 11 + 2 * u64::from(number));
    }
    room
}

fn hears(room: &mut Room, numbers: &[u32]) {
    for number in numbers {
        room.heard(1, stamp(*number), 11 + 2 * u64::from(*number));
    }
}

/// What is wrong after the end, in order of finding.
fn verdict(mut room: Room) -> Vec<Wrong> {
    room.settle(true);
    room.findings.iter().map(|finding| finding.wrong).collect()
}

#[test]
fn whoever_hears_everything_once_in_order_is_left_alone() {
    let mut room = room();
    hears(&mut room, &[0, 1]);
    room.settle(false);
    hears(&mut room, &[2, 3, 4]);
    assert!(room.is_level());
    room.compare(&[(11, stamp(0)), (13, stamp(1)), (15, stamp(2)), (17, stamp(3)), (19, stamp(4))]);
    room.settle(true);
    assert_eq!((room.audited, room.announced), (5, 0));
    assert_eq!(verdict(room), []);
}

#[test]
fn a_lost_event_is_found_in_the_middle_and_at_the_end() {
    let mut middle = room();
    hears(&mut middle, &[0, 1, 3, 4]);
    assert_eq!(verdict(middle), [Wrong::Silent, Wrong::Lost]);
    let mut end = room();
    hears(&mut end, &[0, 1, 2]);
    assert!(!end.is_level());
    assert_eq!(end.behind().collect::<Vec<_>>(), [(1, 15)]);
    assert_eq!(verdict(end), [Wrong::Silent, Wrong::Lost, Wrong::Lost], "one hole of two events");
}

#[test]
fn a_loss_is_found_while_the_run_goes_on() {
    let mut room = room();
    hears(&mut room, &[0, 2]);
    room.settle(false);
    assert_eq!(room.findings.iter().map(|finding| finding.wrong).collect::<Vec<_>>(), [Wrong::Silent, Wrong::Lost]);
    assert!(room.findings.iter().all(|finding| finding.client == Some(1)));
}

#[test]
fn an_event_that_others_heard_is_owed_even_before_it_is_acknowledged() {
    let mut room = room();
    room.joined(2, 10);
    hears(&mut room, &[0, 1, 2, 3, 4]);
    room.sent(stamp(5));
    room.heard(2, stamp(5), 21);
    room.settle(false);
    assert!(room.findings.iter().all(|finding| finding.client == Some(2)), "it may still come");
    assert_eq!((room.findings.len(), room.open()), (6, 1), "a hole of five, and one publish in doubt");
    room.settle(true);
    assert_eq!(room.findings.iter().filter(|finding| finding.client == Some(1)).count(), 2);
}

#[test]
fn a_doubled_event_is_found_whether_it_was_compared_before_or_not() {
    let mut soon = room();
    hears(&mut soon, &[0, 1, 1, 2, 3, 4]);
    assert_eq!(verdict(soon), [Wrong::Doubled]);
    let mut late = room();
    hears(&mut late, &[0, 1, 2, 3]);
    late.settle(false);
    hears(&mut late, &[1, 4]);
    assert_eq!(verdict(late), [Wrong::Doubled]);
}

#[test]
fn a_reordered_event_is_not_taken_for_a_lost_one() {
    let mut soon = room();
    hears(&mut soon, &[0, 2, 1, 3, 4]);
    assert_eq!(verdict(soon), [Wrong::Reordered]);
    let mut late = room();
    hears(&mut late, &[0, 2, 3]);
    late.settle(false);
    hears(&mut late, &[1, 4]);
    assert_eq!(verdict(late), [Wrong::Silent, Wrong::Reordered], "there was a hole for a while");
}

#[test]
fn an_announced_gap_excuses_what_lies_in_it_and_nothing_else() {
    let mut rejoined = room();
    hears(&mut rejoined, &[0]);
    // What is live may come before the answer that tells of the gap.
    rejoined.asks(1, true);
    hears(&mut rejoined, &[3]);
    rejoined.settle(false);
    rejoined.asks(1, false);
    rejoined.gap_between(1, 11, 15);
    hears(&mut rejoined, &[4]);
    rejoined.settle(true);
    assert_eq!((rejoined.audited, rejoined.announced, rejoined.findings.len()), (3, 2, 0));
    let mut told = room();
    hears(&mut told, &[0]);
    told.gap(1, None);
    // Whenever it is compared meanwhile.
    told.settle(false);
    hears(&mut told, &[2, 4]);
    told.settle(true);
    assert_eq!(told.announced, 1, "a gap ends at what is heard next");
    assert_eq!(verdict(told), [Wrong::Silent, Wrong::Lost], "and the hole after it was not announced");
    for (through, found) in [(17, vec![]), (16, vec![Wrong::Silent, Wrong::Lost])] {
        let mut told = room();
        hears(&mut told, &[0]);
        told.gap(1, Some(through));
        hears(&mut told, &[1, 2, 4]);
        assert_eq!(verdict(told), found, "{through}: unless it says up to where");
    }
}

#[test]
fn of_what_two_primaries_took_at_once_a_member_may_be_told_later_but_not_never() {
    let split = || {
        let mut room = Room::of(&Arc::new(Torn::between(12, 18)));
        room.joined(1, 10);
        room.joined(2, 10);
        for number in 0..5 {
            room.heard(2, stamp(number), 11 + 2 * u64::from(number));
        }
        hears(&mut room, &[0, 2, 3]);
        room.settle(false);
        assert_eq!(room.findings.len(), 0, "it may still be told");
        room
    };
    let mut told = split();
    told.gap(1, None);
    hears(&mut told, &[4]);
    assert_eq!(verdict(told), []);
    let mut never = split();
    hears(&mut never, &[4]);
    assert_eq!(verdict(never), [Wrong::Silent, Wrong::Lost]);
    let mut after = split();
    hears(&mut after, &[1, 4]);
    assert_eq!(verdict(after), [Wrong::Reordered]);
}

#[test]
fn nothing_from_before_a_join_may_come() {
    let mut room = room();
    hears(&mut room, &[0, 1, 2, 3, 4]);
    room.heard(2, stamp(0), 11);
    room.heard(2, stamp(4), 19);
    room.joined(2, 12);
    assert_eq!(room.findings.iter().map(|finding| finding.wrong).collect::<Vec<_>>(), [Wrong::Doubled]);
}

#[test]
fn whoever_is_in_a_room_without_an_answer_is_owed_what_follows_the_first_event() {
    let mut room = room();
    hears(&mut room, &[0, 1, 2, 3, 4]);
    room.adopted(2);
    room.heard(2, stamp(2), 15);
    room.heard(2, stamp(4), 19);
    assert_eq!(verdict(room), [Wrong::Silent, Wrong::Lost]);
}

#[test]
fn a_publish_that_was_appended_twice_is_found() {
    let mut room = room();
    hears(&mut room, &[0, 1, 2, 3, 4]);
    room.heard(1, stamp(4), 21);
    assert_eq!(verdict(room), [Wrong::Doubled]);
}

#[test]
fn a_publish_that_was_forgotten_and_appended_again_is_found() {
    let mut room = Room::default();
    room.joined(1, 0);
    for number in 0..3_000 {
        room.heard(1, stamp(number), u64::from(number) + 1);
        room.settle(false);
    }
    room.heard(1, stamp(0), 3_001);
    assert_eq!(verdict(room), [Wrong::Doubled]);
}

#[test]
fn offsets_must_grow_and_stand_for_one_event() {
    let mut shared = room();
    hears(&mut shared, &[0, 1, 2, 3, 4]);
    shared.acknowledged(stamp(9), 19);
    assert_eq!(verdict(shared), [Wrong::Contradiction]);
    let mut backwards = room();
    hears(&mut backwards, &[0, 1, 2, 3, 4]);
    backwards.settle(false);
    backwards.sent(stamp(5));
    backwards.acknowledged(stamp(5), 12);
    assert_eq!(verdict(backwards), [Wrong::Contradiction]);
}

#[test]
fn a_history_may_lack_what_redis_lost_and_nothing_later() {
    for (torn, found) in [(13, vec![]), (10, vec![Wrong::Contradiction])] {
        let mut room = torn_room(torn);
        hears(&mut room, &[0, 1, 2, 3, 4]);
        room.compare(&[(11, stamp(0)), (15, stamp(2)), (17, stamp(3)), (19, stamp(4))]);
        assert_eq!(verdict(room), found, "{torn}");
    }
}

#[test]
fn what_redis_lost_may_be_appended_again_and_nothing_else() {
    for (torn, found) in [(13, vec![]), (12, vec![Wrong::Doubled]), (20, vec![Wrong::Doubled])] {
        let mut room = torn_room(torn);
        hears(&mut room, &[0, 1, 2, 3, 4]);
        room.settle(false);
        room.heard(1, stamp(1), 20);
        room.settle(false);
        assert_eq!(room.findings.iter().map(|finding| finding.wrong).collect::<Vec<_>>(), found, "{torn}");
    }
}

#[test]
fn with_two_primaries_what_is_lost_may_be_appended_again_at_once() {
    for (began, found) in [(14, vec![]), (20, vec![Wrong::Doubled])] {
        let mut room = Room::of(&Arc::new(Torn::between(began, 30)));
        hears(&mut room, &[0, 1, 2, 3, 4]);
        room.sent(stamp(7));
        room.acknowledged(stamp(7), 16);
        room.acknowledged(stamp(7), 20);
        assert_eq!(room.findings.iter().map(|finding| finding.wrong).collect::<Vec<_>>(), found, "{began}");
    }
}

#[test]
fn a_history_that_lacks_or_invents_an_event_is_found() {
    for history in [&[(15, stamp(2)), (19, stamp(4))][..], &[(17, stamp(3)), (18, stamp(8)), (19, stamp(4))], &[]] {
        let mut room = room();
        hears(&mut room, &[0, 1, 2, 3, 4]);
        room.compare(history);
        assert_eq!(verdict(room), [Wrong::Contradiction], "{history:?}");
    }
}

/// What is archived of the room above, whose members have heard everything.
fn archived(torn: &Arc<Torn>) -> Room {
    let mut room = Room::archived(torn);
    room.joined(1, 10);
    for number in 0..5 {
        room.sent(stamp(number));
        room.acknowledged(stamp(number), 11 + 2 * u64::from(number));
    }
    hears(&mut room, &[0, 1, 2, 3, 4]);
    room
}

fn reading(numbers: &[u32]) -> Reading {
    let entries = numbers.iter().map(|number| (11 + 2 * u64::from(*number), stamp(*number))).collect();
    Reading { entries, upto: 19, ..Reading::default() }
}

#[test]
fn an_archive_that_lacks_an_event_is_found_unless_a_gap_covers_it() {
    let whole = reading(&[0, 1, 2, 3, 4]);
    let lacks = reading(&[0, 1, 3, 4]);
    let excused = |first, last| Reading { excused: vec![(first, last)], ..lacks.clone() };
    for (read, found) in [
        (whole, vec![]),
        (lacks.clone(), vec![Wrong::Lost]),
        (reading(&[1, 2, 3, 4]), vec![Wrong::Lost]),
        (reading(&[]), vec![Wrong::Lost; 5]),
        (excused(15, 15), vec![]),
        (excused(14, 16), vec![]),
        (excused(11, 14), vec![Wrong::Lost]),
        (excused(16, 19), vec![Wrong::Lost]),
        (Reading { upto: 14, ..lacks.clone() }, vec![]),
    ] {
        let mut room = archived(&Arc::default());
        room.read(2, &read);
        assert_eq!(verdict(room), found, "{read:?}");
        if read.upto == 19 {
            let mut room = archived(&Arc::default());
            room.archived_as(&read);
            assert_eq!(verdict(room), found, "{read:?}");
        }
    }
}

#[test]
fn an_archive_that_doubles_reorders_or_invents_is_found() {
    let other = |at: usize, entry| {
        let mut read = reading(&[0, 1, 2, 3, 4]);
        read.entries[at] = entry;
        read
    };
    for (read, found) in [
        (reading(&[0, 1, 1, 2, 3, 4]), vec![Wrong::Doubled]),
        (reading(&[0, 2, 1, 3, 4]), vec![Wrong::Reordered]),
        (other(2, (15, stamp(9))), vec![Wrong::Contradiction, Wrong::Contradiction]),
        (other(2, (16, stamp(2))), vec![Wrong::Doubled, Wrong::Lost]),
    ] {
        let mut room = archived(&Arc::default());
        room.archived_as(&read);
        assert_eq!(verdict(room), found, "{read:?}");
    }
}

#[test]
fn what_redis_lost_may_be_archived_twice_and_is_not_archived_for_nobody() {
    for (torn, found) in [(Torn::between(14, 15), vec![]), (Torn::between(0, 13), vec![Wrong::Doubled; 2])] {
        let mut room = archived(&Arc::new(torn));
        let mut read = reading(&[0, 1, 2, 3, 4]);
        // It was archived at 14, lost, and said again.
        read.entries.insert(2, (14, stamp(2)));
        room.archived_as(&read);
        assert_eq!(verdict(room), found);
    }
    for (is_archived, found) in [(false, vec![]), (true, vec![Wrong::Lost])] {
        let mut room = archived(&Arc::new(Torn::between(12, 15)));
        room.read(2, &Reading { backwards: true, ..reading(&[0, 2, 3, 4]) });
        assert_eq!(room.findings.len(), 0, "Redis may have lost it");
        let mut read = reading(if is_archived { &[0, 1, 2, 3, 4] } else { &[0, 2, 3, 4] });
        read.excused = vec![(12, 14)];
        room.archived_as(&read);
        assert_eq!(verdict(room), found, "who read backwards passed it over");
    }
}

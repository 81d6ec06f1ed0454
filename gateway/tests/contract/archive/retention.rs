//! What is taken back leaves its place; what is forgotten leaves nothing, and is not missing.

use std::time::Duration;

use gateway_core::archive::{Archive, Gap, Page, Taken, Why, Written};
use gateway_core::domain::Offset;

use super::{
    AGES, Record, after, all, at, by, entries, entry, gap, newest, now_ms, offsets, read, room, said, taking_back,
    tombstone, user, write,
};

const HOUR: Duration = Duration::from_secs(3_600);

fn hours_ago(hours: u64) -> u64 {
    now_ms() - hours * 3_600_000
}

async fn one_that_is_taken_back_leaves_its_place(one: &dyn Archive, two: &dyn Archive) {
    let records: Vec<_> = (0..3_u64).map(|n| said("taken", 5_100 + n, (n > 0).then(|| 5_099 + n))).collect();
    write(one, &records).await;
    let what = |offset| Taken::One { room: room("taken"), offset: Offset(offset) };
    assert_eq!(two.take_back(&what(5_101), 0).await.unwrap(), 0);
    assert_eq!(all(one, "taken").await.entries, entries(&records));
    assert_eq!(two.take_back(&what(5_101), 10).await.unwrap(), 1);
    let left = vec![entry(&records[0]), tombstone(&records[1]), entry(&records[2])];
    assert_eq!(all(one, "taken").await.entries, left);
    assert_eq!(read(one, "taken", newest(Some(5_102), 1)).await.entries, left[1..2]);
    for offset in [5_101, 5_099, 5_103, 0, u64::MAX] {
        assert_eq!(one.take_back(&what(offset), 10).await.unwrap(), 0, "{offset}");
    }
    assert_eq!(one.take_back(&Taken::One { room: room("untaken"), offset: Offset(5_101) }, 10).await.unwrap(), 0);
    assert_eq!(write(two, &records).await, Written::default(), "it does not come back");
    assert_eq!(all(one, "taken").await.entries, left);
    // A tombstone weighs nothing.
    let page = one.read(&room("taken"), after(5_100, 10), 1).await.unwrap();
    assert_eq!((page.entries, page.more), (left[1..2].to_vec(), true));
}

async fn an_event_takes_back_another(one: &dyn Archive, two: &dyn Archive) {
    let first = [said("takes", 5_200, None), said("takes", 5_201, Some(5_200))];
    write(one, &first).await;
    let second = [
        said("takes", 5_202, Some(5_201)),
        taking_back(5_200, said("takes", 5_203, Some(5_202))),
        // Of its own batch, of another room, and of nowhere.
        taking_back(5_202, said("takes", 5_204, Some(5_203))),
        taking_back(5_201, said("takes elsewhere", 5_205, None)),
        taking_back(5_150, said("takes", 5_206, Some(5_204))),
    ];
    assert_eq!(write(two, &second).await, Written { events: 5, gaps: vec![] });
    let left = vec![
        tombstone(&first[0]),
        entry(&first[1]),
        tombstone(&second[0]),
        entry(&second[1]),
        entry(&second[2]),
        entry(&second[4]),
    ];
    for _ in 0..2 {
        assert_eq!(all(one, "takes").await.entries, left);
        write(one, &first).await;
        write(one, &second).await;
    }
}

async fn what_a_user_said_is_removed_everywhere(one: &dyn Archive, two: &dyn Archive) {
    let records: Vec<_> = (0..30_u64)
        .map(|n| by(["bob", "bobby", "B%b"][(n % 3) as usize], said(&format!("of users {}", n % 2), 5_300 + n, None)))
        .collect();
    write(one, &records).await;
    let rooms = async |name: &str, after: Option<&str>, most| {
        let found = two.rooms_of(&user(name), after.map(room).as_ref(), most).await.unwrap();
        found.iter().map(|room| room.as_str().to_owned()).collect::<Vec<_>>()
    };
    write(one, &[by("B%b", said("also of users", 5_299, None))]).await;
    assert_eq!(rooms("bob", None, 10).await, ["of users 0", "of users 1"], "by their names, and each once");
    assert_eq!(rooms("B%b", None, 2).await, ["also of users", "of users 0"]);
    assert_eq!(rooms("B%b", Some("of users 0"), 2).await, ["of users 1"]);
    assert_eq!((rooms("bob", None, 0).await.len(), rooms("nobody", None, 10).await.len()), (0, 0));
    let bob = Taken::User(user("bob"));
    let mut removed = Vec::new();
    loop {
        let count = two.take_back(&bob, 4).await.unwrap();
        if count == 0 {
            break;
        }
        removed.push(count);
    }
    assert!(removed.iter().all(|count| *count <= 4) && removed.iter().sum::<u64>() == 10, "{removed:?}");
    for which in 0..2_u64 {
        let here = (0..30_u64).filter(|n| n % 2 == which);
        let expected =
            here.map(|n| if n % 3 == 0 { tombstone(&records[n as usize]) } else { entry(&records[n as usize]) });
        assert_eq!(all(one, &format!("of users {which}")).await.entries, expected.collect::<Vec<_>>());
    }
    assert_eq!(write(one, &records).await, Written::default(), "nothing of it comes back");
    assert_eq!(two.take_back(&bob, 100).await.unwrap(), 0);
    assert_eq!(rooms("bob", None, 10).await.len(), 0, "a tombstone is nobody's");
    assert_eq!(rooms("bobby", None, 10).await.len(), 2);
    assert_eq!(two.take_back(&Taken::User(user("nobody")), 100).await.unwrap(), 0);
}

async fn what_is_old_is_forgotten_up_to_the_first_that_is_not(one: &dyn Archive, two: &dyn Archive) {
    // The clocks of nodes that are an hour apart: what stands behind something younger stays with it.
    let ages = [9, 9, 8, 2, 9, 1, 3, 0];
    let mut records: Vec<_> = ages
        .iter()
        .zip(5_400_u64..)
        .map(|(age, offset)| at(hours_ago(*age), said("old", offset, Some(offset - 1))))
        .collect();
    let early = gap(Some("old"), 5_350, 5_399, Why::Dropped);
    records.insert(0, Record::Gap(early.clone()));
    write(one, &records).await;
    let old = room("old");
    let forget = |age: u32, most| two.forget(&old, HOUR * age, most);
    assert_eq!(two.forget(&room("old"), AGES, 100).await.unwrap(), 0);
    assert_eq!(forget(5, 0).await.unwrap(), 0);
    assert_eq!(all(one, "old").await.forgotten, None);
    assert!(forget(5, 2).await.unwrap() <= 2);
    let mut rounds = 0;
    while forget(5, 2).await.unwrap() > 0 {
        rounds += 1;
        assert!(rounds < 10, "it goes on for ever");
    }
    let page = all(one, "old").await;
    assert_eq!(page.forgotten, Some(Offset(5_402)));
    assert_eq!(page.entries, entries(&records[4..]));
    assert_eq!(page.gaps, [] as [Gap; 0], "what was before is not missing");
    // Of a part that begins before, too.
    assert_eq!(read(one, "old", after(5_300, 1)).await.forgotten, Some(Offset(5_402)));
    assert_eq!(write(one, &records).await, Written::default(), "what was forgotten does not come back");
    assert_eq!(all(one, "old").await, page);
    assert_eq!(offsets(one, "old").await, [5_403, 5_404, 5_405, 5_406, 5_407]);
}

async fn a_room_that_was_forgotten_goes_on_where_it_was(one: &dyn Archive, two: &dyn Archive) {
    let first = at(hours_ago(9), said("ends", 5_500, None));
    let dropped = Record::Gap(gap(Some("ends"), 5_500, 5_503, Why::Dropped));
    write(one, &[first.clone(), dropped.clone(), at(hours_ago(8), said("ends", 5_505, Some(5_503)))]).await;
    while two.forget(&room("ends"), HOUR, 100).await.unwrap() > 0 {}
    let empty = Page { forgotten: Some(Offset(5_505)), ..Page::default() };
    assert_eq!(all(one, "ends").await, empty);
    assert!(!one.rooms(None, 100_000).await.unwrap().contains(&room("ends")), "there is nothing of it");
    assert_eq!(write(one, &[first, dropped]).await, Written::default());
    assert_eq!(all(one, "ends").await, empty);
    let next = said("ends", 5_510, Some(5_505));
    assert_eq!(write(two, std::slice::from_ref(&next)).await, Written { events: 1, gaps: vec![] });
    assert_eq!(all(one, "ends").await, Page { entries: entries([&next]), ..empty.clone() });
    assert!(one.rooms(None, 100_000).await.unwrap().contains(&room("ends")));
    let missing = gap(Some("ends"), 5_510, 5_511, Why::Missing);
    assert_eq!(write(two, &[said("ends", 5_512, Some(5_511))]).await.gaps, [missing]);
}

async fn what_is_missing_after_what_was_forgotten_is_said(one: &dyn Archive, two: &dyn Archive) {
    write(one, &[at(hours_ago(9), said("ends again", 5_600, None))]).await;
    assert_eq!(two.forget(&room("ends again"), HOUR, 100).await.unwrap(), 1);
    let missing = gap(Some("ends again"), 5_600, 5_605, Why::Missing);
    assert_eq!(write(two, &[said("ends again", 5_606, Some(5_605))]).await.gaps, std::slice::from_ref(&missing));
    let page = all(one, "ends again").await;
    assert_eq!((page.gaps, page.forgotten), (vec![missing], Some(Offset(5_600))));
}

async fn gaps_that_nothing_follows_are_forgotten_too(one: &dyn Archive, two: &dyn Archive) {
    let dropped = gap(Some("gaps alone"), 5_700, 5_702, Why::Dropped);
    write(one, &[Record::Gap(dropped.clone())]).await;
    assert_eq!(two.forget(&room("gaps alone"), HOUR, 100).await.unwrap(), 0, "it was found just now");
    assert_eq!(all(one, "gaps alone").await.gaps, [dropped]);
    // As of everything that was found before this.
    crate::support::eventually("what was found before this moment is forgotten", || async {
        two.forget(&room("gaps alone"), Duration::ZERO, 100).await.unwrap() == 1
    })
    .await;
    assert_eq!(all(one, "gaps alone").await, Page { forgotten: Some(Offset(5_702)), ..Page::default() });
}

pub(super) async fn what_is_taken_back_or_forgotten_is_gone(one: &dyn Archive, two: &dyn Archive) {
    one_that_is_taken_back_leaves_its_place(one, two).await;
    an_event_takes_back_another(one, two).await;
    what_a_user_said_is_removed_everywhere(one, two).await;
    what_is_old_is_forgotten_up_to_the_first_that_is_not(one, two).await;
    a_room_that_was_forgotten_goes_on_where_it_was(one, two).await;
    what_is_missing_after_what_was_forgotten_is_said(one, two).await;
    gaps_that_nothing_follows_are_forgotten_too(one, two).await;
}

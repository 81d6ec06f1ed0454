//! What is missing, where, and why.

use gateway_core::archive::{Archive, Gap, Record, Why, Written};

use super::{after, all, entries, gap, newest, offsets, read, room, said, write};

async fn a_room_s_first_event_misses_nothing(one: &dyn Archive) {
    assert_eq!(write(one, &[said("first", 6_000, Some(5_000))]).await, Written { events: 1, gaps: vec![] });
    assert_eq!(all(one, "first").await.gaps, [] as [Gap; 0]);
}

async fn links_that_lead_nowhere_are_gaps(one: &dyn Archive, two: &dyn Archive) {
    let records = [
        said("links", 6_100, None),
        said("links", 6_105, Some(6_100)),
        said("links", 6_110, Some(6_107)),
        said("links", 6_120, None),
    ];
    let within = gap(Some("links"), 6_105, 6_107, Why::Missing);
    assert_eq!(write(one, &records).await, Written { events: 4, gaps: vec![within.clone()] });
    // In the next batch, by somebody else.
    let more = [said("links", 6_130, Some(6_125)), said("links", 6_131, Some(6_130))];
    let between = gap(Some("links"), 6_120, 6_125, Why::Missing);
    assert_eq!(write(two, &more).await, Written { events: 2, gaps: vec![between.clone()] });
    let page = all(two, "links").await;
    assert_eq!(page.entries, entries(records.iter().chain(&more)));
    assert_eq!(page.gaps, [within.clone(), between.clone()]);
    // Each belongs to the part that it lies in, whichever way that is read.
    for (range, expected) in [
        (after(6_000, 2), vec![]),
        (after(6_100, 2), vec![within.clone()]),
        (after(6_106, 1), vec![within.clone()]),
        (after(6_110, 1), vec![]),
        (after(6_120, 1), vec![between.clone()]),
        (after(6_131, 1), vec![]),
        (newest(None, 2), vec![]),
        (newest(Some(6_130), 1), vec![between.clone()]),
        (newest(Some(6_110), 1), vec![within.clone()]),
        (newest(Some(6_110), 100), vec![within.clone()]),
        (newest(Some(6_105), 1), vec![]),
    ] {
        assert_eq!(read(one, "links", range).await.gaps, expected, "{range:?}");
    }
}

async fn gaps_that_are_given_are_kept_once_with_their_reason(one: &dyn Archive, two: &dyn Archive) {
    let given: Vec<_> = Why::ALL
        .into_iter()
        .zip(0_u64..)
        .map(|(why, n)| gap(Some("given"), 6_200 + n * 10, 6_205 + n * 10, why))
        .collect();
    let records: Vec<_> = given.iter().cloned().map(Record::Gap).collect();
    assert_eq!(write(one, &records).await, Written { events: 0, gaps: given.clone() });
    assert_eq!(write(two, &records).await, Written::default(), "it is known");
    assert_eq!(all(two, "given").await.gaps, given);
    // They are where the room ends: what they cover is not missing again.
    let next = said("given", 6_240, Some(6_235));
    assert_eq!(write(two, std::slice::from_ref(&next)).await, Written { events: 1, gaps: vec![] });
    assert_eq!(all(one, "given").await.gaps, given);
    let rooms = one.rooms(None, 100_000).await.unwrap();
    assert!(rooms.contains(&room("given")));
}

async fn gaps_of_all_rooms_are_in_all_rooms(one: &dyn Archive, two: &dyn Archive) {
    write(one, &[said("everywhere", 6_300, None), said("everywhere else", 6_301, None)]).await;
    let dropped = gap(None, 6_301, 6_310, Why::Dropped);
    let batch = [
        Record::Gap(dropped.clone()),
        said("everywhere", 6_311, Some(6_308)),
        said("everywhere new", 6_312, Some(6_305)),
    ];
    assert_eq!(write(one, &batch).await, Written { events: 2, gaps: vec![dropped.clone()] });
    assert_eq!(write(two, &batch).await, Written::default());
    for name in ["everywhere", "everywhere else", "everywhere new", "nowhere at all"] {
        assert_eq!(all(two, name).await.gaps, std::slice::from_ref(&dropped), "{name}");
    }
    assert_eq!(read(two, "everywhere", newest(None, 1)).await.gaps, [] as [Gap; 0]);
    assert_eq!(read(two, "everywhere", newest(Some(6_311), 1)).await.gaps, std::slice::from_ref(&dropped));
    assert_eq!(read(two, "everywhere", after(6_310, 5)).await.gaps, [] as [Gap; 0]);
    assert_eq!(read(two, "everywhere", after(6_309, 5)).await.gaps, std::slice::from_ref(&dropped));
    // It covers a link to it in a later batch as well, but not what comes behind it.
    let later = [said("everywhere else", 6_320, Some(6_309))];
    assert_eq!(write(two, &later).await, Written { events: 1, gaps: vec![] });
    let behind = gap(Some("everywhere new"), 6_312, 6_315, Why::Missing);
    assert_eq!(write(two, &[said("everywhere new", 6_321, Some(6_315))]).await.gaps, std::slice::from_ref(&behind));
    assert_eq!(all(one, "everywhere new").await.gaps, [dropped.clone(), behind]);
    assert!(!one.rooms(None, 100_000).await.unwrap().contains(&room("nowhere at all")));
    assert_eq!(offsets(one, "everywhere").await, [6_300, 6_311]);
}

async fn a_new_history_is_a_gap_of_all_rooms(one: &dyn Archive, two: &dyn Archive) {
    write(one, &[said("history", 6_400, None)]).await;
    let began = gap(None, 6_400, 6_450, Why::NewHistory);
    assert_eq!(
        write(one, &[Record::Gap(began.clone()), said("history", 6_451, None)]).await.gaps,
        std::slice::from_ref(&began)
    );
    assert!(all(two, "history").await.gaps.contains(&began));
}

pub(super) async fn what_is_missing_is_said(one: &dyn Archive, two: &dyn Archive) {
    a_room_s_first_event_misses_nothing(one).await;
    links_that_lead_nowhere_are_gaps(one, two).await;
    gaps_that_are_given_are_kept_once_with_their_reason(one, two).await;
    gaps_of_all_rooms_are_in_all_rooms(one, two).await;
    a_new_history_is_a_gap_of_all_rooms(one, two).await;
}

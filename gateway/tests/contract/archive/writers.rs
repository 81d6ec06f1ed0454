//! Batches that come again, in parts, late, and from several at once.

use futures_util::future::join_all;
use gateway_core::archive::{Archive, Record, Why, Written};
use gateway_core::domain::Offset;

use super::{all, changed, entries, gap, offsets, said, write};

fn batch(name: &str, from: u64, count: u64) -> Vec<Record> {
    (0..count).map(|n| said(name, from + n, (n > 0).then(|| from + n - 1))).collect()
}

async fn a_batch_that_comes_again_changes_nothing(one: &dyn Archive, two: &dyn Archive) {
    let mut records = batch("again", 3_000, 5);
    records.push(said("again", 3_010, Some(3_008)));
    let found = gap(Some("again"), 3_004, 3_008, Why::Missing);
    assert_eq!(write(one, &records).await, Written { events: 6, gaps: vec![found.clone()] });
    let before = all(one, "again").await;
    assert_eq!(before.gaps, [found]);
    for store in [one, two] {
        assert_eq!(write(store, &records).await, Written::default());
        assert_eq!(write(store, &records[..3]).await, Written::default());
        assert_eq!(write(store, &records[4..]).await, Written::default());
        assert_eq!(all(store, "again").await, before);
    }
    // What it says the second time is not heard.
    let other = changed(records[2].clone(), |user, event, _| (*user, event.args) = (None, "[\"other\"]".into()));
    assert_eq!(write(two, &[other]).await, Written::default());
    assert_eq!(all(one, "again").await, before);
}

async fn a_batch_of_which_a_part_is_there_is_completed(one: &dyn Archive, two: &dyn Archive) {
    let mut records = batch("half", 3_100, 4);
    records.push(said("half", 3_110, Some(3_107)));
    records.push(said("half", 3_120, Some(3_115)));
    records.push(said("other half", 3_121, None));
    // As of a writer that ended in the middle: the cursor stays.
    one.write(&records[..2], Offset(3_099)).await.unwrap();
    let found = [gap(Some("half"), 3_103, 3_107, Why::Missing), gap(Some("half"), 3_110, 3_115, Why::Missing)];
    assert_eq!(write(two, &records).await, Written { events: 5, gaps: found.to_vec() });
    let page = all(one, "half").await;
    assert_eq!(page.entries, entries(&records[..6]));
    assert_eq!(page.gaps, found);
    assert_eq!(all(one, "other half").await.entries, entries(&records[6..]));
}

async fn who_is_late_does_no_harm(one: &dyn Archive, two: &dyn Archive) {
    let records = batch("late", 3_200, 9);
    write(one, &records[..3]).await;
    write(two, &records[..6]).await;
    write(two, &records[6..]).await;
    let before = all(one, "late").await;
    // It has read these long ago, and knows nothing of the others.
    assert_eq!(one.write(&records[..3], Offset(3_202)).await.unwrap(), Written::default());
    assert_eq!(one.write(&records[2..5], Offset(3_204)).await.unwrap(), Written::default());
    assert_eq!(all(two, "late").await, before);
    assert_eq!(before.entries, entries(&records));
    assert_eq!(two.cursor().await.unwrap(), Some(Offset(3_208)));
}

async fn two_at_once_write_each_once(one: &dyn Archive, two: &dyn Archive) {
    let names = ["at once", "at once too", "at once three"];
    // The same in batches of different sizes, so that they meet in the middle of each other's.
    let records: Vec<_> =
        (0..300_u64).map(|n| said(names[(n % 3) as usize], 3_300 + n, (n >= 3).then(|| 3_297 + n))).collect();
    let in_batches = |store, size| {
        let records = &records;
        async move {
            let mut total = Written::default();
            for part in records.chunks(size) {
                let written = write(store, part).await;
                total.events += written.events;
                total.gaps.extend(written.gaps);
            }
            total
        }
    };
    let written = join_all([in_batches(one, 7), in_batches(two, 31), in_batches(one, 100), in_batches(two, 13)]).await;
    assert_eq!(written.iter().map(|written| written.events).sum::<u64>(), 300, "each is new to one of them");
    assert!(written.iter().all(|written| written.gaps.is_empty()), "{written:?}");
    for (name, which) in names.iter().zip(0..) {
        let expected: Vec<_> = (0..100).map(|n| 3_300 + n * 3 + which).collect();
        assert_eq!(offsets(two, name).await, expected);
    }
}

async fn a_large_batch_is_one_step(one: &dyn Archive, two: &dyn Archive) {
    let mut records = batch("large", 4_000, 1_000);
    for (number, record) in records.iter_mut().enumerate().filter(|(number, _)| number % 100 == 0) {
        *record = changed(record.clone(), |_, event, _| event.args = format!("[{number},\"{}\"]", "é".repeat(30_000)));
    }
    assert_eq!(write(one, &records).await, Written { events: 1_000, gaps: vec![] });
    assert_eq!(all(two, "large").await.entries, entries(&records));
    assert_eq!(write(two, &records).await, Written::default());
}

pub(super) async fn who_writes_again_or_at_once_changes_nothing(one: &dyn Archive, two: &dyn Archive) {
    a_batch_that_comes_again_changes_nothing(one, two).await;
    a_batch_of_which_a_part_is_there_is_completed(one, two).await;
    who_is_late_does_no_harm(one, two).await;
    two_at_once_write_each_once(one, two).await;
    a_large_batch_is_one_step(one, two).await;
}

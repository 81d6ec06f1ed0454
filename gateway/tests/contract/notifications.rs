//! The contract of the notifications, run against every backend.

mod backends;
mod many;
mod owners;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gateway_core::domain::UserId;
use gateway_core::notifications::{Added, Listed, Marked, New, Notification, NotificationId, Notifications, Which};

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn new(receiver: &str, message: &str) -> New {
    New {
        id: NotificationId::new(SystemTime::now()),
        receiver: user(receiver),
        sender: None,
        message: message.into(),
        data: None,
        at_ms: now_ms(),
        until_ms: None,
        key: None,
        collapse: None,
    }
}

fn keyed(key: &str, new: New) -> New {
    New { key: Some(key.into()), ..new }
}

fn collapsing(key: &str, new: New) -> New {
    New { collapse: Some(key.into()), ..new }
}

const ADDED: Added = Added::New { instead_of: None, dropped: 0 };

async fn add(store: &dyn Notifications, all: &[New]) -> Vec<Added> {
    store.add(all, 1_000_000).await.unwrap()
}

/// Adds some, one after the other.
async fn added(store: &dyn Notifications, receiver: &str, count: usize) -> Vec<New> {
    let all: Vec<_> = (0..count).map(|number| new(receiver, &number.to_string())).collect();
    assert_eq!(add(store, &all).await, vec![ADDED; count]);
    all
}

fn unread(all: &[New]) -> Vec<Notification> {
    all.iter().rev().map(|new| Notification { new: new.clone(), is_read: false }).collect()
}

async fn list(store: &dyn Notifications, name: &str) -> Vec<Notification> {
    let listed = store.list(&user(name), Which { after: None, unread: false, limit: 10_000 }).await.unwrap();
    assert!(!listed.more);
    listed.notifications
}

async fn messages(store: &dyn Notifications, name: &str) -> Vec<String> {
    list(store, name).await.into_iter().map(|one| one.new.message).collect()
}

async fn page(
    store: &dyn Notifications,
    name: &str,
    after: Option<&NotificationId>,
    limit: usize,
) -> (Vec<String>, bool) {
    let Listed { notifications, more } = store.list(&user(name), Which { after, unread: false, limit }).await.unwrap();
    (notifications.into_iter().map(|one| one.new.message).collect(), more)
}

async fn nothing_is_there_at_first(store: &dyn Notifications) {
    let nobody = user("nobody");
    let id = NotificationId::new(SystemTime::now());
    assert_eq!(list(store, "nobody").await, []);
    assert_eq!(store.unread(&nobody).await.unwrap(), 0);
    assert_eq!(store.mark_read(&nobody, Marked::All).await.unwrap(), []);
    assert_eq!(store.mark_read(&nobody, Marked::One(&id)).await.unwrap(), []);
    assert_eq!(store.mark_read(&nobody, Marked::UpTo(&id)).await.unwrap(), []);
    assert!(!store.remove(&nobody, &id).await.unwrap());
    assert_eq!(store.forget(None, 10).await.unwrap(), 0);
    assert_eq!(add(store, &[]).await, []);
}

async fn what_was_added_is_listed_newest_first(one: &dyn Notifications, two: &dyn Notifications) {
    let all = added(one, "lister", 5).await;
    added(two, "listed", 3).await;
    assert_eq!(list(two, "lister").await, unread(&all));
    let ids: Vec<_> = all.iter().map(|new| &new.id).collect();
    let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    for (after, limit, expected, more) in [
        (None, 5, texts(&["4", "3", "2", "1", "0"]), false),
        (None, 2, texts(&["4", "3"]), true),
        (Some(ids[3]), 2, texts(&["2", "1"]), true),
        (Some(ids[1]), 2, texts(&["0"]), false),
        (Some(ids[0]), 2, texts(&[]), false),
        (None, 0, texts(&[]), true),
    ] {
        assert_eq!(page(two, "lister", after, limit).await, (expected, more), "{after:?} {limit}");
    }
    // Which is nobody's, and another's.
    assert_eq!(page(one, "listed", Some(ids[4]), 0).await.0, texts(&[]));
    // What comes meanwhile stands before all pages, and what goes takes nothing else with it.
    let (first, _) = page(one, "lister", None, 2).await;
    assert_eq!(first, ["4", "3"]);
    added(two, "lister", 1).await;
    assert!(two.remove(&user("lister"), ids[2]).await.unwrap());
    assert_eq!(page(one, "lister", Some(ids[3]), 9).await, (texts(&["1", "0"]), false));
}

async fn who_stands_at_one_that_is_gone_goes_on_before_its_time(one: &dyn Notifications, two: &dyn Notifications) {
    let at = |seconds: u64| {
        let id = NotificationId::new(UNIX_EPOCH + Duration::from_secs(seconds));
        New { id, at_ms: seconds * 1_000, ..new("pager", &seconds.to_string()) }
    };
    // The clock of a node that is an hour behind adds in between.
    let all = [at(1_700_000_000), at(1_700_000_010), at(1_699_996_405), at(1_700_000_020), at(1_700_000_030)];
    add(one, &all).await;
    assert!(two.remove(&user("pager"), &all[3].id).await.unwrap());
    let (rest, more) = page(one, "pager", Some(&all[3].id), 2).await;
    assert_eq!((rest, more), (vec!["1699996405".into(), "1700000010".into()], true));
    let marked = two.mark_read(&user("pager"), Marked::UpTo(&all[3].id)).await.unwrap();
    assert_eq!(marked, [&all[2], &all[1], &all[0]].map(|new| new.id.clone()));
    assert_eq!(one.mark_read(&user("pager"), Marked::One(&all[3].id)).await.unwrap(), []);
    let ancient = NotificationId::new(UNIX_EPOCH);
    assert_eq!(page(one, "pager", Some(&ancient), 2).await, (vec![], false));
    assert_eq!(one.mark_read(&user("pager"), Marked::UpTo(&ancient)).await.unwrap(), []);
}

async fn whatever_is_said_comes_back_as_it_was(one: &dyn Notifications, two: &dyn Notifications) {
    let texts = [
        "\"\"".to_owned(),
        "null".into(),
        format!("\"{}\"", "🦀".repeat(16 * 1024)),
        r#""a\u0000b \ud800""#.into(),
        r#"{"$set":{"a.b":1,"":2},"a":1,"a":2,"n":9223372036854775808}"#.into(),
        " [ 1.0 , 1e400 ] ".into(),
        "\"␀ \u{10ffff}0 '; -- %_ \\\\\"".into(),
    ];
    let mut all = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        all.push(New {
            sender: Some(user("$sender.🦀")),
            data: Some(text.clone()),
            until_ms: Some(now_ms() + 3_600_000),
            ..collapsing(
                &format!("\0 {number} $.é"),
                keyed(&format!("{number}\0\u{10ffff} $a.b"), new("$receiver.é🦀", text)),
            )
        });
    }
    assert_eq!(add(one, &all).await, vec![ADDED; all.len()]);
    assert_eq!(list(two, "$receiver.é🦀").await, unread(&all));
    assert_eq!(list(two, "$receiver.e🦀").await, []);
}

async fn what_is_added_again_is_the_first(one: &dyn Notifications, two: &dyn Notifications) {
    let first = keyed("k", new("again", "1"));
    assert_eq!(add(one, std::slice::from_ref(&first)).await, [ADDED]);
    let second = keyed("k", new("again", "2"));
    let known = Added::Known(first.id.clone());
    assert_eq!(add(two, std::slice::from_ref(&second)).await, std::slice::from_ref(&known));
    assert_eq!(
        add(one, &[second.clone(), keyed("k", new("another", "3"))]).await,
        [known.clone(), ADDED],
        "keys are a receiver's"
    );
    // Without a key it is known by its id: an answer may have been lost.
    let plain = new("again", "4");
    assert_eq!(add(one, std::slice::from_ref(&plain)).await, [ADDED]);
    assert_eq!(add(two, std::slice::from_ref(&plain)).await, [Added::Known(plain.id.clone())]);
    // What became of it stays.
    assert_eq!(one.mark_read(&user("again"), Marked::One(&first.id)).await.unwrap(), std::slice::from_ref(&first.id));
    assert_eq!(add(two, std::slice::from_ref(&second)).await, [known]);
    let listed = list(one, "again").await;
    assert_eq!(
        listed,
        [Notification { new: plain, is_read: false }, Notification { new: first.clone(), is_read: true }]
    );
    // A key is known for as long as its notification is kept.
    assert!(one.remove(&user("again"), &first.id).await.unwrap());
    assert_eq!(add(two, std::slice::from_ref(&second)).await, [ADDED]);
    assert_eq!(messages(one, "again").await, ["2", "4"]);
    // Twice in one.
    let twice = [keyed("twice", new("again", "5")), keyed("twice", new("again", "6"))];
    assert_eq!(add(one, &twice).await, [ADDED, Added::Known(twice[0].id.clone())]);
}

async fn an_unread_one_of_the_same_key_is_replaced(one: &dyn Notifications, two: &dyn Notifications) {
    let all: Vec<_> = (0..4).map(|number| collapsing("c", new("collapse", &number.to_string()))).collect();
    let other = collapsing("other", new("collapse", "other"));
    assert_eq!(add(one, &[all[0].clone(), other.clone()]).await, [ADDED, ADDED]);
    let instead = |new: &New| Added::New { instead_of: Some(new.id.clone()), dropped: 0 };
    assert_eq!(add(two, &all[1..2]).await, [instead(&all[0])]);
    assert_eq!(messages(one, "collapse").await, ["1", "other"]);
    assert!(!two.remove(&user("collapse"), &all[0].id).await.unwrap(), "it is gone");
    // One that was read stays.
    one.mark_read(&user("collapse"), Marked::One(&all[1].id)).await.unwrap();
    assert_eq!(add(two, &all[2..]).await, [ADDED, instead(&all[2])]);
    assert_eq!(messages(two, "collapse").await, ["3", "1", "other"]);
    assert_eq!(add(two, &[collapsing("c", new("collapse another", "x"))]).await, [ADDED], "it is a receiver's");
    // Known again it replaces nothing.
    let keyed = keyed("k", collapsing("c", new("collapse", "4")));
    assert_eq!(add(one, std::slice::from_ref(&keyed)).await, [instead(&all[3])]);
    assert_eq!(add(two, std::slice::from_ref(&keyed)).await, [Added::Known(keyed.id.clone())]);
    assert_eq!(messages(one, "collapse").await, ["4", "1", "other"]);
}

async fn what_was_read_is_marked_once(one: &dyn Notifications, two: &dyn Notifications) {
    let all = added(one, "reader", 6).await;
    added(one, "reader too", 2).await;
    let reader = user("reader");
    let ids = |which: &[usize]| which.iter().map(|number| all[*number].id.clone()).collect::<Vec<_>>();
    assert_eq!(two.unread(&reader).await.unwrap(), 6);
    assert_eq!(two.mark_read(&user("reader too"), Marked::One(&all[4].id)).await.unwrap(), [], "it is another's");
    assert_eq!(two.mark_read(&reader, Marked::One(&all[4].id)).await.unwrap(), ids(&[4]));
    assert_eq!(one.mark_read(&reader, Marked::One(&all[4].id)).await.unwrap(), []);
    assert_eq!(one.mark_read(&reader, Marked::UpTo(&all[2].id)).await.unwrap(), ids(&[2, 1, 0]));
    assert_eq!(two.unread(&reader).await.unwrap(), 2);
    let unread = Which { after: None, unread: true, limit: 1 };
    let listed = two.list(&reader, unread).await.unwrap();
    assert_eq!((listed.notifications[0].new.id.clone(), listed.more), (all[5].id.clone(), true));
    let listed = two.list(&reader, Which { after: Some(&all[5].id), limit: 9, ..unread }).await.unwrap();
    assert_eq!(
        (listed.notifications[0].new.id.clone(), listed.notifications.len(), listed.more),
        (all[3].id.clone(), 1, false)
    );
    assert_eq!(two.mark_read(&reader, Marked::All).await.unwrap(), ids(&[5, 3]));
    assert_eq!(two.mark_read(&reader, Marked::All).await.unwrap(), []);
    assert_eq!(one.unread(&reader).await.unwrap(), 0);
    assert!(list(one, "reader").await.iter().all(|one| one.is_read));
    assert_eq!(one.unread(&user("reader too")).await.unwrap(), 2);
}

async fn nobody_touches_another_s(one: &dyn Notifications) {
    let mine = added(one, "mine", 1).await.remove(0);
    let other = user("other's");
    assert!(!one.remove(&other, &mine.id).await.unwrap());
    assert_eq!(one.mark_read(&other, Marked::One(&mine.id)).await.unwrap(), []);
    assert_eq!(one.mark_read(&other, Marked::All).await.unwrap(), []);
    assert_eq!(one.mark_read(&other, Marked::UpTo(&mine.id)).await.unwrap(), []);
    assert_eq!(list(one, "mine").await, unread(std::slice::from_ref(&mine)));
    assert!(one.remove(&user("mine"), &mine.id).await.unwrap());
    assert!(!one.remove(&user("mine"), &mine.id).await.unwrap());
}

async fn what_is_past_its_time_is_not_read_any_more(one: &dyn Notifications, two: &dyn Notifications) {
    let hour = 3_600_000;
    let over = |text: &str| New { until_ms: Some(now_ms() - 1), ..new("ttl", text) };
    let all = [
        // As of the clock of a node that is an hour ahead, or behind.
        New { at_ms: now_ms() + hour, until_ms: Some(now_ms() + 2 * hour), ..new("ttl", "ahead") },
        keyed("k", over("over")),
        collapsing("c", over("over, too")),
        New { at_ms: now_ms() - hour, ..new("ttl", "behind") },
    ];
    assert_eq!(add(one, &all).await, vec![ADDED; 4]);
    let ttl = user("ttl");
    assert_eq!(messages(two, "ttl").await, ["behind", "ahead"]);
    assert_eq!(page(two, "ttl", Some(&all[2].id), 5).await, (vec!["ahead".into()], false));
    assert_eq!(two.unread(&ttl).await.unwrap(), 2);
    assert_eq!(two.mark_read(&ttl, Marked::One(&all[1].id)).await.unwrap(), []);
    assert!(!two.remove(&ttl, &all[2].id).await.unwrap());
    // Its key is known until it is forgotten.
    let again = keyed("k", new("ttl", "again"));
    assert_eq!(add(two, std::slice::from_ref(&again)).await, [Added::Known(all[1].id.clone())]);
    assert_eq!(two.mark_read(&ttl, Marked::All).await.unwrap().len(), 2);
    assert_eq!(one.forget(None, 0).await.unwrap(), 0);
    while two.forget(None, 1).await.unwrap() > 0 {}
    assert_eq!(add(two, std::slice::from_ref(&again)).await, [ADDED]);
    // What is old goes by its own clock.
    while two.forget(Some(Duration::from_millis(hour / 2)), 10).await.unwrap() > 0 {}
    assert_eq!(messages(one, "ttl").await, ["again", "ahead"]);
}

async fn of_each_the_newest_are_kept(one: &dyn Notifications, two: &dyn Notifications) {
    let all: Vec<_> = (0..10).map(|number| new("bounded", &number.to_string())).collect();
    let dropped = |dropped| Added::New { instead_of: None, dropped };
    assert_eq!(one.add(&all[..4], 3).await.unwrap(), [ADDED, ADDED, ADDED, dropped(1)]);
    assert_eq!(messages(two, "bounded").await, ["3", "2", "1"]);
    // Fewer than before, and one that is known changes nothing.
    assert_eq!(two.add(&all[4..5], 2).await.unwrap(), [dropped(2)]);
    assert_eq!(two.add(&all[4..5], 1).await.unwrap(), [Added::Known(all[4].id.clone())]);
    assert_eq!(messages(one, "bounded").await, ["4", "3"]);
    // One that takes another's place drops none.
    let first = collapsing("c", new("bounded", "c1"));
    let second = collapsing("c", new("bounded", "c2"));
    assert_eq!(
        one.add(&[first.clone(), second.clone()], 2).await.unwrap(),
        [dropped(1), Added::New { instead_of: Some(first.id), dropped: 0 }]
    );
    assert_eq!(messages(one, "bounded").await, ["c2", "4"]);
    // What went for the bound is not there to be replaced.
    let apart = [new("bounded", "x"), collapsing("c", new("bounded", "c3"))];
    assert_eq!(one.add(&apart, 1).await.unwrap(), [dropped(2), dropped(1)]);
    assert_eq!(messages(one, "bounded").await, ["c3"]);
    added(one, "bounded too", 5).await;
    assert_eq!(messages(one, "bounded too").await.len(), 5, "it is each one's own");
}

pub(crate) async fn the_contract(one: &dyn Notifications, two: &dyn Notifications) {
    what_is_added_is_listed(one, two).await;
    many::many_at_once_are_each_added_once(one, two).await;
    // Last, as it forgets what is old.
    what_is_past_its_time_is_not_read_any_more(one, two).await;
}

/// Over notifications that are none yet.
async fn what_is_added_is_listed(one: &dyn Notifications, two: &dyn Notifications) {
    nothing_is_there_at_first(one).await;
    what_was_added_is_listed_newest_first(one, two).await;
    who_stands_at_one_that_is_gone_goes_on_before_its_time(one, two).await;
    what_is_added_again_is_the_first(one, two).await;
    an_unread_one_of_the_same_key_is_replaced(one, two).await;
    what_was_read_is_marked_once(one, two).await;
    nobody_touches_another_s(one).await;
    of_each_the_newest_are_kept(one, two).await;
    Box::pin(whatever_is_said_comes_back_as_it_was(one, two)).await;
}

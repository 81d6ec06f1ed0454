//! Many notifications: at once, from several nodes, and of one user.

use std::time::Duration;

use futures_util::future::join_all;
use gateway_core::notifications::{Added, Marked, New, NotificationId, Notifications, Which};

use super::{ADDED, add, collapsing, keyed, list, new, user};

pub(super) async fn many_at_once_are_each_added_once(one: &dyn Notifications, two: &dyn Notifications) {
    // Four senders with the same keys, to users in different orders.
    let mut tasks = Vec::new();
    for sender in 0..4 {
        let store = if sender % 2 == 0 { one } else { two };
        tasks.push(async move {
            let mut fresh = 0;
            for round in 0..10 {
                let mut all: Vec<_> =
                    (0..5).map(|at| keyed(&format!("{round}"), new(&format!("many {at}"), "m"))).collect();
                if sender % 2 == 0 {
                    all.reverse();
                }
                fresh += add(store, &all).await.iter().filter(|added| **added == ADDED).count();
            }
            fresh
        });
    }
    assert_eq!(join_all(tasks).await.iter().sum::<usize>(), 50);
    for at in 0..5 {
        assert_eq!(list(one, &format!("many {at}")).await.len(), 10);
    }
    // Of those that replace each other one is left, whoever comes last.
    let senders = (0..4).map(|sender| async move {
        let store = if sender % 2 == 0 { one } else { two };
        for _ in 0..5 {
            add(store, &[collapsing("c", new("replaced", "r"))]).await;
        }
    });
    join_all(senders).await;
    assert_eq!(list(one, "replaced").await.len(), 1);
    // And no more are kept than may be.
    let senders = (0..4).map(|sender| async move {
        let store = if sender % 2 == 0 { one } else { two };
        for _ in 0..5 {
            store.add(&[new("kept", "k"), new("kept", "k")], 7).await.unwrap();
        }
    });
    join_all(senders).await;
    assert_eq!(list(one, "kept").await.len(), 7);
}

/// Pages, counts and marks of a user with so many notifications, of which some are there: nothing else is.
pub(super) async fn one_user_may_have(there: usize, count: usize, store: &dyn Notifications) {
    let crowded = user("crowded");
    if there == 0 {
        forget_all(store).await;
    }
    for from in (there..count).step_by(1_000) {
        let some = (from..count.min(from + 1_000)).map(|number| new("crowded", &number.to_string()));
        let all: Vec<New> = some.collect();
        assert!(store.add(&all, count).await.unwrap().iter().all(|added| *added == ADDED));
    }
    assert_eq!(store.unread(&crowded).await.unwrap(), count as u64);
    let (mut after, mut expected): (Option<NotificationId>, usize) = (None, count);
    loop {
        let which = Which { after: after.as_ref(), unread: false, limit: 1_000 };
        let listed = store.list(&crowded, which).await.unwrap();
        for one in &listed.notifications {
            expected -= 1;
            assert_eq!(one.new.message, expected.to_string());
        }
        after = listed.notifications.last().map(|one| one.new.id.clone());
        if !listed.more {
            break;
        }
    }
    assert_eq!(expected, 0, "each once");
    let one_more = store.add(&[new("crowded", "one more")], count).await.unwrap();
    assert_eq!(one_more, [Added::New { instead_of: None, dropped: 1 }]);
    let mut marked = 0;
    loop {
        let some = store.mark_read(&crowded, Marked::All).await.unwrap().len();
        assert!(some <= 1_000);
        marked += some;
        if some == 0 {
            break;
        }
    }
    assert_eq!(marked, count);
    assert_eq!(store.unread(&crowded).await.unwrap(), 0);
    let forgotten = forget_all(store).await;
    assert_eq!(forgotten, count as u64);
    assert_eq!(list(store, "crowded").await, []);
}

async fn forget_all(store: &dyn Notifications) -> u64 {
    let last = super::now_ms();
    crate::support::eventually("all are of the past", || async { super::now_ms() > last }).await;
    let mut forgotten = 0;
    loop {
        let some = store.forget(Some(Duration::ZERO), 5_000).await.unwrap();
        assert!(some <= 5_000);
        if some == 0 {
            return forgotten;
        }
        forgotten += some;
    }
}

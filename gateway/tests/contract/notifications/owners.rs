//! Whose a notification is.

use gateway_core::notifications::{New, NotificationId, Notifications, Owners};

use super::{add, collapsing, new, now_ms, user};

/// One may know of the store what another one did.
pub(super) async fn it_is_known_whose_one_is(store: &dyn Notifications, owners: &dyn Owners) {
    let whose = async |id: &NotificationId| owners.owner(id).await.unwrap();
    let (first, second) = (new("owner", "1"), new("another owner", "2"));
    assert_eq!(whose(&first.id).await, None, "nobody's yet");
    add(store, &[first.clone(), second.clone()]).await;
    assert_eq!((whose(&first.id).await, whose(&second.id).await), (Some(user("owner")), Some(user("another owner"))));
    assert!(store.remove(&user("owner"), &first.id).await.unwrap());
    assert_eq!((whose(&first.id).await, whose(&second.id).await), (None, Some(user("another owner"))));
    // What is gone in other ways is nobody's either.
    let half = collapsing("upload", new("owner", "50"));
    add(store, &[half.clone(), collapsing("upload", new("owner", "100"))]).await;
    assert_eq!(whose(&half.id).await, None);
    let late = New { until_ms: Some(now_ms() - 1), ..new("owner", "late") };
    add(store, std::slice::from_ref(&late)).await;
    assert_eq!(whose(&late.id).await, None);
    let old = new("owner of few", "1");
    store.add(&[old.clone(), new("owner of few", "2")], 1).await.unwrap();
    assert_eq!(whose(&old.id).await, None);
}

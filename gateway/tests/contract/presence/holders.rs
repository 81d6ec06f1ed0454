//! Sessions that come back, and what an older holder of one still wants.

use super::*;

pub(super) async fn who_comes_back_in_time_never_left(store: Store) {
    let (one, two) = (store.node(LONG), store.node(LONG));
    let here = one_of("alice");
    assert_eq!(enter(&one, &here, limited("r", 1)).await, Entered::First);
    linger(&one, &here, "r", LONG).await;
    assert_eq!((one.beat(Beating::default()).await.unwrap().departed, count(&two, "r").await), (vec![], 1));
    let there = back(&here);
    assert_eq!(enter(&two, &there, limited("r", 1)).await, Entered::Again);
    assert_eq!(
        (one.beat(Beating::default()).await.unwrap().entries, two.beat(Beating::default()).await.unwrap().entries),
        (0, 1)
    );
    // The node from which it went may be slow to notice.
    linger(&one, &here, "r", Duration::from_millis(1)).await;
    assert!(!leave(&one, &here, "r").await);
    sleep(Duration::from_millis(5)).await;
    assert_eq!((one.beat(Beating::default()).await.unwrap().departed, count(&two, "r").await), (vec![], 1));
    linger(&two, &there, "r", LONG).await;
    assert_eq!(enter(&one, &one_of("alice"), limited("r", 1)).await, Entered::Again, "another session of hers");
    assert!(!leave(&two, &there, "r").await, "the lingering one may be ended, and she is still there");
    assert_eq!(count(&two, "r").await, 1);
}

pub(super) async fn who_does_not_come_back_leaves_after_its_time(store: Store) {
    let (one, two) = (store.node(LONG), store.node(LONG));
    let time = Duration::from_millis(120);
    let (alice, phone, desk) = (one_of("alice"), one_of("bob"), one_of("bob"));
    for who in [&alice, &phone, &desk] {
        enter(&one, who, open("r")).await;
    }
    let since = Instant::now();
    linger(&one, &alice, "r", time).await;
    linger(&one, &phone, "r", time).await;
    linger(&one, &alice, "r", LONG).await;
    let departed = departures(&[&one, &two], time, 1).await;
    assert!(since.elapsed() + TICK >= time, "not before its time");
    let (user, sequence) = (UserId::parse("alice"), departed[0].sequence);
    let left = Departed {
        place: room("r"),
        session: alice.session,
        member: "alice".into(),
        user,
        cause: Cause::Lingered,
        sequence,
    };
    assert_eq!(departed, [left]);
    assert_eq!(members(&two, "r", PAGE).await, ["bob"]);
    assert!(leave(&one, &desk, "r").await, "his other session left before");
    assert_no_places(&store).await;
}

pub(super) async fn an_older_holder_changes_nothing(store: Store) {
    let (one, two) = (store.node(LONG), store.node(LONG));
    let old = one_of("alice");
    enter(&one, &old, open("r")).await;
    let new = back(&old);
    assert_eq!(enter(&two, &new, open("r")).await, Entered::Again);
    assert_eq!(restore(&one, &old, open("r")).await, Entered::Elsewhere, "a node that woke up");
    assert!(!leave(&one, &old, "r").await);
    assert_eq!(count(&one, "r").await, 1);
    linger(&two, &new, "r", LONG).await;
    assert_eq!(restore(&one, &old, open("r")).await, Entered::Elsewhere);
    assert_eq!(restore(&two, &new, open("r")).await, Entered::Again, "its own holder may");
    assert_eq!(restore(&one, &old, open("s")).await, Entered::First, "where nobody else has it");
    assert!(leave(&two, &new, "r").await);
}

pub(super) async fn finding_a_numbered_place_takes_nothing_from_a_newer_holder(store: Store) {
    let (one, two) = (store.node(LONG), store.node(LONG));
    let who = one_of("alice");
    assert_eq!(seated(&one, &who, &games(), 1).await, (1, Entered::First));
    let newer = back(&who);
    assert_eq!(seated(&two, &newer, &games(), 1).await, (1, Entered::Again));
    let (number, entry) = one.enter_first(&who, &games(), 1, Arrival::Restored).await.unwrap();
    assert_eq!((number, entry), (1, Entry { entered: Entered::Elsewhere, sequence: 0 }));
    assert!(!leave(&one, &who, "game:1/tables").await);
    assert!(leave(&two, &newer, "game:1/tables").await, "it kept its seat");
}

pub(super) async fn a_late_leaving_is_not_of_who_came_since(store: Store) {
    let (one, other) = (store.node(LONG), alive(&store).await);
    let who = one_of("alice");
    enter(&one, &at(1, &who), open("r")).await;
    // It leaves by step 2, which is given up and stays on its way, and comes again.
    assert_eq!(enter(&one, &at(3, &who), limited("r", 1)).await, Entered::Again);
    assert!(!leave(&one, &at(2, &who), "r").await);
    linger(&one, &at(2, &who), "r", Duration::from_millis(1)).await;
    departures(&[&one, &other], Duration::from_millis(12), 0).await;
    assert_eq!(members(&one, "r", PAGE).await, ["alice"]);
    // The same after a restoring.
    assert_eq!(restore(&one, &at(5, &who), open("r")).await, Entered::Again);
    assert!(!leave(&one, &at(4, &who), "r").await);
    assert!(leave(&one, &at(6, &who), "r").await, "this one is meant");
    assert_no_places(&store).await;
}

pub(super) async fn a_late_entering_is_not_of_who_left_or_came_since(store: Store) {
    let node = store.node(LONG);
    let who = one_of("alice");
    enter(&node, &at(1, &who), open("r")).await;
    linger(&node, &at(4, &who), "r", Duration::from_millis(1)).await;
    assert_eq!(enter(&node, &at(2, &who), open("r")).await, Entered::Again);
    assert_eq!(restore(&node, &at(3, &who), open("r")).await, Entered::Again);
    assert_eq!(departures(&[&node], Duration::from_millis(12), 1).await[0].cause, Cause::Lingered);
    // It came again by a later step: an earlier one does not make that an earlier one.
    enter(&node, &at(8, &who), open("r")).await;
    assert_eq!(enter(&node, &at(5, &who), open("r")).await, Entered::Again);
    assert_eq!(restore(&node, &at(6, &who), open("r")).await, Entered::Again);
    assert!(!leave(&node, &at(7, &who), "r").await);
    assert_eq!(count(&node, "r").await, 1);
    // Where it is not, what comes late stays, and the node can tell.
    assert!(leave(&node, &at(10, &who), "r").await);
    assert_eq!(enter(&node, &at(9, &who), open("r")).await, Entered::First);
    let held = node.beat(Beating { review: true, ..Beating::default() }).await.unwrap().held.unwrap();
    assert_eq!(held.iter().map(|held| held.step).collect::<Vec<_>>(), [9]);
    assert!(leave(&node, &at(held[0].step, &who), "r").await, "just this is taken out");
    assert_no_places(&store).await;
}

pub(super) async fn a_late_entering_of_an_older_holder_takes_nothing(store: Store) {
    let (one, two) = (store.node(LONG), store.node(LONG));
    let old = one_of("alice");
    let new = back(&old);
    assert_eq!(enter(&two, &new, open("r")).await, Entered::First);
    assert_eq!(enter(&one, &at(99, &old), open("r")).await, Entered::Elsewhere, "a request that was held back");
    assert!(!leave(&one, &at(100, &old), "r").await);
    assert_eq!(members(&one, "r", PAGE).await, ["alice"]);
    linger(&two, &new, "r", LONG).await;
    assert_eq!(enter(&one, &at(101, &old), open("r")).await, Entered::Elsewhere, "also while it is away");
    let newest = back(&new);
    assert_eq!(enter(&one, &newest, open("r")).await, Entered::Again);
    assert!(leave(&one, &newest, "r").await);
}

pub(super) async fn a_late_search_for_a_numbered_place_takes_nothing(store: Store) {
    let (one, two) = (store.node(LONG), store.node(LONG));
    let (old, games) = (one_of("alice"), games());
    let new = back(&old);
    assert_eq!(seated(&two, &at(3, &new), &games, 1).await, (1, Entered::First));
    assert_eq!(seated(&one, &at(9, &old), &games, 1).await, (1, Entered::Elsewhere));
    assert_eq!(seated(&two, &at(2, &new), &games, 1).await, (1, Entered::Again));
    assert!(!leave(&two, &at(2, &new), "game:1/tables").await);
    assert!(leave(&two, &at(4, &new), "game:1/tables").await);
    assert_no_places(&store).await;
}

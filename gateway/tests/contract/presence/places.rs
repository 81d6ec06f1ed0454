//! Who is in a place, how many may be, and which names are taken.

use super::*;

pub(super) async fn members_are_counted_and_not_sessions(store: Store) {
    let (one, two) = (store.node(LONG), store.node(LONG));
    let (phone, desk, bob) = (one_of("alice"), one_of("alice"), one_of("bob"));
    assert_eq!(enter(&one, &phone, open("r")).await, Entered::First);
    assert_eq!(enter(&two, &desk, open("r")).await, Entered::Again);
    assert_eq!(enter(&two, &bob, open("r")).await, Entered::First);
    assert_eq!(two.count(&[room("r"), room("empty"), room("r")]).await.unwrap(), [2, 0, 2]);
    assert_eq!(members(&one, "r", PAGE).await, ["alice", "bob"]);
    assert!(!leave(&one, &phone, "r").await, "her other session is there");
    assert_eq!(count(&one, "r").await, 2);
    let departed = two.leave(&desk, &[room("empty"), room("r")], Duration::ZERO).await.unwrap();
    let (alice, sequence) = (UserId::parse("alice"), departed[0].sequence);
    let left = Departed {
        place: room("r"),
        session: desk.session,
        member: "alice".into(),
        user: alice,
        cause: Cause::Left,
        sequence,
    };
    assert_eq!(departed, [left]);
    assert_eq!(members(&one, "r", PAGE).await, ["bob"]);
    assert_eq!(enter(&one, &phone, open("r")).await, Entered::First, "she left, so she comes anew");
}

pub(super) async fn a_session_is_in_a_place_once(store: Store) {
    let (one, two) = (store.node(LONG), store.node(LONG));
    let who = one_of("alice");
    assert_eq!(enter(&one, &who, open("r")).await, Entered::First);
    assert_eq!(enter(&one, &who, open("r")).await, Entered::Again);
    assert_eq!(enter(&two, &who, open("r")).await, Entered::Again, "on whichever node");
    let other = Attendee { member: "bob".into(), ..who.clone() };
    assert_eq!(enter(&one, &other, open("r")).await, Entered::Again, "it stays who it was until it has left");
    assert_eq!(members(&one, "r", PAGE).await, ["alice"]);
    assert_eq!(one.enter(&who, &[], Arrival::Newest).await.unwrap(), []);
    assert!(one.count(&[]).await.unwrap().is_empty());
    assert!(leave(&two, &who, "r").await, "it was there once");
    assert!(!leave(&two, &who, "r").await);
    assert_eq!(count(&one, "r").await, 0);
}

pub(super) async fn each_place_has_its_own_answer_and_capacity(store: Store) {
    let node = store.node(LONG);
    let (alice, bob) = (one_of("alice"), one_of("bob"));
    let places = [limited("a", 1), open("b"), limited("c", 2), limited("none", 0)];
    let entered = kinds(node.enter(&alice, &places, Arrival::Newest).await.unwrap());
    assert_eq!(entered, [Entered::First, Entered::First, Entered::First, Entered::Full]);
    let entered = kinds(node.enter(&bob, &places, Arrival::Newest).await.unwrap());
    assert_eq!(entered, [Entered::Full, Entered::First, Entered::First, Entered::Full]);
    assert_eq!(enter(&node, &one_of("alice"), limited("a", 1)).await, Entered::Again, "who is in is never too many");
    let rooms: Vec<_> = ["a", "b", "c", "none"].map(room).into();
    assert_eq!(node.count(&rooms).await.unwrap(), [1, 2, 2, 0]);
    let many: Vec<_> = (0..450).map(|number| open(&format!("many:{number}"))).collect();
    assert_eq!(kinds(node.enter(&alice, &many, Arrival::Newest).await.unwrap()), [Entered::First; 450]);
    let rooms: Vec<_> = many.into_iter().map(|place| place.room).collect();
    assert_eq!(node.count(&rooms).await.unwrap(), [1; 450]);
    let left = node.leave(&alice, &rooms, Duration::ZERO).await.unwrap();
    assert_eq!(left.into_iter().map(|departed| departed.place).collect::<Vec<_>>(), rooms);
}

pub(super) async fn a_capacity_holds_against_two_hundred(store: Store) {
    let nodes = [store.node(LONG), store.node(LONG), store.node(LONG)];
    let entering = (0..200).map(async |number: usize| {
        let who = one_of(&number.to_string());
        (enter(&nodes[number % 3], &who, limited("r", 7)).await, who)
    });
    let entered = join_all(entering).await;
    let inside: Vec<_> = entered.iter().filter(|(entered, _)| *entered == Entered::First).collect();
    assert_eq!(inside.len(), 7);
    assert!(entered.iter().all(|(entered, _)| matches!(entered, Entered::First | Entered::Full)));
    assert_eq!(count(&nodes[0], "r").await, 7);
    assert!(leave(&nodes[1], &inside[0].1, "r").await);
    assert_eq!(enter(&nodes[2], &one_of("late"), limited("r", 7)).await, Entered::First);
    assert_eq!(enter(&nodes[2], &one_of("later"), limited("r", 7)).await, Entered::Full);
}

pub(super) async fn a_hundred_fill_fifty_numbered_places(store: Store) {
    let nodes = [store.node(LONG), store.node(LONG), store.node(LONG)];
    let games = games();
    let sessions: Vec<_> = (0..100).map(|number| one_of(&format!("player {number}"))).collect();
    let seating = sessions.iter().enumerate().map(async |(number, who)| {
        let (seat, entered) = seated(&nodes[number % 3], who, &games, 2).await;
        assert_eq!(entered, Entered::First);
        seat
    });
    let seats = join_all(seating).await;
    let mut by_number: BTreeMap<u32, usize> = BTreeMap::new();
    for seat in &seats {
        *by_number.entry(*seat).or_default() += 1;
    }
    assert_eq!(by_number, (1..=50).map(|number| (number, 2)).collect());
    let rooms: Vec<_> = (1..=51).map(|number| games.name(number)).collect();
    let counts = nodes[0].count(&rooms).await.unwrap();
    assert_eq!((&counts[..50], counts[50]), (&[2; 50][..], 0));
    for (who, seat) in sessions.iter().zip(&seats) {
        assert_eq!(seated(&nodes[0], who, &games, 2).await, (*seat, Entered::Again), "asked again");
    }
    for (who, seat) in sessions.iter().zip(&seats) {
        assert!(leave(&nodes[0], who, games.name(*seat).as_str()).await);
    }
    assert_eq!(nodes[0].count(&rooms).await.unwrap(), [0; 51]);
    assert_no_places(&store).await;
}

pub(super) async fn numbers_are_had_again(store: Store) {
    let node = store.node(LONG);
    let games = games();
    let first = async |who: &Attendee, capacity| seated(&node, who, &games, capacity).await;
    let people: Vec<_> = (0..8).map(|number| one_of(&number.to_string())).collect();
    for (number, who) in (1..).zip(&people[..4]) {
        assert_eq!(first(who, 1).await, (number, Entered::First));
    }
    assert!(leave(&node, &people[2], "game:3/tables").await);
    assert!(leave(&node, &people[1], "game:2/tables").await);
    assert_eq!(enter(&node, &people[4], limited("game:2/tables", 1)).await, Entered::First, "by its name alone");
    assert_eq!(first(&people[1], 1).await, (3, Entered::First), "the first that is free now");
    assert_eq!(first(&people[2], 1).await, (5, Entered::First));
    assert!(leave(&node, &people[4], "game:2/tables").await);
    assert_eq!(first(&people[4], 1).await, (2, Entered::First));
    assert_eq!(first(&people[5], 3).await, (1, Entered::First), "with another capacity full is something else");
    assert_eq!(first(&one_of("5"), 3).await, (1, Entered::Again), "another session of the same member");
    assert!(leave(&node, &people[2], "game:5/tables").await);
    assert_eq!(first(&one_of("more"), 3).await, (1, Entered::First), "lower than the one that is empty again");
    assert_eq!(first(&people[6], 1).await, (5, Entered::First));
    assert_eq!(first(&people[7], 0).await, (6, Entered::First), "at least one fits");
    linger(&node, &people[7], "game:6/tables", Duration::from_millis(1)).await;
    departures(&[&node], Duration::from_millis(12), 1).await;
    assert_eq!(first(&one_of("another"), 1).await, (6, Entered::First));
}

pub(super) async fn a_name_is_one_members(store: Store) {
    let (one, two) = (store.node(LONG), store.node(LONG));
    let claim = || limited("\u{1}name:bob", 1);
    let (mine, theirs) = (one_of("alice"), one_of("mallory"));
    assert_eq!(enter(&one, &mine, claim()).await, Entered::First);
    assert_eq!(enter(&two, &theirs, claim()).await, Entered::Full);
    assert!(!leave(&two, &theirs, "\u{1}name:bob").await);
    linger(&one, &mine, "\u{1}name:bob", LONG).await;
    assert_eq!(enter(&two, &theirs, claim()).await, Entered::Full, "she may come back");
    assert_eq!(enter(&two, &back(&mine), claim()).await, Entered::Again);
    let found = two.list(&room("\u{1}name:bob"), None, 1).await.unwrap();
    assert_eq!((found.members[0].member.as_str(), found.count), ("alice", 1));
}

//! Nodes that die, are late, or begin anew.

use super::*;

pub(super) async fn a_dead_nodes_members_depart_once(store: Store) {
    let since = Instant::now();
    let (dead, one, two) = (store.named("dead", LEASE), alive(&store).await, alive(&store).await);
    let people: Vec<_> = (0..10).map(|number| one_of(&number.to_string())).collect();
    for who in &people {
        assert_eq!(enter(&dead, who, open("r")).await, Entered::First);
    }
    enter(&one, &one_of("0"), open("r")).await;
    let moved = back(&people[1]);
    assert_eq!(enter(&two, &moved, open("r")).await, Entered::Again);
    let mut lost = Vec::new();
    let mut departed = Vec::new();
    let deadline = Instant::now() + support::PATIENCE;
    while departed.len() < 8 {
        for beat in [one.beat(Beating::default()).await.unwrap(), two.beat(Beating::default()).await.unwrap()] {
            lost.extend(beat.lost);
            departed.extend(beat.departed);
        }
        assert!(Instant::now() < deadline, "{departed:?}");
        sleep(LEASE / 6).await;
    }
    assert!(since.elapsed() + TICK >= LEASE, "not before its lease ran out");
    let is_exact = matches!(store, Store::Memory(_));
    assert!(!is_exact || since.elapsed() <= LEASE + LEASE / 3, "at most a lease and a beat: {:?}", since.elapsed());
    assert_eq!(lost, ["dead"]);
    assert!(departed.iter().all(|departed| departed.cause == Cause::Lease));
    let gone: HashSet<_> = departed.iter().map(|departed| departed.member.as_str()).collect();
    let expected: HashSet<_> = people[2..].iter().map(|who| who.member.as_str()).collect();
    assert_eq!(gone, expected, "neither who has another session nor who moved");
    departures(&[&one, &two], LEASE, 0).await;
    assert_eq!(members(&two, "r", PAGE).await, ["0", "1"]);
}

pub(super) async fn a_node_that_was_given_up_is_told(store: Store) {
    let (paused, other) = (store.node(LEASE), alive(&store).await);
    let (stays, moves, left) = (one_of("stays"), one_of("moves"), one_of("left"));
    for who in [&stays, &moves, &left] {
        assert_eq!(enter(&paused, who, open("r")).await, Entered::First);
    }
    assert!(!paused.beat(Beating::default()).await.unwrap().forgotten);
    departures(&[&other], LEASE, 3).await;
    let moved = back(&moves);
    assert_eq!(enter(&other, &moved, open("r")).await, Entered::First);
    // What it does before it knows makes it known again, but not unforgotten.
    assert_eq!(enter(&paused, &one_of("new"), open("r")).await, Entered::First);
    let beat = paused.beat(Beating::default()).await.unwrap();
    assert!(beat.forgotten);
    assert_eq!(beat.entries, 1);
    assert_eq!(restore(&paused, &stays, open("r")).await, Entered::First);
    assert_eq!(restore(&paused, &moves, open("r")).await, Entered::Elsewhere);
    let beat = paused.beat(Beating::default()).await.unwrap();
    assert!(!beat.forgotten, "told once");
    assert_eq!(beat.entries, 2);
    assert_eq!(members(&other, "r", PAGE).await, ["moves", "new", "stays"]);
}

pub(super) async fn a_node_that_is_late_but_not_missed_keeps_everything(store: Store) {
    let node = store.node(LEASE);
    let who = one_of("alice");
    enter(&node, &who, open("r")).await;
    sleep(LEASE * 2).await;
    let beat = node.beat(Beating::default()).await.unwrap();
    assert_eq!((beat.forgotten, beat.departed, beat.entries), (false, vec![], 1));
    assert!(leave(&node, &who, "r").await);
}

pub(super) async fn after_an_outage_nobody_is_given_up_at_once(store: Store) {
    const LEASE: Duration = Duration::from_secs(2);
    let (one, two, dead) = (store.node(LEASE), store.node(LEASE), store.node(LEASE));
    let (alice, bob, ghost) = (one_of("alice"), one_of("bob"), one_of("ghost"));
    for (node, who) in [(&one, &alice), (&two, &bob), (&dead, &ghost)] {
        enter(node, who, open("r")).await;
    }
    // Nobody can reach the store for longer than all leases.
    sleep(LEASE * 2).await;
    let first = one.beat(Beating::default()).await.unwrap();
    let second = two.beat(Beating::default()).await.unwrap();
    assert_eq!((first.departed, second.forgotten), (vec![], false));
    let departed = departures(&[&one, &two], LEASE, 1).await;
    assert_eq!(departed[0].member, "ghost", "the one that did not come back");
    assert_eq!(members(&one, "r", PAGE).await, ["alice", "bob"]);
}

pub(super) async fn five_thousand_on_a_dead_node(store: Store) {
    let (dead, alive) = (store.node(LEASE), alive(&store).await);
    let places: Vec<_> = (0..50).map(|number| open(&format!("room {number}"))).collect();
    let entering = (0..100).map(async |number: usize| {
        let entered = kinds(dead.enter(&one_of(&number.to_string()), &places, Arrival::Newest).await.unwrap());
        assert_eq!(entered, [Entered::First; 50]);
    });
    join_all(entering).await;
    let deadline = Instant::now() + support::PATIENCE;
    let departed = loop {
        let since = Instant::now();
        let departed = alive.beat(Beating::default()).await.unwrap().departed;
        if !departed.is_empty() {
            assert_eq!(departed.len(), 5_000, "all in one beat");
            assert!(since.elapsed() < Duration::from_secs(5), "a third of the default lease: {:?}", since.elapsed());
            break departed;
        }
        assert!(Instant::now() < deadline);
        sleep(LEASE / 12).await;
    };
    let told: HashSet<_> = departed.iter().map(|departed| (&departed.place, &departed.member)).collect();
    assert_eq!(told.len(), 5_000, "each once");
    assert_no_places(&store).await;
}

pub(super) async fn who_begins_anew_loses_what_it_does_not_enter_again(store: Store) {
    let (node, other) = (store.node(LEASE * 3), alive(&store).await);
    let (stays, left) = (one_of("stays"), one_of("left"));
    for who in [&stays, &left] {
        enter(&node, who, open("r")).await;
    }
    let beat = node.beat(Beating { anew: true, ..Beating::default() }).await.unwrap();
    assert!(beat.forgotten && beat.departed.is_empty(), "{beat:?}");
    assert_eq!(restore(&node, &stays, open("r")).await, Entered::Again);
    let departed = departures(&[&node, &other], LEASE, 1).await;
    assert_eq!((departed[0].member.as_str(), departed[0].cause), ("left", Cause::Lease));
    assert_eq!(members(&node, "r", PAGE).await, ["stays"]);
}

pub(super) async fn a_node_is_told_what_it_has_entered(store: Store) {
    let (node, other) = (store.node(LONG), store.node(LONG));
    let review = async |node: &Node| {
        let beat = node.beat(Beating { review: true, ..Beating::default() }).await.unwrap();
        let held = beat.held.unwrap();
        assert_eq!(held.len() as u64, beat.entries);
        held.into_iter().collect::<HashSet<_>>()
    };
    assert!(review(&node).await.is_empty());
    let entry = |who: &Attendee, place: &str| {
        let Attendee { session, holder, term, step, .. } = *who;
        Held { session, holder, term, step, place: room(place) }
    };
    let places: Vec<_> = (0..30).map(|number| format!("room {number}")).collect();
    let (mut expected, mut people) = (HashSet::new(), Vec::new());
    for number in 0..50 {
        let who = at(u32::MAX - number, &back(&one_of(&number.to_string())));
        let open: Vec<_> = places.iter().map(|place| open(place)).collect();
        node.enter(&who, &open, Arrival::Newest).await.unwrap();
        expected.extend(places.iter().map(|place| entry(&who, place)));
        people.push(who);
    }
    assert_eq!(review(&node).await, expected, "all of them, each once");
    assert!(review(&other).await.is_empty(), "only the node's own");
    let [left, lingers, moves, again] = [0, 1, 2, 3].map(|number| &people[number]);
    assert!(leave(&node, left, "room 7").await);
    linger(&node, lingers, "room 7", LONG).await;
    let moved = back(moves);
    assert_eq!(enter(&other, &moved, open("room 7")).await, Entered::Again);
    let later = Attendee { holder: again.holder, ..at(u32::MAX, again) };
    assert_eq!(enter(&node, &later, open("room 7")).await, Entered::Again);
    for who in [left, lingers, moves, again] {
        assert!(expected.remove(&entry(who, "room 7")));
    }
    expected.insert(entry(&later, "room 7"));
    assert_eq!(review(&node).await, expected);
    assert_eq!(review(&other).await, HashSet::from([entry(&moved, "room 7")]));
    assert!(node.beat(Beating::default()).await.unwrap().held.is_none(), "only when it is asked for");
}

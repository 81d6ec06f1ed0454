//! What is told of comings and leavings: counted, in order, when it is wanted.

use super::*;

pub(super) async fn what_happens_is_counted(store: Store) {
    let metrics = Arc::new(Metrics::new());
    let (dead, node) = (store.node(LEASE), alive(&store).await);
    let node: Node = Arc::new(MeasuredPresence::new(node, metrics.clone()));
    for name in ["a", "b"] {
        enter(&dead, &one_of(name), open("r")).await;
    }
    let (left, lingers, stays) = (one_of("left"), one_of("lingers"), one_of("stays"));
    for who in [&left, &lingers, &stays] {
        enter(&node, who, open("r")).await;
    }
    assert!(leave(&node, &left, "r").await);
    linger(&node, &lingers, "r", Duration::from_millis(1)).await;
    departures(&[&node], LEASE, 3).await;
    let text = metrics.render();
    for line in [
        "gateway_presence_entries 1",
        r#"gateway_presence_departures_total{cause="left"} 1"#,
        r#"gateway_presence_departures_total{cause="lingered"} 1"#,
        r#"gateway_presence_departures_total{cause="lease"} 2"#,
        r#"gateway_presence_errors_total{op="enter"} 0"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
}

pub(super) async fn what_happens_is_numbered_in_its_order(store: Store) {
    let (one, two) = (store.node(LONG), store.node(LONG));
    let mut last = 0;
    let mut later = |sequence: u64| {
        assert!(sequence > last, "{sequence} after {last}");
        last = sequence;
    };
    for round in 0..20 {
        let (who, numbered) = (one_of("alice"), one_of("bob"));
        let (node, other) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let entered = node.enter(&who, &[open("a"), open("b")], Arrival::Newest).await.unwrap();
        entered.iter().for_each(|entry| later(entry.sequence));
        let newer = back(&who);
        let again = other.enter(&newer, &[open("a")], Arrival::Newest).await.unwrap();
        assert_eq!(again, [Entry { entered: Entered::Again, sequence: 0 }]);
        later(other.enter_first(&numbered, &games(), 1, Arrival::Newest).await.unwrap().1.sequence);
        let departed = node.leave(&numbered, &[games().name(1)], Duration::ZERO).await.unwrap();
        later(departed[0].sequence);
        linger(node, &who, "b", Duration::from_millis(1)).await;
        later(departures(&[other], Duration::from_millis(12), 1).await[0].sequence);
        later(other.leave(&newer, &[room("a")], Duration::ZERO).await.unwrap()[0].sequence);
    }
}

pub(super) async fn departures_wait_until_they_are_wanted(store: Store) {
    let (dead, alive) = (store.node(LEASE), alive(&store).await);
    for number in 0..5 {
        enter(&dead, &one_of(&number.to_string()), open("r")).await;
        let who = one_of(&format!("lingers {number}"));
        enter(&alive, &who, open("r")).await;
        linger(&alive, &who, "r", Duration::from_millis(1)).await;
    }
    let deadline = Instant::now() + support::PATIENCE;
    let mut departed = Vec::new();
    for most in [0, 3, 0, 1].into_iter().chain(std::iter::repeat(2)) {
        let beat = alive.beat(Beating { most, ..Beating::default() }).await.unwrap();
        assert!(beat.departed.len() <= most, "{:?}", beat.departed);
        departed.extend(beat.departed.into_iter().map(|departed| departed.member));
        assert_eq!(count(&alive, "r").await, 10 - departed.len() as u64, "who is not told of is still there");
        if departed.len() == 10 {
            break;
        }
        assert!(Instant::now() < deadline, "{departed:?}");
        sleep(LEASE / 6).await;
    }
    let told: HashSet<_> = departed.into_iter().collect();
    assert_eq!(told.len(), 10, "each once");
    assert_no_places(&store).await;
}

//! Breakers: when they open and for whom, and what closes them.

use super::*;

const SETTINGS: Breaker = Breaker { failures: 3, pause: Duration::from_secs(10) };

/// Somebody with a session and an address of its own.
fn asker(number: u8) -> Asker {
    at(number, number)
}

/// A session at an address.
fn at(number: u8, address: u8) -> Asker {
    let session = SessionId::parse(&format!("{number:032x}")).unwrap();
    Asker { session, source: Source::Address([10, 0, 0, address].into()) }
}

fn attempt(circuit: &Circuit, asker: &Asker, verdict: Verdict) -> Option<Transition> {
    circuit.permit(SETTINGS, asker).expect("it lets nobody through").settle(verdict)
}

fn opened() -> Circuit {
    let circuit = Circuit::new();
    assert_eq!(attempt(&circuit, &asker(1), Verdict::Fails), None);
    assert_eq!(attempt(&circuit, &asker(2), Verdict::Fails), None);
    assert_eq!(attempt(&circuit, &asker(3), Verdict::Fails), Some(Transition::Opened));
    circuit
}

fn is_open(circuit: &Circuit, asker: &Asker) -> bool {
    circuit.permit(SETTINGS, asker).is_none()
}

#[tokio::test(start_paused = true)]
async fn only_failures_in_a_row_open_it() {
    let circuit = Circuit::new();
    for _ in 0..5 {
        attempt(&circuit, &asker(1), Verdict::Fails);
        attempt(&circuit, &asker(2), Verdict::Fails);
        assert_eq!(attempt(&circuit, &asker(1), Verdict::Works), None);
        assert_eq!(attempt(&circuit, &asker(2), Verdict::Works), None);
    }
    assert!(!is_open(&circuit, &asker(1)));
    assert!(is_open(&opened(), &asker(1)));
}

#[tokio::test(start_paused = true)]
async fn who_fails_alone_is_left_alone_alone() {
    let circuit = Circuit::new();
    let (bad, good) = (asker(1), asker(2));
    for round in 0..3 {
        if round == 0 {
            assert_eq!(attempt(&circuit, &bad, Verdict::Fails), None);
            assert_eq!(attempt(&circuit, &bad, Verdict::Fails), None);
        }
        assert_eq!(attempt(&circuit, &bad, Verdict::Fails), Some(Transition::OpenedForOne));
        assert!(is_open(&circuit, &bad));
        for _ in 0..10 {
            assert_eq!(attempt(&circuit, &good, Verdict::Works), None);
        }
        tokio::time::advance(SETTINGS.pause).await;
    }
    assert_eq!(attempt(&circuit, &bad, Verdict::Works), None);
    assert_eq!(attempt(&circuit, &bad, Verdict::Fails), None, "it counts from nothing again");
}

#[tokio::test(start_paused = true)]
async fn sessions_of_one_address_are_one_as_long_as_it_works_for_somebody() {
    let circuit = Circuit::new();
    for number in 0..100 {
        assert_eq!(attempt(&circuit, &at(number, 1), Verdict::Fails), None);
        if number % 10 == 0 {
            tokio::time::advance(SETTINGS.pause / 2).await;
            assert_eq!(attempt(&circuit, &at(200, 1), Verdict::Works), None);
        }
    }
    // Where all seem to come from one address, as behind a balancer that is not trusted, and it works for nobody.
    tokio::time::advance(SETTINGS.pause).await;
    assert_eq!(attempt(&circuit, &at(101, 1), Verdict::Fails), Some(Transition::Opened));
}

#[tokio::test(start_paused = true)]
async fn who_comes_from_elsewhere_may_see_for_itself() {
    let circuit = opened();
    assert!(is_open(&circuit, &at(9, 1)) && is_open(&circuit, &asker(2)));
    let probe = circuit.permit(SETTINGS, &asker(4)).unwrap();
    assert!(is_open(&circuit, &asker(5)), "one at a time");
    assert_eq!(probe.settle(Verdict::Fails), Some(Transition::Opened));
    assert!(is_open(&circuit, &at(8, 4)), "and once");
    assert_eq!(attempt(&circuit, &asker(5), Verdict::Works), Some(Transition::Closed));
    assert!(!is_open(&circuit, &asker(1)));
}

#[tokio::test(start_paused = true)]
async fn after_the_pause_one_is_let_through_and_decides() {
    let circuit = opened();
    let again = asker(1);
    tokio::time::advance(Duration::from_millis(9_999)).await;
    assert!(is_open(&circuit, &again));
    tokio::time::advance(Duration::from_millis(1)).await;
    let probe = circuit.permit(SETTINGS, &again).unwrap();
    assert!(is_open(&circuit, &asker(2)), "only one");
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(is_open(&circuit, &asker(2)), "however long it takes");
    assert_eq!(probe.settle(Verdict::Fails), Some(Transition::Opened));
    tokio::time::advance(Duration::from_millis(9_999)).await;
    assert!(is_open(&circuit, &again), "a whole pause again");
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(attempt(&circuit, &again, Verdict::Works), Some(Transition::Closed));
    assert_eq!(attempt(&circuit, &asker(1), Verdict::Fails), None, "it counts from nothing again");
    assert_eq!(attempt(&circuit, &asker(2), Verdict::Fails), None);
    assert!(!is_open(&circuit, &asker(3)));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_nobody_waits_for_makes_room_for_another() {
    let circuit = opened();
    tokio::time::advance(SETTINGS.pause).await;
    drop(circuit.permit(SETTINGS, &asker(1)).unwrap());
    assert_eq!(attempt(&circuit, &asker(1), Verdict::Works), Some(Transition::Closed));
    let alone = Circuit::new();
    (0..3).for_each(|_| _ = attempt(&alone, &asker(1), Verdict::Fails));
    tokio::time::advance(SETTINGS.pause).await;
    drop(alone.permit(SETTINGS, &asker(1)).unwrap());
    assert_eq!(attempt(&alone, &asker(1), Verdict::Works), None);
}

#[tokio::test(start_paused = true)]
async fn what_began_before_it_opened_says_nothing_later() {
    let circuit = Circuit::new();
    let late: Vec<_> = (0..6).map(|_| circuit.permit(SETTINGS, &asker(1)).unwrap()).collect();
    (1..4).for_each(|number| _ = attempt(&circuit, &asker(number), Verdict::Fails));
    let mut late = late.into_iter();
    let mut next = |verdict| late.next().unwrap().settle(verdict);
    assert_eq!(next(Verdict::Works), None);
    assert!(is_open(&circuit, &asker(1)), "an old success does not close it");
    tokio::time::advance(SETTINGS.pause).await;
    let probe = circuit.permit(SETTINGS, &asker(1)).unwrap();
    assert_eq!(next(Verdict::Works), None);
    assert_eq!(next(Verdict::Fails), None);
    assert_eq!(probe.settle(Verdict::Works), Some(Transition::Closed));
    for _ in 0..3 {
        assert_eq!(next(Verdict::Fails), None);
    }
    assert!(!is_open(&circuit, &asker(1)), "old failures do not open it again");
}

#[tokio::test(start_paused = true)]
async fn one_that_never_opens() {
    let circuit = Circuit::new();
    let never = Breaker { failures: 0, ..SETTINGS };
    for number in 0..100 {
        assert_eq!(circuit.permit(never, &asker(number)).unwrap().settle(Verdict::Fails), None);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_is_bounded() {
    let circuit = Circuit::new();
    for number in 0..5_000_u32 {
        let session = SessionId::parse(&format!("{number:032x}")).unwrap();
        let asker = Asker { session, source: Source::Gateway };
        circuit.permit(SETTINGS, &asker).unwrap().settle(Verdict::Fails);
    }
    let state = circuit.0.lock();
    assert_eq!((state.failing.len(), state.parties.len(), state.sources.len()), (PARTIES, PARTIES, 1));
}

#[tokio::test(start_paused = true)]
async fn it_is_said_to_be_open_until_it_works_or_nobody_wants_it_any_more() {
    let circuit = Circuit::new();
    (0..3).for_each(|_| _ = attempt(&circuit, &asker(1), Verdict::Fails));
    assert!(is_open(&circuit, &asker(1)) && !circuit.is_open(), "one client's trouble is no outage");
    let circuit = opened();
    assert!(circuit.is_open());
    tokio::time::advance(SETTINGS.pause).await;
    let probe = circuit.permit(SETTINGS, &asker(1)).unwrap();
    assert!(circuit.is_open(), "it has not answered yet");
    probe.settle(Verdict::Works);
    assert!(!circuit.is_open());

    let circuit = opened();
    for _ in 0..3 {
        tokio::time::advance(FORGOTTEN / 2).await;
        drop(circuit.permit(SETTINGS, &asker(1)));
        assert!(circuit.is_open(), "somebody wants to ask it");
    }
    tokio::time::advance(FORGOTTEN).await;
    assert!(!circuit.is_open(), "nobody does");
}

#[tokio::test(start_paused = true)]
async fn what_the_gateway_itself_leaves_alone_is_open() {
    let circuit = Circuit::new();
    let gateway = Asker { source: Source::Gateway, ..asker(1) };
    (0..3).for_each(|_| _ = attempt(&circuit, &gateway, Verdict::Fails));
    assert!(circuit.is_open());
    tokio::time::advance(SETTINGS.pause).await;
    attempt(&circuit, &gateway, Verdict::Works);
    assert!(!circuit.is_open());
}

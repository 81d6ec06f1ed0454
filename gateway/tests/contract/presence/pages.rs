//! Lists of members and rooms, page by page, whatever they are called.

use super::*;

pub(super) async fn nobody_is_passed_over_in_pages(store: Store) {
    let node = store.node(LONG);
    let names: Vec<_> = (0..250).map(|number| format!("{number:04}")).collect();
    let people: Vec<_> = names.iter().map(|name| one_of(name)).collect();
    for who in people.iter().rev() {
        enter(&node, who, open("r")).await;
    }
    assert_eq!(members(&node, "r", 7).await, names);
    let first = node.list(&room("r"), None, usize::MAX).await.unwrap();
    assert_eq!((first.members.len(), first.count), (PAGE, 250), "never more than the configured page");
    assert_eq!(node.list(&room("r"), None, 0).await.unwrap().members.len(), 1, "and never nothing");
    assert!(first.members.iter().all(|member| member.user == UserId::parse(&member.member)));
    assert!(first.members.iter().all(|member| member.since_ms > 1_700_000_000_000));
    let next = first.next.unwrap();
    assert_eq!(next, "0099");
    // Between two pages the last of the first one leaves, one of the second one, and others come on both.
    for number in [0, 99, 150] {
        leave(&node, &people[number], "r").await;
    }
    for name in ["00500", "01500"] {
        enter(&node, &one_of(name), open("r")).await;
    }
    let second = node.list(&room("r"), Some(&next), PAGE).await.unwrap();
    let listed: Vec<_> = second.members.iter().map(|member| member.member.as_str()).collect();
    let mut expected: Vec<_> = names[100..].iter().map(String::as_str).filter(|name| *name != "0150").collect();
    expected.push("01500");
    expected.sort_unstable();
    assert_eq!(listed, expected[..PAGE]);
    let last = node.list(&room("r"), second.next.as_deref(), PAGE).await.unwrap();
    assert_eq!((last.members.len(), last.next, last.count), (50, None, 249));
    assert_eq!(node.list(&room("nowhere"), Some("x"), 5).await.unwrap(), Default::default());
}

pub(super) async fn rooms_with_somebody_are_listed(store: Store) {
    let (node, directory) = (alive(&store).await, store.directory());
    let all = async |namespace: &str, page| listed(&*directory, namespace, page).await;
    assert_eq!(all("/", 10).await, []);
    let (alice, bob) = (one_of("alice"), one_of("bob"));
    let names = ["a", "a b", "b", "é", "z\u{10ffff}", " "];
    for name in names {
        enter(&node, &alice, open(name)).await;
    }
    enter(&node, &bob, open("b")).await;
    // What is no room of the namespace.
    for place in [
        RoomName::everybody("/"),
        RoomName::personal("/", &UserId::parse("alice").unwrap()),
        RoomName::claimed("/", "name").looks().remove(0),
        RoomName::internal("canary"),
        RoomName::parse_in("/x", "inside").unwrap(),
        RoomName::parse_in("/xy", "elsewhere").unwrap(),
    ] {
        enter(&node, &alice, Place { room: place, capacity: None }).await;
    }
    let mut expected: Vec<_> =
        names.iter().map(|name| ((*name).to_owned(), if *name == "b" { 2 } else { 1 })).collect();
    expected.sort_by(|one, other| one.0.as_bytes().cmp(other.0.as_bytes()));
    for page in [1, 2, 3, 100, usize::MAX] {
        assert_eq!(all("/", page).await, expected, "by pages of {page}");
    }
    assert_eq!(all("/x", 0).await, [("inside".to_owned(), 1)]);
    assert_eq!(all("/y", 10).await, []);
    let behind = directory.rooms("/x", Some(&RoomName::parse("zzz").unwrap()), 10).await.unwrap();
    assert_eq!(behind.rooms.len(), 0, "a cursor of elsewhere finds nothing of elsewhere");
    // A room is listed until its last member has left, however it leaves.
    leave(&node, &alice, "b").await;
    leave(&node, &alice, "a").await;
    expected.retain(|(name, _)| name != "a");
    expected.iter_mut().for_each(|(_, members)| *members = 1);
    assert_eq!(all("/", 2).await, expected);
    // Many, and numbered ones.
    for number in 0..2 * PAGE {
        enter(&node, &alice, open(&format!("many {number}"))).await;
    }
    seated(&node, &bob, &games(), 1).await;
    assert_eq!(all("/", usize::MAX).await.len(), expected.len() + 2 * PAGE + 1);
}

pub(super) async fn names_are_only_names(store: Store) {
    let node = store.node(LONG);
    let long = "ü".repeat(127) + "x";
    let names = [
        "a",
        "a:b",
        "a\u{0}b",
        "général",
        "\u{1}ns:/admin",
        "{tag}",
        "*",
        "%s",
        " ",
        "-",
        "+",
        "(a",
        "[a",
        "🦀",
        &long,
    ];
    let people: HashMap<_, _> = names.iter().map(|name| (*name, one_of(name))).collect();
    for name in names {
        for who in people.values() {
            assert_eq!(enter(&node, who, open(name)).await, Entered::First);
        }
    }
    let mut sorted = names;
    sorted.sort_unstable();
    for name in names {
        assert_eq!(members(&node, name, 2).await, sorted);
        let numbered = Numbered { before: name.to_owned(), after: name.trim_start_matches(char::is_numeric).into() };
        let (number, _) = seated(&node, &people[name], &numbered, 1).await;
        assert_eq!((number, count(&node, numbered.name(1).as_str()).await), (1, 1));
        assert!(leave(&node, &people[name], numbered.name(1).as_str()).await);
    }
    for name in names {
        for (member, who) in &people {
            linger(&node, who, name, Duration::from_millis(1)).await;
            assert!(members(&node, name, PAGE).await.iter().any(|listed| listed == member));
        }
    }
    let departed = departures(&[&node], Duration::from_millis(12), names.len() * names.len()).await;
    let told: HashSet<_> = departed.iter().map(|departed| (departed.place.as_str(), &*departed.member)).collect();
    let all: HashSet<_> = names.iter().flat_map(|place| names.iter().map(move |member| (*place, *member))).collect();
    assert_eq!(told, all);
    for Departed { place, member, user, session, .. } in &departed {
        let who = &people[member.as_str()];
        assert_eq!((user, *session), (&who.user, who.session), "{place}");
    }
    assert_no_places(&store).await;
}

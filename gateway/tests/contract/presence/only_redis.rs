//! What only Redis can do: lose, go back in time, carry out late, hold what older nodes wrote.

use super::*;

/// The evalshas that a Redis has carried out.
async fn scripts(redis: &Redis) -> u64 {
    let statistics = redis.command("INFO commandstats").await;
    let line = statistics.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn a_leaving_that_redis_carries_out_late_takes_nobody_out() {
    let redis = Redis::start().await;
    let proxy = Proxy::before(&redis).await;
    let timeouts = support::config(&[("GATEWAY_REDIS__TIMEOUT", "1s")]).redis;
    let settings = config::Presence { lease: LONG, linger: LONG, page: PAGE };
    let commands = Commands::new(&proxy.url(), &timeouts).unwrap();
    let node: Node = Arc::new(redis_presence(commands, "test", "node", &settings));
    let who = one_of("alice");
    assert_eq!(enter(&node, &at(1, &who), open("r")).await, Entered::First);
    assert!(leave(&node, &at(2, &who), "r").await);
    assert_eq!(enter(&node, &at(3, &who), open("r")).await, Entered::First);
    let before = node.beat(Beating::default()).await.unwrap();
    assert!(!before.in_doubt, "{before:?}");
    // What is under way stays under way; what connects from now on does not.
    proxy.hold_back();
    let lost = node.leave(&at(4, &who), &[room("r")], Duration::ZERO).await;
    assert!(lost.is_err(), "{lost:?}");
    assert_eq!(enter(&node, &at(5, &who), open("r")).await, Entered::Again);
    let carried_out = scripts(&redis).await;
    proxy.hold(false);
    eventually("the leaving is carried out", || async { scripts(&redis).await > carried_out }).await;
    assert_eq!(members(&node, "r", PAGE).await, ["alice"]);
    assert!(node.beat(Beating::default()).await.unwrap().in_doubt, "a connection was given up");
    assert!(!node.beat(Beating::default()).await.unwrap().in_doubt, "told once");
}

#[tokio::test]
async fn a_redis_that_lost_everything_has_forgotten_the_node() {
    let mut redis = Redis::start().await;
    let settings = config::Presence { lease: LONG, linger: LONG, page: PAGE };
    let node: Node = Arc::new(redis_presence(commands(&redis), "test", "node", &settings));
    let who = one_of("alice");
    assert_eq!(enter(&node, &who, open("r")).await, Entered::First);
    assert!(!node.beat(Beating::default()).await.unwrap().forgotten);
    redis.kill();
    redis.lose_everything();
    redis.start_again().await;
    let deadline = Instant::now() + support::PATIENCE;
    let beat = loop {
        match node.beat(Beating::default()).await {
            Ok(beat) => break beat,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        sleep(Duration::from_millis(20)).await;
    };
    assert!(beat.forgotten);
    assert_eq!(restore(&node, &who, open("r")).await, Entered::First);
    assert!(!node.beat(Beating::default()).await.unwrap().forgotten);
}

#[tokio::test]
async fn a_redis_that_went_back_in_time_has_forgotten_the_node() {
    let redis = Redis::start().await;
    let store = Store::Redis(Box::new(redis));
    let (node, other) = (store.node(LEASE * 3), alive(&store).await);
    let Store::Redis(redis) = &store else { unreachable!() };
    let (stays, left) = (one_of("stays"), one_of("left"));
    for who in [&stays, &left] {
        assert_eq!(enter(&node, who, open("r")).await, Entered::First);
    }
    node.beat(Beating::default()).await.unwrap();
    let nodes = redis.command("ZRANGE test:presence:nodes 0 -1").await;
    let name = nodes.lines().find(|line| line.ends_with("node")).unwrap().trim().to_owned();
    redis.command(&format!("ZINCRBY test:presence:nodes -1 {name}")).await;
    assert!(node.beat(Beating::default()).await.unwrap().forgotten, "it is not the state after the last beat");
    assert_eq!(restore(&node, &stays, open("r")).await, Entered::Again);
    // What the node no longer cares for ends with its old lease.
    let departed = departures(&[&node, &other], LEASE, 1).await;
    assert_eq!((departed[0].member.as_str(), departed[0].cause), ("left", Cause::Lease));
    assert_eq!(members(&node, "r", PAGE).await, ["stays"]);
}

/// How many sessions' entries in places have a moment, as Redis has them.
async fn with_moments(redis: &Redis) -> String {
    let script = "local n = 0 for _, key in ipairs(redis.call('KEYS', 'test:presence:place:*')) do \
                  local all = redis.call('HGETALL', key) for i = 1, #all, 2 do \
                  if string.sub(all[i], 1, 1) == 's' and string.byte(all[i + 1], 33) == 1 then n = n + 1 end end end \
                  return n";
    redis.command(&format!("EVAL \"{script}\" 0")).await.trim().to_owned()
}

#[tokio::test]
async fn nodes_share_places_with_those_that_write_an_older_format() {
    let redis = Redis::start().await;
    let settings = config::Presence { lease: LONG, linger: LONG, page: PAGE };
    let node = |name, format| -> Node {
        let formats = Formats::new(format);
        Arc::new(RedisPresence::new(commands(&redis), "test", name, &settings, formats))
    };
    let (older, newer) = (node("older", Format::Unordered), node("newer", Format::Ordered));
    let (alice, bob) = (one_of("alice"), one_of("bob"));
    assert_eq!(enter(&older, &alice, limited("r", 2)).await, Entered::First);
    assert_eq!(with_moments(&redis).await, ":0");
    assert_eq!(enter(&newer, &bob, limited("r", 2)).await, Entered::First);
    assert_eq!(with_moments(&redis).await, ":1");
    assert_eq!(enter(&newer, &one_of("carol"), limited("r", 2)).await, Entered::Full);
    for node in [&older, &newer] {
        assert_eq!(members(node, "r", PAGE).await, ["alice", "bob"]);
    }
    // They go on as each other's, by whoever comes back, and leave.
    let (alice_anew, bob_anew) = (held_anew(&alice, 1), held_anew(&bob, 1));
    assert_eq!(enter(&newer, &alice_anew, open("r")).await, Entered::Again);
    assert_eq!(enter(&older, &bob_anew, open("r")).await, Entered::Again);
    assert_eq!(with_moments(&redis).await, ":1");
    assert!(!leave(&older, &alice, "r").await && !leave(&newer, &bob, "r").await, "they are others' by now");
    assert!(leave(&older, &alice_anew, "r").await && leave(&newer, &bob_anew, "r").await);
    assert_eq!(count(&newer, "r").await, 0);
    for (who, linger_at, settle_at) in [("dora", &newer, &older), ("erin", &older, &newer)] {
        let who = one_of(who);
        enter(linger_at, &who, open("r")).await;
        linger(linger_at, &who, "r", TICK).await;
        sleep(TICK * 5).await;
        let departed = settle_at.beat(Beating { most: 10, ..Beating::default() }).await.unwrap().departed;
        assert_eq!((departed.len(), departed[0].member.as_str()), (1, who.member.as_str()));
    }
}

#[tokio::test]
async fn what_is_there_is_written_anew_for_a_node_that_comes_with_an_older_format() {
    let redis = Redis::start().await;
    let settings = config::Presence { lease: LONG, linger: LONG, page: PAGE };
    let formats = Formats::new(Format::NEWEST);
    let node: Node = Arc::new(RedisPresence::new(commands(&redis), "test", "node", &settings, formats.clone()));
    let (alice, lingers) = (one_of("alice"), one_of("lingers"));
    // More than are written in one script.
    let places: Vec<_> = (0..1_300).map(|number| open(&format!("r{number}"))).collect();
    node.enter(&alice, &places, Arrival::Newest).await.unwrap();
    enter(&node, &lingers, open("r0")).await;
    linger(&node, &at(2, &lingers), "r0", LONG).await;
    node.beat(Beating::default()).await.unwrap();
    assert_eq!(with_moments(&redis).await, ":1301");
    formats.write(Format::Unordered);
    node.beat(Beating::default()).await.unwrap();
    assert_eq!(with_moments(&redis).await, ":0");
    assert_eq!(members(&node, "r0", PAGE).await, ["alice", "lingers"]);
    let held = node.beat(Beating { review: true, ..Beating::default() }).await.unwrap().held.unwrap();
    assert_eq!(held.len(), 1_300);
    // And what was written so is taken for what it is once all read more again.
    formats.write(Format::NEWEST);
    assert_eq!(enter(&node, &at(3, &alice), open("r0")).await, Entered::Again);
    assert_eq!(with_moments(&redis).await, ":1");
    assert!(leave(&node, &at(4, &alice), "r0").await && leave(&node, &at(5, &alice), "r1").await);
}

#[tokio::test]
async fn deployments_are_apart_and_errors_say_what_was_asked() {
    let mut redis = Redis::start().await;
    let settings = config::Presence { lease: LONG, linger: LONG, page: PAGE };
    let metrics = Arc::new(Metrics::new());
    let node = |prefix: &str| -> Node {
        let presence = redis_presence(commands(&redis), prefix, "node", &settings);
        Arc::new(MeasuredPresence::new(Arc::new(presence), metrics.clone()))
    };
    let (one, two) = (node("one"), node("two"));
    let who = one_of("alice");
    enter(&one, &who, open("r")).await;
    assert_eq!((count(&one, "r").await, count(&two, "r").await), (1, 0));
    redis.command("SET three:presence:members:r occupied").await;
    let damaged = redis_presence(commands(&redis), "three", "node", &settings);
    let error = damaged.count(&[room("r")]).await.unwrap_err();
    assert_eq!((error.port, error.kind), (Port::Presence, ErrorKind::Permanent), "{error}");
    redis.stop().await;
    let places = [room("r")];
    let errors = [
        one.enter(&who, &[open("r")], Arrival::Newest).await.unwrap_err(),
        one.enter_first(&who, &games(), 1, Arrival::Newest).await.unwrap_err(),
        one.leave(&who, &places, LONG).await.unwrap_err(),
        one.count(&places).await.unwrap_err(),
        one.list(&places[0], None, 1).await.unwrap_err(),
        one.beat(Beating::default()).await.unwrap_err(),
    ];
    for error in &errors {
        assert_eq!((error.port, error.kind), (Port::Presence, ErrorKind::Transient), "{error}");
    }
    let operations = errors.map(|error| error.operation);
    // What only the directory is asked is no operation of these.
    assert_eq!(operations[..], gateway_core::metrics::PRESENCE_OPERATIONS[..6]);
    let text = metrics.render();
    for operation in operations {
        let line = format!(r#"gateway_presence_errors_total{{op="{operation}"}} 1"#);
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    redis.start_again().await;
    eventually("it heals", async || one.beat(Beating::default()).await.is_ok_and(|beat| beat.entries == 1)).await;
    assert!(leave(&one, &who, "r").await, "the server kept its file");
}

#[tokio::test]
async fn rooms_that_older_nodes_entered_or_left_are_mended_in_the_index() {
    let redis = Redis::start().await;
    let store = Store::Redis(Box::new(redis));
    let Store::Redis(redis) = &store else { unreachable!() };
    let (node, directory) = (alive(&store).await, store.directory());
    let alice = one_of("alice");
    enter(&node, &alice, open("there")).await;
    // As a version leaves it that does not know the index.
    redis.command("ZREM test:presence:rooms there").await;
    redis.command("ZADD test:presence:rooms 0 gone").await;
    assert_eq!(listed(&*directory, "/", 10).await, []);
    assert_eq!(redis.command("EXISTS test:presence:rooms").await, ":0\r\n", "what is left over goes when it is seen");
    node.beat(Beating { review: true, ..Beating::default() }).await.unwrap();
    assert_eq!(listed(&*directory, "/", 10).await, [("there".to_owned(), 1)]);
    leave(&node, &alice, "there").await;
    assert_eq!(redis.command("EXISTS test:presence:rooms").await, ":0\r\n");
}

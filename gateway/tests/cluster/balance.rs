//! Balancing: nodes that join, drain and die behind a HAProxy that goes by turns, and nobody is moved twice or loses anything.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use gateway::app::Gateway;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::cluster;
use crate::support::client::Client;
use crate::support::haproxy::HaProxy;
use crate::support::operator::console;
use crate::support::process::Process;
use crate::support::redis::{Redis, free_port};
use crate::support::{self, eventually, http, metric};

/// However few clients there are, as soon as it may be.
const EAGER: [(&str, &str); 4] = [
    ("GATEWAY_BALANCE__ENABLED", "on"),
    ("GATEWAY_BALANCE__AFTER", "3s"),
    ("GATEWAY_ADMIN__TOKEN", "t"),
    ("GATEWAY_SOCKET__PING_INTERVAL", "5s"),
];
/// How long clients rest that were moved, see [`Deployment::begin`]: nodes are even within a shorter time, or have to try again.
const REST: Duration = Duration::from_secs(20);
/// How long nodes may take to be even, where there are many clients.
const MINUTE: Duration = Duration::from_secs(60);

/// A client that comes and comes back as official ones do, over their default transports, and what it went through.
#[derive(Default)]
struct Member {
    connected: AtomicBool,
    /// How often its connection ended, and how often it was refused.
    ends: AtomicU32,
    refused: AtomicU32,
    unrecovered: AtomicU32,
    heard: Mutex<Vec<u64>>,
}

impl Member {
    /// Comes to one of `addresses` after the other, for ever.
    async fn live(self: Arc<Self>, number: usize, addresses: Arc<Mutex<Vec<SocketAddr>>>) {
        let (mut pid, mut offset) = (None::<String>, None::<String>);
        // As from somewhere in the world.
        let from = Ipv4Addr::from(0x7f01_0000 + u32::try_from(number).unwrap()).into();
        let (mut next, mut attempts) = (number, 0);
        loop {
            let address = {
                let addresses = addresses.lock();
                addresses[next % addresses.len()]
            };
            next += 1;
            let auth = pid.as_ref().map_or_else(|| json!({}), |pid| json!({ "pid": pid, "offset": offset }));
            let Ok(mut client) = Client::try_connect_upgrading(from, address, auth).await else {
                self.refused.fetch_add(1, Ordering::Relaxed);
                let pause = 2_f64.powi(attempts).min(5.0) * (0.5 + rand::random::<f64>());
                attempts += 1;
                sleep(Duration::from_secs_f64(pause)).await;
                continue;
            };
            attempts = 0;
            if pid.is_none() {
                // What is refused for now is asked for again, as applications do.
                while client.ask("join", json!({ "room": "r" })).await["ok"] != true {
                    sleep(Duration::from_secs(1)).await;
                }
            } else if !client.recovered() {
                self.unrecovered.fetch_add(1, Ordering::Relaxed);
            }
            pid = Some(client.pid.clone());
            self.connected.store(true, Ordering::Release);
            loop {
                // What came with the join is among them already.
                while let Some(event) = client.kept() {
                    if event[0] == "message" {
                        self.heard.lock().push(event[1].as_u64().unwrap());
                    }
                }
                let Some(text) = client.text().await else { break };
                client.keep(&text);
            }
            offset = client.offset.clone().or(offset);
            self.connected.store(false, Ordering::Release);
            self.ends.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_secs_f64(0.5 + rand::random::<f64>())).await;
        }
    }
}

struct Crowd {
    members: Vec<Arc<Member>>,
    addresses: Arc<Mutex<Vec<SocketAddr>>>,
    _lives: JoinSet<()>,
}

impl Crowd {
    /// So many, once all of them are in the room.
    async fn gather(addresses: &[SocketAddr], size: usize) -> Self {
        let addresses = Arc::new(Mutex::new(addresses.to_vec()));
        let members: Vec<_> = (0..size).map(|_| Arc::<Member>::default()).collect();
        let mut lives = JoinSet::new();
        for (number, member) in members.iter().enumerate() {
            lives.spawn(member.clone().live(number, addresses.clone()));
            // Each makes half a dozen requests.
            if number % 50 == 49 {
                sleep(Duration::from_millis(200)).await;
            }
        }
        let crowd = Self { members, addresses, _lives: lives };
        crowd.is_there().await;
        crowd
    }

    async fn is_there(&self) {
        let deadline = Instant::now() + MINUTE;
        while !self.members.iter().all(|member| member.connected.load(Ordering::Acquire)) {
            assert!(Instant::now() < deadline, "not everybody is connected");
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn sum(&self, of: impl Fn(&Member) -> &AtomicU32) -> u32 {
        self.members.iter().map(|member| of(member).load(Ordering::Relaxed)).sum()
    }

    /// How often anybody's connection ended at most, since it was asked last.
    fn most_ends(&self) -> u32 {
        self.members.iter().map(|member| member.ends.swap(0, Ordering::Relaxed)).max().unwrap()
    }
}

/// Says the numbers from 0 on in the room, at whichever node answers, until it is dropped.
struct Speaker {
    said: Arc<AtomicUsize>,
    nodes: Arc<Mutex<Vec<SocketAddr>>>,
    stop: Arc<AtomicBool>,
    life: tokio::task::JoinHandle<()>,
}

impl Speaker {
    fn begin(every: Duration, admins: &[SocketAddr]) -> Self {
        let (said, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let nodes = Arc::new(Mutex::new(admins.to_vec()));
        let (count, all, over) = (said.clone(), nodes.clone(), stop.clone());
        let life = tokio::spawn(async move {
            while !over.load(Ordering::Acquire) {
                let number = count.load(Ordering::Acquire);
                // Said again under the same id if the answer was lost.
                let body = json!({ "event": "message", "data": number, "id": format!("word {number}") });
                let admin = all.lock()[0];
                if say(admin, &body).await {
                    count.fetch_add(1, Ordering::AcqRel);
                }
                sleep(every).await;
            }
        });
        Self { said, nodes, stop, life }
    }

    /// How many numbers were said in all.
    async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Release);
        self.life.await.unwrap();
        self.said.load(Ordering::Acquire) as u64
    }
}

async fn say(admin: SocketAddr, body: &Value) -> bool {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let body = body.to_string();
    let request = format!(
        "POST /console/api/v1/rooms/r/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer t\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let asked = async {
        let mut stream = tokio::net::TcpStream::connect(admin).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    asked.await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 20"))
}

/// Series of a node in a process of its own, summed by what they begin with; 0 if it is not there.
async fn series(admin: SocketAddr, name: &str) -> f64 {
    let (_, text) = http("GET", admin, "/metrics", "").await;
    let values = text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next());
    values.map(|value| value.parse::<f64>().unwrap()).sum()
}

/// Waits until all are connected and no node is further than a tenth from the mean; returns how long that took.
async fn even(what: &str, crowd: &Crowd, admins: &[SocketAddr]) -> Duration {
    let began = Instant::now();
    // Of few clients one more or less on a node decides, and whoever was moved a moment ago has to rest first: a second round may be due.
    let within = if crowd.members.len() < 1_000 { MINUTE * 2 } else { MINUTE };
    loop {
        let mut counts = Vec::new();
        for admin in admins {
            counts.push(series(*admin, "gateway_connections{").await);
        }
        let mean = crowd.members.len() as f64 / admins.len() as f64;
        let is_even = counts.iter().all(|count| (count - mean).abs() <= (mean / 10.0).max(1.0));
        if is_even && counts.iter().sum::<f64>() == crowd.members.len() as f64 {
            return began.elapsed();
        }
        if began.elapsed() >= within {
            let mut stands = Vec::new();
            for admin in admins {
                let authorization = "Authorization: Bearer t\r\n";
                stands.push(http("GET", *admin, "/console/api/balance", authorization).await.1);
            }
            panic!("{what}: {counts:?}; {stands:#?}");
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// How often a client may be moved in that time.
fn most_moves(took: Duration) -> u32 {
    1 + (took.as_secs() / REST.as_secs()) as u32
}

async fn moves(admins: &[SocketAddr]) -> f64 {
    let mut moves = 0.0;
    for admin in admins {
        moves += series(*admin, "gateway_balance_moves_total").await;
    }
    moves
}

/// Nodes in processes of their own at addresses that stay, behind a HAProxy that takes one after the other, knows which are ready
/// and tells clients apart by nothing.
struct Deployment {
    redis: Redis,
    /// For clients, and for operators.
    ports: Vec<[u16; 2]>,
    nodes: Vec<Option<Process>>,
    proxy: HaProxy,
}

impl Deployment {
    async fn start(size: usize) -> Self {
        let redis = Redis::start().await;
        let ports: Vec<_> = (0..size).map(|_| [free_port(), free_port()]).collect();
        let config = |addresses: &[SocketAddr]| {
            let server = |[port, admin]: &[u16; 2]| {
                format!(" server n{port} 127.0.0.1:{port} check port {admin} inter 200ms fall 1 rise 1\n")
            };
            let servers: String = ports.iter().map(server).collect();
            format!(
                "defaults\n mode http\n option forwardfor\n timeout connect 2s\n timeout client 60s\n timeout server 60s\n timeout tunnel 1h\n \
                 retries 3\n option redispatch 1\n retry-on conn-failure 503\nlisten l\n bind {}\n balance roundrobin\n \
                 http-request disable-l7-retry unless METH_GET !{{ url_param(sid) -m found }}\n \
                 option httpchk GET /readyz\n timeout check 2s\n{servers}",
                addresses[0]
            )
        };
        let proxy = HaProxy::configured(1, config).await;
        Self { redis, ports, nodes: (0..size).map(|_| None).collect(), proxy }
    }

    fn begin(&mut self, at: usize) {
        let [listen, admin] = self.ports[at].map(|port| format!("127.0.0.1:{port}"));
        let (url, name) = (self.redis.url(), format!("node-{at}"));
        let own = [
            ("GATEWAY_LISTEN", listen.as_str()),
            ("GATEWAY_ADMIN_LISTEN", admin.as_str()),
            ("GATEWAY_REDIS_URL", url.as_str()),
            ("GATEWAY_NODE_NAME", name.as_str()),
            ("GATEWAY_TRUSTED_PROXIES", "127.0.0.1/32"),
            ("GATEWAY_BALANCE__REST", "20s"),
            ("GATEWAY_DRAIN__ANNOUNCE", "500ms"),
        ];
        let changes: Vec<_> = support::NO_LIMITS.iter().chain(&EAGER).chain(&own).copied().collect();
        self.nodes[at] = Some(Process::start(&changes, None, Some(20_000)));
    }

    fn admins(&self) -> Vec<SocketAddr> {
        self.nodes.iter().flatten().map(|node| node.admin_address).collect()
    }

    async fn drain(&mut self, at: usize) {
        let mut node = self.nodes[at].take().unwrap();
        node.signal("-TERM");
        assert_eq!(node.ends().await, Some(0));
    }
}

/// Three nodes that become five and three again, one killed and replaced, all restarted.
async fn changes(size: usize, every: Duration, all: bool) {
    let mut deployment = Deployment::start(5).await;
    (0..3).for_each(|at| deployment.begin(at));
    let crowd = Crowd::gather(&deployment.proxy.addresses, size).await;
    let speaker = Speaker::begin(every, &deployment.admins());
    let told = |what: &str, took: Duration, moves: f64, crowd: &Crowd| {
        let refused = crowd.members.iter().map(|member| member.refused.swap(0, Ordering::Relaxed)).sum::<u32>();
        eprintln!("{what}: even after {took:.1?}, {moves} moves, {refused} refusals that clients saw");
    };

    crowd.most_ends();
    (3..5).for_each(|at| deployment.begin(at));
    let took = even("five nodes", &crowd, &deployment.admins()).await;
    // What was on its way when they were even has come.
    sleep(Duration::from_secs(2)).await;
    let moved = moves(&deployment.admins()).await;
    told("three nodes become five", took, moved, &crowd);
    assert!((1..=most_moves(took)).contains(&crowd.most_ends()), "a client was moved twice");
    assert!(moved >= size as f64 * 0.3, "{moved}");

    if all {
        let before = moves(&deployment.admins()[..3]).await;
        deployment.drain(4).await;
        deployment.drain(3).await;
        let took = even("three again", &crowd, &deployment.admins()).await;
        told("five nodes become three", took, moves(&deployment.admins()).await - before, &crowd);
        // Twice for who was handed over by one node to the other that went, and once moved.
        assert!(crowd.most_ends() <= 2 + most_moves(took));
    }

    let before = moves(&deployment.admins()).await;
    let killed = if all { 2 } else { 4 };
    deployment.nodes[killed] = None;
    let took = even("one was killed", &crowd, &deployment.admins()).await;
    told("a node is killed", took, (moves(&deployment.admins()).await - before).max(0.0), &crowd);
    assert!(crowd.most_ends() <= 1 + most_moves(took), "once for the kill, and once moved");
    deployment.begin(killed);
    let took = even("it is there again", &crowd, &deployment.admins()).await;
    told("and comes back", took, moves(&deployment.admins()).await, &crowd);
    sleep(Duration::from_secs(2)).await;
    assert!((1..=most_moves(took)).contains(&crowd.most_ends()), "a client was moved twice");

    if all {
        for at in 0..3 {
            speaker.nodes.lock().clone_from(&deployment.admins()[(at + 1) % 3..].to_vec());
            deployment.drain(at).await;
            deployment.begin(at);
            // As rollouts do before they go on.
            sleep(Duration::from_secs(5)).await;
        }
        let took = even("all were restarted", &crowd, &deployment.admins()).await;
        told("a rolling restart", took, moves(&deployment.admins()).await, &crowd);
        assert!(crowd.most_ends() <= 3 + most_moves(took), "once for each restart, and once moved");
        speaker.nodes.lock().clone_from(&deployment.admins());
    }

    crowd.is_there().await;
    let said = speaker.end().await;
    for member in &crowd.members {
        eventually("it heard the last word", || async { member.heard.lock().last() == Some(&(said - 1)) }).await;
        let heard = member.heard.lock();
        let first = heard[0];
        assert_eq!(*heard, (first..said).collect::<Vec<_>>(), "something is missing, doubled or out of order");
    }
    assert_eq!(crowd.sum(|member| &member.unrecovered), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_join_or_come_back_draw_their_share_and_nobody_is_moved_twice() {
    changes(100, Duration::from_millis(200), false).await;
}

/// `make test-balance`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn at_length() {
    let size = std::env::var("BALANCE_CLIENTS").map_or(2_000, |size| size.parse().unwrap());
    changes(size, Duration::from_secs(1), true).await;
}

async fn balance(node: &Gateway) -> Value {
    console(node, "t", "GET", "/balance", None).await.1
}

async fn is(node: &Gateway, state: &str) {
    let what = format!("balancing is {state}");
    eventually(&what, || async { metric(node, &format!("gateway_balance_state{{state=\"{state}\"}}")) == 1.0 }).await;
}

fn moved(nodes: &[Gateway]) -> f64 {
    nodes.iter().map(|node| metric(node, "gateway_balance_moves_total")).sum()
}

fn addresses(nodes: &[Gateway]) -> Vec<SocketAddr> {
    nodes.iter().map(|node| node.address).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_stop_it_on_all_nodes_and_start_it_again() {
    let redis = Redis::start().await;
    let nodes = cluster(&redis, 2, &EAGER).await;
    is(&nodes[0], "even").await;
    let (status, answer) = console(&nodes[1], "t", "POST", "/balance/stop", None).await;
    assert_eq!((status, &answer["balance"]), (202, &json!("stop")));
    for node in &nodes {
        is(node, "stopped").await;
    }
    let crowd = Crowd::gather(&addresses(&nodes[..1]), 20).await;
    crowd.addresses.lock().clone_from(&addresses(&nodes));
    let third = cluster(&redis, 1, &EAGER).await;
    is(&third[0], "stopped").await;
    assert_eq!(moved(&nodes), 0.0);
    assert_eq!(console(&nodes[0], "t", "POST", "/balance/start", None).await.0, 202);
    is(&nodes[0], "moving").await;
    let shown = balance(&nodes[0]).await;
    assert_eq!((&shown["nodes"][0]["node"], &shown["nodes"][0]["share"]), (&json!("node-0"), &json!(7)), "{shown}");
    eventually("the others have some", || async { nodes[1].sessions() > 2 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_balance_keeps_the_others_from_it() {
    let redis = Redis::start().await;
    let nodes = cluster(&redis, 2, &EAGER).await;
    let off = cluster(&redis, 1, &[("GATEWAY_BALANCE__ENABLED", "off"), ("GATEWAY_ADMIN__TOKEN", "t")]).await;
    eventually("they count it", || async { metric(&nodes[0], "gateway_cluster_nodes") == 3.0 }).await;
    let _crowd = Crowd::gather(&addresses(&nodes[..1]), 20).await;
    // Longer than it would take to begin.
    sleep(Duration::from_secs(8)).await;
    for node in &nodes {
        is(node, "waiting").await;
        assert!(balance(node).await["why"].as_str().unwrap().contains("not all nodes say"), "{}", balance(node).await);
    }
    assert_eq!(moved(&nodes), 0.0);
    assert_eq!(console(&off[0], "t", "POST", "/balance/stop", None).await.0, 409);
    assert_eq!(balance(&off[0]).await["state"], "off");
}

#[tokio::test(flavor = "multi_thread")]
async fn few_clients_stay_where_they_are_unless_it_is_on() {
    let redis = Redis::start().await;
    let auto: Vec<_> = EAGER.iter().map(|it| if it.1 == "on" { (it.0, "auto") } else { *it }).collect();
    let nodes = cluster(&redis, 2, &auto).await;
    let _crowd = Crowd::gather(&addresses(&nodes[..1]), 20).await;
    eventually("they are found to be few", || async {
        balance(&nodes[0]).await["why"].as_str().is_some_and(|why| why.contains("min_connections"))
    })
    .await;
    sleep(Duration::from_secs(6)).await;
    assert_eq!(moved(&nodes), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_hangs_on_is_ended_and_a_full_door_opens_again() {
    let redis = Redis::start().await;
    let slow: Vec<_> = EAGER.into_iter().chain([("GATEWAY_BALANCE__CONNECTIONS_PER_SECOND", "2")]).collect();
    let nodes = cluster(&redis, 2, &slow).await;
    // Nobody is sent on before all are there.
    assert_eq!(console(&nodes[0], "t", "POST", "/balance/stop", None).await.0, 202);
    is(&nodes[0], "stopped").await;
    // They read nothing and close nothing.
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(Client::connect(nodes[0].address).await);
    }
    assert_eq!(console(&nodes[0], "t", "POST", "/balance/start", None).await.0, 202);
    is(&nodes[0], "moving").await;
    let refused = || metric(&nodes[0], "gateway_handshakes_total{result=\"elsewhere\"}");
    let mut attempts = 0;
    let late = loop {
        attempts += 1;
        match Client::try_connect(nodes[0].address, json!({})).await {
            Ok(client) => break client,
            Err(why) => assert!(why.contains("503"), "{why}"),
        }
    };
    assert_eq!((attempts, refused()), (4, 3.0), "three times, and then it is let in");
    eventually("they are gone", || async { nodes[0].sessions() <= 12 }).await;
    // They come back nowhere: nothing is won, and it does not go on for ever.
    let deadline = Instant::now() + MINUTE;
    while metric(&nodes[0], "gateway_balance_state{state=\"moving\"}") == 1.0 {
        assert!(Instant::now() < deadline, "it goes on");
        sleep(Duration::from_millis(100)).await;
    }
    let before = refused();
    Client::connect(nodes[0].address).await;
    assert_eq!(refused(), before);
    drop((held, late));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_moved_while_redis_is_away_or_a_node_drains() {
    let mut redis = Redis::start().await;
    let slow: Vec<_> = EAGER.into_iter().chain([("GATEWAY_BALANCE__CONNECTIONS_PER_SECOND", "5")]).collect();
    let nodes = cluster(&redis, 3, &slow).await;
    let crowd = Crowd::gather(&addresses(&nodes[..1]), 60).await;
    crowd.addresses.lock().clone_from(&addresses(&nodes));
    is(&nodes[0], "moving").await;
    redis.kill();
    is(&nodes[0], "waiting").await;
    let before = moved(&nodes);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(moved(&nodes), before, "somebody was moved who could not come back whole");
    redis.start_again().await;
    is(&nodes[0], "moving").await;
    assert_eq!(console(&nodes[0], "t", "POST", "/nodes/node-2/drain", None).await.0, 202);
    eventually("it drains", || async { metric(&nodes[2], "gateway_draining") == 1.0 }).await;
    is(&nodes[0], "waiting").await;
    assert!(moved(&nodes) > before);
    // With two it is one set less, and ends.
    let deadline = Instant::now() + MINUTE;
    while (nodes[0].sessions() as f64 - 30.0).abs() > 3.0 {
        assert!(Instant::now() < deadline, "{} of 60", nodes[0].sessions());
        sleep(Duration::from_millis(100)).await;
    }
}

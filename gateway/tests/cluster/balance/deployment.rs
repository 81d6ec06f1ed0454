//! Nodes in processes of their own behind HAProxy, somebody who talks, and how evenly the clients are spread.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::crowd::Crowd;
use super::{EAGER, MINUTE};
use crate::support::haproxy::HaProxy;
use crate::support::process::Process;
use crate::support::redis::{Redis, free_port};
use crate::support::{self, http};

/// Says the numbers from 0 on in the room, at whichever node answers, until it is dropped.
pub(super) struct Speaker {
    said: Arc<AtomicUsize>,
    pub(super) nodes: Arc<Mutex<Vec<SocketAddr>>>,
    stop: Arc<AtomicBool>,
    life: tokio::task::JoinHandle<()>,
}

impl Speaker {
    pub(super) fn begin(every: Duration, admins: &[SocketAddr]) -> Self {
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
    pub(super) async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Release);
        self.life.await.unwrap();
        self.said.load(Ordering::Acquire) as u64
    }
}

pub(super) async fn say(admin: SocketAddr, body: &Value) -> bool {
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
pub(super) async fn series(admin: SocketAddr, name: &str) -> f64 {
    let (_, text) = http("GET", admin, "/metrics", "").await;
    let values = text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next());
    values.map(|value| value.parse::<f64>().unwrap()).sum()
}

/// Waits until all are connected and no node is further than a tenth from the mean; returns how long that took.
pub(super) async fn even(what: &str, crowd: &Crowd, admins: &[SocketAddr]) -> Duration {
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

pub(super) async fn moves(admins: &[SocketAddr]) -> f64 {
    let mut moves = 0.0;
    for admin in admins {
        moves += series(*admin, "gateway_balance_moves_total").await;
    }
    moves
}

/// Nodes in processes of their own at addresses that stay, behind a HAProxy that takes one after the other, knows which are ready
/// and tells clients apart by nothing.
pub(super) struct Deployment {
    redis: Redis,
    /// How long clients rest that were moved.
    rest: Duration,
    /// For clients, and for operators.
    ports: Vec<[u16; 2]>,
    pub(super) nodes: Vec<Option<Process>>,
    pub(super) proxy: HaProxy,
}

impl Deployment {
    pub(super) async fn start(size: usize, rest: Duration) -> Self {
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
        Self { redis, rest, ports, nodes: (0..size).map(|_| None).collect(), proxy }
    }

    pub(super) fn begin(&mut self, at: usize) {
        let [listen, admin] = self.ports[at].map(|port| format!("127.0.0.1:{port}"));
        let (url, name, rest) = (self.redis.url(), format!("node-{at}"), format!("{}s", self.rest.as_secs()));
        let own = [
            ("GATEWAY_LISTEN", listen.as_str()),
            ("GATEWAY_ADMIN_LISTEN", admin.as_str()),
            ("GATEWAY_REDIS_URL", url.as_str()),
            ("GATEWAY_NODE_NAME", name.as_str()),
            ("GATEWAY_TRUSTED_PROXIES", "127.0.0.1/32"),
            ("GATEWAY_BALANCE__REST", rest.as_str()),
            ("GATEWAY_DRAIN__ANNOUNCE", "500ms"),
        ];
        let changes: Vec<_> = support::NO_LIMITS.iter().chain(&EAGER).chain(&own).copied().collect();
        self.nodes[at] = Some(Process::start(&changes, None, Some(20_000)));
    }

    /// How often a client may be moved in a time.
    pub(super) fn most_moves(&self, took: Duration) -> u32 {
        1 + (took.as_secs() / self.rest.as_secs()) as u32
    }

    pub(super) fn admins(&self) -> Vec<SocketAddr> {
        self.nodes.iter().flatten().map(|node| node.admin_address).collect()
    }

    pub(super) async fn drain(&mut self, at: usize) {
        let mut node = self.nodes[at].take().unwrap();
        node.signal("-TERM");
        assert_eq!(node.ends().await, Some(0));
    }
}

//! Clients that come back as official ones do, and what they went through.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::MINUTE;
use crate::support::client::Client;

/// A client that comes and comes back as official ones do, over their default transports, and what it went through.
#[derive(Default)]
pub(super) struct Member {
    connected: AtomicBool,
    /// How often its connection ended, and how often it was refused.
    ends: AtomicU32,
    pub(super) refused: AtomicU32,
    pub(super) unrecovered: AtomicU32,
    pub(super) heard: Mutex<Vec<u64>>,
}

impl Member {
    /// Comes to one of `addresses` after the other, for ever.
    pub(super) async fn live(self: Arc<Self>, number: usize, addresses: Arc<Mutex<Vec<SocketAddr>>>) {
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

pub(super) struct Crowd {
    pub(super) members: Vec<Arc<Member>>,
    pub(super) addresses: Arc<Mutex<Vec<SocketAddr>>>,
    _lives: JoinSet<()>,
}

impl Crowd {
    /// So many, once all of them are in the room.
    pub(super) async fn gather(addresses: &[SocketAddr], size: usize) -> Self {
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

    pub(super) async fn is_there(&self) {
        let deadline = Instant::now() + MINUTE;
        while !self.members.iter().all(|member| member.connected.load(Ordering::Acquire)) {
            assert!(Instant::now() < deadline, "not everybody is connected");
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub(super) fn sum(&self, of: impl Fn(&Member) -> &AtomicU32) -> u32 {
        self.members.iter().map(|member| of(member).load(Ordering::Relaxed)).sum()
    }

    /// How often anybody's connection ended at most, since it was asked last.
    pub(super) fn most_ends(&self) -> u32 {
        self.members.iter().map(|member| member.ends.swap(0, Ordering::Relaxed)).max().unwrap()
    }
}

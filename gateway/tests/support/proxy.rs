//! A proxy before Redis or a database that can do what networks do: freeze connections, cut a node off, delay, break off half way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::redis::Redis;

/// Forwards to a server, until told otherwise.
pub struct Proxy {
    port: u16,
    state: Arc<State>,
}

struct State {
    /// Where new connections go.
    target: Mutex<String>,
    /// Connections of an older generation are frozen: open and silent, as behind a firewall that forgot them.
    generation: watch::Sender<u64>,
    /// New connections are frozen from the beginning.
    shut: AtomicBool,
    /// What happens to the next script.
    cut: Mutex<Option<Cut>>,
    /// What nodes send is not read for now, on connections up to this one.
    held: watch::Sender<u64>,
    /// How many connections there were.
    connections: AtomicU64,
    /// How many reads brought scripts.
    script_reads: AtomicUsize,
}

/// Where a connection ends that carries scripts.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// After so many bytes of what the node sends.
    Request(usize),
    /// After so many bytes of what Redis answers.
    Answer(usize),
}

impl Proxy {
    pub async fn before(redis: &Redis) -> Self {
        Self::before_port(redis.port()).await
    }

    /// Before whatever listens on a port of this machine.
    pub async fn before_port(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State {
            target: Mutex::new(format!("127.0.0.1:{target}")),
            generation: watch::Sender::new(0),
            shut: AtomicBool::new(false),
            cut: Mutex::new(None),
            held: watch::Sender::new(0),
            connections: AtomicU64::new(0),
            script_reads: AtomicUsize::new(0),
        };
        let state = Arc::new(state);
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let target = shared.target.lock().clone();
                let Ok(far) = TcpStream::connect(target).await else { continue };
                tokio::spawn(shared.clone().carry(near, far));
            }
        });
        Self { port, state }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Has new connections go to another server. Those that are open stay where they are.
    pub fn point_to(&self, redis: &Redis) {
        *self.state.target.lock() = address(redis);
    }

    /// Freezes what is connected. New connections work.
    pub fn freeze(&self) {
        self.state.generation.send_modify(|generation| *generation += 1);
    }

    /// Cuts off everything behind the proxy, or lets it connect again.
    pub fn shut(&self, shut: bool) {
        self.state.shut.store(shut, Ordering::SeqCst);
        self.freeze();
    }

    /// Has the next script run and its answer lost.
    pub fn lose_an_answer(&self) {
        self.cut(Cut::Answer(0));
    }

    /// Has a connection end in the middle of the next scripts, or of their answers.
    pub fn cut(&self, cut: Cut) {
        *self.state.cut.lock() = Some(cut);
    }

    /// Whether a cut is still to come.
    pub fn will_cut(&self) -> bool {
        self.state.cut.lock().is_some()
    }

    /// Holds back what nodes send, or lets it go. What Redis sends passes.
    pub fn hold(&self, held: bool) {
        self.state.held.send_replace(if held { u64::MAX } else { 0 });
    }

    /// Holds back what nodes send on the connections that there are, until [`Self::hold`] lets it go. New ones work.
    pub fn hold_back(&self) {
        self.state.held.send_replace(self.state.connections.load(Ordering::SeqCst));
    }

    /// How many times nodes sent scripts; those that were sent together count once, or a few times if they are large.
    pub fn script_reads(&self) -> usize {
        self.state.script_reads.load(Ordering::SeqCst)
    }
}

fn address(redis: &Redis) -> String {
    redis.url().trim_start_matches("redis://").to_owned()
}

impl State {
    async fn carry(self: Arc<Self>, mut near: TcpStream, mut far: TcpStream) {
        let mut freezing = self.generation.subscribe();
        freezing.mark_unchanged();
        let number = self.connections.fetch_add(1, Ordering::SeqCst) + 1;
        let mut holding = self.held.subscribe();
        let (mut request, mut answer) = (vec![0; 65_536], vec![0; 65_536]);
        let mut answer_left = None;
        while !self.shut.load(Ordering::SeqCst) {
            let held = number <= *holding.borrow_and_update();
            tokio::select! {
                biased;
                _ = freezing.changed() => break,
                _ = holding.changed() => {}
                read = near.read(&mut request), if !held => {
                    let Ok(count @ 1..) = read else { return };
                    let mut forwarded = &request[..count];
                    if forwarded.windows(4).any(|word| word == b"EVAL") {
                        self.script_reads.fetch_add(1, Ordering::SeqCst);
                        match self.cut.lock().take() {
                            Some(Cut::Request(bytes)) => forwarded = &forwarded[..bytes.min(count)],
                            Some(Cut::Answer(bytes)) => answer_left = Some(bytes),
                            None => {}
                        }
                    }
                    if far.write_all(forwarded).await.is_err() || forwarded.len() < count { return }
                }
                read = far.read(&mut answer) => {
                    let Ok(count @ 1..) = read else { return };
                    let passes = answer_left.map_or(count, |left| count.min(left));
                    if near.write_all(&answer[..passes]).await.is_err() || passes < count { return }
                    answer_left = answer_left.map(|left| left - passes);
                }
            }
        }
        // Open on both sides for as long as the test lives, and silent.
        std::future::pending::<()>().await;
        drop((near, far));
    }
}

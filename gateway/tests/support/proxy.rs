//! A proxy before Redis that can do what networks do: freeze connections, cut a node off, lose an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
    /// Connections of an older generation are frozen: open and silent, as behind a firewall that forgot them.
    generation: watch::Sender<u64>,
    /// New connections are frozen from the beginning.
    shut: AtomicBool,
    /// The next answer to a script is lost together with its connection.
    lose_answer: AtomicBool,
}

impl Proxy {
    pub async fn before(redis: &Redis) -> Self {
        let target = redis.url().trim_start_matches("redis://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State {
            generation: watch::Sender::new(0),
            shut: AtomicBool::new(false),
            lose_answer: AtomicBool::new(false),
        };
        let state = Arc::new(state);
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(&target).await else { continue };
                tokio::spawn(shared.clone().carry(near, far));
            }
        });
        Self { port, state }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
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
        self.state.lose_answer.store(true, Ordering::SeqCst);
    }

    /// Whether an answer is still to be lost.
    pub fn will_lose_an_answer(&self) -> bool {
        self.state.lose_answer.load(Ordering::SeqCst)
    }
}

impl State {
    async fn carry(self: Arc<Self>, mut near: TcpStream, mut far: TcpStream) {
        let mut freezing = self.generation.subscribe();
        freezing.mark_unchanged();
        let (mut request, mut answer) = (vec![0; 65_536], vec![0; 65_536]);
        let mut losing = false;
        while !self.shut.load(Ordering::SeqCst) {
            tokio::select! {
                biased;
                _ = freezing.changed() => break,
                read = near.read(&mut request) => {
                    let Ok(count @ 1..) = read else { return };
                    let is_script = request[..count].windows(4).any(|word| word == b"EVAL");
                    losing |= is_script && self.lose_answer.swap(false, Ordering::SeqCst);
                    if far.write_all(&request[..count]).await.is_err() { return }
                }
                read = far.read(&mut answer) => {
                    let Ok(count @ 1..) = read else { return };
                    if losing || near.write_all(&answer[..count]).await.is_err() { return }
                }
            }
        }
        // Open on both sides for as long as the test lives, and silent.
        std::future::pending::<()>().await;
        drop((near, far));
    }
}

//! Roads between servers: what a test has for a passage, without proofs.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use engine::{Answer, NoWay, Passage, Passed, Passing, Place, Server, Tag, Way};
use http::{Response, StatusCode};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};

/// The roads of one server.
pub(crate) struct Road {
    pub(crate) tag: Tag,
    listener: TcpListener,
    /// Where it serves what is passed on.
    pub(crate) address: SocketAddr,
    others: Mutex<HashMap<Tag, SocketAddr>>,
    pub(crate) passed: Mutex<Vec<Passed>>,
    /// How often it was asked for a tag.
    pub(crate) asked: AtomicUsize,
    /// Connections that were made.
    pub(crate) dialled: AtomicUsize,
    /// Whether there is room for more.
    pub(crate) is_full: Mutex<bool>,
    idle: Arc<Mutex<Vec<(SocketAddr, TcpStream)>>>,
}

impl Road {
    pub(crate) async fn new() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Arc::new(Self {
            tag: Tag::random(),
            address: listener.local_addr().unwrap(),
            listener,
            others: Mutex::default(),
            passed: Mutex::default(),
            asked: AtomicUsize::new(0),
            dialled: AtomicUsize::new(0),
            is_full: Mutex::new(false),
            idle: Arc::default(),
        })
    }

    /// Serves what comes over it, for ever.
    pub(crate) async fn serve(self: Arc<Self>, server: Server) {
        loop {
            let (stream, _) = self.listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let server = server.clone();
            tokio::spawn(async move { server.serve_passed(stream, Vec::new(), ()).await });
        }
    }

    /// Believes that a server is somewhere.
    pub(crate) fn leads(&self, tag: Tag, address: SocketAddr) {
        self.others.lock().insert(tag, address);
    }
}

struct Lane {
    to: SocketAddr,
    idle: Arc<Mutex<Vec<(SocketAddr, TcpStream)>>>,
}

impl Place for Lane {
    fn give_back(self: Box<Self>, stream: TcpStream) {
        self.idle.lock().push((self.to, stream));
    }
}

impl Passage for Road {
    fn tag(&self) -> Tag {
        self.tag
    }

    fn knows(&self, tag: Tag) -> Passing<'_, bool> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let knows = self.others.lock().contains_key(&tag);
        Box::pin(async move { knows })
    }

    fn way(&self, tag: Tag) -> Passing<'_, Result<Way, NoWay>> {
        Box::pin(async move {
            if *self.is_full.lock() {
                return Err(NoWay::Full);
            }
            let to = self.others.lock()[&tag];
            let at = self.idle.lock().iter().position(|(address, _)| *address == to);
            let unused = at.map(|at| self.idle.lock().swap_remove(at).1);
            let stream = match unused {
                Some(stream) => stream,
                None => {
                    self.dialled.fetch_add(1, Ordering::SeqCst);
                    TcpStream::connect(to).await.map_err(|_| NoWay::Gone)?
                }
            };
            Ok(Way { stream, place: Box::new(Lane { to, idle: self.idle.clone() }) })
        })
    }

    fn full(&self) -> Answer {
        let mut answer = Response::new(Bytes::from("full"));
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        answer
    }

    fn passed(&self, passed: Passed, _: Option<Duration>) {
        self.passed.lock().push(passed);
    }
}

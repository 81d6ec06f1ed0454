//! The processes of a run, and what is done to them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::books::{Fault, now_ms};
use super::worker::{BOOK, URL};
use crate::sentinels::Watched;
use crate::support::redis::Redis;
use crate::torn::Torn;

/// One server, or two with Sentinels.
pub(super) enum Server {
    One(Redis),
    Watched(Watched),
}

impl Server {
    pub(super) async fn start(with_sentinels: bool) -> Self {
        if with_sentinels {
            return Self::Watched(Watched::start().await);
        }
        // What it acknowledged is in its file before it says so.
        Self::One(Redis::start().await)
    }

    pub(super) fn url(&self) -> String {
        match self {
            Self::One(redis) => redis.url(),
            Self::Watched(watched) => watched.url(),
        }
    }
}

pub(super) struct Fleet {
    folder: PathBuf,
    server: Server,
    workers: Vec<Process>,
    books: Vec<(u32, PathBuf)>,
    faults: Vec<Fault>,
}

struct Process {
    child: Child,
    pid: u32,
}

impl Fleet {
    pub(super) async fn start(folder: &Path, server: Server, count: usize) -> Self {
        let mut fleet =
            Self { folder: folder.to_owned(), server, workers: Vec::new(), books: Vec::new(), faults: Vec::new() };
        for _ in 0..count {
            let process = fleet.begin();
            fleet.workers.push(process);
        }
        fleet
    }

    fn begin(&mut self) -> Process {
        let book = self.folder.join(format!("{}.book", self.books.len()));
        let log = std::fs::File::create(book.with_extension("log")).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "jobs::worker::a_process_that_does_jobs", "--ignored", "--nocapture"])
            .env(URL, self.server.url())
            .env(BOOK, &book)
            .stdout(Stdio::from(log.try_clone().unwrap()))
            .stderr(Stdio::from(log))
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let pid = child.id().unwrap();
        self.books.push((pid, book));
        Process { child, pid }
    }

    fn signal(&self, worker: usize, name: &str) {
        let pid = self.workers[worker].pid.to_string();
        assert!(std::process::Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Kills a worker, and begins another one.
    pub(super) async fn kill(&mut self, worker: usize) {
        let pid = self.workers[worker].pid;
        self.workers[worker].child.kill().await.unwrap();
        self.faults.push(Fault::Killed { pid, at: now_ms() });
        let next = self.begin();
        self.workers[worker] = next;
    }

    /// Has a worker stand still until others have taken what it has.
    pub(super) async fn stop_for_longer_than(&mut self, lease: Duration, worker: usize, random: &mut StdRng) {
        let (pid, from) = (self.workers[worker].pid, now_ms());
        self.signal(worker, "-STOP");
        sleep(lease + Duration::from_millis(random.random_range(1_000..4_000))).await;
        self.signal(worker, "-CONT");
        self.faults.push(Fault::Stopped { pid, from, to: now_ms() });
    }

    /// Has a worker end by itself, which excuses nothing, and begins another one.
    pub(super) async fn send_away(&mut self, worker: usize) {
        self.signal(worker, "-TERM");
        let ended = timeout(Duration::from_secs(60), self.workers[worker].child.wait()).await;
        let ended = ended.expect("it does not end").unwrap();
        assert!(ended.success(), "{ended}: see {:?}", self.folder);
        let next = self.begin();
        self.workers[worker] = next;
    }

    /// Restarts the server, or has the other one take over.
    pub(super) async fn harm_the_server(&mut self, random: &mut StdRng) {
        let (from, politely) = (now_ms(), random.random_bool(0.5));
        match &mut self.server {
            Server::One(redis) => {
                if politely {
                    redis.stop().await
                } else {
                    redis.kill()
                }
                sleep(Duration::from_millis(random.random_range(0..4_000))).await;
                redis.start_again().await;
            }
            Server::Watched(watched) => watched.fail_over(politely, &Torn::default()).await.unwrap(),
        }
        self.faults.push(Fault::Server { from, to: now_ms() });
    }

    /// Sends all away. Returns what was done to them, and where they wrote.
    pub(super) async fn end(mut self) -> (Vec<Fault>, Vec<(u32, PathBuf)>) {
        for worker in 0..self.workers.len() {
            self.signal(worker, "-TERM");
            let ended = timeout(Duration::from_secs(60), self.workers[worker].child.wait()).await;
            assert!(ended.expect("it does not end").unwrap().success(), "see {:?}", self.folder);
        }
        (self.faults, self.books)
    }
}

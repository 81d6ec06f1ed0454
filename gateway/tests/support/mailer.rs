//! Mail servers: a real one that shows what it got, and one that refuses as a test wants it.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::{eventually, http};

fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools")
}

/// Mailpit: it takes any mail, and shows it over REST.
pub struct Mailpit {
    server: Child,
    pub smtp_port: u16,
    pub address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Mailpit {
    pub async fn start() -> Self {
        // Another process may take a port between choosing and using it: then the server ends, and others are tried.
        for _ in 0..10 {
            let [smtp, shown] = [free_port(), free_port()];
            let folder = tempfile::tempdir().unwrap();
            let server = Command::new(tools().join("bin/mailpit"))
                .args(["--quiet", "--disable-version-check", "--database"])
                .arg(folder.path().join("mails.db"))
                .args(["--smtp", &format!("127.0.0.1:{smtp}"), "--listen", &format!("127.0.0.1:{shown}")])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            let server = server.expect("there is no .tools/bin/mailpit; `make tools` installs it");
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, shown));
            let mut mailpit = Self { server, smtp_port: smtp, address, _folder: folder };
            if mailpit.is_up().await {
                return mailpit;
            }
        }
        panic!("mailpit does not start");
    }

    async fn is_up(&mut self) -> bool {
        let deadline = tokio::time::Instant::now() + super::PATIENCE;
        while tokio::time::Instant::now() < deadline {
            if self.server.try_wait().unwrap().is_some() {
                return false;
            }
            let up = tokio::net::TcpStream::connect(self.address).await.is_ok()
                && tokio::net::TcpStream::connect(("127.0.0.1", self.smtp_port)).await.is_ok();
            if up {
                return true;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        false
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = http("GET", self.address, path, "").await;
        assert_eq!(status, 200, "{path}: {body}");
        // Large answers come in chunks.
        let body = if body.starts_with('{') { body } else { unchunked(&body) };
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
    }

    /// What it got, newest first: summaries.
    pub async fn all(&self) -> Vec<Value> {
        self.get("/api/v1/messages?limit=1000").await["messages"].as_array().unwrap().clone()
    }

    /// What it got for an address, newest first: whole mails with their headers as `Headers`.
    pub async fn of(&self, address: &str) -> Vec<Value> {
        let mut found = Vec::new();
        for one in self.all().await {
            if one["To"].as_array().unwrap().iter().any(|to| to["Address"] == address) {
                let id = one["ID"].as_str().unwrap();
                let mut whole = self.get(&format!("/api/v1/message/{id}")).await;
                whole["Headers"] = self.get(&format!("/api/v1/message/{id}/headers")).await;
                found.push(whole);
            }
        }
        found
    }

    /// Waits until it got so many for an address.
    pub async fn has(&self, address: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{count} mails for {address}"), || async { self.of(address).await.len() >= count }).await;
        self.of(address).await
    }
}

impl Drop for Mailpit {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

/// A server that does as a script says (`smtp.py`).
pub struct Scripted {
    server: Child,
    pub port: u16,
    taken: Arc<Mutex<Vec<Value>>>,
}

impl Scripted {
    pub fn start(mode: &str, files: &[&Path]) -> Self {
        let mut server = Command::new(tools().join("venv/bin/python"))
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/smtp.py"))
            .arg(mode)
            .args(files)
            .stdout(Stdio::piped())
            .spawn()
            .expect("there is no .tools/venv; `make tools` makes it");
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port = lines.next().expect("it says its port").parse().unwrap();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let noted = taken.clone();
        std::thread::spawn(move || {
            lines.for_each(|line| noted.lock().unwrap().push(serde_json::from_str(&line).unwrap()));
        });
        Self { server, port, taken }
    }

    /// Waits until it has told that it took so many, and that they are no more.
    pub async fn has_taken(&self, count: usize) {
        eventually(&format!("{count} mails are taken"), || async { self.taken().len() >= count }).await;
        assert_eq!(self.taken().len(), count);
    }

    /// What it took.
    pub fn taken(&self) -> Vec<Value> {
        self.taken.lock().unwrap().clone()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn unchunked(body: &str) -> String {
    let mut rest = body;
    let mut whole = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        whole.push_str(&after[..size]);
        rest = after[size..].trim_start_matches("\r\n");
    }
    whole
}

//! A private Redis server, ended with its handle.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub struct Redis {
    port: u16,
    folder: tempfile::TempDir,
    arguments: Vec<String>,
    server: Option<Child>,
}

impl Redis {
    /// A server that keeps what it acknowledged in an append-only file, so that it survives a restart.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with more arguments, which win.
    pub async fn start_with(arguments: &[&str]) -> Self {
        // Another process may take a port between choosing and using it: then the server ends, and another is tried.
        for _ in 0..10 {
            let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
            let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
            let mut redis = Self { port, folder, arguments, server: None };
            if redis.run().await {
                return redis;
            }
        }
        panic!("redis-server does not start; `make tools` installs it");
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends the server; its file stays.
    pub async fn stop(&mut self) {
        self.command("SHUTDOWN NOSAVE").await;
        self.reap();
    }

    /// Ends the server without any warning; returns when it is gone.
    pub fn kill(&mut self) {
        if let Some(server) = &mut self.server {
            server.kill().unwrap();
        }
        self.reap();
    }

    /// Starts it again on the same port with the same file.
    pub async fn start_again(&mut self) {
        assert!(self.run().await, "redis-server does not start again");
    }

    /// What is on the disk now, for [`Self::go_back`].
    pub fn on_disk(&self) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        copy_files(&self.data(), copy.path());
        copy
    }

    /// Loses what was written since then, as a power cut or a failover does; to be called while it is stopped.
    pub fn go_back(&mut self, then: &tempfile::TempDir) {
        self.lose_everything();
        copy_files(then.path(), &self.data());
    }

    /// Forgets everything, as a server without persistence does when it restarts.
    pub fn lose_everything(&mut self) {
        for entry in std::fs::read_dir(self.data()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { std::fs::remove_dir_all(path).unwrap() } else { std::fs::remove_file(path).unwrap() }
        }
    }

    /// Sends one command and returns what came back, as text.
    pub async fn command(&self, command: &str) -> String {
        let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await else { return String::new() };
        stream.write_all(format!("{command}\r\n").as_bytes()).await.unwrap();
        let mut answer = vec![0; 64 * 1024];
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut answer)).await;
        String::from_utf8_lossy(&answer[..read.ok().and_then(Result::ok).unwrap_or(0)]).into_owned()
    }

    /// Sends one command of any bytes, and returns what came back, as text.
    pub async fn send(&self, parts: &[&[u8]]) -> String {
        let mut command = format!("*{}\r\n", parts.len()).into_bytes();
        for part in parts {
            command.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
            command.extend_from_slice(part);
            command.extend_from_slice(b"\r\n");
        }
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.unwrap();
        stream.write_all(&command).await.unwrap();
        let mut answer = vec![0; 64 * 1024];
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut answer)).await.unwrap().unwrap();
        String::from_utf8_lossy(&answer[..read]).into_owned()
    }

    fn data(&self) -> PathBuf {
        let data = self.folder.path().join("data");
        std::fs::create_dir_all(&data).unwrap();
        data
    }

    async fn run(&mut self) -> bool {
        let mut server = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"])
            .args(["--appendfsync", "no", "--dir"])
            .arg(self.data())
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is not installed; `make tools` installs it");
        loop {
            if server.try_wait().unwrap().is_some() {
                return false;
            }
            let answer = self.command("PING").await;
            if answer.starts_with("+PONG") || answer.starts_with("-NOAUTH") {
                self.server = Some(server);
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn reap(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.wait().unwrap();
        }
    }
}

/// A port that nobody has at this moment.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy_files(&path, &target) } else { _ = std::fs::copy(&path, target).unwrap() }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().ok();
            server.wait().ok();
        }
    }
}

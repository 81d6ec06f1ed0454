//! The Redis of a run, reached through a Unix socket: a port could be taken by somebody else while it is down.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

/// What begins things that are done together, in the file.
const BEGIN: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";

pub(crate) struct Redis {
    folder: PathBuf,
    server: Option<Child>,
}

impl Redis {
    pub(crate) async fn start(folder: &Path) -> Self {
        let mut redis = Self { folder: folder.to_owned(), server: None };
        redis.start_again().await;
        redis
    }

    pub(crate) fn socket(folder: &Path) -> PathBuf {
        folder.join("redis.sock")
    }

    /// Starts it with what it has in its file. What it answered is there even after SIGKILL: it writes to the file
    /// before it answers, and syncs it too, which only a machine's end would need.
    pub(crate) async fn start_again(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("redis.log")).unwrap();
        let mut server = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "yes", "--appendfsync", "always", "--unixsocket"])
            .arg(Self::socket(&self.folder))
            .arg("--dir")
            .arg(&self.folder)
            .stdout(Stdio::from(log))
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("redis-server is not installed; `make tools` installs it");
        while !self.command("PING").await.starts_with("+PONG") {
            assert!(server.try_wait().unwrap().is_none(), "redis-server does not start, see {:?}", self.folder);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.server = Some(server);
    }

    pub(crate) async fn stop(&mut self, politely: bool) {
        let Some(mut server) = self.server.take() else { return };
        if politely {
            self.command("SHUTDOWN NOSAVE").await;
        } else {
            server.start_kill().unwrap();
        }
        server.wait().await.unwrap();
    }

    /// Takes the last bytes of its file away, while it is down: as many, and the rest of what was done together. Redis 7.0
    /// keeps half of that where a file ends in its middle, and does the other half when it loads the file once more.
    pub(crate) fn lose(&self, bytes: usize) {
        let files = std::fs::read_dir(self.folder.join("appendonlydir")).unwrap();
        let written =
            files.map(|file| file.unwrap().path()).filter(|path| path.to_string_lossy().ends_with(".incr.aof"));
        let last = written.max().unwrap();
        let all = std::fs::read(&last).unwrap();
        let kept = &all[..all.len().saturating_sub(bytes)];
        let start = kept.windows(BEGIN.len()).rposition(|part| part == BEGIN).unwrap_or(0);
        std::fs::File::options().write(true).open(last).unwrap().set_len(start as u64).unwrap();
    }

    /// Ends every connection of every node.
    pub(crate) async fn kill_connections(&self) {
        for kind in ["pubsub", "normal"] {
            self.command(&format!("CLIENT KILL TYPE {kind} SKIPME yes")).await;
        }
    }

    /// Sends one command and returns the beginning of what came back.
    pub(crate) async fn command(&self, command: &str) -> String {
        let Ok(mut stream) = UnixStream::connect(Self::socket(&self.folder)).await else { return String::new() };
        let mut answer = vec![0; 4096];
        let talk = async {
            stream.write_all(format!("{command}\r\n").as_bytes()).await?;
            stream.read(&mut answer).await
        };
        let read = tokio::time::timeout(Duration::from_secs(5), talk).await.ok().and_then(Result::ok).unwrap_or(0);
        String::from_utf8_lossy(&answer[..read]).into_owned()
    }
}

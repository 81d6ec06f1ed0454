//! A private FerretDB, which speaks MongoDB's protocol, ended with its handle.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::TcpStream;

use super::redis::free_port;

pub struct FerretDb {
    port: u16,
    folder: tempfile::TempDir,
    server: Option<Child>,
}

impl FerretDb {
    pub async fn start() -> Self {
        for _ in 0..10 {
            let mut ferret = Self { port: free_port(), folder: tempfile::tempdir().unwrap(), server: None };
            if ferret.run().await {
                return ferret;
            }
        }
        panic!("FerretDB does not start");
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url_of(&self, database: &str) -> String {
        format!("mongodb://127.0.0.1:{}/{database}", self.port)
    }

    /// Ends the server without any warning; returns when it is gone.
    pub fn kill(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        server.kill().unwrap();
        server.wait().unwrap();
    }

    /// Starts it again on the same port with the same files.
    pub async fn start_again(&mut self) {
        assert!(self.run().await, "FerretDB does not start again");
    }

    async fn run(&mut self) -> bool {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/bin/ferretdb");
        let mut server = Command::new(&program)
            .arg(format!("127.0.0.1:{}", self.port))
            .arg(self.folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; `make tools` builds it", program.display()));
        while server.try_wait().unwrap().is_none() {
            if TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                self.server = Some(server);
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }
}

impl Drop for FerretDb {
    fn drop(&mut self) {
        self.kill();
    }
}

//! A node in a process of its own, and everything that it logs.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

pub struct Process {
    child: Child,
    pub address: SocketAddr,
    pub admin_address: SocketAddr,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts one that may open `files` files, with a configuration file if there is one.
    pub fn start(changes: &[(&str, &str)], config: Option<&Path>, files: Option<u32>) -> Self {
        Self::start_as(&[], changes, config, files)
    }

    /// The same with a word for what it is to be, as `work`.
    pub fn start_as(role: &[&str], changes: &[(&str, &str)], config: Option<&Path>, files: Option<u32>) -> Self {
        let mut command = Command::new("sh");
        // What this process may open is inherited, and raised by the node as far as it is allowed.
        let limit = files.map(|files| format!("ulimit -n {files}; ")).unwrap_or_default();
        command.arg("-c").arg(format!("{limit}exec \"$0\" \"$@\"")).arg(env!("CARGO_BIN_EXE_gateway"));
        if let Some(config) = config {
            command.arg("--config").arg(config);
        }
        command.args(role);
        let base =
            [("GATEWAY_LISTEN", "127.0.0.1:0"), ("GATEWAY_ADMIN_LISTEN", "127.0.0.1:0"), ("GATEWAY_DATA_DIR", "")];
        command.envs(base).env("GATEWAY_TELEMETRY__FORMAT", "json").envs(changes.iter().copied());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut begun = Vec::new();
        let ready = loop {
            let text = said.next().unwrap_or_else(|| panic!("it did not start: {begun:?}"));
            begun.push(text.clone());
            let Ok(line) = serde_json::from_str::<Value>(&text) else { continue };
            if line["fields"]["message"] == "ready" {
                break line;
            }
        };
        let lines = Arc::new(Mutex::new(begun));
        let log = lines.clone();
        // Somebody must read on, or the node would wait for it.
        std::thread::spawn(move || said.for_each(|line| log.lock().unwrap().push(line)));
        let address = |name: &str| ready["fields"][name].as_str().unwrap().parse().unwrap();
        Self { child, address: address("address"), admin_address: address("admin"), lines }
    }

    /// Everything that it has logged so far.
    pub fn log(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// The lines of the audit so far: who, what, whom, what came of it.
    pub fn audit(&self) -> Vec<Value> {
        let lines = self.lines.lock().unwrap();
        let lines = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["target"] == "gateway::audit").map(|mut line| line["fields"].take()).collect()
    }

    /// Waits until it has ended by itself; returns its exit code.
    pub async fn ends(&mut self) -> Option<i32> {
        let deadline = tokio::time::Instant::now() + super::PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(tokio::time::Instant::now() < deadline, "it does not end: {}", self.log());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").arg(name).arg(self.child.id().to_string()).status().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

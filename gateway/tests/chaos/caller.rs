//! A back end's way to the nodes: HTTP with a key, on one connection as long as that goes well.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::Value;
use tokio::time::timeout;

use super::http::Http;
use super::plan::NODES;
use super::run::Run;

/// How long a back end waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Of how many answers one is not waited for, and how long at the most it is waited for nevertheless.
const IMPATIENT_ONCE_IN: u32 = 20;
const IMPATIENCE: Duration = Duration::from_millis(3);
/// After how many requests it asks another node, in the middle.
const STAYS_FOR: u32 = 20;

pub(super) struct Caller {
    run: Arc<Run>,
    key: String,
    connection: Option<Http>,
}

impl Caller {
    pub(super) fn new(run: Arc<Run>, key: &str) -> Self {
        Self { run, key: key.to_owned(), connection: None }
    }

    /// Status and body of the answer of some node. Without one, whether it was done is not known.
    pub(super) async fn ask(
        &mut self,
        random: &mut StdRng,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<(u16, Value), String> {
        // What goes wrong ends the connection: it is put back by who has an answer.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let node = random.random_range(0..NODES);
                let address = self.run.cluster.address(node).ok_or("no node there")?;
                timeout(PATIENCE, Http::connect(address)).await.map_err(|_| "no connection in time")??
            }
        };
        let headers = format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", self.key);
        connection.ask_with(method, path, &headers, body);
        let (patience, why) = match random.random_ratio(1, IMPATIENT_ONCE_IN) {
            true => (IMPATIENCE.mul_f64(random.random()), "did not wait for the answer"),
            false => (PATIENCE, "no answer in time"),
        };
        let (status, text) = timeout(patience, connection.answer()).await.map_err(|_| why)??;
        let answer = serde_json::from_str(&text).map_err(|_| format!("{status} with a body that is no JSON"))?;
        if !random.random_ratio(1, STAYS_FOR) {
            self.connection = Some(connection);
        }
        Ok((status, answer))
    }
}

/// Makes a key as an operator does, and adds what is kept of it to a file.
pub(super) fn make_key(file: &Path) -> String {
    let program = std::process::Command::new(env!("CARGO_BIN_EXE_gateway"))
        .args(["key", "--name", "auditor", "--scope", "publish,read"])
        .output()
        .unwrap();
    assert!(program.status.success(), "{}", String::from_utf8_lossy(&program.stderr));
    let text = String::from_utf8(program.stdout).unwrap();
    let mut file = std::fs::File::options().append(true).open(file).unwrap();
    write!(file, "\n[api]\nrequests_per_second = 0\n\n{text}").unwrap();
    let key = text.lines().find_map(|line| line.strip_prefix("# ").filter(|key| key.starts_with("gw_")));
    key.expect("it prints the key").to_owned()
}

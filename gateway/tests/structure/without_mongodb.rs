//! A gateway that was built without MongoDB's driver: it serves, and says what it lacks where that is asked of it.

use std::process::Command;

use crate::support::http;
use crate::support::process::Process;

#[tokio::test]
async fn it_serves_and_says_what_it_lacks() {
    let node = Process::start(&[], None, None);
    assert_eq!(http("GET", node.admin_address, "/readyz", "").await.0, 200);
    for (url, expected) in [("mongodb://me:hunter2@a.example/d", Some(64)), ("postgres://db.example/d", Some(0))] {
        for command in ["check", "serve", "migrate"] {
            if expected == Some(0) && command != "check" {
                continue;
            }
            let output = Command::new(env!("CARGO_BIN_EXE_gateway"))
                .arg(command)
                .envs([("GATEWAY_DATABASE__URL", url), ("GATEWAY_DATA_DIR", "")])
                .output()
                .unwrap();
            let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            assert_eq!(output.status.code(), expected, "{command} {url}: {said}");
            let is_told = said.contains("database.url: ") && said.contains("built without MongoDB's driver");
            assert_eq!(is_told, expected == Some(64), "{command} {url}: {said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}

//! What a back end is told of who comes and goes, compared with who is there.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use super::books::Wrong;
use super::client::{room_name, user_name};
use super::harm;
use super::ledger::LEASE;
use super::run::Run;

/// The routes by which it is told, with `{URL}`.
const ROUTES: &str = r#"
[[route]]
event = "$connect"
action = "call"
url = "{URL}"

[[route]]
event = "$join"
action = "call"
url = "{URL}"

[[route]]
event = "$leave"
action = "call"
url = "{URL}"

[[route]]
event = "$disconnect"
action = "call"
url = "{URL}"
"#;

/// Of how many calls one may be missing in trouble. Losses of Redis undo what presence was told, and it is told again.
const MISSING_ONE_IN: u64 = 6;

/// What is told of one member of one room, or of one session in its namespace, by the sequence number: whether it came.
type Line = BTreeMap<u64, bool>;

/// A back end that hears everything and keeps nobody waiting.
#[derive(Default)]
pub(crate) struct BackEnd {
    /// By room and user.
    members: Mutex<HashMap<(String, String), Line>>,
    /// By id.
    sessions: Mutex<HashMap<String, Line>>,
    /// Comings that nobody could count then.
    unnumbered: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

impl BackEnd {
    /// Starts one, and writes the file by which nodes tell it.
    pub(crate) async fn start(folder: &Path) -> (Arc<Self>, PathBuf) {
        let back_end = Arc::new(Self::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/told", listener.local_addr().unwrap());
        let file = folder.join("gateway.toml");
        std::fs::write(&file, ROUTES.replace("{URL}", &url)).unwrap();
        let router = Router::new().fallback(Self::tell).with_state(back_end.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (back_end, file)
    }

    async fn tell(State(back_end): State<Arc<Self>>, headers: HeaderMap, body: Bytes) -> StatusCode {
        if back_end.note(&headers, &body).is_none() {
            let call = String::from_utf8_lossy(&body).into_owned();
            back_end.wrong.lock().push(format!("it was told {call} with {headers:?}"));
        }
        StatusCode::NO_CONTENT
    }

    /// Nothing if it is not what a back end may expect.
    fn note(&self, headers: &HeaderMap, body: &[u8]) -> Option<()> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let Some(sequence) = headers.get("gateway-sequence") else {
            // It cannot be counted now, or is still counted as the one that it follows.
            self.unnumbered.fetch_add(1, Ordering::AcqRel);
            return (body["event"] == "$connect").then_some(());
        };
        let sequence = sequence.to_str().ok()?.parse().ok()?;
        let text = |key: &str| Some(body[key].as_str()?.to_owned());
        let (is_room, came) = match body["event"].as_str()? {
            "$join" => (true, true),
            "$leave" => (true, false),
            "$connect" => (false, true),
            "$disconnect" => (false, false),
            _ => return None,
        };
        let told = if is_room {
            self.members.lock().entry((text("room")?, text("user")?)).or_default().insert(sequence, came)
        } else {
            self.sessions.lock().entry(text("session")?).or_default().insert(sequence, came)
        };
        // The same once more is an attempt whose answer was lost.
        told.is_none_or(|before| before == came).then_some(())
    }

    /// Where two of what is told of one came without the other thing between them.
    fn holes(line: &Line) -> Vec<(u64, u64)> {
        let told: Vec<_> = line.iter().collect();
        let pairs = told.windows(2).filter(|pair| pair[0].1 == pair[1].1);
        pairs.map(|pair| (*pair[0].0, *pair[1].0)).collect()
    }

    /// Compares what was told of members with itself, and with who is in the rooms now, which all clients are that should be.
    pub(crate) async fn compare(&self, run: &Run) {
        let rooms = |client| run.rooms_of(client).into_iter().map(move |room| (room_name(room), user_name(client)));
        let expected: Vec<_> = (0..run.settings.clients).flat_map(rooms).collect();
        let last = |whom: &(String, String)| {
            self.members.lock().get(whom).and_then(|line| line.last_key_value().map(|(at, came)| (*at, *came)))
        };
        let is_told = |whom: &&(String, String)| last(whom).is_some_and(|(_, came)| came);
        let deadline = Instant::now() + LEASE;
        while !expected.iter().all(|whom| is_told(&whom)) && Instant::now() < deadline {
            sleep(Duration::from_millis(100)).await;
        }
        let mut missing = Missing::default();
        for whom in expected.iter().filter(|whom| !is_told(whom)) {
            let (at, _) = last(whom).unwrap_or_default();
            missing.add(run, at, harm::now(), || format!("{whom:?} is there, and was not told of after {at}"));
        }
        let mut told = 0;
        let mut count = |line: &Line, names: [&str; 2]| {
            told += line.len() as u64;
            let mut audit = run.audit.lock();
            line.values().for_each(|came| audit.tally("calls", names[usize::from(!came)]));
        };
        for (whom, line) in &*self.members.lock() {
            count(line, ["$join", "$leave"]);
            if !expected.contains(whom) {
                missing.wrong.push(format!("{whom:?} was told of and never there"));
            }
            for (one, next) in Self::holes(line) {
                missing.add(run, one, next, || format!("of {whom:?}, between {one} and {next}: {}", line[&one]));
            }
        }
        // Who comes back is the same session, and who cannot is a new one with its id: they come and go in any order.
        self.sessions.lock().values().for_each(|line| count(line, ["$connect", "$disconnect"]));
        if missing.in_trouble * MISSING_ONE_IN > told {
            missing.wrong.push(format!("of {told} calls {} are missing in trouble", missing.in_trouble));
        }
        let mut audit = run.audit.lock();
        (0..missing.in_trouble).for_each(|_| audit.tally("calls", "missing in trouble"));
        (0..self.unnumbered.load(Ordering::Acquire)).for_each(|_| audit.tally("calls", "$connect not counted"));
        let odd = std::mem::take(&mut *self.wrong.lock());
        for wrong in odd.into_iter().chain(missing.wrong) {
            audit.find(Wrong::Contradiction, 0, None, wrong);
        }
    }
}

/// What was not told.
#[derive(Default)]
struct Missing {
    /// Who was to tell it, or knew that it was to be told, was just being killed or cut off.
    in_trouble: u64,
    wrong: Vec<String>,
}

impl Missing {
    /// Something is missing between two times.
    fn add(&mut self, run: &Run, after: u64, before: u64, what: impl Fn() -> String) {
        if run.cluster.harms().any_between(after, before) {
            self.in_trouble += 1;
        } else {
            self.wrong.push(format!("a call is missing: {}", what()));
        }
    }
}

#[test]
fn a_call_that_is_missing_between_two_is_found() {
    let back_end = BackEnd::default();
    let tell = |sequence: &str, event: &str| {
        let headers = HeaderMap::from_iter([("gateway-sequence".parse().unwrap(), sequence.parse().unwrap())]);
        let body = serde_json::json!({ "event": event, "room": "r", "user": "u" }).to_string();
        back_end.note(&headers, body.as_bytes()).is_some()
    };
    // In whatever order they come, and whether or not one is tried again.
    assert!(tell("30", "$join") && tell("10", "$join") && tell("20", "$leave") && tell("20", "$leave"));
    let line = || back_end.members.lock()[&("r".to_owned(), "u".to_owned())].clone();
    assert_eq!(BackEnd::holes(&line()), []);
    assert!(!tell("20", "$join"), "one number stands for one thing");
    assert!(tell("50", "$join") && tell("60", "$leave") && tell("70", "$leave"));
    assert!(BackEnd::holes(&line()).contains(&(30, 50)) && BackEnd::holes(&line()).contains(&(60, 70)));
    assert!(!tell("80", "$tell") && !tell("x", "$join"));
}

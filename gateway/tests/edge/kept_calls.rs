//! Answers of back ends that are kept: asked for once, for one user or for all, on one node or on several, and never an error.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use futures_util::future::join_all;
use gateway::app::Gateway;
use gateway_core::answers::{Answers, RedisAnswers};
use gateway_core::calls::{Asker, Caller, Endpoint, Keeping, Source};
use gateway_core::domain::{Refusal, SessionId};
use gateway_core::metrics::Metrics;
use gateway_core::redis::Commands;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::support::client::Client;
use crate::support::redis::Redis;
use crate::support::tokens::{Signer, claims_with};
use crate::support::{self, eventually, metric, node};

const LONG: Duration = Duration::from_secs(3_600);

/// A back end that answers with how often it was asked, as soon as it may.
struct BackEnd {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    bodies: Mutex<Vec<Value>>,
    gate: Semaphore,
    /// How many of the first requests it refuses.
    refuses: AtomicUsize,
}

impl BackEnd {
    async fn start(open: usize, refuses: usize) -> Self {
        let (gate, refuses) = (Semaphore::new(open), AtomicUsize::new(refuses));
        let shared = Arc::new(Shared { bodies: Mutex::default(), gate, refuses });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(Self::answer).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, shared }
    }

    async fn answer(State(shared): State<Arc<Shared>>, body: Bytes) -> (StatusCode, String) {
        let number = {
            let mut bodies = shared.bodies.lock();
            bodies.push(serde_json::from_slice(&body).unwrap());
            bodies.len()
        };
        shared.gate.acquire().await.unwrap().forget();
        let refuses = |left: usize| left.checked_sub(1);
        if shared.refuses.fetch_update(Ordering::AcqRel, Ordering::Acquire, refuses).is_ok() {
            return (StatusCode::SERVICE_UNAVAILABLE, String::new());
        }
        (StatusCode::OK, number.to_string())
    }

    fn asked(&self) -> usize {
        self.shared.bodies.lock().len()
    }

    fn open(&self) {
        self.shared.gate.add_permits(1_000);
    }

    fn endpoint(&self) -> Endpoint {
        let mut endpoint = Endpoint::new(format!("http://{}/price", self.address).parse().unwrap());
        (endpoint.attempts, endpoint.timeout) = (1, support::PATIENCE);
        endpoint
    }
}

/// A node with routes to a back end, which knows users by their tokens.
async fn node_with(back_end: &BackEnd, routes: &str) -> Gateway {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("routes.toml");
    std::fs::write(&file, routes.replace("{URL}", &format!("http://{}/price", back_end.address))).unwrap();
    node(&[
        ("GATEWAY_PROFILE", file.to_str().unwrap()),
        ("GATEWAY_AUTH__SECRET", "secret"),
        ("GATEWAY_AUTH__ANONYMOUS", "true"),
    ])
    .await
}

async fn client(node: &Gateway, user: &str) -> Client {
    let token = Signer::secret("secret").sign(&claims_with("sub", json!(user)));
    Client::try_connect(node.address, json!({ "token": token })).await.unwrap()
}

const ROUTES: &str = r#"
[[route]]
event = "mine"
action = "call"
url = "{URL}"
cache = "1h"

[[route]]
event = "everybody's"
action = "call"
url = "{URL}"
cache = "1h"
shared = true
"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_for_the_user_who_asked_or_for_everybody() {
    let back_end = BackEnd::start(1_000, 0).await;
    let node = node_with(&back_end, ROUTES).await;
    let (mut ann, mut ann_too, mut bob) =
        (client(&node, "ann").await, client(&node, "ann").await, client(&node, "bob").await);
    for ann in [&mut ann, &mut ann_too] {
        assert_eq!(ann.ask("mine", json!({ "sku": 7 })).await, json!({ "ok": true, "data": 1 }));
    }
    assert_eq!(ann.ask("mine", json!({ "sku": 8 })).await["data"], 2, "another question");
    assert_eq!(bob.ask("mine", json!({ "sku": 7 })).await["data"], 3, "another user");
    for client in [&mut ann, &mut ann_too, &mut bob] {
        assert_eq!(client.ask("everybody's", json!({ "sku": 7 })).await["data"], 4);
    }
    // Who proves nothing has what its own session asked for.
    let (mut one, mut other) = (Client::connect(node.address).await, Client::connect(node.address).await);
    assert_eq!(
        (one.ask("mine", json!(1)).await["data"].clone(), one.ask("mine", json!(1)).await["data"].clone()),
        (json!(5), json!(5))
    );
    assert_eq!(other.ask("mine", json!(1)).await["data"], 6);
    assert_eq!(other.ask("everybody's", json!({ "sku": 7 })).await["data"], 4);
    let bodies = back_end.shared.bodies.lock();
    assert_eq!(bodies[0], json!({ "event": "mine", "namespace": "/", "args": [{ "sku": 7 }], "user": "ann" }));
    assert_eq!(bodies[3], json!({ "event": "everybody's", "namespace": "/", "args": [{ "sku": 7 }] }));
    let counted =
        |result: &str| metric(&node, &format!("gateway_cache_requests_total{{cache=\"calls\",result=\"{result}\"}}"));
    assert_eq!((counted("miss"), counted("hit")), (6.0, 5.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_not_kept() {
    let back_end = BackEnd::start(1_000, 1).await;
    let routes = ROUTES.replace("cache =", "attempts = 1\ncache =");
    let node = node_with(&back_end, &routes).await;
    let mut ann = client(&node, "ann").await;
    assert_eq!(ann.ask("mine", json!(1)).await["error"]["code"], "unavailable");
    assert_eq!(ann.ask("mine", json!(1)).await["data"], 2);
    assert_eq!(ann.ask("mine", json!(1)).await["data"], 2);
}

/// A caller of a node among others that share Redis.
fn caller(redis: &Redis) -> Caller {
    let commands = Commands::new(&redis.url(), &support::config(&[]).redis).unwrap();
    let answers: Arc<dyn Answers> = Arc::new(RedisAnswers::new(commands, "test"));
    Caller::new(&support::config(&[]).calls, Arc::new(Metrics::new())).unwrap().sharing(answers)
}

async fn ask(caller: &Caller, back_end: &BackEnd) -> Result<String, Refusal> {
    let asker = Asker { session: SessionId::random(), source: Source::Gateway };
    let keeping = Keeping { name: [7; 32], time: LONG };
    let answer = caller.recall_or_call(keeping, &back_end.endpoint(), &asker, "1", "{}".into()).await;
    answer.map(|answer| answer.get().to_owned())
}

/// Where that is in Redis.
fn key() -> String {
    format!("test:answer:{}", "07".repeat(32))
}

#[tokio::test(flavor = "multi_thread")]
async fn of_all_nodes_one_asks() {
    let (redis, back_end) = (Redis::start().await, BackEnd::start(0, 0).await);
    let callers: Vec<_> = (0..3).map(|_| caller(&redis)).collect();
    let all = join_all((0..30).map(|number| ask(&callers[number % 3], &back_end)));
    let open = async {
        eventually("somebody asks", || async { back_end.asked() > 0 }).await;
        // The others find that out in Redis, and wait.
        eventually("the turn is taken", || async { redis.command(&format!("HGET {} l", key())).await.len() > 5 }).await;
        back_end.open();
    };
    let (answers, ()) = tokio::join!(all, open);
    assert_eq!(answers, vec![Ok("1".to_owned()); 30]);
    assert_eq!(
        (ask(&caller(&redis), &back_end).await, back_end.asked()),
        (Ok("1".into()), 1),
        "a node that comes later"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_old_is_given_while_one_asks() {
    let (redis, back_end) = (Redis::start().await, BackEnd::start(1, 0).await);
    assert_eq!(ask(&caller(&redis), &back_end).await, Ok("1".into()));
    // Its time is over.
    assert!(redis.command(&format!("HSET {} u 0", key())).await.starts_with(":0"));
    let (one, other) = (caller(&redis), caller(&redis));
    let others = async {
        eventually("one asks anew", || async { back_end.asked() == 2 }).await;
        assert_eq!(ask(&other, &back_end).await, Ok("1".into()));
        back_end.open();
    };
    let (answer, ()) = tokio::join!(ask(&one, &back_end), others);
    assert_eq!((answer, ask(&caller(&redis), &back_end).await), (Ok("2".into()), Ok("2".into())));
    assert_eq!(back_end.asked(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waited_for_no_answer_asks_itself() {
    let (redis, back_end) = (Redis::start().await, BackEnd::start(0, 1).await);
    let callers = [caller(&redis), caller(&redis)];
    let open = async {
        eventually("one asks", || async { back_end.asked() == 1 }).await;
        back_end.open();
    };
    let (one, other, ()) = tokio::join!(ask(&callers[0], &back_end), ask(&callers[1], &back_end), open);
    let mut answers = [one, other];
    answers.sort_by_key(Result::is_err);
    assert_eq!(answers, [Ok("2".to_owned()), Err(Refusal::Unavailable)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_each_node_asks_for_itself() {
    let (mut redis, back_end) = (Redis::start().await, BackEnd::start(1_000, 0).await);
    let (one, other) = (caller(&redis), caller(&redis));
    redis.stop().await;
    assert_eq!(ask(&one, &back_end).await, Ok("1".into()));
    assert_eq!(ask(&other, &back_end).await, Ok("2".into()));
    assert_eq!(ask(&one, &back_end).await, Ok("1".into()), "and keeps it");
}

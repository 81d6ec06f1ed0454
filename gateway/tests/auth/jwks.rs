//! Keys from a URL: rotation, an endpoint that is down, slow, or lies.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::future::join_all;
use gateway_core::auth::Tokens;
use gateway_core::domain::Refusal;
use gateway_core::metrics::Metrics;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support;
use crate::support::tokens::{SECRET, Signer, claims, nothing_revoked, path, settings};

/// What the endpoint does when it is asked.
#[derive(Clone)]
enum Answer {
    Text(StatusCode, String),
    Redirect,
    /// Says nothing until it is let go on.
    Held(Arc<Semaphore>, String),
}

/// An issuer's endpoint.
#[derive(Clone)]
struct Endpoint {
    answer: Arc<Mutex<Answer>>,
    asked: Arc<AtomicUsize>,
    address: SocketAddr,
}

impl Endpoint {
    async fn start(keys: &Value) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Self {
            answer: Arc::new(Mutex::new(Answer::Text(StatusCode::OK, keys.to_string()))),
            asked: Arc::default(),
            address: listener.local_addr().unwrap(),
        };
        // Where a redirect would lead there are keys.
        let elsewhere = keys.to_string();
        let router = Router::new()
            .route("/keys", get(respond))
            .route("/elsewhere", get(|| async move { elsewhere }))
            .with_state(endpoint.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        endpoint
    }

    fn says(&self, status: u16, text: &str) {
        *self.answer.lock() = Answer::Text(StatusCode::from_u16(status).unwrap(), text.to_owned());
    }

    fn url(&self) -> String {
        format!("http://{}/keys", self.address)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn respond(State(endpoint): State<Endpoint>) -> Response {
    endpoint.asked.fetch_add(1, Ordering::SeqCst);
    let answer = endpoint.answer.lock().clone();
    match answer {
        Answer::Text(status, text) => (status, text).into_response(),
        Answer::Redirect => (StatusCode::FOUND, [(LOCATION, "/elsewhere")]).into_response(),
        Answer::Held(gate, text) => {
            gate.acquire().await.unwrap().forget();
            text.into_response()
        }
    }
}

/// A key as the endpoint has it.
fn key(file: &str, kid: &str) -> Value {
    let mut jwk = Signer::file(file).jwk();
    jwk["kid"] = json!(kid);
    jwk
}

fn set(keys: &[Value]) -> Value {
    json!({ "keys": keys })
}

fn token(file: &str, kid: &str) -> String {
    Signer::file(file).sign_named(&claims(), json!({ "kid": kid }))
}

struct Checker {
    tokens: Arc<Tokens>,
    metrics: Arc<Metrics>,
}

impl Checker {
    async fn new(url: &str, cooldown: Duration) -> Self {
        let metrics = Arc::new(Metrics::new());
        let settings = settings(|auth| (auth.jwks_url, auth.jwks_cooldown) = (url.to_owned().into(), cooldown));
        Self { tokens: Tokens::start(&settings, nothing_revoked().await, metrics.clone()).await.unwrap(), metrics }
    }

    async fn check(&self, token: &str) -> Result<(), Refusal> {
        self.tokens.identify(Some(token)).await.map(|_| ())
    }

    fn metric(&self, series: &str) -> u64 {
        let text = self.metrics.render();
        text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok()).unwrap()
    }
}

/// So short that it is over at once.
const SHORT: Duration = Duration::from_nanos(1);
/// So long that it is not over in a test.
const LONG: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_key_is_found_by_its_name_and_decides_about_the_algorithm() {
    let keys = [key("rsa.pem", "r"), key("ec.pem", "both"), key("ed.pem", "both")];
    let endpoint = Endpoint::start(&set(&keys)).await;
    let checker = Checker::new(&endpoint.url(), LONG).await;
    for (file, kid) in [("rsa.pem", "r"), ("ec.pem", "both"), ("ed.pem", "both")] {
        assert_eq!(checker.check(&token(file, kid)).await, Ok(()), "{file}");
    }
    let modulus = keys[0]["n"].as_str().unwrap();
    let wrong = [
        token("rsa_other.pem", "r"),
        token("ec.pem", "r"),
        token("rsa.pem", "both"),
        Signer::secret(modulus).sign_named(&claims(), json!({ "kid": "r" })),
        Signer::secret("").sign_named(&claims(), json!({ "kid": "r" })),
        Signer::file("rsa.pem").with(jsonwebtoken::Algorithm::RS512).sign_named(&claims(), json!({ "kid": "r" })),
        // Which of several it is nobody says.
        Signer::file("rsa.pem").sign(&claims()),
    ];
    for token in wrong {
        assert_eq!(checker.check(&token).await, Err(Refusal::Unauthorized), "{token}");
    }
    assert_eq!(endpoint.asked(), 1, "all of it was known");
    assert_eq!(
        (checker.metric("gateway_jwks_keys"), checker.metric(r#"gateway_jwks_fetches_total{result="ok"}"#)),
        (3, 1)
    );
}

#[tokio::test]
async fn a_token_without_a_kid_needs_a_key_without_one_or_the_only_one() {
    let bare = Signer::file("rsa.pem").sign(&claims());
    for keys in [set(&[key("rsa.pem", "only")]), set(&[Signer::file("rsa.pem").jwk(), key("ec.pem", "e")])] {
        let endpoint = Endpoint::start(&keys).await;
        let checker = Checker::new(&endpoint.url(), LONG).await;
        assert_eq!(checker.check(&bare).await, Ok(()), "{keys}");
        assert_eq!(checker.check(&Signer::file("rsa_other.pem").sign(&claims())).await, Err(Refusal::Unauthorized));
    }
}

#[tokio::test]
async fn keys_that_are_configured_work_beside_those_that_are_fetched() {
    let endpoint = Endpoint::start(&set(&[key("rsa.pem", "r")])).await;
    let settings = settings(|auth| {
        auth.jwks_url = endpoint.url().into();
        auth.secret = SECRET.to_owned().into();
        auth.public_keys = vec![path("ed.pub.pem")];
    });
    let tokens = Tokens::start(&settings, nothing_revoked().await, Arc::default()).await.unwrap();
    let by_secret = Signer::secret(SECRET);
    for token in [
        token("rsa.pem", "r"),
        token("ed.pem", "whatever its issuer calls it"),
        by_secret.sign(&claims()),
        by_secret.sign_named(&claims(), json!({ "kid": "x" })),
    ] {
        assert!(tokens.identify(Some(&token)).await.is_ok(), "{token}");
    }
    assert_eq!(tokens.identify(Some("bad")).await, Err(Refusal::Unauthorized));
    let forged = Signer::secret("guessed").sign_named(&claims(), json!({ "kid": "x" }));
    assert_eq!(tokens.identify(Some(&forged)).await, Err(Refusal::Unauthorized));
    assert_eq!(endpoint.asked(), 1, "none of it was worth a fetch");
}

#[tokio::test]
async fn a_rotated_key_is_learned_and_the_old_one_forgotten() {
    let endpoint = Endpoint::start(&set(&[key("rsa.pem", "1")])).await;
    let checker = Checker::new(&endpoint.url(), SHORT).await;
    assert_eq!(checker.check(&token("rsa.pem", "1")).await, Ok(()));
    endpoint.says(200, &set(&[key("rsa_other.pem", "2")]).to_string());
    assert_eq!(checker.check(&token("rsa.pem", "1")).await, Ok(()), "nobody has asked yet");
    assert_eq!(checker.check(&token("rsa_other.pem", "2")).await, Ok(()));
    assert_eq!(checker.check(&token("rsa.pem", "1")).await, Err(Refusal::Unauthorized));
}

#[tokio::test]
async fn keys_are_fetched_again_by_the_clock() {
    let endpoint = Endpoint::start(&set(&[key("rsa.pem", "1")])).await;
    let metrics = Arc::new(Metrics::new());
    let settings = settings(|auth| {
        (auth.jwks_url, auth.jwks_refresh) = (endpoint.url().into(), Duration::from_millis(20));
    });
    let tokens = Tokens::start(&settings, nothing_revoked().await, metrics.clone()).await.unwrap();
    let running = tokio::spawn(tokens.clone().keep_fresh());
    endpoint.says(200, &set(&[key("rsa_other.pem", "2")]).to_string());
    let gone = || async { tokens.identify(Some(&token("rsa.pem", "1"))).await == Err(Refusal::Unauthorized) };
    support::eventually("the old key is gone", gone).await;
    running.abort();
}

#[tokio::test]
async fn an_unknown_name_is_asked_for_once_and_only_so_often() {
    let endpoint = Endpoint::start(&set(&[key("rsa.pem", "1")])).await;
    let checker = Checker::new(&endpoint.url(), LONG).await;
    let gate = Arc::new(Semaphore::new(0));
    *endpoint.answer.lock() = Answer::Held(gate.clone(), set(&[key("rsa.pem", "1"), key("ec.pem", "2")]).to_string());
    let (new, unknown) = (token("ec.pem", "2"), token("rsa_other.pem", "nobody's"));
    let crowd = join_all((0..50).map(|number| checker.check(if number % 2 == 0 { &new } else { &unknown })));
    let open = async {
        support::eventually("it is asked", || async { endpoint.asked() == 2 }).await;
        gate.add_permits(100);
    };
    let (answers, ()) = tokio::join!(crowd, open);
    for (number, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer, if number % 2 == 0 { Ok(()) } else { Err(Refusal::Unauthorized) });
    }
    assert_eq!(endpoint.asked(), 2, "they shared a fetch");
    // What was not there is refused, what nobody asked for may be brand new.
    assert_eq!(checker.check(&unknown).await, Err(Refusal::Unauthorized));
    assert_eq!(checker.check(&token("rsa_other.pem", "new")).await, Err(Refusal::Unavailable));
    assert_eq!(checker.check(&token("rsa_other.pem", &"k".repeat(300))).await, Err(Refusal::Unauthorized));
    assert_eq!(endpoint.asked(), 2, "not so soon again");
}

#[tokio::test]
async fn who_leaves_while_keys_are_fetched_spoils_nothing() {
    let endpoint = Endpoint::start(&set(&[key("rsa.pem", "1")])).await;
    let checker = Checker::new(&endpoint.url(), LONG).await;
    let gate = Arc::new(Semaphore::new(0));
    *endpoint.answer.lock() = Answer::Held(gate.clone(), set(&[key("ec.pem", "2")]).to_string());
    let new = token("ec.pem", "2");
    let tokens = checker.tokens.clone();
    let leaving = tokio::spawn({
        let new = new.clone();
        async move { tokens.identify(Some(&new)).await }
    });
    support::eventually("it is asked", || async { endpoint.asked() == 2 }).await;
    leaving.abort();
    gate.add_permits(1);
    support::eventually("the key is known", || async { checker.check(&new).await.is_ok() }).await;
    assert_eq!(endpoint.asked(), 2);
}

#[tokio::test]
async fn an_endpoint_that_is_down_at_the_start_is_asked_again() {
    let endpoint = Endpoint::start(&set(&[])).await;
    endpoint.says(503, "later");
    let checker = Checker::new(&endpoint.url(), SHORT).await;
    for bearer in [token("rsa.pem", "1"), Signer::file("rsa.pem").sign(&claims())] {
        assert_eq!(checker.check(&bearer).await, Err(Refusal::Unavailable), "its client comes back");
    }
    assert_eq!(checker.check("garbage").await, Err(Refusal::Unauthorized), "that is no question of keys");
    endpoint.says(200, &set(&[key("rsa.pem", "1")]).to_string());
    assert_eq!(checker.check(&token("rsa.pem", "1")).await, Ok(()));
    let nowhere = Checker::new("http://127.0.0.1:1/keys", SHORT).await;
    assert_eq!(nowhere.check(&token("rsa.pem", "1")).await, Err(Refusal::Unavailable));
    assert!(nowhere.metric(r#"gateway_jwks_fetches_total{result="unreachable"}"#) >= 2);
}

#[tokio::test]
async fn whatever_an_endpoint_says_the_old_keys_stay() {
    let endpoint = Endpoint::start(&set(&[key("rsa.pem", "1")])).await;
    let checker = Checker::new(&endpoint.url(), SHORT).await;
    let with = |name: &str, value: Value| {
        let mut key = key("rsa_other.pem", "x");
        key[name] = value;
        key
    };
    let ed = |x: &str| json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": "x" });
    let weak = "AQAB".repeat(42);
    let keys = [
        json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "x", "alg": "HS256" }),
        with("d", json!("AQAB")),
        with("alg", json!("RS512")),
        with("alg", json!("HS256")),
        with("use", json!("enc")),
        with("key_ops", json!(["sign"])),
        with("n", json!(weak)),
        with("n", json!("")),
        with("n", json!("not base64url!")),
        with("n", json!("_".repeat(2_000))),
        with("e", json!("AQ")),
        with("e", json!("AAAA")),
        with("kty", json!("rsa")),
        with("kty", json!(7)),
        ed(""),
        ed("AAAA"),
        ed(&"A".repeat(44)),
        json!({ "kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA", "kid": "x" }),
        json!({ "kty": "EC", "crv": "P-256", "x": "_".repeat(42) + "8", "y": "_".repeat(42) + "8", "kid": "x" }),
        json!({ "kty": "EC", "crv": "P-384", "x": "AAAA", "y": "AAAA", "kid": "x" }),
        json!({}),
        json!(null),
        json!([]),
        json!("key"),
    ];
    let mut lies: Vec<String> = keys.into_iter().map(|key| set(&[key]).to_string()).collect();
    lies.extend([
        String::new(),
        "{}".into(),
        "null".into(),
        "<!doctype html><title>Sign in</title>".into(),
        r#"{"keys":7}"#.into(),
        r#"{"keys":[]}"#.into(),
        "[".repeat(100_000),
        set(&[key("rsa_other.pem", "x")]).to_string()[..100].into(),
        // Good keys, after more than is read.
        format!("{}{}", " ".repeat(256 * 1024), set(&[key("rsa_other.pem", "x")])),
    ]);
    let unknown = token("rsa_other.pem", "x");
    for lie in lies {
        endpoint.says(200, &lie);
        let asked = endpoint.asked();
        assert_eq!(checker.check(&unknown).await, Err(Refusal::Unavailable), "{lie:.200}");
        assert_eq!(endpoint.asked(), asked + 1, "{lie:.200}");
        assert_eq!(checker.check(&token("rsa.pem", "1")).await, Ok(()), "{lie:.200}");
    }
    for status in [201, 204, 400, 404, 500] {
        endpoint.says(status, &set(&[key("rsa_other.pem", "x")]).to_string());
        assert_eq!(checker.check(&unknown).await, Err(Refusal::Unavailable), "{status}");
    }
    *endpoint.answer.lock() = Answer::Redirect;
    assert_eq!(checker.check(&unknown).await, Err(Refusal::Unavailable), "redirects are not followed");
    assert_eq!(checker.check(&token("rsa.pem", "1")).await, Ok(()));
    assert_eq!(checker.metric("gateway_jwks_keys"), 1);
}

#[tokio::test]
async fn a_bad_key_spoils_no_good_one_and_the_first_of_a_name_counts() {
    let keys = [json!(null), key("rsa.pem", "1"), key("rsa_other.pem", "1"), json!({ "kty": "oct", "k": "AA" })];
    let endpoint = Endpoint::start(&set(&keys)).await;
    let checker = Checker::new(&endpoint.url(), SHORT).await;
    assert_eq!(checker.check(&token("rsa.pem", "1")).await, Ok(()));
    assert_eq!(checker.check(&token("rsa_other.pem", "1")).await, Err(Refusal::Unauthorized));
}

#[tokio::test]
async fn an_endpoint_that_never_answers_is_given_up() {
    let endpoint = Endpoint::start(&set(&[key("rsa.pem", "1")])).await;
    let checker = Checker::new(&endpoint.url(), SHORT).await;
    *endpoint.answer.lock() = Answer::Held(Arc::new(Semaphore::new(0)), String::new());
    let unknown = token("rsa_other.pem", "x");
    let known = token("rsa.pem", "1");
    let patience = tokio::time::timeout(support::PATIENCE, checker.check(&unknown));
    let meanwhile = async {
        support::eventually("it is asked", || async { endpoint.asked() == 2 }).await;
        checker.check(&known).await
    };
    let (given_up, others) = tokio::join!(patience, meanwhile);
    assert_eq!(given_up, Ok(Err(Refusal::Unavailable)));
    assert_eq!(others, Ok(()), "nobody else waits for it");
}

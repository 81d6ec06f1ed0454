//! Taking tokens back: over HTTP, on every node, across restarts and a Redis that forgets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use gateway_core::auth::{Grant, Identity, Revoked, TokenFacts, Tokens, mint};
use gateway_core::domain::{Refusal, UserId};
use gateway_core::metrics::Metrics;
use gateway_core::port::{Port, PortError};
use gateway_core::revocations::{MemoryRevocations, News, Revocation, Revocations, Subject};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::client::Client;
use crate::support::redis::Redis;
use crate::support::tokens::{SECRET, now, settings};
use crate::support::{self, metric, node};

const SECRETS: [(&str, &str); 2] = [("GATEWAY_AUTH__SECRET", SECRET), ("GATEWAY_ADMIN__TOKEN", "t")];

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn token(name: &str, id: Option<&str>) -> String {
    let grant = Grant { id: id.map(str::to_owned), ..Grant::new(user(name), Duration::from_secs(600)) };
    mint(&settings(|auth| auth.secret = SECRET.to_owned().into()), &grant).unwrap()
}

fn identity(name: &str, id: Option<&str>, issued: Option<u64>) -> Identity {
    let facts = TokenFacts { id: id.map(str::to_owned), issued, expires: now() + 60 };
    Identity { user: Some(user(name)), token: Some(facts), ..Identity::default() }
}

fn by_id(id: &str) -> Subject {
    Subject::Token { token: id.to_owned() }
}

fn by_user(name: &str, before: u64) -> Subject {
    Subject::User { user: user(name), before }
}

/// A store that can be away, be damaged and forget.
#[derive(Default)]
struct Unreliable {
    inner: parking_lot::Mutex<Arc<MemoryRevocations>>,
    away: AtomicBool,
    damaged: AtomicBool,
    /// How often it was read.
    reads: AtomicUsize,
}

#[async_trait]
impl Revocations for Unreliable {
    async fn add(&self, revocation: &Revocation) -> Result<(), PortError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(Port::Revocations.not_now("add", "away"));
        }
        let inner = self.inner.lock().clone();
        inner.add(revocation).await
    }

    async fn all(&self) -> Result<Vec<Revocation>, PortError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if self.damaged.load(Ordering::SeqCst) {
            return Err(Port::Revocations.broken("load", "damaged"));
        }
        if self.away.load(Ordering::SeqCst) {
            return Err(Port::Revocations.not_now("load", "away"));
        }
        let inner = self.inner.lock().clone();
        inner.all().await
    }

    fn changes(&self) -> BoxStream<'static, News> {
        self.inner.lock().changes()
    }
}

async fn revoked(store: &Arc<Unreliable>, metrics: &Arc<Metrics>) -> Arc<Revoked> {
    Revoked::start(store.clone(), Duration::from_secs(3600), metrics.clone()).await
}

#[tokio::test]
async fn a_revocation_covers_what_it_names_and_nothing_else() {
    let revoked = revoked(&Arc::default(), &Arc::default()).await;
    revoked.revoke(by_id("t1")).await.unwrap();
    revoked.revoke(by_user("alice", 1_000)).await.unwrap();
    revoked.revoke(by_user("alice", 500)).await.unwrap();
    for (name, id, issued, covered) in [
        ("bob", Some("t1"), Some(2_000), true),
        ("bob", Some("t2"), Some(1), false),
        ("bob", None, None, false),
        ("alice", Some("t2"), Some(999), true),
        ("alice", None, Some(0), true),
        ("alice", None, None, true),
        ("alice", Some("t2"), Some(1_000), false),
        ("Alice", None, Some(1), false),
        ("t1", None, Some(1), false),
    ] {
        assert_eq!(revoked.covers(&identity(name, id, issued)), covered, "{name} {id:?} {issued:?}");
    }
    assert!(!revoked.covers(&Identity::default()), "there is nothing to take from anonymous sessions");
    assert_eq!(revoked.list(1).1, 2);
    assert_eq!(revoked.list(1).0.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn as_long_as_it_is_not_known_what_was_revoked_no_token_is_taken() {
    let store = Arc::<Unreliable>::default();
    store.add(&Revocation { subject: by_id("t1"), until: now() + 600 }).await.unwrap();
    store.away.store(true, Ordering::SeqCst);
    let metrics = Arc::new(Metrics::new());
    let revoked = revoked(&store, &metrics).await;
    let settings = settings(|auth| (auth.secret, auth.anonymous) = (SECRET.to_owned().into(), true));
    let tokens = Tokens::start(&settings, revoked.clone(), metrics.clone()).await.unwrap();
    let check = async |token: &str| tokens.identify(Some(token)).await.map(|_| ());
    tokio::spawn(revoked.clone().keep_up());
    for id in ["t1", "t2"] {
        assert_eq!(check(&token("alice", Some(id))).await, Err(Refusal::Unavailable));
    }
    assert_eq!(check("bad").await, Err(Refusal::Unauthorized));
    assert_eq!(tokens.identify(None).await, Ok(Identity::default()));
    store.away.store(false, Ordering::SeqCst);
    support::eventually("it is loaded", || async { revoked.loaded() }).await;
    assert_eq!(check(&token("alice", Some("t1"))).await, Err(Refusal::TokenRevoked));
    assert_eq!(check(&token("alice", Some("t2"))).await, Ok(()));
    // From now on, what is known stays, whatever becomes of the store.
    store.away.store(true, Ordering::SeqCst);
    assert!(revoked.revoke(by_id("t2")).await.is_err());
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(check(&token("alice", Some("t1"))).await, Err(Refusal::TokenRevoked));
    assert_eq!(check(&token("alice", Some("t2"))).await, Ok(()), "that did not work, and was said");
    let text = metrics.render();
    assert!(text.contains("gateway_revocations 1\n"), "{text}");
    assert!(text.contains("gateway_revocation_errors_total{op=\"add\"} 1\n"), "{text}");
    assert!(!text.contains("gateway_revocation_errors_total{op=\"load\"} 0\n"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_store_is_not_read_more_often_than_a_sound_one_unless_nothing_is_known() {
    let store = Arc::<Unreliable>::default();
    store.damaged.store(true, Ordering::SeqCst);
    let revoked = revoked(&store, &Arc::default()).await;
    tokio::spawn(revoked.clone().keep_up());
    let reads_in_five_minutes = async || {
        let before = store.reads.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(300)).await;
        store.reads.load(Ordering::SeqCst) - before
    };
    let reads = reads_in_five_minutes().await;
    assert!(reads > 250, "{reads}: no token is taken before it is mended");
    store.damaged.store(false, Ordering::SeqCst);
    support::eventually("it is loaded", || async { revoked.loaded() }).await;
    store.damaged.store(true, Ordering::SeqCst);
    let reads = reads_in_five_minutes().await;
    assert!((5..=15).contains(&reads), "{reads}");
    store.damaged.store(false, Ordering::SeqCst);
    store.away.store(true, Ordering::SeqCst);
    let reads = reads_in_five_minutes().await;
    assert!(reads > 250, "{reads}: it may be back at any moment");
}

#[tokio::test(start_paused = true)]
async fn what_the_store_lost_is_brought_back_and_what_is_over_is_not() {
    let store = Arc::<Unreliable>::default();
    let revoked = revoked(&store, &Arc::default()).await;
    tokio::spawn(revoked.clone().keep_up());
    revoked.revoke(by_id("t1")).await.unwrap();
    revoked.revoke(by_user("alice", 7)).await.unwrap();
    let before = store.all().await.unwrap().len();
    assert_eq!(before, 2);
    *store.inner.lock() = Arc::default();
    store.add(&Revocation { subject: by_id("t3"), until: now() + 600 }).await.unwrap();
    let back = || async { store.all().await.unwrap().len() == 3 };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while !back().await {
        assert!(tokio::time::Instant::now() < deadline, "it is not brought back");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(revoked.covers(&identity("x", Some("t3"), None)), "and what it has is read");
}

#[tokio::test]
async fn what_is_new_to_the_node_is_told() {
    let store = Arc::<Unreliable>::default();
    let revoked = revoked(&store, &Arc::default()).await;
    let mut news = revoked.news();
    tokio::spawn(revoked.clone().keep_up());
    revoked.revoke(by_id("t1")).await.unwrap();
    news.changed().await.unwrap();
    assert!(revoked.covers(&identity("x", Some("t1"), None)));
    revoked.revoke(by_user("alice", 7)).await.unwrap();
    news.changed().await.unwrap();
    revoked.revoke(by_user("alice", 9)).await.unwrap();
    news.changed().await.unwrap();
    // Nothing more is covered by these.
    revoked.revoke(by_user("alice", 8)).await.unwrap();
    revoked.revoke(by_id("t1")).await.unwrap();
    assert!(!news.has_changed().unwrap());
    // What another node revoked.
    store.add(&Revocation { subject: by_id("t2"), until: now() + 600 }).await.unwrap();
    let told = async {
        while !revoked.covers(&identity("x", Some("t2"), None)) {
            news.changed().await.unwrap();
        }
    };
    tokio::time::timeout(support::PATIENCE, told).await.expect("nobody was told");
}

async fn post(address: SocketAddr, bearer: &str, body: &str) -> (u16, String) {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "POST /revocations HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {bearer}\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

async fn revoke(address: SocketAddr, body: Value) {
    assert_eq!(post(address, "t", &body.to_string()).await, (204, String::new()), "{body}");
}

async fn listed(address: SocketAddr) -> Value {
    let (status, body) = support::http("GET", address, "/revocations", "Authorization: Bearer t\r\n").await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

async fn comes_in(address: SocketAddr, token: &str) -> Result<(), String> {
    Client::try_connect(address, json!({ "token": token })).await.map(|_| ())
}

async fn is_revoked(address: SocketAddr, token: &str) -> bool {
    comes_in(address, token).await.is_err_and(|answer| answer.contains("the token was revoked"))
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_revoke_over_http() {
    let node = node(&SECRETS).await;
    let (mine, other, bobs) = (token("alice", Some("t1")), token("alice", Some("t2")), token("bob", None));
    for token in [&mine, &other, &bobs] {
        comes_in(node.address, token).await.unwrap();
    }
    revoke(node.admin_address, json!({ "token": "t1" })).await;
    assert!(is_revoked(node.address, &mine).await);
    comes_in(node.address, &other).await.unwrap();
    revoke(node.admin_address, json!({ "user": "alice" })).await;
    assert!(is_revoked(node.address, &other).await, "of this very second, too");
    comes_in(node.address, &bobs).await.unwrap();
    let list = listed(node.admin_address).await;
    assert_eq!(list["total"], 2, "{list}");
    let entries = list["revocations"].as_array().unwrap();
    let month = now() + 30 * 24 * 3600;
    assert!(entries.iter().all(|entry| entry["until"].as_u64().unwrap().abs_diff(month) < 60), "{list}");
    assert!(entries.iter().any(|entry| entry["token"] == "t1" && entry["before"].is_null()), "{list}");
    assert!(entries.iter().any(|entry| entry["user"] == "alice" && entry["before"].is_u64()), "{list}");
    assert!((metric(&node, "gateway_revocations") - 2.0).abs() < 0.1);
    for (bearer, body, status, words) in [
        ("wrong", r#"{"token":"t9"}"#, 401, "admin.token"),
        ("t", "", 400, "send {"),
        ("t", r#"{"token":"t9","user":"bob"}"#, 400, "alone"),
        ("t", r#"{"user":"bob","before":99999999999999}"#, 400, "a day ahead"),
    ] {
        let (got, answer) = post(node.admin_address, bearer, body).await;
        assert!(got == status && answer.contains(words), "{got} {answer}");
    }
    assert_eq!(listed(node.admin_address).await["total"], 2);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_admin_token_nobody_revokes() {
    let node = node(&SECRETS[..1]).await;
    assert_eq!(post(node.admin_address, "", r#"{"token":"t9"}"#).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_node_remembers_across_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    let settings = [SECRETS[0], SECRETS[1], ("GATEWAY_DATA_DIR", path.as_str())];
    let first = node(&settings).await;
    revoke(first.admin_address, json!({ "token": "t1" })).await;
    first.stop().await;
    let second = node(&settings).await;
    assert!(is_revoked(second.address, &token("alice", Some("t1"))).await);
    comes_in(second.address, &token("alice", Some("t2"))).await.unwrap();
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_of_a_cluster_knows_now_later_and_after_everything_was_restarted() {
    let mut redis = Redis::start().await;
    let url = redis.url();
    let settings = [SECRETS[0], SECRETS[1], ("GATEWAY_REDIS_URL", url.as_str())];
    let (one, two) = (node(&settings).await, node(&settings).await);
    let tokens: Vec<_> = (0..4).map(|number| token("alice", Some(&format!("t{number}")))).collect();
    let knows = async |node: &gateway::app::Gateway, count: u64| {
        support::eventually("the node knows", || async { listed(node.admin_address).await["total"] == count }).await;
    };
    // Both must listen, or the second would learn of it by reading only.
    let listens = || async { redis.command("PUBSUB NUMSUB gateway:revocations").await.contains(":2\r\n") };
    support::eventually("both listen", listens).await;
    revoke(one.admin_address, json!({ "token": "t0" })).await;
    let told = tokio::time::timeout(Duration::from_secs(5), knows(&two, 1)).await;
    assert!(told.is_ok(), "it is told, not found out half a minute later");
    assert!(is_revoked(two.address, &tokens[0]).await);
    let late = node(&settings).await;
    assert!(is_revoked(late.address, &tokens[0]).await);
    // Redis goes away: nothing can be revoked, what was is still known. It comes back having lost everything.
    redis.stop().await;
    let (status, answer) = post(one.admin_address, "t", r#"{"token":"t1"}"#).await;
    assert_eq!(status, 503, "{answer}");
    redis.lose_everything();
    redis.start_again().await;
    let kept = || async { redis.command("HLEN gateway:revocations").await == ":1\r\n" };
    support::eventually("the nodes bring it back", kept).await;
    revoke(two.admin_address, json!({ "token": "t2" })).await;
    knows(&one, 2).await;
    for node in [one, two, late] {
        node.stop().await;
    }
    redis.kill();
    redis.start_again().await;
    let again = node(&settings).await;
    for (number, revoked) in [(0, true), (2, true), (3, false)] {
        assert_eq!(is_revoked(again.address, &tokens[number]).await, revoked, "t{number}");
    }
    again.stop().await;
}

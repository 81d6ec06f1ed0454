//! A back end that hooks tell what happens: it notes what it took, and answers as a test wants it.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONNECTION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::eventually;

/// A request, as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub headers: HeaderMap,
    pub body: Bytes,
    pub at: Instant,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// What it tells; nothing if it is no JSON, as what collectors of traces are sent.
    pub fn events(&self) -> Vec<Value> {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["events"].as_array().cloned().unwrap_or_default()
    }
}

/// What to answer to the request of a number, counted from 0.
pub enum Reply {
    Is(Response),
    /// A status, after some time.
    Late(Duration, u16),
    /// Nothing, for long.
    Hang,
}

impl Reply {
    pub fn status(code: u16) -> Self {
        Self::Is(StatusCode::from_u16(code).unwrap().into_response())
    }
}

type Script = dyn Fn(usize, &Request) -> Reply + Send + Sync;

struct Shared {
    script: Box<Script>,
    requests: Mutex<Vec<Request>>,
    /// The events of requests that were answered with a 2xx, in their order.
    taken: Mutex<Vec<Value>>,
}

/// The one that was there before may still be about to let go of its address: it is ended on another thread.
async fn listen(address: SocketAddr) -> TcpListener {
    let deadline = Instant::now() + super::PATIENCE;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) => assert!(Instant::now() < deadline, "{address}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub struct Receiver {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    _server: AbortOnDropHandle<()>,
}

impl Receiver {
    /// One that takes everything.
    pub async fn start() -> Self {
        Self::answering(|_, _| Reply::status(204)).await
    }

    pub async fn answering(script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Self {
        // An address of its own: where it is away for a while, nobody else takes its port.
        let [one, two, three] = rand::random::<[u8; 3]>();
        Self::at(SocketAddr::from(([127, one.clamp(1, 254), two, three.clamp(1, 254)], 0)), script).await
    }

    /// The same where another one was.
    pub async fn at(address: SocketAddr, script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared { script: Box::new(script), requests: Mutex::default(), taken: Mutex::default() });
        let listener = listen(address).await;
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, shared, _server: AbortOnDropHandle::new(server) }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().clone()
    }

    /// What it has taken so far, in the order in which it came, with what came twice.
    pub fn taken(&self) -> Vec<Value> {
        self.shared.taken.lock().clone()
    }

    /// The ids of that, each once: as a back end that knows them has it.
    pub fn ids(&self) -> Vec<String> {
        let mut known = HashSet::new();
        let all = self.taken().into_iter().map(|event| event["id"].as_str().unwrap().to_owned());
        all.filter(|id| known.insert(id.clone())).collect()
    }

    /// Waits until it has taken so many, each counted once.
    pub async fn takes(&self, events: usize) {
        eventually(&format!("{events} events are taken"), || async { self.ids().len() >= events }).await;
    }
}

async fn answer(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let request = Request { headers, body, at: Instant::now() };
    let number = {
        let mut requests = shared.requests.lock();
        requests.push(request.clone());
        requests.len() - 1
    };
    let reply = match (shared.script)(number, &request) {
        Reply::Late(time, code) => {
            tokio::time::sleep(time).await;
            Reply::status(code)
        }
        reply => reply,
    };
    match reply {
        Reply::Is(mut response) => {
            // A connection would outlive the receiver.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            if response.status().is_success() {
                shared.taken.lock().extend(request.events());
            }
            response
        }
        Reply::Late(..) | Reply::Hang => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            StatusCode::NO_CONTENT.into_response()
        }
    }
}

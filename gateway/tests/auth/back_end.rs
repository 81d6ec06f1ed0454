//! A back end that is asked who comes in.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use gateway::app::Gateway;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::support::node;

/// What the back end does when it is asked.
#[derive(Clone)]
pub(crate) enum Reply {
    Says(StatusCode, Value),
    Text(String),
    Redirect,
    Held(Arc<Semaphore>, Value),
}

/// A real server that is asked who comes in.
#[derive(Clone)]
pub(crate) struct BackEnd {
    reply: Arc<Mutex<Reply>>,
    pub(crate) asked: Arc<Mutex<Vec<(HeaderMap, Value)>>>,
    address: SocketAddr,
}

impl BackEnd {
    pub(crate) async fn start(answer: Value) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let reply = Arc::new(Mutex::new(Reply::Says(StatusCode::OK, answer)));
        let back_end = Self { reply, asked: Arc::default(), address };
        let router = Router::new().fallback(respond).with_state(back_end.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        back_end
    }

    pub(crate) fn says(&self, status: u16, answer: Value) {
        *self.reply.lock() = Reply::Says(StatusCode::from_u16(status).unwrap(), answer);
    }

    pub(crate) fn does(&self, reply: Reply) {
        *self.reply.lock() = reply;
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.lock().len()
    }

    pub(crate) fn last(&self) -> Value {
        self.asked.lock().last().unwrap().1.clone()
    }

    /// A node that asks it.
    pub(crate) async fn node(&self, changes: &[(&str, &str)]) -> Gateway {
        let url = format!("http://{}/who", self.address);
        let base = [
            ("GATEWAY_AUTH__HOOK__URL", url.as_str()),
            ("GATEWAY_AUTH__HOOK__ATTEMPTS", "1"),
            ("GATEWAY_AUTH__HOOK__FAILURES", "0"),
        ];
        node(&base.iter().chain(changes).copied().collect::<Vec<_>>()).await
    }
}

async fn respond(State(back_end): State<BackEnd>, headers: HeaderMap, body: Bytes) -> Response {
    back_end.asked.lock().push((headers, serde_json::from_slice(&body).unwrap()));
    let reply = back_end.reply.lock().clone();
    match reply {
        Reply::Says(status, answer) => (status, answer.to_string()).into_response(),
        Reply::Text(text) => text.into_response(),
        Reply::Redirect => (StatusCode::FOUND, [(LOCATION, "/elsewhere")]).into_response(),
        Reply::Held(gate, answer) => {
            gate.acquire().await.unwrap().forget();
            answer.to_string().into_response()
        }
    }
}

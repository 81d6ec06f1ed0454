//! Where the HTTP API meets the listener of clients: neither knows the other.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use http::Request;
use http::request::Parts;

use crate::domain::Refusal;
use crate::http::{Api, EventStream};
use crate::socket::{BackEnds, Streamed};

/// The API as the listener sees it.
#[derive(Debug)]
pub(super) struct ApiDoor(pub(super) Arc<Api>);

impl BackEnds for ApiDoor {
    fn is_for(&self, request: &Parts, is_side: bool) -> bool {
        self.0.is_for(request, is_side)
    }

    fn is_known(&self, request: &Parts) -> bool {
        self.0.is_known(request)
    }

    fn refused(&self, request: &Parts, refusal: &Refusal) -> Response<Bytes> {
        self.0.refused(request, refusal)
    }

    fn unread(&self, request: &Parts, answer: Response<Bytes>) -> Response<Bytes> {
        self.0.unread(request, answer.status())
    }

    fn body_bytes(&self) -> usize {
        self.0.body_bytes()
    }

    fn answer(&self, request: Request<Bytes>, from: IpAddr) -> Pin<Box<dyn Future<Output = Response<Bytes>> + Send>> {
        let api = self.0.clone();
        Box::pin(async move {
            let mut answer = api.answer(request, from).await;
            let rest = answer.extensions_mut().remove::<EventStream>().and_then(|stream| stream.take());
            rest.map(|pieces| answer.extensions_mut().insert(Streamed::new(pieces)));
            answer
        })
    }
}

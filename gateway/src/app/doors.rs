//! Where plain HTTP meets the listener of clients: the API for back ends, and what users ask. Neither side knows the other.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use http::Request;
use http::request::Parts;

use crate::http::{Api, EventStream, Users};
use crate::socket::{BackEnds, Side, Streamed};
use gateway_core::domain::Refusal;

/// What answers plain HTTP, as the listener sees it.
#[derive(Debug)]
pub(super) struct Doors {
    pub(super) api: Arc<Api>,
    pub(super) users: Arc<Users>,
}

impl Doors {
    /// Users come in where clients do, and nowhere else; and nothing of theirs is below the root of the API.
    fn is_for_users(&self, request: &Parts) -> bool {
        request.extensions.get::<Side>().is_none() && self.users.is_for(request)
    }
}

impl BackEnds for Doors {
    fn is_for(&self, request: &Parts, is_side: bool) -> bool {
        self.api.is_for(request, is_side) || self.is_for_users(request)
    }

    fn is_known(&self, request: &Parts) -> bool {
        !self.is_for_users(request) && self.api.is_known(request)
    }

    fn refused(&self, request: &Parts, refusal: &Refusal) -> Response<Bytes> {
        if self.is_for_users(request) {
            return self.users.refused(request, refusal);
        }
        self.api.refused(request, refusal)
    }

    fn unread(&self, request: &Parts, answer: Response<Bytes>) -> Response<Bytes> {
        if self.is_for_users(request) {
            return self.users.unread(request, answer.status());
        }
        self.api.unread(request, answer.status())
    }

    fn body_bytes(&self) -> usize {
        self.api.body_bytes().max(self.users.body_bytes())
    }

    fn answer(&self, request: Request<Bytes>, from: IpAddr) -> Pin<Box<dyn Future<Output = Response<Bytes>> + Send>> {
        let (parts, body) = request.into_parts();
        let is_for_users = self.is_for_users(&parts);
        let request = Request::from_parts(parts, body);
        if is_for_users {
            return Box::pin(self.users.clone().answer(request, from));
        }
        let api = self.api.clone();
        Box::pin(async move {
            let mut answer = api.answer(request, from).await;
            let rest = answer.extensions_mut().remove::<EventStream>().and_then(|stream| stream.take());
            rest.map(|pieces| answer.extensions_mut().insert(Streamed::new(pieces)));
            answer
        })
    }
}

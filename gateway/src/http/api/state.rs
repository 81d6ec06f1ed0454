//! What the handlers share.

use std::sync::Arc;

use axum::Router;

use crate::service::Service;

/// What the handlers share. Cloning gives another handle of the same.
#[derive(Clone, Debug)]
pub(super) struct ApiState(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    service: Service,
    /// Where the items of a batch go.
    router: std::sync::OnceLock<Router>,
}

impl ApiState {
    pub(super) fn new(service: Service) -> Self {
        Self(Arc::new(Shared { service, router: std::sync::OnceLock::new() }))
    }

    pub(super) fn service(&self) -> &Service {
        &self.0.service
    }
}

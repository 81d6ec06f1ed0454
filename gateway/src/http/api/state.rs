//! What the handlers share.

use std::sync::Arc;

use crate::service::Service;

/// What the handlers share. Cloning gives another handle of the same.
#[derive(Clone, Debug)]
pub(super) struct ApiState(Arc<Service>);

impl ApiState {
    pub(super) fn new(service: Service) -> Self {
        Self(Arc::new(service))
    }

    pub(super) fn service(&self) -> &Service {
        &self.0
    }
}

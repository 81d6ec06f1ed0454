//! What the handlers share.

use std::sync::Arc;
use std::time::Duration;

use crate::service::Service;

/// What the handlers share. Cloning gives another handle of the same.
#[derive(Clone, Debug)]
pub(super) struct ApiState {
    service: Arc<Service>,
    heartbeat: Duration,
}

impl ApiState {
    pub(super) fn new(service: Service, heartbeat: Duration) -> Self {
        Self { service: Arc::new(service), heartbeat }
    }

    pub(super) fn service(&self) -> &Service {
        &self.service
    }

    /// How often a stream says that it is alive.
    pub(super) fn heartbeat(&self) -> Duration {
        self.heartbeat
    }
}

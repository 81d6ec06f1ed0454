//! What the handlers share.

use std::sync::Arc;
use std::time::Duration;

use gateway_core::service::Service;
use gateway_work::schedules::Schedules;

/// What the handlers share. Cloning gives another handle of the same.
#[derive(Clone, Debug)]
pub(super) struct ApiState {
    service: Arc<Service>,
    schedules: Arc<Schedules>,
    heartbeat: Duration,
    history_max_age: Duration,
}

impl ApiState {
    pub(super) fn new(
        service: Service,
        schedules: Arc<Schedules>,
        heartbeat: Duration,
        history_max_age: Duration,
    ) -> Self {
        Self { service: Arc::new(service), schedules, heartbeat, history_max_age }
    }

    pub(super) fn service(&self) -> &Service {
        &self.service
    }

    pub(super) fn schedules(&self) -> &Schedules {
        &self.schedules
    }

    /// How often a stream says that it is alive.
    pub(super) fn heartbeat(&self) -> Duration {
        self.heartbeat
    }

    /// How long a page of history that lies in the past need not be asked for again.
    pub(super) fn history_max_age(&self) -> Duration {
        self.history_max_age
    }
}

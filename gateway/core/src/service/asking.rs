//! Asking clients something, on all nodes.

use std::time::Duration;

use super::{Saying, Service};
use crate::domain::Refusal;

pub use crate::asks::{Outcome as Answered, Reply, Whom};

impl Service {
    /// Asks clients, and waits for as long as they are given to answer.
    ///
    /// # Errors
    /// The event is none that clients can be told, too many questions are under way, or the other nodes cannot be asked.
    pub async fn ask(&self, whom: Whom, saying: Saying<'_>, time: Duration) -> Result<Answered, Refusal> {
        let event = self.event(saying)?;
        self.behind.asks.ask(whom, &event, time).await
    }

    /// The longest time that clients may be given to answer.
    #[must_use]
    pub fn longest_ask(&self) -> Duration {
        self.behind.asks.longest()
    }
}

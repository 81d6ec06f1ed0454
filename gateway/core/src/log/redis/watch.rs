//! How much memory Redis uses, and may use: asked again and again.

use std::sync::Arc;

use crate::log::Budget;
use crate::redis::Commands;

/// Measures what there is, for ever. What Redis does not allow to be known is not; then it refuses by itself.
pub(super) async fn watch(commands: Commands, budget: Arc<Budget>) {
    loop {
        match commands.memory().await {
            Ok(Some(memory)) => budget.measured(memory.used, memory.max),
            Ok(None) => budget.unmeasured(),
            // Whoever needs Redis tells of it.
            Err(error) => tracing::debug!(%error, "the memory of Redis could not be measured"),
        }
        budget.due().await;
    }
}

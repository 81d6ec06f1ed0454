//! The archives of a node's logs: which rooms are in them, and who writes them.

use std::sync::Arc;

use super::stores::Backing;
use gateway_core::archive::{Archived, Archives};
use gateway_core::config::Config;
use gateway_core::metrics::Metrics;
use gateway_core::outbox::Wants;
use gateway_core::traces::Traces;
use gateway_store::Store;
use gateway_work::archiving::Archiving;

/// The archives of the rooms that are to be archived; nothing if none are.
pub(super) fn archived(store: Option<&Store>, config: &Config, wants: &Wants) -> Option<Archived> {
    let store = store.filter(|_| config.archive.any())?;
    Some(Archived::new(Archives::new(store.archive.clone(), config), wants.clone()))
}

/// Who writes them: somebody for each log, that of the main one first.
pub(super) fn archiving<'a>(
    archived: Option<&Archived>,
    backings: impl Iterator<Item = &'a Backing>,
    config: &Config,
    metrics: &Arc<Metrics>,
    traces: &Traces,
) -> Vec<Arc<Archiving>> {
    let Some(archived) = archived else { return Vec::new() };
    let of_one = |backing: &Backing| {
        let archive = archived.archives().of_redis(&backing.name)?.clone();
        let (outbox, log) = (backing.outbox.clone(), backing.log.clone());
        Some(Archiving::new(&backing.name, archive, outbox, log, &config.archive, metrics.clone(), traces.clone()))
    };
    backings.filter_map(of_one).collect()
}

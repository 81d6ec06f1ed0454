//! The jobs of a node: who does which kind, where they are handed in, and who works.

use std::sync::Arc;

use super::post::Post;
use gateway_core::calls::Caller;
use gateway_core::config::Config;
use gateway_core::desk::Desk;
use gateway_core::inbox::Inbox;
use gateway_core::jobs::{Handler, Jobs, Queues};
use gateway_core::metrics::Metrics;
use gateway_core::node::Node;
use gateway_work::archiving::Archiving;
use gateway_work::jobs::{BackEnds, Http, Kinds, Notify, Publish, Upkeep, Workers};

/// What those who do jobs have it done by.
pub(super) struct Means<'a> {
    pub(super) node: Arc<Node>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) caller: Arc<Caller>,
    pub(super) archiving: Option<Arc<Archiving>>,
    pub(super) back_ends: BackEnds,
    pub(super) post: &'a Post,
}

/// Where jobs are handed in, and who does them.
pub(super) fn desk_and_workers(
    config: &Config,
    (jobs, queues): (Arc<dyn Jobs>, Arc<dyn Queues>),
    means: Means<'_>,
    metrics: &Arc<Metrics>,
) -> (Arc<Desk>, Arc<Workers>) {
    let Means { node, inbox, caller, archiving, back_ends, post } = means;
    let kinds = Kinds::new(metrics.clone())
        .traced(caller.traces().clone())
        .with("http", Arc::new(Http::new(back_ends, caller)))
        .with("publish", Arc::new(Publish::new(node, &config.limits)))
        .with("notify", Arc::new(Notify::new(inbox.clone())))
        .with("upkeep", Arc::new(Upkeep::new(inbox, archiving)));
    let kinds = Arc::new(post.join(kinds));
    post.done_by(&(kinds.clone() as Arc<dyn Handler>));
    let desk = Desk::new(jobs.clone(), queues, kinds.clone(), config, metrics.clone());
    let workers = Workers::new(jobs, kinds, &config.jobs, metrics.clone());
    (desk, Arc::new(workers))
}

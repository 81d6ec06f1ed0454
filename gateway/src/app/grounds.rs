//! Namespaces and their Redis: whether the configuration fits the routes, which Redis answer at the start, and what the node
//! is built on for each.

use std::sync::Arc;

use futures_util::future::join_all;

use super::stores::{Backing, Redis};
use super::upkeep::kept_counts;
use super::{StartError, misconfigured};
use gateway_core::archive::Archived;
use gateway_core::config::Config;
use gateway_core::metrics::Metrics;
use gateway_core::node::{Ground, Past};
use gateway_core::presence::{Directory, KeptPresence, MeasuredPresence, SplitDirectory};
use gateway_core::redis::{Agreement, Commands, ConnectError, Primary};
use gateway_core::routes::{Namespace, RouteTable, Router};
use gateway_work::hooks::Outboxes;

/// Looks whether namespaces that have a Redis of their own are there, and have all that is configured for them.
///
/// # Errors
/// What is wrong, in words that begin with the setting.
pub(super) fn check_namespaces(config: &Config, table: &RouteTable) -> Result<(), String> {
    for redis in config.every_redis() {
        let key = redis.settings.key("namespaces");
        if let Some(unknown) = redis.namespaces.iter().find(|name| table.namespace(name).is_none()) {
            let known: Vec<_> = table.namespaces().map(|namespace| &*namespace.name).collect();
            return Err(format!("{key}: no route is in {unknown:?}; there are: {}", known.join(", ")));
        }
    }
    Ok(())
}

/// Every Redis of the configuration, and why the main one does not answer, if it does not.
pub(super) async fn reach(config: &Config, metrics: &Arc<Metrics>) -> Result<(Vec<Redis>, Option<String>), StartError> {
    let mut all = Vec::new();
    for one in config.every_redis() {
        let primary = Primary::new(one.url.expose(), &one.settings, metrics.clone()).map_err(misconfigured)?;
        let commands = Commands::over(primary.clone(), &one.settings);
        all.push(Redis { one, primary, commands });
    }
    // At once: those that do not answer take their time.
    let probed = join_all(all.iter().map(|redis| redis.commands.probe())).await;
    let mut away = None;
    for (redis, probed) in all.iter().zip(probed) {
        let (settings, key) = (&redis.one.settings, redis.one.settings.key("url"));
        match probed {
            Ok(()) => {}
            Err(ConnectError::Refused(why)) => return Err(misconfigured(format!("{key}: {why}"))),
            Err(ConnectError::Away(why)) if config.redis.required_at_start => {
                return Err(StartError::Unavailable(anyhow::anyhow!("{key}: {why}")));
            }
            Err(ConnectError::Away(why)) if settings.is_main() => away = Some(why),
            Err(ConnectError::Away(why)) => {
                let (redis, namespaces) = (settings.name(), redis.one.namespaces.join(", "));
                tracing::warn!(redis, namespaces, error = why, "a Redis does not answer; its namespaces wait for it");
            }
        }
    }
    Ok((all, away))
}

/// What a node has of what its namespaces stand on, once that was handed out.
pub(super) struct Grounds {
    pub(super) main: Ground,
    pub(super) others: Vec<Ground>,
    pub(super) directory: Arc<dyn Directory>,
    /// Presence whose counts are kept.
    pub(super) counts: Vec<Arc<KeptPresence>>,
    pub(super) sources: Vec<Outboxes>,
}

impl Grounds {
    pub(super) fn new(
        main: &Backing,
        others: &[Backing],
        archived: Option<&Archived>,
        config: &Config,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let mut counts = Vec::new();
        let mut ground = |backing: &Backing| {
            let past = Past::new(backing.log.clone(), archived.cloned(), config.archive.patience);
            let (presence, kept) = kept_counts(backing.presence.clone(), config, metrics);
            counts.extend(kept);
            let presence = Arc::new(MeasuredPresence::new(presence, metrics.clone()));
            let (name, namespaces) = (backing.name.clone(), backing.namespaces.clone());
            Ground { name, namespaces, past, sessions: backing.sessions.clone(), presence }
        };
        let (of_main, of_others) = (ground(main), others.iter().map(ground).collect());
        let source = |backing: &Backing| Outboxes {
            name: backing.name.clone(),
            namespaces: backing.namespaces.clone(),
            outbox: backing.outbox.clone(),
            wants: backing.wants.clone(),
        };
        let directory = if others.is_empty() {
            main.directory.clone()
        } else {
            let others = others.iter().map(|backing| (backing.namespaces.clone(), backing.directory.clone()));
            Arc::new(SplitDirectory::new(main.directory.clone(), others.collect()))
        };
        let sources = std::iter::once(main).chain(others).map(source).collect();
        Self { main: of_main, others: of_others, directory, counts, sources }
    }
}

/// What nodes compare of their Redis; nothing without any.
pub(super) fn agreement(
    name: &str,
    main: &Backing,
    others: &[Backing],
    router: &Arc<Router>,
) -> Option<Arc<Agreement>> {
    let commands = main.commands.clone()?;
    let of_one =
        |backing: &Backing| Some((backing.namespaces.clone(), backing.commands.clone()?, backing.prefix.clone()));
    let others = others.iter().filter_map(of_one).collect();
    let router = router.clone();
    let names = move || router.table().namespaces().map(|Namespace { name, .. }| name.to_string()).collect();
    Some(Arc::new(Agreement::new(name, (commands, &main.prefix), others, names)))
}

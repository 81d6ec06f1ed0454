//! Whether all nodes of a deployment have the same Redis for a namespace: if not, half of its members would not hear the others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use deadpool_redis::redis::Script;
use futures_util::future::join_all;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::{CommandError, Commands, milliseconds};
use crate::metrics::Metrics;

/// How often a node says what it has.
const EVERY: Duration = Duration::from_secs(3);
/// For how long it holds: a node that was killed is not contradicted for longer.
const HOLDS: Duration = Duration::from_secs(10);
/// After how many contradictions in a row they are told: a Redis that lost its data has another id, and nodes learn of it one
/// after the other.
const SURE: u32 = 5;
/// How often it is looked again, before a node begins, whether those have gone that it contradicts.
const LOOK: Duration = Duration::from_secs(1);

/// Gives the names of all namespaces that there are.
type Names = Box<dyn Fn() -> Vec<String> + Send + Sync>;

/// What this node, and the others, say about which Redis has which namespaces. They are told apart by ids of their own, so
/// it does not matter by which address a node reaches one.
pub struct Agreement {
    main: One,
    others: Vec<(Vec<String>, One)>,
    names: Names,
    node: String,
    said: String,
    agree: Script,
    take_back: Script,
}

struct One {
    commands: Commands,
    key: String,
    id: Script,
}

impl std::fmt::Debug for Agreement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agreement").field("node", &self.node).finish_non_exhaustive()
    }
}

impl One {
    fn new(commands: Commands, prefix: &str) -> Self {
        let id = "redis.call('SET', KEYS[1], ARGV[1], 'NX') return redis.call('GET', KEYS[1])";
        Self { id: commands.script(id), commands, key: format!("{prefix}:redis:id") }
    }

    /// What it is known by, as long as it keeps anything, and which process of Redis it is: nothing if that is not said.
    async fn known(&self) -> Result<(String, Arc<str>), CommandError> {
        let new = format!("{:016x}", rand::random::<u64>());
        self.commands.run_telling_process(&self.id, |script| _ = script.key(&self.key).arg(&new)).await
    }
}

impl Agreement {
    /// That of a node; of each Redis its commands and what its keys begin with, and of all but the main one its namespaces.
    #[must_use]
    pub fn new(
        node: &str,
        (main, prefix): (Commands, &str),
        others: Vec<(Vec<String>, Commands, String)>,
        names: impl Fn() -> Vec<String> + Send + Sync + 'static,
    ) -> Self {
        let others = others.into_iter().map(|(names, commands, prefix)| (names, One::new(commands, &prefix)));
        Self {
            said: format!("{prefix}:redis:namespaces"),
            agree: main.script(include_str!("agree.lua")),
            take_back: main.script("return redis.call('ZREM', KEYS[1], unpack(ARGV))"),
            main: One::new(main, prefix),
            others: others.collect(),
            names: Box::new(names),
            // Two of one name are two.
            node: format!("{node} {:08x}", rand::random::<u32>()),
        }
    }

    /// Which Redis has which namespace, for this node, as far as they answer.
    async fn own(&self) -> Result<BTreeMap<String, String>, CommandError> {
        let (main, _) = self.main.known().await?;
        let mut own: BTreeMap<_, _> = (self.names)().into_iter().map(|name| (name, main.clone())).collect();
        for ((names, _), known) in self.others.iter().zip(self.others_known().await) {
            for name in names {
                match &known {
                    Some((id, _)) => own.insert(name.clone(), id.clone()),
                    None => own.remove(name),
                };
            }
        }
        Ok(own)
    }

    /// What is known of all but the main one, of those that answer.
    async fn others_known(&self) -> Vec<Option<(String, Arc<str>)>> {
        join_all(self.others.iter().map(|(_, one)| async move { one.known().await.ok() })).await
    }

    /// Two that are one Redis under one prefix, if there are any: by other addresses, or in other databases, which channels do
    /// not heed. Their logs would hear each other.
    async fn same(&self) -> Result<Option<String>, CommandError> {
        let mut seen = vec![("the main one".to_owned(), &self.main.key, self.main.known().await?)];
        for ((names, one), known) in self.others.iter().zip(self.others_known().await) {
            let Some((id, process)) = known else { continue };
            let is_same = |(_, key, (other_id, other_process)): &&(String, &String, (String, Arc<str>))| {
                **key == one.key && (*other_id == id || (!process.is_empty() && *other_process == process))
            };
            if let Some((other, ..)) = seen.iter().find(is_same) {
                return Ok(Some(format!(
                    "the Redis of {} is the same as {other}, with the same prefix, whatever their addresses and databases: \
                     name another Redis, or another prefix",
                    names.join(", ")
                )));
            }
            seen.push((format!("that of {}", names.join(", ")), &one.key, (id, process)));
        }
        Ok(None)
    }

    /// Asks what others say, and says what this node has if it `says` so. Returns one thing that is contradicted, if any is.
    async fn ask(&self, says: bool) -> Result<Option<String>, CommandError> {
        let own = self.own().await?;
        let said: Vec<String> = self
            .main
            .commands
            .run(&self.agree, |script| {
                script.key(&self.said).arg(milliseconds(HOLDS));
                if says {
                    own.iter().for_each(|(name, id)| _ = script.arg(format!("{id} {name} {}", self.node)));
                }
            })
            .await?;
        let contradicts = |text: &String| {
            let (id, rest) = text.split_once(' ')?;
            let (name, node) = rest.split_once(' ')?;
            let differs = node != self.node && own.get(name).is_some_and(|own| own != id);
            differs.then(|| {
                format!(
                    "{} has another Redis for the namespace {name} than this node",
                    node.rsplit_once(' ').map_or(node, |(node, _)| node)
                )
            })
        };
        Ok(said.iter().find_map(contradicts))
    }

    /// Waits until no other node contradicts this one, for as long as one that was killed is still believed.
    ///
    /// # Errors
    /// What is contradicted, in words, or which two are the same Redis; or the main Redis does not answer.
    pub async fn found(&self) -> Result<(), String> {
        if let Some(same) = self.same().await.map_err(|error| error.to_string())? {
            return Err(format!("redis.of: {same}"));
        }
        let deadline = Instant::now() + HOLDS + LOOK;
        while let Some(contradicted) = self.ask(false).await.map_err(|error| error.to_string())? {
            if Instant::now() >= deadline {
                return Err(format!(
                    "redis.of: {contradicted}: give all nodes the same, and stop all of them before you change it"
                ));
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Says what this node has, and tells when others say something else, or when one that was away at the start is the same as
    /// another one, for ever.
    pub async fn watch(&self, metrics: &Metrics) {
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut wrong = 0_u32;
        loop {
            tick.tick().await;
            match self.wrong().await {
                Ok(Some(words)) => {
                    wrong = wrong.saturating_add(1);
                    if wrong == SURE {
                        metrics.redis_disagreement.set(1.0);
                        tracing::error!("redis.of: {words}");
                    }
                }
                Ok(None) => {
                    if wrong >= SURE {
                        tracing::info!("all nodes have the same Redis for each namespace again");
                    }
                    wrong = 0;
                    metrics.redis_disagreement.set(0.0);
                }
                // Whoever needs Redis tells of it.
                Err(error) => tracing::debug!(%error, "what other nodes have for namespaces is not known"),
            }
        }
    }

    /// Says what this node has. Returns what is wrong, in words, if anything is.
    async fn wrong(&self) -> Result<Option<String>, CommandError> {
        let contradicted = self.ask(true).await?;
        let told = |words| format!("{words}: its members do not hear each other; give all nodes the same");
        Ok(contradicted.map(told).or(self.same().await?))
    }

    /// This node ends: what it had contradicts nobody.
    pub async fn leave(&self) {
        let own = self.own().await.unwrap_or_default();
        let left = self.main.commands.run::<i64>(&self.take_back, |script| {
            script.key(&self.said);
            own.iter().for_each(|(name, id)| _ = script.arg(format!("{id} {name} {}", self.node)));
        });
        if let Err(error) = left.await {
            tracing::debug!(%error, "the other nodes could not be told that this one has no namespaces any more");
        }
    }
}

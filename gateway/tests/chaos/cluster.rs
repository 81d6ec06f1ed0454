//! Three gateway processes as an operator's supervisor runs them, and the deeds that are done to them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use super::caller::make_key;
use super::calls::BackEnd;
use super::database::Database;
use super::harm::{Harm, Harms};
use super::plan::{Deed, NODES, Partition, Settings};
use super::proxy::{Proxy, Way};
use super::redis::Redis;
use super::sentinels::Watched;
use super::torn::Torn;

/// What every node is told besides where Redis is.
const ENVIRONMENT: [(&str, &str); 16] = [
    ("GATEWAY_LISTEN", "127.0.0.1:0"),
    ("GATEWAY_ADMIN_LISTEN", "127.0.0.1:0"),
    ("GATEWAY_AUTH__SECRET", SECRET),
    ("GATEWAY_LIMITS__EVENTS_PER_SECOND", "0"),
    ("GATEWAY_LIMITS__BYTES_PER_SECOND", "0"),
    ("GATEWAY_LIMITS__USER_EVENTS_PER_SECOND", "0"),
    ("GATEWAY_LIMITS__USER_BYTES_PER_SECOND", "0"),
    // Far more than all but one of the clients publish.
    ("GATEWAY_LIMITS__USER_KEPT_BYTES_PER_SECOND", "6144"),
    ("GATEWAY_LIMITS__USER_KEPT_BYTES_BURST", "8192"),
    ("GATEWAY_LIMITS__USER_NEW_ROOMS_PER_SECOND", "0"),
    ("GATEWAY_LIMITS__ADDRESS_KEPT_BYTES_PER_SECOND", "0"),
    ("GATEWAY_LIMITS__ADDRESS_NEW_ROOMS_PER_SECOND", "0"),
    ("GATEWAY_LIMITS__HANDSHAKES_PER_SECOND_PER_ADDRESS", "0"),
    ("GATEWAY_LIMITS__FAILED_CONNECTS_PER_SECOND_PER_ADDRESS", "0"),
    ("GATEWAY_LIMITS__REQUESTS_PER_SECOND_PER_ADDRESS", "0"),
    ("GATEWAY_TELEMETRY__FORMAT", "text"),
];
pub(crate) const SECRET: &str = "a secret that the nodes and the auditor share";

/// How long Redis may take to answer. A machine or a disk that is too busy does to nodes what a fault does: they give up.
const SLOW: Duration = Duration::from_millis(500);
/// How long nothing more is done to Redis after it is well again: mostly that is enough for nodes to be of one mind again, and
/// for clients to come back with what they had.
const REST: Duration = Duration::from_secs(3);
/// How long a node may take to leave: more than `drain.timeout`.
const LEAVING: Duration = Duration::from_secs(40);

pub(crate) struct Cluster {
    nodes: Vec<Node>,
    redis: Mutex<Store>,
    /// The main one, where what is audited has another.
    main: Option<Mutex<Redis>>,
    database: Option<Database>,
    back_end: Arc<BackEnd>,
    /// By which back ends ask. The version before may know none.
    key: Option<String>,
    /// Nodes that may be in trouble at the same time: not all.
    troubles: Semaphore,
    /// What is being done to Redis.
    harm: Harm,
    harms: Arc<Harms>,
    /// What Redis lost last.
    torn: Arc<Torn>,
    /// Of what is done to Redis one thing comes after the other.
    turn: Mutex<()>,
}

/// The Redis of a run.
enum Store {
    /// One, which nodes reach through their proxies.
    Alone(Redis),
    /// Two of which Sentinels say which one is the primary.
    Watched(Watched),
}

impl Store {
    /// # Panics
    /// There are Sentinels: the plan has no deed that needs it then.
    fn alone(&mut self) -> &mut Redis {
        match self {
            Self::Alone(redis) => redis,
            Self::Watched(_) => panic!("Sentinels would interfere"),
        }
    }
}

struct Node {
    name: String,
    log: PathBuf,
    proxy: Proxy,
    /// Its way to the main Redis, if that is another.
    _to_main: Option<Proxy>,
    /// Where it is told that Redis is.
    redis: Vec<(&'static str, String)>,
    /// Its file of routes.
    routes: PathBuf,
    address: parking_lot::Mutex<Option<SocketAddr>>,
    process: Mutex<Option<Child>>,
    harm: Harm,
    environment: Vec<(&'static str, String)>,
    /// It starts as the last one first.
    programs: Vec<PathBuf>,
    starts: AtomicUsize,
}

impl Cluster {
    pub(crate) async fn start(folder: &Path, settings: &Settings) -> Self {
        let store = match settings.sentinels {
            true => Store::Watched(Watched::start().await),
            false => Store::Alone(Redis::start(folder).await),
        };
        let beside = folder.join("main");
        let main = match settings.two_redis {
            true => {
                std::fs::create_dir(&beside).unwrap();
                Some(Mutex::new(Redis::start(&beside).await))
            }
            false => None,
        };
        let (back_end, routes) = BackEnd::start(folder).await;
        let key = settings.previous.is_none().then(|| make_key(&routes));
        let database = match settings.archive {
            true => Some(Database::start(&routes, settings).await),
            false => None,
        };
        let harms = Arc::<Harms>::default();
        let mut environment: Vec<_> = ENVIRONMENT.map(|(key, value)| (key, value.to_owned())).into();
        environment.extend(settings.retention.map(|time| ("GATEWAY_LOG__ROOM_RETENTION", format!("{time:?}"))));
        environment.extend(database.iter().map(|database| ("GATEWAY_DATABASE__URL", database.url())));
        // Who follows a stream notices soon that it is dead.
        environment.extend(settings.previous.is_none().then(|| ("GATEWAY_API__HEARTBEAT", "1s".to_owned())));
        // However few clients there are, nodes share them whenever one has come back.
        environment.extend(settings.previous.is_none().then(|| ("GATEWAY_BALANCE__ENABLED", "on".to_owned())));
        let mut programs = vec![PathBuf::from(env!("CARGO_BIN_EXE_gateway"))];
        programs.extend(settings.previous.clone());
        let mut nodes = Vec::new();
        for number in 0..NODES {
            let name = format!("node-{number}");
            let proxy = Proxy::before(Redis::socket(folder)).await;
            let log = folder.join(format!("{name}.log"));
            let url = match &store {
                Store::Alone(_) => format!("redis://{}", proxy.address),
                Store::Watched(watched) => watched.url(),
            };
            let to_main = match &main {
                None => None,
                Some(_) => Some(Proxy::before(Redis::socket(&beside)).await),
            };
            let redis = match &to_main {
                None => vec![("GATEWAY_REDIS_URL", url)],
                Some(to_main) => vec![
                    ("GATEWAY_REDIS_URL", format!("redis://{}", to_main.address)),
                    ("GATEWAY_REDIS__OF__AUDITED__URL", url),
                    ("GATEWAY_REDIS__OF__AUDITED__NAMESPACES", "/".to_owned()),
                ],
            };
            let (address, process, starts) = Default::default();
            let harm = Harm::new(&harms);
            let (environment, programs, routes) = (environment.clone(), programs.clone(), routes.clone());
            let node = Node {
                name,
                log,
                proxy,
                _to_main: to_main,
                redis,
                routes,
                address,
                process,
                harm,
                environment,
                programs,
                starts,
            };
            node.start(&mut *node.process.lock().await).await;
            nodes.push(node);
        }
        Self {
            nodes,
            redis: Mutex::new(store),
            main,
            database,
            back_end,
            key,
            troubles: Semaphore::new(NODES - 1),
            harm: Harm::new(&harms),
            harms,
            torn: Arc::default(),
            turn: Mutex::default(),
        }
    }

    /// Where a node can be reached; nothing while it is down.
    pub(crate) fn address(&self, node: usize) -> Option<SocketAddr> {
        *self.nodes[node].address.lock()
    }

    /// Whether nothing is being done to a node, nor to Redis.
    pub(crate) fn is_quiet(&self, node: usize) -> bool {
        self.harm.is_done() && self.nodes[node].harm.is_done()
    }

    /// Where rooms are archived, if they are.
    pub(crate) fn database(&self) -> Option<&Database> {
        self.database.as_ref()
    }

    /// Who is told of members and sessions.
    pub(crate) fn back_end(&self) -> &BackEnd {
        &self.back_end
    }

    /// By which back ends ask nodes, if these know keys.
    pub(crate) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// When something was done to nodes or Redis.
    pub(crate) fn harms(&self) -> &Harms {
        &self.harms
    }

    /// What the log may lack of what members have heard.
    pub(crate) fn torn(&self) -> &Arc<Torn> {
        &self.torn
    }

    /// Does a deed and undoes it; returns when the cluster has got over it, with what should not have happened. Redis is
    /// left alone for a while after each.
    pub(crate) async fn suffer(&self, deed: Deed) -> Result<(), String> {
        if !deed.is_of_redis() {
            return self.carry_out(deed).await;
        }
        let _turn = self.turn.lock().await;
        let done = self.carry_out(deed).await;
        sleep(REST).await;
        done
    }

    async fn carry_out(&self, deed: Deed) -> Result<(), String> {
        match deed {
            Deed::KillNode { node, down } => self.nodes[node].stop(&self.troubles, "KILL", down).await,
            Deed::DrainNode { node, down } => self.nodes[node].stop(&self.troubles, "TERM", down).await,
            Deed::PauseNode { node, length } => {
                self.nodes[node].pause(&self.troubles, length).await;
                Ok(())
            }
            Deed::PartitionNode { node, how, length } => {
                self.nodes[node].partition(&self.troubles, how, length).await;
                Ok(())
            }
            Deed::StopDatabase { how, down } => {
                // This harms nobody: whoever stalls meanwhile is found.
                self.database.as_ref().expect("there is a database").stop(how, down).await;
                Ok(())
            }
            Deed::KillConnections => {
                let redis = self.redis.lock().await;
                let _harming = self.harm.begin();
                match &*redis {
                    Store::Alone(redis) => redis.kill_connections().await,
                    Store::Watched(watched) => watched.kill_connections().await,
                }
                Ok(())
            }
            Deed::FailOver { politely } => {
                let mut redis = self.redis.lock().await;
                let _harming = self.harm.begin();
                match &mut *redis {
                    Store::Watched(watched) => watched.fail_over(politely, &self.torn).await,
                    Store::Alone(_) => panic!("there are no Sentinels"),
                }
            }
            Deed::Blackout { down } => {
                // Nobody else is in trouble, or will be.
                let _troubles = self.troubles.acquire_many(NODES as u32 - 1).await.unwrap();
                let mut redis = self.redis.lock().await;
                let redis = redis.alone();
                let _harming = self.harm.begin();
                let mut processes = Vec::new();
                for node in &self.nodes {
                    processes.push(node.process.lock().await);
                }
                for process in processes.iter_mut().filter_map(|process| process.as_mut()) {
                    process.start_kill().ok();
                }
                redis.stop(false).await;
                for (node, process) in self.nodes.iter().zip(&mut processes) {
                    node.end(process, "KILL").await?;
                }
                sleep(down).await;
                redis.start_again().await;
                for (node, process) in self.nodes.iter().zip(&mut processes) {
                    node.start(process).await;
                }
                Ok(())
            }
            Deed::LoseTail { bytes, down } => {
                let mut redis = self.redis.lock().await;
                let redis = redis.alone();
                let _harming = self.harm.begin();
                redis.stop(false).await;
                redis.lose(bytes);
                self.torn.begin();
                sleep(down).await;
                redis.start_again().await;
                Ok(())
            }
            Deed::DemoteRedis { length } => self.tell_redis("REPLICAOF 127.0.0.1 1", length, "REPLICAOF NO ONE").await,
            Deed::FillRedis { length } => {
                self.tell_redis("CONFIG SET maxmemory 1mb", length, "CONFIG SET maxmemory 0").await
            }
            Deed::StopMain { politely, down } => {
                let mut redis = self.main.as_ref().expect("there are two").lock().await;
                let _harming = self.harm.begin();
                redis.stop(politely).await;
                sleep(down).await;
                redis.start_again().await;
                Ok(())
            }
            Deed::StopRedis { politely, down } => {
                let mut redis = self.redis.lock().await;
                let redis = redis.alone();
                let _harming = self.harm.begin();
                redis.stop(politely).await;
                sleep(down).await;
                redis.start_again().await;
                Ok(())
            }
        }
    }

    /// Has Redis be something else for a while.
    async fn tell_redis(&self, begin: &str, length: Duration, end: &str) -> Result<(), String> {
        let mut redis = self.redis.lock().await;
        let redis = redis.alone();
        let _harming = self.harm.begin();
        for (command, pause) in [(begin, length), (end, Duration::ZERO)] {
            let answer = redis.command(command).await;
            if !answer.starts_with("+OK") {
                return Err(format!("Redis to {command}: {answer}"));
            }
            sleep(pause).await;
        }
        Ok(())
    }

    /// Notes when Redis is slow although nothing is being done to it.
    pub(crate) async fn look_at_redis(&self) {
        // Whoever does something to it has it.
        let Ok(redis) = self.redis.try_lock() else { return };
        let Store::Alone(redis) = &*redis else { return };
        let mut answer = std::pin::pin!(redis.command("PING"));
        if timeout(SLOW, &mut answer).await.is_err() {
            let _harming = self.harm.begin();
            answer.await;
        }
    }

    /// Starts nodes again that ended by themselves, and names them.
    pub(crate) async fn revive(&self) -> Vec<String> {
        let mut ended = Vec::new();
        for node in &self.nodes {
            // A node that something is being done to is looked after by whoever does it.
            let Ok(mut process) = node.process.try_lock() else { continue };
            let status = process.as_mut().and_then(|process| process.try_wait().unwrap());
            if let Some(status) = status {
                *node.address.lock() = None;
                ended.push(format!("{} ended by itself: {status}", node.name));
                node.start(&mut process).await;
            }
        }
        ended
    }

    /// Ends all nodes as an operator would; what should not have happened.
    pub(crate) async fn stop(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        for node in &self.nodes {
            let mut process = node.process.lock().await;
            complaints.extend(node.end(&mut process, "TERM").await.err());
        }
        complaints
    }
}

impl Node {
    /// Starts the process, again and again as a supervisor does: it ends at once if Redis cannot be reached.
    async fn start(&self, process: &mut Option<Child>) {
        let program = self.starts.fetch_add(1, Ordering::AcqRel) + self.programs.len() - 1;
        loop {
            let written = std::fs::metadata(&self.log).map_or(0, |file| file.len());
            let log = std::fs::File::options().create(true).append(true).open(&self.log).unwrap();
            let mut child = Command::new(&self.programs[program % self.programs.len()])
                .arg("--config")
                .arg(&self.routes)
                .env_clear()
                .envs(self.environment.iter().map(|(key, value)| (key, value)))
                .envs(self.redis.iter().map(|(key, value)| (key, value)))
                .env("GATEWAY_NODE_NAME", &self.name)
                .stdout(Stdio::null())
                .stderr(Stdio::from(log))
                .kill_on_drop(true)
                .spawn()
                .unwrap();
            while child.try_wait().unwrap().is_none() {
                if let Some(address) = self.ready_since(written) {
                    *self.address.lock() = Some(address);
                    *process = Some(child);
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// The address that the process says it listens on, in what it logged since a place in the file.
    fn ready_since(&self, written: u64) -> Option<SocketAddr> {
        use std::io::{Read, Seek, SeekFrom};
        let mut file = std::fs::File::open(&self.log).unwrap();
        file.seek(SeekFrom::Start(written)).unwrap();
        let mut text = String::new();
        file.take(64 * 1024).read_to_string(&mut text).ok()?;
        let line = text.lines().find(|line| line.contains(" ready "))?;
        line.split(" address=").nth(1)?.split(' ').next()?.parse().ok()
    }

    async fn stop(&self, troubles: &Semaphore, signal: &str, down: Duration) -> Result<(), String> {
        let _trouble = troubles.acquire().await.unwrap();
        let mut process = self.process.lock().await;
        let _harming = self.harm.begin();
        let ended = self.end(&mut process, signal).await;
        sleep(down).await;
        self.start(&mut process).await;
        ended
    }

    async fn end(&self, process: &mut Option<Child>, signal: &str) -> Result<(), String> {
        let Some(mut child) = process.take() else { return Ok(()) };
        self.signal(&child, signal).await;
        let started = Instant::now();
        let status = timeout(LEAVING, child.wait()).await;
        *self.address.lock() = None;
        match status {
            Ok(status) if signal == "KILL" || status.as_ref().is_ok_and(std::process::ExitStatus::success) => Ok(()),
            status => Err(format!("{} after SIG{signal}: {status:?} after {:?}", self.name, started.elapsed())),
        }
    }

    async fn pause(&self, troubles: &Semaphore, length: Duration) {
        let _trouble = troubles.acquire().await.unwrap();
        let process = self.process.lock().await;
        let Some(child) = &*process else { return };
        let _harming = self.harm.begin();
        self.signal(child, "STOP").await;
        sleep(length).await;
        self.signal(child, "CONT").await;
    }

    /// Signals the process by its id, if it still runs.
    async fn signal(&self, child: &Child, signal: &str) {
        if let Some(id) = child.id() {
            Command::new("kill").arg(format!("-{signal}")).arg(id.to_string()).status().await.unwrap();
        }
    }

    async fn partition(&self, troubles: &Semaphore, how: Partition, length: Duration) {
        let _trouble = troubles.acquire().await.unwrap();
        let _harming = self.harm.begin();
        let blocked = if how == Partition::Cut { Way::Closed } else { Way::Held };
        self.proxy.way.send_replace(blocked);
        sleep(length).await;
        if how == Partition::Swallow {
            self.proxy.way.send_replace(Way::Closed);
            // Long enough for every connection to notice.
            sleep(Duration::from_millis(50)).await;
        }
        self.proxy.way.send_replace(Way::Open);
    }
}

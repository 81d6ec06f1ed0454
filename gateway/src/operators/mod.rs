//! EDGE: the operators' namespace, `/admin` on the admin listener. Whichever node an operator is connected to, it hears
//! all of them, through socketioxide's Redis adapter with a driver over the bus.
//!
//! While nobody listens anywhere, nothing is counted and nothing is sent: nodes with operators say so on a channel, and
//! the others believe it for a while.

mod admit;
mod driver;
mod figures;
mod own;
mod passages;
mod sights;
mod sockets;
mod tails;
mod wishes;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use socketioxide::adapter::Emitter;
use socketioxide::layer::SocketIoLayer;
use socketioxide::{BroadcastError, ParserConfig, SocketIo};
use socketioxide_redis::{CustomRedisAdapter, RedisAdapterConfig, RedisAdapterCtr};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use self::admit::Admission;
use self::driver::BusDriver;
use self::figures::{Beside, Figures};
use self::passages::Passages;
use self::sights::Told;
use self::wishes::Desk;
use gateway_core::auth::{OperatorRole, OperatorToken};
use gateway_core::bus::{Bus, BusMessage};
use gateway_core::config::Config;
use gateway_core::content::Bounds;
use gateway_core::control::{Control, Orders};
use gateway_core::metrics::Metrics;
use gateway_core::node::{Node, RosterChange, Sight, Slots, Taps, Watch};
use gateway_core::port::{Port, PortError};
use gateway_core::routes::{Router, Tallied};

const NAMESPACE: &str = "/admin";
/// How often figures are sent: what the Admin UI is used to.
const EVERY: Duration = Duration::from_secs(2);
/// How long a node with operators is believed to have some: two of its calls may be lost.
const BELIEVED: Duration = Duration::from_secs(5);
/// Operators of one node. Each hears all nodes, and is people.
const OPERATORS: usize = 64;
/// Calls that wait to be heard; one is enough.
const CALLS: usize = 16;
/// Packets that may wait for one operator: a few seconds of a large cluster in a storm. What comes on top is lost to it.
const PACKETS: usize = 1024;
/// The largest message of an operator, in bytes: an event that it has said.
const MESSAGE_BYTES: usize = 64 * 1024;
/// How long an operator's transport has to answer a ping, and how often it is asked; and how long one without a token
/// may stay.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the connections have to end when the node stops.
const FAREWELL: Duration = Duration::from_secs(1);

type Adapter = CustomRedisAdapter<Emitter, BusDriver>;

/// The operators of a cluster, seen from one node.
pub struct Operators {
    io: SocketIo<Adapter>,
    layer: SocketIoLayer<Adapter>,
    bus: Arc<dyn Bus>,
    watched: Watched,
    name: String,
    /// Whether operators are told the arguments of events.
    payloads: bool,
    /// The channel on which nodes say that they have operators.
    calls: String,
    heard: mpsc::Receiver<BusMessage>,
    /// The operators of this node.
    present: Arc<Slots>,
    /// Told when one has come.
    came: Arc<Notify>,
    figures: Figures,
    passages: Passages,
    /// Until when somebody is believed to listen, and who comes and leaves meanwhile.
    audience: Option<Audience>,
    /// Whether the other nodes could not be reached since the last figures.
    cut_off: bool,
}

/// What of the node operators watch, and decide about.
#[derive(Clone)]
pub struct Watched {
    /// What routes refuse.
    pub router: Arc<Router>,
    /// Its sessions.
    pub node: Arc<Node>,
    /// The sessions of all nodes.
    pub control: Arc<Control>,
    /// How it stands.
    pub orders: Arc<dyn Orders>,
    /// What rooms say.
    pub taps: Arc<Taps>,
    /// What it counts.
    pub metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").finish_non_exhaustive()
    }
}

struct Audience {
    until: Instant,
    changes: broadcast::Receiver<RosterChange>,
    sights: Watch,
}

/// What happens that somebody listens to.
enum Happening {
    Roster(Result<RosterChange, RecvError>),
    Seen(Sight),
}

impl std::fmt::Debug for Operators {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operators").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Operators {
    /// Opens the namespace to whoever knows `admin.token`, which must not be empty, or `admin.viewer_token`. `name` and `host` are what this node
    /// and its machine are called. To be waited for before the listener accepts anybody: official clients give up on a
    /// namespace that does not exist yet.
    ///
    /// # Errors
    /// The bus cannot be reached.
    pub async fn start(
        config: &Config,
        token: Arc<OperatorToken>,
        name: &str,
        host: &str,
        bus: Arc<dyn Bus>,
        watched: Watched,
    ) -> Result<Self, PortError> {
        let prefix = format!("{}:operators", config.redis.prefix);
        let (calls, (sink, heard)) = (format!("{prefix}:here"), mpsc::channel(CALLS));
        bus.subscribe(&calls, sink).await?;
        let adapter = RedisAdapterConfig::new().with_prefix(prefix);
        let parser = ParserConfig::common().max_incoming_binaries(0).packet_completion_timeout(PATIENCE);
        let (layer, io) = SocketIo::builder()
            .with_adapter::<Adapter>(RedisAdapterCtr::new_with_driver(BusDriver(bus.clone()), adapter))
            .with_parser(parser)
            .max_payload(MESSAGE_BYTES as u64)
            .ws_max_message_size(MESSAGE_BYTES)
            .ws_max_frame_size(MESSAGE_BYTES)
            .max_buffer_size(PACKETS)
            .ping_interval(PATIENCE)
            .ping_timeout(PATIENCE)
            .connect_timeout(PATIENCE)
            .build_layer();
        let (present, came) = (Arc::new(Slots::new(OPERATORS)), Arc::<Notify>::default());
        let desk = Arc::new(Desk {
            watched: watched.clone(),
            name: name.to_owned(),
            bounds: Bounds::new(&config.limits),
            payloads: config.admin.payloads,
            listing: tokio::sync::Mutex::default(),
        });
        let metrics = watched.metrics.clone();
        let admission = Admission { token, present: present.clone(), came: came.clone(), desk, metrics };
        let opened = io.ns::<_, ()>(NAMESPACE, admission).await;
        opened.map_err(|error| Port::Bus.not_now("open the operators' namespace", error))?;
        let (figures, payloads) = (Figures::new(&watched, name, host), config.admin.payloads);
        let (name, passages) = (name.to_owned(), Passages::default());
        let (audience, cut_off) = (None, false);
        Ok(Self {
            io,
            layer,
            bus,
            watched,
            name,
            payloads,
            calls,
            heard,
            present,
            came,
            figures,
            passages,
            audience,
            cut_off,
        })
    }

    /// The routes of the admin listener with the operators' namespace before them, below `/socket.io/`.
    pub fn mount(&self, router: axum::Router) -> axum::Router {
        router.layer(self.layer.clone())
    }

    /// Tells operators of this node until it stops, and then ends the connections of its own.
    pub async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(self.serve()).await;
        // An operator that reads nothing would keep it from returning.
        timeout(FAREWELL, self.io.close()).await.ok();
    }

    async fn serve(&mut self) {
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                due = tick.tick() => {
                    let lag = due.elapsed();
                    self.cut_off = false;
                    self.call().await;
                    if self.audience.as_ref().is_some_and(|audience| audience.until < Instant::now()) {
                        self.audience = None;
                    }
                    if self.audience.is_some() {
                        self.tell_figures(lag).await;
                    }
                }
                () = self.came.notified() => self.call().await,
                Some(message) = self.heard.recv() => {
                    if matches!(message, BusMessage::Message { .. }) {
                        self.attend().await;
                    }
                }
                happening = next(&mut self.audience) => match happening {
                    Happening::Roster(Ok(change)) => self.tell_change(&change).await,
                    Happening::Roster(Err(RecvError::Lagged(missed))) => self.passages.leave_out(missed),
                    Happening::Roster(Err(RecvError::Closed)) => self.audience = None,
                    Happening::Seen(sight) => self.tell_sight(&sight).await,
                },
            }
        }
    }

    /// Says to all nodes that there are operators, if they are here. This node knows even if the bus is away.
    async fn call(&mut self) {
        if self.present.taken() > 0 {
            self.attend().await;
            if let Err(error) = self.bus.publish(&self.calls, self.name.clone().into()).await {
                tracing::debug!(%error, "the other nodes do not know that an operator listens");
            }
        }
    }

    /// Notes that somebody listens, here or elsewhere.
    async fn attend(&mut self) {
        let until = Instant::now() + BELIEVED;
        match &mut self.audience {
            Some(audience) => audience.until = until,
            None => {
                let node = &self.watched.node;
                self.audience =
                    Some(Audience { until, changes: node.roster().changes(), sights: node.sights().watch() });
                self.watched.router.take_refusals();
                self.figures.begin();
                self.passages.turn();
                self.tell_figures(Duration::ZERO).await;
            }
        }
    }

    async fn tell_figures(&mut self, lag: Duration) {
        let left_out = self.passages.turn() + self.watched.node.sights().turn();
        self.watched.metrics.operators_left_out.increment(left_out);
        let stats = self.figures.take(&Beside { left_out, lag, operators: self.present.taken() });
        emit(&self.io, &mut self.cut_off, None, "server_stats", &stats).await;
        let (refusals, left_out) = self.watched.router.take_refusals();
        if !refusals.is_empty() {
            let refusals: Vec<_> = refusals.iter().map(refused).collect();
            let told = json!({ "node": self.name, "refusals": refusals, "leftOut": left_out });
            emit(&self.io, &mut self.cut_off, None, "refusals", &told).await;
        }
    }

    async fn tell_change(&mut self, change: &RosterChange) {
        if let Some(passage) = self.passages.note(change, &self.name) {
            emit(&self.io, &mut self.cut_off, None, passage.event(), &passage).await;
        }
    }

    async fn tell_sight(&mut self, sight: &Sight) {
        let (event, told) = Told::of(sight, &self.name, self.payloads);
        if let Some(payload) = &told.payload {
            let (operators, viewers) = (OperatorRole::Operator, OperatorRole::Viewer);
            emit(&self.io, &mut self.cut_off, Some(operators), event, payload).await;
            emit(&self.io, &mut self.cut_off, Some(viewers), event, &told.plain).await;
        } else {
            emit(&self.io, &mut self.cut_off, None, event, &told.plain).await;
        }
    }
}

/// Refusals of one kind, as the console reads them.
fn refused(tallied: &Tallied) -> Value {
    let route = tallied.route.as_deref();
    json!({
        "namespace": &*tallied.namespace,
        // Empty where no route is for the event.
        "event": route.map_or("", |route| &route.event),
        "place": route.map_or("", |route| &route.place),
        "action": route.map_or("", |route| route.action.name()),
        "code": tallied.code,
        "count": tallied.count,
    })
}

/// What happens next, if somebody wants to know.
async fn next(audience: &mut Option<Audience>) -> Happening {
    match audience {
        Some(Audience { changes, sights, .. }) => tokio::select! {
            change = changes.recv() => Happening::Roster(change),
            sight = sights.next() => Happening::Seen(sight),
        },
        None => pending().await,
    }
}

/// Tells all operators, or those of a role; those of this node alone if the others cannot be reached.
async fn emit<T: Serialize>(
    io: &SocketIo<Adapter>,
    cut_off: &mut bool,
    role: Option<OperatorRole>,
    event: &str,
    data: &T,
) {
    let operators = || {
        let all = io.of(NAMESPACE)?;
        Some(match role {
            Some(role) => all.to(role.word()),
            None => all,
        })
    };
    if !*cut_off && let Some(everywhere) = operators() {
        // The adapter delivers nothing here if it could not reach the others. Whoever is full does not read.
        *cut_off = matches!(everywhere.emit(event, data).await, Err(BroadcastError::Adapter(_)));
    }
    if *cut_off && let Some(here) = operators() {
        here.local().emit(event, data).await.ok();
    }
}

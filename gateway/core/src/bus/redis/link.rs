//! One connection of the bus: fred's client to where the primary is now, and how its end is noticed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fred::error::{Error, ErrorKind};
use fred::prelude::{Builder, Client, ClientLike, Server, ServerConfig};
use fred::types::config::{Config, TcpConfig, TlsConfig, TlsConnector};
use fred::types::{CustomCommand, Message, RespVersion, Value};
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;

use crate::redis::{Address, ConnectError, Doubt, Greeting, Primary};

/// How often each connection is asked for a sign of life, and whether it is one to a primary.
const WATCH: Duration = Duration::from_secs(1);
/// After how many of these it is asked where the primary is: what is written to an old one until then is lost.
const LOOK: u32 = 2;
/// Commands that may wait for the connection.
const COMMANDS: usize = 4096;
/// What fred's channels hold that hardly ever carry anything. It makes nine of them, and fills each with empty places.
const EVENTS: usize = 32;
/// How long to wait between attempts to connect, at first and at last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How connections are made.
#[derive(Clone)]
pub(super) struct Opener {
    pub(super) primary: Arc<Primary>,
    pub(super) timeout: Duration,
    /// When the connection last brought a message, if it is one that does.
    pub(super) heard: Option<Arc<Mutex<Instant>>>,
}

/// A connection. fred is not asked to connect again: it knows one address, and hears nothing afterwards.
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) generation: u64,
    pub(super) messages: broadcast::Receiver<Message>,
    pub(super) guard: Guard,
}

/// What notices the end of a connection, and ends it when it goes itself.
pub(super) struct Guard(AbortOnDropHandle<String>);

impl Guard {
    /// Waits for the end, and returns why it came.
    pub(super) async fn ended(&mut self) -> String {
        (&mut self.0).await.unwrap_or_else(|error| error.to_string())
    }
}

impl Opener {
    /// Connects to the primary. `messages` may wait on this connection to be taken.
    pub(super) async fn open(&self, messages: usize) -> Result<Link, ConnectError> {
        let late = |_| ConnectError::Away(format!("Redis did not answer within {:?}", self.timeout));
        tokio::time::timeout(self.timeout, self.try_open(messages)).await.map_err(late)?
    }

    async fn try_open(&self, capacity: usize) -> Result<Link, ConnectError> {
        let primary = &self.primary;
        let generation = primary.generation();
        let address = primary.locate().await?;
        let failed = |error: Error| ConnectError::of_text(&address, error.details());
        let client = self.client(&address).map_err(failed)?;
        // fred gives all its channels the same size, and only this one carries anything.
        let (sender, messages) = broadcast::channel(capacity);
        client.inner().notifications.pubsub.store(Arc::new(sender));
        let mut task = AbortOnDropHandle::new(client.init().await.map_err(failed)?);
        let greeting = greet(&client).await.map_err(failed)?;
        let generation = primary.welcome(generation, &address, &greeting)?;
        let (asked, opener) = (client.clone(), self.clone());
        let guard = AbortOnDropHandle::new(tokio::spawn(async move {
            let mut generations = opener.primary.generations();
            tokio::select! {
                biased;
                ended = &mut task => match ended {
                    Ok(Err(error)) if !error.is_canceled() => error.details().to_owned(),
                    _ => "the connection was lost".into(),
                },
                _ = generations.wait_for(|now| *now != generation) => "Redis is elsewhere by now".into(),
                why = opener.watch(&asked, generation, &address) => why,
            }
        }));
        Ok(Link { client, generation, messages, guard: Guard(guard) })
    }

    /// Asks for a sign of life and for the server's role, for as long as both are there; returns what is wrong. A half-open
    /// connection would never end by itself, and fred's own check starts over with every command that is written.
    async fn watch(&self, client: &Client, generation: u64, address: &Address) -> String {
        let mut tick = tokio::time::interval(WATCH);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for beat in 1.. {
            tick.tick().await;
            match role(client).await {
                Ok(greeting) if greeting.is_primary() => {}
                Ok(_) => {
                    self.primary.distrust(generation, Doubt::Replica);
                    return Doubt::Replica.to_string();
                }
                // The answer comes after everything that came before it.
                Err(error) if *error.kind() == ErrorKind::Timeout && self.is_busy() => {}
                Err(error) => return error.details().to_owned(),
            }
            if beat % LOOK == 0 {
                self.primary.look_again(generation, address).await;
            }
        }
        String::new()
    }

    /// Whether messages come.
    fn is_busy(&self) -> bool {
        self.heard.as_ref().is_some_and(|heard| heard.lock().elapsed() < self.timeout)
    }

    fn client(&self, address: &Address) -> Result<Client, Error> {
        let server = match address {
            Address::Socket(path) => ServerConfig::Unix { path: path.clone() },
            Address::Host(host) => {
                let is_v6 = host.name.contains(':');
                let mut server =
                    Server::new(if is_v6 { format!("[{}]", host.name) } else { host.name.clone() }, host.port);
                server.tls_server_name = Some(host.name.as_str().into());
                ServerConfig::Centralized { server }
            }
        };
        let (login, database) = (self.primary.login(), self.primary.database());
        let config = Config {
            server,
            username: login.user.clone(),
            password: login.password.as_ref().map(|password| password.expose().to_owned()),
            // RESP3 lets the listening connection answer while it is subscribed.
            version: RespVersion::RESP3,
            database: (database != 0).then_some(database),
            tls: self.primary.tls().map(|config| TlsConfig::from(TlsConnector::from(config.as_ref().clone()))),
            ..Config::default()
        };
        let mut builder = Builder::from_config(config);
        builder.with_performance_config(|performance| {
            performance.broadcast_channel_capacity = EVENTS;
            performance.default_command_timeout = self.timeout;
        });
        builder.with_connection_config(|connection| {
            connection.connection_timeout = self.timeout;
            connection.internal_command_timeout = self.timeout;
            // A command in flight when the connection was lost is not sent again: its fate is the caller's to settle.
            connection.max_command_attempts = 1;
            connection.max_command_buffer_len = COMMANDS;
            connection.tcp = TcpConfig { nodelay: Some(true), ..Default::default() };
        });
        builder.build()
    }
}

async fn role(client: &Client) -> Result<Greeting, Error> {
    let hello = CustomCommand::new_static("HELLO", None::<u16>, false);
    let mut about: HashMap<String, Value> = client.custom(hello, Vec::<Value>::new()).await?;
    let mut text = |name| about.remove(name).map(Value::convert).transpose();
    Ok(Greeting { role: text("role")?, version: text("version")?, run_id: None })
}

/// Asks a server what it is. Whoever cannot serve yet says so by its answer to PING; what the gateway may not know,
/// because of its rights, is left out.
async fn greet(client: &Client) -> Result<Greeting, Error> {
    let greeting = role(client).await?;
    if let Err(error) = client.ping::<()>(None).await
        && Doubt::of_text(error.details()).is_some()
    {
        return Err(error);
    }
    let info = CustomCommand::new_static("INFO", None::<u16>, false);
    match client.custom::<String, _>(info, vec!["server"]).await {
        Ok(info) => Ok(greeting.with_info(&info)),
        Err(_) => Ok(greeting),
    }
}

/// How long to wait before the next attempt: longer with each that failed, and from the beginning after one that held.
pub(super) struct Pauses {
    next: Duration,
    begun: Instant,
}

impl Pauses {
    pub(super) fn new() -> Self {
        Self { next: Duration::ZERO, begun: Instant::now() }
    }

    pub(super) async fn wait(&mut self) {
        if self.begun.elapsed() > PAUSES.1 * 2 {
            self.next = Duration::ZERO;
        }
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).clamp(PAUSES.0, PAUSES.1);
        self.begun = Instant::now();
    }
}

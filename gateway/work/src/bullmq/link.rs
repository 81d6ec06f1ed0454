//! The connection to the primary that is shared by all queues, and made anew where the primary is by now.

use std::collections::HashMap;
use std::sync::Arc;

use bullmq::options::{RedisConnectionOptions, TlsCerts};
use bullmq::redis_connection::RedisConnection;
use bullmq::{Error, Queue, QueueOptions};
use gateway_core::jobs::QueueName;
use gateway_core::port::{Port, PortError};
use gateway_core::redis::{Address, CommandError, Commands, ConnectError, Doubt, Primary};
use parking_lot::Mutex;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::timeout;

use super::names;

/// What in a path would mean something in a URL.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_');

/// The way to the primary.
pub(super) struct Link {
    pub(super) commands: Commands,
    primary: Arc<Primary>,
    pub(super) prefix: String,
    current: AsyncMutex<Option<Arc<Tied>>>,
}

/// A connection to where the primary was in a generation.
pub(super) struct Tied {
    pub(super) generation: u64,
    pub(super) address: Address,
    connection: RedisConnection,
    queues: Mutex<HashMap<String, Arc<Queue>>>,
}

impl Link {
    pub(super) fn new(commands: Commands, prefix: String) -> Self {
        let primary = commands.primary();
        Self { commands, primary, prefix, current: AsyncMutex::default() }
    }

    /// Changes when the primary may be elsewhere.
    pub(super) fn generations(&self) -> tokio::sync::watch::Receiver<u64> {
        self.primary.generations()
    }

    /// Where the primary is, and how one connects to it.
    pub(super) async fn locate(&self) -> Result<(u64, Address, RedisConnectionOptions), ConnectError> {
        let generation = self.primary.generation();
        let address = self.primary.locate().await?;
        let options = self.options(&address);
        Ok((generation, address, options))
    }

    fn options(&self, address: &Address) -> RedisConnectionOptions {
        let login = self.primary.login();
        let options = RedisConnectionOptions::new();
        let mut options = match address {
            Address::Host(host) => {
                let mut options = options.host(&host.name).port(host.port).db(self.primary.database());
                options.username.clone_from(&login.user);
                options.password = login.password.as_ref().map(|password| password.expose().to_owned());
                options
            }
            Address::Socket(path) => {
                let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
                let path = utf8_percent_encode(&path.to_string_lossy(), PATH).to_string();
                let mut url = format!("redis+unix://{path}?db={}", self.primary.database());
                if let Some(user) = &login.user {
                    url += &format!("&user={}", encoded(user));
                }
                if let Some(password) = &login.password {
                    url += &format!("&pass={}", encoded(password.expose()));
                }
                options.url(url)
            }
        };
        options.tls_certs = self.primary.certificates().map(|certificates| {
            let (cert, key) = certificates.client_tls.map(|client| (client.client_cert, client.client_key)).unzip();
            TlsCerts { root_cert: certificates.root_cert, client_cert: cert, client_key: key }
        });
        options
    }

    /// A queue, over the connection that is of now.
    pub(super) async fn queue(&self, name: &QueueName) -> Result<(Arc<Tied>, Arc<Queue>), PortError> {
        let late = |_| Port::Jobs.not_now("connect", "Redis did not answer in time");
        timeout(self.commands.timeout(), self.tied_queue(name)).await.map_err(late)?
    }

    async fn tied_queue(&self, name: &QueueName) -> Result<(Arc<Tied>, Arc<Queue>), PortError> {
        let tied = self.tied().await?;
        let written = names::of_queue(name);
        let known = tied.queues.lock().get(&*written).cloned();
        if let Some(queue) = known {
            return Ok((tied, queue));
        }
        let options = QueueOptions { prefix: self.prefix.clone(), ..QueueOptions::default() };
        let made = Queue::with_connection(&written, tied.connection.clone(), options).await;
        let queue = match made {
            Ok(queue) => Arc::new(queue),
            Err(error) => return Err(self.failed(&tied, "connect", error).await),
        };
        tied.queues.lock().insert(written.into_owned(), queue.clone());
        Ok((tied, queue))
    }

    async fn tied(&self) -> Result<Arc<Tied>, PortError> {
        let mut current = self.current.lock().await;
        if let Some(tied) = current.as_ref().filter(|tied| tied.generation == self.primary.generation()) {
            return Ok(tied.clone());
        }
        let failed = |error: ConnectError| Port::Jobs.failed("connect", CommandError::from(error));
        let (generation, address, options) = self.locate().await.map_err(failed)?;
        let connection = RedisConnection::new_managed_only(&options).await;
        let connection = match connection {
            Ok(connection) => connection,
            Err(error) => return Err(error_of("connect", error)),
        };
        let tied = Arc::new(Tied { generation, address, connection, queues: Mutex::default() });
        *current = Some(tied.clone());
        Ok(tied)
    }

    /// What an error means, for whoever asked and for the generation.
    pub(super) async fn failed(&self, tied: &Tied, operation: &'static str, error: Error) -> PortError {
        if let Error::Redis(error) = &error {
            self.judge(tied.generation, &tied.address, &error.to_string()).await;
        }
        error_of(operation, error)
    }

    /// Looks for signs in the words of an error that the primary is elsewhere. Returns whether they say so themselves: then a
    /// connection that is there still is of no use.
    pub(super) async fn judge(&self, generation: u64, address: &Address, words: &str) -> bool {
        if let Some(doubt) = Doubt::of_text(words).filter(|doubt| *doubt != Doubt::Loading) {
            self.primary.distrust(generation, doubt);
            return true;
        }
        self.primary.look_again(generation, address).await;
        false
    }
}

/// An error of BullMQ as one of the port.
pub(super) fn error_of(operation: &'static str, error: Error) -> PortError {
    match error {
        Error::Redis(error) => Port::Jobs.failed(operation, CommandError::from(error)),
        error => Port::Jobs.broken(operation, error.to_string()),
    }
}

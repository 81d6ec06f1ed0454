//! Who is asked where the primary is: Sentinels, or the nodes of a Redis Cluster.

use std::time::Duration;

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{
    self, AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, FromRedisValue, IntoConnectionInfo,
    ProtocolVersion, RedisConnectionInfo, RedisError, RedisResult, Value,
};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::error::ConnectError;
use super::primary::{Address, Primary, Votes};
use crate::config::{Host, Location, Login};

/// How long one of those who may know has for its answer, at most.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is asked.
enum Question<'a> {
    Sentinel { service: &'a str, login: &'a Login },
    Cluster,
}

impl Primary {
    /// How redis-rs connects to an address.
    pub(super) fn info(&self, address: &Address, login: &Login, database: u8) -> RedisResult<ConnectionInfo> {
        let addr = match (address, &self.tls) {
            (Address::Socket(path), _) => ConnectionAddr::Unix(path.clone()),
            (Address::Host(host), None) => ConnectionAddr::Tcp(host.name.clone(), host.port),
            (Address::Host(host), Some(_)) => {
                ConnectionAddr::TcpTls { host: host.name.clone(), port: host.port, insecure: false, tls_params: None }
            }
        };
        // Only with RESP3 is the end of a connection told.
        let mut settings =
            RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3).set_db(i64::from(database));
        if let Some(user) = &login.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &login.password {
            settings = settings.set_password(password.expose());
        }
        let info = addr.into_connection_info()?.set_redis_settings(settings);
        match (address, &self.tls) {
            (Address::Host(_), Some(tls)) => {
                Ok(Client::build_with_tls(info, tls.certificates())?.get_connection_info().clone())
            }
            _ => Ok(info),
        }
    }

    /// Asks Sentinels for the primary of a service.
    pub(super) async fn ask_sentinels(
        &self,
        sentinels: &[Host],
        service: &str,
        login: &Login,
    ) -> Result<Host, ConnectError> {
        self.ask(sentinels, &Question::Sentinel { service, login }).await
    }

    /// Asks nodes of a Redis Cluster for the one that has the keys of the deployment.
    pub(super) async fn ask_cluster(&self, configured: &[Host]) -> Result<Host, ConnectError> {
        let mut nodes = configured.to_vec();
        nodes.extend(self.learned.lock().iter().filter(|node| !configured.contains(node)).cloned());
        self.ask(&nodes, &Question::Cluster).await
    }

    async fn put(&self, question: &Question<'_>, host: &Host) -> Result<Host, ConnectError> {
        let address = Address::Host(host.clone());
        let failed = |error: RedisError| ConnectError::of(&address, &error);
        match question {
            Question::Sentinel { service, login } => {
                let mut connection = self.connect_to(&address, login).await?;
                let mut question = redis::cmd("SENTINEL");
                question.arg("GET-MASTER-ADDR-BY-NAME").arg(service);
                let answer: RedisResult<Option<(String, u16)>> = question.query_async(&mut connection).await;
                match answer.map_err(failed)? {
                    Some((name, port)) => Ok(Host { name, port }),
                    None => {
                        Err(ConnectError::Refused(format!("{address}: this Sentinel knows no primary \"{service}\"")))
                    }
                }
            }
            Question::Cluster => {
                let mut connection = self.connect_to(&address, &self.url.login).await?;
                let mut questions = redis::pipe();
                questions.cmd("CLUSTER").arg("KEYSLOT").arg(&self.prefix).cmd("CLUSTER").arg("SLOTS");
                let answer: RedisResult<(u16, Vec<Vec<Value>>)> = questions.query_async(&mut connection).await;
                let (slot, ranges) = answer.map_err(failed)?;
                let (owner, all) = read_slots(slot, ranges, host).map_err(failed)?;
                *self.learned.lock() = all;
                owner.ok_or_else(|| ConnectError::away(&address, "knows no node that has the keys of this deployment"))
            }
        }
    }

    async fn connect_to(&self, address: &Address, login: &Login) -> Result<MultiplexedConnection, ConnectError> {
        let limit = self.patience();
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(limit)).set_response_timeout(Some(limit));
        let connect = async {
            let client = Client::open(self.info(address, login, 0)?)?;
            client.get_multiplexed_async_connection_with_config(&config).await
        };
        connect.await.map_err(|error: RedisError| ConnectError::of(address, &error))
    }

    /// Whether what should speak TLS answers without it; then with what to say about that. Nothing secret is sent.
    pub(super) async fn speaks_plainly(&self) -> Option<ConnectError> {
        let host = match &self.url.location {
            Location::Server(host) => host,
            Location::Sentinel { sentinels: hosts, .. } | Location::Cluster(hosts) => hosts.first()?,
            Location::Socket(_) => return None,
        };
        let ask = async {
            let mut stream = TcpStream::connect((host.name.as_str(), host.port)).await.ok()?;
            stream.write_all(b"PING\r\n").await.ok()?;
            let mut answer = [0];
            stream.read_exact(&mut answer).await.ok()?;
            Some(answer)
        };
        let answer = timeout(self.patience(), ask).await.ok()??;
        let is_redis = b"+-".contains(&answer[0]);
        is_redis.then(|| ConnectError::Refused(format!("{host}: speaks no TLS; without it a URL begins with redis")))
    }

    fn patience(&self) -> Duration {
        PATIENCE.min(self.timeout / 2)
    }

    /// Asks all at once, and believes most of those who answer: one may have been cut off and know only what was.
    async fn ask(&self, hosts: &[Host], question: &Question<'_>) -> Result<Host, ConnectError> {
        let limit = self.patience();
        let ask = |host: &Host| {
            let host = host.clone();
            async move {
                let answer = timeout(limit, self.put(question, &host)).await;
                answer.unwrap_or_else(|_| Err(ConnectError::Away(format!("{host} did not answer within {limit:?}"))))
            }
        };
        let mut asked: FuturesUnordered<_> = hosts.iter().map(ask).collect();
        let (mut votes, mut worst) = (Votes::default(), None);
        while let Some(answer) = asked.next().await {
            match answer {
                Ok(primary) if votes.count(&primary, hosts.len()) => return Ok(primary),
                Ok(_) => {}
                // Somebody who is not there may come back; somebody who refuses is to be told of.
                Err(error @ ConnectError::Refused(_)) => worst = Some(error),
                Err(error) => worst = worst.or(Some(error)),
            }
        }
        votes.winner().ok_or_else(|| worst.unwrap_or_else(|| ConnectError::Away("nobody to ask".into())))
    }
}

/// The node that has a slot, and all nodes. `asked` is the one that answered: it may not know its own name.
fn read_slots(slot: u16, ranges: Vec<Vec<Value>>, asked: &Host) -> RedisResult<(Option<Host>, Vec<Host>)> {
    let (mut owner, mut all) = (None, Vec::new());
    for range in ranges {
        let mut parts = range.into_iter();
        let (Some(first), Some(last)) = (parts.next(), parts.next()) else { continue };
        let (first, last) = (u16::from_redis_value(first)?, u16::from_redis_value(last)?);
        for (place, node) in parts.enumerate() {
            let mut node = Vec::<Value>::from_redis_value(node)?.into_iter();
            let (Some(name), Some(port)) = (node.next(), node.next()) else { continue };
            let name = Option::<String>::from_redis_value(name)?.filter(|name| !name.is_empty() && name != "?");
            let host = Host { name: name.unwrap_or_else(|| asked.name.clone()), port: u16::from_redis_value(port)? };
            if place == 0 && (first..=last).contains(&slot) {
                owner = Some(host.clone());
            }
            if !all.contains(&host) {
                all.push(host);
            }
        }
    }
    Ok((owner, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_slot_is_the_first_node_of_its_range() {
        let text = |text: &str| Value::BulkString(text.into());
        let node = |name: Value, port| Value::Array(vec![name, Value::Int(port), text("id"), Value::Array(vec![])]);
        let range = |first, last, nodes: Vec<Value>| {
            let mut range = vec![Value::Int(first), Value::Int(last)];
            range.extend(nodes);
            range
        };
        let asked = Host { name: "seed".into(), port: 1 };
        let slots = || {
            vec![
                range(0, 99, vec![node(text("a"), 7), node(text("b"), 8)]),
                range(100, 16383, vec![node(Value::Nil, 9), node(text("a"), 7)]),
            ]
        };
        let host = |name: &str, port| Host { name: name.into(), port };
        let (owner, all) = read_slots(99, slots(), &asked).unwrap();
        assert_eq!(owner, Some(host("a", 7)));
        assert_eq!(all, [host("a", 7), host("b", 8), host("seed", 9)]);
        assert_eq!(read_slots(100, slots(), &asked).unwrap().0, Some(host("seed", 9)));
        assert_eq!(read_slots(100, Vec::new(), &asked).unwrap(), (None, Vec::new()));
    }
}

//! The URL of Redis: where the servers are, what stands before them, and who the gateway is there.

use std::fmt;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use super::{Config, Secret};

const SCHEMES: &str = "redis://, rediss://, redis-sentinel://, rediss-sentinel://, redis-cluster://, \
                       rediss-cluster:// or unix://";
/// What Sentinels call the primary if nobody says otherwise.
const SERVICE: &str = "mymaster";

/// What `redis_url` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisUrl {
    /// Where the primary is, or who knows.
    pub location: Location,
    /// Whether all connections use TLS.
    pub tls: bool,
    /// Who the gateway is to Redis.
    pub login: Login,
    /// The number of the database.
    pub database: u8,
}

/// Where the primary is, or who knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// At one address, whoever is behind it.
    Server(Host),
    /// At a unix socket.
    Socket(PathBuf),
    /// Sentinels know.
    Sentinel {
        /// The Sentinels that are asked.
        sentinels: Vec<Host>,
        /// What they call the primary.
        service: String,
        /// Who the gateway is to them.
        login: Login,
    },
    /// The nodes of a Redis Cluster know.
    Cluster(Vec<Host>),
}

/// Who somebody is to a server. Without a password nobody in particular.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// The name of an ACL user; without one it is `default`.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    /// A name or an IP address, without brackets.
    pub name: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

impl RedisUrl {
    /// Reads a URL. What is wrong with it is told without what is secret in it.
    ///
    /// # Errors
    /// What is wrong.
    pub fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| format!("must begin with {SCHEMES}"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        if rest.contains('#') || query.contains('#') {
            return Err("must not have a \"#\": write %23 in passwords".into());
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Login::parse(login)?, hosts),
            None => (Login::default(), authority),
        };
        let mut query = Query::parse(query)?;
        query.protocol()?;
        let (kind, tls) = match scheme {
            "redis" | "redis-sentinel" | "redis-cluster" => (scheme, false),
            "rediss" => ("redis", true),
            "rediss-sentinel" => ("redis-sentinel", true),
            "rediss-cluster" => ("redis-cluster", true),
            "unix" | "redis+unix" => ("unix", false),
            _ => return Err(format!("must begin with {SCHEMES}")),
        };
        let mut url = Self { location: Location::Cluster(Vec::new()), tls, login, database: 0 };
        let mut path = path.split('/').skip(1);
        match kind {
            "unix" => {
                if !hosts.is_empty() {
                    return Err("needs three slashes before the path of a unix socket: unix:///run/redis.sock".into());
                }
                let path = path.by_ref().fold(String::new(), |all, part| all + "/" + part);
                if path.len() < 2 {
                    return Err("needs the path of a unix socket".into());
                }
                url.location = Location::Socket(decoded(&path)?.into());
                url.database = database(query.take("db").as_deref().unwrap_or_default())?;
                if url.login == Login::default() {
                    let password = query.take("pass").or_else(|| query.take("password")).map(Secret::from);
                    url.login = Login { user: query.take("user"), password };
                }
            }
            "redis" => {
                let [host] = &hosts_of(hosts, &mut query, 6379)?[..] else {
                    return Err("names several hosts, which only redis-sentinel:// and redis-cluster:// have".into());
                };
                url.location = Location::Server(host.clone());
                url.database = database(path.next().unwrap_or_default())?;
            }
            "redis-sentinel" => {
                let sentinels = hosts_of(hosts, &mut query, 26379)?;
                // redis-sentinel://host/service/database, or only one of the two.
                let mut first = path.next().unwrap_or_default();
                let mut service = None;
                if !first.is_empty() && first.parse::<u8>().is_err() {
                    service = Some(decoded(first)?);
                    first = path.next().unwrap_or_default();
                }
                url.database = database(first)?;
                let named = query.take("sentinelServiceName").or_else(|| query.take("sentinelMasterId"));
                let service = named.or(service).unwrap_or_else(|| SERVICE.to_owned());
                let password = query.take("sentinelPassword").map(Secret::from);
                let login = Login { user: query.take("sentinelUsername"), password };
                url.location = Location::Sentinel { sentinels, service, login };
            }
            _ => {
                url.location = Location::Cluster(hosts_of(hosts, &mut query, 6379)?);
                if database(path.next().unwrap_or_default())? != 0 {
                    return Err("must not name a database: a Redis Cluster has only 0".into());
                }
            }
        }
        if path.any(|part| !part.is_empty()) {
            return Err("has a path with more than the database".into());
        }
        query.is_used_up()?;
        Ok(url)
    }

    /// Whether it is a Redis Cluster.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        matches!(self.location, Location::Cluster(_))
    }
}

impl Login {
    fn parse(text: &str) -> Result<Self, String> {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        let (user, password) = (decoded(user)?, decoded(password)?);
        if !user.is_empty() && password.is_empty() {
            return Err("names a user without a password: write user:password@, or :password@".into());
        }
        let user = (!user.is_empty()).then_some(user);
        Ok(Self { user, password: (!password.is_empty()).then(|| Secret::from(password)) })
    }
}

fn decoded(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| "has percent-encoded text that is not UTF-8".into())
}

fn database(text: &str) -> Result<u8, String> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| "must have a number below 256 as its database".into())
}

/// The hosts before the path, separated by commas, and those of `node=` behind it.
fn hosts_of(text: &str, query: &mut Query, port: u16) -> Result<Vec<Host>, String> {
    let mut hosts = Vec::new();
    for host in text.split(',') {
        hosts.push(Host::parse(host, port)?);
    }
    while let Some(host) = query.take("node") {
        hosts.push(Host::parse(&host, port)?);
    }
    Ok(hosts)
}

impl Host {
    fn parse(text: &str, default_port: u16) -> Result<Self, String> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (name, port) = rest.split_once(']').ok_or("has an IPv6 address without \"]\"")?;
                if name.parse::<std::net::Ipv6Addr>().is_err() {
                    return Err("has no IPv6 address between \"[\" and \"]\"".into());
                }
                (name, port.strip_prefix(':').or(port.is_empty().then_some("")).ok_or("has text behind \"]\"")?)
            }
            None => text.split_once(':').unwrap_or((text, "")),
        };
        if port.contains(':') {
            return Err("needs brackets around an IPv6 address: redis://[::1]:6379".into());
        }
        let name = decoded(name)?;
        // A part of a password that was not encoded ends up here, and must not be shown.
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_name) {
            return Err("has no host that could be one; characters like @ / ? # : in a password are written \
                        percent-encoded"
                .into());
        }
        let port = if port.is_empty() { Some(default_port) } else { port.parse().ok().filter(|port| *port > 0) };
        Ok(Self { name, port: port.ok_or("has a port that is no number from 1 to 65535")? })
    }
}

/// What stands behind the `?`.
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(text: &str) -> Result<Self, String> {
        let mut pairs = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((decoded(name)?, decoded(value)?));
        }
        Ok(Self(pairs))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(at).1)
    }

    fn protocol(&mut self) -> Result<(), String> {
        match self.take("protocol").as_deref() {
            None | Some("3" | "resp3") => Ok(()),
            Some(_) => Err("must not ask for another protocol than resp3".into()),
        }
    }

    /// An option without effect would be a mistake that nobody notices.
    fn is_used_up(&self) -> Result<(), String> {
        let Some((name, _)) = self.0.first() else { return Ok(()) };
        let is_plain = name.len() <= 40 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let name = if is_plain { name } else { "…" };
        Err(format!("has an option that means nothing here: {name}"))
    }
}

impl Config {
    pub(super) fn validate_redis_url(&self) -> Result<(), (&'static str, String)> {
        if self.redis_url.is_empty() {
            return Ok(());
        }
        let url = RedisUrl::parse(self.redis_url.expose()).map_err(|why| ("redis_url", why))?;
        let files = [
            ("redis.tls_ca", &self.redis.tls_ca),
            ("redis.tls_certificate", &self.redis.tls_certificate),
            ("redis.tls_key", &self.redis.tls_key),
        ];
        if let Some((key, _)) = files.iter().find(|(_, path)| !url.tls && !path.as_os_str().is_empty()) {
            return Err((key, "needs a redis_url with TLS: one that begins with rediss".into()));
        }
        Ok(())
    }

    /// Has all keys and channels of a deployment in one slot of a Redis Cluster: the whole prefix is their hash tag, if
    /// it does not have one itself.
    pub(super) fn tag_prefixes(&mut self) {
        self.redis.prefix = tagged(&self.redis_url, &self.redis.prefix);
        for of in self.redis.of.values_mut() {
            of.prefix = tagged(&of.url, &of.prefix);
        }
    }
}

fn tagged(url: &Secret, prefix: &str) -> String {
    let is_cluster = RedisUrl::parse(url.expose()).is_ok_and(|url| url.is_cluster());
    // As Redis finds it: between the first brace and the next that closes, if anything is.
    let tag = prefix.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    if is_cluster && tag.is_none_or(str::is_empty) {
        format!("{{{}}}", prefix.replace(['{', '}'], "_"))
    } else {
        prefix.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, port: u16) -> Host {
        Host { name: name.into(), port }
    }

    fn login(user: &str, password: &str) -> Login {
        let user = (!user.is_empty()).then(|| user.to_owned());
        Login { user, password: (!password.is_empty()).then(|| Secret::from(password.to_owned())) }
    }

    #[test]
    fn what_urls_mean() {
        let server = |name: &str, port| Location::Server(host(name, port));
        let sentinel = |service: &str, login| Location::Sentinel {
            sentinels: vec![host("a", 26379), host("b", 7)],
            service: service.into(),
            login,
        };
        let cases = [
            ("redis://h", server("h", 6379), false, login("", ""), 0),
            ("redis://h:7/", server("h", 7), false, login("", ""), 0),
            (
                "rediss://:p%40ss%2Fw%23rd%2541%3A%3F%26%C3%A9@h/3",
                server("h", 6379),
                true,
                login("", "p@ss/w#rd%41:?&é"),
                3,
            ),
            ("redis://gate%3Away:p@[::1]:7?protocol=resp3", server("::1", 7), false, login("gate:way", "p"), 0),
            (
                "unix:///run/a%20b.sock?db=2&user=u&pass=p",
                Location::Socket("/run/a b.sock".into()),
                false,
                login("u", "p"),
                2,
            ),
            ("redis+unix://:p@/run/redis.sock", Location::Socket("/run/redis.sock".into()), false, login("", "p"), 0),
            ("redis-sentinel://a,b:7", sentinel("mymaster", login("", "")), false, login("", ""), 0),
            ("redis-sentinel://u:p@a,b:7/main/2", sentinel("main", login("", "")), false, login("u", "p"), 2),
            (
                "rediss-sentinel://a?node=b:7&sentinelServiceName=x&sentinelPassword=y",
                sentinel("x", login("", "y")),
                true,
                login("", ""),
                0,
            ),
            ("redis-cluster://a,b:7", Location::Cluster(vec![host("a", 6379), host("b", 7)]), false, login("", ""), 0),
            ("rediss-cluster://:p@a:1/0", Location::Cluster(vec![host("a", 1)]), true, login("", "p"), 0),
        ];
        for (url, location, tls, login, database) in cases {
            assert_eq!(RedisUrl::parse(url), Ok(RedisUrl { location, tls, login, database }), "{url}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_secrets() {
        let cases = [
            ("", "must begin with"),
            ("h:6379", "must begin with"),
            ("http://h", "must begin with"),
            ("redis://", "has no host"),
            ("redis://h:0", "has a port"),
            ("redis://h:65536", "has a port"),
            ("redis://h:seven", "has a port"),
            ("redis://::1:6379", "needs brackets"),
            ("redis://[::1", "has an IPv6 address"),
            ("redis://[hunter2]", "has no IPv6 address"),
            ("redis://h/256", "must have a number"),
            ("redis://h/hunter2", "must have a number"),
            ("redis://h/1/2", "has a path"),
            ("redis://a,b", "names several hosts"),
            ("redis://hunter2@h", "names a user without"),
            ("redis://:hunt#er2@h", "must not have a"),
            ("redis://:hunt/er2@h", "has no host"),
            ("redis://h?protocol=resp2", "must not ask"),
            ("redis://h?timeout=3", "has an option that means nothing here: timeout"),
            ("redis://h?hunter2=%ff", "has percent-encoded"),
            ("unix://run/redis.sock", "needs three slashes"),
            ("unix:///", "needs the path"),
            ("redis-cluster://a/1", "must not name a database"),
        ];
        for (url, expected) in cases {
            let why = RedisUrl::parse(url).unwrap_err();
            assert!(why.starts_with(expected), "{url}: {why}");
            assert!(!why.contains("hunt") && why.lines().count() == 1, "{url}: {why}");
        }
        proptest::proptest!(|(url in "(redis|rediss|unix|redis-sentinel|redis-cluster)://.{0,40}")| {
            let _: Result<_, String> = RedisUrl::parse(&url);
        });
    }
}

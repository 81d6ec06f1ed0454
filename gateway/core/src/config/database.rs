//! `[database]`: where the archive and the notifications are, and how the gateway speaks with it.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Config, HiddenUrl};

/// `[database]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "see Config")]
pub struct DatabaseSettings {
    pub url: HiddenUrl,
    pub pool_size: u32,
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    pub tls_ca: PathBuf,
}

/// Which database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseKind {
    /// None: there is neither an archive nor stored notifications.
    None,
    /// The memory of the process: embedded mode without a `data_dir`.
    Memory,
    /// A file below `data_dir`: embedded mode.
    Sqlite,
    /// A PostgreSQL server.
    Postgres,
    /// A MongoDB server, or several.
    MongoDb,
}

const SCHEMES: &str = "postgres://, postgresql://, mongodb:// or mongodb+srv://";

impl DatabaseSettings {
    /// What the URL leads to; nothing if there is none.
    fn server(&self) -> Result<Option<DatabaseKind>, String> {
        let url = self.url.expose();
        if url.is_empty() {
            return Ok(None);
        }
        match url.split_once("://") {
            Some(("postgres" | "postgresql", _)) => Ok(Some(DatabaseKind::Postgres)),
            Some(("mongodb" | "mongodb+srv", _)) => Ok(Some(DatabaseKind::MongoDb)),
            Some(("sqlite" | "file", _)) => {
                Err(format!("must begin with {SCHEMES}; leave it empty for SQLite, whose file is below data_dir"))
            }
            _ => Err(format!("must begin with {SCHEMES}")),
        }
    }
}

impl Config {
    /// Which database is configured.
    #[must_use]
    pub fn database_kind(&self) -> DatabaseKind {
        match self.database.server() {
            Ok(Some(server)) => server,
            // A file or a memory that no other node has would have a part of everything.
            _ if !self.redis_url.is_empty() => DatabaseKind::None,
            _ if self.data_dir.as_os_str().is_empty() => DatabaseKind::Memory,
            _ => DatabaseKind::Sqlite,
        }
    }

    pub(super) fn validate_database(&self) -> Result<(), (&'static str, String)> {
        let server = self.database.server().map_err(|why| ("database.url", why))?;
        if server.is_none() && !self.database.tls_ca.as_os_str().is_empty() {
            return Err(("database.tls_ca", "needs a database.url".into()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(changes: &[(&str, &str)]) -> Result<Config, super::super::ConfigError> {
        super::super::load(None, changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn the_url_and_the_mode_say_which_database_it_is() {
        let redis = ("GATEWAY_REDIS_URL", "redis://h");
        let url = |url| ("GATEWAY_DATABASE__URL", url);
        for (changes, expected) in [
            (vec![], DatabaseKind::Sqlite),
            (vec![("GATEWAY_DATA_DIR", "")], DatabaseKind::Memory),
            (vec![redis], DatabaseKind::None),
            (vec![redis, url("postgres://h/d")], DatabaseKind::Postgres),
            (vec![url("postgresql://u:p@h:1/d?sslmode=require")], DatabaseKind::Postgres),
            (vec![redis, url("mongodb://a,b/d")], DatabaseKind::MongoDb),
            (vec![url("mongodb+srv://u:p@h/d")], DatabaseKind::MongoDb),
        ] {
            assert_eq!(config(&changes).unwrap().database_kind(), expected, "{changes:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_secrets() {
        for (changes, expected) in [
            (vec![("GATEWAY_DATABASE__URL", "mysql://u:hunter2@h")], "database.url: must begin with postgres://"),
            (vec![("GATEWAY_DATABASE__URL", "hunter2")], "database.url: must begin with postgres://"),
            (vec![("GATEWAY_DATABASE__URL", "sqlite://x")], "database.url: must begin with"),
            (vec![("GATEWAY_DATABASE__TLS_CA", "ca.pem")], "database.tls_ca: needs a database.url"),
            (vec![("GATEWAY_DATABASE__POOL_SIZE", "0")], "database.pool_size: must be at least 1"),
            (vec![("GATEWAY_DATABASE__TIMEOUT", "0s")], "database.timeout: must be at least 1ms"),
        ] {
            let said = config(&changes).unwrap_err().to_string();
            assert!(said.starts_with(expected) && !said.contains("hunter2"), "{said}");
        }
        let config = config(&[("GATEWAY_DATABASE__URL", "postgres://me:hunter2@h/d?password=hunter2")]).unwrap();
        let shown = format!("{config:?}{}", toml::to_string(&config).unwrap());
        assert!(shown.contains("postgres://h/d") && !shown.contains("hunter2"), "{shown}");
    }
}

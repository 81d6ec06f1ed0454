//! Reads the configuration: the default file, then a file, then the environment; nothing unknown is accepted.
//!
//! The default file is the schema too: a key that it does not have does not exist, and a variable of the
//! environment is read as the type that its default has. (General-purpose layering crates guess that type from
//! the text, which turns the secret `123` into a number.)

use std::collections::BTreeMap;
use std::path::Path;

use toml::{Table, Value};

use super::named::{inner, section_of, without_examples};
use super::{Config, DEFAULTS};

/// Why the configuration cannot be used: one line with the key and where it was set.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

const PREFIX: &str = "GATEWAY_";
/// What the name of a variable ends with that has the path of a file instead of the value, as containers are given secrets.
const IN_A_FILE: &str = "_FILE";
/// Keys of a file that are the route table's, which reads the file itself.
const OF_ROUTES: [&str; 5] = ["route", "hook", "include", "messages", "offset"];

/// Where a value came from, by dotted key; what is not listed is a default.
type Origins = BTreeMap<String, String>;

/// Reads the layers in order. `environment` is passed in so that tests need not change the process's own.
///
/// # Errors
/// The first key that is unknown or has a value that cannot be used.
pub fn load(file: Option<&Path>, environment: impl Iterator<Item = (String, String)>) -> Result<Config, ConfigError> {
    let defaults: Table = DEFAULTS.parse().map_err(|error| ConfigError(format!("gateway.default.toml: {error}")))?;
    let mut merged = without_examples(defaults.clone());
    let mut origins = Origins::new();
    if let Some(path) = file {
        let shown = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|error| ConfigError(format!("cannot read {shown}: {error}")))?;
        let table: Table = text.parse().map_err(|error| syntax_error(&shown, &text, &error))?;
        merge(&mut merged, table, &defaults, "", &shown, &mut origins)?;
    }
    let mut set = BTreeMap::new();
    for (variable, text) in environment {
        let Some(name) = variable.strip_prefix(PREFIX) else { continue };
        let (key, text) = match key_in_a_file(&defaults, name) {
            // As compose files hand on what is not set.
            Some(_) if text.trim().is_empty() => continue,
            Some(key) => {
                let content = std::fs::read_to_string(text.trim()).map_err(|error| {
                    ConfigError(format!("{key}: cannot read {}: {error} (set by {variable})", text.trim()))
                })?;
                (key, content)
            }
            None => (dotted(name), text),
        };
        // The same one again is what counts: an environment has each once.
        if let Some(other) = set.insert(key.clone(), variable.clone()).filter(|other| *other != variable) {
            return Err(ConfigError(format!("{key}: set by {other} and by {variable}; leave one of them out")));
        }
        set_from_environment(&mut merged, &defaults, &variable, &key, &text, &mut origins)?;
    }
    let config: Result<Config, _> = serde_path_to_error::deserialize(Value::Table(merged));
    let mut config = config.map_err(|error| {
        let key = error.path().to_string();
        refused(&key, &origins, error.inner().to_string().lines().next().unwrap_or_default())
    })?;
    config.complete_redis_of();
    config.validate().map_err(|(key, why)| refused(key, &origins, &why))?;
    config.validate_redis_of().map_err(|(key, why)| refused(&key, &origins, &why))?;
    config.tag_prefixes();
    config.file = file.map(Path::to_owned);
    Ok(config)
}

fn refused(key: &str, origins: &Origins, why: &str) -> ConfigError {
    // An entry of a list comes from where the list does.
    let name = key.split('[').next().unwrap_or(key);
    let origin = origins.get(name).map_or("gateway.default.toml", String::as_str);
    ConfigError(format!("{key}: {why} (set by {origin})"))
}

fn syntax_error(file: &str, text: &str, error: &toml::de::Error) -> ConfigError {
    let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    ConfigError(format!("{file}:{line}: {}", error.message()))
}

fn unknown(key: &str, origin: &str, schema: &Table) -> ConfigError {
    let known = schema.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    ConfigError(format!("{key}: no such key (set by {origin}); there are: {known}"))
}

fn merge(
    into: &mut Table,
    from: Table,
    schema: &Table,
    path: &str,
    origin: &str,
    origins: &mut Origins,
) -> Result<(), ConfigError> {
    for (name, value) in from {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        if path.is_empty() && OF_ROUTES.contains(&name.as_str()) {
            continue;
        }
        match (inner(schema, path, &name), value) {
            (Some(Value::Table(section)), Value::Table(values)) => {
                let Some(target) = section_of(into, path, &name, section) else {
                    return Err(unknown(&key, origin, schema));
                };
                merge(target, values, section, &key, origin, origins)?;
            }
            (Some(Value::Table(_)), _) => {
                return Err(ConfigError(format!("{key}: must be a section (set by {origin})")));
            }
            (Some(_), value) => {
                origins.insert(key, origin.to_owned());
                into.insert(name, value);
            }
            (None, _) => return Err(unknown(&key, origin, schema)),
        }
    }
    Ok(())
}

/// The key that a variable without the prefix names.
fn dotted(name: &str) -> String {
    name.to_lowercase().replace("__", ".")
}

/// The key whose value is in a file, if a variable without the prefix names that.
fn key_in_a_file(defaults: &Table, name: &str) -> Option<String> {
    let key = dotted(name.strip_suffix(IN_A_FILE)?);
    let (mut schema, mut path) = (defaults, String::new());
    for step in key.split('.') {
        match inner(schema, &path, step)? {
            Value::Table(section) => schema = section,
            _ => return Some(key),
        }
        path = if path.is_empty() { step.to_owned() } else { format!("{path}.{step}") };
    }
    None
}

fn set_from_environment(
    merged: &mut Table,
    defaults: &Table,
    variable: &str,
    dotted: &str,
    text: &str,
    origins: &mut Origins,
) -> Result<(), ConfigError> {
    let (mut schema, mut target, mut key) = (defaults, merged, dotted);
    let path = |rest: &str| dotted[..dotted.len() - rest.len()].trim_end_matches('.');
    while let Some((section, rest)) = key.split_once('.') {
        let section_schema = inner(schema, path(key), section).and_then(Value::as_table);
        let values = section_schema.and_then(|schema| section_of(target, path(key), section, schema));
        let (Some(section_schema), Some(values)) = (section_schema, values) else {
            return Err(unknown(dotted, variable, schema));
        };
        (schema, target, key) = (section_schema, values, rest);
    }
    let Some(default) = inner(schema, path(key), key).filter(|value| !value.is_table()) else {
        return Err(unknown(dotted, variable, schema));
    };
    let value = typed_like(default, text)
        .ok_or_else(|| ConfigError(format!("{dotted}: {text:?} is not {} (set by {variable})", kind(default))))?;
    target.insert(key.to_owned(), value);
    origins.insert(dotted.to_owned(), variable.to_owned());
    Ok(())
}

fn typed_like(default: &Value, text: &str) -> Option<Value> {
    let text = text.trim();
    match default {
        Value::Integer(_) => text.parse().ok().map(Value::Integer),
        Value::Boolean(_) => text.parse().ok().map(Value::Boolean),
        Value::Float(_) => text.parse().ok().map(Value::Float),
        Value::Array(_) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Some(Value::Array(items.map(|item| Value::String(item.to_owned())).collect()))
        }
        _ => Some(Value::String(text.to_owned())),
    }
}

fn kind(default: &Value) -> &'static str {
    match default {
        Value::Integer(_) => "a whole number",
        Value::Boolean(_) => "true or false",
        Value::Float(_) => "a number",
        _ => "usable here",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_env(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        load(None, pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    fn from_file(text: &str) -> Result<Config, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        load(Some(file.path()), std::iter::empty())
    }

    #[test]
    fn the_default_file_is_complete_and_valid() {
        let config = from_env(&[]).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:3000");
        assert_eq!(config.limits.events_per_second, 50);
        assert_eq!(config.limits.message_bytes, 65_536);
    }

    #[test]
    fn the_environment_wins_over_the_file_and_keeps_the_default_s_type() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "node_name = \"file\"\n[limits]\nconnections = 7\nevents_burst = 9\n").unwrap();
        let environment = [
            ("GATEWAY_LIMITS__CONNECTIONS", "8"),
            ("GATEWAY_AUTH__SECRET", "0123"),
            ("GATEWAY_TRUSTED_PROXIES", "10.0.0.0/8, 127.0.0.1/32"),
        ];
        let config = load(Some(file.path()), environment.iter().map(|(k, v)| ((*k).into(), (*v).into()))).unwrap();
        assert_eq!(config.limits.connections, 8);
        assert_eq!(config.limits.events_burst, 9);
        assert_eq!(config.node_name, "file");
        assert_eq!(config.auth.secret.expose(), "0123");
        assert_eq!(config.trusted_proxies.len(), 2);
    }

    #[test]
    fn what_cannot_be_used_is_one_line_with_the_key_and_its_origin() {
        let cases = [
            (
                from_env(&[("GATEWAY_LIMITS__CONECTIONS", "8")]),
                "limits.conections: no such key (set by GATEWAY_LIMITS__CONECTIONS)",
            ),
            (from_env(&[("GATEWAY_NOPE", "8")]), "nope: no such key (set by GATEWAY_NOPE)"),
            (from_env(&[("GATEWAY_NOPE__X", "8")]), "nope.x: no such key"),
            (from_env(&[("GATEWAY_LIMITS", "8")]), "limits: no such key"),
            (
                from_env(&[("GATEWAY_LIMITS__CONNECTIONS", "many")]),
                "limits.connections: \"many\" is not a whole number",
            ),
            (from_env(&[("GATEWAY_LIMITS__CONNECTIONS", "-1")]), "limits.connections: "),
            (from_env(&[("GATEWAY_LISTEN", "nowhere")]), "listen: "),
            (from_env(&[("GATEWAY_SOCKET__PING_INTERVAL", "soon")]), "socket.ping_interval: "),
            (
                from_env(&[("GATEWAY_SOCKET__PING_INTERVAL", "0s")]),
                "socket.ping_interval: must be at least 1ms (set by GATEWAY_SOCKET__PING_INTERVAL)",
            ),
            (from_env(&[("GATEWAY_LIMITS__MESSAGE_BYTES", "0")]), "limits.message_bytes: must be at least 1"),
            (
                from_env(&[("GATEWAY_REDIS__PIPELINE_INTERVAL", "2s")]),
                "redis.pipeline_interval: must be at most half of redis.timeout",
            ),
            (from_env(&[("GATEWAY_TELEMETRY__FORMAT", "xml")]), "telemetry.format: "),
            (
                from_env(&[("GATEWAY_LIMITS__USER_BYTES_BURST", "0")]),
                "limits.user_bytes_burst: must be at least 1 while user_bytes_per_second is set (set by GATEWAY_LIMITS__",
            ),
            (
                from_env(&[("GATEWAY_LIMITS__BYTES_PER_SECOND", "1000000001")]),
                "limits.bytes_per_second: must not be more than 1000000000",
            ),
            (
                from_env(&[("GATEWAY_SOCKET__ORIGINS", "https://a.example, b.example")]),
                "socket.origins[1]: \"b.example\" is not an origin: write",
            ),
            (from_env(&[("GATEWAY_SOCKET__PROXY_PROTOCOL", "true")]), "socket.proxy_protocol: needs trusted_proxies"),
            (from_env(&[("GATEWAY_REDIS_URL", "redis:6379")]), "redis_url: must begin with redis://"),
            (
                from_env(&[("GATEWAY_REDIS_URL", "redis://h"), ("GATEWAY_REDIS__TLS_CA", "ca.pem")]),
                "redis.tls_ca: needs a redis_url with TLS",
            ),
            (from_file("[limits]\nconnections = \"x\"\n"), "limits.connections: "),
            (from_file("limits = 3\n"), "limits: must be a section"),
            (from_file("[limits]\nfoo = 1\n"), "limits.foo: no such key"),
        ];
        for (result, expected) in cases {
            let line = result.unwrap_err().to_string();
            assert!(line.starts_with(expected), "{line:?} does not start with {expected:?}");
            assert_eq!(line.lines().count(), 1, "{line:?}");
        }
        let line = from_env(&[("GATEWAY_TRUSTED_PROXIES", "10.0.0.0/8,here")]).unwrap_err().to_string();
        assert!(
            line.starts_with("trusted_proxies[1]: ") && line.ends_with("(set by GATEWAY_TRUSTED_PROXIES)"),
            "{line}"
        );
        let line = from_file("listen = \n").unwrap_err().to_string();
        assert!(line.contains(":1: "), "{line:?}");
    }

    #[test]
    fn a_variable_may_name_the_file_that_has_the_value() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hunter2\n").unwrap();
        let path = file.path().to_str().unwrap();
        let config = from_env(&[("GATEWAY_AUTH__SECRET_FILE", path), ("GATEWAY_NODE_NAME_FILE", path)]).unwrap();
        assert_eq!(config.auth.secret.expose(), "hunter2");
        assert_eq!(config.node_name, "hunter2");
        // Not set is what compose hands on where there is nothing.
        let config = from_env(&[("GATEWAY_AUTH__SECRET", "own"), ("GATEWAY_AUTH__SECRET_FILE", "")]).unwrap();
        assert_eq!(config.auth.secret.expose(), "own");

        for (environment, expected) in [
            (vec![("GATEWAY_AUTH__SECRET_FILE", "/nowhere/at/all")], "auth.secret: cannot read /nowhere/at/all: "),
            (
                vec![("GATEWAY_AUTH__SECRET", "x"), ("GATEWAY_AUTH__SECRET_FILE", path)],
                "auth.secret: set by GATEWAY_AUTH__SECRET and by GATEWAY_AUTH__SECRET_FILE",
            ),
            (vec![("GATEWAY_AUTH_FILE", path)], "auth_file: no such key (set by GATEWAY_AUTH_FILE)"),
            (vec![("GATEWAY_AUTH__NOPE_FILE", path)], "auth.nope_file: no such key"),
            (vec![("GATEWAY_REDIS_URL_FILE", path)], "redis_url: must begin with redis://"),
        ] {
            let line = from_env(&environment).unwrap_err().to_string();
            assert!(line.starts_with(expected), "{line:?} does not start with {expected:?}");
            assert!(!line.contains("hunter2"), "{line}");
        }
    }

    #[test]
    fn the_prefix_is_a_hash_tag_in_a_redis_cluster() {
        let cases = [
            ("redis://h", "gateway", "gateway"),
            ("redis-cluster://h", "gateway", "{gateway}"),
            ("rediss-cluster://h", "a:{b}:c", "a:{b}:c"),
            ("redis-cluster://h", "a{b", "{a_b}"),
            ("redis-cluster://h", "a{}{b}", "{a___b_}"),
        ];
        for (url, prefix, expected) in cases {
            let config = from_env(&[("GATEWAY_REDIS_URL", url), ("GATEWAY_REDIS__PREFIX", prefix)]).unwrap();
            assert_eq!(config.redis.prefix, expected, "{url} {prefix}");
        }
    }

    #[test]
    fn a_secret_without_its_quotes_is_not_repeated() {
        for text in [
            "[auth]\nsecret = 76543210\n",
            "[auth]\nsecret = [\"76543210\"]\n",
            "[auth]\nsecret = 76543210.5\n",
            "[admin]\ntoken = 7654-32-10\n",
            "[auth]\njwks_url = 76543210\n",
            "redis_url = redis://:76543210@host\n",
            "redis_url = { url = \"76543210\" }\n",
        ] {
            let said = from_file(text).unwrap_err().to_string();
            assert!(!said.contains("7654"), "{said}");
        }
    }

    #[test]
    fn urls_show_where_they_lead() {
        for (url, shown) in [
            ("", ""),
            ("https://id.example/keys.json", "https://id.example/keys.json"),
            ("https://me:hunter2@id.example:8443/keys?key=hunter2#hunter2", "https://id.example:8443/keys"),
            ("https://me:hunter2@id.example?hunter2", "https://id.example"),
            ("https://me:hun/ter2@id.example/keys", "https://id.example/keys"),
            ("https://me:hun?ter2@id.example/keys", "https://id.example/keys"),
            ("me:hunter2@id.example", "<redacted>"),
        ] {
            assert_eq!(crate::config::shown_url(url), shown, "{url}");
        }
        let config = from_env(&[("GATEWAY_AUTH__JWKS_URL", "https://me:hunter2@h/keys?key=hunter2")]).unwrap();
        let printed = toml::to_string(&config).unwrap();
        assert!(printed.contains("jwks_url = \"https://h/keys\"") && !printed.contains("hunter2"), "{printed}");
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn secrets_are_not_printed() {
        let config =
            from_env(&[("GATEWAY_AUTH__SECRET", "hunter2"), ("GATEWAY_REDIS_URL", "redis://:hunter2@h")]).unwrap();
        let shown = format!("{config:?}{}", toml::to_string(&config).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

//! The command line: `gateway [serve]`, `work`, `check`, `migrate`, `export`, `import`, `token`, `key`, `doctor`,
//! `plan`, `healthcheck`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use gateway::doctor;
use gateway::exchange::{self, Exchange};
use gateway::plan;
use gateway::process::{self, BAD_CONFIGURATION, INTERNAL, OK, Role, UNAVAILABLE, from_here};
use gateway_core::auth::{ApiKeys, Grant, Rights, make_key, mint};
use gateway_core::config::{self, Config, Scope};
use gateway_core::domain::{Offset, UserId};

/// The one of musl, which the image's program is linked with, has one lock for all threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A realtime gateway for Socket.IO clients.
#[derive(Parser)]
#[command(version = gateway_core::metrics::BUILD, about)]
struct Arguments {
    /// Configuration file; `GATEWAY_…` variables win over it.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve clients (the default).
    Serve,
    /// Work on jobs, as one of the nodes of a cluster, and let nobody in but operators.
    Work,
    /// Print the effective configuration, secrets redacted, and the route table.
    Check,
    /// Make the tables of the database, or bring them up to date, and say which version they are of. Nodes do so when they start.
    Migrate,
    /// Write what archived rooms said to standard output, a line of JSON for each event and for each gap.
    Export {
        /// A pattern of the rooms, as in "orders-*"; may be repeated.
        #[arg(long = "room", value_name = "PATTERN", required = true)]
        rooms: Vec<String>,
        /// Only what was said since a time, as in 2026-01-31, or for how long, as in 30d.
        #[arg(long, value_name = "TIME", default_value = "1970-01-01", value_parser = exchange::since)]
        since: Offset,
    },
    /// Read such lines from standard input into the archive, each event at its place, if that is free.
    Import,
    /// Mint a token for development.
    Token {
        /// The user that the token names.
        #[arg(long)]
        user: String,
        /// A role of the user; may be repeated.
        #[arg(long = "role")]
        roles: Vec<String>,
        /// How long it is valid.
        #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
        ttl: Duration,
        /// A pattern of the rooms that it lets its bearer join, as in "team-*"; may be repeated. None: no limit.
        #[arg(long, value_name = "PATTERN")]
        join: Vec<String>,
        /// A pattern of the rooms that it lets its bearer publish to; may be repeated. None: no limit.
        #[arg(long, value_name = "PATTERN")]
        publish: Vec<String>,
        /// The id (jti) by which it can be revoked.
        #[arg(long, value_name = "JTI")]
        id: Option<String>,
    },
    /// Make a key for a back end: print it once, and what the configuration has to keep of it.
    Key {
        /// Whose it is. Keys of one name are one author to deduplication, so that they can be rotated.
        #[arg(long)]
        name: String,
        /// What it may be used for, separated by commas: publish, read, notify, control, moderate, jobs, admin.
        #[arg(long = "scope", value_name = "SCOPE", required = true, value_delimiter = ',', value_parser = scope)]
        scopes: Vec<Scope>,
        /// A pattern of the rooms that it opens, as in "orders-*"; may be repeated. None: all.
        #[arg(long = "room", value_name = "PATTERN", default_value = "*")]
        rooms: Vec<String>,
        /// A pattern of the namespaces that it opens; may be repeated. None: all.
        #[arg(long = "namespace", value_name = "PATTERN", default_value = "*")]
        namespaces: Vec<String>,
    },
    /// Look at a deployment and say what is wrong with it: Redis, nodes, clocks, limits, the load balancer, TLS, the database, mail.
    /// Exits with 0 if nothing is, 1 if there are warnings, 2 if there are errors.
    Doctor(doctor::Options),
    /// Say what a load takes in nodes, memory, Redis and network, what is full first, and how that was reckoned.
    /// Exits with 0 if it fits, 1 if something would be full.
    Plan(Box<plan::Options>),
    /// Ask the node on this machine whether it is ready; exit 0 if it is.
    Healthcheck,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are errors to clap, but not to people.
            let code = if error.use_stderr() { BAD_CONFIGURATION } else { OK };
            error.print().ok();
            return code.into();
        }
    };
    let config = match config::load(arguments.config.as_deref(), std::env::vars()) {
        Ok(config) => config,
        Err(error) => return fail(BAD_CONFIGURATION, &error.to_string()),
    };
    match arguments.command.unwrap_or(Command::Serve) {
        Command::Serve => process::run(Role::Serve, config).into(),
        Command::Work => process::run(Role::Work, config).into(),
        Command::Check => check(&config),
        Command::Migrate => process::migrate(&config).into(),
        Command::Export { rooms, since } => exchange::run(&config, &Exchange::Export { rooms, since }).into(),
        Command::Import => exchange::run(&config, &Exchange::Import).into(),
        Command::Token { user, roles, ttl, join, publish, id } => {
            let Some(user) = UserId::parse(&user) else {
                return fail(BAD_CONFIGURATION, &format!("--user: {}", UserId::RULE));
            };
            let patterns = |given: Vec<String>| (!given.is_empty()).then_some(given);
            let (join, publish) = (patterns(join), patterns(publish));
            token(&config, &Grant { user, roles, ttl, join, publish, id })
        }
        Command::Key { name, scopes, rooms, namespaces } => key(&name, scopes, rooms, namespaces),
        Command::Doctor(options) => doctor::run(&config, &options).into(),
        Command::Plan(options) => plan::run(&config, &options).into(),
        Command::Healthcheck => healthcheck(config.admin_listen),
    }
}

fn fail(code: u8, message: &str) -> ExitCode {
    process::fail(code, message).into()
}

fn check(config: &Config) -> ExitCode {
    let table = match process::check(config) {
        Ok(table) => table,
        Err(why) => return fail(BAD_CONFIGURATION, &why),
    };
    let text = match toml::to_string(config) {
        Ok(text) => text,
        Err(error) => return fail(INTERNAL, &format!("cannot print the configuration: {error}")),
    };
    println!("{text}");
    // As comments, so that what is printed is a configuration file.
    table.to_string().lines().for_each(|line| println!("# {line}"));
    OK.into()
}

fn token(config: &Config, grant: &Grant) -> ExitCode {
    if let Err(why) = Rights::new(grant.join.as_deref(), grant.publish.as_deref()) {
        return fail(BAD_CONFIGURATION, &format!("--join, --publish: {why}"));
    }
    match mint(&config.auth, grant) {
        Some(token) => {
            println!("{token}");
            OK.into()
        }
        None => fail(BAD_CONFIGURATION, "auth.secret is not set; a token needs the secret that the nodes have"),
    }
}

fn scope(text: &str) -> Result<Scope, String> {
    let known = Scope::ALL.into_iter().find(|scope| scope.name() == text);
    known.ok_or_else(|| format!("there are: {}", Scope::ALL.map(Scope::name).join(", ")))
}

fn key(name: &str, scopes: Vec<Scope>, rooms: Vec<String>, namespaces: Vec<String>) -> ExitCode {
    let (text, key) = make_key(name, scopes, rooms, namespaces);
    if let Err(why) = key.validate().and_then(|()| ApiKeys::check(std::slice::from_ref(&key))) {
        return fail(BAD_CONFIGURATION, &format!("--name, --room, --namespace: {why}"));
    }
    let kept = match toml::to_string(&key) {
        Ok(kept) => kept,
        Err(error) => return fail(INTERNAL, &format!("cannot print the configuration: {error}")),
    };
    println!("# The key. It is nowhere else, and cannot be shown again:\n# {text}\n[[api.key]]\n{kept}");
    OK.into()
}

/// Speaks HTTP by hand: it runs every few seconds in containers that have nothing but this binary.
fn healthcheck(admin: SocketAddr) -> ExitCode {
    const PATIENCE: Duration = Duration::from_secs(2);
    let admin = from_here(admin);
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&admin, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(4096).read_to_string(&mut answer)?;
        Ok(answer)
    };
    match ask() {
        Ok(answer) if answer.split(' ').nth(1) == Some("200") => OK.into(),
        Ok(answer) => fail(UNAVAILABLE, answer.lines().last().unwrap_or("no answer")),
        Err(error) => fail(UNAVAILABLE, &format!("{admin}: {error}")),
    }
}

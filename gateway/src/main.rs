//! The command line: `gateway [serve]`, `check`, `token`, `healthcheck`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use gateway::app::{Gateway, StartError};
use gateway::auth::{Grant, Rights, Tokens, mint};
use gateway::config::{self, Config};
use gateway::domain::UserId;
use gateway::redis::Primary;
use gateway::routes::RouteTable;
use gateway::shutdown::{Signals, Wish};
use gateway::telemetry;

/// Drained, or done.
const OK: u8 = 0;
/// The configuration cannot be used (`EX_USAGE`).
const BAD_CONFIGURATION: u8 = 64;
/// A service that is needed is not there (`EX_UNAVAILABLE`).
const UNAVAILABLE: u8 = 69;
/// Something of the gateway's own went wrong (`EX_SOFTWARE`).
const INTERNAL: u8 = 70;

/// A realtime gateway for Socket.IO clients.
#[derive(Parser)]
#[command(version = concat!(env!("CARGO_PKG_VERSION"), " (", env!("REVISION"), ")"), about)]
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
    /// Print the effective configuration, secrets redacted, and the route table.
    Check,
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
        Command::Serve => run(config),
        Command::Check => check(&config),
        Command::Token { user, roles, ttl, join, publish, id } => {
            let Some(user) = UserId::parse(&user) else {
                return fail(BAD_CONFIGURATION, &format!("--user: {}", UserId::RULE));
            };
            let patterns = |given: Vec<String>| (!given.is_empty()).then_some(given);
            let (join, publish) = (patterns(join), patterns(publish));
            token(&config, &Grant { user, roles, ttl, join, publish, id })
        }
        Command::Healthcheck => healthcheck(config.admin_listen),
    }
}

fn fail(code: u8, message: &str) -> ExitCode {
    eprintln!("gateway: {message}");
    code.into()
}

fn run(config: Config) -> ExitCode {
    if let Err(error) = telemetry::start(&config.telemetry) {
        return fail(BAD_CONFIGURATION, &error);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(INTERNAL, &format!("cannot start the runtime: {error}")),
    };
    let code = runtime.block_on(serve(config));
    // Connections that would not end must not hold up the exit.
    runtime.shutdown_timeout(Duration::from_millis(100));
    code
}

async fn serve(config: Config) -> ExitCode {
    // Containers commonly start with a soft limit of 1024 files and a far higher hard one.
    let max_files = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
        Err(error) => return fail(INTERNAL, &format!("cannot read the limit of open files: {error}")),
    };
    let limit = config.limits.connections;
    if limit == 0 || limit >= max_files {
        tracing::warn!(
            max_files,
            connections = limit,
            "the limit of open files ends connections before limits.connections does"
        );
    }
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return fail(INTERNAL, &format!("cannot wait for signals: {error}")),
    };
    if let Some(exposure) = config.exposure() {
        tracing::warn!("{exposure}");
    }
    tracing::info!(max_files, "starting");
    let gateway = match Gateway::start(config, max_files).await {
        Ok(gateway) => gateway,
        Err(StartError::Configuration(message)) => return fail(BAD_CONFIGURATION, &message),
        Err(error @ StartError::Unavailable(_)) => return fail(UNAVAILABLE, &error.to_string()),
    };
    let mut reload = false;
    let signal = loop {
        let wish = if std::mem::take(&mut reload) { Wish::Reload } else { signals.next().await };
        if let Wish::Stop(signal) = wish {
            break signal;
        }
        let mut reloading = std::pin::pin!(gateway.reload());
        let reloaded = loop {
            tokio::select! {
                reloaded = &mut reloading => break Ok(reloaded),
                wish = signals.next() => match wish {
                    Wish::Stop(signal) => break Err(signal),
                    // The file may have changed after it was read.
                    Wish::Reload => reload = true,
                },
            }
        };
        match reloaded {
            Ok(Ok(())) => tracing::info!("routes reloaded"),
            Ok(Err(error)) => error.to_string().lines().for_each(|line| tracing::error!("routes not reloaded: {line}")),
            Err(signal) => break signal,
        }
    };
    tracing::info!(signal, "stopping");
    tokio::select! {
        left = gateway.stop() => tracing::info!(cut_off = left, "stopped"),
        _ = signals.stop() => tracing::warn!("stopped at once: asked a second time"),
    }
    OK.into()
}

fn check(config: &Config) -> ExitCode {
    let table = match RouteTable::load(&config.profile, config.file.as_deref()) {
        Ok(table) => table,
        Err(error) => return fail(BAD_CONFIGURATION, &error.to_string()),
    };
    if let Err(error) = Tokens::check(&config.auth) {
        return fail(BAD_CONFIGURATION, &error.to_string());
    }
    if let Err(error) = Primary::check(config) {
        return fail(BAD_CONFIGURATION, &error.to_string());
    }
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

/// Speaks HTTP by hand: it runs every few seconds in containers that have nothing but this binary.
fn healthcheck(mut admin: SocketAddr) -> ExitCode {
    const PATIENCE: Duration = Duration::from_secs(2);
    if admin.ip().is_unspecified() {
        let loopback: std::net::IpAddr =
            if admin.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
        admin.set_ip(loopback);
    }
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

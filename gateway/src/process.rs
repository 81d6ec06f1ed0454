//! The process: a node from its start to its exit code, and the signals in between.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::app::{Gateway, StartError, node_name};
pub use crate::app::{Role, check, queue_keys};
use crate::shutdown::{Signals, Wish};
use crate::telemetry;
use gateway_core::config::Config;
use gateway_store::{OpenError, Store};

/// Drained, or done.
pub const OK: u8 = 0;
/// The configuration cannot be used (`EX_USAGE`).
pub const BAD_CONFIGURATION: u8 = 64;
/// A service that is needed is not there (`EX_UNAVAILABLE`).
pub const UNAVAILABLE: u8 = 69;
/// Something of the gateway's own went wrong (`EX_SOFTWARE`).
pub const INTERNAL: u8 = 70;

/// Says why the process cannot go on; returns the code to exit with.
#[must_use]
pub fn fail(code: u8, message: &str) -> u8 {
    // Where nobody reads it, the code has to say it all.
    writeln!(std::io::stderr(), "gateway: {message}").ok();
    code
}

/// Where a listener is reached from its own machine.
#[must_use]
pub fn from_here(mut listener: SocketAddr) -> SocketAddr {
    if listener.ip().is_unspecified() {
        let v6 = listener.is_ipv6();
        listener.set_ip(if v6 { IpAddr::V6(Ipv6Addr::LOCALHOST) } else { IpAddr::V4(Ipv4Addr::LOCALHOST) });
    }
    listener
}

/// Serves clients, or only works, until told to stop. Returns the code to exit with.
#[must_use]
pub fn run(role: Role, mut config: Config) -> u8 {
    config.node_name = node_name(&config);
    if let Err(error) = telemetry::start(&config.telemetry, &config.node_name) {
        return fail(BAD_CONFIGURATION, &error);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(INTERNAL, &format!("cannot start the runtime: {error}")),
    };
    let code = runtime.block_on(serve(role, config));
    // Connections that would not end must not hold up the exit.
    runtime.shutdown_timeout(Duration::from_millis(100));
    code
}

/// Makes the tables of the database, or brings them up to date. Returns the code to exit with.
#[must_use]
pub fn migrate(config: &Config) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(INTERNAL, &format!("cannot start the runtime: {error}")),
    };
    runtime.block_on(async {
        let store = match Store::open(config).await {
            Ok(Some(store)) => store,
            Ok(None) => {
                return fail(BAD_CONFIGURATION, "database.url is not set; a cluster without it has no database");
            }
            Err(error @ OpenError::File(_)) => return fail(UNAVAILABLE, &error.to_string()),
            Err(error) => return fail(BAD_CONFIGURATION, &error.to_string()),
        };
        let migrated = store.migrate().await;
        store.close().await;
        match migrated {
            Ok(migrated) => {
                writeln!(std::io::stdout(), "{}: {migrated}", store.kind()).ok();
                OK
            }
            Err(error) if error.is_permanent() => fail(BAD_CONFIGURATION, &format!("database.url: {error}")),
            Err(error) => fail(UNAVAILABLE, &format!("database.url: {error}")),
        }
    })
}

async fn serve(role: Role, config: Config) -> u8 {
    // Containers commonly start with a soft limit of 1024 files and a far higher hard one.
    let max_files = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
        Err(error) => return fail(INTERNAL, &format!("cannot read the limit of open files: {error}")),
    };
    let limit = config.limits.connections;
    if role == Role::Serve && (limit == 0 || limit >= max_files) {
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
    if let Some(exposure) = config.exposure().filter(|_| role == Role::Serve) {
        tracing::warn!("{exposure}");
    }
    tracing::info!(max_files, "starting");
    let gateway = match Gateway::start_as(role, config, max_files).await {
        Ok(gateway) => gateway,
        Err(StartError::Configuration(message)) => return fail(BAD_CONFIGURATION, &message),
        Err(error @ StartError::Unavailable(_)) => return fail(UNAVAILABLE, &error.to_string()),
    };
    let supervisor = gateway.supervisor().clone();
    tokio::select! {
        () = live(gateway, &mut signals) => OK,
        // At once and without a drain: what does not work any more cannot hand anything over, and clients come back.
        failure = supervisor.failed() => {
            tracing::error!(task = &*failure.task, why = &*failure.why, code = INTERNAL, "the node ends");
            INTERNAL
        }
    }
}

/// Heeds signals until the node has stopped.
async fn live(gateway: Gateway, signals: &mut Signals) {
    let signal = serve_until_told(&gateway, signals).await;
    tracing::info!(signal, "stopping");
    tokio::select! {
        left = gateway.stop() => tracing::info!(cut_off = left, "stopped"),
        _ = signals.stop() => tracing::warn!("stopped at once: asked a second time"),
    }
}

/// Reads routes again when asked to, and returns the signal by which the node is to stop.
async fn serve_until_told(gateway: &Gateway, signals: &mut Signals) -> &'static str {
    let mut reload = false;
    loop {
        let wish = if std::mem::take(&mut reload) { Wish::Reload } else { signals.next().await };
        if let Wish::Stop(signal) = wish {
            return signal;
        }
        let mut reloading = std::pin::pin!(gateway.reload());
        let reloaded = loop {
            tokio::select! {
                reloaded = &mut reloading => break reloaded,
                wish = signals.next() => match wish {
                    Wish::Stop(signal) => return signal,
                    // The file may have changed after it was read.
                    Wish::Reload => reload = true,
                },
            }
        };
        match reloaded {
            Ok(()) => tracing::info!("routes reloaded"),
            Err(error) => error.to_string().lines().for_each(|line| tracing::error!("routes not reloaded: {line}")),
        }
    }
}

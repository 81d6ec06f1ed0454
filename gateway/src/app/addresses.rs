//! What a node is called, and where it listens.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::net::{TcpListener, TcpSocket};

use gateway_core::config::{self, Config};

/// Connections that may wait in the kernel to be accepted. Linux caps it at `net.core.somaxconn`, 4096 by default.
const BACKLOG: u32 = 4096;

/// Where other nodes reach the admin listener.
pub(super) fn advertised(settings: &config::Admin, listens: SocketAddr) -> String {
    if !settings.advertise.is_empty() {
        settings.advertise.clone()
    } else if listens.ip().is_unspecified() {
        // Containers of one network find each other by it.
        format!("{}:{}", host_name(), listens.port())
    } else {
        listens.to_string()
    }
}

/// Listens on an address.
pub(super) fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let open = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restarted node takes its port back from connections that are still closing.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    open().with_context(|| format!("cannot listen on {address}"))
}

/// What a node is called: as configured, or by its host and chance.
#[must_use]
pub fn node_name(config: &Config) -> String {
    if config.node_name.is_empty() {
        format!("{}-{:06x}", host_name(), rand::random::<u32>() & 0x00ff_ffff)
    } else {
        config.node_name.clone()
    }
}

/// What the host is called.
pub(super) fn host_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    if host.is_empty() { "node".to_owned() } else { host.to_owned() }
}

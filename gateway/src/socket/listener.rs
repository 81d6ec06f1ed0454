//! The listener: accepts TCP connections, learns whose they are, and hands them to the engine.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::proxy_header::{self, HeaderError};
use super::{Edge, SocketServer};
use gateway_core::recurring::Recurring;

/// File descriptors that are left for everything but the connections of clients and operators.
const RESERVED_FILES: usize = 256;

/// Serves clients until told to stop. Connections that are open then go on; ending them is [`SocketServer::drain`]'s
/// part.
pub async fn serve(listener: TcpListener, server: SocketServer, max_files: usize, stop: CancellationToken) {
    let settings = &server.edge.settings;
    let of_back_ends = if settings.api.address().is_some() { settings.api.connections } else { 0 };
    // Half is theirs however much the rest would like: a node without clients is none.
    let of_nodes = server.passing.as_ref().map_or(0, |passing| 2 * passing.places());
    let reserved = (RESERVED_FILES + settings.admin.connections + of_back_ends + of_nodes).min(max_files / 2);
    accept(listener, &server, max_files - reserved, &stop, false).await;
}

/// The same for the listener that back ends have for themselves.
pub async fn serve_back_ends(listener: TcpListener, server: SocketServer, stop: CancellationToken) {
    accept(listener, &server, server.edge.settings.api.connections, &stop, true).await;
}

async fn accept(listener: TcpListener, server: &SocketServer, places: usize, stop: &CancellationToken, is_side: bool) {
    let places = Arc::new(Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS)));
    let trouble = Recurring::new("could not accept a connection");
    loop {
        // Without a free place connections wait in the kernel's queue instead of failing halfway.
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place,
            () = stop.cancelled() => return,
        };
        let Ok(place) = place else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of files or memory, or the client was gone already. The former need a moment.
                trouble.note(|what| tracing::warn!(%error, "{what}"));
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            }
        };
        // Small events must not wait for each other; a failure costs latency and nothing else.
        stream.set_nodelay(true).ok();
        let server = server.clone();
        server.edge.tasks.clone().spawn(async move {
            if is_side {
                return server.engine.serve_side(stream, address, place).await;
            }
            if let Ok((stream, address)) = server.edge.introduced(stream, address).await {
                server.engine.serve(stream, address, place).await;
            }
        });
    }
}

impl Edge {
    /// The stream with the address of who it is from: the peer, or whom a trusted one speaks for.
    async fn introduced(
        &self,
        mut stream: TcpStream,
        peer: SocketAddr,
    ) -> Result<(TcpStream, SocketAddr), HeaderError> {
        let settings = &self.settings;
        if !settings.socket.proxy_protocol || !proxy_header::is_expected_of(peer.ip(), &settings.trusted_proxies) {
            return Ok((stream, peer));
        }
        let header = proxy_header::read(&mut stream, settings.socket.header_timeout).await;
        let result = match &header {
            Ok(Some(_)) => "ok",
            Ok(None) => "local",
            Err(error) => error.result(),
        };
        self.metrics.proxy_headers.with(result).increment(1);
        if let Err(error) = &header {
            tracing::debug!(%peer, %error, "no PROXY header from a trusted proxy");
        }
        header.map(|client| (stream, client.unwrap_or(peer)))
    }
}

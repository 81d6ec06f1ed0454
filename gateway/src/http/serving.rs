//! Serving the admin listener: a few connections, with little patience, and who says nothing makes room for who does.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::listener::Impatient;
use gateway_core::domain::network;
use gateway_core::metrics::Metrics;

/// What is kept of a request's head, in bytes.
const HEAD_BYTES: usize = 16 * 1024;
/// How long to wait when there are no files left.
const PAUSE: Duration = Duration::from_millis(50);

/// What the admin listener grants its connections.
#[derive(Clone, Copy, Debug)]
pub struct AdminLimits {
    /// How many there may be.
    pub connections: usize,
    /// How long the head of a request may take, and the next request.
    pub header_timeout: Duration,
}

/// Serves operators until told to stop. What is being answered then is answered.
pub(super) async fn serve_admin(
    listener: TcpListener,
    routes: Router,
    limits: AdminLimits,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let crowd = Arc::new(Crowd { limit: limits.connections, members: Mutex::default(), metrics });
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let member = Crowd::enter(&crowd, peer.ip());
                tasks.spawn(serve(stream, peer, member, routes.clone(), limits, stop.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection of an operator");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The stream of a connection that was upgraded, without anything of this listener, and what was read of it already. Its place is free.
pub(super) fn raw(upgraded: Upgraded) -> Option<(TcpStream, Vec<u8>)> {
    let parts = upgraded.downcast::<TokioIo<Impatient<TcpStream, Arc<Member>>>>().ok()?;
    Some((parts.io.into_inner().into_stream(), parts.read_buf.to_vec()))
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    member: Member,
    routes: Router,
    limits: AdminLimits,
    stop: CancellationToken,
) {
    stream.set_nodelay(true).ok();
    let member = Arc::new(member);
    let service = service_fn(|request: Request<Incoming>| {
        let (routes, member) = (routes.clone(), member.clone());
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            member.is_at(Stage::Asking);
            let response = routes.oneshot(request).await;
            let is_upgraded = response.as_ref().is_ok_and(|it| it.status() == StatusCode::SWITCHING_PROTOCOLS);
            member.is_at(if is_upgraded { Stage::Upgraded } else { Stage::Silent });
            response
        }
    });
    // The stream keeps the place: it may outlive this task as that of a websocket.
    let stream = TokioIo::new(Impatient::new(stream, member.end.clone(), member.clone()));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).max_buf_size(HEAD_BYTES);
    let mut connection = std::pin::pin!(builder.serve_connection(stream, service).with_upgrades());
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if ended.is_err_and(|error| error.is_timeout()) {
        member.crowd.metrics.admin_ended.with("slow_head").increment(1);
    }
}

/// All connections of operators.
#[derive(Debug)]
struct Crowd {
    limit: usize,
    members: Mutex<Members>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Members {
    by_id: HashMap<u64, Standing>,
    /// Counts arrivals and changes.
    last: u64,
}

/// What matters of a connection when one has to go.
#[derive(Debug)]
struct Standing {
    network: IpAddr,
    stage: Stage,
    /// When that began.
    since: u64,
    end: CancellationToken,
}

/// What a connection does, those first that are missed least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// It has not asked for anything, or not yet for anything again.
    Silent,
    Upgraded,
    Asking,
}

/// A connection, until it is dropped.
#[derive(Debug)]
struct Member {
    id: u64,
    end: CancellationToken,
    crowd: Arc<Crowd>,
}

impl Crowd {
    /// Lets a connection in; if there are too many, another one goes.
    fn enter(crowd: &Arc<Self>, address: IpAddr) -> Member {
        let (end, network) = (CancellationToken::new(), network(address));
        let mut members = crowd.members.lock();
        if members.by_id.len() >= crowd.limit.max(1) {
            members.make_room();
            crowd.metrics.admin_ended.with("crowded").increment(1);
        }
        members.last += 1;
        let (id, standing) =
            (members.last, Standing { network, stage: Stage::Silent, since: members.last, end: end.clone() });
        members.by_id.insert(id, standing);
        crowd.metrics.admin_connections.set(u32::try_from(members.by_id.len()).unwrap_or(u32::MAX));
        Member { id, end, crowd: crowd.clone() }
    }
}

impl Members {
    /// Ends a connection of the address that has most: of these one that says nothing, the oldest first.
    fn make_room(&mut self) {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for standing in self.by_id.values() {
            *counts.entry(standing.network).or_default() += 1;
        }
        let most = counts.values().copied().max().unwrap_or_default();
        let of_crowded = self.by_id.iter().filter(|(_, standing)| counts[&standing.network] == most);
        let goes = of_crowded.min_by_key(|(_, standing)| (standing.stage, standing.since)).map(|(id, _)| *id);
        if let Some(standing) = goes.and_then(|id| self.by_id.remove(&id)) {
            standing.end.cancel();
        }
    }
}

impl Member {
    fn is_at(&self, stage: Stage) {
        let mut members = self.crowd.members.lock();
        members.last += 1;
        let since = members.last;
        if let Some(standing) = members.by_id.get_mut(&self.id) {
            (standing.stage, standing.since) = (stage, since);
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut members = self.crowd.members.lock();
        members.by_id.remove(&self.id);
        self.crowd.metrics.admin_connections.set(u32::try_from(members.by_id.len()).unwrap_or(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(limit: usize) -> Arc<Crowd> {
        Arc::new(Crowd { limit, members: Mutex::default(), metrics: Arc::default() })
    }

    fn from(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn who_says_nothing_makes_room_for_who_comes() {
        let crowd = crowd(3);
        let enter = || Crowd::enter(&crowd, from("10.0.0.1"));
        let (first, second, third) = (enter(), enter(), enter());
        first.is_at(Stage::Asking);
        second.is_at(Stage::Upgraded);
        let fourth = enter();
        assert!(third.end.is_cancelled() && !fourth.end.is_cancelled());
        fourth.is_at(Stage::Asking);
        let _fifth = enter();
        assert!(second.end.is_cancelled() && !first.end.is_cancelled());
        drop((first, second, third, fourth));
        assert_eq!(crowd.members.lock().by_id.len(), 1);
    }

    #[test]
    fn the_address_with_most_connections_loses_one() {
        let crowd = crowd(10);
        let prober = Crowd::enter(&crowd, from("10.0.0.1"));
        let flood: Vec<_> = (0..100).map(|_| Crowd::enter(&crowd, from("2001:db8::1"))).collect();
        assert!(!prober.end.is_cancelled());
        assert_eq!(flood.iter().filter(|member| !member.end.is_cancelled()).count(), 9);
        assert!(flood[91..].iter().all(|member| !member.end.is_cancelled()), "the oldest go first");
    }
}

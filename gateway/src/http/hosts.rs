//! Hosts: the names by which the admin listener is called. A page whose name an attacker pointed here (DNS rebinding)
//! calls it by another.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::HOST;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::ask::HEARING;

const NOT_MINE: &str = "This is not a name of this listener. Call it by its address, or add the name to admin.hosts.\n";

/// What anybody may ask: it tells nothing but yes or no, and balancers ask it by names of their own.
const PROBES: [&str; 3] = ["/livez", "/readyz", HEARING];

/// The names of a listener.
#[derive(Clone, Debug)]
pub struct Hosts(Arc<[String]>);

impl Hosts {
    /// Those of the configuration, of this machine, and where other nodes reach it (`host:port`). `*` stands for any, and
    /// `*.` for whatever is in front.
    #[must_use]
    pub fn new(configured: &[String], machine: &str, advertised: &str) -> Self {
        let own = [machine, host_of(advertised)].into_iter().map(str::to_owned);
        let names = configured.iter().cloned().chain(own);
        Self(names.map(|name| name.to_lowercase()).filter(|name| !name.is_empty()).collect())
    }

    /// Whether a Host header names this listener. An address always does: to whom it belongs is nothing that DNS says.
    fn admits(&self, host: &str) -> bool {
        let name = host_of(host).trim_end_matches('.').to_lowercase();
        let is_listed = |entry: &String| match entry.strip_prefix('*') {
            Some(end) => name.len() > end.len() && name.ends_with(end),
            None => *entry == name,
        };
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
        bare.parse::<IpAddr>().is_ok()
            || name == "localhost"
            || name.ends_with(".localhost")
            || self.0.iter().any(is_listed)
    }
}

/// Without the port.
fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Refuses requests for other hosts. Whoever names none is no browser.
pub(super) async fn only_by_name(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    let is_mine = {
        let headers = request.headers().get_all(HOST).iter().map(|value| value.to_str().unwrap_or_default());
        let mut named = headers.chain(request.uri().authority().map(http::uri::Authority::as_str));
        PROBES.contains(&request.uri().path()) || named.all(|host| hosts.admits(host))
    };
    if is_mine { next.run(request).await } else { (StatusCode::MISDIRECTED_REQUEST, NOT_MINE).into_response() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_loopback_and_known_names_are_admitted() {
        let configured = ["gateway.example".to_owned(), "*.nodes.example".to_owned()];
        let hosts = Hosts::new(&configured, "Host-1", "node-1.svc:9100");
        for mine in [
            "127.0.0.1:9100",
            "[::1]:9100",
            "[::1]",
            "10.1.2.3",
            "localhost:9100",
            "LOCALHOST",
            "a.localhost",
            "host-1:9100",
            "node-1.svc",
            "Gateway.Example.:80",
            "a.nodes.example:9100",
        ] {
            assert!(hosts.admits(mine), "{mine}");
        }
        for other in [
            "rebound.example:9100",
            "evil-localhost",
            "localhost.example",
            "127.0.0.1.example",
            "nodes.example",
            ".nodes.example",
            "",
            ":9100",
            "[::1].example",
            "host-1.example",
        ] {
            assert!(!hosts.admits(other), "{other}");
        }
        assert!(Hosts::new(&["*".to_owned()], "", "").admits("anything.example"));
        assert!(!Hosts::new(&[], "", "").admits(""), "no name is none");
    }
}

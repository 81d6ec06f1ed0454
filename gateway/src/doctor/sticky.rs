//! Stickiness: whether all requests of a connection over polling reach the node that has it, by the balancer or passed on between nodes.

use super::report::{Report, Status};
use super::talk::{Client, Lost};
use super::web::PATIENCE;

/// How many connections are tried: by chance two nodes would be right twice in a row for one in four, and for all of these in 65,536.
const CONNECTIONS: usize = 8;
const CHECK: &str = "balancer.sticky";
const SEE: &str = "docs/operations.md#load-balancers";

/// What came of some connections.
#[derive(Debug, Default)]
struct Tried {
    lost: usize,
    failed: Option<String>,
    has_cookies: bool,
}

/// Tries; whether polling works for clients that keep cookies. `nodes`: how many there are, if somebody knows.
pub(super) async fn look(client: &Client, nodes: Option<usize>, report: &mut Report) -> bool {
    let about = &client.site.authority;
    let (without, with) = (attempt(client, false).await, attempt(client, true).await);
    if let Some(why) = without.failed.as_ref().or(with.failed.as_ref()) {
        let todo = "look at what the balancer does with requests for /socket.io/, and at the nodes' log";
        report.found(Status::Error, CHECK, about, format!("polling fails: {why}"), (todo, SEE));
        return false;
    }
    match (without.lost, with.lost) {
        (0, 0) if nodes == Some(1) => {
            report.skipped(CHECK, about, "polling works; with one node it cannot be seen whether it is sticky");
        }
        (0, 0) => report.ok(
            CHECK,
            about,
            // Which of the two it is does not show from here, and matters for what it costs alone.
            format!(
                "all requests of {} connections over polling reached their nodes, with cookies and without: by the balancer, or passed on \
                 between nodes",
                CONNECTIONS * 2
            ),
        ),
        (lost, 0) => {
            let seen = format!(
                "polling works with the balancer's cookie alone: without it {lost} of {CONNECTIONS} connections were lost. Pages of other \
                 origins send none unless they are told to (withCredentials: true)"
            );
            let todo = "let nodes pass on what reaches the wrong one (passing.enabled, admin.advertise), or have the balancer go by the \
                        connection's id as well (sid in the query, X-Engine-Sid of the handshake's answer), as deploy/compose/haproxy.cfg does";
            report.found(Status::Warning, CHECK, about, seen, (todo, SEE));
        }
        (_, lost) => {
            let cookie = if with.has_cookies { "although it sets a cookie" } else { "and it sets no cookie" };
            let seen = format!(
                "{lost} of {CONNECTIONS} connections over polling were lost, {cookie}: their requests reach nodes that do not have them \
                 (\"Session ID unknown\")"
            );
            let todo = "let nodes pass on what reaches the wrong one (passing.enabled; they must reach each other at admin.advertise: see their \
                        logs), or make the balancer sticky for /socket.io/: by a cookie and the connection's id as deploy/compose/haproxy.cfg does, or by \
                        address (ip_hash); or have all clients use websockets alone (transports: ['websocket'])";
            report.found(Status::Error, CHECK, about, seen, (todo, SEE));
        }
    }
    with.lost == 0
}

/// A few connections, each with some requests over TCP connections of their own.
async fn attempt(client: &Client, with_cookies: bool) -> Tried {
    let mut tried = Tried::default();
    for _ in 0..CONNECTIONS {
        let polling = match client.open().await {
            Ok(polling) => polling,
            Err(why) => return Tried { failed: Some(why), ..tried },
        };
        tried.has_cookies |= polling.has_cookies();
        let polling = if with_cookies { polling } else { polling.without_cookies() };
        let asked = async {
            client.send(&polling, &client.connect()).await?;
            // Whatever is said to that, it is said at once.
            client.poll(&polling, PATIENCE).await
        };
        let asked = asked.await;
        client.close(&polling).await;
        match asked {
            Ok(_) => {}
            Err(Lost::Unknown) => tried.lost += 1,
            Err(Lost::Other(why)) => return Tried { failed: Some(why), ..tried },
        }
    }
    tried
}

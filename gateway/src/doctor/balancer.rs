//! The way of clients: whether it leads to a gateway, websockets get through, and what is not for clients does not.

use std::time::Duration;

use http::{Method, StatusCode};

use super::report::{Report, Status};
use super::talk::Client;
use super::web::PATIENCE;
use gateway_core::config::Config;

const SEE: &str = "docs/operations.md#load-balancers";

/// What is known of the way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    /// Whether websockets get through.
    pub(super) websocket: bool,
    /// After how long of silence nodes there say something.
    pub(super) interval: Duration,
    /// How long they wait for an answer to that.
    pub(super) timeout: Duration,
}

/// Looks at it; nothing if it leads nowhere.
pub(super) async fn look(config: &Config, client: &Client, report: &mut Report) -> Option<Way> {
    let (site, about) = (&client.site, &client.site.authority);
    let polling = match client.open().await {
        Ok(polling) => polling,
        Err(why) => {
            let todo = "see that the name leads to the balancer, the balancer to the nodes' listen address, and /socket.io/ is passed \
                        on as it is; 503: no node is ready; 429: limits of this address";
            report.found(Status::Error, "balancer.handshake", about, why, (todo, SEE));
            return None;
        }
    };
    report.ok("balancer.handshake", about, "a gateway answers");
    client.close(&polling).await;
    let (interval, timeout) = (polling.open.interval(), polling.open.timeout());
    if (interval, timeout) != (config.socket.ping_interval, config.socket.ping_timeout) {
        let seen = format!(
            "its nodes have ping_interval {interval:?} and ping_timeout {timeout:?}, and this configuration has others"
        );
        let todo = "look with the configuration of its nodes; if this is it, nodes have not been started anew since it was changed";
        report.found(Status::Note, "balancer.configuration", about, seen, (todo, "docs/doctor.md#configuration"));
    }
    let websocket = match site.websocket("/socket.io/?EIO=4&transport=websocket").await {
        Ok(mut socket) => {
            report.ok("balancer.websocket", about, "websockets get through");
            socket.close(None).await.ok();
            true
        }
        Err(why) => {
            let todo = "have the balancer pass Upgrade and Connection on, with HTTP/1.1: clients that begin with polling stay with it, \
                        at several times the cost, and those that know websockets alone stay out";
            report.found(Status::Error, "balancer.websocket", about, why, (todo, SEE));
            false
        }
    };
    let metrics = site.get("/metrics").await;
    if metrics.is_ok_and(|answer| answer.body.contains("gateway_build_info")) {
        let todo = "pass only what is for clients on to the nodes' listen address, and keep admin_listen to yourself";
        let seen = "the admin listener can be reached: /metrics answers there";
        report.found(Status::Error, "balancer.admin", about, seen, (todo, "docs/operations.md#session-controls"));
    } else {
        report.ok("balancer.admin", about, "the admin listener cannot be reached there");
    }
    if site
        .ask(Method::GET, "/api/v1/rooms/doctor/events?limit=1", &[], "", PATIENCE)
        .await
        .is_ok_and(|it| it.status == StatusCode::UNAUTHORIZED)
    {
        let todo = "keep /api/v1 from the outside at the balancer, unless back ends come by this way";
        let seen = "the HTTP API for back ends can be reached, and asks for a key";
        report.found(Status::Note, "balancer.api", about, seen, (todo, "docs/operations.md#back-ends-that-ask"));
    }
    Some(Way { websocket, interval, timeout })
}

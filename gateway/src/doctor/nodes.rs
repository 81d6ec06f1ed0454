//! The nodes, as their admin listeners show them: there, ready, of one version, and content with themselves.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde::Deserialize;

use super::clocks::{self, Ahead};
use super::report::{Report, Status};
use super::web::{PATIENCE, Site, first_words};
use crate::process::from_here;
use gateway_core::config::Config;
use gateway_core::redis::Examined;

/// Files that a node keeps for itself, beside one for each connection.
const OWN_FILES: f64 = 256.0;
const SEE: &str = "docs/doctor.md#nodes";

/// A node that answered.
#[derive(Debug)]
pub(super) struct Node {
    /// Where its admin listener is.
    pub(super) address: String,
    /// Whether it is on this machine.
    pub(super) is_here: bool,
    /// Its clock.
    pub(super) clock: Option<Ahead>,
    /// What `/metrics` shows; empty if it may not be seen.
    metrics: String,
}

/// What `/console/api/nodes` answers.
#[derive(Deserialize)]
struct Listed {
    nodes: Vec<Told>,
    missing: usize,
}

/// What a node says of itself.
#[derive(Deserialize)]
struct Told {
    node: String,
    version: String,
    revision: String,
}

/// What `/console/api/health` answers.
#[derive(Deserialize)]
struct Health {
    checks: Vec<Condition>,
}

#[derive(Deserialize)]
struct Condition {
    name: String,
    ok: bool,
    severity: String,
    value: f64,
    limit: f64,
    words: String,
}

impl Node {
    /// The sum of a metric over its labels.
    pub(super) fn figure(&self, metric: &str) -> Option<f64> {
        let values = self.metrics.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            (series.split('{').next() == Some(metric)).then(|| value.parse::<f64>().ok())?
        });
        values.reduce(|one, other| one + other)
    }

    /// The label of a metric that there is once.
    fn label(&self, metric: &str, label: &str) -> Option<&str> {
        let line = self.metrics.lines().find(|line| line.starts_with(metric) && !line.starts_with('#'))?;
        line.split_once(&format!("{label}=\""))?.1.split('"').next()
    }

    pub(super) fn lets_clients_in(&self) -> bool {
        self.figure("gateway_works_only") != Some(1.0)
    }
}

/// Where the nodes are that were named, or the one of the configuration.
///
/// # Errors
/// One is no address.
pub(super) fn addresses(config: &Config, named: &[String]) -> Result<Vec<Site>, String> {
    if named.is_empty() {
        let own = from_here(config.admin_listen);
        return Ok(vec![Site::plain(&own.ip().to_string(), own.port())]);
    }
    let read = |text: &String| {
        let wrong = || format!("--node {text:?} is not like 10.0.0.11:9100");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        if host.is_empty() || host.contains('/') {
            return Err(wrong());
        }
        Ok(Site::plain(host.trim_matches(['[', ']']), port))
    };
    named.iter().map(read).collect()
}

/// How many nodes clients may come to, as far as somebody knows.
pub(super) fn serving(nodes: &[Node], redis: Option<&Examined>) -> Option<usize> {
    let counted = nodes.iter().filter_map(|node| node.figure("gateway_cluster_nodes")).reduce(f64::max);
    let counted = counted.map(|count| count as usize).filter(|count| *count > 0);
    counted.or_else(|| redis?.nodes.filter(|count| *count > 0))
}

/// Looks at all of them. `redis` knows how many there are.
pub(super) async fn look(config: &Config, sites: &[Site], redis: Option<&Examined>, report: &mut Report) -> Vec<Node> {
    let looked = join_all(sites.iter().map(|site| one(config, site))).await;
    let mut nodes = Vec::new();
    let (mut lists, mut silent) = (Vec::new(), 0);
    for (node, list, own) in looked {
        report.append(own);
        lists.extend(list);
        silent += usize::from(node.is_none());
        nodes.extend(node);
    }
    versions(&nodes, &lists, report);
    counts(&nodes, silent, redis, report);
    nodes
}

async fn one(config: &Config, site: &Site) -> (Option<Node>, Option<Listed>, Report) {
    let (mut report, about) = (Report::default(), format!("node at {}", site.authority));
    if let Err(why) = site.get("/livez").await {
        let todo = "see whether the node runs (its log, its exit code), and whether its admin_listen can be reached from here: it \
                    listens on 127.0.0.1 unless it is told otherwise";
        report.found(Status::Error, "node.reachable", about, why, (todo, "docs/runbooks.md#gatewaytargetdown"));
        return (None, None, report);
    }
    readiness(site, &about, &mut report).await;
    let metrics = match site.get("/metrics").await {
        Ok(answer) if answer.status == StatusCode::OK => answer.body,
        Ok(answer) if answer.status == StatusCode::MISDIRECTED_REQUEST => {
            let seen = format!("it answers its probes, but nothing else under the name {}", site.authority);
            let advice = (
                "add the name to admin.hosts, if Prometheus uses it, too",
                "docs/operations.md#when-a-part-of-a-node-fails",
            );
            report.found(Status::Warning, "node.metrics", &about, seen, advice);
            String::new()
        }
        Ok(answer) => {
            let seen = format!("/metrics answers {}", answer.status);
            report.found(Status::Warning, "node.metrics", &about, seen, ("is that an admin listener?", SEE));
            String::new()
        }
        Err(why) => {
            report.found(Status::Warning, "node.metrics", &about, why, ("look at the node's log", SEE));
            String::new()
        }
    };
    let is_here = is_here(site).await;
    let node = Node { address: site.authority.clone(), is_here, clock: clocks::ask(site).await, metrics };
    files(&node, &about, &mut report);
    let list = operator(config, site, &about, &mut report).await;
    (Some(node), list, report)
}

async fn readiness(site: &Site, about: &str, report: &mut Report) {
    match site.get("/readyz").await {
        Ok(answer) if answer.status == StatusCode::OK => report.ok("node.ready", about, "it takes clients"),
        Ok(answer) => {
            let seen = format!("/readyz answers {}: {}", answer.status, first_words(&answer.body));
            let todo = "starting: it waits for Redis, see its log. draining: it stops, or an operator drained it. hears nothing: \
                        see GatewayNodeDeaf";
            report.found(Status::Error, "node.ready", about, seen, (todo, "docs/operations.md#probes"));
        }
        Err(why) => report.found(Status::Error, "node.ready", about, why, ("look at the node's log", SEE)),
    }
}

async fn is_here(site: &Site) -> bool {
    let Ok(stream) = site.dial().await else { return false };
    let ends: [Option<IpAddr>; 2] =
        [stream.local_addr(), stream.peer_addr()].map(|end| end.ok().as_ref().map(SocketAddr::ip));
    ends[0].is_some() && ends[0] == ends[1]
}

fn files(node: &Node, about: &str, report: &mut Report) {
    let (Some(max), Some(limit)) = (node.figure("process_max_fds"), node.figure("gateway_connections_limit")) else {
        return;
    };
    if !node.lets_clients_in() {
        return;
    }
    // What nodes pass on goes over connections of its own, in both directions.
    let own = OWN_FILES + 2.0 * node.figure("gateway_passing_connections_limit").unwrap_or_default();
    let seen = format!("it may open {max:.0} files, and hold {}", connections(limit));
    let see = "docs/runbooks.md#gatewayfiledescriptorsnearlimit";
    if limit > 0.0 && max >= limit + own {
        report.ok("node.files", about, seen);
    } else if limit > 0.0 {
        let todo = "raise the hard limit (LimitNOFILE of systemd, ulimits of the container runtime) above limits.connections, or \
                    lower that: clients beyond it wait in the kernel's queue, and are told nothing";
        report.found(Status::Warning, "node.files", about, seen, (todo, see));
    } else {
        let todo = "set limits.connections, so that clients that are too many are told, and go elsewhere";
        report.found(Status::Note, "node.files", about, seen, (todo, see));
    }
}

fn connections(limit: f64) -> String {
    if limit > 0.0 { format!("{limit:.0} connections") } else { "connections without a limit".into() }
}

/// What only operators may see.
async fn operator(config: &Config, site: &Site, about: &str, report: &mut Report) -> Option<Listed> {
    let tokens = [&config.admin.viewer_token, &config.admin.token];
    let Some(token) = tokens.into_iter().find(|token| !token.is_empty()) else {
        let why = "without admin.token or admin.viewer_token in the configuration it is not asked how it is";
        report.skipped("node.health", about, why);
        return None;
    };
    let bearer = format!("Bearer {}", token.expose());
    let headers = [("authorization", &*bearer)];
    let ask = async |path| site.ask(Method::GET, path, &headers, "", PATIENCE).await;
    let health = ask("/console/api/health").await;
    match &health {
        Ok(answer) if answer.status == StatusCode::OK => match serde_json::from_str(&answer.body) {
            Ok(health) => conditions(health, about, report),
            Err(error) => report.skipped("node.health", about, format!("its answer is of another version ({error})")),
        },
        Ok(answer) if answer.status == StatusCode::UNAUTHORIZED => {
            let todo = "give all nodes the same admin.token, and this configuration, too";
            report.found(
                Status::Warning,
                "node.health",
                about,
                "it does not take the token of this configuration",
                (todo, SEE),
            );
            return None;
        }
        Ok(answer) => report.skipped("node.health", about, format!("it answers {}", answer.status)),
        Err(why) => report.skipped("node.health", about, why.clone()),
    }
    let list = ask("/console/api/nodes").await.ok().filter(|answer| answer.status == StatusCode::OK)?;
    serde_json::from_str(&list.body).ok()
}

fn conditions(health: Health, about: &str, report: &mut Report) {
    let count = health.checks.len();
    let (well, bad): (Vec<_>, Vec<_>) = health.checks.into_iter().partition(|condition| condition.ok);
    if well.len() == count {
        report.ok("node.health", about, format!("{count} conditions of alerts are well"));
    }
    for Condition { name, severity, value, limit, words, .. } in bad {
        let status = if severity == "critical" { Status::Error } else { Status::Warning };
        let see = if name.starts_with("Gateway") {
            format!("docs/runbooks.md#{}", name.to_lowercase())
        } else {
            "docs/operations.md#probes".into()
        };
        let seen = format!("{name}: {words} ({value:.2}, well up to {limit:.2})");
        report.found(status, "node.health", about, seen, ("do what its runbook says", see));
    }
}

/// One version, or a rollout that stands still.
fn versions(nodes: &[Node], lists: &[Listed], report: &mut Report) {
    let mut versions = BTreeSet::new();
    for list in lists {
        versions.extend(list.nodes.iter().map(|it| (format!("{} ({})", it.version, it.revision), it.node.clone())));
    }
    if versions.is_empty() {
        versions.extend(nodes.iter().filter_map(|node| {
            let of = |label| node.label("gateway_build_info", label);
            Some((format!("{} ({})", of("version")?, of("revision")?), node.address.clone()))
        }));
    }
    let kinds: BTreeSet<_> = versions.iter().map(|(version, _)| version).collect();
    let about = format!("{} nodes", versions.len());
    match kinds.len() {
        0 => {}
        1 => report.ok(
            "nodes.version",
            about,
            format!("all are of version {}", versions.iter().next().map_or("", |it| &it.0)),
        ),
        _ => {
            let each: Vec<_> = versions.iter().map(|(version, node)| format!("{node} is of {version}")).collect();
            let todo = "finish the rollout, or go back: nodes of two versions write what the older one reads, and no version is to be \
                        left out";
            report.found(
                Status::Warning,
                "nodes.version",
                about,
                each.join(", "),
                (todo, "docs/operations.md#upgrading"),
            );
        }
    }
    if let Some(list) = lists.iter().find(|list| list.missing > 0) {
        let seen = format!("{} nodes did not answer the others within a second", list.missing);
        let todo = "find the one that is stuck: gateway_canary_silence_seconds of each, and CLIENT LIST of Redis";
        report.found(Status::Error, "nodes.answer", "the nodes", seen, (todo, "docs/runbooks.md#gatewaynodedeaf"));
    }
}

/// Whether all nodes see the same others.
fn counts(nodes: &[Node], silent: usize, redis: Option<&Examined>, report: &mut Report) {
    let seen = nodes.iter().filter_map(|node| Some((node.figure("gateway_cluster_nodes")? as usize, &node.address)));
    let seen: BTreeSet<_> = seen.collect();
    let numbers: BTreeSet<_> = seen.iter().map(|(count, _)| count).collect();
    let see = "docs/runbooks.md#gatewayclustersplit";
    let todo = "give all nodes the same redis_url and redis.prefix; who sees nobody has lost Redis";
    if numbers.len() > 1 {
        let each: Vec<_> = seen.iter().map(|(count, node)| format!("{node} sees {count}")).collect();
        let advice = ("if no node is just starting or stopping: ".to_owned() + todo, see);
        return report.found(Status::Error, "nodes.count", "the nodes", each.join(", "), advice);
    }
    let clients = nodes.iter().filter(|node| node.lets_clients_in()).count() + silent;
    if let Some(listening) = redis.and_then(|redis| redis.nodes) {
        let seen = format!("{} were asked, and {listening} listen at Redis", nodes.len() + silent);
        if listening < clients - silent {
            let advice = (format!("one of those that were asked is elsewhere: {todo}"), see);
            report.found(Status::Error, "nodes.count", "the nodes", seen, advice);
        } else if listening > nodes.len() + silent {
            let todo = "name the others as well (--node), to have them looked at";
            report.found(Status::Note, "nodes.count", "the nodes", seen, (todo, SEE));
        } else {
            report.ok("nodes.count", "the nodes", seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_metrics_say() {
        let metrics = "# HELP gateway_connections x\ngateway_connections{transport=\"a\"} 2\ngateway_connections{transport=\"b\"} 3\n\
                       gateway_connections_limit 7\ngateway_build_info{version=\"1.2\",revision=\"abc\"} 1\n";
        let node = Node { address: "n".into(), is_here: true, clock: None, metrics: metrics.into() };
        assert_eq!(node.figure("gateway_connections"), Some(5.0));
        assert_eq!(node.figure("gateway_connections_limit"), Some(7.0));
        assert_eq!(node.figure("gateway_nothing"), None);
        assert_eq!(node.label("gateway_build_info", "revision"), Some("abc"));
    }

    #[test]
    fn nodes_that_are_named() {
        let config = gateway_core::config::load(None, std::iter::empty()).unwrap();
        let named = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            let sites = addresses(&config, &names)?;
            Ok::<_, String>(sites.into_iter().map(|site| site.authority).collect::<Vec<_>>())
        };
        assert_eq!(named(&[]).unwrap(), ["127.0.0.1:9100"]);
        assert_eq!(named(&["n1:9100", "[::1]:9101"]).unwrap(), ["n1:9100", "[::1]:9101"]);
        for wrong in ["n1", "http://n1:9100", ":9100", "n1:port"] {
            assert!(named(&[wrong]).is_err(), "{wrong}");
        }
    }
}

//! `gateway doctor` before deployments that are well, and that are not: each fault is found, and said in words.

mod redis;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use axum::Router;
use axum::http::header::DATE;
use axum::routing::get;
use futures_util::future::join_all;
use gateway::app::Gateway;
use gateway_core::auth::make_key;
use gateway_core::config::Scope;
use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;

use crate::cluster;
use crate::support::haproxy::HaProxy;
use crate::support::mailer::Mailpit;
use crate::support::postgres::Postgres;
use crate::support::redis::{Redis, free_port};
use crate::support::topology::replica_of;
use crate::support::{self, NO_LIMITS, eventually, metric};

/// So that idle connections need not be watched for a minute; who answers late has two seconds to do so.
const PINGS: [(&str, &str); 2] = [("GATEWAY_SOCKET__PING_INTERVAL", "1s"), ("GATEWAY_SOCKET__PING_TIMEOUT", "4s")];
/// A Redis as it should be.
const WELL: [&str; 8] = [
    "--maxmemory",
    "500mb",
    "--maxmemory-policy",
    "noeviction",
    "--client-output-buffer-limit",
    "pubsub 256mb 64mb 60",
    "--save",
    "",
];

/// What the doctor found.
struct Found {
    code: i32,
    report: Value,
}

impl Found {
    /// All that was found by a check.
    fn every(&self, check: &str) -> Vec<&Value> {
        self.report["findings"].as_array().unwrap().iter().filter(|it| it["check"] == check).collect()
    }

    /// How something stands, and what was seen of it: the worst, if it was looked at several times.
    fn of(&self, check: &str) -> (&str, &str) {
        let order = ["ok", "skipped", "note", "warning", "error"];
        let worst = self.every(check).into_iter().max_by_key(|it| order.iter().position(|word| it["status"] == *word));
        let worst = worst.unwrap_or_else(|| panic!("{check} was not looked at: {:#}", self.report));
        (worst["status"].as_str().unwrap(), worst["seen"].as_str().unwrap())
    }

    #[track_caller]
    fn assert(&self, check: &str, status: &str, words: &str) {
        let (stands, seen) = self.of(check);
        assert!(stands == status && seen.contains(words), "{check} is {stands}: {seen}");
    }

    /// Nothing is found that nobody can act on, and what is to be read exists.
    fn assert_advice(&self) {
        for finding in self.report["findings"].as_array().unwrap() {
            let is_fault = ["note", "warning", "error"].contains(&finding["status"].as_str().unwrap());
            assert_eq!(finding["do"].is_string() && finding["see"].is_string(), is_fault, "{finding}");
            let Some(see) = finding["see"].as_str() else { continue };
            let (file, anchor) = see.split_once('#').unwrap_or((see, ""));
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
            let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{see}: {error}"));
            let titles = text.lines().filter(|line| line.starts_with('#'));
            let mut anchors = titles.map(|line| {
                let title = line.trim_start_matches(['#', ' ']).to_lowercase().replace(' ', "-");
                title.replace(|letter: char| !letter.is_alphanumeric() && letter != '-', "")
            });
            assert!(anchor.is_empty() || anchors.any(|title| title == anchor), "{see} is not there");
        }
    }
}

/// Runs it with such a configuration.
async fn doctor(arguments: &[&str], changes: &[(&str, &str)]) -> Found {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_gateway"))
        .args(["doctor", "--json"])
        .args(arguments)
        .env("GATEWAY_DATA_DIR", "")
        .envs(changes.iter().copied())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let report = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    assert!(!text.contains("hunter"), "it shows a password: {text}");
    let found = Found { code: output.status.code().unwrap(), report };
    assert_eq!(found.report["code"], found.code);
    found.assert_advice();
    found
}

/// The arguments that name nodes.
fn named(nodes: &[SocketAddr]) -> Vec<String> {
    nodes.iter().map(|node| format!("--node={node}")).collect()
}

async fn well_set_up(changes: &[(&'static str, &'static str)]) -> (Redis, Redis, Vec<Gateway>) {
    let redis = Redis::start_with(&WELL).await;
    let replica = replica_of(&redis).await;
    let settings = PINGS.into_iter().chain([("GATEWAY_ADMIN__TOKEN", "t"), ("GATEWAY_LIMITS__CONNECTIONS", "100")]);
    let settings: Vec<_> = settings.chain(changes.iter().copied()).collect();
    let nodes = cluster(&redis, 2, &settings).await;
    for node in &nodes {
        eventually("nodes see each other", || async { metric(node, "gateway_cluster_nodes") == 2.0 }).await;
        let passes = metric(node, "gateway_passing_connections_limit") > 0.0;
        let found = || async { !passes || metric(node, "gateway_passing_nodes") == 2.0 };
        eventually("nodes find each other", found).await;
    }
    (redis, replica, nodes)
}

/// A balancer before nodes: what is added to its back end, one listener for each.
async fn balancer(nodes: &[Gateway], kinds: &[&str]) -> HaProxy {
    let servers: String =
        nodes.iter().enumerate().map(|(at, node)| format!(" server n{at} {} cookie n{at}\n", node.address)).collect();
    HaProxy::configured(kinds.len(), |addresses| {
        let mut text = String::from(
            "defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n timeout tunnel 1h\n",
        );
        for (number, (address, kind)) in addresses.iter().zip(kinds).enumerate() {
            text += &format!("listen l{number}\n bind {address}\n balance roundrobin\n{kind}\n{servers}");
        }
        text
    })
    .await
}

const BY_ID: &str = " stick-table type string len 32 size 1k expire 2m\n stick on url_param(sid)\n stick store-response \
                     res.hdr(x-engine-sid)";

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_is_well() {
    let (redis, _replica, nodes) = well_set_up(&[]).await;
    let balancer = balancer(&nodes, &[BY_ID]).await;
    let url = redis.url();
    let via = format!("--via=http://{}", balancer.addresses[0]);
    let mut arguments = named(&[nodes[0].admin_address, nodes[1].admin_address]);
    arguments.push(via);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let keys =
        [("GATEWAY_REDIS_URL", &*url), ("GATEWAY_ADMIN__TOKEN", "t"), ("GATEWAY_SOCKET__ORIGINS", "https://a.example")];
    let changes: Vec<_> = PINGS.into_iter().chain(keys).collect();
    let found = doctor(&arguments, &changes).await;
    let counts = &found.report["counts"];
    let warned = found.report["findings"].as_array().unwrap().iter().filter(|it| it["status"] == "warning");
    let warned = warned.map(|it| it["check"].as_str().unwrap());
    // What this machine's kernel allows, and how busy it is, is not the deployment's.
    let warned: Vec<_> = warned.filter(|check| !check.starts_with("limits.") && *check != "redis.latency").collect();
    assert_eq!((&counts["error"], warned), (&0.into(), vec![]), "{:#}", found.report);
    found.assert("nodes.count", "ok", "2 were asked, and 2 listen");
    found.assert("nodes.passing", "ok", "where all 2 are");
    found.assert("nodes.version", "ok", env!("CARGO_PKG_VERSION"));
    found.assert("node.health", "ok", "conditions of alerts are well");
    found.assert("clocks", "ok", "within a second");
    found.assert("redis.replicas", "ok", "1 are online");
    found.assert("redis.rights", "ok", "");
    found.assert("balancer.sticky", "ok", "16 connections");
    found.assert("balancer.idle_websocket", "ok", "longer than 5s");
    found.assert("balancer.idle_poll", "ok", "longer than 5s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_that_cuts_loses_and_shows_what_it_should_not() {
    let (redis, _replica, nodes) = well_set_up(&[("GATEWAY_PASSING__ENABLED", "false")]).await;
    let admin = nodes[0].admin_address;
    let hasty = format!("{BY_ID}\n timeout tunnel 500ms\n timeout server 500ms");
    let cookie = " cookie NODE insert indirect nocache";
    let open = format!(
        " use-server admin if {{ path /metrics }}\n server admin {admin} weight 0\n http-request deny if {{ hdr(upgrade) -m found }}"
    );
    let balancer = balancer(&nodes, &["", &hasty, cookie, &open]).await;
    let via: Vec<_> = balancer.addresses.iter().map(|address| format!("--via=http://{address}")).collect();
    let url = redis.url();
    let changes: Vec<_> = PINGS.into_iter().chain([("GATEWAY_REDIS_URL", &*url)]).collect();
    let node = format!("--node={admin}");
    let arguments: Vec<_> = via.iter().map(|via| [&*node, &**via]).collect();
    let found = join_all(arguments.iter().map(|arguments| doctor(arguments, &changes))).await;
    let [loses, cuts, by_cookie, shows] = &found[..] else { panic!("one each") };

    assert_eq!(loses.code, 2);
    loses.assert("balancer.sticky", "error", "sets no cookie");
    loses.assert("balancer.idle_poll", "skipped", "polling does not work");
    loses.assert("balancer.idle_websocket", "ok", "");
    loses.assert("nodes.count", "note", "1 were asked, and 2 listen");
    loses.assert("nodes.passing", "note", "nothing is passed on");

    assert_eq!(cuts.code, 2);
    cuts.assert("balancer.sticky", "ok", "");
    cuts.assert("balancer.idle_websocket", "error", "was cut after");
    cuts.assert("balancer.idle_poll", "error", "504");

    assert_eq!(by_cookie.code, 1, "{:#}", by_cookie.report);
    by_cookie.assert("balancer.sticky", "warning", "with the balancer's cookie alone");
    by_cookie.assert("balancer.idle_poll", "ok", "");

    shows.assert("balancer.admin", "error", "/metrics answers there");
    shows.assert("balancer.websocket", "error", "403");
    shows.assert("balancer.idle_websocket", "skipped", "do not get through");
    let nowhere = format!("--via=http://127.0.0.1:{}", free_port());
    doctor(&[&node, &nowhere], &changes).await.assert("balancer.handshake", "error", "refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_need_not_be_sticky_where_nodes_pass_on() {
    let (redis, _replica, nodes) = well_set_up(&[]).await;
    let balancer = balancer(&nodes, &[""]).await;
    let (via, url) = (format!("--via=http://{}", balancer.addresses[0]), redis.url());
    let node = format!("--node={}", nodes[0].admin_address);
    let changes: Vec<_> = PINGS.into_iter().chain([("GATEWAY_REDIS_URL", &*url)]).collect();
    let found = doctor(&[&node, &via], &changes).await;
    found.assert("balancer.sticky", "ok", "passed on between nodes");
    found.assert("balancer.idle_poll", "ok", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_need_tokens_where_nodes_ask_for_them() {
    let settings: Vec<_> = PINGS.into_iter().chain([("GATEWAY_AUTH__SECRET", "s")]).collect();
    let (_, key) = make_key("tests", vec![Scope::Read], vec!["*".into()], vec!["*".into()]);
    let mut config = support::config(&NO_LIMITS.into_iter().chain(settings.clone()).collect::<Vec<_>>());
    config.api.key = vec![key];
    let node = Gateway::start(config, 20_000).await.unwrap();
    let (via, admin) = (format!("--via=http://{}", node.address), format!("--node={}", node.admin_address));
    let found = doctor(&[&via, &admin], &PINGS).await;
    found.assert("balancer.idle_websocket", "skipped", "name a token with --token");
    found.assert("balancer.sticky", "skipped", "with one node");
    found.assert("balancer.api", "note", "can be reached");
    found.assert("redis", "skipped", "embedded mode");
    let found = doctor(&[&via, &admin], &settings).await;
    found.assert("balancer.idle_websocket", "ok", "");
    found.assert("balancer.idle_poll", "ok", "");
    doctor(&[&via, &admin, "--quick"], &settings).await.assert("balancer.idle", "skipped", "--quick");
}

/// A certificate for a name that is good until a year, in one file with its key.
fn certificate(folder: &Path, name: &str, until: i32) -> String {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    let issued = params.self_signed(&key).unwrap();
    let path = folder.join(format!("{name}-{until}.pem"));
    std::fs::write(&path, issued.pem() + &key.serialize_pem()).unwrap();
    std::fs::write(path.with_extension("crt"), issued.pem()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates() {
    let node = support::node(&PINGS).await;
    let folder = tempfile::tempdir().unwrap();
    let names = [("localhost", 2400), ("localhost", 2021), ("other.example", 2400)];
    let files = names.map(|(name, until)| certificate(folder.path(), name, until));
    let balancer = HaProxy::configured(files.len() + 1, |addresses| {
        let mut text =
            String::from("defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n");
        let ways = files.iter().map(|file| format!("ssl crt {file}")).chain([String::new()]);
        for (number, (address, way)) in addresses.iter().zip(ways).enumerate() {
            text += &format!("listen l{number}\n bind {address} {way}\n server n {}\n", node.address);
        }
        text
    })
    .await;
    let admin = format!("--node={}", node.admin_address);
    let look = async |at: usize, ca: Option<usize>| {
        let via = format!("--via=https://localhost:{}", balancer.addresses[at].port());
        let ca = ca.map(|at| format!("--ca={}", Path::new(&files[at]).with_extension("crt").display()));
        let arguments: Vec<_> = [&*via, &*admin, "--quick"].into_iter().chain(ca.as_deref()).collect();
        doctor(&arguments, &[]).await
    };
    let well = look(0, Some(0)).await;
    well.assert("tls.certificate", "ok", "for localhost and for 825 more days");
    well.assert("balancer.handshake", "ok", "");
    well.assert("balancer.websocket", "ok", "");
    look(1, Some(1)).await.assert("tls.certificate", "error", "has expired");
    look(2, Some(2)).await.assert("tls.certificate", "error", "is not for localhost");
    let unknown = look(0, None).await;
    unknown.assert("tls.certificate", "error", "by nobody who is trusted");
    unknown.assert("balancer.handshake", "ok", "");
    look(3, Some(0)).await.assert("tls.certificate", "error", "TLS cannot be spoken");
}

/// What looks like a node that is of another time and another version.
async fn stranger() -> SocketAddr {
    let metrics = "gateway_build_info{version=\"9.9.9\",revision=\"later\"} 1\nprocess_max_fds 1024\ngateway_connections_limit 20000\n\
                   gateway_works_only 0\ngateway_cluster_nodes 1\n";
    let long_ago = httpdate::fmt_http_date(std::time::SystemTime::now() - std::time::Duration::from_secs(3_600));
    let router = Router::new()
        .route("/livez", get(move || async move { ([(DATE, long_ago)], "alive\n") }))
        .route(
            "/readyz",
            get(|| async { (axum::http::StatusCode::SERVICE_UNAVAILABLE, "not ready: starting or draining\n") }),
        )
        .route("/metrics", get(move || async move { metrics }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_do_not_belong_together() {
    let redis = Redis::start_with(&WELL).await;
    let nodes = cluster(&redis, 2, &[]).await;
    for node in &nodes {
        eventually("nodes see each other", || async { metric(node, "gateway_cluster_nodes") == 2.0 }).await;
    }
    let arguments = named(&[nodes[0].admin_address, nodes[1].admin_address, stranger().await]);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let url = redis.url();
    let found = doctor(&arguments, &[("GATEWAY_REDIS_URL", &url)]).await;
    assert_eq!(found.code, 2);
    found.assert("nodes.version", "warning", "is of 9.9.9 (later)");
    found.assert("nodes.count", "error", "sees 1");
    found.assert("node.ready", "error", "starting or draining");
    found.assert("node.files", "warning", "may open 1024 files, and hold 20000 connections");
    found.assert("clocks", "error", "s apart");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_and_a_mail_server() {
    let (postgres, mail) = tokio::join!(Postgres::start(), Mailpit::start());
    let nobody = format!("--node=127.0.0.1:{}", free_port());
    let (url, port) = (postgres.url(), mail.smtp_port.to_string());
    let mails =
        [("GATEWAY_MAIL__HOST", "127.0.0.1"), ("GATEWAY_MAIL__TLS", "none"), ("GATEWAY_MAIL__FROM", "a@b.example")];
    let with = |port: &'static str, database: &'static str| {
        let own = [("GATEWAY_MAIL__PORT", port), ("GATEWAY_DATABASE__URL", database)];
        own.into_iter().chain(mails).collect::<Vec<_>>()
    };
    let well = with(port.leak(), url.leak());
    let found = doctor(&[&nobody], &well).await;
    found.assert("mail", "ok", "takes mail");
    found.assert("database", "warning", "tables are of version 0, and this gateway has 2");
    let config = support::config(&well);
    let store = gateway_store::Store::open(&config).await.unwrap().unwrap();
    store.migrate().await.unwrap();
    store.close().await;
    doctor(&[&nobody], &well).await.assert("database", "ok", "of version 2");
    postgres.run_in("postgres", &["UPDATE gateway_schema SET version = 7"]).await;
    doctor(&[&nobody], &well).await.assert("database", "error", "newer than this gateway's 2");
    let away = with(free_port().to_string().leak(), "postgres://gateway@127.0.0.1:1/x");
    let found = doctor(&[&nobody], &away).await;
    found.assert("mail", "error", "cannot be reached");
    found.assert("database", "error", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_with_which_no_node_would_start() {
    let nobody = format!("--node=127.0.0.1:{}", free_port());
    let found = doctor(&[&nobody], &[("GATEWAY_PROFILE", "no-such-profile")]).await;
    found.assert("configuration", "error", "no-such-profile");
    found.assert("configuration.open", "note", "anybody");
    let text = tokio::process::Command::new(env!("CARGO_BIN_EXE_gateway"))
        .args(["doctor", &nobody, "--via", "chat.example"])
        .output()
        .await
        .unwrap();
    assert_eq!(text.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&text.stderr).contains("is not like https://chat.example"));
    let text =
        tokio::process::Command::new(env!("CARGO_BIN_EXE_gateway")).args(["doctor", &nobody]).output().await.unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("\nerror    node.reachable") && text.contains("\n         do: "), "{text}");
}

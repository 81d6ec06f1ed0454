//! The doctor: looks at a deployment from outside and says what is wrong with it, in words that somebody can act on.

mod balancer;
mod clocks;
mod idle;
mod limits;
mod nodes;
mod passing;
mod redis;
mod report;
mod services;
mod sticky;
mod talk;
mod tls;
mod web;

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::process;
use gateway_core::config::Config;
use report::{Report, Status};
use talk::Client;
use web::Site;

/// What `gateway doctor` is told.
#[derive(Args, Clone, Debug, Default)]
pub struct Options {
    /// Where clients come in, as in <https://chat.example>: the load balancer; may be repeated.
    #[arg(long, value_name = "URL")]
    via: Vec<String>,
    /// The admin listener of a node, as in 10.0.0.11:9100; may be repeated. None: the one of the configuration.
    #[arg(long = "node", value_name = "HOST:PORT")]
    nodes: Vec<String>,
    /// A token to come in with. None: one is made if auth.secret is set.
    #[arg(long, value_name = "JWT")]
    token: Option<String>,
    /// A file with the certificates of the authorities to trust at --via, in PEM. None: those of this system.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Leave out what takes as long as socket.ping_interval and socket.ping_timeout together.
    #[arg(long)]
    quick: bool,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

/// Looks at everything and prints what it found. Returns the code to exit with: 0 if nothing is wrong, 1 for warnings, 2 for errors.
#[must_use]
pub fn run(config: &Config, options: &Options) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return process::fail(process::INTERNAL, &format!("cannot start the runtime: {error}")),
    };
    match runtime.block_on(examine(config, options)) {
        Ok(report) => {
            let text = if options.json { format!("{:#}", report.json()) } else { report.to_string() };
            writeln!(std::io::stdout(), "{text}").ok();
            report.code()
        }
        Err(why) => process::fail(process::BAD_CONFIGURATION, &why),
    }
}

/// What was found. The error is something about the options.
async fn examine(config: &Config, options: &Options) -> Result<Report, String> {
    let mut report = Report::default();
    configuration(config, &mut report);
    let (client, verifier) = tls::client(options.ca.as_deref())?;
    let sites = options.via.iter().map(|url| Site::parse(url, &client)).collect::<Result<Vec<_>, _>>()?;
    let addresses = nodes::addresses(config, &options.nodes)?;

    let examined = redis::look(config, &mut report).await;
    let nodes = nodes::look(config, &addresses, examined.as_ref(), &mut report).await;
    passing::look(&nodes, nodes::serving(&nodes, examined.as_ref()), &mut report);
    clocks::compare(&nodes, examined.as_ref(), &mut report);
    limits::look(&nodes, &mut report);
    services::look(config, &mut report).await;
    if sites.is_empty() {
        let why = "name where clients come in with --via to have TLS, stickiness and timeouts looked at";
        report.skipped("balancer", "the way of clients", why);
    }
    for site in &sites {
        if site.is_secure() {
            tls::look(site, &client, &verifier, &mut report).await;
        }
        let visitor = Client::new(site.clone(), talk::token(config, options.token.as_deref()));
        let Some(way) = balancer::look(config, &visitor, &mut report).await else { continue };
        let polls = sticky::look(&visitor, nodes::serving(&nodes, examined.as_ref()), &mut report).await;
        if options.quick {
            report.skipped("balancer.idle", &site.authority, "left out by --quick");
        } else {
            idle::look(&visitor, &way, polls, &mut report).await;
        }
    }
    Ok(report)
}

/// What `gateway check` looks at, and what a node warns about when it starts.
fn configuration(config: &Config, report: &mut Report) {
    let about = config.file.as_ref().map_or_else(|| "the environment".into(), |file| file.display().to_string());
    match process::check(config) {
        Ok(_) => report.ok("configuration", &about, "a node would start with it"),
        Err(why) => {
            let advice = ("put it right; gateway check says the same", "docs/doctor.md#configuration");
            report.found(Status::Error, "configuration", &about, why, advice);
        }
    }
    if let Some(exposure) = config.exposure() {
        let advice = ("say who may come in, unless everybody may", "docs/operations.md#origins");
        report.found(Status::Note, "configuration.open", &about, exposure, advice);
    }
}

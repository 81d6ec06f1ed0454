//! Scenario `neighbours`: polite rooms in calm and under a flood by turns; the others must hardly notice.

use std::cell::RefCell;
use std::fmt;
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Serialize;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use crate::args::NeighboursArguments;
use crate::attack::Attack;
use crate::audit::{Audit, SharedAudit};
use crate::dial::Dialer;
use crate::findings::Findings;
use crate::flood::{flood, settle};
use crate::flooder::Flood;
use crate::latency::{Latencies, Quantiles};
use crate::outcome::Outcome;
use crate::population::Population;
use crate::process::cpu_us;
use crate::rooms::BUSY_CORES;
use crate::verdict::Verdict;

/// What is published here is audited and not timed: warming up, and what a flood leaves behind.
const UNTIMED: usize = 0;

/// For the flooder to end, and for what it left in the gateway's queues.
const BETWEEN: Duration = Duration::from_secs(2);
const FLOODER_ENDS_WITHIN: Duration = Duration::from_secs(10);

/// A flood below this part of its rate was not the flood that was asked for.
const LEAST_RATE: f64 = 0.5;

pub(crate) async fn run(arguments: &NeighboursArguments) -> anyhow::Result<Outcome> {
    let dialer = Rc::new(Dialer::new(&arguments.target, arguments.connections).await?);
    cpu_us(&arguments.servers.pids)?;
    let population = Population {
        connections: arguments.connections,
        room_size: arguments.room_size,
        bytes: arguments.bytes,
        connect_rate: arguments.connect_rate,
    };
    let stretches = 2 * arguments.attacks.len() + 1;
    let phases = 1 + stretches * arguments.windows as usize;
    let audit = Rc::new(RefCell::new(Audit::new(population.room_sizes(), phases)?));
    let publishers = population.settle("neighbours", &dialer, &audit).await?;
    eprintln!("{} rooms are full", publishers.len());

    let stretches = tokio::select! {
        stretches = in_turns(arguments, &audit) => stretches?,
        () = flood(&publishers, &audit, arguments.rate, Duration::from_secs(u32::MAX.into())) => Vec::new(),
    };
    settle(&audit).await;

    let audit = audit.borrow();
    let stretches = stretches
        .into_iter()
        .enumerate()
        .map(|(index, stretch)| stretch.timed(&audit, index, arguments.windows as usize))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let report = Report {
        connections: arguments.connections,
        rooms: publishers.len(),
        findings: audit.findings(),
        verdicts: verdicts(&stretches, arguments.limit_percent),
        stretches,
    };
    let failures = report.failures(arguments.times);
    Outcome::new("neighbours", &report, failures)
}

/// Calm, flood, calm, flood, …, calm; beside the publishing.
async fn in_turns(arguments: &NeighboursArguments, audit: &SharedAudit) -> anyhow::Result<Vec<Stretch>> {
    sleep(arguments.warmup).await;
    let mut stretches = vec![stretch(arguments, audit, 0, None).await?];
    for &attack in &arguments.attacks {
        for attack in [Some(attack), None] {
            sleep(BETWEEN).await;
            stretches.push(stretch(arguments, audit, stretches.len(), attack).await?);
        }
    }
    Ok(stretches)
}

async fn stretch(
    arguments: &NeighboursArguments,
    audit: &SharedAudit,
    index: usize,
    attack: Option<Attack>,
) -> anyhow::Result<Stretch> {
    let own_pid = [i32::try_from(std::process::id())?];
    let seconds = arguments.windows * arguments.window_seconds;
    eprintln!("{} for {seconds} s", attack.map_or("calm".to_owned(), |attack| format!("flood of {attack}")));
    let flooder = attack.map(|attack| start_flooder(arguments, attack, seconds)).transpose()?;
    let started = Instant::now();
    let (server_us, own_us) = (cpu_us(&arguments.servers.pids)?, cpu_us(&own_pid)?);
    for window in 0..arguments.windows as usize {
        audit.borrow_mut().enter_phase(phase(index, window, arguments.windows as usize));
        sleep(Duration::from_secs(arguments.window_seconds.into())).await;
    }
    audit.borrow_mut().enter_phase(UNTIMED);
    let length = started.elapsed().as_secs_f64();
    let cores = |spent_us: u64| spent_us as f64 / 1_000_000.0 / length;
    let (server_us, own_us) = (cpu_us(&arguments.servers.pids)? - server_us, cpu_us(&own_pid)? - own_us);
    let flood = match flooder {
        Some(flooder) => Some(read_flood(flooder).await?),
        None => None,
    };
    Ok(Stretch {
        flood,
        server_cores: (!arguments.servers.pids.is_empty()).then(|| cores(server_us)),
        swarm_cores: cores(own_us),
        windows_p99_us: Vec::new(),
        latency: Quantiles::default(),
        swarm_lateness: Quantiles::default(),
    })
}

fn phase(stretch: usize, window: usize, windows: usize) -> usize {
    UNTIMED + 1 + stretch * windows + window
}

/// A process of its own, so that its work does not stand in line with the others' clients.
fn start_flooder(
    arguments: &NeighboursArguments,
    attack: Attack,
    seconds: u32,
) -> anyhow::Result<tokio::process::Child> {
    let mut command = Command::new("nice");
    command.args(["-n", &arguments.flooder_nice.to_string()]).arg(std::env::current_exe()?);
    command.args(["flooder", "--json", "--attack", &attack.to_string()]);
    command.args(["--times", &arguments.times.to_string(), "--seconds", &seconds.to_string()]);
    for url in &arguments.target.urls {
        command.args(["--url", url]);
    }
    if let Some(token) = &arguments.target.token {
        command.args(["--token", token]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().context("flooder")
}

async fn read_flood(flooder: tokio::process::Child) -> anyhow::Result<Flood> {
    let output =
        timeout(FLOODER_ENDS_WITHIN, flooder.wait_with_output()).await.context("the flooder did not end")??;
    ensure!(output.status.success(), "the flooder could not flood: {}", output.status);
    let text = String::from_utf8(output.stdout)?;
    serde_json::from_str(text.lines().last().unwrap_or_default()).context("the flooder's report")
}

/// Each flood against the calm on both sides of it.
fn verdicts(stretches: &[Stretch], limit_percent: f64) -> Vec<Verdict> {
    stretches
        .windows(3)
        .filter_map(|around| {
            let [before, during, after] = [0, 1, 2].map(|index| around[index].windows_p99_us.as_slice());
            let attack = around[1].flood.as_ref()?.attack;
            Some(Verdict::new(attack, before, during, after, limit_percent))
        })
        .collect()
}

/// Some windows of calm or of one flood.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Stretch {
    flood: Option<Flood>,
    server_cores: Option<f64>,
    swarm_cores: f64,
    windows_p99_us: Vec<u64>,
    /// Of all its windows
    latency: Quantiles,
    swarm_lateness: Quantiles,
}

impl Stretch {
    /// With the latencies of what was published in it, which are only complete when the run has settled.
    fn timed(mut self, audit: &Audit, index: usize, windows: usize) -> anyhow::Result<Self> {
        let (mut latency, mut lateness) = (Latencies::new()?, Latencies::new()?);
        for window in 0..windows {
            let phase = audit.phase(phase(index, window, windows));
            self.windows_p99_us.push(phase.deliveries.quantiles().p99_us);
            latency.absorb(&phase.deliveries)?;
            lateness.absorb(&phase.lateness)?;
        }
        (self.latency, self.swarm_lateness) = (latency.quantiles(), lateness.quantiles());
        Ok(self)
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    connections: u32,
    rooms: usize,
    /// Of the polite clients, over the whole run
    #[serde(flatten)]
    findings: Findings,
    stretches: Vec<Stretch>,
    verdicts: Vec<Verdict>,
}

impl Report {
    fn failures(&self, times: u32) -> Vec<String> {
        let mut failures = self.findings.failures();
        failures.extend(self.verdicts.iter().filter_map(Verdict::failure));
        for flood in self.stretches.iter().filter_map(|stretch| stretch.flood.as_ref()) {
            let attack = flood.attack;
            if flood.refused.total() == 0 && flood.closed.total() == 0 {
                failures.push(format!("{attack} met no limit"));
            } else if attack.is_of_a_session() && flood.closed.total() == 0 {
                failures.push(format!("{attack} went on for {:.0} s without being closed", flood.seconds));
            }
            // One that is closed spends its time on coming back; one that is not has no excuse.
            let asked_per_second = f64::from(attack.allowed_per_second() * times);
            if flood.closed.total() == 0 && flood.per_second() < asked_per_second * LEAST_RATE {
                failures.push(format!("{attack} came to {:.0}/s of {asked_per_second:.0}/s only", flood.per_second()));
            }
        }
        failures
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "clients      {} in {} rooms", self.connections, self.rooms)?;
        writeln!(f, "{}", self.findings)?;
        for stretch in &self.stretches {
            let windows: Vec<_> =
                stretch.windows_p99_us.iter().map(|&us| format!("{:.2}", us as f64 / 1_000.0)).collect();
            match &stretch.flood {
                Some(flood) => writeln!(f, "flood        {flood}")?,
                None => writeln!(f, "calm")?,
            }
            writeln!(f, "  latency    {}; p99 by window {}", stretch.latency, windows.join(" "))?;
            if let Some(cores) = stretch.server_cores {
                writeln!(f, "  server cpu {cores:.2} cores")?;
            }
            writeln!(f, "  swarm      {:.2} cores, late {}", stretch.swarm_cores, stretch.swarm_lateness)?;
            if stretch.swarm_cores > BUSY_CORES {
                writeln!(f, "  swarm was busy: the latencies contain waiting inside swarm itself")?;
            }
        }
        let verdicts: Vec<_> = self.verdicts.iter().map(Verdict::to_string).collect();
        write!(f, "{}", verdicts.join("\n"))
    }
}

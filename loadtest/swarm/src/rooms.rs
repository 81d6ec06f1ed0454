//! Scenario `rooms`: a steady flood through many rooms, every delivery audited, the server's CPU counted.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::args::RoomsArguments;
use crate::audit::{Audit, SharedAudit};
use crate::dial::Dialer;
use crate::findings::Findings;
use crate::flood::{flood, settle};
use crate::latency::Quantiles;
use crate::outcome::Outcome;
use crate::population::Population;
use crate::process::{CpuUse, cpu_us};

const WARMUP: usize = 0;
const MEASURED: usize = 1;
const PHASES: usize = 2;

/// Of the one core that swarm can use. Beyond it, frames wait in swarm's own sockets.
pub(crate) const BUSY_CORES: f64 = 0.7;

pub(crate) async fn run(arguments: &RoomsArguments) -> anyhow::Result<Outcome> {
    let dialer = Rc::new(Dialer::new(&arguments.target, arguments.connections).await?);
    // A wrong pid is better told now than after all clients have come in.
    cpu_us(&arguments.servers.pids)?;
    cpu_us(arguments.redis_pid.as_slice())?;
    let population = Population {
        connections: arguments.connections,
        room_size: arguments.room_size,
        bytes: arguments.bytes,
        connect_rate: arguments.connect_rate,
    };
    let audit = Rc::new(RefCell::new(Audit::new(population.room_sizes(), PHASES)?));
    let publishers = population.settle("rooms", &dialer, &audit).await?;
    eprintln!("{} rooms are full", publishers.len());

    let length = arguments.warmup + Duration::from_secs(arguments.seconds.into());
    let (window, ()) = tokio::join!(measure(arguments, &audit), flood(&publishers, &audit, arguments.rate, length));
    settle(&audit).await;

    let audit = audit.borrow();
    let report = Report {
        connections: arguments.connections,
        rooms: publishers.len(),
        connect_retries: dialer.retries(),
        findings: audit.findings(),
        window: window?,
        latency: audit.phase(MEASURED).deliveries.quantiles(),
        ack_latency: audit.phase(MEASURED).acks.quantiles(),
        swarm_lateness: audit.phase(MEASURED).lateness.quantiles(),
    };
    Outcome::new("rooms", &report, report.findings.failures())
}

/// Runs beside the flood and looks at the counters at both ends of the measured window.
async fn measure(arguments: &RoomsArguments, audit: &SharedAudit) -> anyhow::Result<Window> {
    let own_pid = [i32::try_from(std::process::id())?];
    let look = || -> anyhow::Result<_> {
        Ok(Look {
            at: Instant::now(),
            publishes: audit.borrow().scheduled(),
            deliveries: audit.borrow().deliveries(),
            server_us: cpu_us(&arguments.servers.pids)?,
            redis_us: cpu_us(arguments.redis_pid.as_slice())?,
            own_us: cpu_us(&own_pid)?,
        })
    };
    audit.borrow_mut().enter_phase(WARMUP);
    sleep(arguments.warmup).await;
    audit.borrow_mut().enter_phase(MEASURED);
    let before = look()?;
    sleep(Duration::from_secs(arguments.seconds.into())).await;
    let after = look()?;

    let length = after.at - before.at;
    let deliveries = after.deliveries - before.deliveries;
    let publishes = after.publishes - before.publishes;
    let cpu = |spent_us| CpuUse::new(spent_us, deliveries, length);
    let is_server_known = !arguments.servers.pids.is_empty();
    let redis_us = after.redis_us - before.redis_us;
    Ok(Window {
        seconds: length.as_secs_f64(),
        deliveries_per_second: deliveries as f64 / length.as_secs_f64(),
        server_cpu: is_server_known.then(|| cpu(after.server_us - before.server_us)),
        redis_cpu: arguments.redis_pid.map(|_| cpu(redis_us)),
        redis_us_per_publish: arguments.redis_pid.map(|_| redis_us as f64 / publishes.max(1) as f64),
        swarm_cpu: cpu(after.own_us - before.own_us),
    })
}

/// The counters at one end of the measured window.
struct Look {
    at: Instant,
    publishes: u64,
    deliveries: u64,
    server_us: u64,
    redis_us: u64,
    own_us: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    connections: u32,
    rooms: usize,
    connect_retries: u64,
    /// Of the whole run
    #[serde(flatten)]
    findings: Findings,
    #[serde(flatten)]
    window: Window,
    /// Of what was published in the measured window
    latency: Quantiles,
    ack_latency: Quantiles,
    swarm_lateness: Quantiles,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Window {
    seconds: f64,
    deliveries_per_second: f64,
    server_cpu: Option<CpuUse>,
    redis_cpu: Option<CpuUse>,
    redis_us_per_publish: Option<f64>,
    swarm_cpu: CpuUse,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Window { seconds, deliveries_per_second, server_cpu, redis_cpu, redis_us_per_publish, swarm_cpu } =
            &self.window;
        writeln!(
            f,
            "clients      {} in {} rooms, {} connect retries",
            self.connections, self.rooms, self.connect_retries
        )?;
        writeln!(f, "{}", self.findings)?;
        writeln!(f, "rate         {deliveries_per_second:.0} deliveries/s over {seconds:.1} s")?;
        writeln!(f, "latency      {}", self.latency)?;
        writeln!(f, "ack latency  {}", self.ack_latency)?;
        if let Some(server_cpu) = server_cpu {
            writeln!(f, "server cpu   {server_cpu}")?;
        }
        if let (Some(redis_cpu), Some(us_per_publish)) = (redis_cpu, redis_us_per_publish) {
            writeln!(f, "redis cpu    {redis_cpu}, {us_per_publish:.1} us per publish")?;
        }
        writeln!(f, "swarm cpu    {swarm_cpu}")?;
        write!(f, "swarm late   {}", self.swarm_lateness)?;
        if swarm_cpu.cores > BUSY_CORES {
            write!(f, "\nswarm was busy: the latencies contain waiting inside swarm itself")?;
        }
        Ok(())
    }
}

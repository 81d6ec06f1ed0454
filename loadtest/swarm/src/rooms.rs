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
        Ok((Instant::now(), audit.borrow().deliveries(), cpu_us(&arguments.servers.pids)?, cpu_us(&own_pid)?))
    };
    audit.borrow_mut().enter_phase(WARMUP);
    sleep(arguments.warmup).await;
    audit.borrow_mut().enter_phase(MEASURED);
    let (started, deliveries_before, server_before_us, own_before_us) = look()?;
    sleep(Duration::from_secs(arguments.seconds.into())).await;
    let (_, deliveries, server_us, own_us) = look()?;

    let length = started.elapsed();
    let deliveries = deliveries - deliveries_before;
    let cpu = |spent_us| CpuUse::new(spent_us, deliveries, length);
    let is_server_known = !arguments.servers.pids.is_empty();
    Ok(Window {
        seconds: length.as_secs_f64(),
        deliveries_per_second: deliveries as f64 / length.as_secs_f64(),
        server_cpu: is_server_known.then(|| cpu(server_us - server_before_us)),
        swarm_cpu: cpu(own_us - own_before_us),
    })
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
    swarm_cpu: CpuUse,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Window { seconds, deliveries_per_second, server_cpu, swarm_cpu } = &self.window;
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
        writeln!(f, "swarm cpu    {swarm_cpu}")?;
        write!(f, "swarm late   {}", self.swarm_lateness)?;
        if swarm_cpu.cores > BUSY_CORES {
            write!(f, "\nswarm was busy: the latencies contain waiting inside swarm itself")?;
        }
        Ok(())
    }
}

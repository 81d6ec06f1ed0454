//! Scenario `rooms`: a steady flood through many rooms, every delivery audited, the server's CPU counted.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::args::RoomsArguments;
use crate::audit::{Audit, SharedAudit};
use crate::crowd::{everybody, gather};
use crate::dial::Dialer;
use crate::entry::fresh_prefix;
use crate::findings::Findings;
use crate::flood::{Publishers, flood, settle};
use crate::latency::Quantiles;
use crate::member::{Room, settle_in};
use crate::outcome::Outcome;
use crate::process::{CpuUse, cpu_us};

const WARMUP: usize = 0;
const MEASURED: usize = 1;
const PHASES: usize = 2;

/// Of the one core that swarm can use. Beyond it, frames wait in swarm's own sockets.
const BUSY_CORES: f64 = 0.7;

pub(crate) async fn run(arguments: &RoomsArguments) -> anyhow::Result<Outcome> {
    let dialer = Rc::new(Dialer::new(&arguments.target, arguments.connections).await?);
    // A wrong pid is better told now than after all clients have come in.
    cpu_us(&arguments.servers.pids)?;
    let members = room_sizes(arguments.connections, arguments.room_size);
    let audit = Rc::new(RefCell::new(Audit::new(members, PHASES)?));
    let publishers = populate(arguments, &dialer, &audit).await?;
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

/// Room `r` holds the clients from `r * room_size` on, so that nodes, which take clients in turn,
/// share every room.
fn room_sizes(connections: u32, room_size: u32) -> Vec<u32> {
    let full = connections / room_size;
    let rest = connections % room_size;
    let rest = (rest > 0).then_some(rest);
    (0..full).map(|_| room_size).chain(rest).collect()
}

async fn populate(arguments: &RoomsArguments, dialer: &Rc<Dialer>, audit: &SharedAudit) -> anyhow::Result<Publishers> {
    let prefix = fresh_prefix("rooms");
    let rooms = arguments.connections.div_ceil(arguments.room_size) as usize;
    let rooms: Vec<_> = (0..rooms)
        .map(|index| {
            Rc::new(Room { index, name: format!("{prefix}-{index}"), bytes: arguments.bytes, audit: Rc::clone(audit) })
        })
        .collect();
    let entered = gather(arguments.connections, arguments.connect_rate, |client| {
        let room = Rc::clone(&rooms[(client / arguments.room_size) as usize]);
        let index = room.index;
        let entering = settle_in(Rc::clone(dialer), client, room);
        async move { entering.await.map(|orders| (index, orders)) }
    })
    .await?;
    let mut publishers: Publishers = rooms.iter().map(|_| Vec::new()).collect();
    for (room, orders) in everybody(entered)? {
        publishers[room].push(orders);
    }
    Ok(publishers)
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

#[cfg(test)]
mod tests {
    use super::room_sizes;

    #[test]
    fn the_last_room_takes_the_rest() {
        assert_eq!(room_sizes(6, 3), [3, 3]);
        assert_eq!(room_sizes(7, 3), [3, 3, 1]);
        assert_eq!(room_sizes(2, 100), [2]);
    }
}

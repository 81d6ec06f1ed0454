//! Scenario `storm`: everybody joins in the instant of CONNECT; an early event must not be dropped.

use std::fmt;
use std::rc::Rc;

use serde::Serialize;
use tokio::time::Instant;

use crate::args::StormArguments;
use crate::crowd::gather;
use crate::dial::Dialer;
use crate::entry::{Entry, EntryError, enter, fresh_prefix};
use crate::latency::{Latencies, Quantiles};
use crate::outcome::Outcome;
use crate::tally::Tally;

pub(crate) async fn run(arguments: &StormArguments) -> anyhow::Result<Outcome> {
    let dialer = Rc::new(Dialer::new(&arguments.target, arguments.connections).await?);
    let prefix = fresh_prefix("storm");
    let deadline = arguments.deadline;
    let started = Instant::now();

    let entered = gather(arguments.connections, arguments.connect_rate, |client| {
        let dialer = Rc::clone(&dialer);
        let room = format!("{prefix}-{}", client % arguments.rooms);
        async move {
            let Entry { mut session, ack_latency } = enter(&dialer, client, &room, deadline).await?;
            // Whoever is in stays, or the later ones would meet an emptier server.
            tokio::task::spawn_local(async move { session.idle().await });
            Ok(ack_latency)
        }
    })
    .await?;

    let mut joined = Latencies::new()?;
    let mut report = Report {
        clients: arguments.connections,
        seconds: started.elapsed().as_secs_f64(),
        retries: dialer.retries(),
        ..Report::default()
    };
    for result in entered {
        match result {
            Ok(ack_latency) => joined.record(ack_latency),
            Err(EntryError::Refused(code)) => report.refused.add(code),
            Err(EntryError::Unanswered) => report.missing += 1,
            Err(error @ (EntryError::NotConnected(_) | EntryError::Closed(_))) => {
                report.failed.add(error);
            }
        }
    }
    report.joined = joined.quantiles();
    let failures = report.failures();
    Outcome::new("storm", &report, failures)
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    clients: u32,
    seconds: f64,
    retries: u64,
    /// Join to ack
    joined: Quantiles,
    refused: Tally,
    missing: u64,
    failed: Tally,
}

impl Report {
    fn failures(&self) -> Vec<String> {
        [
            (self.refused.total(), "joins refused"),
            (self.missing, "joins without an ack"),
            (self.failed.total(), "clients not connected or cut off"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "clients      {} in {:.1} s, {} connect retries, failed {}",
            self.clients, self.seconds, self.retries, self.failed
        )?;
        writeln!(f, "joins        {} acked, refused {}, missing {}", self.joined.count, self.refused, self.missing)?;
        write!(f, "ack latency  {}", self.joined)
    }
}

//! Scenario `idle`: many sessions that do nothing, and what they weigh on the server.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::args::IdleArguments;
use crate::crowd::gather;
use crate::dial::Dialer;
use crate::outcome::Outcome;
use crate::process::resident_kib;
use crate::tally::Tally;

pub(crate) async fn run(arguments: &IdleArguments) -> anyhow::Result<Outcome> {
    let dialer = Rc::new(Dialer::new(&arguments.target, arguments.connections).await?);
    let pids = &arguments.servers.pids;
    let before_kib = resident_kib(pids)?;
    let closed = Rc::new(RefCell::new(Tally::default()));
    let started = Instant::now();

    let entered = gather(arguments.connections, arguments.connect_rate, |client| {
        let (dialer, closed) = (Rc::clone(&dialer), Rc::clone(&closed));
        let upgrade = arguments.upgrade;
        async move {
            let mut session = if upgrade { dialer.dial_by_upgrade(client).await? } else { dialer.dial(client).await? };
            tokio::task::spawn_local(async move {
                let reason = session.idle().await;
                closed.borrow_mut().add(reason);
            });
            Ok::<_, crate::dial::DialError>(())
        }
    })
    .await?;

    let connect_seconds = started.elapsed().as_secs_f64();
    let mut failed = Tally::default();
    for error in entered.into_iter().filter_map(Result::err) {
        failed.add(error);
    }
    let connected = u64::from(arguments.connections) - failed.total();
    eprintln!("{connected} connections open after {connect_seconds:.1} s, holding them");
    sleep(arguments.hold).await;

    let memory = match pids.as_slice() {
        [] => None,
        pids => Some(Memory::new(before_kib, resident_kib(pids)?, connected)),
    };
    let report = Report {
        connected,
        connect_seconds,
        retries: dialer.retries(),
        failed,
        hold_seconds: arguments.hold.as_secs_f64(),
        closed: closed.borrow().clone(),
        memory,
    };
    let failures = report.failures();
    Outcome::new("idle", &report, failures)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    connected: u64,
    connect_seconds: f64,
    retries: u64,
    failed: Tally,
    hold_seconds: f64,
    closed: Tally,
    memory: Option<Memory>,
}

/// Of the server processes together.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Memory {
    before_kib: u64,
    after_kib: u64,
    kib_per_connection: f64,
}

impl Memory {
    fn new(before_kib: u64, after_kib: u64, connections: u64) -> Self {
        Self {
            before_kib,
            after_kib,
            kib_per_connection: (after_kib as f64 - before_kib as f64) / connections.max(1) as f64,
        }
    }
}

impl Report {
    fn failures(&self) -> Vec<String> {
        [(self.failed.total(), "clients not connected"), (self.closed.total(), "connections closed while held")]
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
            "connected    {} in {:.1} s, {} retries, failed {}",
            self.connected, self.connect_seconds, self.retries, self.failed
        )?;
        write!(f, "held         {:.1} s, closed {}", self.hold_seconds, self.closed)?;
        if let Some(memory) = &self.memory {
            write!(
                f,
                "\nserver rss   {} KiB before, {} KiB after, {:.2} KiB per connection",
                memory.before_kib, memory.after_kib, memory.kib_per_connection
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Memory;

    #[test]
    fn memory_may_shrink_and_nobody_may_come() {
        assert_eq!(Memory::new(1_000, 3_000, 100).kib_per_connection, 20.0);
        assert_eq!(Memory::new(1_000, 900, 100).kib_per_connection, -1.0);
        assert_eq!(Memory::new(1_000, 1_000, 0).kib_per_connection, 0.0);
    }
}

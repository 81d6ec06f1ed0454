//! Scenario `stall`: one member of a flooded room stops reading; it must be closed, and the others must not notice.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::args::StallArguments;
use crate::audit::{Audit, SharedAudit};
use crate::crowd::{everybody, gather};
use crate::dial::Dialer;
use crate::entry::{enter, fresh_prefix};
use crate::findings::Findings;
use crate::flood::{Publishers, flood, settle};
use crate::latency::Quantiles;
use crate::member::{JOIN_DEADLINE, Room, settle_in};
use crate::outcome::Outcome;
use crate::session::Session;
use crate::staller::{GivenUp, stall};

const BEFORE: usize = 0;
const DURING: usize = 1;
const AFTER: usize = 2;
const PHASES: usize = 3;

pub(crate) async fn run(arguments: &StallArguments) -> anyhow::Result<Outcome> {
    let dialer = Rc::new(Dialer::new(&arguments.target, arguments.room_size).await?);
    let readers = arguments.room_size - 1;
    let audit = Rc::new(RefCell::new(Audit::new(vec![readers], PHASES)?));
    let (publishers, staller) = populate(arguments, &dialer, &audit).await?;
    let ping_timeout = staller.ping_timeout();

    let length = Duration::from_secs(arguments.seconds.into());
    let (begin, begun) = oneshot::channel();
    let stalling = tokio::task::spawn_local(misbehave(staller, begun, length, Rc::clone(&audit)));
    tokio::join!(flood(&publishers, &audit, arguments.rate, arguments.before + length), async {
        sleep(arguments.before).await;
        // Nobody listens if the server closed the member before its time: `misbehave` tells.
        let _ = begin.send(());
    });
    let given_up = stalling.await.context("staller")??;
    settle(&audit).await;

    let audit = audit.borrow();
    let latency = |phase| audit.phase(phase).deliveries.quantiles();
    let report = Report {
        others: readers,
        given_up,
        ping_timeout_seconds: ping_timeout.as_secs_f64(),
        findings: audit.findings(),
        before: latency(BEFORE),
        during: latency(DURING),
        after: latency(AFTER),
        swarm_lateness_during: audit.phase(DURING).lateness.quantiles(),
    };
    let failures = report.failures();
    Outcome::new("stall", &report, failures)
}

/// The last client is the one that will stall; it neither publishes nor is audited.
async fn populate(
    arguments: &StallArguments,
    dialer: &Rc<Dialer>,
    audit: &SharedAudit,
) -> anyhow::Result<(Publishers, Session)> {
    let readers = arguments.room_size - 1;
    let room = Rc::new(Room { index: 0, name: fresh_prefix("stall"), bytes: arguments.bytes, audit: Rc::clone(audit) });
    let entered = gather(readers, 0, |client| settle_in(Rc::clone(dialer), client, Rc::clone(&room))).await?;
    let staller = enter(dialer, readers, &room.name, JOIN_DEADLINE).await?;
    Ok((vec![everybody(entered)?], staller.session))
}

/// Reads like everybody else until the sign, and then not at all.
async fn misbehave(
    mut session: Session,
    begun: oneshot::Receiver<()>,
    length: Duration,
    audit: SharedAudit,
) -> anyhow::Result<Option<GivenUp>> {
    tokio::select! {
        closed = session.idle() => bail!("closed before it stalled: {closed}"),
        _ = begun => {}
    }
    audit.borrow_mut().enter_phase(DURING);
    let given_up = stall(session, length).await?;
    audit.borrow_mut().enter_phase(AFTER);
    Ok(given_up)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    others: u32,
    given_up: Option<GivenUp>,
    /// Sooner than this after the stall began, no heartbeat can have been the reason
    ping_timeout_seconds: f64,
    /// Of the others
    #[serde(flatten)]
    findings: Findings,
    before: Quantiles,
    during: Quantiles,
    after: Quantiles,
    swarm_lateness_during: Quantiles,
}

impl Report {
    fn failures(&self) -> Vec<String> {
        let mut failures = self.findings.failures();
        if self.given_up.is_none() {
            failures.push("the stalled client was not closed".to_owned());
        }
        failures
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.given_up {
            Some(GivenUp { seconds, error }) if *seconds < self.ping_timeout_seconds => {
                writeln!(f, "stalled      closed after {seconds:.1} s ({error})")?;
            }
            Some(GivenUp { seconds, error }) => writeln!(
                f,
                "stalled      closed after {seconds:.1} s ({error}), perhaps only by the ping timeout of {:.0} s",
                self.ping_timeout_seconds
            )?,
            None => writeln!(f, "stalled      never closed")?,
        }
        writeln!(f, "others       {}", self.others)?;
        writeln!(f, "{}", self.findings)?;
        writeln!(f, "before       {}", self.before)?;
        writeln!(f, "during       {}", self.during)?;
        writeln!(f, "after        {}", self.after)?;
        write!(f, "swarm late   {} (during)", self.swarm_lateness_during)
    }
}

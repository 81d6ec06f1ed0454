//! Scenario `backlog`: members that do not read, and how much memory the server keeps for them.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use socket2::SockRef;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use crate::args::BacklogArguments;
use crate::crowd::{everybody, gather};
use crate::dial::{DialError, Dialer};
use crate::entry::{EntryError, enter, fresh_prefix};
use crate::member::JOIN_DEADLINE;
use crate::outcome::Outcome;
use crate::packet::{Packet, read_answer};
use crate::process::resident_kib;
use crate::session::Session;
use crate::stamp::Stamp;
use crate::tally::Tally;

/// The kernel doubles it, and has a floor of about 2 KiB.
const RECEIVE_BUFFER_BYTES: usize = 4_096;

/// How often the server's memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long the server may still work on deliveries after the last ack.
const LINGER: Duration = Duration::from_millis(500);

/// How long acks may be on their way after the last publish.
const SETTLE_AT_MOST: Duration = Duration::from_secs(10);

pub(crate) async fn run(arguments: &BacklogArguments) -> anyhow::Result<Outcome> {
    let dialer = Rc::new(Dialer::new(&arguments.target, arguments.stalled + 1).await?);
    let room: Rc<str> = fresh_prefix("backlog").into();
    let entered = gather(arguments.stalled, 0, |client| {
        let (dialer, room) = (Rc::clone(&dialer), Rc::clone(&room));
        async move {
            let stream = enter(&dialer, client, &room, JOIN_DEADLINE).await?.session.into_stream();
            SockRef::from(&stream).set_recv_buffer_size(RECEIVE_BUFFER_BYTES).map_err(DialError::from)?;
            Ok::<_, EntryError>(stream)
        }
    })
    .await?;
    // Held, and never read.
    let stalled = everybody(entered)?;
    let publisher = enter(&dialer, arguments.stalled, &room, JOIN_DEADLINE).await?.session;

    let pids = &arguments.servers.pids;
    let before_kib = resident_kib(pids)?;
    let mut peak_kib = before_kib;
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut publishing = std::pin::pin!(publish(publisher, &room, arguments));
    let published = loop {
        tokio::select! {
            published = &mut publishing => break published,
            _ = looks.tick() => peak_kib = peak_kib.max(resident_kib(pids)?),
        }
    };
    let report = Report {
        stalled: stalled.len(),
        published_kib: u64::from(arguments.publishes) * u64::from(arguments.bytes) / 1_024,
        acked: published.acked,
        refused: published.refused,
        before_kib,
        peak_kib: peak_kib.max(resident_kib(pids)?),
    };
    let failures = report.failures(arguments.publishes);
    Outcome::new("backlog", &report, failures)
}

#[derive(Debug, Default)]
struct Published {
    acked: u64,
    refused: Tally,
}

impl Published {
    fn answered(&self) -> u64 {
        self.acked + self.refused.total()
    }
}

/// Publishes at the rate asked for and reads what comes back, until all is answered or will not be any more.
async fn publish(mut session: Session, room: &str, arguments: &BacklogArguments) -> Published {
    let mut published = Published::default();
    let started = Instant::now();
    let mut sequence = 0;
    let length = Duration::from_secs_f64(f64::from(arguments.publishes) / f64::from(arguments.rate));
    let give_up = started + length + SETTLE_AT_MOST;
    while published.answered() < arguments.publishes.into() {
        let due = started + Duration::from_secs_f64(sequence as f64 / f64::from(arguments.rate));
        let turn = tokio::select! {
            () = sleep_until(due), if sequence < arguments.publishes.into() => {
                let payload = Stamp { sequence, sent_ns: 0 }.payload(arguments.bytes);
                let packet = format!(r#"42{sequence}["publish",{{"room":"{room}","data":"{payload}"}}]"#);
                sequence += 1;
                session.send(packet).await
            }
            frame = session.read() => match frame {
                Ok(frame) => match Packet::parse(&frame) {
                    Packet::Ack { arguments, .. } => {
                        match read_answer(arguments) {
                            Ok(_) => published.acked += 1,
                            Err(code) => published.refused.add(code),
                        }
                        Ok(())
                    }
                    other => session.absorb(other).await,
                },
                Err(closed) => Err(closed),
            },
            () = sleep_until(give_up) => break,
        };
        if turn.is_err() {
            break;
        }
    }
    sleep(LINGER).await;
    published
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    stalled: usize,
    published_kib: u64,
    acked: u64,
    refused: Tally,
    before_kib: u64,
    peak_kib: u64,
}

impl Report {
    fn failures(&self, publishes: u32) -> Vec<String> {
        let unanswered = u64::from(publishes) - self.acked - self.refused.total();
        [(self.refused.total(), "publishes refused"), (unanswered, "publishes not answered")]
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "stalled      {} members", self.stalled)?;
        writeln!(f, "published    {} KiB, {} acked, refused {}", self.published_kib, self.acked, self.refused)?;
        write!(
            f,
            "server rss   {} KiB before, {} KiB at most, {} KiB more",
            self.before_kib,
            self.peak_kib,
            self.peak_kib.saturating_sub(self.before_kib)
        )
    }
}

//! Scenario `saturate`: publishers that go as fast as their own deliveries come back, and members that read in bulk.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until};

use crate::args::SaturateArguments;
use crate::bulk::BulkReader;
use crate::crowd::{everybody, gather};
use crate::dial::Dialer;
use crate::entry::{enter, fresh_prefix};
use crate::member::JOIN_DEADLINE;
use crate::outcome::Outcome;
use crate::packet::{Packet, read_answer};
use crate::process::{CpuUse, cpu_us};
use crate::session::{Closed, Session};
use crate::stamp::{Delivery, Stamp};
use crate::tally::Tally;

/// How long bulk readers let deliveries gather in the kernel. Its buffers hold many times as many.
const READ_EVERY: Duration = Duration::from_millis(100);
const BUFFER_BYTES: usize = 64 * 1024;

/// What all clients of the run count together.
#[derive(Debug, Default)]
struct Books {
    deliveries: Cell<u64>,
    refused: RefCell<Tally>,
    closed: RefCell<Tally>,
}

impl Books {
    fn hear(&self, deliveries: u64) {
        self.deliveries.set(self.deliveries.get() + deliveries);
    }
}

pub(crate) async fn run(arguments: &SaturateArguments) -> anyhow::Result<Outcome> {
    let dialer = Rc::new(Dialer::new(&arguments.target, arguments.connections).await?);
    cpu_us(&arguments.servers.pids)?;
    let prefix = fresh_prefix("saturate");
    let entered = gather(arguments.connections, arguments.connect_rate, |client| {
        let dialer = Rc::clone(&dialer);
        let room = format!("{prefix}-{}", client / arguments.room_size);
        async move {
            let entry = enter(&dialer, client, &room, JOIN_DEADLINE).await?;
            Ok::<_, crate::entry::EntryError>((client, room, entry.session))
        }
    })
    .await?;

    let books = Rc::new(Books::default());
    let (mut readers, mut publishers) = (Vec::new(), Vec::new());
    for (client, room, session) in everybody(entered)? {
        if client % arguments.room_size == 0 {
            publishers.push(Publisher { session, room, bytes: arguments.bytes, sequence: 0 });
        } else {
            readers.push(BulkReader::new(session, arguments.bytes)?);
        }
    }
    let rooms = publishers.len();
    for publisher in publishers {
        tokio::task::spawn_local(publisher.live(arguments.in_flight, Rc::clone(&books)));
    }
    tokio::task::spawn_local(read_all(readers, Rc::clone(&books)));

    let own_pid = [i32::try_from(std::process::id())?];
    let look =
        || anyhow::Ok((Instant::now(), books.deliveries.get(), cpu_us(&arguments.servers.pids)?, cpu_us(&own_pid)?));
    sleep(arguments.warmup).await;
    let (started, deliveries_before, server_before_us, own_before_us) = look()?;
    sleep(Duration::from_secs(arguments.seconds.into())).await;
    let (ended, deliveries, server_us, own_us) = look()?;

    let (length, deliveries) = (ended - started, deliveries - deliveries_before);
    let cpu = |spent_us| CpuUse::new(spent_us, deliveries, length);
    let is_server_known = !arguments.servers.pids.is_empty();
    let report = Report {
        connections: arguments.connections,
        rooms,
        seconds: length.as_secs_f64(),
        deliveries_per_second: deliveries as f64 / length.as_secs_f64(),
        server_cpu: is_server_known.then(|| cpu(server_us - server_before_us)),
        swarm_cpu: cpu(own_us - own_before_us),
        refused: books.refused.borrow().clone(),
        closed: books.closed.borrow().clone(),
    };
    Outcome::new("saturate", &report, report.failures())
}

/// Reads from everybody by turns until the run is over.
async fn read_all(mut readers: Vec<BulkReader>, books: Rc<Books>) {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut due = Instant::now();
    loop {
        due += READ_EVERY;
        sleep_until(due).await;
        readers.retain_mut(|reader| match reader.read(&mut buffer) {
            Ok(deliveries) => {
                books.hear(deliveries);
                true
            }
            Err(closed) => {
                books.closed.borrow_mut().add(closed);
                false
            }
        });
    }
}

#[derive(Debug)]
struct Publisher {
    session: Session,
    room: String,
    bytes: u32,
    sequence: u64,
}

impl Publisher {
    async fn live(mut self, in_flight: u32, books: Rc<Books>) {
        let closed = match self.publish(in_flight).await {
            Ok(()) => self.go_on(&books).await,
            Err(closed) => closed,
        };
        books.closed.borrow_mut().add(closed);
    }

    async fn publish(&mut self, times: u32) -> Result<(), Closed> {
        for _ in 0..times {
            self.sequence += 1;
            let Self { room, sequence, bytes, .. } = self;
            let payload = Stamp { sequence: *sequence, sent_ns: 0 }.payload(*bytes);
            let packet = format!(r#"42{sequence}["publish",{{"room":"{room}","data":"{payload}"}}]"#);
            self.session.send(packet).await?;
        }
        Ok(())
    }

    async fn go_on(&mut self, books: &Books) -> Closed {
        loop {
            let heard = match self.session.read().await {
                Ok(frame) => self.hear(&frame, books).await,
                Err(closed) => Err(closed),
            };
            if let Err(closed) = heard {
                return closed;
            }
        }
    }

    async fn hear(&mut self, frame: &str, books: &Books) -> Result<(), Closed> {
        match Packet::parse(frame) {
            Packet::Event(event) if Delivery::is_message(event) => {
                books.hear(1);
                self.publish(1).await
            }
            Packet::Ack { arguments, .. } => {
                if let Err(code) = read_answer(arguments) {
                    books.refused.borrow_mut().add(code);
                }
                Ok(())
            }
            other => self.session.absorb(other).await,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    connections: u32,
    rooms: usize,
    seconds: f64,
    deliveries_per_second: f64,
    server_cpu: Option<CpuUse>,
    swarm_cpu: CpuUse,
    refused: Tally,
    closed: Tally,
}

impl Report {
    fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        if self.deliveries_per_second == 0.0 {
            failures.push("nothing was delivered".to_owned());
        }
        for (count, what) in [(self.refused.total(), "publishes refused"), (self.closed.total(), "connections closed")]
        {
            if count > 0 {
                failures.push(format!("{count} {what}"));
            }
        }
        failures
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "clients      {} in {} rooms", self.connections, self.rooms)?;
        writeln!(f, "publishes    refused {}", self.refused)?;
        writeln!(f, "closed       {}", self.closed)?;
        writeln!(f, "rate         {:.0} deliveries/s over {:.1} s", self.deliveries_per_second, self.seconds)?;
        if let Some(server_cpu) = &self.server_cpu {
            writeln!(f, "server cpu   {server_cpu}")?;
        }
        write!(f, "swarm cpu    {}", self.swarm_cpu)
    }
}

//! Scenario `post`: publish over HTTP as back ends do, and what a publish costs the server.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::join_all;
use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until};

use crate::args::PostArguments;
use crate::http::{Answer, Connection};
use crate::latency::{Latencies, Quantiles};
use crate::outcome::Outcome;
use crate::process::cpu_us;
use crate::tally::Tally;

pub(crate) async fn run(arguments: &PostArguments) -> anyhow::Result<Outcome> {
    let count = u64::from(arguments.connections);
    let shared = Rc::new(Shared {
        requests: Requests::new(arguments)?,
        gap: (arguments.rate > 0).then(|| Duration::from_secs(count).div_f64(f64::from(arguments.rate))),
        counts: RefCell::new(Counts::new()?),
        failed: RefCell::new(Tally::default()),
        numbers: Cell::new(0),
        is_over: Cell::new(false),
    });
    let address = &shared.requests.address;
    let connections = join_all((0..count).map(|_| Connection::open(address))).await;
    let connections = connections.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let mut senders = Vec::new();
    for (index, connection) in connections.into_iter().enumerate() {
        // They take turns, so that requests at a rate are spread evenly.
        let turn = index as f64 / f64::from(arguments.connections);
        let first = Instant::now() + shared.gap.unwrap_or_default().mul_f64(turn);
        senders.push(tokio::task::spawn_local(send(shared.clone(), connection, first)));
    }
    sleep(arguments.warmup).await;

    let pids = &arguments.servers.pids;
    shared.counts.replace(Counts::new()?);
    let (started, cpu_before) = (Instant::now(), cpu_us(pids)?);
    sleep(Duration::from_secs(u64::from(arguments.seconds))).await;
    let (window, cpu) = (started.elapsed(), cpu_us(pids)? - cpu_before);
    let measured = shared.counts.replace(Counts::new()?);
    shared.is_over.set(true);
    for sender in senders {
        sender.await?;
    }

    let (publishes, seconds) = (measured.publishes, window.as_secs_f64());
    let report = Report {
        requests: measured.latencies.quantiles().count,
        publishes,
        publishes_per_second: publishes as f64 / seconds,
        latency: measured.latencies.quantiles(),
        cpu: (!pids.is_empty()).then(|| Cpu {
            us_per_publish: cpu as f64 / publishes.max(1) as f64,
            cores: cpu as f64 / 1_000_000.0 / seconds,
        }),
        failed: shared.failed.take(),
    };
    let failures = report.failures();
    Outcome::new("post", &report, failures)
}

struct Shared {
    requests: Requests,
    /// From one request of a connection to its next; without one, each follows the answer to the one before it.
    gap: Option<Duration>,
    counts: RefCell<Counts>,
    /// Of the whole run
    failed: RefCell<Tally>,
    /// How many publishes there were so far: each has a number of its own.
    numbers: Cell<u64>,
    is_over: Cell<bool>,
}

struct Counts {
    latencies: Latencies,
    publishes: u64,
}

impl Counts {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { latencies: Latencies::new()?, publishes: 0 })
    }
}

/// One connection's requests, one at a time; the first at a rate is due then.
async fn send(shared: Rc<Shared>, mut connection: Connection, mut due: Instant) {
    let mut request = Vec::new();
    while !shared.is_over.get() {
        // At a rate it is timed from when it was due: a slow answer must not hide how late the requests behind it are.
        let asked = match shared.gap {
            Some(gap) => {
                sleep_until(due).await;
                due += gap;
                due - gap
            }
            None => Instant::now(),
        };
        shared.requests.write(&mut request, &shared.numbers);
        let answer = match connection.ask(&request).await {
            Ok(answer) => answer,
            Err(error) => return shared.failed.borrow_mut().add(error),
        };
        let done = shared.requests.done(&answer);
        if done < u64::from(shared.requests.items) {
            shared.fail(&answer);
        }
        let mut counts = shared.counts.borrow_mut();
        counts.latencies.record(asked.elapsed());
        counts.publishes += done;
    }
}

impl Shared {
    /// Counts an answer that is not what it should be, and shows the first one.
    fn fail(&self, answer: &Answer) {
        let mut failed = self.failed.borrow_mut();
        if failed.total() == 0 {
            eprintln!("not done: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
        }
        failed.add(answer.status);
    }
}

/// How requests are made of the templates.
struct Requests {
    address: String,
    head: String,
    body: String,
    item: String,
    items: u32,
    rooms: u64,
    sign: Vec<u8>,
}

impl Requests {
    fn new(arguments: &PostArguments) -> anyhow::Result<Self> {
        let rest = arguments.url.strip_prefix("http://").context("--url begins with http://")?;
        let (address, path) = rest.split_once('/').context("--url has a path")?;
        let mut head = format!("POST /{path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n");
        for header in &arguments.headers {
            head += &format!("{header}\r\n");
        }
        Ok(Self {
            address: address.to_owned(),
            head,
            body: arguments.body.clone(),
            item: arguments.item.clone(),
            items: arguments.items,
            rooms: u64::from(arguments.rooms),
            sign: arguments.sign.clone().into_bytes(),
        })
    }

    /// The next request. What stands in the path has the number of its first publish.
    fn write(&self, request: &mut Vec<u8>, numbers: &Cell<u64>) {
        let first = numbers.get();
        numbers.set(first + u64::from(self.items));
        let filled = |template: &str, number: u64| {
            let room = (number % self.rooms).to_string();
            template.replace("{n}", &number.to_string()).replace("{room}", &room)
        };
        let items: Vec<_> = (first..numbers.get()).map(|number| filled(&self.item, number)).collect();
        let body = filled(&self.body, first).replace("{items}", &items.join(","));
        request.clear();
        request.extend_from_slice(filled(&self.head, first).as_bytes());
        request.extend_from_slice(format!("Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
    }

    /// How many publishes an answer says are done.
    fn done(&self, answer: &Answer) -> u64 {
        if !(200..300).contains(&answer.status) {
            return 0;
        }
        let (body, sign) = (&answer.body, &self.sign);
        body.windows(sign.len()).filter(|part| part == sign).count() as u64
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    requests: u64,
    publishes: u64,
    publishes_per_second: f64,
    /// Of requests
    latency: Quantiles,
    cpu: Option<Cpu>,
    failed: Tally,
}

/// Of the server processes together.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cpu {
    us_per_publish: f64,
    cores: f64,
}

impl Report {
    fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        if self.failed.total() > 0 {
            failures.push(format!("{} requests failed", self.failed.total()));
        }
        if self.publishes == 0 {
            failures.push("nothing was published".to_owned());
        }
        failures
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, publishes, publishes_per_second, latency, failed, .. } = self;
        writeln!(f, "publishes    {publishes} in {requests} requests, {publishes_per_second:.0} a second")?;
        write!(f, "answered     {latency}, failed {failed}")?;
        if let Some(Cpu { us_per_publish, cores }) = self.cpu {
            write!(f, "\nserver cpu   {us_per_publish:.1} us per publish, {cores:.2} cores")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use clap::Parser;

    use super::Requests;
    use crate::args::{Arguments, Scenario};
    use crate::http::Answer;

    fn requests(arguments: &[&str]) -> Requests {
        let arguments = ["swarm", "post", "--sign", "ok"].iter().chain(arguments);
        let Scenario::Post(arguments) = Arguments::parse_from(arguments).scenario else { panic!("it is post") };
        Requests::new(&arguments).expect("they fit")
    }

    #[test]
    fn templates_are_filled_in() {
        let requests = requests(&[
            "--url",
            "http://h:1/p/{room}",
            "--body",
            "[{items}]",
            "--item",
            "{n}/{room}",
            "--items",
            "3",
            "--rooms",
            "2",
        ]);
        let (numbers, mut request) = (Cell::new(1), Vec::new());
        requests.write(&mut request, &numbers);
        let expected = "POST /p/1 HTTP/1.1\r\nHost: h:1\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n[1/1,2/0,3/1]";
        assert_eq!(String::from_utf8_lossy(&request), expected);
        assert_eq!(numbers.get(), 4);
    }

    #[test]
    fn an_answer_tells_how_much_is_done() {
        let requests = requests(&["--url", "http://h:1/"]);
        let done = |status, body: &str| requests.done(&Answer { status, body: body.into() });
        assert_eq!([done(200, "ok, ok, not"), done(201, "ok"), done(204, ""), done(400, "ok")], [2, 1, 0, 0]);
    }
}

//! Clocks: those of the nodes and of Redis, against each other.

use http::header::DATE;
use tokio::time::sleep;

use super::nodes::Node;
use super::report::{Report, Status};
use super::web::Site;
use gateway_core::redis::Examined;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How far clocks may be apart, in milliseconds: time that is kept over a network is within a tenth of that.
const APART: i64 = 1_000;
/// By so much tokens are refused that are good, and taken that are not.
const FAR_APART: i64 = 30_000;
/// How often a node is asked for the time, and how long after each other: its answers have whole seconds, and one of them turns
/// between two questions.
const QUESTIONS: usize = 14;
const PAUSE: Duration = Duration::from_millis(80);
const SEE: &str = "docs/doctor.md#clocks";

/// By how many milliseconds a clock is ahead of this one, at least and at the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ahead {
    least: i64,
    most: i64,
}

impl Ahead {
    /// How far two are apart at least.
    fn from(self, other: Self) -> i64 {
        (self.least - other.most).max(other.least - self.most).max(0)
    }

    /// What both say of one clock.
    fn and(self, other: Self) -> Self {
        Self { least: self.least.max(other.least), most: self.most.min(other.most) }
    }
}

/// Asks a node what time it is there.
pub(super) async fn ask(site: &Site) -> Option<Ahead> {
    let mut known: Option<Ahead> = None;
    for _ in 0..QUESTIONS {
        let before = now_ms();
        let answer = site.get("/livez").await.ok()?;
        let after = now_ms();
        let date = answer.headers.get(DATE)?.to_str().ok()?;
        let there = since_1970(httpdate::parse_http_date(date).ok()?);
        // It was told some time between, and was so late or up to a second later.
        let one = Ahead { least: there - after, most: there + 1_000 - before };
        known = Some(known.map_or(one, |known| known.and(one)));
        sleep(PAUSE).await;
    }
    known
}

/// Compares all that are known.
pub(super) fn compare(nodes: &[Node], redis: Option<&Examined>, report: &mut Report) {
    let mut clocks: Vec<_> = nodes.iter().filter_map(|node| Some((node.address.clone(), node.clock?))).collect();
    if let Some(Examined { clock: (ahead, exactness), .. }) = redis {
        let exactness = i64::try_from(*exactness).unwrap_or(i64::MAX);
        clocks.push(("Redis".into(), Ahead { least: ahead - exactness, most: ahead + exactness }));
    }
    let pairs = clocks.iter().enumerate().flat_map(|(at, one)| clocks[at + 1..].iter().map(move |other| (one, other)));
    let worst = pairs.map(|(one, other)| (one.1.from(other.1), one, other)).max_by_key(|(apart, ..)| *apart);
    if let Some((apart, one, other)) = worst {
        let about = format!("{} clocks", clocks.len());
        if apart < APART {
            report.ok("clocks", about, "agree within a second");
        } else {
            let status = if apart < FAR_APART { Status::Warning } else { Status::Error };
            let apart = apart as f64 / 1_000.0;
            let seen = format!("those of {} and {} are at least {apart:.1} s apart", one.0, other.0);
            let todo = "have every machine keep its time over the network (chrony, systemd-timesyncd: timedatectl)";
            report.found(status, "clocks", about, seen, (todo, SEE));
        }
    }
    // If all of them agree, it is this one that is off: then it is no fault of theirs.
    let here = Ahead { least: 0, most: 0 };
    let off = clocks.iter().map(|(_, clock)| clock.from(here)).min().unwrap_or(0);
    if off >= APART {
        let seen = format!("this machine's clock is at least {:.1} s away from all of them", off as f64 / 1_000.0);
        report.found(
            Status::Note,
            "clocks.here",
            "this machine",
            seen,
            ("have it keep its time over the network", SEE),
        );
    }
}

fn now_ms() -> i64 {
    since_1970(SystemTime::now())
}

fn since_1970(time: SystemTime) -> i64 {
    i64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_two_clocks() {
        let clock = |least, most| Ahead { least, most };
        assert_eq!(clock(-20, 80).from(clock(-1, 1)), 0);
        assert_eq!(clock(5_000, 5_100).from(clock(-1, 1)), 4_999);
        assert_eq!(clock(-1, 1).from(clock(5_000, 5_100)), 4_999);
        assert_eq!(clock(-900, 100).and(clock(-50, 950)), clock(-50, 100));
    }
}

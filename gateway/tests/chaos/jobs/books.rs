//! What workers wrote down, and whether it is as promised.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use gateway_core::jobs::JobId;

/// By how much what was done may be written later than it happened, and a fault noted: a busy machine does other things meanwhile.
const SLACK_MS: u64 = 1_000;
/// How long after a fault of the server what was done may be unknown to it: workers connect anew, and leases run out.
const AFTER_SERVER_MS: u64 = 15_000;
/// How long after it went on a worker may not know that it was away.
const AFTER_STOP_MS: u64 = 6_000;

/// What was done to a run, in milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Killed { pid: u32, at: u64 },
    Stopped { pid: u32, from: u64, to: u64 },
    Server { from: u64, to: u64 },
}

/// A job that somebody began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    pid: u32,
    at: u64,
    /// When it ended, and whether it is done.
    ended: Option<(u64, bool)>,
}

/// What was begun, by job.
pub(super) struct Books(HashMap<String, Vec<Begun>>);

pub(super) fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// A line of a book: `b` begun, `f` failed, `e` done.
pub(super) fn line(mark: char, id: &str, at: u64) -> String {
    format!("{mark} {id} {at}\n")
}

impl Fault {
    pub(super) fn is_kill(&self) -> bool {
        matches!(self, Self::Killed { .. })
    }

    pub(super) fn is_stop(&self) -> bool {
        matches!(self, Self::Stopped { .. })
    }

    pub(super) fn is_server(&self) -> bool {
        matches!(self, Self::Server { .. })
    }

    /// Whether what was begun then may be begun once more.
    fn excuses(&self, begun: &Begun) -> bool {
        let ended = begun.ended.map_or(u64::MAX, |(at, _)| at);
        match *self {
            // It may have ended, and not have said so.
            Self::Killed { pid, at } => begun.pid == pid && begun.at <= at && ended.saturating_add(SLACK_MS) >= at,
            Self::Stopped { pid, from, to } => {
                begun.pid == pid && begun.at <= to + AFTER_STOP_MS && ended.saturating_add(SLACK_MS) >= from
            }
            Self::Server { from, to } => begun.at <= to + AFTER_SERVER_MS && ended.saturating_add(SLACK_MS) >= from,
        }
    }

    /// Whether whoever began it then had it from before it stood still.
    fn kept(&self, later: &Begun) -> bool {
        matches!(*self, Self::Stopped { pid, from, to } if later.pid == pid && (from..=to + SLACK_MS).contains(&later.at))
    }
}

impl Books {
    pub(super) fn read(files: &[(u32, PathBuf)]) -> Self {
        let mut all: HashMap<String, Vec<Begun>> = HashMap::new();
        for (pid, path) in files {
            // A worker that was killed at once has written nothing.
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let mut open: HashMap<&str, Begun> = HashMap::new();
            // The last line of one that was killed may be cut off.
            for line in text.lines() {
                let mut words = line.split(' ');
                let (Some(mark), Some(id), Some(at)) = (words.next(), words.next(), words.next()) else { continue };
                let Ok(at) = at.parse() else { continue };
                if mark == "b" {
                    // One that has no end was dropped.
                    if let Some(dropped) = open.insert(id, Begun { pid: *pid, at, ended: None }) {
                        all.entry(id.to_owned()).or_default().push(dropped);
                    }
                } else if let Some(begun) = open.remove(id) {
                    all.entry(id.to_owned()).or_default().push(Begun { ended: Some((at, mark == "e")), ..begun });
                }
            }
            for (id, begun) in open {
                all.entry(id.to_owned()).or_default().push(begun);
            }
        }
        for begun in all.values_mut() {
            begun.sort_by_key(|begun| begun.at);
        }
        Self(all)
    }

    /// Those that another one followed, although they had not failed.
    fn doubles(&self) -> impl Iterator<Item = (&String, &Begun, &Begun)> {
        self.0.iter().flat_map(|(id, all)| {
            let pairs = all.windows(2).map(move |pair| (id, &pair[0], &pair[1]));
            pairs.filter(|(_, begun, _)| begun.ended.is_none_or(|(_, done)| done))
        })
    }

    /// What is not as promised.
    pub(super) fn complaints(&self, made: &[JobId], faults: &[Fault]) -> Vec<String> {
        let is_done = |id: &JobId| {
            self.0.get(id.as_str()).is_some_and(|all| all.iter().any(|begun| begun.ended.is_some_and(|(_, done)| done)))
        };
        let lost = made.iter().filter(|id| !is_done(id)).map(|id| format!("{id} was not done"));
        let is_excused = |begun, later| faults.iter().any(|fault| fault.excuses(begun) || fault.kept(later));
        let twice = self.doubles().filter(|(_, begun, later)| !is_excused(begun, later));
        let twice = twice
            .map(|(id, begun, later)| format!("{id} came again as {later:?}, and nothing had happened to {begun:?}"));
        lost.chain(twice).collect()
    }

    pub(super) fn report(&self, made: &[JobId], faults: &[Fault]) -> String {
        let begun: usize = self.0.values().map(Vec::len).sum();
        let count = |is: fn(&Fault) -> bool| faults.iter().filter(|fault| is(fault)).count();
        let mut text = String::new();
        write!(
            text,
            "{} jobs made, {begun} times begun, {} of these again because of a fault; {} workers killed, {} stopped, {} times the server",
            made.len(),
            self.doubles().count(),
            count(Fault::is_kill),
            count(Fault::is_stop),
            count(Fault::is_server)
        )
        .unwrap();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn books(lines: &[(&str, u32)]) -> (tempfile::TempDir, Books) {
        let folder = tempfile::tempdir().unwrap();
        let file = |(text, pid): &(&str, u32)| {
            let path = folder.path().join(pid.to_string());
            std::fs::write(&path, text).unwrap();
            (*pid, path)
        };
        let files: Vec<_> = lines.iter().map(file).collect();
        let books = Books::read(&files);
        (folder, books)
    }

    #[test]
    fn what_is_lost_or_done_twice_without_a_reason_is_noticed() {
        let made: Vec<_> = ["a", "b", "c"].map(|id| JobId::new(id).unwrap()).into();
        let (_folder, books) =
            books(&[("b a 1000\ne a 1100\nb b 1000\n", 1), ("b b 9000\ne b 9100\nb a 9000\ne a 9", 2)]);
        assert_eq!(books.complaints(&made, &[]).len(), 3, "{:?}", books.complaints(&made, &[]));
        let killed = Fault::Killed { pid: 1, at: 1500 };
        let left = books.complaints(&made, &[killed]);
        assert_eq!(left, ["c was not done"]);
        let other = Fault::Killed { pid: 2, at: 1500 };
        assert_eq!(books.complaints(&made, &[other]).len(), 3);
        let late = Fault::Killed { pid: 1, at: 8000 };
        assert_eq!(
            books.complaints(&made, &[late]).len(),
            2,
            "a had ended long before: {:?}",
            books.complaints(&made, &[late])
        );
    }

    #[test]
    fn what_has_failed_may_come_again() {
        let made = [JobId::new("a").unwrap()];
        let (_folder, books) = books(&[("b a 1\nf a 2\nb a 3\ne a 4\n", 1)]);
        assert_eq!(books.complaints(&made, &[]), Vec::<String>::new());
    }
}

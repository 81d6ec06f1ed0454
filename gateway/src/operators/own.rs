//! What the process takes of the machine, as Linux tells: elsewhere nothing is known.

use std::fs;

use tokio::time::Instant;

/// Ticks of a second of the processor: what every Linux tells programs, whatever it does itself.
const TICKS: f64 = 100.0;

/// How much of a core the process takes.
#[derive(Debug)]
pub(super) struct Processor {
    at: Instant,
    ticks: Option<u64>,
}

impl Processor {
    pub(super) fn new() -> Self {
        Self { at: Instant::now(), ticks: ticks() }
    }

    /// Which share of a core it took since this was last asked.
    pub(super) fn share(&mut self) -> Option<f64> {
        let before = std::mem::replace(self, Self::new());
        let seconds = self.at.duration_since(before.at).as_secs_f64();
        let taken = self.ticks?.saturating_sub(before.ticks?) as f64 / TICKS;
        (seconds > 0.0).then(|| taken / seconds)
    }
}

/// What it took so far, its own time and the system's for it.
fn ticks() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program may have anything in it.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

/// Its resident memory, in bytes.
pub(super) fn memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn a_process_takes_memory_and_time() {
        assert!(memory().unwrap() > 1024 * 1024);
        let mut processor = Processor::new();
        let began = std::time::SystemTime::now();
        let mut sum = 0_u64;
        while began.elapsed().unwrap().as_millis() < 300 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(processor.share().unwrap() > 0.05);
    }
}

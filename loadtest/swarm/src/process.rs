//! What processes on this machine have used: resident memory and processor time, from /proc.

use std::time::Duration;

use anyhow::Context;
use procfs::process::Process;
use serde::Serialize;

/// VmRSS of all the processes together, in KiB.
pub(crate) fn resident_kib(pids: &[i32]) -> anyhow::Result<u64> {
    pids.iter()
        .map(|&pid| {
            let status = Process::new(pid).and_then(|process| process.status());
            status
                .with_context(|| format!("/proc/{pid}/status"))?
                .vmrss
                .with_context(|| format!("/proc/{pid}/status: no VmRSS"))
        })
        .sum()
}

/// Processor time (user and system) of all the processes together, in microseconds. The kernel
/// counts it in ticks of 10 ms.
pub(crate) fn cpu_us(pids: &[i32]) -> anyhow::Result<u64> {
    pids.iter()
        .map(|&pid| {
            let stat =
                Process::new(pid).and_then(|process| process.stat()).with_context(|| format!("/proc/{pid}/stat"))?;
            Ok((stat.utime + stat.stime) * 1_000_000 / procfs::ticks_per_second())
        })
        .sum()
}

/// Processor time spent between two looks, set against what was done meanwhile.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CpuUse {
    pub(crate) us_per_delivery: f64,
    /// Cores kept busy
    pub(crate) cores: f64,
}

impl CpuUse {
    pub(crate) fn new(spent_us: u64, deliveries: u64, window: Duration) -> Self {
        Self {
            us_per_delivery: spent_us as f64 / deliveries.max(1) as f64,
            cores: spent_us as f64 / 1_000_000.0 / window.as_secs_f64(),
        }
    }
}

impl std::fmt::Display for CpuUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} us per delivery, {:.2} cores", self.us_per_delivery, self.cores)
    }
}

#[cfg(test)]
mod tests {
    use super::{cpu_us, resident_kib};

    #[test]
    fn reads_itself() -> anyhow::Result<()> {
        let own = i32::try_from(std::process::id())?;
        assert!(resident_kib(&[own])? > 100);
        assert_eq!(resident_kib(&[])?, 0);
        assert!(cpu_us(&[own, own])? >= cpu_us(&[own])?);
        assert!(resident_kib(&[-1]).is_err());
        Ok(())
    }
}

//! Recurring: a warning that traffic can cause is told once, then counted and told now and then, then told to be over.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

/// How often it is told how many more there were; without any for that long it is over.
const EVERY: Duration = Duration::from_secs(10);

/// One kind of trouble of a node. The first of a series is logged by whoever has it, with all that it knows; of the
/// others a line every ten seconds says how many there were, and the next one after it is logged like the first: its reason
/// may be another one, and the one that lasts.
#[derive(Clone, Debug)]
pub struct Recurring {
    what: &'static str,
    series: Arc<Mutex<Option<Series>>>,
}

#[derive(Debug)]
struct Series {
    began: Instant,
    total: u64,
    /// Since they were told last.
    untold: u64,
    /// Whether there was any since the last look.
    lasts: bool,
    /// Whether the next one is logged with all that is known of it.
    whole: bool,
}

impl Recurring {
    /// A kind of trouble that has not come up yet. `what` is what its lines say.
    #[must_use]
    pub fn new(what: &'static str) -> Self {
        Self { what, series: Arc::default() }
    }

    /// Notes that it came up. `log` logs it, if it is the first of a series or the first after a count.
    pub fn note(&self, log: impl FnOnce(&'static str)) {
        {
            let mut series = self.series.lock();
            if let Some(series) = &mut *series {
                series.total += 1;
                series.lasts = true;
                if !std::mem::take(&mut series.whole) {
                    series.untold += 1;
                    return;
                }
            // Without a runtime nobody could say that it is over.
            } else if let Ok(runtime) = Handle::try_current() {
                *series = Some(Series { began: Instant::now(), total: 1, untold: 0, lasts: false, whole: false });
                runtime.spawn(self.clone().report());
            }
        }
        log(self.what);
    }

    /// Tells how many there were, until it is over.
    async fn report(self) {
        loop {
            sleep(EVERY).await;
            let mut series = self.series.lock();
            match &mut *series {
                Some(series) if series.lasts => {
                    (series.lasts, series.whole) = (false, true);
                    let (times, total) = (std::mem::take(&mut series.untold), series.total);
                    if times > 0 {
                        tracing::warn!(times, total, within = ?EVERY, "{}, again and again", self.what);
                    }
                }
                ended => {
                    if let Some(Series { began, total, .. }) = ended.take()
                        && total > 1
                    {
                        tracing::info!(total, within = ?began.elapsed(), "{}: not any more", self.what);
                    }
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use tracing_subscriber::util::SubscriberInitExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Page {
        /// The messages since the last call.
        fn lines(&self) -> Vec<String> {
            let bytes = std::mem::take(&mut *self.0.lock());
            String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
        }
    }

    /// Where lines are written from now on, until the guard is dropped.
    fn logging() -> (Page, tracing::subscriber::DefaultGuard) {
        let page = Page::default();
        let written = page.clone();
        let lines = tracing_subscriber::fmt().with_ansi(false).without_time().with_writer(move || written.clone());
        (page, lines.finish().set_default())
    }

    #[tokio::test(start_paused = true)]
    async fn while_it_lasts_its_latest_reason_is_told_too() {
        let (page, _logging) = logging();
        let trouble = Recurring::new("nothing is heard");
        for beat in 0..60 {
            let why = if beat == 0 { "too late" } else { "not allowed" };
            trouble.note(|what| tracing::warn!(error = why, "{what}"));
            tokio::time::sleep(Duration::from_millis(6_100)).await;
        }
        let lines = page.lines();
        assert!(lines[0].contains("too late"), "{lines:?}");
        let told = lines.iter().filter(|line| line.contains("not allowed")).count();
        assert!(told >= 30 && lines.iter().any(|line| line.contains("again and again")), "{lines:?}");
        assert!(!lines.iter().any(|line| line.contains("not any more")), "{lines:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_series_is_one_line_then_a_count_then_its_end() {
        let (page, _logging) = logging();
        let trouble = Recurring::new("the log failed");
        let note = || trouble.note(|what| tracing::warn!(error = "away", "{what}"));
        for _ in 0..320 {
            note();
            tokio::time::advance(Duration::from_millis(25)).await;
        }
        let first = page.lines();
        assert!(first.len() == 1 && first[0].contains("the log failed error=\"away\""), "{first:?}");
        tokio::time::sleep(EVERY).await;
        let counted = page.lines();
        assert!(counted.len() == 1 && counted[0].contains("times=319 total=320"), "{counted:?}");
        tokio::time::sleep(EVERY).await;
        let over = page.lines();
        assert!(over.len() == 1 && over[0].contains("not any more total=320"), "{over:?}");
        tokio::time::sleep(EVERY * 3).await;
        assert!(page.lines().is_empty());
        note();
        assert_eq!(page.lines().len(), 1, "a new series begins");
        tokio::time::sleep(EVERY * 2).await;
        assert!(page.lines().is_empty(), "one alone was told already");
    }
}

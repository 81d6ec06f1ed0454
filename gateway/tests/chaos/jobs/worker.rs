//! A process that does jobs, and writes down what it does.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gateway_core::jobs::{Failure, Handler, Job, Jobs, Kept, QueueName, Working};
use gateway_core::redis::Commands;
use gateway_work::bullmq::BullJobs;
use serde_json::value::RawValue;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use super::LEASE;
use super::books::{line, now_ms};
use crate::support;

/// What tells a process what it is.
pub(super) const URL: &str = "CHAOS_JOBS_URL";
/// Where it writes.
pub(super) const BOOK: &str = "CHAOS_JOBS_BOOK";

pub(super) fn queue() -> QueueName {
    QueueName::new("audited: jobs").unwrap()
}

pub(super) fn open(url: &str) -> BullJobs {
    let settings = support::config(&[]).redis;
    let kept = Kept { time: Duration::from_secs(24 * 3600), most: 10_000_000 };
    let commands = Commands::new(url, &settings).unwrap();
    BullJobs::new(commands, &settings.prefix, &BullJobs::prefix(&settings.prefix), kept).unwrap()
}

/// Writes down when it begins a job, and when it has done it. What was written is there after the process was killed.
struct Writes(File);

impl Writes {
    fn note(&self, mark: char, job: &Job) {
        let mut file = &self.0;
        file.write_all(line(mark, job.id.as_str(), now_ms()).as_bytes()).unwrap();
    }
}

#[async_trait]
impl Handler for Writes {
    async fn handle(&self, job: &Job) -> Result<Option<Box<RawValue>>, Failure> {
        self.note('b', job);
        // Not the same for each, and the same when it comes again.
        let length = job.id.as_str().bytes().fold(0u64, |sum, byte| (sum * 31 + u64::from(byte)) % 200);
        sleep(Duration::from_millis(length)).await;
        if job.kind == "again" && job.attempt == 1 {
            self.note('f', job);
            return Err(Failure::not_now("once more, please"));
        }
        self.note('e', job);
        Ok(None)
    }
}

#[test]
#[ignore = "a process of the auditor's: it begins others of this program, and has them run this"]
fn a_process_that_does_jobs() {
    let (url, book) = (std::env::var(URL).unwrap(), std::env::var_os(BOOK).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut sent_away = signal(SignalKind::terminate()).unwrap();
        let writes = Writes(File::options().create(true).append(true).open(book).unwrap());
        let working = Working { concurrency: 4, lease: LEASE, ..Working::default() };
        let mut worker = open(&url).work(&queue(), &working, Arc::new(writes)).await.unwrap();
        tokio::select! {
            why = worker.failed() => panic!("{why}"),
            _ = sent_away.recv() => {}
        }
        // Long enough for all of them, so nothing is handed back.
        let ended = worker.stop(Duration::from_secs(20)).await;
        assert_eq!(ended.handed_back, 0);
    });
}

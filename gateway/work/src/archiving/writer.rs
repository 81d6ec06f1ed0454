//! The writer: reads what waits for the archive, writes it there, and only then takes it out of the outbox.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Archiving;
use super::records::{Stand, Stretch, stretch};
use gateway_core::archive::{Gap, Written};
use gateway_core::domain::{Offset, RoomName};
use gateway_core::log::Range;
use gateway_core::outbox::{Batch, Claim, Fate, Most, Place, Wants};
use gateway_core::port::PortError;

/// How often at the most the archive is told how far the log is while nothing is published: who reads may wait for it.
const IDLE: Duration = Duration::from_secs(1);
/// How long letting go may take.
const LETTING_GO: Duration = Duration::from_millis(500);

/// What a round came to.
enum Round {
    /// There may be more at once.
    More,
    /// There is nothing more for now.
    Done,
    /// Somebody else writes.
    Lost,
}

/// Writes as long as its claim holds, and else waits for its turn.
pub(super) struct Writer {
    archiving: Arc<Archiving>,
    claim: Claim,
    /// The room that is asked where the log stands: there never is anything in it.
    nowhere: RoomName,
    /// Up to where everything is in the archive, once that was asked; nothing in it if it never had anything.
    cursor: Option<Option<Offset>>,
    /// Where the log stood when it was last asked.
    head: Option<Offset>,
    /// Where the history began of which the archive was last told.
    began: Option<Offset>,
    /// When the archive was last told how far it is.
    told: Option<Instant>,
    /// Attempts in a row that failed.
    failures: u32,
}

impl Writer {
    pub(super) fn new(archiving: Arc<Archiving>) -> Self {
        Self {
            claim: Claim::new(archiving.settings.lease),
            nowhere: RoomName::internal("archive"),
            archiving,
            cursor: None,
            head: None,
            began: None,
            told: None,
            failures: 0,
        }
    }

    /// Works until `end`, and then lets go.
    pub(super) async fn run(mut self, end: CancellationToken) {
        end.run_until_cancelled(self.work()).await;
        self.archiving.turn(false);
        // If it does not work, the lease runs out.
        timeout(LETTING_GO, self.archiving.outbox.let_go(Wants::ARCHIVE, &self.claim)).await.ok();
    }

    async fn work(&mut self) {
        loop {
            let pause = match self.round().await {
                Ok(Round::More) => {
                    self.failures = 0;
                    continue;
                }
                Ok(Round::Done) => {
                    self.failures = 0;
                    self.archiving.settings.interval
                }
                Ok(Round::Lost) => {
                    self.archiving.turn(false);
                    // Who had it meanwhile has moved it.
                    (self.cursor, self.head, self.failures) = (None, None, 0);
                    sleep(self.claim.lease() / 3).await;
                    continue;
                }
                Err(error) => {
                    self.archiving.note(&error);
                    self.failures = self.failures.saturating_add(1);
                    self.backoff()
                }
            };
            self.rest(pause).await;
        }
    }

    async fn round(&mut self) -> Result<Round, PortError> {
        let settings = &self.archiving.settings;
        let most = Most { entries: settings.batch_events, bytes: settings.batch_bytes };
        let Some(batch) = self.archiving.outbox.read(Wants::ARCHIVE, &self.claim, most).await? else {
            return Ok(Round::Lost);
        };
        self.archiving.turn(true);
        self.show(&batch, batch.entries.first().map(|first| first.age));
        let stands = self.archiving.log.read(&self.nowhere, Range::Newest { before: None, limit: 0 }, 0).await?;
        if stands.in_doubt_before.is_some() {
            // What is archived now could be more than what the log had lost: then nobody would learn of that.
            self.head = None;
            return Ok(Round::Done);
        }
        let cursor = match self.cursor {
            Some(cursor) => cursor,
            None => *self.cursor.insert(self.archiving.archive.cursor().await?),
        };
        let before = self.head.replace(stands.head.offset).filter(|before| *before >= stands.began);
        let is_all = batch.entries.len() == batch.waiting;
        let is_told = self.began == Some(stands.began);
        let stand = Stand { began: stands.began, is_told, before, head: stands.head.offset };
        let told: Vec<_> = batch.entries.iter().filter_map(|it| it.happening.as_ref()?.trace.clone()).collect();
        let stretch = stretch(batch, cursor, stand);
        let is_idle = stretch.records.is_empty() && stretch.places.is_empty();
        let has_moved = cursor.is_none_or(|cursor| stretch.cursor > cursor) && stretch.cursor > Offset::START;
        if is_idle && (!has_moved || self.told.is_some_and(|told| told.elapsed() < IDLE)) {
            return Ok(Round::Done);
        }
        let mut span = self.archiving.traces.link(told, "write archive");
        span.say("db.operation.batch.size", stretch.records.len());
        let written = self.write(&stretch).await;
        if written.is_err() {
            span.fail("failed");
        }
        drop(span);
        let Some(written) = written? else { return Ok(Round::Lost) };
        self.tell(&written);
        self.began = Some(stands.began);
        (self.cursor, self.told) = (Some(Some(stretch.cursor)), Some(Instant::now()));
        if !stretch.places.is_empty() && !self.settle(&stretch.places).await? {
            return Ok(Round::Lost);
        }
        Ok(if is_all { Round::Done } else { Round::More })
    }

    /// Writes, and keeps the claim meanwhile. Nothing if somebody else has it by then: what is written twice changes nothing.
    async fn write(&self, stretch: &Stretch) -> Result<Option<Written>, PortError> {
        let began = Instant::now();
        let mut writing = pin!(self.archiving.archive.write(&stretch.records, stretch.cursor));
        let every = self.claim.lease() / 3;
        let mut tick = interval_at(Instant::now() + every, every);
        loop {
            tokio::select! {
                written = &mut writing => {
                    self.archiving.metrics.archive_write_duration.record(began.elapsed().as_secs_f64());
                    return written.map(Some);
                }
                _ = tick.tick() => if !self.renew().await { return Ok(None) },
            }
        }
    }

    fn tell(&self, Written { events, gaps }: &Written) {
        let metrics = &self.archiving.metrics;
        metrics.archive_events.increment(*events);
        for Gap { room, after, through, why } in gaps {
            metrics.archive_gaps.with(why.as_str()).increment(1);
            let (room, why) = (room.as_ref().map(|room| room.shown().unwrap_or_default()), why.as_str());
            tracing::error!(room, %after, %through, why, "the archive does not have everything");
        }
    }

    /// Takes out what was written, until the outbox knows: else it would be written again. False if the claim was lost.
    async fn settle(&mut self, places: &[Place]) -> Result<bool, PortError> {
        loop {
            match self.archiving.outbox.settle(Wants::ARCHIVE, &self.claim, places, Fate::Delivered).await {
                Ok(settled) => return Ok(settled),
                Err(error) if error.is_permanent() => return Err(error),
                Err(error) => self.archiving.note(&error),
            }
            self.failures = self.failures.saturating_add(1);
            sleep(self.backoff()).await;
        }
    }

    /// About twice as long each time. Between half of it and all of it, so that nodes that failed together do not come back
    /// together.
    fn backoff(&self) -> Duration {
        let settings = &self.archiving.settings;
        let wait = settings.backoff.saturating_mul(1 << self.failures.saturating_sub(1).min(20));
        wait.min(settings.backoff_max).mul_f64(rand::random_range(0.5..=1.0))
    }

    /// Waits, and keeps the claim meanwhile: somebody else would try at once what is to be tried later.
    async fn rest(&self, pause: Duration) {
        let (end, every) = (Instant::now() + pause, self.claim.lease() / 3);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            sleep(left.min(every)).await;
            if left <= every || !self.renew().await {
                return;
            }
        }
    }

    /// Whether the claim still holds, as far as can be known.
    async fn renew(&self) -> bool {
        match self.archiving.outbox.read(Wants::ARCHIVE, &self.claim, Most::NOTHING).await {
            Ok(Some(batch)) => {
                self.show(&batch, None);
                true
            }
            Ok(None) => false,
            Err(error) => {
                self.archiving.note(&error);
                true
            }
        }
    }

    /// Without an age the oldest is as old as it was last told.
    fn show(&self, batch: &Batch, oldest: Option<Duration>) {
        let oldest = oldest.or((batch.waiting == 0).then_some(Duration::ZERO));
        self.archiving.metrics.archive_waits(&self.archiving.redis, batch.waiting, oldest);
    }
}

//! Turns: when a replay may be read and how many may wait for their clients, so that nobody's large ones keep others'
//! small ones waiting.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::domain::{Refusal, network};
use crate::metrics::Metrics;
use crate::node::wanted::RecoveryError;

/// How long a large replay waits for its turn, and a small one three times. Whoever waits longer is told to come back, and has lost nothing.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest replay that counts as small, in bytes and in events. Nearly all are: a client that was away for seconds.
pub(super) const SMALL_BYTES: usize = 64 * 1024;
pub(super) const SMALL_EVENTS: usize = 256;
/// The unit in which memory is taken, in bytes.
const UNIT: usize = 1024;

/// What the replays of one size may take together.
#[derive(Clone, Copy)]
struct Bounds {
    /// Replays that are read for at the same time; the rest wait for milliseconds.
    reading: usize,
    /// What they may hold until their clients have taken them, in bytes.
    memory: usize,
    /// Replays of one address at the same time: being read if they are small, until their client has them if they are large.
    of_address: usize,
}

/// A share is left to others even if an address has thousands of clients who all come back, as that of a balancer may.
const SMALL: Bounds = Bounds { reading: 16, memory: 32 * 1024 * 1024, of_address: 12 };
const LARGE: Bounds = Bounds { reading: 8, memory: 256 * 1024 * 1024, of_address: 8 };

/// The size of a replay, which nobody knows before it has been read: each is read as a small one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Small,
    Large,
}

impl Size {
    fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Large => "large",
        }
    }
}

/// Where replays of one size wait.
#[derive(Debug)]
struct Lane {
    reading: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    all_memory: usize,
    of_address: usize,
    addresses: Arc<Addresses>,
}

/// Those of each address that has any.
type Addresses = Mutex<HashMap<IpAddr, Arc<Semaphore>>>;

/// Hands out turns.
#[derive(Debug)]
pub(super) struct Turns {
    small: Lane,
    large: Lane,
    metrics: Arc<Metrics>,
}

/// Leave to read a replay.
#[derive(Debug)]
pub(super) struct Turn {
    size: Size,
    _reading: OwnedSemaphorePermit,
    memory: OwnedSemaphorePermit,
    address: AddressTurn,
}

/// What a replay keeps until its client has it.
#[derive(Debug)]
pub(super) struct Held {
    _memory: OwnedSemaphorePermit,
    _address: Option<AddressTurn>,
}

impl Lane {
    fn new(bounds: Bounds) -> Self {
        Self {
            reading: Arc::new(Semaphore::new(bounds.reading)),
            memory: Arc::new(Semaphore::new(bounds.memory / UNIT)),
            all_memory: bounds.memory / UNIT,
            of_address: bounds.of_address,
            addresses: Arc::default(),
        }
    }

    /// The address first: what it may not have yet must not stand before others in the queues behind.
    async fn turn(&self, size: Size, address: IpAddr, most_bytes: usize) -> Turn {
        let address = AddressTurn::take(&self.addresses, network(address), self.of_address).await;
        let units = u32::try_from((most_bytes / UNIT + 1).min(self.all_memory)).unwrap_or(u32::MAX);
        let memory = self.memory.clone().acquire_many_owned(units).await.expect("never closed");
        // The last: nobody waits for anything while others wait to read.
        let reading = self.reading.clone().acquire_owned().await.expect("never closed");
        Turn { size, _reading: reading, memory, address }
    }
}

impl Turns {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { small: Lane::new(SMALL), large: Lane::new(LARGE), metrics }
    }

    /// Waits for leave to read a replay of at most so many bytes for a client of an address.
    ///
    /// # Errors
    /// It took too long.
    pub(super) async fn wait(&self, size: Size, address: IpAddr, most_bytes: usize) -> Result<Turn, RecoveryError> {
        let lane = match size {
            Size::Small => &self.small,
            Size::Large => &self.large,
        };
        let _waiting = Waiting::new(&self.metrics, size);
        let patience = match size {
            Size::Small => PATIENCE * 3,
            Size::Large => PATIENCE,
        };
        timeout(patience, lane.turn(size, address, most_bytes)).await.map_err(|_| {
            self.metrics.replays_put_off.increment(1);
            RecoveryError::Unavailable(Refusal::Unavailable)
        })
    }
}

impl Turn {
    /// Ends the reading of what turned out to have so many bytes.
    pub(super) fn hold(self, bytes: usize) -> Held {
        let Self { size, mut memory, address, .. } = self;
        let spare = memory.num_permits().saturating_sub(bytes / UNIT + 1);
        drop(memory.split(spare));
        Held { _memory: memory, _address: Some(address).filter(|_| size == Size::Large) }
    }
}

/// One of the turns of an address, which is forgotten with its last one.
#[derive(Debug)]
struct AddressTurn {
    address: IpAddr,
    addresses: Arc<Addresses>,
    permit: Option<OwnedSemaphorePermit>,
}

impl AddressTurn {
    async fn take(addresses: &Arc<Addresses>, address: IpAddr, limit: usize) -> Self {
        let turns = addresses.lock().entry(address).or_insert_with(|| Arc::new(Semaphore::new(limit))).clone();
        // Forgets the address too if nobody waits for this any more.
        let mut turn = Self { address, addresses: addresses.clone(), permit: None };
        turn.permit = Some(turns.acquire_owned().await.expect("never closed"));
        turn
    }
}

impl Drop for AddressTurn {
    fn drop(&mut self) {
        drop(self.permit.take());
        let mut addresses = self.addresses.lock();
        // Nobody else can get hold of it while the map is locked.
        if addresses.get(&self.address).is_some_and(|turns| Arc::strong_count(turns) == 1) {
            addresses.remove(&self.address);
        }
    }
}

/// Counts a replay that waits, until it waits no more.
struct Waiting<'a>(&'a Metrics, Size);

impl<'a> Waiting<'a> {
    fn new(metrics: &'a Metrics, size: Size) -> Self {
        metrics.replays_waiting.with(size.name()).increment(1.0);
        Self(metrics, size)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.replays_waiting.with(self.1.name()).decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn turns() -> (Turns, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new());
        (Turns::new(metrics.clone()), metrics)
    }

    #[tokio::test(start_paused = true)]
    async fn large_replays_of_one_address_leave_room_for_others_and_for_small_ones() {
        let (turns, metrics) = turns();
        let large = async |from: &str| turns.wait(Size::Large, address(from), 4 * MIB).await.map(|it| it.hold(4 * MIB));
        let mut held = Vec::new();
        for _ in 0..LARGE.of_address {
            held.push(large("10.0.0.1").await.unwrap());
        }
        let began = tokio::time::Instant::now();
        assert!(large("10.0.0.1").await.is_err() && began.elapsed() == PATIENCE, "it is told to come back");
        assert!(metrics.render().contains("gateway_replays_put_off_total 1"));
        large("10.0.0.2").await.expect("another address waits for nothing");
        for _ in 0..1000 {
            let turn = turns.wait(Size::Small, address("10.0.0.1"), SMALL_BYTES).await.unwrap();
            drop(turn.hold(10));
        }
        assert_eq!(began.elapsed(), PATIENCE, "nor do small ones");
        held.pop();
        assert!(large("10.0.0.1").await.is_ok());
        assert!(metrics.render().contains("gateway_replays_waiting{size=\"large\"} 0"));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_memory_keeps_nobody_from_reading() {
        let (turns, _) = turns();
        let large = async |from: u8, bytes| turns.wait(Size::Large, [10, 0, 0, from].into(), bytes).await;
        let mut held = Vec::new();
        for number in 0..64 {
            held.push(large(number, 4 * MIB - 1).await.unwrap().hold(4 * MIB - 1));
        }
        let waiting = futures_util::future::join_all((64..64 + 20).map(|number| large(number, 4 * MIB - 1)));
        let freeing = async {
            tokio::time::sleep(PATIENCE / 2).await;
            assert_eq!(turns.large.reading.available_permits(), LARGE.reading);
            held.clear();
        };
        let (taken, ()) = tokio::join!(waiting, freeing);
        assert_eq!(taken.iter().filter(|turn| turn.is_ok()).count(), LARGE.reading, "the others waited to read");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_needed_is_given_back_and_who_is_gone_is_forgotten() {
        let (turns, _) = turns();
        let held = turns.wait(Size::Large, address("2001:db8::1"), 4 * MIB).await.unwrap().hold(MIB - 1);
        assert_eq!(turns.large.memory.available_permits(), (LARGE.memory - MIB) / UNIT);
        assert_eq!(turns.large.addresses.lock().len(), 1);
        drop(held);
        assert_eq!(turns.large.memory.available_permits(), LARGE.memory / UNIT);
        assert!(turns.large.addresses.lock().is_empty());
        let all: Vec<_> =
            futures_util::future::join_all((0..9).map(|_| turns.wait(Size::Large, address("::1"), 1))).await;
        assert_eq!(all.iter().filter(|turn| turn.is_err()).count(), 1);
        drop(all);
        assert!(turns.large.addresses.lock().is_empty(), "also those that waited in vain");
    }
}

//! Publishes at a steady rate into many rooms, by many members, without waiting for answers.

use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep, sleep_until};

use crate::audit::SharedAudit;

/// How long publishes and deliveries may still be on their way after the last publish.
const SETTLE_AT_MOST: Duration = Duration::from_secs(10);

/// A duplicate comes after its first copy: listen a little longer than everything expected took.
const LISTEN_FOR_DUPLICATES: Duration = Duration::from_millis(500);

/// Publishers of each room: a sequence sent to one of them is published by it.
pub(crate) type Publishers = Vec<Vec<Sender<u64>>>;

/// Publish `n` is due `n / per_second` after the start, whether the earlier ones were answered or
/// not: a server that falls behind shows it as latency, not as a lower rate.
pub(crate) async fn flood(publishers: &Publishers, audit: &SharedAudit, per_second: u32, length: Duration) {
    let started = Instant::now();
    for number in 0_u64.. {
        let due = Duration::from_secs_f64(number as f64 / f64::from(per_second));
        if due >= length {
            break;
        }
        sleep_until(started + due).await;
        let lateness = (started + due).elapsed();
        let sequence = audit.borrow_mut().schedule(lateness);
        let room = sequence as usize % publishers.len();
        let members = &publishers[room];
        let turn = sequence as usize / publishers.len() % members.len();
        // A publisher that is closed or blocked leaves the publish unsent, which is reported.
        let _ = members[turn].try_send(sequence);
    }
    sleep_until(started + length).await;
}

/// Waits until all that is owed has come, or will not come any more.
pub(crate) async fn settle(audit: &SharedAudit) {
    let deadline = Instant::now() + SETTLE_AT_MOST;
    while !audit.borrow().findings().is_settled() && Instant::now() < deadline {
        sleep(Duration::from_millis(100)).await;
    }
    sleep(LISTEN_FOR_DUPLICATES).await;
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::flood;
    use crate::audit::Audit;

    #[tokio::test(start_paused = true)]
    async fn spreads_publishes_over_rooms_and_then_over_members() -> anyhow::Result<()> {
        let audit = Rc::new(RefCell::new(Audit::new(vec![2, 2], 1)?));
        let (senders, mut receivers): (Vec<_>, Vec<_>) = (0..4).map(|_| mpsc::channel(8)).unzip();
        let rooms: Vec<_> = senders.chunks(2).map(<[_]>::to_vec).collect();
        flood(&rooms, &audit, 8, Duration::from_secs(1)).await;
        drop((rooms, senders));
        for (receiver, expected) in receivers.iter_mut().zip([[0, 4], [2, 6], [1, 5], [3, 7]]) {
            assert_eq!(receiver.recv().await, Some(expected[0]));
            assert_eq!(receiver.recv().await, Some(expected[1]));
            assert_eq!(receiver.recv().await, None);
        }
        Ok(())
    }
}

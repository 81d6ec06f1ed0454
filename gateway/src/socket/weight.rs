//! What a client weighs while it comes in: a crowd has a task for each at the same time, and the C library's allocator does not get
//! holes filled that large blocks leave between small ones. With tasks three times as large a connection that does nothing held
//! 10 KiB instead of 4.

use std::sync::Arc;

use engine::Admission;

use super::Edge;
use super::guest::Guest;
use super::inlet::Mailbox;
use super::welcome::Welcome;

/// How large the future is that something makes of `A`.
fn weight<A, F: Future>(_: impl FnOnce(A) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn a_client_that_comes_in_weighs_little() {
    let admit = weight(|(edge, guest, admission): (Arc<Edge>, Arc<Guest>, Admission)| async move {
        edge.admit(&guest, admission).await;
    });
    let begin = weight(|(mailbox, welcome): (Arc<Mailbox>, Welcome)| mailbox.begin(welcome));
    assert!(admit <= 5 * 1024, "{admit} bytes to be let in");
    let work = weight(|mailbox: Arc<Mailbox>| mailbox.work());
    assert!(begin <= 5 * 1024, "{begin} bytes to begin");
    assert!(work <= 6 * 1024, "{work} bytes to handle events");
}

//! Once within a time: whoever begins it first, and who comes with the same.

use std::sync::Arc;
use std::time::Duration;

use gateway_core::jobs::Again;
use gateway_core::repeats::{LEASE, MemoryRepeats};
use gateway_work::once::{Once, Turn};

#[tokio::test]
async fn one_of_the_same_key_is_done_and_one_that_failed_is_none() {
    let once = Once::new(Arc::new(MemoryRepeats::new(Duration::from_secs(300))));
    assert!(matches!(once.begin(None, "a").await, Ok(Turn::Free)));
    let turn = once.begin(Some("bob room"), "a").await.unwrap();
    assert!(matches!(turn, Turn::Ours(_)));
    assert!(matches!(once.begin(Some("bob room"), "b").await, Ok(Turn::Over(_))));
    let lost = once.begin(Some("bob room"), "a").await.unwrap_err();
    assert_eq!(lost.again, Again::After(LEASE));
    once.end(turn, false).await;
    let turn = once.begin(Some("bob room"), "b").await.unwrap();
    once.end(turn, true).await;
    for job in ["a", "b"] {
        assert!(matches!(once.begin(Some("bob room"), job).await, Ok(Turn::Over(_))), "{job}");
    }
    assert!(matches!(once.begin(Some("bob other"), "a").await, Ok(Turn::Ours(_))));
}

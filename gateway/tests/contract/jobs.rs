//! The contract of jobs and their queues, run against every backend.

mod backends;
mod bench;
mod failing;
mod interop;
mod losing;
mod many;
mod measured;
mod primaries;
mod seeing;
mod stopping;
mod working;

use bench::Backend;

/// Everything but what is kept and how many there may be, which have stores of their own.
async fn the_contract(backend: &Backend) {
    working::what_is_enqueued_is_done(backend).await;
    working::an_id_is_one_job(backend).await;
    working::a_delay_is_waited_for(backend).await;
    working::what_is_due_comes_in_order(backend).await;
    working::as_many_run_as_may(backend).await;
    working::a_rate_is_that_of_the_queue(backend).await;
    working::any_text_and_a_megabyte(backend).await;
    failing::what_fails_is_tried_again(backend).await;
    failing::a_handler_says_when_and_whether(backend).await;
    failing::who_panics_has_failed(backend).await;
    stopping::who_stops_lets_end_or_hands_back(backend).await;
    seeing::people_see_what_there_is(backend).await;
    seeing::people_retry_and_remove(backend).await;
    seeing::a_paused_queue_begins_nothing(backend).await;
    losing::what_a_lost_worker_did_comes_back(backend).await;
    losing::what_ends_workers_has_failed_alone(backend).await;
    // Where nobody else opens the store, that is a test of its claims.
    if !backend.once {
        losing::who_was_away_changes_nothing(backend).await;
    }
}

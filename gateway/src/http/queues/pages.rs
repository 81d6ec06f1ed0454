//! The pages of the dashboard as HTML. Whatever comes from outside is escaped by the macro that writes them.

use maud::{DOCTYPE, Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::http::times::iso;
use gateway_core::desk::{Listed, QueueStanding};
use gateway_core::jobs::{Found, JobId, QueueName, State};

/// A page above this one.
pub(super) enum Place<'a> {
    Queues,
    Jobs(&'a QueueName, State),
}

/// A whole page.
#[expect(clippy::needless_pass_by_value, reason = "what is in it was made for it and is of no further use")]
pub(super) fn page(title: &str, places: &[Place<'_>], content: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { (title) " – gateway" }
                link rel="stylesheet" href="/admin/queues/style.css";
            }
            body {
                nav {
                    @for place in places {
                        @match place {
                            Place::Queues => a href="/admin/queues" { "Queues" },
                            Place::Jobs(queue, state) => a href=(jobs_path(queue, *state, 0)) { (queue) ": " (state.word()) },
                        }
                        " / "
                    }
                }
                h1 { (title) }
                (content)
            }
        }
    }
}

/// A page that says why there is no other.
pub(super) fn trouble(words: &str) -> Markup {
    page("Not done", &[Place::Queues], html! { p { (words) } })
}

/// All queues.
pub(super) fn overview(queues: &[QueueStanding], mark: &str) -> Markup {
    html! {
        p { a href="/admin/queues/schedules" { "Schedules" } }
        table {
            thead {
                tr {
                    th { "Queue" }
                    @for state in State::ALL { th.number { (state.word()) } }
                    th.number { "at once, here" }
                    th { "" }
                }
            }
            tbody {
                @for queue in queues {
                    tr {
                        td {
                            (queue.name)
                            @if queue.is_paused { " " strong.paused { "paused" } }
                            @if !queue.is_configured { " " em { "not configured here" } }
                        }
                        @for state in State::ALL {
                            @let count = queue.counts.of(state);
                            td.number.bad[state == State::Failed && count > 0] {
                                a href=(jobs_path(&queue.name, state, 0)) { (count) }
                            }
                        }
                        td.number { (queue.concurrency) }
                        td {
                            @let (path, word) = if queue.is_paused { ("resume", "Resume") } else { ("pause", "Pause") };
                            form method="post" action={ "/admin/queues/" (path) } {
                                input type="hidden" name="mark" value=(mark);
                                input type="hidden" name="queue" value=(queue.name);
                                button { (word) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A part of the jobs of a queue.
pub(super) fn list(queue: &QueueName, state: State, listed: &Listed) -> Markup {
    html! {
        p.states {
            @for other in State::ALL {
                @if other == state { strong { (other.word()) } } @else { a href=(jobs_path(queue, other, 0)) { (other.word()) } }
                " "
            }
        }
        @if listed.jobs.is_empty() {
            p { "There are none." }
        } @else {
            table {
                thead { tr { th { "Job" } th { "Kind" } th { "Attempt" } th { "Enqueued" } th { (when(state)) } th { "Why it failed" } } }
                tbody {
                    @for found in &listed.jobs {
                        tr {
                            td { a href=(job_path(queue, &found.job.id)) { (found.job.id) } }
                            td { (found.job.kind) }
                            td { (found.job.attempt) " of " (found.job.attempts) }
                            td { (iso(found.job.enqueued_at_ms)) }
                            td { @if let Some(ms) = moment(found) { (iso(ms)) } }
                            td { @if let Some(why) = &found.why { (shortened(why)) } }
                        }
                    }
                }
            }
        }
        @if let Some(next) = listed.next {
            p { a href=(jobs_path(queue, state, next)) { "Further ones" } }
        }
    }
}

/// One job.
pub(super) fn job(found: &Found, mark: &str) -> Markup {
    let job = &found.job;
    html! {
        dl {
            dt { "Queue" } dd { (job.queue) }
            dt { "Kind" } dd { (job.kind) }
            dt { "State" } dd { (found.state.word()) }
            dt { "Attempt" } dd { (job.attempt) " of " (job.attempts) }
            @if job.lost > 0 { dt { "Workers lost with it" } dd { (job.lost) } }
            dt { "Priority" } dd { (job.priority) }
            dt { "Enqueued" } dd { (iso(job.enqueued_at_ms)) }
            @for (name, ms) in [("Due", found.due_at_ms), ("Begun", found.begun_at_ms), ("Ended", found.ended_at_ms)] {
                @if let Some(ms) = ms { dt { (name) } dd { (iso(ms)) } }
            }
        }
        @if let Some(why) = &found.why { h2 { "Why it failed" } pre.bad { (why) } }
        h2 { "What it is about" }
        pre { (job.data.get()) }
        @if let Some(result) = &found.result { h2 { "What came of it" } pre { (result.get()) } }
        @if found.state != State::Active {
            div.forms {
                @if found.state != State::Waiting {
                    (form("retry", if found.state == State::Delayed { "Do it now" } else { "Try it again" }, job, mark))
                }
                (form("remove", "Remove", job, mark))
            }
        }
    }
}

fn form(path: &str, word: &str, job: &gateway_core::jobs::Job, mark: &str) -> Markup {
    html! {
        form method="post" action={ "/admin/queues/" (path) } {
            input type="hidden" name="mark" value=(mark);
            input type="hidden" name="queue" value=(job.queue);
            input type="hidden" name="id" value=(job.id);
            button { (word) }
        }
    }
}

/// Where one job is shown.
pub(super) fn job_path(queue: &QueueName, id: &JobId) -> String {
    format!("/admin/queues/job?queue={}&id={}", encoded(queue.as_str()), encoded(id.as_str()))
}

fn jobs_path(queue: &QueueName, state: State, after: usize) -> String {
    let path = format!("/admin/queues/jobs?queue={}&state={}", encoded(queue.as_str()), state.word());
    if after == 0 { path } else { format!("{path}&after={after}") }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// What the moment of a state is called.
fn when(state: State) -> &'static str {
    match state {
        State::Waiting | State::Delayed => "Due",
        State::Active => "Begun",
        State::Completed | State::Failed => "Ended",
    }
}

fn moment(found: &Found) -> Option<u64> {
    match found.state {
        State::Waiting | State::Delayed => found.due_at_ms,
        State::Active => found.begun_at_ms,
        State::Completed | State::Failed => found.ended_at_ms,
    }
}

/// As much of a text as a line of a table has room for.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 120;
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    text.chars().take(SHOWN).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use std::time::Duration;

    use gateway_core::jobs::{Backoff, Job};

    const EVIL: &str = "<script>alert(1)</script>\"'&";

    fn found(state: State) -> Found {
        let job = Job {
            id: JobId::known(EVIL).unwrap(),
            queue: QueueName::new(EVIL).unwrap(),
            kind: EVIL.into(),
            data: RawValue::from_string(serde_json::to_string(EVIL).unwrap()).unwrap(),
            attempt: 2,
            attempts: 3,
            backoff: Backoff::Fixed(Duration::ZERO),
            lost: 1,
            priority: 0,
            enqueued_at_ms: 0,
            trace: None,
        };
        let result = Some(job.data.clone());
        Found {
            job,
            state,
            due_at_ms: None,
            begun_at_ms: Some(1),
            ended_at_ms: Some(u64::MAX),
            why: Some(EVIL.into()),
            result,
        }
    }

    #[test]
    fn whatever_jobs_are_called_pages_are_what_they_are() {
        let queue = QueueName::new(EVIL).unwrap();
        let standing = QueueStanding {
            name: queue.clone(),
            is_configured: false,
            concurrency: 0,
            is_paused: true,
            counts: Default::default(),
        };
        let listed = Listed { jobs: vec![found(State::Failed)], next: Some(100) };
        for markup in [
            overview(&[standing], "m"),
            list(&queue, State::Failed, &listed),
            job(&found(State::Failed), "m"),
            trouble(EVIL),
            page(EVIL, &[Place::Jobs(&queue, State::Failed)], html! {}),
        ] {
            let text = markup.into_string();
            assert!(!text.contains("<script>") && !text.contains("\"'&\""), "{text}");
            assert!(text.contains("&lt;script&gt;") || text.contains("%3Cscript%3E"), "{text}");
        }
        assert!(list(&queue, State::Failed, &listed).into_string().contains("&amp;after=100"));
    }

    #[test]
    fn only_what_can_be_decided_is_offered() {
        let offers = |state: State| {
            let text = job(&found(state), "m").into_string();
            (text.contains("/admin/queues/retry"), text.contains("/admin/queues/remove"))
        };
        assert_eq!(State::ALL.map(offers), [(false, true), (true, true), (false, false), (true, true), (true, true)]);
    }
}

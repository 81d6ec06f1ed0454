//! The schedules on the dashboard: when each is due, and how its last runs went.

use maud::{Markup, html};

use crate::http::times::iso;
use gateway_core::ticks::Run;
use gateway_work::schedules::Listed;

/// All schedules.
pub(super) fn table(schedules: &[Listed]) -> Markup {
    html! {
        @if schedules.is_empty() { p { "There are none: " code { "[[schedule]]" } " makes one." } }
        @for listed in schedules {
            @let schedule = &listed.schedule;
            h2 { (schedule.name) }
            p {
                code { (schedule.cron) } " in " (schedule.timezone) ", " (schedule.kind) " in " (schedule.queue) "; next "
                @if let Some(next) = listed.next { (iso(next)) } @else { "never" }
            }
            @if listed.runs.is_empty() {
                p { "It has not run yet." }
            } @else {
                table {
                    thead { tr { th { "Tick" } th { "Begun" } th.number { "ms" } th { "Node" } th.number { "Attempt" } th { "What came of it" } } }
                    tbody { @for run in &listed.runs { (row(run)) } }
                }
            }
        }
    }
}

fn row(run: &Run) -> Markup {
    html! {
        tr {
            td { (iso(run.tick)) }
            td { (iso(run.begun)) }
            td.number { (run.took) }
            td { (run.node) }
            td.number { (run.attempt) }
            td.bad[run.failed.is_some()] {
                @match &run.failed {
                    None => "done",
                    Some(why) => { (why) @if !run.last { "; it is tried again" } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_shows_what_came_of_it_and_nothing_else() {
        let run = |failed: Option<&str>, last| Run {
            schedule: "s".into(),
            tick: 1_795_000_000_000,
            node: "<b>n</b>".into(),
            begun: 1_795_000_000_007,
            took: 42,
            attempt: 1,
            failed: failed.map(str::to_owned),
            last,
        };
        let schedule = toml::from_str("name = \"s\"\ncron = \"<i>\"\nkind = \"http\"\n").unwrap();
        let runs = vec![run(Some("<script>"), false), run(None, true)];
        let text = table(&[Listed { schedule, next: Some(1_795_000_060_000), runs }]).into_string();
        assert!(!text.contains("<script>") && !text.contains("<i>") && !text.contains("<b>"), "{text}");
        for part in ["&lt;script&gt;; it is tried again", ">done<", "next 2026-11-18T"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(table(&[]).into_string().contains("There are none"));
    }
}

//! What is printed: a run, the table of seeds and scales, and what a naive offset loses.

use std::fmt::Write;

use crate::audit::Findings;
use crate::costs::Costs;
use crate::paper::Assumed;
use crate::settings::{Numbers, Offsets, Scale, Settings};
use crate::world::run;

/// Seeds of the table, from the given one on.
const SEEDS: u64 = 3;

/// Runs what is asked for: what to print, and whether everything is as it should be.
pub(crate) fn report(settings: &Settings) -> (String, bool) {
    match settings.scale {
        Some(scale) => one(&Numbers::new(scale, settings.seed, settings.offsets, !settings.no_losses)),
        None => all(settings),
    }
}

/// One run in all its figures.
fn one(numbers: &Numbers) -> (String, bool) {
    let (findings, costs) = run(numbers.clone());
    let Findings { exact, lost, doubled, reordered, invented, told, dropped } = findings;
    let mut text = String::new();
    let mut line = |name: &str, value: String| writeln!(text, "{name:26}{value}").unwrap_or_default();
    line("seed", numbers.seed.to_string());
    line("offsets", format!("{:?}", numbers.offsets).to_lowercase());
    line("partitions, servers", format!("{}, {}", numbers.partitions, numbers.servers));
    line("nodes, sessions", format!("{}, {}", numbers.nodes, numbers.clients));
    line("rooms, of a session", format!("{}, {}", numbers.rooms, numbers.rooms_each));
    line("published, refused", format!("{}, {}", costs.published, costs.refused));
    line("messages to nodes", costs.announced.to_string());
    line("connections broken", costs.broken.to_string());
    line("nodes killed", costs.killed.to_string());
    line("partitions moved", costs.moved.to_string());
    line("servers late", costs.late.to_string());
    line("servers lost, appends", format!("{}, {}", costs.lost_servers, costs.lost_appends));
    line("recovered", costs.reads.count().to_string());
    line("  partitions read, mean", format!("{:.1}", costs.reads.mean()));
    line("  events missed, mean", format!("{:.1}", costs.missed.mean()));
    line("  reads/s of a server", format!("at most {}", costs.busiest()));
    let sizes = [
        ("offset, characters", &costs.sent),
        ("  all of the session's", &costs.of_session),
        ("  all of the node's", &costs.of_node),
    ];
    for (name, sizes) in sizes {
        let [half, most, all] = [500, 990, 1000].map(|share| sizes.of_a_thousand(share));
        line(name, format!("mean {:.1}, p50 {half}, p99 {most}, at most {all}", sizes.mean()));
    }
    line("deliveries exact", exact.to_string());
    line("lost and told", told.to_string());
    line("not kept and told", dropped.to_string());
    line("LOST IN SILENCE", lost.to_string());
    line("DOUBLED", doubled.to_string());
    line("OUT OF ORDER", reordered.to_string());
    line("INVENTED", invented.to_string());
    (text, findings.clean())
}

/// Seeds by scales, controls, and the paper.
fn all(settings: &Settings) -> (String, bool) {
    let mut text = String::from(
        "| scale | seed | partitions | deliveries | recovered | killed, moved, servers lost | told | lost, doubled, out of order | \
         offset: mean, p99 | all of the session's | all of the node's |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let mut good = true;
    let mut offset = 0.0;
    for scale in [Scale::Small, Scale::Quiet, Scale::Medium, Scale::Large] {
        for seed in (0..SEEDS).map(|more| settings.seed.wrapping_add(more)) {
            let numbers = Numbers::new(scale, seed, Offsets::Vector, !settings.no_losses);
            let (findings, costs) = run(numbers.clone());
            good &= findings.clean();
            if scale == Scale::Quiet {
                offset = costs.sent.mean();
            }
            row(&mut text, &format!("{scale:?}").to_lowercase(), &numbers, findings, &costs);
        }
    }
    for offsets in [Offsets::Scalar, Offsets::Floor] {
        let numbers = Numbers::new(Scale::Medium, settings.seed, offsets, false);
        let (findings, costs) = run(numbers.clone());
        // A control that nothing is wrong with says that the audit is blind.
        good &= !findings.clean();
        row(&mut text, &format!("medium, one number: {offsets:?}").to_lowercase(), &numbers, findings, &costs);
    }
    writeln!(text, "\n{}", Assumed::ten_million(offset).table()).ok();
    (text, good)
}

fn row(text: &mut String, name: &str, numbers: &Numbers, findings: Findings, costs: &Costs) {
    let Findings { exact, lost, doubled, reordered, told, .. } = findings;
    let seen = |sizes: &crate::costs::Sizes| format!("{:.1}, {}", sizes.mean(), sizes.of_a_thousand(990));
    writeln!(
        text,
        "| {name} | {} | {} | {exact} | {} | {}, {}, {} | {told} | {lost}, {doubled}, {reordered} | {} | {} | {} |",
        numbers.seed,
        numbers.partitions,
        costs.reads.count(),
        costs.killed,
        costs.moved,
        costs.lost_servers,
        seen(&costs.sent),
        seen(&costs.of_session),
        seen(&costs.of_node),
    )
    .ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(seed: u64, offsets: Offsets, losses: bool) -> (Findings, Costs) {
        run(Numbers::new(Scale::Small, seed, offsets, losses))
    }

    #[test]
    fn a_seed_has_its_figures() {
        let numbers = |seed| Numbers::new(Scale::Small, seed, Offsets::Vector, true);
        assert_eq!(one(&numbers(7)), one(&numbers(7)));
        assert_ne!(one(&numbers(7)).0, one(&numbers(8)).0);
    }

    #[test]
    fn vectors_keep_what_is_promised() {
        for seed in 1..=20 {
            let (findings, costs) = small(seed, Offsets::Vector, true);
            assert!(findings.clean() && findings.exact > 10_000, "seed {seed}: {findings:?}");
            assert!(costs.moved > 0 && costs.reads.count() > 100, "seed {seed}: {costs:?}");
        }
    }

    #[test]
    fn without_losses_of_the_log_nobody_is_told_of_any() {
        for seed in 1..=5 {
            let (findings, costs) = small(seed, Offsets::Vector, false);
            assert!(findings.clean(), "seed {seed}: {findings:?}");
            assert_eq!((findings.told, findings.dropped, costs.lost_appends), (0, 0, 0), "seed {seed}");
        }
    }

    #[test]
    fn what_was_lost_with_a_server_is_told() {
        let all = (1..=5).map(|seed| small(seed, Offsets::Vector, true));
        let (told, lost) =
            all.fold((0, 0), |(told, lost), (findings, costs)| (told + findings.told, lost + costs.lost_appends));
        assert!(told > 0 && lost > 0, "{told} told of {lost}");
    }

    #[test]
    fn rooms_that_keep_little_are_told_of() {
        let numbers = Numbers { kept: 3, ..Numbers::new(Scale::Small, 5, Offsets::Vector, true) };
        let (findings, _) = run(numbers);
        assert!(findings.clean() && findings.dropped > 0, "{findings:?}");
    }

    /// The audit can fail: one number for all partitions is not enough.
    #[test]
    fn one_number_loses_or_doubles() {
        let medium = |offsets| run(Numbers { length: 5_000_000, ..Numbers::new(Scale::Medium, 7, offsets, false) }).0;
        let scalar = medium(Offsets::Scalar);
        assert!(scalar.lost > 10, "{scalar:?}");
        let floor = medium(Offsets::Floor);
        assert!(floor.doubled > 100 && floor.lost == 0, "{floor:?}");
        let vector = medium(Offsets::Vector);
        assert!(vector.clean(), "{vector:?}");
    }
}

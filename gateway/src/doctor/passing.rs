//! Passing on: whether nodes find each other, so that clients whose balancer is not sticky find their connections.

use super::nodes::Node;
use super::report::{Report, Status};

const CHECK: &str = "nodes.passing";
const SEE: &str = "docs/operations.md#passing-on";

/// Looks at what nodes say that they know of each other. `serving`: how many there are, if somebody knows.
pub(super) fn look(nodes: &[Node], serving: Option<usize>, report: &mut Report) {
    let (about, Some(serving)) = ("the nodes", serving.filter(|count| *count > 1)) else { return };
    let figures = |node: &Node| {
        let limit = node.figure("gateway_passing_connections_limit")?;
        Some((node.address.clone(), limit > 0.0, node.figure("gateway_passing_nodes")? as usize))
    };
    let figures: Vec<_> = nodes.iter().filter(|node| node.lets_clients_in()).filter_map(figures).collect();
    let off: Vec<_> = figures.iter().filter(|(_, passes, _)| !passes).map(|(node, ..)| node.as_str()).collect();
    if !off.is_empty() {
        let seen = format!("nothing is passed on by {}", off.join(", "));
        let todo = "keep the balancer sticky for long-polling, or set passing.enabled on all nodes";
        return report.found(Status::Note, CHECK, about, seen, (todo, SEE));
    }
    let few: Vec<_> = figures.iter().filter(|(.., known)| *known < serving).collect();
    if !few.is_empty() {
        let each: Vec<_> = few.iter().map(|(node, _, known)| format!("{node} knows {known} of {serving}")).collect();
        let todo = "if no node is just starting: see the log of the others for why they cannot be noted in Redis; older ones are not";
        return report.found(Status::Warning, CHECK, about, each.join(", "), (todo, SEE));
    }
    if !figures.is_empty() {
        report.ok(CHECK, about, format!("they know where all {serving} are, and pass on what reaches the wrong one"));
    }
}

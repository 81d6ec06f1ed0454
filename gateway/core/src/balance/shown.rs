//! How balancing stands, in words and numbers for people.

use serde::Serialize;

use super::course::{Hindrance, Phase, Step};
use super::told::Told;

/// How balancing stands, as a node sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// A word of [`crate::metrics::BALANCE_STATES`].
    pub state: &'static str,
    /// Why it waits, if it does.
    pub why: Option<&'static str>,
    /// How many clients this node has moved since it began.
    pub moves: u64,
    /// The nodes that say how they stand, this one first.
    pub nodes: Vec<ShownNode>,
}

/// How a node stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownNode {
    /// What it is called.
    pub node: String,
    /// Its connections.
    pub connections: u32,
    /// How many it should have, if that is known.
    pub share: Option<u32>,
    /// Its part of all, among the weights of the others.
    pub weight: u32,
    /// Whether clients may come to it.
    pub open: bool,
    /// How many clients it has moved since it began.
    pub moves: u64,
}

/// The nodes that say how they stand, with their shares if this one knows its own.
pub(super) fn nodes(step: &Step, own: &Told, others: &[&Told]) -> Vec<ShownNode> {
    let unit = step.share / f64::from(own.weight.max(1));
    let is_known = step.share > 0.0;
    let node = |told: &&Told| ShownNode {
        node: told.node.clone(),
        connections: told.connections,
        share: (is_known && told.open).then(|| (unit * f64::from(told.weight)).round() as u32),
        weight: told.weight,
        open: told.open,
        moves: told.moves,
    };
    std::iter::once(&own).chain(others).map(node).collect()
}

/// The state, and why nothing is done if something keeps from it.
pub(super) fn words(phase: Phase) -> (&'static str, Option<&'static str>) {
    match phase {
        Phase::Even => ("even", None),
        Phase::Moving => ("moving", None),
        Phase::GivenUp => (
            "given_up",
            Some("clients that were moved did not arrive where there is room, or nobody is left who may be"),
        ),
        Phase::Waiting(Hindrance::Stopped) => ("stopped", Some("an operator stopped it")),
        Phase::Waiting(hindrance) => (
            "waiting",
            Some(match hindrance {
                Hindrance::Stopped => "an operator stopped it",
                Hindrance::Alone => "there is no other node",
                Hindrance::Incomplete => {
                    "not all nodes say how they stand: one is older, does not balance, or is not heard"
                }
                Hindrance::Draining => "a node takes no clients: it drains, starts or hears nothing",
                Hindrance::Few => "nodes have fewer clients than balance.min_connections",
                Hindrance::Unsettled => "the nodes, or what they have, changed a moment ago",
            }),
        ),
    }
}

//! What the templates of routes read, and what the node has to provide for them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Facts, Needs, Route};
use crate::routes::names::Lifecycle;
use crate::routes::template::{Source, Template};

/// What has to be counted for a route.
pub(super) fn needs(route: &Route) -> Needs {
    let mut needs = Needs::default();
    each_template(route, &mut |template| {
        for source in template.sources() {
            needs.members |= *source == Source::Members;
            needs.connections |= *source == Source::Connections;
        }
    });
    needs
}

/// What the routes of a namespace need.
pub(super) fn facts(groups: &[(Arc<str>, Vec<Route>)]) -> Facts {
    let mut facts = Facts::default();
    let mut auth_keys = BTreeSet::new();
    for (event, routes) in groups {
        facts.tracks_connections |= **event == *Lifecycle::Disconnect.name();
        for route in routes {
            facts.tracks_connections |= route.needs.connections;
            each_template(route, &mut |template| {
                let fields = template.sources().filter_map(|source| match source {
                    Source::Auth(field, _) => Some(field.clone()),
                    _ => None,
                });
                auth_keys.extend(fields);
            });
        }
    }
    facts.auth_keys = auth_keys.into_iter().collect();
    facts
}

fn each_template(route: &Route, take: &mut dyn FnMut(&Template)) {
    route.when.iter().chain(&route.unless).for_each(&mut *take);
    route.refused.iter().flat_map(|refused| refused.emission.templates()).for_each(&mut *take);
    route.action.each_template(take);
}

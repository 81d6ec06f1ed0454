//! What the templates of routes read, and what the node has to provide for them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Action, Emission, Facts, Lifecycle, Needs, Route};
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
    let said = |emission: &Emission, take: &mut dyn FnMut(&Template)| {
        take(&emission.emit);
        emission.args.templates().for_each(take);
    };
    route.when.iter().chain(&route.unless).for_each(&mut *take);
    if let Some(refused) = &route.refused {
        said(&refused.emission, take);
    }
    route.action.room().into_iter().for_each(&mut *take);
    match &route.action {
        Action::Join(join) => join.since.iter().for_each(take),
        Action::Leave(_) => {}
        Action::Publish(publish) => {
            said(&publish.emission, take);
            publish.id.iter().for_each(take);
        }
        Action::Signal(signal) => said(&signal.emission, take),
        Action::Direct(direct) => {
            take(&direct.user);
            said(&direct.emission, take);
            direct.id.iter().for_each(take);
        }
        Action::Broadcast(broadcast) => {
            said(&broadcast.emission, take);
            broadcast.id.iter().for_each(take);
        }
        Action::History(history) => [&history.since, &history.before, &history.limit].into_iter().for_each(take),
        Action::Presence(presence) => [&presence.after, &presence.limit].into_iter().for_each(take),
        Action::Claim(claim) => {
            take(&claim.name);
            if let Some(success) = &claim.success {
                said(success, take);
            }
        }
        Action::Typing(typing) => {
            take(&typing.active);
            said(&typing.emission, take);
        }
        Action::Call(call) => {
            take(&call.url);
            call.headers.iter().for_each(|(_, value)| take(value));
            call.body.templates().for_each(take);
        }
        Action::Log(log) => take(&log.message),
        Action::Identify(identify) => take(&identify.user),
    }
}

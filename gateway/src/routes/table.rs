//! The route table: compiled from a profile and the configuration before the node starts, never changed after.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;

use crate::auth::Identity;

/// What a route's event makes the node do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Enter a room.
    Join,
    /// Leave a room.
    Leave,
    /// Send an event to a room, kept.
    Publish,
    /// Send an event to a room, not kept.
    Signal,
    /// Read what a room's log holds.
    History,
}

impl Action {
    /// The word in configuration and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Leave => "leave",
            Self::Publish => "publish",
            Self::Signal => "signal",
            Self::History => "history",
        }
    }
}

/// Which members of the room hear the event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// All, the sender included.
    #[default]
    All,
    /// All but the sender.
    Others,
}

/// Who may send the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allow {
    /// Every session.
    Anyone,
    /// Sessions with a user.
    User,
    /// Sessions whose token names the role.
    Role(String),
}

impl Allow {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "anyone" => Some(Self::Anyone),
            "user" => Some(Self::User),
            _ => text.strip_prefix("role:").filter(|role| !role.is_empty()).map(|role| Self::Role(role.to_owned())),
        }
    }

    fn admits(&self, identity: &Identity) -> bool {
        match self {
            Self::Anyone => true,
            Self::User => identity.user.is_some(),
            Self::Role(role) => identity.roles.contains(role),
        }
    }
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// What the client emits.
    pub event: Arc<str>,
    /// What it does.
    pub action: Action,
    /// Who hears it, where the action speaks to a room.
    pub to: Target,
    /// Who may emit it: any of these.
    pub allow: Vec<Allow>,
}

impl Route {
    /// Whether a session may send the event.
    #[must_use]
    pub fn allows(&self, identity: &Identity) -> bool {
        self.allow.iter().any(|allow| allow.admits(identity))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteSource {
    event: String,
    action: Action,
    #[serde(default)]
    to: Option<Target>,
    #[serde(default)]
    allow: Option<Vec<String>>,
}

/// Why a table cannot be used: one line that names the route.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RouteError(String);

/// Profiles that come with the gateway.
const PROFILES: [(&str, &str); 1] = [("native", include_str!("../../profiles/native.toml"))];

/// Routes by event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteTable(HashMap<Arc<str>, Route>);

impl RouteTable {
    /// Compiles a profile and the routes of the configuration, which replace the profile's for the same event.
    ///
    /// # Errors
    /// There is no such profile, or a route says something that does not exist.
    pub fn compile(profile: &str, own: &[toml::Table]) -> Result<Self, RouteError> {
        let (_, text) = PROFILES.iter().find(|(name, _)| *name == profile).ok_or_else(|| {
            let known = PROFILES.map(|(name, _)| name).join(", ");
            RouteError(format!("profile: no profile is called {profile:?}; there are: {known}"))
        })?;
        #[derive(Deserialize)]
        struct Profile {
            route: Vec<toml::Table>,
        }
        let shipped: Profile =
            toml::from_str(text).map_err(|error| RouteError(format!("profile {profile}: {error}")))?;
        let mut table = HashMap::new();
        for (origin, routes) in [(format!("profile {profile}"), &shipped.route[..]), ("configuration".to_owned(), own)]
        {
            let mut seen = Vec::new();
            for (index, source) in routes.iter().enumerate() {
                let place = format!("{origin}, route {}", index + 1);
                let route = compile(source).map_err(|why| RouteError(format!("{place}: {why}")))?;
                if seen.contains(&route.event) {
                    return Err(RouteError(format!("{place}: a second route for {:?}", route.event)));
                }
                seen.push(route.event.clone());
                table.insert(route.event.clone(), route);
            }
        }
        Ok(Self(table))
    }

    /// The route of an event.
    #[must_use]
    pub fn find(&self, event: &str) -> Option<&Route> {
        self.0.get(event)
    }

    /// Whether a session that joined a room by an event may come back to it.
    #[must_use]
    pub fn admits_back(&self, via: &str, identity: &Identity) -> bool {
        self.find(via).is_some_and(|route| route.action == Action::Join && route.allows(identity))
    }

    /// The event by which a session may join rooms, if there is one: the first by name.
    #[must_use]
    pub fn way_in(&self, identity: &Identity) -> Option<Arc<str>> {
        let routes = self.routes().into_iter();
        let mut joins = routes.filter(|route| route.action == Action::Join && route.allows(identity));
        joins.next().map(|route| route.event.clone())
    }

    /// All routes, by event name.
    #[must_use]
    pub fn routes(&self) -> Vec<&Route> {
        let mut routes: Vec<_> = self.0.values().collect();
        routes.sort_by(|one, other| one.event.cmp(&other.event));
        routes
    }
}

fn compile(source: &toml::Table) -> Result<Route, String> {
    let source: RouteSource =
        source.clone().try_into().map_err(|error: toml::de::Error| error.message().replace('\n', " "))?;
    if source.event.is_empty() {
        return Err("an event has a name".into());
    }
    if source.to.is_some() && !matches!(source.action, Action::Publish | Action::Signal) {
        return Err(format!("`to` has no meaning for {}", source.action.name()));
    }
    let allow = match source.allow {
        None => vec![Allow::Anyone],
        Some(words) => words
            .iter()
            .map(|word| Allow::parse(word).ok_or_else(|| format!("allow: {word:?} is not anyone, user or role:NAME")))
            .collect::<Result<_, _>>()?,
    };
    Ok(Route { event: source.event.into(), action: source.action, to: source.to.unwrap_or_default(), allow })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::UserId;

    fn compile(text: &str) -> Result<RouteTable, RouteError> {
        #[derive(Deserialize)]
        struct File {
            route: Vec<toml::Table>,
        }
        RouteTable::compile("native", &toml::from_str::<File>(text).unwrap().route)
    }

    #[test]
    fn the_native_profile_has_its_five_routes() {
        let table = RouteTable::compile("native", &[]).unwrap();
        let events: Vec<_> = table.routes().iter().map(|route| &*route.event).collect();
        assert_eq!(events, ["history", "join", "leave", "publish", "signal"]);
    }

    #[test]
    fn own_routes_replace_those_of_the_profile() {
        let table = compile(
            "[[route]]\nevent = \"publish\"\naction = \"publish\"\nto = \"others\"\nallow = [\"role:member\"]\n",
        )
        .unwrap();
        let route = table.find("publish").unwrap();
        assert_eq!(route.to, Target::Others);
        let identity = |roles: &[&str]| Identity {
            user: UserId::parse("alice"),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            ..Identity::default()
        };
        assert!(route.allows(&identity(&["member"])));
        assert!(!route.allows(&identity(&["guest"])));
    }

    #[test]
    fn what_does_not_exist_is_an_error_that_names_the_route() {
        let cases = [
            ("[[route]]\nevent = \"x\"\naction = \"fly\"\n", "configuration, route 1: unknown variant `fly`"),
            (
                "[[route]]\nevent = \"x\"\naction = \"join\"\nwings = 2\n",
                "configuration, route 1: unknown field `wings`",
            ),
            ("[[route]]\nevent = \"\"\naction = \"join\"\n", "configuration, route 1: an event has a name"),
            (
                "[[route]]\nevent = \"x\"\naction = \"join\"\nto = \"all\"\n",
                "configuration, route 1: `to` has no meaning for join",
            ),
            (
                "[[route]]\nevent = \"x\"\naction = \"join\"\nallow = [\"bob\"]\n",
                "configuration, route 1: allow: \"bob\"",
            ),
            (
                "[[route]]\nevent = \"x\"\naction = \"join\"\n[[route]]\nevent = \"x\"\naction = \"leave\"\n",
                "configuration, route 2: a second route",
            ),
        ];
        for (text, expected) in cases {
            let line = compile(text).unwrap_err().to_string();
            assert!(line.starts_with(expected), "{line:?} does not start with {expected:?}");
        }
        let line = RouteTable::compile("nope", &[]).unwrap_err().to_string();
        assert!(line.contains("there are: native"), "{line:?}");
    }
}

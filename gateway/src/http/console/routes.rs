//! Routes: the compiled table, what would become of an event, and reading them again on all nodes.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, State};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Asked, Failed, asked};
use crate::audit::{Visitor, audit};
use crate::http::admin::AdminState;
use gateway_core::auth::Identity;
use gateway_core::control::Reloaded;
use gateway_core::domain::{Refusal, UserId};
use gateway_core::routes::{Rehearsed, Route, Supposed, Verdict};

/// What a body should be.
const EXPECTED: &str = r#"send {"event": "<name>", "data": <argument>}, or "args": [<argument>, …] in place of data, and "namespace", "user", "roles" and "rooms" of the client if it has some"#;

pub(super) async fn list(State(state): State<AdminState>) -> Json<Value> {
    let table = state.router.table();
    let all =
        table.namespaces().flat_map(|namespace| namespace.routes().map(move |route| described(&namespace.name, route)));
    let (profile, file) = &state.files;
    Json(json!({ "node": state.name, "profile": profile, "file": file, "routes": all.collect::<Vec<_>>() }))
}

fn described(namespace: &str, route: &Route) -> Value {
    let texts = |all: &[gateway_core::routes::Allow]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    json!({
        "number": route.number,
        "namespace": namespace,
        "event": &*route.event,
        "action": route.action.name(),
        "room": route.action.room_template(),
        "allow": texts(&route.allow),
        "when": route.when.as_ref().map(ToString::to_string),
        "unless": route.unless.as_ref().map(ToString::to_string),
        "rate": route.rate.map(|rate| json!({ "perSecond": rate.per_second, "burst": rate.burst })),
        "maxBytes": route.max_bytes,
        "schema": route.schema.is_some(),
        "refused": route.refused.as_ref().map(|refused| refused.emission.to_string()),
        "afterMs": u64::try_from(route.after.as_millis()).unwrap_or(u64::MAX),
        "place": &*route.place,
        "line": route.to_string(),
    })
}

/// An event that nobody sent, and who did not.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tried {
    namespace: Option<String>,
    event: String,
    data: Option<Box<RawValue>>,
    args: Option<Vec<Box<RawValue>>>,
    user: Option<String>,
    role: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    rooms: Vec<String>,
}

pub(super) async fn rehearse(State(state): State<AdminState>, body: Bytes) -> Result<Json<Value>, Failed> {
    let tried: Tried = serde_json::from_slice(&body).map_err(|error| Failed::wrong(format!("{error}; {EXPECTED}")))?;
    let user = match tried.user.as_deref().filter(|user| !user.is_empty()) {
        Some(user) => Some(UserId::parse(user).ok_or_else(|| Failed::wrong(UserId::RULE))?),
        None => None,
    };
    if tried.data.is_some() && tried.args.is_some() {
        return Err(Failed::wrong(format!("data and args are one too many; {EXPECTED}")));
    }
    let args = tried.args.unwrap_or_else(|| tried.data.into_iter().collect());
    let args: Vec<&RawValue> = args.iter().map(|arg| &**arg).collect();
    let roles = tried.roles.into_iter().chain(tried.role.filter(|role| !role.is_empty())).collect();
    let supposed = Supposed {
        namespace: tried.namespace.unwrap_or_else(|| "/".to_owned()),
        text: Supposed::text(&tried.event, &args),
        identity: Identity { user, roles, ..Identity::default() },
        rooms: tried.rooms,
    };
    let rehearsal = state.router.rehearse(&supposed);
    let refused = |refusal: &Refusal| {
        let worded = state.router.worded(refusal);
        json!({ "code": refusal.code(), "message": worded.message })
    };
    let one = |it: &Rehearsed| {
        let (verdict, refusal) = match &it.verdict {
            Verdict::Runs => ("runs", None),
            Verdict::Skipped => ("skipped", None),
            Verdict::Unreached => ("unreached", None),
            Verdict::Refused(refusal) => ("refused", Some(refused(refusal))),
        };
        let mut shown = json!({
            "number": it.route.number,
            "place": &*it.route.place,
            "line": it.route.to_string(),
            "applies": it.verdict != Verdict::Skipped,
            "verdict": verdict,
        });
        if let Some(refusal) = refusal {
            shown["code"] = refusal["code"].clone();
            shown["message"] = refusal["message"].clone();
        }
        if let Some(room) = it.room.as_ref().and_then(|room| room.shown()) {
            shown["room"] = json!(room);
        }
        shown
    };
    Ok(Json(json!({
        "known": !rehearsal.routes.is_empty(),
        "answer": rehearsal.refusal.as_ref().map(refused),
        "routes": rehearsal.routes.iter().map(one).collect::<Vec<_>>(),
    })))
}

#[derive(Deserialize)]
pub(super) struct How {
    dry: Option<bool>,
}

pub(super) async fn reload(
    State(state): State<AdminState>,
    Extension(visitor): Extension<Visitor>,
    how: Asked<How>,
) -> Result<Json<Value>, Failed> {
    let dry = asked(how)?.dry.unwrap_or(true);
    let reloaded = state.control.reload_nodes(dry).await;
    if !dry {
        let outcome = match &reloaded {
            Ok((nodes, missing)) => {
                let failed = nodes.iter().filter(|(_, it)| it.error.is_some()).count();
                format!("{} nodes, {failed} of them with mistakes, {missing} did not answer", nodes.len())
            }
            Err(error) => format!("failed: {error}"),
        };
        audit(visitor.by(), "reload", "routes of all nodes", outcome);
    }
    let (mut nodes, missing) = reloaded?;
    nodes.sort_by(|one, other| one.0.cmp(&other.0));
    let shown = |(node, it): &(String, Reloaded)| {
        let changed = !it.added.is_empty() || !it.removed.is_empty();
        json!({ "node": node, "changed": changed, "added": it.added, "removed": it.removed, "error": it.error })
    };
    let own = nodes.iter().find(|(node, _)| *node == state.name).map(|(_, it)| it.clone()).unwrap_or_default();
    let nodes: Vec<_> = nodes.iter().map(shown).collect();
    let changed = nodes.iter().any(|node| node["changed"] == true);
    Ok(Json(json!({
        "dry": dry,
        "changed": changed,
        "added": own.added,
        "removed": own.removed,
        "error": own.error,
        "nodes": nodes,
        "missing": missing,
    })))
}

//! `claim` and `identify`: holding a name, and being somebody without a token.

use crate::domain::{Frame, Refusal, RoomName, UserId};
use crate::routes::context::Run;
use crate::routes::table::{Claim, Identify, Route, Target};

const NAME: &str = "a name has 1 to 255 bytes, something that can be seen, and no control characters";

pub(in crate::routes) async fn claim(run: &mut Run<'_>, route: &Route, claim: &Claim) -> Result<(), Refusal> {
    let name = claim.name.text(&run.scope)?.into_owned();
    // The rule of user ids.
    UserId::parse(&name).ok_or(Refusal::bad_request(NAME))?;
    run.scope.name = Some(name.clone());
    let session = run.session()?;
    if RoomName::claimed(&session.namespace, &name).looks().is_empty() {
        return Err(Refusal::bad_request(NAME));
    }
    run.router.node.claim_name(session, &route.event, &name).await?;
    if let Some(success) = &claim.success {
        let event = run.event(success, Target::All)?;
        if let Some(frame) = Frame::signalled(&event) {
            session.say(&frame).await;
        }
    }
    Ok(())
}

/// Only where nobody needs a token: otherwise anybody could be anybody.
pub(in crate::routes) async fn identify(run: &Run<'_>, identify: &Identify) -> Result<(), Refusal> {
    let user = identify.user.text(&run.scope)?;
    let user = UserId::parse(&user).ok_or(Refusal::bad_request(UserId::RULE))?;
    if run.router.tokens.configured() {
        return Err(Refusal::NotAllowed);
    }
    run.router.node.identify(run.session()?, user).await
}

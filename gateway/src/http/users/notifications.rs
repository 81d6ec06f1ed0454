//! What users do with notifications, each with its own.

use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::answer::{Answered, Denial};
use super::asked::{Asked, Named};
use super::{Caller, Users, once_as};
use gateway_core::content::json;
use gateway_core::domain::{Refusal, UserId};
use gateway_core::inbox::{Author, Form, Wish};
use gateway_core::service::{NotificationId, Reading};

const BODY: &str = "the body is {receiverId, message, data?}";
const ANOTHER_S: &str = "these are the notifications of another user";
const NO_ROUTE: &str = "no route of this deployment lets you notify anybody";

/// What front ends send. They know of more fields than count here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    receiver_id: Box<RawValue>,
    message: Box<RawValue>,
    #[serde(default)]
    data: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct Unread {
    unread: u64,
}

#[derive(Serialize)]
struct Done {
    message: &'static str,
}

#[derive(Serialize)]
struct AllRead {
    message: &'static str,
    read: u64,
    unread: u64,
}

impl Caller {
    /// Nobody reads another's, where somebody has to prove who it is.
    fn may_see(&self, user: &UserId) -> bool {
        self.is_open || self.identity.user.as_ref() == Some(user)
    }
}

impl Users {
    /// Does what is asked.
    pub(super) async fn run(
        &self,
        caller: &Caller,
        asked: Asked,
        parts: &Parts,
        body: &Bytes,
    ) -> Result<Answered, Denial> {
        let inbox = &self.inbox;
        let refuse = |refusal: Refusal| self.denied(&refusal);
        match asked {
            Asked::Send => self.send(caller, parts, body).await,
            Asked::List { user, before, limit, unread } => {
                self.own(caller, &user)?;
                self.list(&user, before, limit, unread).await
            }
            Asked::Unread { user } => {
                self.own(caller, &user)?;
                let unread = inbox.unread(&user).await.map_err(refuse)?;
                Ok(Answered::json(StatusCode::OK, &Unread { unread }))
            }
            Asked::Read { what, up_to } => self.read(caller, &what, up_to).await,
            Asked::Delete { id } => {
                let owner = self.owner(caller, &id).await?;
                if inbox.remove(&owner, &id).await.map_err(refuse)? {
                    return Ok(Answered::json(StatusCode::OK, &Done { message: "Notification deleted" }));
                }
                Err(none())
            }
        }
    }

    fn own(&self, caller: &Caller, user: &UserId) -> Result<(), Denial> {
        if caller.may_see(user) { Ok(()) } else { Err(self.forbidden(ANOTHER_S)) }
    }

    /// Whose a notification is, if it is the caller's. That others have one of an id is nobody's business.
    async fn owner(&self, caller: &Caller, id: &NotificationId) -> Result<UserId, Denial> {
        let owner = self.inbox.owner(id).await.map_err(|refusal| self.denied(&refusal))?;
        owner.filter(|owner| caller.may_see(owner)).ok_or_else(none)
    }

    async fn send(&self, caller: &Caller, parts: &Parts, body: &Bytes) -> Result<Answered, Denial> {
        // What clients may do, routes say.
        let table = self.router.table();
        let may = table.namespace(self.inbox.namespace()).is_some_and(|routes| routes.lets_notify(&caller.identity));
        if !caller.is_open && !may {
            return Err(self.forbidden(NO_ROUTE));
        }
        let kind = parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
            let words = "the body of this request is JSON: send Content-Type: application/json";
            return Err(Denial::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "wrong_type", words));
        }
        let refuse = |refusal: Refusal| self.denied(&refusal);
        let bad = || self.denied(&Refusal::bad_request(BODY));
        // A list would be read as its fields in their order.
        let object = serde_json::from_slice::<&RawValue>(body).ok().filter(|body| body.get().starts_with('{'));
        let sent: Sent = object.and_then(|body| serde_json::from_str(body.get()).ok()).ok_or_else(bad)?;
        let Some(receiver) = receiver(&sent.receiver_id) else {
            return Err(self.denied(&Refusal::bad_request(format!("receiverId: {}", UserId::RULE))));
        };
        let wish = Wish {
            receiver,
            message: sent.message.get().to_owned(),
            data: sent.data.map(|data| data.get().to_owned()),
            ttl: None,
            id: once_as(parts),
            collapse: None,
        };
        let author = Author::over_http(caller.identity.user.clone(), caller.address);
        let told = self.inbox.tell(&author, vec![wish]).await.map_err(refuse)?;
        let first = told.first().ok_or_else(|| self.denied(&Refusal::Unavailable))?;
        let form = Form { new: &first.new, id: Some(&first.kept.id), is_read: false, replaces: None, twice: true };
        Ok(Answered::json(StatusCode::CREATED, &form))
    }

    async fn list(
        &self,
        user: &UserId,
        before: Option<NotificationId>,
        limit: Option<usize>,
        unread: bool,
    ) -> Result<Answered, Denial> {
        let bytes = self.config.limits.payload_bytes;
        let page = self.inbox.page(user, before.as_ref(), unread, limit.unwrap_or(usize::MAX), bytes).await;
        let page = page.map_err(|refusal| self.denied(&refusal))?;
        self.note_seen(user).await;
        let form = |kept| Form::of(kept, true);
        let forms: Vec<_> = page.notifications.iter().map(form).collect();
        let answered = Answered::json(StatusCode::OK, &forms);
        let Some(last) = page.notifications.last().filter(|_| page.more) else { return Ok(answered) };
        let name = utf8_percent_encode(user.as_str(), NON_ALPHANUMERIC);
        let limit = limit.map(|limit| format!("&limit={limit}")).unwrap_or_default();
        let unread = if unread { "&unread=true" } else { "" };
        let before = last.new.id.as_str();
        Ok(answered.with_next(&format!("/api/notifications/{name}?before={before}{limit}{unread}")))
    }

    /// Marks one as read, or those of a user. Whose name is the caller's own is the caller, although it may look like an id.
    async fn read(&self, caller: &Caller, what: &Named, up_to: Option<NotificationId>) -> Result<Answered, Denial> {
        let me = caller.identity.user.as_ref().filter(|user| user.as_str() == what.0);
        if let Some(id) = what.notification().filter(|_| me.is_none() && up_to.is_none()) {
            match self.owner(caller, &id).await {
                Ok(owner) => {
                    let marked = self.inbox.mark_read(&owner, Reading::One(&id)).await;
                    marked.map_err(|refusal| self.denied(&refusal))?;
                    return Ok(Answered::json(StatusCode::OK, &Done { message: "Notification marked as read" }));
                }
                // Where nobody says who they are, it may be a user that is called like that, and has something.
                Err(denial) if !caller.is_open => return Err(denial),
                Err(denial) => {
                    let user = what.user().ok_or_else(none)?;
                    let page = self.inbox.page(&user, None, false, 1, usize::MAX).await;
                    if page.is_ok_and(|page| page.notifications.is_empty()) {
                        return Err(denial);
                    }
                }
            }
        }
        let user = what.user().ok_or_else(|| self.denied(&Refusal::bad_request(UserId::RULE)))?;
        self.own(caller, &user)?;
        let which = up_to.as_ref().map_or(Reading::All, Reading::UpTo);
        let marking = self.inbox.mark_read(&user, which).await.map_err(|refusal| self.denied(&refusal))?;
        let message = "Notifications marked as read";
        Ok(Answered::json(StatusCode::OK, &AllRead { message, read: marking.read, unread: marking.unread }))
    }
}

fn none() -> Denial {
    Denial::new(StatusCode::NOT_FOUND, "no_notification", "Notification not found")
}

/// A user's id: a text, or a number, as some databases have them.
fn receiver(raw: &RawValue) -> Option<UserId> {
    if json::is_text(raw) {
        return UserId::parse(&json::text(raw)?);
    }
    let is_number = raw.get().bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    UserId::parse(raw.get()).filter(|_| is_number)
}

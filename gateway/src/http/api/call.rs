//! A call: one request that was let in, with what stands in its path and its query, each looked at once.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use percent_encoding::percent_decode_str;

use super::operations::Operation;
use super::problem::{Kind, Problem};
use crate::audit::{By, Visitor, audit};
use gateway_core::auth::{ApiKey, OperatorRole};
use gateway_core::domain::{Offset, Refusal, RoomName, SessionId, UserId};
use gateway_core::service::{JobId, JobState, NotificationId};

/// The longest name of a namespace, in bytes.
const MAX_NAMESPACE_BYTES: usize = 128;
/// The largest `limit`: more is never meant.
const MAX_LIMIT: usize = 10_000;

/// What stands in a path, by its name, decoded.
pub(super) type PathParams = Vec<(String, String)>;

/// Who asks: the same for all items of a batch.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) key: Arc<ApiKey>,
    /// By which the request is found in logs.
    pub(super) request: String,
    pub(super) from: IpAddr,
    /// Who it is, if it came by the admin listener.
    pub(super) visitor: Option<Visitor>,
}

impl Asker {
    /// Whether it may look only, and at no payloads.
    pub(super) fn is_viewer(&self) -> bool {
        self.visitor.is_some_and(|visitor| visitor.role == OperatorRole::Viewer)
    }
}

/// A request of somebody who may make it.
#[derive(Clone, Debug)]
pub(super) struct Call(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    asker: Arc<Asker>,
    path: PathParams,
    query: Vec<(String, String)>,
    namespace: String,
    /// Whether the operation is within that namespace.
    has_namespace: bool,
}

impl Call {
    /// # Errors
    /// The query is none of the operation's, or the key does not open the namespace.
    pub(super) fn new(
        asker: Arc<Asker>,
        operation: &Operation,
        path: PathParams,
        query: &str,
    ) -> Result<Self, Problem> {
        let query = pairs(query)?;
        for (index, (name, _)) in query.iter().enumerate() {
            if !operation.query.contains(&name.as_str()) {
                let known = operation.query.join(", ");
                let known = if known.is_empty() { "none".to_owned() } else { known };
                let words = format!("there is no parameter {name:?} here; there are: {known}");
                return Err(Problem::new(Kind::BadParameter, words));
            }
            if query[..index].iter().any(|(before, _)| before == name) {
                return Err(Problem::new(Kind::BadParameter, format!("the parameter {name:?} is there twice")));
            }
        }
        let namespace = find(&query, "namespace").unwrap_or("/").to_owned();
        let is_namespace = namespace.starts_with('/')
            && namespace.len() <= MAX_NAMESPACE_BYTES
            && !namespace.chars().any(char::is_control);
        if !is_namespace {
            let words = "a namespace begins with / and has at most 128 bytes and no control characters";
            return Err(Problem::new(Kind::BadParameter, words));
        }
        let has_namespace = operation.query.contains(&"namespace");
        if has_namespace && !asker.key.opens_namespace(&namespace) {
            return Err(Problem::new(Kind::OutOfReach, format!("the key does not open the namespace {namespace:?}")));
        }
        Ok(Self(Arc::new(Inner { asker, path, query, namespace, has_namespace })))
    }

    pub(super) fn asker(&self) -> &Asker {
        &self.0.asker
    }

    pub(super) fn namespace(&self) -> &str {
        &self.0.namespace
    }

    fn in_path(&self, name: &str) -> &str {
        find(&self.0.path, name).unwrap_or_default()
    }

    fn in_query(&self, name: &str) -> Option<&str> {
        find(&self.0.query, name)
    }

    /// The room of the path, which the key must open.
    pub(super) fn room(&self) -> Result<RoomName, Problem> {
        self.opened(self.in_path("room"))
    }

    /// A room by its name, which the key must open.
    pub(super) fn opened(&self, name: &str) -> Result<RoomName, Problem> {
        let room = RoomName::parse_in(self.namespace(), name)?;
        if !self.asker().key.opens_room(name) {
            return Err(Problem::new(Kind::OutOfReach, "the key does not open this room"));
        }
        Ok(room)
    }

    /// The offset of the path.
    pub(super) fn event(&self) -> Result<Offset, Problem> {
        let words = "an event's offset is a decimal number of at most 64 bits";
        Offset::parse(self.in_path("offset")).ok_or_else(|| Problem::new(Kind::BadParameter, words))
    }

    /// The user of the path.
    pub(super) fn user(&self) -> Result<UserId, Problem> {
        UserId::parse(self.in_path("user")).ok_or_else(|| Problem::new(Kind::BadParameter, UserId::RULE))
    }

    /// The session of the path.
    pub(super) fn session(&self) -> Result<SessionId, Problem> {
        let words = "a session's id has 32 hexadecimal digits";
        SessionId::parse(self.in_path("session")).ok_or_else(|| Problem::new(Kind::BadParameter, words))
    }

    /// The notification of the path.
    pub(super) fn notification(&self) -> Result<NotificationId, Problem> {
        notification(self.in_path("notification"))
    }

    /// One in the query.
    pub(super) fn notification_in(&self, name: &'static str) -> Result<Option<NotificationId>, Problem> {
        self.in_query(name).map(notification).transpose()
    }

    /// The job of the path.
    pub(super) fn job(&self) -> Result<JobId, Problem> {
        JobId::known(self.in_path("job")).map_err(|bad| Problem::new(Kind::BadParameter, bad.to_string()))
    }

    /// The name of the queue in the path.
    pub(super) fn queue(&self) -> &str {
        self.in_path("queue")
    }

    /// The name of the queue in the query.
    pub(super) fn queue_in(&self) -> Option<&str> {
        self.in_query("queue")
    }

    /// The state in the query.
    pub(super) fn state(&self) -> Result<Option<JobState>, Problem> {
        let state = |text: &str| {
            let known = JobState::ALL.into_iter().find(|state| state.word() == text);
            let words = format!("state is one of: {}", JobState::ALL.map(JobState::word).join(", "));
            known.ok_or_else(|| Problem::new(Kind::BadParameter, words))
        };
        self.in_query("state").map(state).transpose()
    }

    /// Whether something in the query is `true`.
    pub(super) fn flag(&self, name: &'static str) -> Result<bool, Problem> {
        match self.in_query(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Problem::new(Kind::BadParameter, format!("{name} is true or false"))),
        }
    }

    /// Leaves a line about what was decided about somebody.
    pub(super) fn audit<T>(&self, what: &'static str, whom: &str, outcome: &Result<T, Refusal>) {
        let Asker { key, request, from, visitor } = self.asker();
        let outcome = outcome.as_ref().map_or_else(|refusal| format!("failed: {refusal}"), |_| "done".to_owned());
        let by = match visitor {
            Some(visitor) => visitor.by(),
            None => By::Key { id: &key.id, request, from: *from },
        };
        audit(by, what, whom, outcome);
    }

    /// Whoever is limited to rooms reaches nothing else; whoever is limited to namespaces nothing that is in none of them, or in all.
    pub(super) fn must_reach_all(&self) -> Result<(), Problem> {
        if !self.0.has_namespace && self.asker().key.is_limited_to_namespaces() {
            let words = "a key that opens some namespaces only reaches nothing that is said or done without naming one";
            return Err(Problem::new(Kind::OutOfReach, words));
        }
        self.must_reach_all_rooms()
    }

    fn must_reach_all_rooms(&self) -> Result<(), Problem> {
        if self.asker().key.is_limited() {
            let words = "a key that opens some rooms only reaches neither users nor sessions nor everybody";
            return Err(Problem::new(Kind::OutOfReach, words));
        }
        Ok(())
    }

    /// What users are told to be kept is in the namespace in which they hear of it.
    pub(super) fn must_reach_notifications(&self, namespace: &str) -> Result<(), Problem> {
        if !self.asker().key.opens_namespace(namespace) {
            let words =
                format!("users hear of notifications in the namespace {namespace:?}, which the key does not open");
            return Err(Problem::new(Kind::OutOfReach, words));
        }
        self.must_reach_all_rooms()
    }

    /// Where a page begins: after this.
    pub(super) fn after(&self) -> Option<&str> {
        self.in_query("after").filter(|after| !after.is_empty())
    }

    /// How many the pages before had, where what is listed has no names to go on from.
    pub(super) fn skipped(&self) -> Result<usize, Problem> {
        let Some(after) = self.in_query("after") else { return Ok(0) };
        // As the contract says: no sign, and nothing that wraps around.
        let is_number = (1..=15).contains(&after.len()) && after.bytes().all(|byte| byte.is_ascii_digit());
        after
            .parse()
            .ok()
            .filter(|_| is_number)
            .ok_or_else(|| Problem::new(Kind::BadParameter, "after is the next of the page before: a whole number"))
    }

    /// An offset in the query.
    pub(super) fn offset(&self, name: &'static str) -> Result<Option<Offset>, Problem> {
        let offset = |text| {
            let words = format!("{name} is no offset: a decimal number of at most 64 bits");
            Offset::parse(text).ok_or_else(|| Problem::new(Kind::BadParameter, words))
        };
        self.in_query(name).map(offset).transpose()
    }

    /// How many of something are wanted at the most.
    pub(super) fn limit(&self) -> Result<Option<usize>, Problem> {
        let limit = |text: &str| {
            let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
            limit.ok_or_else(|| {
                Problem::new(Kind::BadParameter, format!("limit is a whole number from 1 to {MAX_LIMIT}"))
            })
        };
        self.in_query("limit").map(limit).transpose()
    }
}

impl<S: Sync> FromRequestParts<S> for Call {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let call = parts.extensions.get::<Self>().cloned();
        call.ok_or_else(|| Problem::new(Kind::UnknownPath, "this path is not served"))
    }
}

fn notification(text: &str) -> Result<NotificationId, Problem> {
    let words = "the id of a notification has 24 hexadecimal digits";
    NotificationId::parse(text).ok_or_else(|| Problem::new(Kind::BadParameter, words))
}

fn find<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// The parameters of a query. As in forms, `+` is a space.
fn pairs(query: &str) -> Result<Vec<(String, String)>, Problem> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        Ok((decoded(&name.replace('+', " "))?.into_owned(), decoded(&value.replace('+', " "))?.into_owned()))
    };
    parts.map(pair).collect()
}

/// What stands for percent-encoded text.
///
/// # Errors
/// It stands for nothing.
pub(super) fn decoded(text: &str) -> Result<Cow<'_, str>, Problem> {
    let bytes = text.as_bytes();
    let is_whole = |at: usize| bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    if !memchr::memchr_iter(b'%', bytes).all(is_whole) {
        let words = "a % is followed by two hexadecimal digits; the character itself is %25";
        return Err(Problem::new(Kind::BadEncoding, words));
    }
    let words = "what is percent-encoded is no UTF-8";
    percent_decode_str(text).decode_utf8().map_err(|_| Problem::new(Kind::BadEncoding, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_or_refused() {
        for (text, expected) in
            [("a%2Fb", "a/b"), ("%2e%2E", ".."), ("100%25", "100%"), ("%F0%9F%98%80", "😀"), ("a+b", "a+b"), ("", "")]
        {
            assert_eq!(decoded(text).unwrap(), expected);
        }
        for text in ["%", "%2", "%zz", "a%2", "%%20", "%ff", "%ed%a0%80"] {
            assert_eq!(decoded(text).unwrap_err().code, "bad_encoding", "{text}");
        }
    }

    #[test]
    fn queries_are_pairs() {
        let read = |query| pairs(query).unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read("a=1&b=x+y%2Bz&&c"), [pair("a", "1"), pair("b", "x y+z"), pair("c", "")]);
        assert_eq!(read("a=b=c"), [pair("a", "b=c")]);
        assert!(pairs("a=%").is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_text_survives_its_encoding(text: String) {
            let encoded = percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC).to_string();
            proptest::prop_assert_eq!(decoded(&encoded).unwrap(), text);
        }

        #[test]
        fn any_query_is_read_or_refused(query: String) {
            _ = pairs(&query);
        }
    }
}

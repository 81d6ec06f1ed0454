//! What is asked: a method and a path, and what stands in its query, each looked at once.

use std::borrow::Cow;

use http::request::Parts;
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;

use super::answer::Denial;
use gateway_core::domain::UserId;
use gateway_core::service::NotificationId;

/// Where everything is.
const ROOT: &str = "/api/notifications";

/// What stands in a path where a user or a notification may be meant: front ends write both at the same place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named(pub(super) String);

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Tell somebody something.
    Send,
    /// What a user was told.
    List { user: UserId, before: Option<NotificationId>, limit: Option<usize>, unread: bool },
    /// How much of it is unread.
    Unread { user: UserId },
    /// One is read, or those of a user.
    Read { what: Named, up_to: Option<NotificationId> },
    /// One is to go.
    Delete { id: NotificationId },
}

impl Named {
    /// The notification that may be meant.
    pub(super) fn notification(&self) -> Option<NotificationId> {
        // Some front ends write hexadecimal digits large.
        NotificationId::parse(&self.0.to_ascii_lowercase())
    }

    /// The user that may be meant.
    pub(super) fn user(&self) -> Option<UserId> {
        UserId::parse(&self.0)
    }
}

impl Asked {
    /// Whether a path is one of these, or none that there is.
    pub(super) fn is_below(path: &str) -> bool {
        path.strip_prefix(ROOT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The word for it in metrics.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::List { .. } => "list",
            Self::Unread { .. } => "unread",
            Self::Read { .. } => "read",
            Self::Delete { .. } => "delete",
        }
    }

    /// Reads a request.
    ///
    /// # Errors
    /// There is nothing at the path, or it has other methods, or something in it is not what it should be.
    pub(super) fn read(parts: &Parts) -> Result<Self, Denial> {
        let path = parts.uri.path().strip_prefix(ROOT).unwrap_or_default();
        let mut segments: Vec<Cow<'_, str>> = Vec::new();
        for segment in path.split('/').skip(1) {
            segments.push(decoded(segment)?);
        }
        // As routers of front ends' servers have it, a slash at the end changes nothing.
        if segments.last().is_some_and(|last| last.is_empty()) {
            segments.pop();
        }
        let segments: Vec<&str> = segments.iter().map(|segment| &**segment).collect();
        let query = Query::read(parts.uri.query().unwrap_or_default())?;
        // What HEAD asks for is what GET would answer.
        let method = if parts.method == Method::HEAD { &Method::GET } else { &parts.method };
        let named = |text: &str| Named(text.to_owned());
        match (method, &segments[..]) {
            (&Method::POST, []) => Ok(Self::Send),
            (&Method::GET, [user]) => Ok(Self::List {
                user: self::user(user)?,
                before: query.notification("before")?,
                limit: query.limit()?,
                unread: query.find("unread").is_some_and(|value| matches!(value, "true" | "1")),
            }),
            (&Method::GET, [user, "unread"]) => Ok(Self::Unread { user: self::user(user)? }),
            (&Method::PUT | &Method::PATCH, [what, "read"]) => {
                Ok(Self::Read { what: named(what), up_to: query.notification("upTo")? })
            }
            (&Method::DELETE, [id]) => {
                let id =
                    named(id).notification().ok_or_else(|| bad("a notification's id has 24 hexadecimal digits"))?;
                Ok(Self::Delete { id })
            }
            (_, []) => Err(Denial::method("POST")),
            (_, [_]) => Err(Denial::method("GET,DELETE")),
            (_, [_, "unread"]) => Err(Denial::method("GET")),
            (_, [_, "read"]) => Err(Denial::method("PUT,PATCH")),
            _ => Err(Denial::new(StatusCode::NOT_FOUND, "unknown_path", "there is nothing at this path")),
        }
    }
}

/// The parameters of a query. What nobody knows is left alone: front ends add numbers against caches and the like.
struct Query(Vec<(String, String)>);

impl Query {
    fn read(query: &str) -> Result<Self, Denial> {
        let pair = |part: &str| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Ok((decoded(&name.replace('+', " "))?.into_owned(), decoded(&value.replace('+', " "))?.into_owned()))
        };
        query.split('&').filter(|part| !part.is_empty()).map(pair).collect::<Result<_, _>>().map(Self)
    }

    fn find(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    fn notification(&self, name: &str) -> Result<Option<NotificationId>, Denial> {
        let parse = |text: &str| {
            let id = Named(text.to_owned()).notification();
            id.ok_or_else(|| bad(format!("{name} is the id of a notification: 24 hexadecimal digits")))
        };
        self.find(name).map(parse).transpose()
    }

    fn limit(&self) -> Result<Option<usize>, Denial> {
        let parse = |text: &str| {
            let limit = text.parse().ok().filter(|limit: &usize| *limit > 0);
            limit.ok_or_else(|| bad("limit is a whole number, 1 or more"))
        };
        self.find("limit").map(parse).transpose()
    }
}

fn user(text: &str) -> Result<UserId, Denial> {
    UserId::parse(text).ok_or_else(|| bad(UserId::RULE))
}

fn bad(words: impl Into<String>) -> Denial {
    Denial::new(StatusCode::BAD_REQUEST, "bad_request", words)
}

/// What stands for percent-encoded text.
fn decoded(text: &str) -> Result<Cow<'_, str>, Denial> {
    percent_decode_str(text).decode_utf8().map_err(|_| bad("what is percent-encoded is no UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &str, uri: &str) -> Result<Asked, u16> {
        let parts = http::Request::builder().method(method).uri(uri).body(()).unwrap().into_parts().0;
        assert!(Asked::is_below(parts.uri.path()), "{uri}");
        Asked::read(&parts).map_err(|denial| denial.status().as_u16())
    }

    fn list(name: &str) -> Result<Asked, u16> {
        Ok(Asked::List { user: UserId::parse(name).unwrap(), before: None, limit: None, unread: false })
    }

    #[test]
    fn paths_are_read_as_front_ends_write_them() {
        let id = NotificationId::parse("65a1b2c3d4e5f60718293a4b").unwrap();
        assert_eq!(read("POST", "/api/notifications"), Ok(Asked::Send));
        assert_eq!(read("POST", "/api/notifications/"), Ok(Asked::Send));
        assert_eq!(read("GET", "/api/notifications/bob/"), list("bob"));
        assert_eq!(read("HEAD", "/api/notifications/a%2Fb?_=17"), list("a/b"));
        assert_eq!(read("GET", "/api/notifications/unread"), list("unread"), "a user of that name");
        assert_eq!(
            read("GET", "/api/notifications/bob?unread=true&limit=5&before=65A1B2C3D4E5F60718293A4B"),
            Ok(Asked::List {
                user: UserId::parse("bob").unwrap(),
                before: Some(id.clone()),
                limit: Some(5),
                unread: true
            })
        );
        assert_eq!(read("DELETE", "/api/notifications/65a1b2c3d4e5f60718293a4b"), Ok(Asked::Delete { id: id.clone() }));
        let what = Named("bob".into());
        assert_eq!(
            read("PUT", "/api/notifications/bob/read?upTo=65a1b2c3d4e5f60718293a4b"),
            Ok(Asked::Read { what, up_to: Some(id) })
        );
    }

    #[test]
    fn what_is_not_there_or_makes_no_sense_is_refused() {
        for (method, uri, status) in [
            ("GET", "/api/notifications", 405),
            ("PUT", "/api/notifications/bob", 405),
            ("GET", "/api/notifications/bob/read", 405),
            ("POST", "/api/notifications/bob/unread", 405),
            ("GET", "/api/notifications/bob/other", 404),
            ("GET", "/api/notifications/bob/read/more", 404),
            ("GET", "/api/notifications//unread", 400),
            ("GET", "/api/notifications/%ff", 400),
            ("GET", "/api/notifications/a%0ab", 400),
            ("DELETE", "/api/notifications/bob", 400),
            ("GET", "/api/notifications/bob?limit=0", 400),
            ("GET", "/api/notifications/bob?before=7", 400),
        ] {
            assert_eq!(read(method, uri), Err(status), "{method} {uri}");
        }
        assert!(!Asked::is_below("/api/notificationsx") && !Asked::is_below("/api/v1/notifications"));
    }

    proptest::proptest! {
        #[test]
        fn any_path_is_read_or_refused(rest in "[a-z0-9/%?&=]{0,40}") {
            if let Ok(request) = http::Request::get(format!("/api/notifications/{rest}")).body(()) {
                _ = Asked::read(&request.into_parts().0);
            }
        }
    }
}

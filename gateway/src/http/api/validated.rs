//! Answers that may be kept by whoever asked, or on the way there: what they are known by, for how long they are good, and that
//! nothing is sent again that is there already.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, VARY};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// How much of a hash an `ETag` has, in bytes: enough that no two bodies have the same.
const TAG_BYTES: usize = 16;

/// A body with what it is known by.
pub(super) struct Validated {
    body: Vec<u8>,
    tag: HeaderValue,
    max_age: Duration,
}

impl Validated {
    /// The body that says something as JSON. It need not be asked for again within `max_age`; with none, each time.
    ///
    /// # Panics
    /// If it cannot be written: a mistake in the code.
    pub(super) fn new(what: &impl Serialize, max_age: Duration) -> Self {
        let body = serde_json::to_vec(what).expect("answers are plain structs");
        // Of the body itself: whatever changes it, it is known by something else.
        let hash = Sha256::digest(&body);
        let digits: String = hash[..TAG_BYTES].iter().map(|byte| format!("{byte:02x}")).collect();
        let tag = HeaderValue::from_str(&format!("\"{digits}\"")).expect("digits are fine in a header");
        Self { body, tag, max_age }
    }

    /// The answer to a request with such headers: the body, or that it is the one that they name.
    pub(super) fn answer(self, headers: &HeaderMap) -> Response {
        let is_known = headers.get_all(IF_NONE_MATCH).iter().any(|named| names(named, &self.tag));
        let mut response = if is_known {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let mut response = Response::new(Body::from(self.body));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        };
        let headers = response.headers_mut();
        headers.insert(ETAG, self.tag);
        headers.insert(CACHE_CONTROL, cache_control(self.max_age));
        // A cache on the way gives it to nobody but the bearers of the key that it was given to.
        headers.insert(VARY, HeaderValue::from_static("authorization"));
        response
    }
}

/// Without an age it is kept, but asked for each time.
fn cache_control(max_age: Duration) -> HeaderValue {
    let seconds = max_age.as_secs();
    if seconds == 0 {
        return HeaderValue::from_static("private, no-cache");
    }
    HeaderValue::from_str(&format!("public, max-age={seconds}")).expect("digits are fine in a header")
}

/// Whether an `If-None-Match` names a tag. Weak ones count as what they are the weak form of (RFC 9110, 13.1.2).
fn names(named: &HeaderValue, tag: &HeaderValue) -> bool {
    let (Ok(named), Ok(tag)) = (named.to_str(), tag.to_str()) else { return false };
    named.split(',').map(str::trim).any(|named| named == "*" || named.strip_prefix("W/").unwrap_or(named) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(what: &str, max_age: u64, named: &[&str]) -> Response {
        let mut headers = HeaderMap::new();
        for named in named {
            headers.append(IF_NONE_MATCH, HeaderValue::from_str(named).unwrap());
        }
        Validated::new(&what, Duration::from_secs(max_age)).answer(&headers)
    }

    #[test]
    fn what_is_known_is_not_sent_again() {
        let first = asked("a", 0, &[]);
        let tag = first.headers()[ETAG].to_str().unwrap().to_owned();
        assert!(first.status() == 200 && tag.len() == 34 && tag.starts_with('"'), "{tag}");
        assert_eq!(first.headers()[CACHE_CONTROL], "private, no-cache");
        let lists = [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()];
        for named in &lists {
            let again = asked("a", 60, &[named]);
            assert_eq!((again.status().as_u16(), again.headers()[ETAG].to_str().unwrap()), (304, &*tag), "{named}");
            assert_eq!(again.headers()[CACHE_CONTROL], "public, max-age=60");
            assert!(again.headers().get(CONTENT_TYPE).is_none());
        }
        assert_eq!(asked("a", 0, &["\"x\"", &tag]).status(), 304, "of two headers, too");
        for named in ["", "\"other\"", tag.trim_matches('"'), "W/*"] {
            assert_eq!(asked("a", 0, &[named]).status(), 200, "{named}");
        }
        assert_eq!(asked("b", 0, &[&tag]).status(), 200, "another body is another page");
    }
}

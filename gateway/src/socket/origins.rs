//! Origins at the edge: which pages may connect, and the CORS headers without which browsers keep answers from them.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http::header::{HeaderMap, HeaderValue, ORIGIN};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::config::Origin;

/// How long browsers may remember that they may ask. None remembers longer than a day, and most two hours.
const REMEMBERED: Duration = Duration::from_hours(2);

/// The list of origins.
#[derive(Clone, Debug)]
pub(super) struct Origins {
    allowed: Arc<[Origin]>,
    cors: CorsLayer,
}

impl Origins {
    pub(super) fn new(allowed: &[Origin]) -> Self {
        let allowed: Arc<[Origin]> = allowed.into();
        let listed = allowed.clone();
        let cors = CorsLayer::new()
            .allow_origin(AllowOrigin::predicate(move |origin, _| admits(&listed, origin)))
            // Balancers keep long-polling on its node by a cookie. With credentials there is no `*`: the origin is named.
            .allow_credentials(true)
            .allow_methods([Method::GET, Method::POST])
            .allow_headers(AllowHeaders::mirror_request())
            .max_age(REMEMBERED);
        Self { allowed, cors }
    }

    /// Whether a request may go on. Requests without an origin are not from pages: they may.
    pub(super) fn admit(&self, headers: &HeaderMap) -> bool {
        headers.get_all(ORIGIN).iter().all(|origin| admits(&self.allowed, origin))
    }

    /// Answers preflights, and puts the headers on all answers.
    pub(super) fn cors(&self) -> &CorsLayer {
        &self.cors
    }
}

/// An empty list admits any: tokens say who comes in, and a page that may not poll could take a websocket anyway.
fn admits(allowed: &[Origin], origin: &HeaderValue) -> bool {
    let is_listed = |origin: &str| allowed.iter().any(|entry| entry.admits(origin));
    allowed.is_empty() || origin.to_str().is_ok_and(is_listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(allowed: &[&str], origins: &[&[u8]]) -> bool {
        let allowed: Vec<_> = allowed.iter().map(|entry| Origin::try_from((*entry).to_owned()).unwrap()).collect();
        let mut headers = HeaderMap::new();
        for origin in origins {
            headers.append(ORIGIN, HeaderValue::from_bytes(origin).unwrap());
        }
        Origins::new(&allowed).admit(&headers)
    }

    #[test]
    fn only_listed_pages_and_what_is_no_page_may_connect() {
        let list = ["https://a.example", "https://*.b.example"];
        assert!(admits(&list, &[]));
        assert!(admits(&list, &[b"https://a.example"]) && admits(&list, &[b"https://x.b.example"]));
        assert!(!admits(&list, &[b"https://c.example"]) && !admits(&list, &[b"null"]) && !admits(&list, &[b""]));
        assert!(!admits(&list, &[b"https://\xff.b.example"]), "not even text");
        assert!(!admits(&list, &[b"https://a.example", b"https://c.example"]), "two of them");
        assert!(admits(&[], &[b"https://c.example"]) && admits(&[], &[b"null"]));
    }
}

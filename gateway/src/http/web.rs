//! What browsers load: a page with a room to talk in, for trying the gateway out, and the official client.

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::client_script::client_script;

/// The page's files, with their types.
const PAGE: [(&str, &str, &str); 3] = [
    ("/", "text/html; charset=utf-8", include_str!("page/page.html")),
    ("/page.css", "text/css; charset=utf-8", include_str!("page/page.css")),
    ("/page.js", "text/javascript; charset=utf-8", include_str!("page/page.js")),
];

/// The page has nothing inline, talks to its own origin only, and stands in no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// What goes with every file of the page.
const HEADERS: [(HeaderName, &str); 6] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    // For browsers that do not know `frame-ancestors`.
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (CACHE_CONTROL, "no-cache"),
];

/// Everything that is not Socket.IO. `page` is whether the page is there.
pub fn web(page: bool) -> Router {
    let mut router = client_script();
    for (path, content_type, text) in PAGE.into_iter().filter(|_| page) {
        router = router.route(path, get(move || async move { (HEADERS, [(CONTENT_TYPE, content_type)], text) }));
    }
    router.fallback(|| async { nothing_here() }).layer(map_response(as_it_is_named))
}

fn nothing_here() -> Response {
    (axum::http::StatusCode::NOT_FOUND, "there is nothing here\n").into_response()
}

/// No browser takes an answer for something else than it is called.
async fn as_it_is_named(mut response: Response) -> Response {
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::{Request, StatusCode};
    use tower::ServiceExt;

    use super::*;

    async fn get(page: bool, path: &str) -> (Response, String) {
        let response = web(page).oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        (Response::from_parts(parts, Body::empty()), String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn the_page_runs_its_own_files_only_and_in_no_frame() {
        for (path, content_type, _) in PAGE {
            let (response, text) = get(true, path).await;
            let headers = response.headers();
            assert_eq!(headers[CONTENT_TYPE], content_type);
            let policy = headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
            for part in ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"] {
                assert!(policy.split("; ").any(|directive| directive == part), "{part} is not in {policy}");
            }
            assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
            // What the policy forbids would not work.
            for inline in ["<style", "<script>", " style=", " onclick=", "innerHTML", "location.search", "eval("] {
                assert!(!text.contains(inline), "{path} has {inline}");
            }
        }
        let page = get(true, "/").await.1;
        assert!(page.contains(r#"src="page.js""#) && page.contains(r#"href="page.css""#));
    }

    #[tokio::test]
    async fn without_the_page_nothing_of_it_is_there() {
        for (path, ..) in PAGE {
            assert_eq!(get(false, path).await.0.status(), StatusCode::NOT_FOUND, "{path}");
        }
        assert_eq!(get(true, "/other").await.0.status(), StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn nothing_is_taken_for_what_it_is_not() {
        for path in ["/", "/page.js", "/nothing", "/socket.io/socket.io.js"] {
            assert_eq!(get(true, path).await.0.headers()[X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
        }
    }
}

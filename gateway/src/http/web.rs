//! What browsers load: the app and the official client.

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::{HeaderValue, X_CONTENT_TYPE_OPTIONS};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::get;

use super::assets::{Lasting, site};
use super::client_script::client_script;

/// A page has nothing inline, talks to its own origin only, shows images that it has been sent, and stands in no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

/// What goes with every file of the pages.
const HEADERS: Lasting = &[
    ("content-security-policy", POLICY),
    // For browsers that do not know `frame-ancestors`.
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-cache"),
];

const NOT_EMBEDDED: &str = "This gateway runs, and was built without its pages: `make run` and `make build` make them, with \
                            Node and npm, before they build.\n";

/// Everything that is not Socket.IO. `page` is whether the app is there.
pub fn web(page: bool) -> Router {
    let mut router = client_script();
    if page {
        router = router.merge(one_page("index.html", "/"));
    }
    router.fallback(|| async { nothing_here() }).layer(map_response(as_it_is_named))
}

/// A page of the site with all that it loads, or how to get it.
pub(super) fn one_page(page: &str, root: &str) -> Router {
    let bare = || Router::new().route(root, get(|| async { NOT_EMBEDDED }));
    site(page, root, HEADERS).unwrap_or_else(bare)
}

fn nothing_here() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "there is nothing here\n")
}

/// No browser takes an answer for something else than it is called.
async fn as_it_is_named(mut response: Response) -> Response {
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
    use tower::ServiceExt;

    use super::super::assets::below;
    use super::*;

    async fn get(router: Router, path: &str) -> (Response, String) {
        let response = router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        (Response::from_parts(parts, Body::empty()), String::from_utf8_lossy(&body).into_owned())
    }

    /// What a document loads: the values of `src` and `href`.
    fn loaded(document: &str) -> Vec<&str> {
        let parts = document.split(" src=\"").skip(1).chain(document.split(" href=\"").skip(1));
        parts.map(|rest| rest.split('"').next().unwrap()).collect()
    }

    #[tokio::test]
    async fn pages_run_their_own_files_only_and_in_no_frame() {
        for (page, root, router) in [
            ("index.html", "/", web(true)),
            ("console/index.html", "/console/", one_page("console/index.html", "/console/")),
        ] {
            let (response, document) = get(router.clone(), root).await;
            if below("site").count() == 0 {
                assert_eq!(document, NOT_EMBEDDED, "{page}");
                continue;
            }
            assert_eq!(response.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
            for inline in ["<style", "<script>", " style=", " onclick=", "data:", "//"] {
                assert!(!document.contains(inline), "{page} has {inline}");
            }
            let paths = loaded(&document);
            assert!(paths.iter().any(|path| path.ends_with(".js")), "{page} loads {paths:?}");
            for path in paths.into_iter().chain([""]) {
                let (response, _) = get(router.clone(), &format!("{root}{path}")).await;
                assert_eq!(response.status(), StatusCode::OK, "{page} loads {path}");
                let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
                for part in ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"] {
                    assert!(policy.split("; ").any(|directive| directive == part), "{part} is not in {policy}");
                }
                assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
            }
        }
    }

    #[tokio::test]
    async fn without_the_page_nothing_of_it_is_there() {
        for path in below("site").map(|(path, _)| format!("/{path}")).chain(["/".to_owned()]) {
            assert_eq!(get(web(false), &path).await.0.status(), StatusCode::NOT_FOUND, "{path}");
        }
        assert_eq!(get(web(true), "/other").await.0.status(), StatusCode::NOT_FOUND);
        assert_eq!(get(web(true), "/console/").await.0.status(), StatusCode::NOT_FOUND, "that is another listener's");
    }

    #[tokio::test]
    async fn nothing_is_taken_for_what_it_is_not() {
        for path in ["/", "/assets/app.js", "/nothing", "/socket.io/socket.io.js"] {
            assert_eq!(get(web(true), path).await.0.headers()[X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
        }
    }
}

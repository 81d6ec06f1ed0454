//! The official client's browser bundles, served where and as Socket.IO's own server serves them.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;

use super::assets::{Lasting, below, served};

/// What Socket.IO's own server serves.
const FILES: [&str; 8] = [
    "socket.io.js",
    "socket.io.js.map",
    "socket.io.min.js",
    "socket.io.min.js.map",
    "socket.io.esm.min.js",
    "socket.io.esm.min.js.map",
    "socket.io.msgpack.min.js",
    "socket.io.msgpack.min.js.map",
];

const NOT_EMBEDDED: &str = "This gateway was built without the official client: `make run` and `make build` fetch it, \
                            with npm, before they build. Pages may load it from elsewhere.\n";

const LASTING: Lasting = &[
    // Asked for every time, and answered with 304 as long as it is the same version.
    ("cache-control", "public, max-age=0"),
    // A module that a page of another origin imports needs it, and it is nobody's secret.
    ("access-control-allow-origin", "*"),
];

/// `/socket.io/socket.io.js` and its like.
pub(super) fn client_script() -> Router {
    FILES.iter().fold(Router::new(), |router, &name| {
        let answer = match below("socket.io").find(|(path, _)| *path == name) {
            Some((_, file)) => served(file, LASTING),
            None => get(|| async { (StatusCode::NOT_FOUND, NOT_EMBEDDED) }),
        };
        router.route(&format!("/socket.io/{name}"), answer)
    })
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn all_bundles_are_there_or_how_to_get_them() {
        let is_embedded = below("socket.io").count() > 0;
        for name in FILES {
            let request = Request::get(format!("/socket.io/{name}")).body(Body::empty()).unwrap();
            let response = client_script().oneshot(request).await.unwrap();
            assert_eq!(response.status() == StatusCode::OK, is_embedded, "{name}");
            let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&body) == NOT_EMBEDDED, !is_embedded, "{name}");
        }
        let request = Request::get("/socket.io/other.js").body(Body::empty()).unwrap();
        assert_eq!(client_script().oneshot(request).await.unwrap().status(), StatusCode::NOT_FOUND);
    }
}

//! The official client's browser bundles, served where and as Socket.IO's own server serves them.

use std::io::Read;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Bytes;
use axum::http::header::{
    ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderName, IF_NONE_MATCH, VARY,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use flate2::read::GzDecoder;

// `VERSION` and `FILES`, which the build script wrote.
include!(concat!(env!("OUT_DIR"), "/client_script.rs"));

const NOT_EMBEDDED: &str = "This gateway was built without the official client: `make run` and `make build` fetch it, \
                            with npm, before they build. Pages may load it from elsewhere.\n";
/// Asked for every time, and answered with 304 as long as it is the same version.
const CACHING: &str = "public, max-age=0";

/// One bundle or source map.
#[derive(Clone, Copy)]
struct File {
    name: &'static str,
    /// Compressed; `None` in a build for which it was not fetched
    gzip: Option<&'static [u8]>,
}

/// `/socket.io/socket.io.js` and its like.
pub(super) fn client_script() -> Router {
    router(VERSION, &FILES)
}

fn router(version: &str, files: &[File]) -> Router {
    let etag = format!("\"{version}\"");
    files.iter().fold(Router::new(), |router, &file| {
        let (etag, unpacked) = (etag.clone(), Arc::<OnceLock<Bytes>>::default());
        let answer = move |headers: HeaderMap| async move { answer(file, &etag, &headers, &unpacked) };
        router.route(&format!("/socket.io/{}", file.name), get(answer))
    })
}

/// `unpacked` is what all are sent who take no gzip: a copy for each would be memory that clients hold by not reading.
fn answer(file: File, etag: &str, headers: &HeaderMap, unpacked: &OnceLock<Bytes>) -> Response {
    let Some(gzip) = file.gzip else { return (StatusCode::NOT_FOUND, NOT_EMBEDDED).into_response() };
    let lasting = [
        (ETAG, etag),
        (CACHE_CONTROL, CACHING),
        (VARY, "accept-encoding"),
        // A module that a page of another origin imports needs it, and it is nobody's secret.
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    let lasting = lasting.map(|(name, value)| (name, value.to_owned()));
    if is_known(headers, etag) {
        return (StatusCode::NOT_MODIFIED, lasting).into_response();
    }
    let is_map = file.name.ends_with(".map");
    let content_type = if is_map { "application/json; charset=utf-8" } else { "application/javascript; charset=utf-8" };
    let content_type = (CONTENT_TYPE, HeaderValue::from_static(content_type));
    if accepts_gzip(headers) {
        let encoding = (CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        return (lasting, [content_type, encoding], gzip).into_response();
    }
    let plain = unpacked.get_or_init(|| {
        let mut plain = Vec::new();
        // It was compressed by the build script, and a slice can always be read.
        let read = GzDecoder::new(gzip).read_to_end(&mut plain);
        debug_assert!(read.is_ok());
        plain.into()
    });
    (lasting, [content_type], plain.clone()).into_response()
}

/// The elements of a header's lists, however often it is there.
fn elements(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Whether the client has this version already.
fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    elements(headers, IF_NONE_MATCH).any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == etag)
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    elements(headers, ACCEPT_ENCODING).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse);
        name.trim().eq_ignore_ascii_case("gzip") && weight.is_ok_and(|weight: f32| weight > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use axum::body::{Body, to_bytes};
    use axum::http::{Method, Request};
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tower::ServiceExt;

    use super::*;

    const SCRIPT: &[u8] = b"/* Socket.IO */ var io;";

    fn fetched() -> Router {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(SCRIPT).unwrap();
        let gzip = Some(&*encoder.finish().unwrap().leak());
        router("4.8.4", &[File { name: "socket.io.js", gzip }, File { name: "socket.io.js.map", gzip }])
    }

    async fn ask(router: Router, method: Method, path: &str, headers: &[(HeaderName, &str)]) -> (Response, Bytes) {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        (Response::from_parts(parts, Body::empty()), to_bytes(body, usize::MAX).await.unwrap())
    }

    fn header(response: &Response, name: HeaderName) -> Option<&str> {
        response.headers().get(name).map(|value| value.to_str().unwrap())
    }

    #[tokio::test]
    async fn all_who_take_no_gzip_are_sent_the_same_bytes() {
        let router = fetched();
        let first = ask(router.clone(), Method::GET, "/socket.io/socket.io.js", &[]).await.1;
        let second = ask(router, Method::GET, "/socket.io/socket.io.js", &[]).await.1;
        assert_eq!((&first[..], first.as_ptr()), (SCRIPT, second.as_ptr()), "each has a copy");
    }

    #[tokio::test]
    async fn it_is_served_as_by_socket_ios_own_server() {
        for (path, content_type) in [
            ("/socket.io/socket.io.js", "application/javascript; charset=utf-8"),
            ("/socket.io/socket.io.js.map", "application/json; charset=utf-8"),
        ] {
            let (response, body) = ask(fetched(), Method::GET, path, &[]).await;
            assert_eq!((response.status(), &*body), (StatusCode::OK, SCRIPT), "{path}");
            assert_eq!(header(&response, CONTENT_TYPE), Some(content_type));
            assert_eq!(header(&response, CACHE_CONTROL), Some("public, max-age=0"));
            assert_eq!(header(&response, ETAG), Some("\"4.8.4\""));
            assert_eq!(header(&response, CONTENT_ENCODING), None);
        }
        let (response, body) = ask(fetched(), Method::HEAD, "/socket.io/socket.io.js", &[]).await;
        assert_eq!((response.status(), body.len()), (StatusCode::OK, 0));
        assert_eq!(header(&response, ETAG), Some("\"4.8.4\""));
        let (response, _) = ask(fetched(), Method::GET, "/socket.io/other.js", &[]).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn whoever_has_this_version_is_not_sent_it_again() {
        for (known, status) in [
            ("\"4.8.4\"", StatusCode::NOT_MODIFIED),
            ("W/\"4.8.4\"", StatusCode::NOT_MODIFIED),
            ("\"4.8.3\", \"4.8.4\"", StatusCode::NOT_MODIFIED),
            ("*", StatusCode::NOT_MODIFIED),
            ("\"4.8.3\"", StatusCode::OK),
            ("4.8.4", StatusCode::OK),
        ] {
            let headers = [(IF_NONE_MATCH, known)];
            let (response, body) = ask(fetched(), Method::GET, "/socket.io/socket.io.js", &headers).await;
            assert_eq!(response.status(), status, "{known}");
            assert_eq!(body.is_empty(), status == StatusCode::NOT_MODIFIED, "{known}");
        }
    }

    #[tokio::test]
    async fn it_goes_out_compressed_to_whom_that_suits() {
        for (accepted, is_compressed) in [
            ("gzip, deflate, br", true),
            ("br;q=1.0, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("identity", false),
            ("x-gzip", false),
        ] {
            let headers = [(ACCEPT_ENCODING, accepted)];
            let (response, body) = ask(fetched(), Method::GET, "/socket.io/socket.io.js", &headers).await;
            assert_eq!(header(&response, CONTENT_ENCODING), is_compressed.then_some("gzip"), "{accepted}");
            assert_eq!(&*body == SCRIPT, !is_compressed, "{accepted}");
        }
    }

    #[tokio::test]
    async fn a_build_without_it_says_how_to_get_it() {
        let bare = router("", &[File { name: "socket.io.js", gzip: None }]);
        let (response, body) = ask(bare, Method::GET, "/socket.io/socket.io.js", &[]).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert!(String::from_utf8_lossy(&body).contains("make run"));
    }

    #[tokio::test]
    async fn all_of_it_is_embedded_or_nothing() {
        for File { name, gzip } in FILES {
            assert_eq!(gzip.is_some(), !VERSION.is_empty(), "{name}");
            let (response, body) = ask(client_script(), Method::GET, &format!("/socket.io/{name}"), &[]).await;
            assert_eq!(response.status() == StatusCode::OK, gzip.is_some(), "{name}");
            assert!(gzip.is_none_or(|gzip| body.len() > gzip.len()), "{name}");
        }
    }
}

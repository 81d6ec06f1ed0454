//! Files that the build script embedded, compressed: sent to whoever does not have them yet.

use std::io::Read;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Bytes;
use axum::http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, IF_NONE_MATCH, VARY,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use flate2::read::GzDecoder;

// `FILES`, which the build script wrote.
include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct File {
    /// Where it was found, in `web/dist`
    pub(super) path: &'static str,
    pub(super) etag: &'static str,
    pub(super) gzip: &'static [u8],
}

/// Headers that go with a file, whether or not it is sent again.
pub(super) type Lasting = &'static [(&'static str, &'static str)];

/// Those below a folder, with their paths in there. None in a build before which nothing was made there.
pub(super) fn below(folder: &'static str) -> impl Iterator<Item = (&'static str, File)> {
    FILES.iter().filter_map(move |&file| Some((file.path.strip_prefix(folder)?.strip_prefix('/')?, file)))
}

/// The page `page` of the site at `root`, which begins and ends with `/`, with all files of the site beside it. `None` in a
/// build before which the site was not made.
pub(super) fn site(page: &str, root: &str, lasting: Lasting) -> Option<Router> {
    let mut router = Router::new();
    let mut has_page = false;
    for (path, file) in below("site") {
        if path == page {
            has_page = true;
            router = router.route(root, served(file, lasting));
        } else if !path.ends_with(".html") {
            router = router.route(&format!("{root}{path}"), served(file, lasting));
        }
    }
    has_page.then_some(router)
}

/// What answers requests for a file.
pub(super) fn served(file: File, lasting: Lasting) -> MethodRouter {
    let unpacked = Arc::<OnceLock<Bytes>>::default();
    get(move |headers: HeaderMap| async move { answer(file, lasting, &headers, &unpacked) })
}

/// `unpacked` is what all are sent who take no gzip: a copy for each would be memory that clients hold by not reading.
fn answer(file: File, lasting: Lasting, headers: &HeaderMap, unpacked: &OnceLock<Bytes>) -> Response {
    let mut with = HeaderMap::new();
    for &(name, value) in lasting {
        with.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    with.insert(ETAG, HeaderValue::from_static(file.etag));
    with.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if is_known(headers, file.etag) {
        return (StatusCode::NOT_MODIFIED, with).into_response();
    }
    with.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(file.path)));
    if accepts_gzip(headers) {
        with.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        return (with, file.gzip).into_response();
    }
    let plain = unpacked.get_or_init(|| {
        let mut plain = Vec::new();
        // It was compressed by the build script, and a slice can always be read.
        let read = GzDecoder::new(file.gzip).read_to_end(&mut plain);
        debug_assert!(read.is_ok());
        plain.into()
    });
    (with, plain.clone()).into_response()
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "application/javascript; charset=utf-8",
        Some("map" | "json") => "application/json; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
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
    use axum::http::header::CACHE_CONTROL;
    use axum::http::{Method, Request};
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tower::ServiceExt;

    use super::*;

    const SCRIPT: &[u8] = b"/* Socket.IO */ var io;";

    fn made() -> Router {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(SCRIPT).unwrap();
        let gzip = &*encoder.finish().unwrap().leak();
        let lasting: Lasting = &[("cache-control", "no-cache")];
        let file = |path| served(File { path, etag: "\"4.8.4\"", gzip }, lasting);
        Router::new().route("/script.js", file("script.js")).route("/script.js.map", file("script.js.map"))
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
        let router = made();
        let first = ask(router.clone(), Method::GET, "/script.js", &[]).await.1;
        let second = ask(router, Method::GET, "/script.js", &[]).await.1;
        assert_eq!((&first[..], first.as_ptr()), (SCRIPT, second.as_ptr()), "each has a copy");
    }

    #[tokio::test]
    async fn a_file_goes_out_as_what_it_is_with_its_version() {
        for (path, content_type) in [
            ("/script.js", "application/javascript; charset=utf-8"),
            ("/script.js.map", "application/json; charset=utf-8"),
        ] {
            let (response, body) = ask(made(), Method::GET, path, &[]).await;
            assert_eq!((response.status(), &*body), (StatusCode::OK, SCRIPT), "{path}");
            assert_eq!(header(&response, CONTENT_TYPE), Some(content_type));
            assert_eq!(header(&response, CACHE_CONTROL), Some("no-cache"));
            assert_eq!(header(&response, ETAG), Some("\"4.8.4\""));
            assert_eq!(header(&response, CONTENT_ENCODING), None);
        }
        let (response, body) = ask(made(), Method::HEAD, "/script.js", &[]).await;
        assert_eq!((response.status(), body.len()), (StatusCode::OK, 0));
        assert_eq!(header(&response, ETAG), Some("\"4.8.4\""));
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
            let (response, body) = ask(made(), Method::GET, "/script.js", &headers).await;
            assert_eq!(response.status(), status, "{known}");
            assert_eq!(body.is_empty(), status == StatusCode::NOT_MODIFIED, "{known}");
            assert_eq!(header(&response, CACHE_CONTROL), Some("no-cache"), "{known}");
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
            let (response, body) = ask(made(), Method::GET, "/script.js", &headers).await;
            assert_eq!(header(&response, CONTENT_ENCODING), is_compressed.then_some("gzip"), "{accepted}");
            assert_eq!(&*body == SCRIPT, !is_compressed, "{accepted}");
        }
    }

    #[test]
    fn all_of_it_is_embedded_or_nothing() {
        let (site, client) = (below("site").count(), below("socket.io").count());
        assert_eq!(site > 0, client > 0, "{FILES:?}");
        for (path, file) in below("site") {
            assert_ne!(content_type(path), "application/octet-stream", "{path} has no type");
            assert!(!file.gzip.is_empty() && file.etag.starts_with('"'), "{path}");
        }
    }
}

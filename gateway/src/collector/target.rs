//! Where the collector is, and what it wants to be shown.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use percent_encoding::percent_decode_str;

use gateway_core::calls::Url;
use gateway_core::config::Telemetry;

/// Where OTLP has its traces.
const PATH: &str = "v1/traces";
/// Headers that belong to the request.
const NOT_YOURS: [HeaderName; 4] = [HOST, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING];

/// A collector.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
}

/// The collector that a configuration names, if it names one.
///
/// # Errors
/// What is wrong, in words that name the setting.
pub(super) fn target(settings: &Telemetry) -> Result<Option<Target>, String> {
    let headers = headers(settings.otlp_headers.expose()).map_err(|why| format!("telemetry.otlp_headers: {why}"))?;
    let endpoint = settings.otlp_endpoint.expose();
    if endpoint.is_empty() {
        return Ok(None);
    }
    let url = url(endpoint).map_err(|why| format!("telemetry.otlp_endpoint: {why}"))?;
    Ok(Some(Target { url, headers }))
}

fn url(text: &str) -> Result<Url, String> {
    let mut url: Url = text.parse().map_err(|error| format!("{error}"))?;
    if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
        return Err("must be http:// or https:// with a host: OTLP over HTTP, commonly at port 4318".into());
    }
    if url.fragment().is_some() {
        return Err("must not have a fragment (#…)".into());
    }
    let path = url.path().trim_end_matches('/').to_owned();
    if !path.ends_with(PATH) {
        url.set_path(&format!("{path}/{PATH}"));
    }
    Ok(url)
}

/// Reads `name=value,name=value`, values percent-encoded. What is wrong is named by its place: it may be a secret.
fn headers(text: &str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let pairs = text.split(',').map(str::trim).enumerate().filter(|(_, pair)| !pair.is_empty());
    for (place, pair) in pairs {
        let wrong = |what: &str| format!("header {} {what}", place + 1);
        let (name, value) = pair.split_once('=').ok_or_else(|| wrong("is not name=value"))?;
        let name: HeaderName = name.trim().parse().map_err(|_| wrong("has no name that HTTP knows"))?;
        let value = percent_decode_str(value.trim()).collect::<Vec<u8>>();
        let mut value = HeaderValue::from_bytes(&value).map_err(|_| wrong("has a value that HTTP does not allow"))?;
        if NOT_YOURS.contains(&name) {
            return Err(wrong(&format!("is {name}, which is not yours to set")));
        }
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_named_with_or_without_its_path() {
        for (text, expected) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("https://otlp.example/", "https://otlp.example/v1/traces"),
            ("https://otlp.example/team/?key=1", "https://otlp.example/team/v1/traces?key=1"),
            ("https://otlp.example/v1/traces", "https://otlp.example/v1/traces"),
        ] {
            assert_eq!(url(text).unwrap().as_str(), expected);
        }
        for text in ["127.0.0.1:4318", "grpc://h:4317", "http://", "http://h/#x", "unix:/run/otlp"] {
            assert!(url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn headers_are_read_or_named_by_their_place() {
        let read = headers("authorization=Bearer%20a%3Db, x-scope = team,").unwrap();
        assert_eq!(
            (&read["authorization"], &read["x-scope"]),
            (&"Bearer a=b".parse().unwrap(), &"team".parse().unwrap())
        );
        assert!(read["authorization"].is_sensitive());
        for text in ["hunter2", "a=1,b ad=hunter2", "a=hunter2%0a", "host=hunter2", "=hunter2"] {
            let why = headers(text).unwrap_err();
            assert!(why.starts_with("header ") && !why.contains("hunter2"), "{why}");
        }
    }
}

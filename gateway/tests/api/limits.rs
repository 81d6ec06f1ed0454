//! How often one address may ask below `/api`, as front ends know it.

use serde_json::json;

use crate::caller::{Answer, ask, node};
use crate::support::metric;

const LIMIT: (&str, &str) = ("GATEWAY_LIMITS__HTTP_PER_MINUTE_PER_ADDRESS", "3");

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_below_api_is_told_when_to_come_back() {
    let (gateway, back_end) = node(&[LIMIT, ("GATEWAY_TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    let get = async |path: &str, from: &str| -> Answer {
        ask(gateway.address, "GET", path, &format!("X-Forwarded-For: {from}\r\n"), None).await
    };
    for path in ["/api", "/api/notifications/ann", "/api/v1/openapi.json"] {
        assert_ne!(get(path, "203.0.113.1").await.status, 429, "{path}");
    }
    let refused = get("/api/notifications/ann", "203.0.113.1").await;
    assert_eq!(
        (refused.status, refused.header("content-type")),
        (429, Some("text/plain; charset=utf-8")),
        "{refused:?}"
    );
    assert_eq!(refused.text, "Too many requests. Please try again later.");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=20).contains(&wait), "{wait}");
    let strange = get("/api/v1/rooms", "203.0.113.1").await;
    assert_eq!((strange.status, strange.code()), (429, "rate_limited"), "as the HTTP API says it");
    // What is elsewhere, and who else there is, is not meant.
    for path in ["/", "/apis", "/socket.io/socket.io.js"] {
        assert_ne!(get(path, "203.0.113.1").await.status, 429, "{path}");
    }
    assert_ne!(get("/api/notifications/ann", "203.0.113.2").await.status, 429);
    for number in 0..5 {
        let headers = "X-Forwarded-For: 203.0.113.1\r\n";
        let body = json!({ "event": "e" }).to_string();
        let said = back_end.ask_with("POST", "/api/v1/rooms/r/events", headers, Some(&body));
        assert_eq!(said.await.status, 201, "request {number} of who has a key");
    }
    let networks = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4"];
    let mut last = 0;
    for from in networks {
        last = get("/api/x", from).await.status;
    }
    assert_eq!(last, 429, "of IPv6 a /64 is one address");
    assert_ne!(get("/api/x", "2001:db8:0:1::1").await.status, 429);
    let denied = "gateway_rate_limit_decisions_total{limiter=\"address_http\",decision=\"deny\"}";
    assert_eq!(metric(&gateway, denied), 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_may_read_that_it_asked_too_often() {
    let (gateway, _) = node(&[LIMIT, ("GATEWAY_SOCKET__ORIGINS", "https://app.example")]).await;
    let send = async |method: &str, origin: &str| -> Answer {
        ask(gateway.address, method, "/api/notifications/ann", &format!("Origin: {origin}\r\n"), None).await
    };
    for _ in 0..10 {
        assert_eq!(send("OPTIONS", "https://app.example").await.status, 204, "a browser's own questions do not count");
    }
    for _ in 0..3 {
        assert_ne!(send("GET", "https://app.example").await.status, 429);
    }
    let refused = send("GET", "https://app.example").await;
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (429, Some("https://app.example")));
    assert_eq!(refused.header("access-control-expose-headers"), Some("Link,Retry-After"));
    let stranger = send("GET", "https://evil.example").await;
    assert_eq!((stranger.status, stranger.header("access-control-allow-origin")), (429, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_nobody_is_counted_there() {
    let (gateway, _) = node(&[]).await;
    for _ in 0..50 {
        assert_eq!(ask(gateway.address, "GET", "/api/x", "", None).await.status, 404);
    }
}

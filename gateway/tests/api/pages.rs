//! Pages of history as caches see them: known by what is in them, and for how long they are good.

use serde_json::json;

use crate::caller::{Answer, Caller, node};

async fn publish(back_end: &Caller, number: u32) -> String {
    let said = back_end.post("/api/v1/rooms/r/events", &json!({ "event": "e", "data": number })).await;
    said.body["offset"].as_str().unwrap().to_owned()
}

async fn page(back_end: &Caller, query: &str, known: Option<&str>) -> Answer {
    let headers = known.map(|known| format!("If-None-Match: {known}\r\n")).unwrap_or_default();
    back_end.ask_with("GET", &format!("/api/v1/rooms/r/events?{query}"), &headers, None).await
}

fn tag(answer: &Answer) -> &str {
    answer.header("etag").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_the_same_is_not_sent_again() {
    let (_gateway, back_end) = node(&[]).await;
    let mut offsets = Vec::new();
    for number in 0..5 {
        offsets.push(publish(&back_end, number).await);
    }
    let past = format!("after={}&limit=2", offsets[0]);
    let (first, newest) = (page(&back_end, &past, None).await, page(&back_end, "limit=2", None).await);
    for (query, answer) in [(past.as_str(), &first), ("limit=2", &newest)] {
        assert_eq!((answer.status, answer.header("cache-control")), (200, Some("private, no-cache")), "{query}");
        assert_eq!(answer.header("vary"), Some("authorization"));
        let again = page(&back_end, query, Some(tag(answer))).await;
        assert_eq!((again.status, again.text.as_str(), tag(&again)), (304, "", tag(answer)), "{query}");
        assert_eq!(again.header("content-length"), None);
        assert_eq!(page(&back_end, query, Some("\"other\"")).await.text, answer.text);
    }
    assert_ne!(tag(&first), tag(&newest));
    publish(&back_end, 5).await;
    assert_eq!(page(&back_end, &past, Some(tag(&first))).await.status, 304, "it lies in the past");
    let changed = page(&back_end, "limit=2", Some(tag(&newest))).await;
    assert!(changed.status == 200 && tag(&changed) != tag(&newest), "{changed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_in_the_past_is_good_for_as_long_as_the_operator_says() {
    let (_gateway, back_end) = node(&[("GATEWAY_API__HISTORY_MAX_AGE", "1h")]).await;
    let mut offsets = Vec::new();
    for number in 0..5 {
        offsets.push(publish(&back_end, number).await);
    }
    let [first, second, .., last] = offsets.as_slice() else { panic!() };
    let ahead = last.parse::<u64>().unwrap() + 10_000_000_000;
    for (query, is_past) in [
        (format!("after={first}&limit=2"), true),
        (format!("before={last}"), true),
        (format!("after={first}&before={last}"), true),
        (format!("after={second}"), false),
        (format!("before={ahead}"), false),
        ("limit=2".to_owned(), false),
    ] {
        let answer = page(&back_end, &query, None).await;
        let expected = if is_past { "public, max-age=3600" } else { "private, no-cache" };
        assert_eq!(answer.header("cache-control"), Some(expected), "{query}");
        let again = page(&back_end, &query, Some(tag(&answer))).await;
        assert_eq!((again.status, again.header("cache-control")), (304, Some(expected)), "{query}");
    }
    let batch = json!({ "items": [{ "method": "GET", "path": "/api/v1/rooms/r/events" }] });
    assert_eq!(back_end.post("/api/v1/batch", &batch).await.body["items"][0]["status"], 200);
}

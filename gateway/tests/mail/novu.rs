//! Novu: what it is asked, and what its answers mean.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use gateway_core::calls::Caller;
use gateway_core::config::Secret;
use gateway_core::jobs::{Again, Backoff, Failure, Handler, Job, JobId, QueueName};
use gateway_core::metrics::Metrics;
use gateway_core::repeats::MemoryRepeats;
use gateway_work::mail::{Mail, Receivers};
use gateway_work::novu::Novu;
use gateway_work::once::Once;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};

use crate::support;
use crate::support::mailer::Mailpit;
use crate::support::receiver::{Receiver, Reply};

fn novu(url: &str, api_key: &str, smtp_port: u16) -> Arc<Novu> {
    let mut config = support::config(&[]);
    (config.novu.url, config.novu.api_key) = (url.into(), Secret::from(api_key.to_owned()));
    (config.mail.host, config.mail.port) = ("localhost".into(), smtp_port);
    (config.mail.tls, config.mail.from) = (gateway_core::config::MailTls::None, "shop@example.com".into());
    let (metrics, receivers) = (Arc::new(Metrics::new()), Arc::new(Receivers::new(&config.mail)));
    let once = Once::new(Arc::new(MemoryRepeats::new(Duration::from_secs(300))));
    let mail = Mail::new(&config.mail, receivers.clone(), once.clone(), metrics.clone()).unwrap();
    let caller = Arc::new(Caller::new(&config.calls, metrics.clone()).unwrap());
    Novu::new(&config.novu, caller, mail, receivers, once, metrics).unwrap()
}

fn job(id: &str, data: &Value) -> Job {
    Job {
        id: JobId::new(id).unwrap(),
        queue: QueueName::new("mail").unwrap(),
        kind: "novu".into(),
        data: to_raw_value(data).unwrap(),
        attempt: 1,
        attempts: 3,
        backoff: Backoff::Fixed(Duration::ZERO),
        lost: 0,
        priority: 0,
        enqueued_at_ms: 0,
        trace: None,
    }
}

fn trigger() -> Value {
    json!({
        "name": "active-chat",
        "to": { "subscriberId": 7, "email": "bob@example.com", "firstName": "Bob" },
        "payload": { "headMessage": "Hi <Ann> & co", "date": "2026-11-26T22:00:00Z", "location": "online" },
        "once": "7 room",
    })
}

fn answer(status: u16, body: &Value) -> Reply {
    Reply::Is((StatusCode::from_u16(status).unwrap(), body.to_string()).into_response())
}

async fn done(novu: &Novu, id: &str, data: &Value) -> Result<(), Failure> {
    novu.handle(&job(id, data)).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_is_what_novus_clients_send_and_goes_once() {
    let processed = json!({ "data": { "acknowledged": true, "status": "processed", "transactionId": "t" } });
    let receiver = Receiver::answering(move |_, _| answer(201, &processed)).await;
    let novu = novu(&format!("http://{}/", receiver.address), "key-7", 1);
    done(&novu, "job-1", &trigger()).await.unwrap();
    // Another client says the same, and this job comes again.
    for id in ["job-2", "job-1"] {
        done(&novu, id, &trigger()).await.unwrap();
    }
    let requests = receiver.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].header("authorization"), "ApiKey key-7");
    let body: Value = serde_json::from_slice(&requests[0].body).unwrap();
    let mut expected = trigger();
    expected.as_object_mut().unwrap().remove("once");
    expected["transactionId"] = json!("job-1");
    assert_eq!(body, expected);
    let mut other = trigger();
    other["once"] = json!("7 other room");
    done(&novu, "job-3", &other).await.unwrap();
    assert_eq!(receiver.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_body_and_its_retry_after_decide() {
    let script = |number: usize, _: &_| match number {
        0 => answer(201, &json!({ "data": { "acknowledged": true, "status": "error", "error": ["no provider"] } })),
        1 => {
            let wait = [(axum::http::header::RETRY_AFTER, "17")];
            Reply::Is((StatusCode::TOO_MANY_REQUESTS, wait, "{}").into_response())
        }
        2 => answer(503, &json!({})),
        3 => answer(401, &json!({ "message": "wrong key" })),
        4 => answer(400, &json!({ "message": "no such workflow" })),
        5 => answer(200, &json!({ "data": { "acknowledged": true, "status": "trigger_not_active" } })),
        _ => answer(201, &json!({ "data": { "acknowledged": true, "status": "processed" } })),
    };
    let receiver = Receiver::answering(script).await;
    let novu = novu(&format!("http://{}", receiver.address), "key-7", 1);
    let mut agains = Vec::new();
    for _ in 0..6 {
        agains.push(done(&novu, "job-1", &trigger()).await.unwrap_err().again);
    }
    let seconds = Duration::from_secs(17);
    assert_eq!(
        agains,
        [Again::ByBackoff, Again::After(seconds), Again::ByBackoff, Again::ByBackoff, Again::Never, Again::Never]
    );
    // What failed was not done, so it may be.
    done(&novu, "job-1", &trigger()).await.unwrap();
    let ids = receiver.requests().into_iter().map(|request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        body["transactionId"].as_str().unwrap().to_owned()
    });
    assert!(ids.clone().count() == 7 && ids.into_iter().all(|id| id == "job-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_novu_it_is_a_mail() {
    let mailpit = Mailpit::start().await;
    let novu = novu("https://api.novu.co", "", mailpit.smtp_port);
    done(&novu, "job-1", &trigger()).await.unwrap();
    done(&novu, "job-2", &trigger()).await.unwrap();
    let got = mailpit.has("bob@example.com", 1).await;
    assert_eq!((got.len(), &got[0]["Subject"]), (1, &json!("Hi <Ann> & co")));
    assert!(got[0]["HTML"].as_str().unwrap().contains("Hi &lt;Ann&gt; &amp; co"));
    let mut unknown = trigger();
    (unknown["name"], unknown["once"]) = (json!("welcome"), Value::Null);
    let failure = done(&novu, "job-3", &unknown).await.unwrap_err();
    assert!(failure.again == Again::Never && failure.why.contains("\"welcome\""), "{failure}");
}

//! Jobs by events, and the dashboard of queues: who sees it, what it offers, and what pages of others cannot have it do.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateway::app::{Gateway, StartError};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::Client;
use crate::support::process::Process;
use crate::support::receiver::{Receiver, Reply};
use crate::support::tokens::{SECRET, Signer, claims_with};
use crate::support::{NO_LIMITS, eventually, metric};

const TOKEN: (&str, &str) = ("GATEWAY_ADMIN__TOKEN", "right");

/// A configuration with a back end and routes that call it later.
fn configuration(url: &str) -> String {
    format!(
        r#"
[[jobs.back_end]]
name = "billing"
url = {url:?}
secrets = ["0123456789abcdef"]
[[route]]
event = "order"
action = "job"
kind = "http"
data = {{ to = "billing", body = {{ events = [{{ id = "{{arg.id}}", by = "{{user.id?}}" }}] }} }}
id = "{{arg.once?}}"
attempts = 1
[[route]]
event = "$disconnect"
action = "job"
kind = "http"
data = {{ to = "billing", body = {{ events = [{{ id = "gone-{{session.id}}" }}] }} }}
"#
    )
}

fn file(text: &str) -> NamedTempFile {
    let file = NamedTempFile::with_suffix(".toml").unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

async fn start(text: &str, changes: &[(&str, &str)]) -> Result<Gateway, StartError> {
    let file = file(text);
    let base = [
        ("GATEWAY_LISTEN", "127.0.0.1:0"),
        ("GATEWAY_ADMIN_LISTEN", "127.0.0.1:0"),
        ("GATEWAY_DATA_DIR", ""),
        ("GATEWAY_PRESENCE__LINGER", "50ms"),
        ("GATEWAY_PRESENCE__LEASE", "150ms"),
        TOKEN,
    ];
    let all =
        base.iter().chain(&NO_LIMITS).chain(changes).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Gateway::start(gateway_core::config::load(Some(file.path()), all).unwrap(), 20_000).await
}

async fn user(address: SocketAddr, name: &str) -> Client {
    let token = Signer::secret(SECRET).sign(&claims_with("sub", json!(name)));
    Client::try_connect(address, json!({ "token": token })).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_sets_off_a_job_and_its_id_is_its_users() {
    let receiver = Receiver::start().await;
    let node = start(&configuration(&receiver.url()), &[("GATEWAY_AUTH__SECRET", SECRET)]).await.unwrap();
    let (mut ann, mut bob) = (user(node.address, "ann").await, user(node.address, "bob").await);
    let first = ann.ask("order", json!({ "id": "1", "once": "cart" })).await;
    assert!(first["ok"] == true && first["id"].as_str().unwrap().starts_with('e'), "{first}");
    let again = ann.ask("order", json!({ "id": "2", "once": "cart" })).await;
    assert_eq!(first["id"], again["id"], "it is known");
    let other = bob.ask("order", json!({ "id": "3", "once": "cart" })).await;
    assert_ne!(first["id"], other["id"], "another user's is another");
    let plain = bob.ask("order", json!({ "id": "4" })).await;
    assert!(plain["id"].as_str().unwrap().starts_with('j'), "{plain}");
    receiver.takes(3).await;
    let mut events: Vec<_> = receiver.taken().iter().map(|event| (event["id"].clone(), event["by"].clone())).collect();
    events.sort_by_key(|(id, _)| id.to_string());
    assert_eq!(events, [(json!("1"), json!("ann")), (json!("3"), json!("bob")), (json!("4"), json!("bob"))]);
    let refused = bob.ask("order", json!({ "once": "x" })).await;
    assert_eq!(refused["error"]["code"], "bad_request", "{refused}");
    drop(bob);
    receiver.takes(4).await;
    assert!(receiver.ids()[3].starts_with("gone-"), "{:?}", receiver.ids());
    assert_eq!(metric(&node, "gateway_jobs_enqueued_total{by=\"event\",result=\"known\"}"), 1.0);
    assert!(metric(&node, "gateway_events_received_total{action=\"job\"}") >= 5.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_enqueue_so_many_and_no_more() {
    let receiver = Receiver::start().await;
    let limits = [
        ("GATEWAY_JOBS__SENDER_PER_SECOND", "1"),
        ("GATEWAY_JOBS__SENDER_BURST", "10"),
        ("GATEWAY_AUTH__SECRET", SECRET),
    ];
    let node = start(&configuration(&receiver.url()), &limits).await.unwrap();
    let (mut ann, mut bob) = (user(node.address, "ann").await, user(node.address, "bob").await);
    let mut codes = Vec::new();
    for number in 0..40 {
        codes.push(ann.ask("order", json!({ "id": number.to_string() })).await["error"]["code"].clone());
    }
    let taken = codes.iter().filter(|code| code.is_null()).count();
    assert!((10..40).contains(&taken), "{codes:?}");
    assert!(codes.iter().any(|code| code == "rate_limited"), "{codes:?}");
    assert_eq!(bob.ask("order", json!({ "id": "b" })).await["ok"], true);
    assert!(metric(&node, "gateway_rate_limit_decisions_total{limiter=\"job_sender\",decision=\"deny\"}") >= 2.0);
    eventually("they are remembered", || async {
        metric(&node, "gateway_rate_limit_keys{limiter=\"job_sender\"}") >= 1.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_whose_jobs_nobody_could_do_are_mistakes() {
    let route = |more: &str| format!("[[route]]\nevent = \"e\"\naction = \"job\"\n{more}\n");
    for (text, word) in [
        (route("kind = \"http\""), "data: is missing"),
        (route("data = {}"), "kind: is missing"),
        (
            route("kind = \"http\"\ndata = \"{arg}\"\nqueue = \"nowhere\""),
            "queue: there is no queue \"nowhere\"; there are: default, mail",
        ),
        (route("kind = \"htp\"\ndata = \"{arg}\""), "kind: there is no kind \"htp\"; there are: http, publish, notify"),
        (route("kind = \"http\"\ndata = \"{arg}\"\ndelay = \"2y\""), "delay: "),
        (route("kind = \"http\"\ndata = \"{arg}\"\nurl = \"http://a\""), "url: no such key"),
        (
            "[[jobs.back_end]]\nname = \"b\"\nurl = \"http://\"\nsecrets = [\"0123456789abcdef\"]\n".into(),
            "jobs.back_end",
        ),
    ] {
        let Err(StartError::Configuration(said)) = start(&text, &[]).await else { panic!("{text} is fine") };
        assert!(said.contains(word), "{said} has no {word}");
    }
    let foreign = route("kind = \"theirs\"\ndata = \"{arg}\"\nqueue = \"others\"");
    let node = start(&format!("{foreign}[[jobs.queue]]\nname = \"others\"\nconcurrency = 0\n"), &[]).await.unwrap();
    let mut client = Client::connect(node.address).await;
    assert_eq!(client.ask("e", json!([1])).await["ok"], true, "what others do is not ours to know");
}

/// What came back: status, head and body.
async fn ask(address: SocketAddr, method: &str, path: &str, headers: &str, form: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let kind = "Content-Type: application/x-www-form-urlencoded";
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}{kind}\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_lowercase(), body.to_owned())
}

fn basic(password: &str) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("somebody:{password}")))
}

/// The value of a hidden field.
fn field<'a>(page: &'a str, name: &str) -> &'a str {
    let begin = page.find(&format!("name=\"{name}\" value=\"")).unwrap_or_else(|| panic!("no {name} in {page}"));
    let rest = &page[begin..].split("value=\"").nth(1).unwrap();
    rest.split('"').next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_queues_and_jobs_and_decide_about_them() {
    let receiver = Receiver::answering(|number, _| Reply::status(if number == 0 { 422 } else { 200 })).await;
    let config = file(&configuration(&receiver.url()));
    let looks = ("GATEWAY_ADMIN__VIEWER_TOKEN", "looks");
    let changes: Vec<_> = NO_LIMITS.iter().copied().chain([TOKEN, looks]).collect();
    let node = Process::start(&changes, Some(config.path()), None);
    let admin = node.admin_address;
    let (right, page) = (basic("right"), async |path: &str| ask(admin, "GET", path, &basic("right"), "").await);
    let mut client = Client::connect(node.address).await;
    let job = client.ask("order", json!({ "id": "<script>alert(1)</script>" })).await;
    let id = job["id"].as_str().unwrap().to_owned();
    let one = format!("/admin/queues/job?queue=default&id={id}");
    eventually("it has failed for good", || async { page(&one).await.2.contains("422") }).await;

    let (status, head, overview) = page("/admin/queues").await;
    assert_eq!(status, 200);
    assert!(
        head.contains("content-security-policy: default-src 'none'") && head.contains("x-frame-options: deny"),
        "{head}"
    );
    assert!(overview.contains("default") && overview.contains("mail") && overview.contains("Pause"), "{overview}");
    let listed = page("/admin/queues/jobs?queue=default&state=failed").await.2;
    assert!(listed.contains(&id) && listed.contains("422"), "{listed}");
    let shown = page(&one).await.2;
    assert!(shown.contains("&lt;script&gt;") && !shown.contains("<script>"), "{shown}");
    assert!(page("/admin/queues/style.css").await.1.contains("text/css"));

    // Who looks only sees how many there are, and not what they are about.
    let looks = basic("looks");
    assert_eq!(ask(admin, "GET", "/admin/queues", &looks, "").await.0, 200);
    for path in ["/admin/queues/jobs?queue=default&state=failed", &one] {
        let (status, _, words) = ask(admin, "GET", path, &looks, "").await;
        assert!(status == 403 && words.contains("not for viewers") && !words.contains("422"), "{path}: {words}");
    }
    for (who, outcome) in [("admin.token", "done"), ("admin.viewer_token", "refused")] {
        let reads = |line: &Value| {
            line["who"] == who && line["what"] == "read" && line["outcome"].to_string().contains(outcome)
        };
        let subjects =
            || -> Vec<_> { node.audit().into_iter().filter(reads).map(|line| line["subject"].to_string()).collect() };
        let all = || async {
            let subjects = subjects();
            [&id, "failed jobs of default"].iter().all(|part| subjects.iter().any(|subject| subject.contains(part)))
        };
        eventually("it is noted who read what", all).await;
    }

    // Who does not know the token sees nothing, and a page of somebody else has nothing done by who does.
    for (headers, expected) in
        [(String::new(), 401), (basic("wrong"), 401), ("Authorization: Bearer right\r\n".into(), 200)]
    {
        assert_eq!(ask(admin, "GET", "/admin/queues", &headers, "").await.0, expected, "{headers}");
    }
    assert!(ask(admin, "GET", "/admin/queues", "", "").await.1.contains("www-authenticate: basic"));
    let mark = field(&shown, "mark").to_owned();
    let form = format!("mark={mark}&queue=default&id={id}");
    let foreign = format!("{right}Sec-Fetch-Site: cross-site\r\n");
    for (headers, form) in [(&right, format!("mark=guessed&queue=default&id={id}")), (&foreign, form.clone())] {
        let (status, _, words) = ask(admin, "POST", "/admin/queues/remove", headers, &form).await;
        assert!(status == 403 && words.contains("was not made by this node"), "{status}: {words}");
    }
    assert_eq!(ask(admin, "POST", "/admin/queues/remove", &right, &format!("queue=default&id={id}")).await.0, 422);
    assert_eq!(page(&one).await.0, 200, "it is still there");

    let near = format!("{right}Sec-Fetch-Site: same-origin\r\n");
    let (status, head, _) = ask(admin, "POST", "/admin/queues/retry", &near, &form).await;
    assert!(status == 303 && head.contains(&format!("location: {one}")), "{head}");
    eventually("it is done", || async { page(&one).await.2.contains("completed") }).await;
    let pause = format!("mark={mark}&queue=default");
    assert_eq!(ask(admin, "POST", "/admin/queues/pause", &near, &pause).await.0, 303);
    assert!(page("/admin/queues").await.2.contains("Resume"));
    let waits = client.ask("order", json!({ "id": "2" })).await["id"].as_str().unwrap().to_owned();
    assert!(page("/admin/queues/jobs?queue=default&state=waiting").await.2.contains(&waits));
    assert_eq!(ask(admin, "POST", "/admin/queues/resume", &near, &pause).await.0, 303);
    receiver.takes(2).await;
    eventually("nobody does it any more", || async {
        ask(admin, "POST", "/admin/queues/remove", &near, &form).await.0 == 303
    })
    .await;
    assert_eq!(page(&one).await.0, 404);
    for (path, expected) in [
        ("/admin/queues/jobs?queue=nowhere&state=failed", 404),
        ("/admin/queues/jobs?queue=default&state=dead", 400),
        ("/admin/queues/job?queue=default&id=%00", 400),
        ("/admin/queues/nothing", 404),
    ] {
        assert_eq!(page(path).await.0, expected, "{path}");
    }
    let decided = || node.audit().into_iter().filter(|line| line["what"] != "read").collect::<Vec<_>>();
    eventually("all is noted", || async { decided().len() >= 4 }).await;
    let audit = decided();
    let said: Vec<_> = audit.iter().map(|line| line["what"].as_str().unwrap()).collect();
    assert_eq!(said, ["retry", "pause", "resume", "remove"]);
    assert_eq!(audit[0]["subject"], Value::from(format!("{:?}", format!("job {id} of default"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_there_is_no_dashboard() {
    let node = start("", &[("GATEWAY_ADMIN__TOKEN", "")]).await.unwrap();
    assert_eq!(ask(node.admin_address, "GET", "/admin/queues", &basic(""), "").await.0, 404);
}

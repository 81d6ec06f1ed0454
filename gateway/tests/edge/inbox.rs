//! Notifications by events: routes that tell users something, that read it and mark it as read; and a user with very many.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use gateway_core::domain::{Refusal, UserId};
use gateway_core::inbox::{Author, Inbox, Marking, Shelf, Wish};
use gateway_core::metrics::Metrics;
use gateway_core::notifications::{
    Added, Listed, Marked, MemoryNotifications, New, NotificationId, Notifications, Owners, Which,
};
use gateway_core::port::{Port, PortError};
use serde_json::{Value, json};

use gateway::app::Gateway;

use crate::router::Bench;
use crate::support::client::Client;
use crate::support::tokens::{SECRET, Signer, claims_with};
use crate::support::{self, node};

const WITH_KEYS: (&str, &str) = ("GATEWAY_AUTH__SECRET", SECRET);

/// What a front end of its own might have.
const ROUTES: &str = r#"
[[route]]
event = "tell"
action = "notify"
user = "{arg.to}"
data = "{arg.data?}"
collapse = "{arg.about?}"
id = "{arg.id?}"
emit = "told"
args = [{ id = "{notification.id}", text = "{arg.message}", whole = "{notification}" }]

[[route]]
event = "tell plainly"
action = "notify"
user = "{arg.to}"

[[route]]
event = "inbox"
action = "notifications"

[[route]]
event = "seen"
action = "read"

[[route]]
event = "$connect"
action = "notifications"
emit = "waiting"

[[route]]
event = "$disconnect"
action = "notify"
user = "watcher"
message = "{user.id?} is gone"
"#;

/// A node with these routes and no others.
async fn node_with_routes(changes: &[(&str, &str)]) -> Gateway {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(file.path(), ROUTES).unwrap();
    let profile = [("GATEWAY_PROFILE", file.path().to_str().unwrap())];
    node(&[&profile[..], changes].concat()).await
}

async fn user(address: std::net::SocketAddr, name: &str) -> Client {
    let token = Signer::secret(SECRET).sign(&claims_with("sub", json!(name)));
    Client::try_connect(address, json!({ "token": token })).await.unwrap()
}

async fn heard(client: &mut Client, name: &str) -> Value {
    let event = client.event().await;
    assert_eq!(event[0], name, "{event}");
    event[1].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_are_told_they_read_by_events() {
    let node = node_with_routes(&[WITH_KEYS]).await;
    let mut alice = user(node.address, "alice").await;
    assert_eq!(heard(&mut alice, "waiting").await, json!({ "unread": 0 }));
    let kept = alice.ask("tell", json!({ "to": "bob", "message": "hi", "data": { "$": 1 } })).await;
    let id = kept["id"].clone();
    assert!(kept["ok"] == true && id.as_str().unwrap().len() == 24, "{kept}");
    let mut bob = user(node.address, "bob").await;
    assert_eq!(heard(&mut bob, "waiting").await, json!({ "unread": 1 }));
    let list = bob.ask("inbox", json!({})).await;
    assert_eq!((&list["unread"], &list["more"]), (&json!(1), &json!(false)), "{list}");
    let first = &list["notifications"][0];
    assert_eq!((&first["_id"], &first["senderId"], &first["data"]), (&id, &json!("alice"), &json!({ "$": 1 })));

    let half = alice.ask("tell", json!({ "to": "bob", "message": 50, "about": "upload", "id": "u1" })).await;
    let whole = alice.ask("tell", json!({ "to": "bob", "message": 100, "about": "upload", "id": "u2" })).await;
    let again = alice.ask("tell", json!({ "to": "bob", "message": 100, "about": "upload", "id": "u2" })).await;
    assert_eq!(again["id"], whole["id"], "it was told already");
    let told = heard(&mut bob, "told").await;
    assert_eq!((&told["id"], &told["text"], &told["whole"]["id"]), (&half["id"], &json!(50), &half["id"]));
    let told = heard(&mut bob, "told").await;
    assert_eq!((&told["id"], &told["whole"]["replaces"]), (&whole["id"], &half["id"]));
    alice.ask("tell plainly", json!({ "to": "bob", "message": "plain" })).await;
    assert_eq!(heard(&mut bob, "receiveNotification").await["message"], "plain");

    let mut phone = user(node.address, "bob").await;
    assert_eq!(heard(&mut phone, "waiting").await, json!({ "unread": 3 }));
    assert_eq!(bob.ask("seen", json!({ "id": id })).await, json!({ "ok": true, "read": 1, "unread": 2 }));
    assert_eq!(bob.ask("seen", json!({ "id": id })).await["read"], 0);
    assert_eq!(bob.ask("seen", json!({ "upTo": whole["id"] })).await["unread"], 1);
    assert_eq!(bob.ask("seen", json!({ "all": true })).await, json!({ "ok": true, "read": 1, "unread": 0 }));
    for device in [&mut bob, &mut phone] {
        assert_eq!(heard(device, "notification:read").await, json!({ "id": id, "unread": 2 }));
        assert_eq!(heard(device, "notification:read").await, json!({ "upTo": whole["id"], "unread": 1 }));
        assert_eq!(heard(device, "notification:read").await["unread"], 0);
    }
    let page = bob.ask("inbox", json!({ "limit": 2 })).await;
    let last = &page["notifications"][1]["id"];
    assert_eq!((&page["more"], last), (&json!(true), &whole["id"]));
    let rest = bob.ask("inbox", json!({ "before": last })).await;
    assert_eq!((rest["notifications"].as_array().unwrap().len(), &rest["more"]), (1, &json!(false)));
    assert_eq!(bob.ask("inbox", json!({ "unread": true })).await["notifications"], json!([]));

    assert_eq!(alice.ask("seen", json!({ "id": id })).await["read"], 0, "it is another's");
    assert_eq!(alice.ask("inbox", json!({})).await["notifications"], json!([]));
    for (event, argument) in [
        ("seen", json!({})),
        ("seen", json!({ "id": "7" })),
        ("seen", json!({ "id": id, "all": true })),
        ("inbox", json!({ "before": "x" })),
        ("inbox", json!({ "limit": "x" })),
        ("tell", json!({ "to": "bob" })),
        ("tell", json!({ "to": "", "message": 1 })),
        ("tell", json!({ "to": "bob", "message": 1, "id": "x".repeat(129) })),
        ("tell", json!({ "to": "bob", "message": { "_placeholder": true, "num": 0 } })),
    ] {
        let refused = alice.ask(event, argument.clone()).await;
        assert_eq!(refused["error"]["code"], "bad_request", "{event} {argument}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_nobody_has_no_notifications_and_who_is_gone_may_still_tell() {
    let changes = [WITH_KEYS, ("GATEWAY_AUTH__ANONYMOUS", "true"), ("GATEWAY_PRESENCE__LINGER", "0s")];
    let node = node_with_routes(&changes).await;
    let mut nobody = Client::connect(node.address).await;
    for event in ["inbox", "seen"] {
        assert_eq!(nobody.ask(event, json!({ "all": true })).await["error"]["code"], "not_allowed", "{event}");
    }
    assert_eq!(nobody.ask("tell", json!({ "to": "bob", "message": "a stranger's" })).await["ok"], true);
    let mut bob = user(node.address, "bob").await;
    assert_eq!(heard(&mut bob, "waiting").await, json!({ "unread": 1 }));
    let list = bob.ask("inbox", json!({})).await;
    assert!(list["notifications"][0].get("senderId").is_none(), "{list}");
    bob.send("41").await;
    let mut watcher = user(node.address, "watcher").await;
    heard(&mut watcher, "waiting").await;
    let deadline = tokio::time::Instant::now() + support::PATIENCE;
    loop {
        let list = watcher.ask("inbox", json!({})).await;
        let messages: Vec<_> = list["notifications"].as_array().unwrap().iter().map(|one| &one["message"]).collect();
        if messages.contains(&&json!("bob is gone")) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{list}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_limited_as_requests_are() {
    let limits =
        [WITH_KEYS, ("GATEWAY_NOTIFICATIONS__SENDER_PER_SECOND", "1"), ("GATEWAY_NOTIFICATIONS__SENDER_BURST", "3")];
    let node = node_with_routes(&limits).await;
    let mut devices = [user(node.address, "alice").await, user(node.address, "alice").await];
    let mut kept = 0;
    let refused = loop {
        let answer = devices[kept % 2].ask("tell", json!({ "to": "bob", "message": kept })).await;
        if answer["ok"] != true {
            break answer;
        }
        kept += 1;
        assert!(kept < 50, "nothing was refused");
    };
    assert_eq!(refused["error"]["code"], "rate_limited", "{refused}");
    assert!(kept >= 3 && refused["error"]["retryAfterMs"].as_u64().unwrap() > 0, "{kept}: {refused}");
}

/// What a user has, and how long it takes to read it, however much it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_notifications_of_one_user_are_read_page_by_page_and_marked_at_once() {
    const COUNT: usize = 100_000;
    let store = Arc::new(MemoryNotifications::new(usize::MAX));
    let alice = UserId::parse("alice").unwrap();
    let new = |number: usize| New {
        id: NotificationId::new(SystemTime::now()),
        receiver: alice.clone(),
        sender: None,
        message: number.to_string(),
        data: None,
        at_ms: 1_700_000_000_000 + number as u64,
        until_ms: None,
        key: None,
        collapse: None,
    };
    for first in (0..COUNT).step_by(1_000) {
        let some: Vec<_> = (first..first + 1_000).map(new).collect();
        store.add(&some, COUNT).await.unwrap();
    }
    let bench = Bench::new(gateway_core::routes::RouteTable::load("none", None).unwrap()).await;
    let config = support::config(&[
        ("GATEWAY_NOTIFICATIONS__PAGE", "1000"),
        ("GATEWAY_NOTIFICATIONS__KEPT_PER_USER", "1000000"),
    ]);
    let store = Shelf { notifications: store.clone(), owners: store };
    let metrics = Arc::new(Metrics::new());
    let inbox = Inbox::new(Some(store), bench.router.node().clone(), &config, metrics);
    let (mut before, mut read) = (None, Vec::with_capacity(COUNT));
    loop {
        let page = inbox.page(&alice, before.as_ref(), true, 1_000, usize::MAX).await.unwrap();
        read.extend(page.notifications.iter().map(|one| one.new.message.parse::<usize>().unwrap()));
        before = page.notifications.last().map(|last| last.new.id.clone());
        if !page.more {
            break;
        }
        // What comes meanwhile is read by nobody who began before.
        one_more(&inbox, &alice).await;
    }
    assert!(read.iter().copied().eq((0..COUNT).rev()), "each once, newest first");
    let marking = inbox.mark_read(&alice, Marked::All).await.unwrap();
    assert_eq!((marking.read, marking.unread), (COUNT as u64 + 99, 0));
}

async fn one_more(inbox: &Inbox, receiver: &UserId) {
    let author = Author::back_end("tests");
    let wish =
        Wish { receiver: receiver.clone(), message: "0".into(), data: None, ttl: None, id: None, collapse: None };
    let drafts = [inbox.draft(&author, wish).unwrap()];
    inbox.keep(&author, &drafts).await.unwrap();
}

/// A store that may be away.
struct Away {
    inner: MemoryNotifications,
    is_away: AtomicBool,
}

impl Away {
    fn answers(&self, operation: &'static str) -> Result<&MemoryNotifications, PortError> {
        let is_away = self.is_away.load(Ordering::Relaxed);
        if is_away { Err(Port::Notifications.not_now(operation, "away")) } else { Ok(&self.inner) }
    }
}

#[async_trait]
impl Notifications for Away {
    async fn add(&self, all: &[New], kept: usize) -> Result<Vec<Added>, PortError> {
        self.answers("add")?.add(all, kept).await
    }
    async fn list(&self, user: &UserId, which: Which<'_>) -> Result<Listed, PortError> {
        self.answers("list")?.list(user, which).await
    }
    async fn mark_read(&self, user: &UserId, which: Marked<'_>) -> Result<Vec<NotificationId>, PortError> {
        self.answers("mark_read")?.mark_read(user, which).await
    }
    async fn remove(&self, user: &UserId, id: &NotificationId) -> Result<bool, PortError> {
        self.answers("remove")?.remove(user, id).await
    }
    async fn unread(&self, user: &UserId) -> Result<u64, PortError> {
        self.answers("unread")?.unread(user).await
    }
    async fn forget(&self, keep: Option<Duration>, most: usize) -> Result<u64, PortError> {
        self.answers("forget")?.forget(keep, most).await
    }
}

#[async_trait]
impl Owners for Away {
    async fn owner(&self, id: &NotificationId) -> Result<Option<UserId>, PortError> {
        self.answers("owner")?.owner(id).await
    }
}

/// While the store is away nobody hears of anything, and when it is back all goes on, each once.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_heard_that_is_not_kept() {
    let inner = MemoryNotifications::new(1 << 20);
    let store = Arc::new(Away { inner, is_away: AtomicBool::new(true) });
    let bench = Bench::new(gateway_core::routes::RouteTable::load("none", None).unwrap()).await;
    let config = support::config(&[("GATEWAY_NOTIFICATIONS__SWEEP", "100ms")]);
    let metrics = Arc::new(Metrics::new());
    let ports = Shelf { notifications: store.clone(), owners: store.clone() };
    let inbox = Arc::new(Inbox::new(Some(ports), bench.router.node().clone(), &config, metrics.clone()));
    let sweep = tokio::spawn(inbox.clone().sweep_forever());
    let (alice, author, id) =
        (UserId::parse("alice").unwrap(), Author::back_end("tests"), NotificationId::new(SystemTime::now()));
    let wish = Wish {
        receiver: alice.clone(),
        message: "1".into(),
        data: None,
        ttl: None,
        id: Some("once".into()),
        collapse: None,
    };
    let count = |series: &str| {
        let text = metrics.render();
        let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
        line.unwrap().rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(inbox.tell(&author, vec![wish.clone()]).await.unwrap_err(), Refusal::Unavailable);
    assert_eq!(inbox.page(&alice, None, false, 1, 1).await, Err(Refusal::Unavailable));
    assert_eq!(inbox.mark_read(&alice, Marked::All).await, Err(Refusal::Unavailable));
    assert_eq!(inbox.remove(&alice, &id).await, Err(Refusal::Unavailable));
    assert_eq!(
        (inbox.unread(&alice).await, inbox.owner(&id).await),
        (Err(Refusal::Unavailable), Err(Refusal::Unavailable))
    );
    let failed = |op: &str| count(&format!("gateway_notification_errors_total{{op=\"{op}\"}}"));
    assert!(["add", "list", "mark_read", "remove", "unread", "owner"].iter().all(|op| failed(op) == 1));
    support::eventually("who sweeps notices, and goes on", || async { failed("forget") >= 2 }).await;
    let pushed = || count("gateway_notification_pushes_total{result=\"logged\"}");
    assert_eq!(pushed(), 0);

    store.is_away.store(false, Ordering::Relaxed);
    // As if the node that kept it had ended before it could push it.
    let draft = [inbox.draft(&author, wish.clone()).unwrap()];
    inbox.keep(&author, &draft).await.unwrap();
    let again = inbox.tell(&author, vec![wish]).await.unwrap();
    assert_eq!((&again[0].kept.id, again[0].kept.duplicate, pushed()), (&draft[0].id, true, 1));
    assert_eq!(inbox.mark_read(&alice, Marked::All).await.unwrap(), Marking { read: 1, unread: 0 });
    sweep.abort();
}

//! The contract of contacts, run against every backend.

use gateway_core::contacts::{Address, By, Contact, Contacts, Mark, MemoryContacts, RedisContacts, SqliteContacts};
use gateway_core::domain::UserId;
use gateway_core::port::{ErrorKind, Port};
use gateway_core::redis::Commands;

use crate::support;
use crate::support::redis::Redis;

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn address(email: &str, name: Option<&str>) -> Address {
    Address { email: email.into(), name: name.map(Into::into) }
}

async fn an_address_is_kept_and_who_gave_it(one: &dyn Contacts, two: &dyn Contacts) {
    let bob = user("bob: a/b 😀");
    assert_eq!(one.find(&bob).await.unwrap(), None);
    let (token, api) = (address("bob@home.example", None), address("bob@work.example", Some("Bob \"B\" Ü")));
    assert!(one.put(&bob, &token, By::Token).await.unwrap());
    assert!(!two.put(&bob, &token, By::Token).await.unwrap(), "it is there");
    let known = Contact { address: token.clone(), by: By::Token, wants: true, seen_ms: 0, mailed_ms: 0 };
    assert_eq!(two.find(&bob).await.unwrap(), Some(known));
    let changed = address("bob@new.example", Some("Bob"));
    assert!(one.put(&bob, &changed, By::Token).await.unwrap());
    assert!(one.put(&bob, &api, By::BackEnd).await.unwrap());
    assert!(!two.put(&bob, &token, By::Token).await.unwrap(), "a back end knows better");
    let known = Contact { address: api.clone(), by: By::BackEnd, wants: true, seen_ms: 0, mailed_ms: 0 };
    assert_eq!(two.find(&bob).await.unwrap(), Some(known));
    assert!(!one.put(&bob, &api, By::BackEnd).await.unwrap());
    assert!(one.put(&bob, &address("bob@work.example", None), By::BackEnd).await.unwrap(), "without a name");
    assert_eq!(two.find(&bob).await.unwrap().unwrap().address.name, None);
    assert_eq!(two.find(&user("bob")).await.unwrap(), None, "each user for itself");
}

async fn no_means_no(one: &dyn Contacts, two: &dyn Contacts) {
    let ann = user("ann");
    one.subscribe(&ann, false).await.unwrap();
    assert_eq!(two.find(&ann).await.unwrap(), None, "there is no address yet");
    one.put(&ann, &address("ann@a.example", None), By::Token).await.unwrap();
    assert!(!two.find(&ann).await.unwrap().unwrap().wants);
    assert!(one.remove(&ann).await.unwrap());
    assert!(!two.remove(&ann).await.unwrap());
    assert_eq!(two.find(&ann).await.unwrap(), None);
    one.put(&ann, &address("ann@b.example", None), By::BackEnd).await.unwrap();
    assert!(!two.find(&ann).await.unwrap().unwrap().wants, "although the address was forgotten");
    one.subscribe(&ann, true).await.unwrap();
    assert!(two.find(&ann).await.unwrap().unwrap().wants);
    one.subscribe(&user("nobody"), true).await.unwrap();
    assert!(!one.remove(&user("nobody")).await.unwrap());
}

async fn marks_move_forward(one: &dyn Contacts, two: &dyn Contacts) {
    let eve = user("eve");
    one.mark(&eve, Mark::Seen, 7).await.unwrap();
    assert_eq!(two.find(&eve).await.unwrap(), None, "who has no address has no marks");
    one.put(&eve, &address("eve@e.example", None), By::Token).await.unwrap();
    let late = 1_795_000_000_123;
    one.mark(&eve, Mark::Seen, late).await.unwrap();
    two.mark(&eve, Mark::Mailed, 9).await.unwrap();
    two.mark(&eve, Mark::Seen, late - 1).await.unwrap();
    let known = two.find(&eve).await.unwrap().unwrap();
    assert_eq!((known.seen_ms, known.mailed_ms), (late, 9));
    one.put(&eve, &address("eve@f.example", None), By::Token).await.unwrap();
    assert_eq!(two.find(&eve).await.unwrap().unwrap().seen_ms, late, "another address is the same user");
    one.remove(&eve).await.unwrap();
    one.put(&eve, &address("eve@e.example", None), By::Token).await.unwrap();
    assert_eq!(two.find(&eve).await.unwrap().unwrap().seen_ms, 0, "what was forgotten is forgotten");
}

async fn the_contract(one: &dyn Contacts, two: &dyn Contacts) {
    an_address_is_kept_and_who_gave_it(one, two).await;
    no_means_no(one, two).await;
    marks_move_forward(one, two).await;
}

#[tokio::test]
async fn memory() {
    let store = MemoryContacts::default();
    the_contract(&store, &store).await;
}

#[tokio::test]
async fn sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/contacts.sqlite");
    let store = SqliteContacts::open(&path).await.unwrap();
    the_contract(&store, &store).await;
    assert!(SqliteContacts::open(&path).await.unwrap_err().to_string().contains("in use by another process"));
    store.close().await;
    assert_eq!(store.find(&user("ann")).await.unwrap_err().port, Port::Contacts);
    drop(store);
    let store = SqliteContacts::open(&path).await.unwrap();
    assert!(store.find(&user("ann")).await.unwrap().is_some(), "it is known after the process ended");
}

#[tokio::test]
async fn redis() {
    let mut redis = Redis::start().await;
    let commands = || Commands::new(&redis.url(), &support::config(&[]).redis).unwrap();
    let (one, two) = (RedisContacts::new(commands(), "c"), RedisContacts::new(commands(), "c"));
    the_contract(&one, &two).await;
    assert_eq!(RedisContacts::new(commands(), "other").find(&user("ann")).await.unwrap(), None, "another deployment");
    redis.stop().await;
    let error = one.find(&user("ann")).await.unwrap_err();
    assert_eq!((error.port, error.kind), (Port::Contacts, ErrorKind::Transient));
}

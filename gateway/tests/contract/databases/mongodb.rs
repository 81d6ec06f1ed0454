//! MongoDB's protocol, as FerretDB speaks it; and what a replica set says at the wire, which FerretDB is none of.

use gateway_core::archive::{Gap, Record, Why};
use gateway_core::domain::{Offset, RoomName};
use gateway_core::log::Range;
use gateway_core::notifications::{New, Which};
use gateway_core::port::ErrorKind::{Permanent, Transient};
use gateway_store::Store;

use super::{batches, fails, is_whole, make_tables_at_once, notification, write, written_through};
use crate::support::databases::{settings, store};
use crate::support::eventually;
use crate::support::ferretdb::FerretDb;
use crate::support::proxy::Proxy;
use crate::support::replica_set::{ReplicaSet, StepDown};

async fn impatient(url: &str) -> Store {
    Store::open(&settings(url, "500ms")).await.unwrap().unwrap()
}

#[tokio::test]
async fn one_that_is_away_is_waited_for() {
    let mut server = FerretDb::start().await;
    let store = impatient(&server.url_of("away")).await;
    server.kill();
    fails(&store, Transient, "MongoDB: ").await;
    server.start_again().await;
    eventually("it is back", || async { store.archive.write(&[], Offset(1)).await.is_ok() }).await;
    server.kill();
    fails(&store, Transient, "MongoDB: ").await;
    server.start_again().await;
    eventually("it is back", || async { store.archive.write(&[], Offset(2)).await.is_ok() }).await;
}

#[tokio::test]
async fn one_that_is_slow_is_given_up_and_tried_again() {
    let server = FerretDb::start().await;
    let proxy = Proxy::before_port(server.port()).await;
    let store = impatient(&format!("mongodb://127.0.0.1:{}/slow", proxy.port())).await;
    eventually("it answers", || async { store.archive.write(&[], Offset(1)).await.is_ok() }).await;
    proxy.hold(true);
    fails(&store, Transient, "MongoDB: ").await;
    proxy.hold(false);
    eventually("it answers again", || async { store.archive.write(&[], Offset(2)).await.is_ok() }).await;
    assert_eq!(store.archive.cursor().await.unwrap(), Some(Offset(2)));
}

#[tokio::test]
async fn one_that_is_restarted_in_the_middle_gets_all_of_it_once() {
    let mut server = FerretDb::start().await;
    let store = Store::open(&settings(&server.url_of("restarted"), "20s")).await.unwrap().unwrap();
    let batches = batches(200, 10);
    let restart = async || {
        server.kill();
        server.start_again().await;
    };
    written_through(&store, &batches, restart).await;
    is_whole(&*store.archive, 200).await;
}

#[tokio::test]
async fn collections_are_made_once_however_many_start() {
    let server = FerretDb::start().await;
    make_tables_at_once(&server.url_of("once")).await;
}

#[tokio::test]
async fn those_of_a_newer_version_are_left_alone() {
    let server = FerretDb::start().await;
    let url = server.url_of("newer");
    let mine = store(&url).await;
    write(&mine, &batches(1, 1)[0]).await.unwrap();
    let client = ::mongodb::Client::with_uri_str(&url).await.unwrap();
    let schema = client.database("newer").collection::<::mongodb::bson::Document>("gateway_schema");
    let newer = ::mongodb::bson::doc! { "$set": { "version": 99 } };
    schema.update_one(::mongodb::bson::doc! { "_id": "schema" }, newer).await.unwrap();
    fails(&store(&url).await, Permanent, "made by a newer version of the gateway").await;
}

#[tokio::test]
async fn a_primary_that_steps_down_in_the_middle_is_followed_by_the_next() {
    let server = FerretDb::start().await;
    let set = ReplicaSet::over(server.port()).await;
    let store = Store::open(&settings(&set.url_of("steps"), "20s")).await.unwrap().unwrap();
    let ways = [StepDown::Refusing, StepDown::Interrupting, StepDown::Hanging];
    let mut each = ways.into_iter();
    let batches = batches(300, 10);
    written_through(&store, &batches, async || set.step_down(each.next().unwrap()).await).await;
    is_whole(&*store.archive, 300).await;

    let receiver = notification().receiver;
    let mut told = Vec::new();
    for how in ways {
        let new = New { message: told.len().to_string(), ..notification() };
        let adding = async {
            // A back end does so whose request was refused as `unavailable`.
            while let Err(error) = store.notifications.add(std::slice::from_ref(&new), 10).await {
                assert_eq!(error.kind, Transient, "{error}");
            }
        };
        tokio::join!(adding, set.step_down(how));
        told.insert(0, new.id);
    }
    let listed = store.notifications.list(&receiver, Which { after: None, unread: true, limit: 10 }).await.unwrap();
    let listed: Vec<_> = listed.notifications.into_iter().map(|one| one.new.id).collect();
    assert_eq!(listed, told, "each once");
    assert!(set.refused() >= 6, "{}", set.refused());
}

#[tokio::test]
async fn a_set_without_a_primary_is_waited_for() {
    let server = FerretDb::start().await;
    let set = ReplicaSet::over(server.port()).await;
    let store = impatient(&set.url_of("none")).await;
    eventually("it answers", || async { store.archive.write(&[], Offset(1)).await.is_ok() }).await;
    set.depose();
    fails(&store, Transient, "no primary").await;
    set.elect();
    eventually("it answers again", || async { store.archive.write(&[], Offset(2)).await.is_ok() }).await;
    assert_eq!(store.archive.cursor().await.unwrap(), Some(Offset(2)));
}

#[tokio::test]
async fn a_batch_that_ends_anywhere_is_completed() {
    let server = FerretDb::start().await;
    let set = ReplicaSet::over(server.port()).await;
    let store = store(&set.url_of("ends")).await;
    store.migrate().await.unwrap();
    let refuses = async |batch: &[Record], writes: usize, code, name, kind, words: &str| {
        set.say_after(writes, code, name);
        let error = write(&store, batch).await.unwrap_err();
        assert_eq!((error.kind, set.will_say()), (kind, false), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    };
    let (mut missing, mut expected) = (Vec::new(), Vec::new());
    for (turn, mut batch) in (0_u64..).zip(batches(40, 10)) {
        // So that it has a gap to tell.
        batch.remove(4);
        let (after, through) = (Offset(turn * 10 + 4), Offset(turn * 10 + 5));
        missing.push(Gap { room: Some(RoomName::trusted("batches")), after, through, why: Why::Missing });
        expected.extend((1..=10).filter(|at| *at != 5).map(|at| turn * 10 + at));
        // Before its gap, its events, the end of its room, and its cursor.
        for writes in 0..4 {
            refuses(&batch, writes, 14_031, "OutOfDiskSpace", Transient, "make room on its disk").await;
        }
        refuses(&batch, 0, 13, "Unauthorized", Permanent, "needs the role readWrite").await;
        write(&store, &batch).await.unwrap();
    }
    let all = Range::After { offset: Offset::START, limit: 1_000 };
    let page = store.archive.read(&RoomName::trusted("batches"), all, usize::MAX).await.unwrap();
    let offsets: Vec<_> = page.entries.iter().map(|entry| entry.position.offset.0).collect();
    assert_eq!((offsets, page.gaps), (expected, missing));
    assert_eq!(store.archive.cursor().await.unwrap(), Some(Offset(40)));
}

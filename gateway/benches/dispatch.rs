//! What an event costs between the edge and the log: reading it, finding its routes, checking, filling in templates.
//!
//! `cargo bench --package gateway`. Each benchmark is one event of the native profile, on one thread, with the log in
//! memory; `the_log_alone` is what of it is not the routes'.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark that cannot go on should panic")]

#[path = "../tests/support/router.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "shared with tests")]
mod router;

use std::sync::Arc;

use divan::Bencher;
use gateway_core::auth::Identity;
use gateway_core::domain::{Event, RoomName};
use gateway_core::log::Terms;
use gateway_core::node::Session;
use gateway_core::routes::RouteTable;
use router::Bench;
use tokio::runtime::Runtime;

/// 100 bytes of data, as in the measurements of whole nodes.
const DATA: &str =
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";

fn main() {
    divan::main();
}

struct Ready {
    runtime: Runtime,
    bench: Bench,
    session: Arc<Session>,
}

/// A member of one room, alone on its node.
fn ready(table: RouteTable) -> Ready {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (bench, session) = runtime.block_on(async {
        let bench = Bench::new(table).await;
        let session = bench.session(Identity::default()).await;
        bench.router.handle(&session, Bench::inbound(r#"["join",{"room":"r"}]"#)).await.unwrap();
        (bench, session)
    });
    Ready { runtime, bench, session }
}

fn event(bencher: Bencher<'_, '_>, table: RouteTable, text: &str) {
    let Ready { runtime, bench, session } = ready(table);
    bencher
        .with_inputs(|| Bench::inbound(text))
        .bench_local_values(|inbound| runtime.block_on(bench.router.handle(&session, inbound)));
}

fn native() -> RouteTable {
    RouteTable::load("native", None).unwrap()
}

#[divan::bench(sample_size = 500, sample_count = 200)]
fn publish(bencher: Bencher<'_, '_>) {
    event(bencher, native(), &format!(r#"["publish",{{"room":"r","data":"{DATA}"}}]"#));
}

#[divan::bench(sample_size = 500, sample_count = 200)]
fn signal(bencher: Bencher<'_, '_>) {
    event(bencher, native(), &format!(r#"["signal",{{"room":"r","event":"wave","data":"{DATA}"}}]"#));
}

/// To a room that the session is not in: everything of a publish but filling in what others hear, and the log.
#[divan::bench(sample_size = 500, sample_count = 200)]
fn refused(bencher: Bencher<'_, '_>) {
    event(bencher, native(), &format!(r#"["publish",{{"room":"elsewhere","data":"{DATA}"}}]"#));
}

#[divan::bench(sample_size = 500, sample_count = 200)]
fn unknown(bencher: Bencher<'_, '_>) {
    event(bencher, native(), r#"["nothing",{"room":"r"}]"#);
}

/// Among ten thousand other routes.
#[divan::bench(sample_size = 500, sample_count = 200)]
fn publish_in_a_large_table(bencher: Bencher<'_, '_>) {
    let routes = (0..10_000).map(|number| format!("[[route]]\nevent = \"event-{number}\"\naction = \"join\"\n"));
    let table = RouteTable::parse("native", "large.toml", &routes.collect::<String>()).unwrap();
    event(bencher, table, &format!(r#"["publish",{{"room":"r","data":"{DATA}"}}]"#));
}

/// What a publish costs that needs no route.
#[divan::bench(sample_size = 500, sample_count = 200)]
fn the_log_alone(bencher: Bencher<'_, '_>) {
    let Ready { runtime, bench, .. } = ready(native());
    let room = RoomName::parse("r").unwrap();
    let args = format!(r#"[{{"room":"r","user":null,"data":"{DATA}","at":1700000000000}}]"#);
    let event = Event { name: "message".into(), args, attachments: Vec::new(), except: None, at_ms: 0 };
    bencher.bench_local(|| runtime.block_on(bench.router.node().publish(&room, &event, Terms::default(), None)));
}

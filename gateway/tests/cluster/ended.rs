//! Sessions that were ended while their node could not hear of it.

use std::sync::Arc;
use std::time::Duration;

use gateway_core::auth::{Grant, mint};
use gateway_core::bus::RedisBus;
use gateway_core::domain::UserId;
use gateway_core::formats::{Format, Formats};
use gateway_core::metrics::Metrics;
use gateway_core::redis::{Commands, History};
use gateway_core::sessions::{RedisSessions, Sessions, Whose};
use gateway_core::supervisor::Supervisor;
use serde_json::json;

use crate::cluster;
use crate::support::client::Client;
use crate::support::redis::Redis;
use crate::support::{config, eventually};

/// A quarter of it nobody waits for.
const WINDOW: Duration = Duration::from_secs(24 * 3_600);

#[tokio::test(flavor = "multi_thread")]
async fn who_may_have_missed_that_sessions_were_ended_looks_as_soon_as_it_hears_again() {
    let redis = Redis::start().await;
    let secret = ("GATEWAY_AUTH__SECRET", "s");
    let nodes = cluster(&redis, 1, &[("GATEWAY_RECOVERY__WINDOW", "1d"), secret]).await;
    let auth = config(&[secret]).auth;
    let [ann, bob] = ["ann", "bob"].map(|name| UserId::parse(name).unwrap());
    let mut clients = Vec::new();
    for user in [&ann, &bob] {
        let token = mint(&auth, &Grant::new(user.clone(), WINDOW)).unwrap();
        clients.push(Client::try_connect(nodes[0].address, json!({ "token": token })).await.unwrap());
    }
    // As another node does whose question this one does not hear.
    let settings = config(&[]).redis;
    let commands = Commands::new(&redis.url(), &settings).unwrap();
    let bus =
        RedisBus::connect(&redis.url(), &settings, Arc::new(Metrics::new()), &Supervisor::default()).await.unwrap();
    let history = History::new(commands.clone(), &settings.prefix, WINDOW);
    let formats = Formats::new(Format::NEWEST);
    let sessions = RedisSessions::new(commands, Arc::new(bus), &settings.prefix, WINDOW, formats, history);
    assert_eq!(sessions.forget(&Whose::User(ann)).await.unwrap(), 1);
    assert_eq!(nodes[0].sessions(), 2, "nobody has told it");
    redis.command("CLIENT KILL TYPE pubsub").await;
    eventually("it has looked", || async { nodes[0].sessions() == 1 }).await;
    assert!(clients[1].is_quiet(Duration::from_millis(100)).await, "the other one stays");
}

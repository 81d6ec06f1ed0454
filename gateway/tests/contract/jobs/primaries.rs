//! Jobs where Redis is more than an address: Sentinels, a cluster, TLS, a socket.

use std::time::Duration;

use gateway_core::config;
use gateway_core::jobs::{Job, NewJob, Queues, State};
use gateway_core::redis::Commands;
use gateway_work::bullmq::BullJobs;
use tokio::time::{Instant, sleep};

use super::bench::{Done, Store, at_once, doing, end, id, named, queue, state_becomes};
use super::many;
use crate::support;
use crate::support::redis::{Redis, free_port};
use crate::support::topology::{Certificates, RedisCluster, Sentinels, replica_of};

fn config(url: &str, changes: &[(&str, &str)]) -> config::Config {
    let url = [("GATEWAY_REDIS_URL", url)];
    support::config(&url.iter().chain(changes).copied().collect::<Vec<_>>())
}

fn bull(config: &config::Config) -> BullJobs {
    let commands = Commands::new(config.redis_url.expose(), &config.redis).unwrap();
    BullJobs::new(commands, &config.redis.prefix, &BullJobs::prefix(&config.redis.prefix), many::ALL).unwrap()
}

/// One job from its coming to its end.
async fn one_is_done(store: &Store, name: &str) {
    let (queue, done) = (queue("q"), Done::default());
    store.jobs.enqueue(&queue, &named(name)).await.unwrap();
    let worker = store.jobs.work(&queue, &at_once(2), done.handler()).await.unwrap();
    state_becomes(store, &queue, &id(name), State::Completed).await;
    end(worker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_follow_the_primary_after_a_failover() {
    let mut old = Redis::start().await;
    let new = replica_of(&old).await;
    let sentinels = Sentinels::watch(&old, Duration::from_secs(1)).await;
    let settings = config(&sentinels.url(), &[]);
    let (store, queue) = (Store::of(bull(&settings)), queue("q"));
    let (done, long) = (Done::default(), Done::default());
    let (seen, begun) = (done.clone(), long.clone());
    let handler = doing(move |job: Job| {
        let (seen, begun) = (seen.clone(), begun.clone());
        async move {
            if job.kind == "long" && job.lost == 0 {
                begun.add(&job);
                std::future::pending::<()>().await;
            }
            sleep(Duration::from_millis(5)).await;
            seen.add(&job);
            Ok(None)
        }
    });
    let worker = store.jobs.work(&queue, &at_once(4), handler).await.unwrap();
    // What is enqueued with an id may be enqueued again, as whoever has no answer does.
    let ids: Vec<_> = (0..300).map(|number| format!("job-{number}")).collect();
    for (number, name) in ids.iter().enumerate() {
        if number == 50 {
            store.jobs.enqueue(&queue, &NewJob { attempts: 1, ..named("long") }).await.unwrap();
            long.reach(1).await;
            assert!(old.command("WAIT 1 5000").await.starts_with(":1"));
        }
        if number == 100 {
            old.kill();
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        while let Err(error) = store.jobs.enqueue(&queue, &named(name)).await {
            assert!(!error.is_permanent() && Instant::now() < deadline, "{error}");
            sleep(Duration::from_millis(50)).await;
        }
        sleep(Duration::from_millis(5)).await;
    }
    // What the old primary had acknowledged and not handed on is gone; who made it makes it again.
    for name in &ids {
        store.jobs.enqueue(&queue, &named(name)).await.unwrap();
    }
    for name in ids.iter().chain([&"long".to_owned()]) {
        state_becomes(&store, &queue, &id(name), State::Completed).await;
    }
    assert!(new.command("ROLE").await.contains("master"));
    end(worker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_becomes_a_replica_is_left() {
    let old = Redis::start().await;
    let _new = replica_of(&old).await;
    let sentinels = Sentinels::watch(&old, Duration::from_secs(1)).await;
    let store = Store::of(bull(&config(&sentinels.url(), &[])));
    let (queue, done) = (queue("q"), Done::default());
    let worker = store.jobs.work(&queue, &at_once(2), done.handler()).await.unwrap();
    store.jobs.enqueue(&queue, &named("before")).await.unwrap();
    done.reach(1).await;
    assert!(sentinels.fail_over().await.starts_with("+OK"));
    support::eventually("the old one is a replica", || async { old.command("ROLE").await.contains("slave") }).await;
    support::eventually("it can be enqueued", || async { store.jobs.enqueue(&queue, &named("after")).await.is_ok() })
        .await;
    done.reach(2).await;
    state_becomes(&store, &queue, &id("after"), State::Completed).await;
    end(worker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_all_of_a_queue_is_in_one_slot() {
    let cluster = RedisCluster::start().await;
    let store = Store::of(bull(&config(&cluster.url(), &[])));
    one_is_done(&store, "x").await;
    assert_eq!(store.queues.survey().await.unwrap()[0].counts.completed, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_by_certificates_of_ones_own() {
    let certificates = Certificates::new();
    let port = free_port().to_string();
    let (ca, pem, key) =
        (certificates.file("ca.pem"), certificates.file("server.pem"), certificates.file("server.key"));
    let redis = Redis::start_with(&[
        "--tls-port",
        &port,
        "--tls-ca-cert-file",
        &ca,
        "--tls-cert-file",
        &pem,
        "--tls-key-file",
        &key,
    ])
    .await;
    let url = format!("rediss://localhost:{port}");
    let client = (certificates.file("client.pem"), certificates.file("client.key"));
    let changes = [
        ("GATEWAY_REDIS__TLS_CA", ca.as_str()),
        ("GATEWAY_REDIS__TLS_CERTIFICATE", &client.0),
        ("GATEWAY_REDIS__TLS_KEY", &client.1),
    ];
    one_is_done(&Store::of(bull(&config(&url, &changes))), "x").await;
    // Whom the system trusts is somebody else.
    let strict = bull(&config(&url, &[]));
    assert!(strict.survey().await.is_err());
    drop(redis);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a b.sock").display().to_string();
    let _redis = Redis::start_with(&["--unixsocket", &path, "--requirepass", "p@ss"]).await;
    let url = format!("unix://{}?db=2&pass=p%40ss", path.replace(' ', "%20"));
    one_is_done(&Store::of(bull(&config(&url, &[]))), "x").await;
}

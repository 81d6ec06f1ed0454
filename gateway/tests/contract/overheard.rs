//! What is overheard on channels of others: all of it, in order, and where something may be missing that is told.

use std::sync::Arc;

use futures_util::FutureExt;
use gateway_core::bus::{Listened, Overheard, Overhearing, overhear};
use gateway_core::metrics::Metrics;
use gateway_core::redis::Primary;
use gateway_core::supervisor::Supervisor;

use crate::support::redis::Redis;
use crate::support::{PATIENCE, config, eventually};

fn listen(redis: &Redis, metrics: &Arc<Metrics>) -> Overhearing {
    let settings = config(&[]).redis;
    let primary = Primary::new(&redis.url(), &settings, metrics.clone()).unwrap();
    let listened = Listened {
        channels: vec!["named".into()],
        patterns: vec!["of\\*#*".into(), "also#*".into()],
        message_bytes: 1000,
    };
    overhear(primary, settings.timeout, listened, metrics.clone(), &Supervisor::default())
}

async fn next(overhearing: &mut Overhearing) -> Overheard {
    tokio::time::timeout(PATIENCE, overhearing.next()).await.expect("silence").unwrap()
}

/// The channel and the payload of the next, which is a message.
async fn message(overhearing: &mut Overhearing) -> (String, Vec<u8>) {
    match next(overhearing).await {
        Overheard::Message { channel, payload, .. } => (channel, payload.to_vec()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn channels_and_patterns_are_heard_in_one_order_and_heard_again() {
    let redis = Redis::start().await;
    let metrics = Arc::new(Metrics::new());
    let mut overhearing = listen(&redis, &metrics);
    assert!(matches!(next(&mut overhearing).await, Overheard::Begun));
    for turn in 0..3 {
        for (channel, payload) in [("of*#a", &b"\x00\xff"[..]), ("named", b""), ("also#", b"1"), ("of*#a", b"2")] {
            redis.send(&[b"PUBLISH", channel.as_bytes(), payload]).await;
            assert_eq!(message(&mut overhearing).await, (channel.to_owned(), payload.to_vec()), "in turn {turn}");
        }
        redis.send(&[b"PUBLISH", b"ofx#a", b"another pattern"]).await;
        redis.send(&[b"PUBLISH", b"also#", &[b'x'; 1001]]).await;
        assert!(matches!(next(&mut overhearing).await, Overheard::TooLarge { bytes: 1001, .. }));
        redis.command("CLIENT KILL TYPE pubsub").await;
        assert!(matches!(next(&mut overhearing).await, Overheard::Ended));
        assert!(matches!(next(&mut overhearing).await, Overheard::Begun));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_takes_is_bounded_and_counted() {
    let redis = Redis::start().await;
    let metrics = Arc::new(Metrics::new());
    let mut overhearing = listen(&redis, &metrics);
    assert!(matches!(next(&mut overhearing).await, Overheard::Begun));
    // More than may wait.
    let script = "for n = 1, 20000 do redis.call('PUBLISH', 'named', n) end return 'done'";
    assert!(redis.send(&[b"EVAL", script.as_bytes(), b"0"]).await.contains("done"));
    let lost = || {
        let text = metrics.render();
        let line = text.lines().find(|line| line.starts_with("gateway_emitters_lost_total ")).unwrap();
        line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()
    };
    eventually("the queue is full", || async { lost() > 0 }).await;
    let (mut heard, mut last) = (0, 0);
    eventually("all that was not lost is heard, in order", || {
        while let Some(Some(Overheard::Message { payload, .. })) = overhearing.next().now_or_never() {
            let number: usize = std::str::from_utf8(&payload).unwrap().parse().unwrap();
            assert!(number > last);
            (heard, last) = (heard + 1, number);
        }
        let all = heard + lost() == 20_000;
        async move { all }
    })
    .await;
    assert!(heard >= 4096, "{heard} were heard");
    redis.send(&[b"PUBLISH", b"named", b"goes on"]).await;
    assert_eq!(message(&mut overhearing).await.1, b"goes on");
}

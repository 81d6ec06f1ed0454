//! Opens a population of clients at a chosen pace and waits until each is in or has failed.

use std::fmt;
use std::time::Duration;

use anyhow::bail;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::tally::Tally;

/// Runs `enter` once per client, `per_second` of them a second (0 = all at once). Results come in
/// the order in which the clients were done.
pub(crate) async fn gather<T, F>(
    clients: u32,
    per_second: u32,
    mut enter: impl FnMut(u32) -> F,
) -> anyhow::Result<Vec<T>>
where
    T: 'static,
    F: Future<Output = T> + 'static,
{
    let started = Instant::now();
    let mut entering = JoinSet::new();
    for client in 0..clients {
        if per_second > 0 {
            let due = f64::from(client) / f64::from(per_second);
            sleep_until(started + Duration::from_secs_f64(due)).await;
        }
        entering.spawn_local(enter(client));
    }
    let mut entered = Vec::with_capacity(clients as usize);
    while let Some(done) = entering.join_next().await {
        entered.push(done?);
    }
    Ok(entered)
}

/// For scenarios whose numbers would be about something else if anybody were missing.
pub(crate) fn everybody<T, E: fmt::Display>(entered: Vec<Result<T, E>>) -> anyhow::Result<Vec<T>> {
    let clients = entered.len();
    let mut present = Vec::with_capacity(clients);
    let mut absent = Tally::default();
    for result in entered {
        match result {
            Ok(client) => present.push(client),
            Err(reason) => absent.add(reason),
        }
    }
    if absent.total() > 0 {
        bail!("of {clients} clients these did not come in: {absent}");
    }
    Ok(present)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::LocalSet;
    use tokio::time::Instant;

    use super::{everybody, gather};

    #[tokio::test(start_paused = true)]
    async fn keeps_the_pace() -> anyhow::Result<()> {
        LocalSet::new()
            .run_until(async {
                let started = Instant::now();
                let entered = gather(101, 50, |client| async move { client }).await?;
                assert_eq!(entered.len(), 101);
                assert_eq!(started.elapsed(), Duration::from_secs(2));
                Ok(())
            })
            .await
    }

    #[test]
    fn one_missing_client_is_too_many() {
        assert!(everybody::<_, &str>(vec![Ok(1), Ok(2)]).is_ok_and(|clients| clients.len() == 2));
        assert!(everybody(vec![Ok(1), Err("late")]).is_err_and(|error| error.to_string().ends_with("1 (late 1)")));
    }
}

//! Asks one node every second how many are in each room, and has the answers compared with the truth.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::world::World;
use crate::packet::Packet;
use crate::session::Session;

pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// For the answers to one look at all the rooms.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Goes on until the node is dead; what it is not answered while the node lives is noted.
pub(crate) async fn count_every_second(world: Rc<World>, node: usize, client: u32) {
    while world.is_alive(node) {
        if let Err(error) = count(&world, node, client).await
            && world.is_alive(node)
        {
            world.census.not_answered(format!("{error:#}"));
            sleep(LOOK_EVERY).await;
        }
    }
}

/// Over one connection, as long as it holds. The counter is in none of the rooms.
async fn count(world: &World, node: usize, client: u32) -> anyhow::Result<()> {
    let packet = world.connect_packet(&format!("counter-{node}"))?;
    let mut session = world.dialer.dial_as(client, node, &packet).await?;
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while world.is_alive(node) {
        tokio::select! {
            _ = looks.tick() => {
                let (begun, before) = (Instant::now(), world.census.present());
                let counted = timeout(ANSWER_WITHIN, look(&mut session, world.census.rooms())).await;
                world.census.compare(node, begun, &before, &counted.context("counts not answered in time")??);
            }
            frame = session.read() => {
                let frame = frame?;
                session.absorb(Packet::parse(&frame)).await?;
            }
        }
    }
    Ok(())
}

/// All the rooms at once, numbered by their acks.
async fn look(session: &mut Session, rooms: &[String]) -> anyhow::Result<Vec<u64>> {
    for (id, room) in rooms.iter().enumerate() {
        let request = json!(["presence", { "room": room, "limit": 1 }]);
        session.send(format!("42{id}{request}")).await?;
    }
    let mut counted = vec![None; rooms.len()];
    let mut missing = rooms.len();
    while missing > 0 {
        let frame = session.read().await?;
        match Packet::parse(&frame) {
            Packet::Ack { id, arguments } => {
                let count = counted.get_mut(usize::try_from(id)?).context("an ack that nobody asked for")?;
                missing -= usize::from(count.is_none());
                *count = Some(read_count(arguments)?);
            }
            other => session.absorb(other).await?,
        }
    }
    Ok(counted.into_iter().flatten().collect())
}

fn read_count(arguments: &str) -> anyhow::Result<u64> {
    #[derive(Deserialize)]
    struct Reply {
        count: Option<u64>,
        error: Option<Refusal>,
    }
    #[derive(Deserialize)]
    struct Refusal {
        code: String,
    }
    let (reply,): (Reply,) = serde_json::from_str(arguments).context("an ack that is none of presence")?;
    match reply {
        Reply { count: Some(count), .. } => Ok(count),
        Reply { error: Some(Refusal { code }), .. } => bail!("presence refused: {code}"),
        _ => bail!("an ack of presence without a count"),
    }
}

#[cfg(test)]
mod tests {
    use super::read_count;

    #[test]
    fn reads_counts_and_refusals() -> anyhow::Result<()> {
        let answer = r#"[{"ok":true,"count":5000,"members":[{"member":"m1","user":"m1","since":1}],"next":"m1"}]"#;
        assert_eq!(read_count(answer)?, 5_000);
        let refused = read_count(r#"[{"ok":false,"error":{"code":"not_allowed","message":""}}]"#);
        assert!(refused.is_err_and(|error| error.to_string() == "presence refused: not_allowed"));
        for unreadable in ["[]", "[1]", r#"[{"ok":true}]"#, r#"[{"ok":true,"count":-1}]"#] {
            assert!(read_count(unreadable).is_err(), "{unreadable}");
        }
        Ok(())
    }
}

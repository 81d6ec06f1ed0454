//! Who publishes into all rooms while the others are away: on a node that stays.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::World;
use crate::latency::Latencies;
use crate::packet::{Packet, read_answer};
use crate::session::Session;
use crate::stamp::Stamp;

const JOIN_WITHIN: Duration = Duration::from_secs(60);
const BYTES: u32 = 100;

/// Joins all rooms; what it returns publishes at a rate until the scenario is over, and gives how many publishes were never answered.
pub(crate) async fn start(
    world: Rc<World>,
    client: u32,
    rooms: usize,
    rate: u32,
    latencies: Rc<RefCell<Latencies>>,
) -> anyhow::Result<impl Future<Output = u64>> {
    let mut session = world.dialer.dial_as(client, 0, &"40".into()).await?;
    timeout(JOIN_WITHIN, join_all(&world, &mut session, rooms))
        .await
        .context("the speaker's joins were not answered")??;
    Ok(speak(world, session, rooms, rate, latencies))
}

async fn join_all(world: &World, session: &mut Session, rooms: usize) -> anyhow::Result<()> {
    for room in 0..rooms {
        let request = json!(["join", { "room": world.room(room) }]);
        session.send(format!("42{room}{request}")).await?;
        loop {
            let frame = session.read().await?;
            match Packet::parse(&frame) {
                Packet::Ack { arguments, .. } => {
                    if let Err(code) = read_answer(arguments) {
                        bail!("the speaker's join was refused: {code}");
                    }
                    break;
                }
                other => session.absorb(other).await?,
            }
        }
    }
    Ok(())
}

async fn speak(
    world: Rc<World>,
    mut session: Session,
    rooms: usize,
    rate: u32,
    latencies: Rc<RefCell<Latencies>>,
) -> u64 {
    let mut tick = interval(Duration::from_secs(1) / rate);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut waiting = HashMap::new();
    let mut number = 0_u64;
    loop {
        if world.is_over.get() && waiting.is_empty() {
            return 0;
        }
        let turn = tokio::select! {
            _ = tick.tick(), if !world.is_over.get() => {
                let room = usize::try_from(number).unwrap_or_default() % rooms;
                let data = Stamp { sequence: number, sent_ns: 0 }.payload(BYTES);
                let request = json!(["publish", { "room": world.room(room), "data": data }]);
                waiting.insert(number, (room, Instant::now()));
                number += 1;
                session.send(format!("42{}{request}", number - 1)).await
            }
            frame = session.read() => match frame {
                Ok(frame) => {
                    let packet = Packet::parse(&frame);
                    if let Packet::Ack { id, arguments } = packet
                        && let Some((room, asked)) = waiting.remove(&id)
                    {
                        latencies.borrow_mut().record(asked.elapsed());
                        if let Ok(Some(offset)) = read_answer(arguments) {
                            world.acked.borrow_mut()[room].push(offset);
                        }
                    }
                    session.absorb(packet).await
                }
                Err(closed) => Err(closed),
            },
        };
        if let Err(closed) = turn {
            world.closed.borrow_mut().add(&closed);
            return waiting.len() as u64;
        }
    }
}

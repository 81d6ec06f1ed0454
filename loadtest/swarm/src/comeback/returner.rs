//! One member of one room, which comes back when its node is gone, as official clients do.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::json;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::World;
use crate::packet::{Packet, read_answer};
use crate::session::{Closed, Session};
use crate::stamp::{Delivery, last_argument};

const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const JOIN_ID: u64 = 0;

/// `reconnectionDelay` and `reconnectionDelayMax` of official clients, in milliseconds; their `randomizationFactor` is a half.
const DELAY_MS: u64 = 1_000;
const DELAY_MAX_MS: u64 = 5_000;
/// How often it tries before it counts as one that does not come back.
const TRIES: u32 = 20;

/// What a member heard in its room.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) room: usize,
    /// The log stood here when it joined.
    pub(crate) joined_at: u64,
    pub(crate) offsets: Rc<RefCell<Vec<u64>>>,
}

struct Returner {
    world: Rc<World>,
    client: u32,
    node: usize,
    session: Session,
    pid: Option<String>,
    /// Of the last event, as official clients keep it
    offset: String,
    heard: Rc<RefCell<Vec<u64>>>,
}

/// Connects to a node, joins a room, and leaves the member running.
pub(crate) async fn arrive(world: Rc<World>, client: u32, room: usize, node: usize) -> anyhow::Result<Heard> {
    let mut session = world.dialer.dial_as(client, node, &Utf8Bytes::from_static("40")).await?;
    let request = json!(["join", { "room": world.room(room) }]);
    session.send(format!("42{JOIN_ID}{request}")).await?;
    let pid = session.pid().map(str::to_owned);
    let mut member = Returner { world, client, node, session, pid, offset: String::new(), heard: Rc::default() };
    let heard = Rc::clone(&member.heard);
    let joined_at = timeout(ANSWER_WITHIN, member.joined()).await.context("the join was not answered")??;
    tokio::task::spawn_local(member.live());
    Ok(Heard { room, joined_at, offsets: heard })
}

impl Returner {
    async fn joined(&mut self) -> anyhow::Result<u64> {
        loop {
            let frame = self.session.read().await?;
            match Packet::parse(&frame) {
                Packet::Ack { id: JOIN_ID, arguments } => match read_answer(arguments) {
                    Ok(offset) => return offset.context("the join told no offset"),
                    Err(code) => bail!("join refused: {code}"),
                },
                _ => self.hear(&frame).await?,
            }
        }
    }

    async fn live(mut self) {
        loop {
            let heard = match self.session.read().await {
                Ok(frame) => self.hear(&frame).await,
                Err(closed) => Err(closed),
            };
            let Err(closed) = heard else { continue };
            if self.world.is_over.get() {
                return;
            }
            if self.node != self.world.dying {
                self.world.closed.borrow_mut().add(&closed);
            } else {
                self.world.lose();
            }
            let was_lost = self.node == self.world.dying;
            match self.come_back().await {
                Ok(()) if was_lost => {
                    let since = self.world.lost_at.get().map(|lost| lost.elapsed()).unwrap_or_default();
                    self.world.back.borrow_mut().push(since);
                }
                Ok(()) => {}
                Err(error) => return self.world.unrecovered.borrow_mut().add(format!("{error:#}")),
            }
        }
    }

    async fn come_back(&mut self) -> anyhow::Result<()> {
        let pid = self.pid.clone().context("the gateway told no pid")?;
        let auth = json!({ "pid": pid, "offset": self.offset });
        let packet = Utf8Bytes::from(format!("40{auth}"));
        for tries in 0..TRIES {
            sleep(pause(self.client, tries)).await;
            let nodes = self.world.dying;
            // A balancer has taken the dead one out by then.
            let node = (self.client + tries) as usize % nodes;
            match self.world.dialer.dial_once(self.client, node, &packet).await {
                Ok(session) => {
                    self.session = session;
                    self.node = node;
                    self.pid = self.session.pid().map(str::to_owned);
                    let is_recovered =
                        timeout(ANSWER_WITHIN, self.greeted()).await.context("not greeted in time")??;
                    ensure!(is_recovered, "not recovered");
                    return Ok(());
                }
                Err(error) if error.is_transient() => self.world.refused.borrow_mut().add(&error),
                Err(error) => return Err(error.into()),
            }
        }
        bail!("refused {TRIES} times")
    }

    /// The first event says whether the session is the one before.
    async fn greeted(&mut self) -> Result<bool, Closed> {
        loop {
            let frame = self.session.read().await?;
            if let Packet::Event(event) = Packet::parse(&frame)
                && event.starts_with(r#"["gateway:session","#)
            {
                let is_recovered = event.contains(r#""recovered":true"#);
                self.hear(&frame).await?;
                return Ok(is_recovered);
            }
            self.hear(&frame).await?;
        }
    }

    async fn hear(&mut self, frame: &str) -> Result<(), Closed> {
        let packet = Packet::parse(frame);
        if let Packet::Event(event) = packet {
            if let Some(offset) = last_argument(event) {
                offset.clone_into(&mut self.offset);
            }
            if let Some(delivery) = Delivery::scan(event) {
                self.heard.borrow_mut().push(delivery.offset);
            }
        }
        self.session.absorb(packet).await
    }
}

/// How long an official client waits before it tries for the `tries`th time: twice as long each time up to a limit, and half as
/// long to half as long again, here spread over the clients without randomness, so that two runs are alike.
fn pause(client: u32, tries: u32) -> Duration {
    let base = DELAY_MS.saturating_mul(1 << tries.min(10)).min(DELAY_MAX_MS);
    let spread = (u64::from(client) * 7_919 + u64::from(tries) * 104_729) % 1_000;
    Duration::from_millis((base / 2 + base * spread / 1_000).min(DELAY_MAX_MS))
}

#[cfg(test)]
mod tests {
    use super::pause;

    #[test]
    fn pauses_are_those_of_official_clients() {
        let all = |tries| (0..10_000).map(move |client| pause(client, tries).as_millis());
        for (tries, least, most) in [(0, 500, 1_499), (1, 1_000, 2_998), (2, 2_000, 5_000), (9, 2_500, 5_000)] {
            assert_eq!((all(tries).min(), all(tries).max()), (Some(least), Some(most)), "{tries}");
        }
    }
}

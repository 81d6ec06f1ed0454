//! One member: in two rooms, on one node, until it is told to go, or its node is gone.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::world::{Reaction, World, user};
use crate::packet::{Packet, read_answer};
use crate::session::{Closed, Session};
use crate::stamp::last_argument;

/// Behind thousands of others that ask the same.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What a member is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Leave its rooms, and stay connected
    Leave,
    /// Join its rooms again
    Join,
    /// Lose the connection and come back to the session, on another node, as soon as official clients do
    Flap,
    /// Lose the connection and stay away
    GoAway,
    /// Come anew, as somebody whose session is over
    ComeBack,
}

/// A deed, and where its end is told.
type Order = (Deed, oneshot::Sender<anyhow::Result<()>>);

/// The way to tell a member what to do.
#[derive(Debug, Clone)]
pub(crate) struct Orders(mpsc::Sender<Order>);

impl Orders {
    pub(crate) async fn give(self, deed: Deed) -> anyhow::Result<()> {
        let (done, end) = oneshot::channel();
        self.0.send((deed, done)).await.ok().context("the member is gone")?;
        end.await.context("the member is gone")?
    }
}

#[derive(Debug)]
struct Attendee {
    world: Rc<World>,
    client: u32,
    user: String,
    rooms: [usize; 2],
    node: usize,
    session: Option<Session>,
    /// Of the last event heard, as official clients keep it
    offset: String,
    pid: Option<String>,
    acks: u64,
}

/// Connects, joins its rooms, and leaves the member running.
pub(crate) async fn arrive(world: Rc<World>, client: u32, rooms: [usize; 2]) -> anyhow::Result<Orders> {
    let alive = world.alive();
    let node = alive[client as usize % alive.len()];
    let mut attendee = Attendee {
        world,
        client,
        user: user(client),
        rooms,
        node,
        session: None,
        offset: String::new(),
        pid: None,
        acks: 0,
    };
    attendee.come_anew().await?;
    let (orders, taken) = mpsc::channel(1);
    tokio::task::spawn_local(attendee.live(taken));
    Ok(Orders(orders))
}

impl Attendee {
    async fn live(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            let frame = async {
                match &mut self.session {
                    Some(session) => session.read().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                order = orders.recv() => {
                    let Some((deed, done)) = order else { return };
                    // Whoever gave the order may have given up.
                    let _ = done.send(self.obey(deed).await);
                }
                frame = frame => {
                    let heard = match frame {
                        Ok(frame) => self.hear(&frame).await,
                        Err(closed) => Err(closed),
                    };
                    if let Err(closed) = heard {
                        self.lost(&closed).await;
                    }
                }
            }
        }
    }

    async fn obey(&mut self, deed: Deed) -> anyhow::Result<()> {
        match deed {
            Deed::Leave => self.leave_rooms().await,
            Deed::Join => self.join_rooms().await,
            Deed::Flap => {
                self.drop_connection();
                self.return_elsewhere().await
            }
            Deed::GoAway => {
                self.rooms.iter().for_each(|&room| self.world.goes(&self.user, room));
                self.drop_connection();
                Ok(())
            }
            Deed::ComeBack => {
                self.node = self.world.next_alive(self.node);
                self.come_anew().await
            }
        }
    }

    /// The connection ended, and nobody told the member to end it.
    async fn lost(&mut self, closed: &Closed) {
        self.drop_connection();
        match self.world.reaction.get() {
            Reaction::Complain => self.world.closed.borrow_mut().add(closed),
            Reaction::Vanish => {}
            Reaction::Recover => match self.return_elsewhere().await {
                Ok(()) => self.world.recovered.set(self.world.recovered.get() + 1),
                Err(error) => self.world.unrecovered.borrow_mut().add(format!("{error:#}")),
            },
        }
    }

    fn drop_connection(&mut self) {
        self.session = None;
        self.world.place(self.client, None);
    }

    async fn come_anew(&mut self) -> anyhow::Result<()> {
        let packet = self.world.connect_packet(&self.user)?;
        self.connect(&packet).await?;
        self.join_rooms().await
    }

    async fn return_elsewhere(&mut self) -> anyhow::Result<()> {
        sleep(self.world.dialer.pause(self.client)).await;
        self.node = self.world.next_alive(self.node);
        let pid = self.pid.as_deref().context("the gateway told no pid")?;
        let packet = self.world.return_packet(&self.user, pid, &self.offset)?;
        let is_recovered = self.connect(&packet).await?;
        ensure!(is_recovered, "not recovered");
        Ok(())
    }

    /// Returns whether the session is the one before. The first event says it.
    async fn connect(&mut self, packet: &Utf8Bytes) -> anyhow::Result<bool> {
        let mut session = self.world.dialer.dial_as(self.client, self.node, packet).await?;
        self.pid = session.pid().map(str::to_owned);
        let greeting = async {
            loop {
                let frame = session.read().await?;
                match Packet::parse(&frame) {
                    Packet::Event(event) if event.starts_with(r#"["gateway:session","#) => {
                        break Ok::<_, Closed>(event.to_owned());
                    }
                    other => session.absorb(other).await?,
                }
            }
        };
        let event = timeout(ANSWER_WITHIN, greeting).await.context("not greeted in time")??;
        self.note_offset(&event);
        self.session = Some(session);
        self.world.place(self.client, Some(self.node));
        Ok(event.contains(r#""recovered":true"#))
    }

    async fn join_rooms(&mut self) -> anyhow::Result<()> {
        for room in self.rooms {
            self.ask("join", room).await?;
            self.world.came(&self.user, room);
        }
        Ok(())
    }

    async fn leave_rooms(&mut self) -> anyhow::Result<()> {
        for room in self.rooms {
            self.world.goes(&self.user, room);
            self.ask("leave", room).await?;
        }
        Ok(())
    }

    /// Returns when the ack is there; meanwhile it hears whatever comes.
    async fn ask(&mut self, event: &str, room: usize) -> anyhow::Result<()> {
        self.acks += 1;
        let asked = self.acks;
        let request = json!([event, { "room": self.world.census.rooms()[room] }]);
        self.session()?.send(format!("42{asked}{request}")).await?;
        let answer = async {
            loop {
                let frame = self.session()?.read().await?;
                match Packet::parse(&frame) {
                    Packet::Ack { id, arguments } if id == asked => return anyhow::Ok(read_answer(arguments)),
                    _ => self.hear(&frame).await?,
                }
            }
        };
        match timeout(ANSWER_WITHIN, answer).await {
            Ok(Ok(Ok(_offset))) => Ok(()),
            Ok(Ok(Err(code))) => bail!("{event} refused: {code}"),
            Ok(Err(error)) => Err(error),
            Err(_) => bail!("{event} not answered in time"),
        }
    }

    async fn hear(&mut self, frame: &str) -> Result<(), Closed> {
        let packet = Packet::parse(frame);
        if let Packet::Event(event) = packet {
            self.note_offset(event);
        }
        match &mut self.session {
            Some(session) => session.absorb(packet).await,
            None => Ok(()),
        }
    }

    fn note_offset(&mut self, event: &str) {
        if let Some(offset) = last_argument(event) {
            offset.clone_into(&mut self.offset);
        }
    }

    fn session(&mut self) -> anyhow::Result<&mut Session> {
        self.session.as_mut().context("not connected")
    }
}

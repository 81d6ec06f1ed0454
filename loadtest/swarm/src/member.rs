//! One member of a room: hears everything and reports it to the audit, publishes when told to.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::audit::{Ear, SharedAudit};
use crate::dial::Dialer;
use crate::entry::{EntryError, enter};
use crate::packet::{Packet, read_answer};
use crate::session::{Closed, Session};
use crate::stamp::{Delivery, Stamp};

/// Publishes waiting for one member to write them. More than a few means that the connection is
/// blocked, and then the flood must not wait for it.
const ORDERS: usize = 16;

pub(crate) const JOIN_DEADLINE: Duration = Duration::from_secs(10);

/// What the members of one room have in common.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) index: usize,
    pub(crate) name: String,
    /// Length of a published payload
    pub(crate) bytes: u32,
    pub(crate) audit: SharedAudit,
}

/// Connects, joins, and leaves the member running; what is sent to the result, it publishes.
pub(crate) async fn settle_in(dialer: Rc<Dialer>, client: u32, room: Rc<Room>) -> Result<Sender<u64>, EntryError> {
    let session = enter(&dialer, client, &room.name, JOIN_DEADLINE).await?.session;
    let (orders, taken) = channel(ORDERS);
    let ear = Ear::new(room.index);
    let member = Member { session, room, ear };
    tokio::task::spawn_local(member.live(taken));
    Ok(orders)
}

#[derive(Debug)]
struct Member {
    session: Session,
    room: Rc<Room>,
    ear: Ear,
}

impl Member {
    async fn live(mut self, mut orders: Receiver<u64>) {
        let closed = loop {
            let turn = tokio::select! {
                biased;
                Some(sequence) = orders.recv() => self.publish(sequence).await,
                frame = self.session.read() => match frame {
                    Ok(frame) => self.hear(&frame).await,
                    Err(closed) => Err(closed),
                },
            };
            if let Err(closed) = turn {
                break closed;
            }
        };
        self.room.audit.borrow_mut().close(closed);
    }

    async fn publish(&mut self, sequence: u64) -> Result<(), Closed> {
        let sent_ns = self.room.audit.borrow_mut().send(sequence);
        let payload = Stamp { sequence, sent_ns }.payload(self.room.bytes);
        let name = &self.room.name;
        let packet = format!(r#"42{sequence}["publish",{{"room":"{name}","data":"{payload}"}}]"#);
        self.session.send(packet).await
    }

    async fn hear(&mut self, frame: &str) -> Result<(), Closed> {
        match Packet::parse(frame) {
            Packet::Event(event) if Delivery::is_message(event) => {
                let mut audit = self.room.audit.borrow_mut();
                match Delivery::scan(event) {
                    Some(delivery) => audit.hear(&mut self.ear, delivery),
                    None => audit.hear_unreadable(),
                }
                Ok(())
            }
            Packet::Ack { id, arguments } => {
                let answer = read_answer(arguments);
                self.room.audit.borrow_mut().answer(id, answer);
                Ok(())
            }
            other => self.session.absorb(other).await,
        }
    }
}

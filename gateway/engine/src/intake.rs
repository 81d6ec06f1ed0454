//! The intake: what a client's messages are, on whichever transport they came.

use std::sync::Arc;

use crate::budget::Charge;
use crate::connection::{Connection, Inner};
use crate::handler::{Admission, End};
use crate::inbound::{Assembler, Bounds, Packet, PacketError};

/// What is being put together of a connection's messages.
#[derive(Default)]
pub(crate) struct Inbox {
    assembler: Assembler,
    charge: Option<Charge>,
}

impl Inner {
    fn bounds(&self) -> Bounds {
        Bounds { attachments: self.shared.settings.attachments, bytes: self.shared.settings.message_bytes }
    }

    /// Takes a text message of the transport: an Engine.IO packet. False if nothing more is wanted.
    pub(crate) fn text(self: &Arc<Self>, text: &str) -> bool {
        let Some((kind, rest)) = text.split_at_checked(1) else { return self.misbehaved() };
        self.heard(kind == "3");
        match kind {
            "4" => self.message(|assembler, bounds| assembler.text(rest, bounds)),
            // 5 and 6 come late, from an upgrade that is over.
            "3" | "5" | "6" => true,
            "1" => {
                self.end_now(End::Closed);
                false
            }
            _ => self.misbehaved(),
        }
    }

    /// Takes bytes of the transport. False if nothing more is wanted.
    pub(crate) fn bytes(self: &Arc<Self>, bytes: &[u8]) -> bool {
        self.heard(false);
        self.message(|assembler, bounds| assembler.bytes(bytes, bounds))
    }

    fn message(
        self: &Arc<Self>,
        read: impl FnOnce(&mut Assembler, Bounds) -> Result<Option<Packet>, PacketError>,
    ) -> bool {
        let mut inbox = self.inbox.lock();
        let packet = read(&mut inbox.assembler, self.bounds());
        let held = inbox.assembler.held();
        if held == 0 {
            inbox.charge = None;
        } else if let Some(charge) = &mut inbox.charge {
            if !charge.change_to(held) {
                drop(inbox);
                return self.misbehaved();
            }
        } else {
            inbox.charge = self.shared.budget.charge(held);
            if inbox.charge.is_none() {
                drop(inbox);
                return self.misbehaved();
            }
        }
        let parser = inbox.assembler.parser();
        drop(inbox);
        match packet {
            Ok(None) => true,
            Ok(Some(Packet::Ack { namespace, answer })) => {
                let session = self.seats.lock().find(&namespace);
                // Without a number it answers nothing; nor does one that comes after the session's end.
                if let Some(session) = session.filter(|_| answer.ack.is_some()) {
                    session.answer(answer);
                }
                true
            }
            Ok(Some(Packet::Connect { namespace, auth })) => {
                self.out.lock().parser = parser;
                self.wants_in(&namespace, auth)
            }
            Ok(Some(Packet::Disconnect { namespace })) => {
                self.leaves(&namespace);
                true
            }
            Ok(Some(Packet::Event { namespace, event })) => {
                let (session, is_new) = {
                    let seats = self.seats.lock();
                    (seats.find(&namespace), seats.is_new())
                };
                match session {
                    Some(session) => session.event(event),
                    None if is_new => return self.misbehaved(),
                    // What comes after a session's end was on its way.
                    None => {}
                }
                true
            }
            Err(error) => {
                tracing::debug!(%error, "a client broke the protocol");
                self.misbehaved()
            }
        }
    }

    /// The client broke the protocol: nothing after it means anything.
    pub(crate) fn misbehaved(self: &Arc<Self>) -> bool {
        self.end_now(End::BadPacket);
        false
    }

    fn wants_in(self: &Arc<Self>, namespace: &str, auth: Option<String>) -> bool {
        let asked = self.seats.lock().ask(namespace);
        // Twice into the same namespace: no client does, and each asking is work.
        let Some((namespace, number)) = asked else { return self.misbehaved() };
        let connection = Connection(self.clone());
        self.guest.clone().connect(Admission { connection, namespace, auth, number, settled: false });
        true
    }

    fn leaves(self: &Arc<Self>, namespace: &str) {
        if let Some(session) = self.vacate(namespace).flatten() {
            session.over(&End::Left);
        }
    }
}

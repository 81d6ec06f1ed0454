//! The outbox of a connection: the way to the client, and the packets that wait for it.
//!
//! Whoever sends writes into the socket, as long as nothing waits there: no wake-up, no task switch, no copy. What the
//! socket does not take waits, shared with all who wait for the same packet, and is written when the socket can.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

use socket2::SockRef;
use tokio::net::tcp::OwnedWriteHalf;

use crate::budget::{Budget, Charge};
use crate::inbound::Parser;
use crate::packet::Packet;
use crate::payload::Payload;
use crate::settings::Settings;

/// Packets that are written with one call at the most.
const AT_A_TIME: usize = 32;

/// Why a packet does not go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// As much waits for the client as may.
    #[error("the client has too much waiting for it")]
    Full,
    /// The connection is over.
    #[error("the connection is over")]
    Gone,
}

/// What waits for a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Packets.
    pub packets: usize,
    /// Their bytes, each as if nobody else waited for it.
    pub bytes: usize,
}

/// How packets reach the client.
#[derive(Debug)]
pub(crate) enum Way {
    Polling(Poll),
    Websocket(OwnedWriteHalf),
}

/// Of a connection that polls.
#[derive(Debug, Default)]
pub(crate) struct Poll {
    /// A request waits for packets.
    pub(crate) pending: bool,
    /// A websocket is trying to take over.
    pub(crate) upgrading: bool,
    /// It has shown that it works: the client waits for its last poll to be answered.
    pub(crate) probed: bool,
}

/// How far a connection's end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// Nothing is read any more; what is sent is still written.
    Closing,
    Closed,
}

/// What became of a packet that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Written,
    /// It waits for the websocket to take more.
    Waits,
    /// It waits for a poll.
    Queued,
}

#[derive(Debug)]
struct Entry {
    packet: Arc<Packet>,
    /// How much of it is out: bytes of a websocket, parts of polls.
    done: usize,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) way: Way,
    pub(crate) phase: Phase,
    pub(crate) parser: Parser,
    waiting: VecDeque<Entry>,
    bytes: usize,
    /// Bytes that went out, since they were last counted.
    pub(crate) written: u64,
    /// The answer to the last websocket ping that could not be answered yet.
    pong: Option<Arc<Packet>>,
    /// For the memory of the queue itself; that of packets is counted once for all who wait for them.
    charge: Option<Charge>,
}

impl Outbox {
    pub(crate) fn new(way: Way) -> Self {
        let (waiting, pong, charge) = (VecDeque::new(), None, None);
        Self { way, phase: Phase::Open, parser: Parser::default(), waiting, bytes: 0, written: 0, pong, charge }
    }

    pub(crate) fn waiting(&self) -> Waiting {
        Waiting { packets: self.waiting.len(), bytes: self.bytes }
    }

    /// Writes a packet, or has it wait.
    pub(crate) fn send(
        &mut self,
        packet: &Arc<Packet>,
        settings: &Settings,
        budget: &Arc<Budget>,
    ) -> Result<Sent, SendError> {
        if self.phase == Phase::Closed {
            return Err(SendError::Gone);
        }
        let mut done = 0;
        if let Way::Websocket(stream) = &self.way
            && self.waiting.is_empty()
            && settings.write_delay.is_zero()
        {
            let bytes = packet.frames(self.parser);
            match stream.try_write(bytes) {
                Ok(written) => {
                    self.written += written as u64;
                    if written == bytes.len() {
                        return Ok(Sent::Written);
                    }
                    done = written;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(SendError::Gone),
            }
        }
        self.push(packet, done, settings, budget)?;
        Ok(if matches!(self.way, Way::Polling(_)) { Sent::Queued } else { Sent::Waits })
    }

    fn push(
        &mut self,
        packet: &Arc<Packet>,
        done: usize,
        settings: &Settings,
        budget: &Arc<Budget>,
    ) -> Result<(), SendError> {
        let bytes = self.bytes + packet.size();
        let is_full = self.waiting.len() >= settings.waiting_packets || bytes > settings.waiting_bytes;
        if is_full && !self.waiting.is_empty() {
            return Err(SendError::Full);
        }
        let capacity = self.waiting.capacity();
        self.waiting.push_back(Entry { packet: packet.clone(), done });
        let grew = self.waiting.capacity() != capacity;
        let is_granted = packet.charge(budget) && (!grew || self.charge_queue(budget));
        // What is partly written cannot be taken back: its rest waits, whatever others hold.
        if !is_granted && done == 0 && !packet.is_own() {
            self.waiting.pop_back();
            return Err(SendError::Full);
        }
        self.bytes = bytes;
        Ok(())
    }

    fn charge_queue(&mut self, budget: &Arc<Budget>) -> bool {
        let bytes = self.waiting.capacity() * size_of::<Entry>();
        match &mut self.charge {
            Some(charge) => charge.change_to(bytes),
            None => {
                self.charge = budget.charge(bytes);
                self.charge.is_some()
            }
        }
    }

    /// Answers a websocket ping. Only the last of those that wait is answered, as RFC 6455 allows.
    pub(crate) fn pong(
        &mut self,
        pong: Arc<Packet>,
        settings: &Settings,
        budget: &Arc<Budget>,
    ) -> Result<Sent, SendError> {
        if self.waiting.is_empty() {
            return self.send(&pong, settings, budget);
        }
        self.pong = Some(pong);
        Ok(Sent::Waits)
    }

    /// Writes what waits for a websocket; false if the socket takes no more now.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        let Way::Websocket(stream) = &self.way else { return Ok(true) };
        loop {
            if self.waiting.is_empty() {
                let Some(pong) = self.pong.take() else { break };
                self.bytes += pong.size();
                self.waiting.push_back(Entry { packet: pong, done: 0 });
            }
            let mut slices = [IoSlice::new(&[]); AT_A_TIME];
            let mut count = 0;
            for (slice, entry) in slices.iter_mut().zip(&self.waiting) {
                *slice = IoSlice::new(&entry.packet.frames(self.parser)[entry.done..]);
                count += 1;
            }
            match stream.try_write_vectored(&slices[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.written += written as u64;
                    advance(&mut self.waiting, &mut self.bytes, self.parser, written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.rest();
        Ok(true)
    }

    /// A burst must not stay in the memory of an idle connection.
    fn rest(&mut self) {
        self.waiting = VecDeque::new();
        self.charge = None;
    }

    /// Takes what waits for a poll, as much as one answer may have.
    pub(crate) fn take_payload(&mut self) -> Payload {
        let mut payload = Payload::default();
        while let Some(entry) = self.waiting.front_mut() {
            let parts = entry.packet.parts(self.parser);
            while entry.done < parts && payload.has_room() {
                payload.push(entry.packet.part(self.parser, entry.done));
                entry.done += 1;
            }
            if entry.done < parts {
                return payload;
            }
            self.bytes -= entry.packet.size();
            self.waiting.pop_front();
        }
        self.rest();
        payload
    }

    /// Goes on over a websocket. Of a packet that polls had in part, the rest follows.
    pub(crate) fn upgrade(&mut self, stream: OwnedWriteHalf) {
        self.way = Way::Websocket(stream);
        if let Some(first) = self.waiting.front_mut() {
            first.done = first.packet.start_of_part(self.parser, first.done);
        }
    }

    /// Ends the stream, in our direction or in both.
    pub(crate) fn shut(&self, how: std::net::Shutdown) {
        if let Way::Websocket(stream) = &self.way {
            // It may be over already.
            SockRef::from(stream.as_ref()).shutdown(how).ok();
        }
    }

    /// Forgets what waits: nobody will take it.
    pub(crate) fn close(&mut self) {
        self.phase = Phase::Closed;
        self.bytes = 0;
        self.pong = None;
        self.rest();
    }
}

/// Takes out what was written.
fn advance(waiting: &mut VecDeque<Entry>, bytes: &mut usize, parser: Parser, mut written: usize) {
    while let Some(first) = waiting.front_mut() {
        let left = first.packet.frames(parser).len() - first.done;
        if written < left {
            first.done += written;
            return;
        }
        written -= left;
        *bytes -= first.packet.size();
        waiting.pop_front();
    }
}

#[cfg(test)]
mod tests;

//! A member that reads in bulk: now and then all that has come, counting frames without looking into them.
//!
//! It costs the machine next to nothing, so that what a server can do is limited by the server.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};

use crate::packet::PONG;
use crate::session::{Closed, Session};

/// Engine.IO packets of one byte are pings, as far as a member hears any.
const PING_BYTES: u64 = 1;

#[derive(Debug)]
pub(crate) struct BulkReader {
    stream: TcpStream,
    frames: FrameCounter,
}

impl BulkReader {
    /// Takes over a session whose server is silent just now: what is half read would be lost. The socket leaves the
    /// event loop, or every frame would wake it up.
    pub(crate) fn new(session: Session, delivery_bytes: u32) -> io::Result<Self> {
        let stream = session.into_stream().into_std()?;
        Ok(Self { stream, frames: FrameCounter::new(delivery_bytes) })
    }

    /// Reads all there is and answers pings; returns the deliveries among it.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<u64, Closed> {
        let mut deliveries = 0;
        loop {
            let length = match self.stream.read(buffer) {
                Ok(0) => return Err(Closed::by("end of stream")),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(deliveries),
                Err(error) => return Err(Closed::by(&error.kind().to_string())),
            };
            let counted = self.frames.count(&buffer[..length]);
            deliveries += counted.deliveries;
            for _ in 0..counted.pings {
                self.pong().map_err(|error| Closed::by(&error.kind().to_string()))?;
            }
        }
    }

    fn pong(&mut self) -> io::Result<()> {
        let mut frame = Frame::message(PONG, OpCode::Data(Data::Text), true);
        frame.header_mut().mask = Some([0; 4]);
        let mut bytes = Vec::new();
        frame.format(&mut bytes).map_err(io::Error::other)?;
        self.stream.write_all(&bytes)
    }
}

/// What a stretch of bytes holds.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counted {
    deliveries: u64,
    pings: u64,
}

/// Walks from header to header.
#[derive(Debug)]
struct FrameCounter {
    /// Shorter frames are no deliveries
    delivery_bytes: u64,
    /// Payload that is still to come and is not looked at
    skip: u64,
    /// A header that is not whole yet
    header: Vec<u8>,
}

impl FrameCounter {
    fn new(delivery_bytes: u32) -> Self {
        Self { delivery_bytes: delivery_bytes.into(), skip: 0, header: Vec::new() }
    }

    fn count(&mut self, mut bytes: &[u8]) -> Counted {
        let mut counted = Counted::default();
        loop {
            let skipped = usize::try_from(self.skip).map_or(bytes.len(), |skip| skip.min(bytes.len()));
            self.skip -= skipped as u64;
            bytes = &bytes[skipped..];
            let Some((first, rest)) = bytes.split_first() else { return counted };
            self.header.push(*first);
            bytes = rest;
            if let Ok(Some((_, length))) = FrameHeader::parse(&mut io::Cursor::new(&self.header[..])) {
                self.header.clear();
                self.skip = length;
                counted.deliveries += u64::from(length >= self.delivery_bytes);
                counted.pings += u64::from(length == PING_BYTES);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Counted, FrameCounter};

    #[test]
    fn counts_frames_however_they_are_cut() {
        let long = [&[0x81, 126, 0, 200][..], &[b'x'; 200]].concat();
        let stream = [&long[..], &[0x81, 1, b'2'], &long, &[0x81, 2, b'4', b'0']].concat();
        for piece in 1..=stream.len() {
            let mut counter = FrameCounter::new(100);
            let mut sum = Counted::default();
            for bytes in stream.chunks(piece) {
                let counted = counter.count(bytes);
                sum.deliveries += counted.deliveries;
                sum.pings += counted.pings;
            }
            assert_eq!(sum, Counted { deliveries: 2, pings: 1 }, "in pieces of {piece}");
        }
    }
}

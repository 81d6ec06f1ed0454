//! The floor under every gateway: one `send()` for each delivery of `swarm rooms`, and nothing else.
//!
//! It speaks just enough of the native profile for `swarm` to audit it like a gateway, and delivers the same bytes.
//! It has no heartbeats, no limits, no memory of anything: what a gateway costs beyond this is the gateway's.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const LISTENER: Token = Token(usize::MAX);
const OPEN: &str = r#"0{"sid":"floor","upgrades":[],"pingInterval":300000,"pingTimeout":200000,"maxPayload":1000000}"#;
const CONNECT: &str = r#"40{"sid":"floor"}"#;
const TEXT: u8 = 0x81;
/// Lengths of a websocket frame that mean "the length follows in 2 bytes" and "in 8".
const IN_2_BYTES: u8 = 126;
const IN_8_BYTES: u8 = 127;

struct Client {
    stream: TcpStream,
    /// What came and is not yet a whole request or frame
    unread: Vec<u8>,
    is_websocket: bool,
}

#[derive(Default)]
struct Floor {
    clients: Vec<Option<Client>>,
    rooms: HashMap<String, Vec<usize>>,
    last_offset: u64,
}

fn main() -> io::Result<()> {
    rlimit::increase_nofile_limit(u64::MAX)?;
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    println!(r#"{{"address":"{}"}}"#, listener.local_addr()?);
    let mut floor = Floor::default();
    let mut events = Events::with_capacity(512);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            match event.token() {
                LISTENER => floor.accept(&listener, &poll)?,
                Token(client) => floor.hear(client),
            }
        }
    }
}

impl Floor {
    fn accept(&mut self, listener: &TcpListener, poll: &Poll) -> io::Result<()> {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            poll.registry().register(&mut stream, Token(self.clients.len()), Interest::READABLE)?;
            self.clients.push(Some(Client { stream, unread: Vec::new(), is_websocket: false }));
        }
    }

    fn hear(&mut self, index: usize) {
        let Some(client) = &mut self.clients[index] else { return };
        if client.read().is_err() {
            self.clients[index] = None;
            return;
        }
        if !client.is_websocket && !client.shake_hands() {
            return;
        }
        while let Some(text) = self.clients[index].as_mut().and_then(|client| take_frame(&mut client.unread)) {
            self.obey(index, &text);
        }
    }

    fn obey(&mut self, index: usize, packet: &str) {
        if packet == "40" {
            return self.send(index, &frame(CONNECT));
        }
        let Some((id, event)) = packet.strip_prefix("42").and_then(|rest| Some(rest.split_at(rest.find('[')?))) else {
            return;
        };
        if let Some(room) = event.strip_prefix(r#"["join",{"room":""#).and_then(|rest| rest.strip_suffix(r#""}]"#)) {
            self.rooms.entry(room.to_owned()).or_default().push(index);
            let offset = self.last_offset;
            self.send(index, &frame(&format!(r#"43{id}[{{"ok":true,"room":"{room}","offset":"{offset}"}}]"#)));
        } else if let Some((room, data)) = published(event) {
            let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            // As long as a gateway's, which counts microseconds.
            let offset = (self.last_offset + 1).max(u64::try_from(at.as_micros()).unwrap_or_default());
            self.last_offset = offset;
            let at = at.as_millis();
            let message = frame(&format!(
                r#"42["message",{{"room":"{room}","user":null,"data":"{data}","at":{at}}},"{offset}"]"#
            ));
            for &member in self.rooms.get(room).into_iter().flatten() {
                self.send(member, &message);
            }
            self.send(index, &frame(&format!(r#"43{id}[{{"ok":true,"offset":"{offset}"}}]"#)));
        }
    }

    /// What does not fit is lost, and the auditor of `swarm` tells.
    fn send(&self, index: usize, frame: &[u8]) {
        if let Some(client) = &self.clients[index] {
            let _ = (&client.stream).write(frame);
        }
    }
}

impl Client {
    /// All that there is; an error when there will be no more.
    fn read(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.unread.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether it is a websocket now.
    fn shake_hands(&mut self) -> bool {
        let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
        let head: Vec<u8> = self.unread.drain(..end + 4).collect();
        let head = String::from_utf8_lossy(&head);
        let key = head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find_map(|(name, value)| name.eq_ignore_ascii_case("sec-websocket-key").then_some(value));
        let Some(key) = key else { return false };
        let accept = derive_accept_key(key.as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        self.is_websocket = true;
        self.stream.write_all(answer.as_bytes()).and_then(|()| self.stream.write_all(&frame(OPEN))).is_ok()
    }
}

/// Room and data of a publish as `swarm` writes it.
fn published(event: &str) -> Option<(&str, &str)> {
    event.strip_prefix(r#"["publish",{"room":""#)?.strip_suffix(r#""}]"#)?.split_once(r#"","data":""#)
}

/// A text frame from the server.
fn frame(text: &str) -> Vec<u8> {
    let length = text.len();
    let mut frame = match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < IN_2_BYTES => vec![TEXT, short],
        (_, Ok(length)) => [&[TEXT, IN_2_BYTES], &length.to_be_bytes()[..]].concat(),
        _ => [&[TEXT, IN_8_BYTES], &(length as u64).to_be_bytes()[..]].concat(),
    };
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// Takes one masked frame off the front, if there is a whole one. `swarm` sends none that are longer than 64 KiB.
fn take_frame(unread: &mut Vec<u8>) -> Option<String> {
    let (&[_, second], rest) = unread.split_first_chunk()?;
    let (length, rest) = match second & 0x7f {
        IN_2_BYTES => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        short => (usize::from(short), rest),
    };
    let (mask, rest) = rest.split_first_chunk::<4>()?;
    let masked = rest.get(..length)?;
    let text: Vec<u8> = masked.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    let left = rest.len() - length;
    unread.drain(..unread.len() - left);
    Some(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::{frame, published, take_frame};

    #[test]
    fn frames_say_how_long_they_are() {
        assert_eq!(frame("2"), [0x81, 1, b'2']);
        assert_eq!(frame(&"x".repeat(126))[..4], [0x81, 126, 0, 126]);
        assert_eq!(frame(&"x".repeat(65_536))[..10], [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn takes_whole_frames_only() {
        let long = "y".repeat(200);
        let mut sent = vec![0x81, 0x82, 1, 2, 3, 4, b'4' ^ 1, b'0' ^ 2];
        sent.extend([0x81, 0xfe, 0, 200, 0, 0, 0, 0]);
        sent.extend(long.bytes());
        let mut unread = sent[..5].to_vec();
        assert_eq!(take_frame(&mut unread), None);
        unread.extend(&sent[5..sent.len() - 1]);
        assert_eq!(take_frame(&mut unread).as_deref(), Some("40"));
        assert_eq!(take_frame(&mut unread), None);
        unread.push(b'y');
        assert_eq!(take_frame(&mut unread), Some(long));
        assert_eq!(unread, []);
    }

    #[test]
    fn reads_a_publish() {
        assert_eq!(published(r#"["publish",{"room":"r-1","data":"swarm|1"}]"#), Some(("r-1", "swarm|1")));
        assert_eq!(published(r#"["join",{"room":"r-1"}]"#), None);
    }
}

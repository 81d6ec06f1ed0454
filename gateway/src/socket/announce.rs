//! The announcement: puts `pid` into the CONNECT reply on its way out, which socketioxide cannot.
//!
//! Official clients come back to their session by themselves if the reply carries a `pid` beside its `sid`. The reply
//! is found by its exact bytes. They contain the connection's Engine.IO id, which is random and which nothing before
//! the reply contains in this form.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use socketioxide::socket::Sid;

use crate::domain::Pid;

/// The first byte of a websocket frame that is a whole text message.
const TEXT_FRAME: u8 = 0x81;

/// What is to be announced on one connection, once.
#[derive(Debug)]
pub(super) struct Announcement {
    sid: Sid,
    /// As it stands in packets: nothing for `/`.
    namespace: String,
    pid: Pid,
    made: AtomicBool,
}

impl Announcement {
    pub(super) fn new(sid: Sid, namespace: &str, pid: Pid) -> Self {
        let namespace = if namespace == "/" { String::new() } else { format!("{namespace},") };
        Self { sid, namespace, pid, made: AtomicBool::new(false) }
    }

    /// Whether it was made.
    pub(super) fn made(&self) -> bool {
        self.made.load(Ordering::Acquire)
    }

    /// Notes that it was made.
    pub(super) fn note_made(&self) {
        self.made.store(true, Ordering::Release);
    }

    fn reply(&self) -> String {
        format!("40{}{{\"sid\":\"{}\"}}", self.namespace, self.sid)
    }

    fn reply_with_pid(&self) -> String {
        format!("40{}{{\"sid\":\"{}\",\"pid\":\"{}\"}}", self.namespace, self.sid, self.pid)
    }

    /// Where the reply stands in what is written to a websocket, how long it is there, and what stands there instead.
    pub(super) fn in_stream(&self, bytes: &[u8]) -> Option<(usize, usize, Vec<u8>)> {
        let reply = frame(&self.reply());
        let place = memchr::memmem::find(bytes, &reply)?;
        Some((place, reply.len(), frame(&self.reply_with_pid())))
    }

    /// The body of a poll with the reply in it, if it has one, changed.
    pub(super) fn in_body(&self, body: &Bytes) -> Option<Bytes> {
        let reply = self.reply();
        let place = memchr::memmem::find(body, reply.as_bytes())?;
        self.note_made();
        let (before, after) = (&body[..place], &body[place + reply.len()..]);
        Some([before, self.reply_with_pid().as_bytes(), after].concat().into())
    }
}

/// A text of at most 64 KiB as a server's websocket frame (RFC 6455, section 5.2).
fn frame(text: &str) -> Vec<u8> {
    match u8::try_from(text.len()) {
        Ok(length @ ..126) => [&[TEXT_FRAME, length], text.as_bytes()].concat(),
        _ => {
            let [high, low] = u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes();
            [&[TEXT_FRAME, 126, high, low], text.as_bytes()].concat()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reply_is_found_among_other_frames_and_nowhere_else() {
        let (sid, pid) = (Sid::new(), Pid::random());
        let announcement = Announcement::new(sid, "/", pid);
        let open = frame(&format!("0{{\"sid\":\"{sid}\"}}"));
        assert!(announcement.in_stream(&open).is_none());
        let bytes = [open.clone(), frame(&format!("40{{\"sid\":\"{sid}\"}}")), frame("42[\"x\"]")].concat();
        let (place, length, instead) = announcement.in_stream(&bytes).unwrap();
        assert_eq!(place, open.len());
        assert_eq!(&bytes[place + length..], frame("42[\"x\"]"));
        assert_eq!(instead, frame(&format!("40{{\"sid\":\"{sid}\",\"pid\":\"{pid}\"}}")));
    }

    #[test]
    fn every_namespace_has_its_own_reply_however_long_its_name() {
        let (sid, pid) = (Sid::new(), Pid::random());
        for name in ["/n".to_owned(), format!("/{}", "n".repeat(100))] {
            let reply = frame(&format!("40{name},{{\"sid\":\"{sid}\"}}"));
            assert!(Announcement::new(sid, "/", pid).in_stream(&reply).is_none());
            let (place, length, instead) = Announcement::new(sid, &name, pid).in_stream(&reply).unwrap();
            assert_eq!((place, length), (0, reply.len()));
            assert_eq!(instead, frame(&format!("40{name},{{\"sid\":\"{sid}\",\"pid\":\"{pid}\"}}")));
        }
    }

    #[test]
    fn a_poll_gets_it_between_its_other_packets() {
        let (sid, pid) = (Sid::new(), Pid::random());
        let announcement = Announcement::new(sid, "/", pid);
        let body = Bytes::from(format!("2\u{1e}40{{\"sid\":\"{sid}\"}}\u{1e}42[\"x\"]"));
        let expected = format!("2\u{1e}40{{\"sid\":\"{sid}\",\"pid\":\"{pid}\"}}\u{1e}42[\"x\"]");
        assert_eq!(announcement.in_body(&body).unwrap(), expected);
        assert_eq!(announcement.in_body(&Bytes::from_static(b"2")), None);
    }
}

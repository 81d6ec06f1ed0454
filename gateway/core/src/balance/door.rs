//! The door: whom a node lets in that has more than its share, while others have room. Nobody is refused for long.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// How often in a row an address is sent on. Then its client is let in: it may come here alone, whatever it does.
pub(super) const SENT_ON: u8 = 3;
/// Addresses that are remembered; any further one is let in.
const REMEMBERED: usize = 20_000;
const OPEN: usize = usize::MAX;

/// Whether somebody is let in although the node has its share.
#[derive(Debug)]
pub struct Door {
    /// With so many connections clients are sent on.
    full_at: AtomicUsize,
    /// How often in a row each address was.
    sent_on: Mutex<HashMap<IpAddr, u8>>,
}

impl Default for Door {
    fn default() -> Self {
        Self { full_at: AtomicUsize::new(OPEN), sent_on: Mutex::default() }
    }
}

impl Door {
    /// Whether a client of an address is let in by a node with so many connections.
    pub fn lets_in(&self, address: IpAddr, connections: usize) -> bool {
        // While nobody is sent on, this is all that a handshake costs.
        if connections < self.full_at.load(Ordering::Acquire) {
            return true;
        }
        let mut sent_on = self.sent_on.lock();
        if sent_on.len() >= REMEMBERED && !sent_on.contains_key(&address) {
            return true;
        }
        let times = sent_on.entry(address).or_default();
        if *times >= SENT_ON {
            sent_on.remove(&address);
            return true;
        }
        *times += 1;
        false
    }

    /// Has clients sent on from so many connections on; with nothing, nobody.
    pub(super) fn fill(&self, full_at: Option<u32>) {
        self.full_at.store(full_at.map_or(OPEN, |at| at as usize), Ordering::Release);
        if full_at.is_none() {
            self.sent_on.lock().clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000 + last).to_be_bytes())
    }

    #[test]
    fn a_door_that_nobody_filled_lets_everybody_in() {
        let door = Door::default();
        assert!(door.lets_in(address(1), usize::MAX - 1));
        door.fill(Some(10));
        assert!(door.lets_in(address(1), 9), "there is room");
        assert!(!door.lets_in(address(1), 10));
        door.fill(None);
        assert!(door.lets_in(address(1), 10));
    }

    #[test]
    fn nobody_is_sent_on_for_ever() {
        let door = Door::default();
        door.fill(Some(10));
        let let_in: Vec<_> = (0..8).map(|_| door.lets_in(address(1), 10)).collect();
        assert_eq!(let_in, [false, false, false, true, false, false, false, true]);
        assert!(!door.lets_in(address(2), 10), "another one has not been sent on yet");
        door.fill(None);
        door.fill(Some(10));
        assert!(!door.lets_in(address(1), 10), "what was before is forgotten");
    }

    #[test]
    fn with_too_many_addresses_to_remember_the_door_is_open() {
        let door = Door::default();
        door.fill(Some(0));
        let remembered = u32::try_from(REMEMBERED).unwrap();
        assert!((0..remembered).all(|last| !door.lets_in(address(last), 10)));
        assert!(door.lets_in(address(remembered), 10));
        assert!(!door.lets_in(address(0), 10), "who is remembered is sent on");
    }
}

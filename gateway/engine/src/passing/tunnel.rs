//! Tunnels: websockets whose connections other servers have. Their bytes go both ways as they come.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::task::coop::consume_budget;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Place;
use crate::http::Wire;
use crate::keeper::LAST_WORDS;
use crate::parting::part;
use crate::server::Shared;

/// Read at a time.
const PIECE: usize = 16 * 1024;

thread_local! {
    /// What a worker reads into: a tunnel has no buffer of its own while nothing has to wait.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; PIECE].into());
}

/// The tunnels of a server.
#[derive(Default)]
pub(crate) struct Tunnels(Mutex<(u64, HashMap<u64, Tunnel>)>);

/// A websocket that goes on to another server.
#[derive(Clone, Debug)]
pub struct Tunnel(CancellationToken);

impl Tunnel {
    /// Ends it in a moment: nothing more of the client is read, and what the other server says until then is written. The client
    /// sees its transport close, and the other server that this one ended it.
    pub fn end_softly(&self) {
        self.0.cancel();
    }
}

impl Tunnels {
    pub(crate) fn all(&self) -> Vec<Tunnel> {
        self.0.lock().1.values().cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().1.len()
    }

    fn enter(&self) -> Entry<'_> {
        let tunnel = Tunnel(CancellationToken::new());
        let mut tunnels = self.0.lock();
        tunnels.0 += 1;
        let number = tunnels.0;
        tunnels.1.insert(number, tunnel.clone());
        Entry { tunnels: self, number, tunnel }
    }
}

struct Entry<'a> {
    tunnels: &'a Tunnels,
    number: u64,
    tunnel: Tunnel,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.tunnels.0.lock().1.remove(&self.number);
    }
}

impl Shared {
    /// Carries a websocket to another server and back, by a task of its own.
    pub(crate) fn tunnel<P: Send + 'static>(self: &Arc<Self>, near: Wire, far: Wire, place: (P, Box<dyn Place>)) {
        let shared = self.clone();
        self.tasks.spawn(async move {
            let _place = place;
            let entry = shared.onward.tunnels.enter();
            let (soft, stop) = (&entry.tunnel.0, &shared.stop);
            run((near.stream, near.buffer), (far.stream, far.buffer), shared.settings.write_timeout, soft, stop).await;
        });
    }
}

/// Which side broke of what is carried.
#[derive(Clone, Copy, Debug)]
enum Broke {
    From,
    To,
}

/// Each side with what was read of it already. Neither may take nothing of what waits for it for longer than `patience`.
async fn run(
    (near, said): (TcpStream, Vec<u8>),
    (far, answered): (TcpStream, Vec<u8>),
    patience: Duration,
    soft: &CancellationToken,
    stop: &CancellationToken,
) {
    let is_in_order = {
        let mut down = pin!(carry(&far, &near, answered, patience));
        let mut up = pin!(carry(&near, &far, said, patience));
        tokio::select! {
            // All that the other server said is written.
            down = &mut down => match down {
                Ok(()) => true,
                Err(Broke::From) => false,
                // The client broke off, or took nothing for too long: that is its own end.
                Err(Broke::To) => return part(&far, usize::MAX).await,
            },
            up = &mut up => {
                if up.is_ok() {
                    // The client has closed. The other server is told so, and may still say something.
                    SockRef::from(&far).shutdown(Shutdown::Write).ok();
                    timeout(patience, down).await.ok();
                } else {
                    part(&far, usize::MAX).await;
                }
                return;
            }
            () = soft.cancelled() => {
                timeout(LAST_WORDS, down).await.ok();
                break_off(&far);
                true
            }
            () = stop.cancelled() => {
                break_off(&far);
                false
            }
        }
    };
    drop(far);
    if is_in_order {
        part(&near, usize::MAX).await;
    }
}

/// Has the other server see that this one ended it ([`crate::End::Parted`]), when the stream is dropped.
fn break_off(far: &TcpStream) {
    SockRef::from(far).set_linger(Some(Duration::ZERO)).ok();
}

/// Carries what is read to the other side, until there is nothing more. What that side does not take is waited for, and nothing is
/// read meanwhile.
async fn carry(from: &TcpStream, to: &TcpStream, mut rest: Vec<u8>, patience: Duration) -> Result<(), Broke> {
    loop {
        let mut left = &rest[..];
        while !left.is_empty() {
            match to.try_write(left) {
                Ok(written) => left = &left[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let writable = timeout(patience, to.writable()).await;
                    writable.is_ok_and(|writable| writable.is_ok()).then_some(()).ok_or(Broke::To)?;
                }
                Err(_) => return Err(Broke::To),
            }
        }
        from.readable().await.map_err(|_| Broke::From)?;
        match SCRATCH.with_borrow_mut(|piece| step(from, to, piece))? {
            Some(untaken) => rest = untaken,
            None => return Ok(()),
        }
        consume_budget().await;
    }
}

/// Reads once and writes once: what was not taken, or nothing at the end.
fn step(from: &TcpStream, to: &TcpStream, piece: &mut [u8]) -> Result<Option<Vec<u8>>, Broke> {
    let blocked = |error: io::Error| if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
    let length = match from.try_read(piece).map(Some).or_else(blocked).map_err(|_| Broke::From)? {
        Some(0) => return Ok(None),
        length => length.unwrap_or(0),
    };
    let read = &piece[..length];
    let written = if read.is_empty() { Ok(Some(0)) } else { to.try_write(read).map(Some).or_else(blocked) };
    let written = written.map_err(|_| Broke::To)?.unwrap_or(0);
    Ok(Some(read[written..].to_vec()))
}

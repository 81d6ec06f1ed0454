//! Partings: streams that end in order although their other side may still be sending.

use std::io;
use std::net::Shutdown;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::coop::consume_budget;
use tokio::time::timeout;

use crate::keeper::GRACE;

/// Read at a time.
const PIECE: usize = 4 * 1024;
/// How many clients are parted from at the same time. Beyond these a stream ends as it may.
const AT_A_TIME: usize = 64;
/// What of a client is thrown away. Whoever says more is in no state to hear an answer.
const MOST: usize = 4 * 1024 * 1024;

/// Closes a stream in such a way that the other side has what was written before, and sees it end in order. What it says
/// meanwhile, of so many bytes at the most, is not heard any more: dropped with that in it, the stream would be reset, and the
/// kernel of the other side may forget what it has not given to anybody.
pub(crate) async fn part(with: &TcpStream, most: usize) {
    SockRef::from(with).shutdown(Shutdown::Write).ok();
    let gone = async {
        let mut heard = 0;
        while heard < most && with.readable().await.is_ok() {
            match with.try_read(&mut [0; PIECE]) {
                Ok(0) => return,
                Ok(length) => heard += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
            consume_budget().await;
        }
    };
    timeout(GRACE, gone).await.ok();
}

/// Those of a server's clients.
#[derive(Debug)]
pub(crate) struct Partings(Semaphore);

impl Default for Partings {
    fn default() -> Self {
        Self(Semaphore::new(AT_A_TIME))
    }
}

impl Partings {
    /// Parts from a client that has its last answer, if there is room for that.
    pub(crate) async fn part(&self, with: TcpStream) {
        if let Ok(_room) = self.0.try_acquire() {
            part(&with, MOST).await;
        }
    }
}

//! How the backends of one process tell it what was added.

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{ANNOUNCEMENTS, News, Revocation};

/// A stream that is taken once, and what goes into it.
#[derive(Debug, Default)]
pub(super) struct Announcements(Mutex<Option<Listener>>);

#[derive(Debug)]
struct Listener {
    sender: mpsc::Sender<News>,
    /// Something did not fit.
    missed: bool,
}

impl Announcements {
    pub(super) fn take(&self) -> BoxStream<'static, News> {
        let mut listener = self.0.lock();
        if listener.is_some() {
            return futures_util::stream::empty().boxed();
        }
        let (sender, receiver) = mpsc::channel(ANNOUNCEMENTS);
        *listener = Some(Listener { sender, missed: false });
        ReceiverStream::new(receiver).boxed()
    }

    /// Tells of an addition. After some did not fit, the next that does is a gap in its place.
    pub(super) fn announce(&self, added: &Revocation) {
        if let Some(listener) = &mut *self.0.lock() {
            let change = if listener.missed { News::Gap } else { News::Added(added.clone()) };
            listener.missed = listener.sender.try_send(change).is_err();
        }
    }
}

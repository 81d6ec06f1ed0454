//! How the backends of one process tell it whose holding ended.

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{ANNOUNCEMENTS, Lease};

/// A stream that is taken once, and what goes into it.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    listener: Mutex<Option<mpsc::Sender<Lease>>>,
}

impl Announcements {
    pub(super) fn take(&self) -> BoxStream<'static, Lease> {
        let mut listener = self.listener.lock();
        if listener.is_some() {
            return futures_util::stream::empty().boxed();
        }
        let (sender, receiver) = mpsc::channel(ANNOUNCEMENTS);
        *listener = Some(sender);
        ReceiverStream::new(receiver).boxed()
    }

    /// What does not fit, or nobody hears, shows when renewing.
    pub(super) fn announce(&self, ended: Lease) {
        if let Some(listener) = &*self.listener.lock() {
            listener.try_send(ended).ok();
        }
    }
}

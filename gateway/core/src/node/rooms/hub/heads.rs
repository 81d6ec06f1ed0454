//! Where the log stands: those who ask in the same moment share an answer, so that a crowd that comes into many rooms at once asks
//! once for each round trip and not once for each room.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use crate::domain::{Position, RoomName};
use crate::log::{Log, Range};
use crate::port::{ErrorKind, Port, PortError};

/// The last answer, and whose it is.
#[derive(Debug, Default)]
pub(super) struct Heads {
    /// How many have asked.
    asked: AtomicU64,
    answered: Mutex<Option<Answered>>,
}

#[derive(Debug)]
struct Answered {
    /// The last who had asked when the request began.
    upto: u64,
    head: Result<Position, (ErrorKind, String)>,
}

impl Heads {
    /// The newest position of the whole log at some moment after this was called. `room` is one that the log may be asked about.
    ///
    /// # Errors
    /// The log cannot be reached.
    pub(super) async fn ask(&self, log: &dyn Log, room: &RoomName) -> Result<Position, PortError> {
        let own = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut answered = self.answered.lock().await;
        let head = match &*answered {
            Some(Answered { upto, head }) if *upto >= own => head.clone(),
            _ => {
                let upto = self.asked.load(Ordering::Acquire);
                let page = log.read(room, Range::Newest { before: None, limit: 0 }, 0).await;
                let head = page.map(|page| page.head).map_err(|error| (error.kind, error.source.to_string()));
                answered.insert(Answered { upto, head }).head.clone()
            }
        };
        head.map_err(|(kind, why)| Port::Log.error("read", kind, why))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use futures_util::future::join_all;
    use futures_util::stream::BoxStream;
    use tokio::sync::Semaphore;

    use super::super::model::{page, room};
    use super::*;
    use crate::domain::{Event, Offset};
    use crate::log::{AppendError, Appended, FeedItem, Page, Terms};

    /// Answers when its test lets it, with how often it was asked.
    struct Counted {
        asked: AtomicU64,
        may: Semaphore,
    }

    #[async_trait]
    impl Log for Counted {
        async fn append(&self, _: &RoomName, _: &Event, _: Terms<'_>) -> Result<Appended, AppendError> {
            Err(Port::Log.not_now("append", "only read here").into())
        }

        async fn read(&self, _: &RoomName, _: Range, _: usize) -> Result<Page, PortError> {
            let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
            self.may.acquire().await.unwrap().forget();
            if number == 2 { Err(Port::Log.not_now("read", "as its test wants")) } else { Ok(page(number)) }
        }

        async fn subscribe(&self, _: &RoomName) -> Result<(), PortError> {
            Ok(())
        }

        async fn unsubscribe(&self, _: &RoomName) {}

        async fn signal(&self, _: &RoomName, _: &Event) -> Result<(), PortError> {
            Ok(())
        }

        async fn mark(&self, _: &RoomName, _: u64) -> Result<(), PortError> {
            Ok(())
        }

        fn feed(&self) -> BoxStream<'static, FeedItem> {
            Box::pin(futures_util::stream::pending())
        }
    }

    #[tokio::test]
    async fn an_answer_is_for_those_who_asked_before_it_was_asked_for() {
        let log = Arc::new(Counted { asked: AtomicU64::new(0), may: Semaphore::new(0) });
        let heads = Arc::new(Heads::default());
        let ask = |count: usize| {
            let (log, heads) = (log.clone(), heads.clone());
            tokio::spawn(join_all((0..count).map(move |_| {
                let (log, heads) = (log.clone(), heads.clone());
                async move { heads.ask(&*log, &room(0)).await.map(|head| head.offset) }
            })))
        };
        let until_asked = async |times| {
            while log.asked.load(Ordering::SeqCst) < times {
                tokio::task::yield_now().await;
            }
        };
        let first = ask(1);
        until_asked(1).await;
        // These come while it is under way: it may have been asked before they listened.
        let second = ask(50);
        tokio::task::yield_now().await;
        log.may.add_permits(1);
        assert_eq!(first.await.unwrap().pop().unwrap().unwrap(), Offset(1));
        until_asked(2).await;
        let third = ask(1);
        tokio::task::yield_now().await;
        log.may.add_permits(2);
        assert!(second.await.unwrap().iter().all(Result::is_err), "one request failed, for all of them");
        assert_eq!(third.await.unwrap().pop().unwrap().unwrap(), Offset(3));
        assert_eq!(log.asked.load(Ordering::SeqCst), 3);
    }
}

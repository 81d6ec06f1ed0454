//! The gate with clients that take what they want.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::domain::Event;
use crate::node::session::Waiting;

/// A client whose queue has a limited room.
#[derive(Default)]
struct Queue {
    got: Mutex<Vec<String>>,
    room: AtomicUsize,
    waiting: AtomicUsize,
    closed: Mutex<Option<CloseReason>>,
}

impl Outlet for Arc<Queue> {
    fn deliver(&self, frame: &Frame) -> Result<(), Undelivered> {
        if self.room.load(Ordering::SeqCst) == 0 {
            return Err(Undelivered::Full);
        }
        self.room.fetch_sub(1, Ordering::SeqCst);
        self.got.lock().push(frame.text(false));
        Ok(())
    }

    fn waiting(&self) -> Waiting {
        Waiting { packets: self.waiting.load(Ordering::SeqCst), bytes: 0 }
    }

    fn close(&self, reason: CloseReason) {
        *self.closed.lock() = Some(reason);
    }
}

fn gate(room: usize) -> (Arc<Gate>, Arc<Queue>) {
    let queue = Arc::new(Queue { room: AtomicUsize::new(room), ..Queue::default() });
    let patience = Patience { events: 10, bytes: 10_000, time: Duration::from_secs(10) };
    (Arc::new(Gate::new(Box::new(queue.clone()), patience)), queue)
}

fn frame(name: &str) -> Arc<Frame> {
    let event = Event { name: name.into(), args: "[]".into(), attachments: Vec::new(), except: None, at_ms: 0 };
    Arc::new(Frame::published(&event, Offset(1)).unwrap())
}

fn room() -> RoomName {
    RoomName::parse("r").unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_too_much_waiting_is_closed_and_gets_nothing_after_the_hole() {
    let (gate, queue) = gate(1);
    assert!(gate.deliver(&room(), Some(Offset(1)), &frame("1")));
    assert!(!gate.deliver(&room(), Some(Offset(2)), &frame("2")));
    assert_eq!(*queue.closed.lock(), Some(CloseReason::Slow));
    queue.room.store(100, Ordering::SeqCst);
    assert!(!gate.deliver(&room(), Some(Offset(3)), &frame("3")));
    assert_eq!(*queue.got.lock(), [r#"["1"]"#]);
}

#[tokio::test(start_paused = true)]
async fn signals_leave_room_for_what_must_not_be_dropped() {
    let (gate, queue) = gate(100);
    queue.waiting.store(5, Ordering::SeqCst);
    assert!(!gate.deliver(&room(), None, &frame("signal")));
    assert!(gate.deliver(&room(), Some(Offset(1)), &frame("event")));
    assert_eq!(*queue.closed.lock(), None);
    // The same while a replay is on.
    let _hold = gate.hold();
    queue.waiting.store(0, Ordering::SeqCst);
    for _ in 0..5 {
        assert!(gate.deliver(&room(), None, &frame("signal")));
    }
    assert!(!gate.deliver(&room(), None, &frame("signal")));
    for _ in 0..5 {
        assert!(gate.deliver(&room(), Some(Offset(2)), &frame("event")));
    }
    assert!(!gate.deliver(&room(), Some(Offset(3)), &frame("event")));
    assert_eq!(*queue.closed.lock(), Some(CloseReason::Slow));
}

#[tokio::test(start_paused = true)]
async fn what_waited_for_a_replay_goes_out_as_fast_as_the_client_takes_it() {
    let (gate, queue) = gate(0);
    let hold = gate.hold();
    for number in 1..=8 {
        assert!(gate.deliver(&room(), Some(Offset(number)), &frame(&number.to_string())));
    }
    let releasing = tokio::spawn(hold.release());
    sleep(Duration::from_secs(9)).await;
    queue.room.store(3, Ordering::SeqCst);
    sleep(Duration::from_secs(9)).await;
    queue.room.store(100, Ordering::SeqCst);
    releasing.await.unwrap();
    assert!(gate.deliver(&room(), Some(Offset(9)), &frame("9")));
    assert_eq!(queue.got.lock().len(), 9);
    assert_eq!(*queue.closed.lock(), None);
}

#[tokio::test(start_paused = true)]
async fn what_is_live_waits_for_a_replay_and_comes_once() {
    let (gate, queue) = gate(100);
    gate.deliver(&room(), Some(Offset(5)), &frame("5"));
    let hold = gate.hold();
    assert_eq!(hold.handed(), Offset(5));
    for number in 6..=9 {
        gate.deliver(&room(), Some(Offset(number)), &frame(&number.to_string()));
    }
    gate.deliver(&RoomName::parse("other").unwrap(), Some(Offset(7)), &frame("other 7"));
    gate.overtake(&frame("replayed 6"), None).await;
    gate.overtake(&frame("replayed 7"), None).await;
    hold.release_after(&[room()], Offset(7)).await;
    let expected = ["5", "replayed 6", "replayed 7", "8", "9", "other 7"].map(|name| format!("[\"{name}\"]"));
    assert_eq!(*queue.got.lock(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_is_given_up_at_any_moment_lets_what_waits_pass() {
    for moment in 0..3 {
        let (gate, queue) = gate(0);
        let (outer, inner) = (gate.hold(), gate.hold());
        assert!(gate.deliver(&room(), Some(Offset(1)), &frame("1")));
        drop(inner);
        queue.room.store(100, Ordering::SeqCst);
        assert!(gate.deliver(&room(), Some(Offset(2)), &frame("2")));
        assert!(queue.got.lock().is_empty(), "the other one holds");
        match moment {
            0 => drop(outer),
            1 => drop(outer.release()),
            _ => {
                // The client takes nothing, so this is waited for, and given up.
                queue.room.store(0, Ordering::SeqCst);
                assert!(tokio::time::timeout(PAUSE * 3, outer.release()).await.is_err());
                queue.room.store(100, Ordering::SeqCst);
            }
        }
        tokio::time::sleep(PAUSE * 2).await;
        assert_eq!(*queue.got.lock(), [r#"["1"]"#, r#"["2"]"#], "given up at moment {moment}");
        assert!(gate.deliver(&room(), Some(Offset(3)), &frame("3")));
        assert_eq!(queue.got.lock().len(), 3, "nothing waits any more");
    }
}

//! Handing: whether a session is handed what was dispatched to one of its rooms, as its cursors say.

use super::shard::{Delivery, Dispatch, Kind};
use crate::node::session::{Cursor, Cursors, Session};

/// Hands a dispatch over unless the session got it before; what is older and has not come to the session yet goes
/// first. Returns how many events and signals its client was handed.
pub(super) fn hand(session: &Session, dispatch: &Dispatch, older: &[Delivery]) -> usize {
    // Locked until it has everything: whoever leaves meanwhile waits, and then nothing more comes.
    let mut cursors = session.cursors.lock();
    if cursors.is_past(dispatch.ticket) {
        return 0;
    }
    let overdue = older.iter().map(|delivery| &delivery.dispatch).filter(|older| !cursors.is_past(older.ticket));
    let handed = overdue.chain([dispatch]).map(|dispatch| usize::from(offer(&cursors, session, dispatch))).sum();
    cursors.pass(dispatch.ticket);
    handed
}

fn offer(cursors: &Cursors, session: &Session, Dispatch { room, ticket, message }: &Dispatch) -> bool {
    let Some(Cursor { joined, from, .. }) = cursors.of(room.number) else { return false };
    if joined > *ticket || message.except.as_ref().is_some_and(|except| session.is_excepted(except)) {
        return false;
    }
    match message.kind {
        Kind::Event(position) if position.offset <= from => false,
        Kind::Event(position) => session.deliver(&room.name, Some(position.offset), &message.frame),
        Kind::Signal => session.deliver(&room.name, None, &message.frame),
        Kind::Notice => {
            session.notify_in(&room.name, &message.frame);
            false
        }
    }
}

//! What scripts of presence are asked with, and what they tell.

use std::time::Duration;

use deadpool_redis::redis::ScriptInvocation;

use super::Failure;
use crate::domain::{RoomName, SessionId, UserId};
use crate::presence::{Attendee, Cause, Departed, Entered, Entry};
use crate::redis::milliseconds;

/// What scripts tell of a departure: place, session, member, user, cause, sequence number.
pub(super) type Told = (String, String, String, String, String, u64);

pub(super) fn identify<'a, 'b>(
    script: &'a mut ScriptInvocation<'b>,
    who: &Attendee,
    moment: &str,
) -> &'a mut ScriptInvocation<'b> {
    // No user id is empty.
    let user = who.user.as_ref().map_or("", UserId::as_str);
    script.arg(who.session.to_string()).arg(holder(who)).arg(moment).arg(&who.member).arg(user)
}

pub(super) fn holder(who: &Attendee) -> String {
    format!("{:016x}", who.holder)
}

/// 0 stands for none at all.
pub(super) fn at_least_a_millisecond(linger: Duration) -> u64 {
    if linger.is_zero() { 0 } else { milliseconds(linger).max(1) }
}

pub(super) fn entry((code, sequence): (u8, u64)) -> Result<Entry, Failure> {
    let entered = match code {
        0 => Entered::First,
        1 => Entered::Again,
        2 => Entered::Full,
        3 => Entered::Elsewhere,
        _ => return Err(Failure::Nonsense),
    };
    Ok(Entry { entered, sequence })
}

pub(super) fn departure((place, session, member, user, cause, sequence): Told) -> Result<Departed, Failure> {
    let causes = [Cause::Left, Cause::Lingered, Cause::Lease];
    Ok(Departed {
        place: RoomName::trusted(&place),
        session: SessionId::parse(&session).ok_or(Failure::Nonsense)?,
        member,
        user: UserId::parse(&user),
        cause: causes.into_iter().find(|known| known.as_str() == cause).ok_or(Failure::Nonsense)?,
        sequence,
    })
}

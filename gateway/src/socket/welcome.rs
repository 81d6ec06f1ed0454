//! The welcome: whether a client gets its session back, and what it is told first.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::Edge;
use crate::auth::Identity;
use crate::domain::{Frame, Mark, Offset, Pid, Refusal, RoomName, SessionId};
use crate::node::{RecoveryError, Replay, Session, Unrecovered, Wanted, wanted};
use crate::sessions::{Lease, Record};

/// The first event of every connection.
const EVENT: &str = "gateway:session";

/// The `auth` object of a Socket.IO CONNECT, as far as the gateway reads it.
#[derive(Default, Deserialize)]
pub(super) struct Auth {
    pub(super) token: Option<String>,
    /// Official clients send this and the offset by themselves. Whatever else stands there is no reason to stay out.
    pid: Option<Value>,
    offset: Option<Value>,
    /// For clients that keep the offset of each room themselves.
    offsets: Option<Value>,
}

/// What a client wants back.
enum Wish {
    Nothing,
    Session {
        pid: Pid,
        heard: Mark,
    },
    Rooms(Vec<(RoomName, Offset)>),
    /// What cannot be had.
    Nonsense(Unrecovered),
}

impl Auth {
    /// Whether the client says that it has a session already.
    pub(super) fn names_session(&self) -> bool {
        self.pid.is_some()
    }

    fn wish(&self) -> Wish {
        match (&self.pid, &self.offsets) {
            (Some(pid), _) => {
                let heard = match &self.offset {
                    None => Some(Mark::default()),
                    Some(offset) => offset.as_str().and_then(Mark::parse),
                };
                match (pid.as_str().and_then(Pid::parse), heard) {
                    (None, _) => Wish::Nonsense(Unrecovered::Unknown),
                    (_, None) => Wish::Nonsense(Unrecovered::Offset),
                    (Some(pid), Some(heard)) => Wish::Session { pid, heard },
                }
            }
            (None, Some(offsets)) => {
                let rooms = offsets.as_object().and_then(rooms);
                rooms.map_or(Wish::Nonsense(Unrecovered::Offset), Wish::Rooms)
            }
            (None, None) => Wish::Nothing,
        }
    }
}

fn rooms(offsets: &Map<String, Value>) -> Option<Vec<(RoomName, Offset)>> {
    let room = |(name, offset): (&String, &Value)| {
        let offset = Mark::parse(offset.as_str()?)?.offset;
        Some((RoomName::parse(name).ok()?, offset))
    };
    offsets.iter().map(room).collect()
}

/// How a session begins: what the client is told, and what it missed.
pub(super) struct Welcome {
    pub(super) hello: Frame,
    pub(super) replay: Option<Replay>,
}

#[derive(Serialize)]
struct Hello<'a> {
    recovered: bool,
    pid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rooms: Option<&'a [RoomName]>,
}

/// Makes the session of a connection, with an id and the right to come back.
pub(super) trait MakeSession: Fn(SessionId, Lease) -> Arc<Session> + Send + Sync {}
impl<F: Fn(SessionId, Lease) -> Arc<Session> + Send + Sync> MakeSession for F {}

impl Edge {
    /// Gives a client its session back, or a fresh one with the reason.
    ///
    /// # Errors
    /// What is needed to decide cannot be reached: the client should try again, and lose nothing.
    pub(super) async fn welcome(
        &self,
        auth: &Auth,
        identity: &Identity,
        make: impl MakeSession,
    ) -> Result<(Arc<Session>, Welcome), Refusal> {
        let started = Instant::now();
        let wish = auth.wish();
        let asked = !matches!(wish, Wish::Nothing);
        let result = match wish {
            Wish::Nothing => Ok(self.fresh(&make, SessionId::random(), None).await),
            Wish::Nonsense(why) => Ok(self.fresh(&make, SessionId::random(), Some(why)).await),
            Wish::Session { pid, heard } => self.come_back(pid, heard, identity, &make).await,
            Wish::Rooms(rooms) => self.come_to_rooms(rooms, identity, &make).await,
        };
        if asked {
            let outcome = match &result {
                Ok((_, _, None)) => "recovered",
                Ok((_, _, Some(why))) => why.reason(),
                Err(_) => "unavailable",
            };
            self.metrics.recoveries.with(outcome).increment(1);
            self.metrics.recovery_duration.record(started.elapsed().as_secs_f64());
        }
        result.map(|(session, welcome, _)| (session, welcome))
    }

    async fn come_back(
        &self,
        pid: Pid,
        heard: Mark,
        identity: &Identity,
        make: &impl MakeSession,
    ) -> Result<(Arc<Session>, Welcome, Option<Unrecovered>), Refusal> {
        let node = self.router.node();
        let lease = Lease::new(pid);
        let Some(record) = node.claim(lease, identity.user.as_ref()).await? else {
            return Ok(self.fresh(make, SessionId::random(), Some(Unrecovered::Unknown)).await);
        };
        let session = make(record.session, lease);
        node.arrive(&session, self.end_of_life());
        let recovered = match self.rooms_to_return_to(&record, heard, identity) {
            Ok(rooms) => node.recover(&session, rooms, heard).await,
            Err(why) => Err(why.into()),
        };
        match recovered {
            Ok(replay) => match node.save(&session).await {
                Ok(true) => Ok(recovered_as(session, replay, None)),
                Ok(false) => {
                    node.depart(&session, false);
                    Ok(self.fresh(make, SessionId::random(), Some(Unrecovered::Replaced)).await)
                }
                Err(refusal) => {
                    node.depart(&session, true);
                    Err(refusal)
                }
            },
            Err(RecoveryError::Unrecovered(why)) => {
                node.depart(&session, false);
                // It keeps its id: whatever it published before and sends again is still the same author's.
                Ok(self.fresh(make, record.session, Some(why)).await)
            }
            Err(RecoveryError::Log(error)) => {
                // What it was claimed from stays, for the next attempt.
                node.depart(&session, true);
                Err(node.unavailable(&error))
            }
        }
    }

    fn rooms_to_return_to(
        &self,
        record: &Record,
        heard: Mark,
        identity: &Identity,
    ) -> Result<Vec<Wanted>, Unrecovered> {
        let rooms = wanted(record, heard)?;
        let main = self.router.table().main();
        let may_return = |wanted: &Wanted| main.admits_back(&wanted.via, identity, &wanted.room).is_some();
        if rooms.iter().all(may_return) { Ok(rooms) } else { Err(Unrecovered::NotAllowed) }
    }

    async fn come_to_rooms(
        &self,
        rooms: Vec<(RoomName, Offset)>,
        identity: &Identity,
        make: &impl MakeSession,
    ) -> Result<(Arc<Session>, Welcome, Option<Unrecovered>), Refusal> {
        let node = self.router.node();
        let session = make(SessionId::random(), Lease::new(Pid::random()));
        node.arrive(&session, self.end_of_life());
        let limit = self.settings.limits.rooms_per_session;
        let recovered = match self.router.table().main().way_in(identity) {
            None => Err(Unrecovered::NotAllowed.into()),
            Some(_) if limit > 0 && rooms.len() > limit => Err(Unrecovered::TooMuch.into()),
            Some(via) => {
                let wanted = rooms
                    .into_iter()
                    .map(|(room, after)| Wanted { room, after, complete_from: after, via: via.clone() })
                    .collect();
                node.recover(&session, wanted, Mark::default()).await
            }
        };
        match recovered {
            Ok(replay) => {
                node.save(&session).await.inspect_err(|_| node.depart(&session, false))?;
                Ok(recovered_as(session, replay, Some("0")))
            }
            Err(error) => {
                node.depart(&session, false);
                match error {
                    RecoveryError::Unrecovered(why) => Ok(self.fresh(make, SessionId::random(), Some(why)).await),
                    RecoveryError::Log(error) => Err(node.unavailable(&error)),
                }
            }
        }
    }

    /// A session in no room. If it cannot be stored now, it will be with its first join or a little later.
    async fn fresh(
        &self,
        make: &impl MakeSession,
        id: SessionId,
        why: Option<Unrecovered>,
    ) -> (Arc<Session>, Welcome, Option<Unrecovered>) {
        let session = make(id, Lease::new(Pid::random()));
        self.router.node().arrive(&session, self.end_of_life());
        self.router.node().save(&session).await.ok();
        let hello = Hello {
            recovered: false,
            pid: session.lease.pid.to_string(),
            reason: why.map(Unrecovered::reason),
            rooms: None,
        };
        // An official client keeps the offset of its session before: it must not count for this one.
        let hello = Frame::notice(EVENT, &hello, Some("0"));
        (session, Welcome { hello, replay: None }, why)
    }
}

fn recovered_as(
    session: Arc<Session>,
    replay: Replay,
    moves: Option<&str>,
) -> (Arc<Session>, Welcome, Option<Unrecovered>) {
    let hello =
        Hello { recovered: true, pid: session.lease.pid.to_string(), reason: None, rooms: Some(replay.rooms()) };
    let hello = Frame::notice(EVENT, &hello, moves);
    (session, Welcome { hello, replay: Some(replay) }, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wish(auth: Value) -> Wish {
        serde_json::from_value::<Auth>(auth).unwrap().wish()
    }

    #[test]
    fn what_official_clients_send_is_a_wish_for_the_session() {
        let pid = Pid::random();
        let Wish::Session { pid: read, heard } = wish(json!({ "pid": pid.to_string(), "offset": "12.1" })) else {
            panic!("not understood");
        };
        assert_eq!((read, heard), (pid, Mark { offset: Offset(12), replay: 1 }));
        let without_offset = wish(json!({ "pid": pid.to_string(), "offsets": { "r": "1" } }));
        assert!(matches!(without_offset, Wish::Session { heard, .. } if heard == Mark::default()));
    }

    #[test]
    fn nonsense_is_told_and_never_an_error() {
        let pid = Pid::random().to_string();
        for offset in [json!("-1"), json!(-1), json!(7), json!("NaN"), json!({}), json!("9".repeat(60_000))] {
            let wish = wish(json!({ "pid": pid, "offset": offset }));
            assert!(matches!(wish, Wish::Nonsense(Unrecovered::Offset)), "{offset}");
        }
        for pid in [json!(""), json!(7), json!([]), json!("x".repeat(32))] {
            assert!(matches!(wish(json!({ "pid": pid })), Wish::Nonsense(Unrecovered::Unknown)), "{pid}");
        }
        for offsets in [json!([]), json!({ "": "1" }), json!({ "r": 1 }), json!({ "r": "x" }), json!("r")] {
            let wish = wish(json!({ "offsets": offsets }));
            assert!(matches!(wish, Wish::Nonsense(Unrecovered::Offset)), "{offsets}");
        }
    }
}

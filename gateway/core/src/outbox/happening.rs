//! What happened, as it waits in an outbox.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::{Epoch, Event, Offset, RoomName, SessionId, UserId};
use crate::traces::Trace;

/// A kind of thing that happens and that somebody outside may want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum What {
    /// A new session is there.
    #[serde(rename = "session.connected")]
    Connected,
    /// A session is gone for good.
    #[serde(rename = "session.ended")]
    Ended,
    /// A member's first session came into a room.
    #[serde(rename = "room.joined")]
    Joined,
    /// A member's last session left a room.
    #[serde(rename = "room.left")]
    Left,
    /// The last member left a room.
    #[serde(rename = "room.emptied")]
    Emptied,
    /// An event was published to a room.
    #[serde(rename = "publish")]
    Published,
}

impl What {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Connected, Self::Ended, Self::Joined, Self::Left, Self::Emptied, Self::Published];

    /// The word for it, in configurations, in Redis and for back ends.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "session.connected",
            Self::Ended => "session.ended",
            Self::Joined => "room.joined",
            Self::Left => "room.left",
            Self::Emptied => "room.emptied",
            Self::Published => "publish",
        }
    }

    /// What a word stands for.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|what| what.as_str() == word)
    }

    /// Whether it happens to a session and not to a room.
    #[must_use]
    pub fn is_of_sessions(self) -> bool {
        matches!(self, Self::Connected | Self::Ended)
    }

    /// Whether it is known only where members are counted.
    #[must_use]
    pub fn is_of_members(self) -> bool {
        matches!(self, Self::Joined | Self::Left | Self::Emptied)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happening {
    /// What.
    pub what: What,
    /// Where: a room, or the place in which the sessions of a namespace are counted.
    pub place: RoomName,
    /// Its number: the offset of what was published, else the sequence number of presence.
    pub number: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Which session it was.
    pub session: Option<SessionId>,
    /// Who the token says it is.
    pub user: Option<UserId>,
    /// As whom it is counted.
    pub member: Option<String>,
    /// Why a member left: a word of presence.
    pub cause: Option<String>,
    /// What was published.
    #[serde(with = "encoded")]
    pub event: Option<Event>,
    /// How what was published hangs together with the rest of its room, in the archive's outbox alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
    /// Which Redis numbered it, if not the main one: each counts for itself.
    #[serde(skip)]
    pub origin: Option<Arc<str>>,
    /// In which trace it happened.
    #[serde(skip)]
    pub trace: Option<Trace>,
}

/// What an event is to what its room said before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The history that its offset counts in.
    pub epoch: Epoch,
    /// The event before it in its room; nothing if the log had none.
    pub before: Option<Offset>,
    /// The event that it takes back.
    pub takes_back: Option<Offset>,
}

/// Events in their own encoded form, which knows of versions.
mod encoded {
    use bytes::Bytes;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::domain::Event;

    pub(super) fn serialize<S: Serializer>(event: &Option<Event>, serializer: S) -> Result<S::Ok, S::Error> {
        event.as_ref().map(|event| Bytes::from(event.encode())).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Event>, D::Error> {
        let bytes = Option::<Bytes>::deserialize(deserializer)?;
        let event = bytes.map(|bytes| Event::decode(&bytes).ok_or_else(|| D::Error::custom("no event")));
        event.transpose()
    }
}

impl Happening {
    /// What is added to the length of its parts for what it weighs in an outbox: about what keeping any entry costs.
    pub(super) const OVERHEAD: usize = 64;
    /// The first byte of the encoded form.
    const FORMAT: u8 = 1;

    /// What is known of something that happened in a place; the rest is added.
    #[must_use]
    pub fn new(what: What, place: RoomName, number: u64, at_ms: u64) -> Self {
        Self {
            what,
            place,
            number,
            at_ms,
            session: None,
            user: None,
            member: None,
            cause: None,
            event: None,
            link: None,
            origin: None,
            trace: None,
        }
    }

    /// By what it is known again, however often it is delivered: no two things of a deployment have the same.
    #[must_use]
    pub fn id(&self) -> String {
        match &self.origin {
            None => format!("{}:{}", self.what, self.number),
            Some(origin) => format!("{}:{}:{origin}", self.what, self.number),
        }
    }

    /// How much it weighs in an outbox, in bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let texts = [self.member.as_deref(), self.user.as_ref().map(UserId::as_str), self.cause.as_deref()];
        let texts = texts.into_iter().flatten().map(str::len).sum::<usize>();
        let trace = self.trace.as_ref().map_or(0, Trace::size);
        Self::OVERHEAD + self.place.as_str().len() + texts + trace + self.event.as_ref().map_or(0, Event::size)
    }

    /// The form for a file: a format byte, then MessagePack, then the trace as it is kept, if there is one: versions that know of
    /// none read no further than the MessagePack goes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![Self::FORMAT];
        rmp_serde::encode::write(&mut bytes, self).expect("what happened always encodes");
        bytes.extend(self.trace.iter().flat_map(|trace| trace.kept().into_bytes()));
        bytes
    }

    /// Reads [`Self::encode`]'s form; nothing if it is of another format or damaged.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (format, mut body) = bytes.split_first()?;
        if *format != Self::FORMAT {
            return None;
        }
        let happening: Self = rmp_serde::from_read(&mut body).ok()?;
        let trace = std::str::from_utf8(body).ok().and_then(Trace::of_kept);
        Some(Self { trace, ..happening })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_survives_its_encoded_form() {
        let mut joined = Happening::new(What::Joined, RoomName::trusted("r"), 7, 1_700_000_000_000);
        (joined.session, joined.member) = (Some(SessionId::random()), Some("u:alice".into()));
        joined.user = UserId::parse("alice");
        assert_eq!(Happening::decode(&joined.encode()), Some(joined.clone()));
        assert_eq!(joined.id(), "room.joined:7");
        let link = Link { epoch: Epoch(u64::MAX), before: Some(Offset(6)), takes_back: None };
        let linked = Happening { link: Some(link), ..joined.clone() };
        assert_eq!(Happening::decode(&linked.encode()), Some(linked));
        let trace = Trace::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a=1");
        let traced = Happening { trace, ..joined.clone() };
        assert_eq!(Happening::decode(&traced.encode()), Some(traced.clone()));
        // As versions read it that know of no traces.
        let known: Happening = rmp_serde::from_slice(&traced.encode()[1..]).unwrap();
        assert_eq!(known, joined);
        assert_eq!(traced.encode()[..joined.encode().len()], joined.encode());
        assert_eq!(traced.weight(), joined.weight() + 59);
        let mut bytes = joined.encode();
        bytes[0] = 9;
        assert_eq!((Happening::decode(&bytes), Happening::decode(&[])), (None, None));
    }

    #[test]
    fn each_word_stands_for_one_thing() {
        for what in What::ALL {
            assert_eq!(What::of_word(what.as_str()), Some(what));
            let json = serde_json::to_string(&what).unwrap();
            assert_eq!(json, format!("{:?}", what.as_str()));
        }
        assert_eq!(What::of_word("room"), None);
    }
}

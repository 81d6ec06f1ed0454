//! Who is who: the identity of a session and of a user.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A session, cluster-wide. Random, 128 bits, and never the Socket.IO id: with long-polling that id is a
/// credential, while this one may be shown to other clients and to operators.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SessionId(u128);

impl SessionId {
    /// A new random id.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// Reads the form that [`fmt::Display`] writes: 32 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then(|| u128::from_str_radix(text, 16).ok().map(Self)).flatten()
    }

    /// Half of it: enough to tell sessions apart where a mistake does no harm.
    #[must_use]
    pub fn half(self) -> u64 {
        (self.0 >> 64) as u64
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

/// The secret by which a client comes back to its session: what official clients call `pid`. Whoever has it and the
/// same user's token gets what the session missed, so it is shown to nobody but its client.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pid(u128);

impl Pid {
    /// A new random one.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// Reads the form that [`fmt::Display`] writes: 32 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then(|| u128::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Logs must not give it away.
impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pid(…)")
    }
}

/// What is kept of a [`Pid`]: by it a session is found, and nobody comes back with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PidHash(u128);

impl PidHash {
    /// Reads the form that [`fmt::Display`] writes: 32 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Pid::parse(text).map(|Pid(digits)| Self(digits))
    }
}

impl From<Pid> for PidHash {
    /// Half of a SHA-256: a pid has no more to guess.
    fn from(pid: Pid) -> Self {
        let hash = Sha256::new().chain_update(b"pid").chain_update(pid.0.to_be_bytes()).finalize();
        Self(hash.iter().take(16).fold(0, |value, byte| value << 8 | u128::from(*byte)))
    }
}

impl fmt::Display for PidHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for PidHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PidHash({self})")
    }
}

/// Who the token says a session is: its `sub` claim, 1 to 255 bytes without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UserId(Arc<str>);

impl UserId {
    /// What one has to be, for people.
    pub const RULE: &'static str = "a user id has 1 to 255 bytes and no control characters";

    /// The longest user id, in bytes.
    pub const MAX_BYTES: usize = 255;

    /// Accepts a user id, or nothing if it is empty, too long or has control characters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= Self::MAX_BYTES;
        (fits && !text.chars().any(char::is_control)).then(|| Self(text.into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_survives_its_text_form_and_hides_from_logs() {
        let pid = Pid::random();
        assert_eq!(Pid::parse(&pid.to_string()), Some(pid));
        assert_eq!(format!("{pid:?}"), "Pid(…)");
        for bad in ["", "0", "+0000000000000000000000000000000", &"g".repeat(32), &"0".repeat(33)] {
            assert_eq!(Pid::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_hash_of_a_pid_is_always_the_same_and_tells_nothing_of_it() {
        let pid = Pid::parse("000102030405060708090a0b0c0d0e0f").unwrap();
        // printf 'pid\000\001…\017' | sha256sum
        assert_eq!(PidHash::from(pid).to_string(), "379fefbe2e970b3040ee6170e4d25ce0");
        assert_eq!(PidHash::parse(&PidHash::from(pid).to_string()), Some(PidHash::from(pid)));
        assert_ne!(PidHash::from(pid), PidHash::from(Pid::random()));
    }

    #[test]
    fn a_session_id_survives_its_text_form() {
        let session = SessionId(7);
        assert_eq!(SessionId::parse(&session.to_string()), Some(session));
        assert_eq!(SessionId::parse("7"), None);
    }

    #[test]
    fn a_user_id_is_short_printable_text() {
        assert!(UserId::parse("alice").is_some());
        assert!(UserId::parse("").is_none());
        assert!(UserId::parse("a\nb").is_none());
        assert!(UserId::parse(&"x".repeat(256)).is_none());
    }
}

//! What queues and jobs are called.

use std::fmt;

/// A name that cannot be one. The text is for whoever gave it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {why}")]
pub struct BadName {
    what: &'static str,
    why: &'static str,
}

/// The name of a queue: any text that is neither empty nor longer than 256 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct QueueName(String);

/// By what a job is known in its queue: not empty, 256 bytes at the most, no control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct JobId(String);

const MOST: usize = 256;

impl QueueName {
    /// Takes a name.
    ///
    /// # Errors
    /// It is empty, or too long.
    pub fn new(name: impl Into<String>) -> Result<Self, BadName> {
        let (name, what) = (name.into(), "the name of a queue");
        measured(&name, what)?;
        Ok(Self(name))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl JobId {
    /// One that nobody has: 32 hexadecimal digits, and a letter before them.
    #[must_use]
    pub fn random() -> Self {
        Self(format!("j{:032x}", rand::random::<u128>()))
    }

    /// An id for a new job, by which it is known again.
    ///
    /// # Errors
    /// It is empty, too long, has a colon or control characters, or is nothing but digits: such ids are what queues give by
    /// themselves.
    pub fn new(id: impl Into<String>) -> Result<Self, BadName> {
        let id = Self::known(id)?;
        let bad = |why| BadName { what: "the id of a job", why };
        if id.0.contains(':') {
            return Err(bad("must not have a colon"));
        }
        if id.0.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(bad("must not consist of digits only: these are the numbers that queues give by themselves"));
        }
        Ok(id)
    }

    /// The id of a job that may be there, whoever has given it.
    ///
    /// # Errors
    /// It is empty, too long, or has control characters.
    pub fn known(id: impl Into<String>) -> Result<Self, BadName> {
        let (id, what) = (id.into(), "the id of a job");
        measured(&id, what)?;
        if id.chars().any(char::is_control) {
            return Err(BadName { what, why: "must not have control characters" });
        }
        Ok(Self(id))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn measured(name: &str, what: &'static str) -> Result<(), BadName> {
    match name.len() {
        0 => Err(BadName { what, why: "must not be empty" }),
        1..=MOST => Ok(()),
        _ => Err(BadName { what, why: "must not be longer than 256 bytes" }),
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_a_name() {
        for name in ["a", "müll: {x} %41\n", &"x".repeat(256)] {
            assert_eq!(QueueName::new(name).unwrap().as_str(), name);
        }
        assert_eq!(QueueName::new("").unwrap_err().to_string(), "the name of a queue must not be empty");
        assert!(QueueName::new("x".repeat(257)).is_err());
        for id in ["order-7", "7a", "%wait", "ü", JobId::random().as_str()] {
            assert_eq!(JobId::new(id).unwrap().as_str(), id);
        }
        for id in ["", "7", "a:b", "a\nb", &"x".repeat(257)] {
            assert!(JobId::new(id).is_err(), "{id:?}");
        }
        for id in ["7", "repeat:x:7"] {
            assert_eq!(JobId::known(id).unwrap().as_str(), id, "somebody else may have given it");
        }
    }
}

//! Of what is wanted again and again, one within a time: whoever begins it first does it, on whichever node.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use gateway_core::jobs::Failure;
use gateway_core::repeats::{Begun, LEASE, Repeat, Repeats};

/// What was done within the time, by what it is known by.
#[derive(Clone)]
pub struct Once {
    repeats: Arc<dyn Repeats>,
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Once")
    }
}

/// Whose turn it is.
#[derive(Debug)]
pub enum Turn {
    /// Nobody else's: it may be done as often as it comes.
    Free,
    /// This job's, until it is told how it ended.
    Ours(Repeat),
    /// Somebody else's: it is not to be done, and why.
    Over(&'static str),
}

impl Once {
    /// The time is that for which the store keeps what was done.
    #[must_use]
    pub fn new(repeats: Arc<dyn Repeats>) -> Self {
        Self { repeats }
    }

    /// Asks for the turn of a job; without a key it is always its turn.
    ///
    /// # Errors
    /// The store cannot be asked, or this job ended in the middle of it a moment ago.
    pub async fn begin(&self, key: Option<&str>, job: &str) -> Result<Turn, Failure> {
        let Some(key) = key else { return Ok(Turn::Free) };
        let name = Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect();
        let repeat = Repeat { name, print: job.to_owned(), run: rand::random() };
        match self.repeats.begin(&repeat).await {
            Ok(Begun::New) => Ok(Turn::Ours(repeat)),
            // What was wanted again within the time, by another job.
            Ok(Begun::Different) => Ok(Turn::Over("the same was done within the time, or is being done")),
            Ok(Begun::Done(_)) => Ok(Turn::Over("this job was done before")),
            // An attempt of this job was lost; nobody knows how far it came before its time is over.
            Ok(Begun::Running) => Err(Failure::after(LEASE, "an earlier attempt of it may still be under way")),
            Err(error) => Err(Failure::not_now(format!("whether the same was done cannot be looked up: {error}"))),
        }
    }

    /// Notes how it ended: what was done is done for the time, what failed may be tried by anybody.
    pub async fn end(&self, turn: Turn, done: bool) {
        let Turn::Ours(repeat) = turn else { return };
        let noted = if done { self.repeats.finish(&repeat, &[]).await } else { self.repeats.give_up(&repeat).await };
        if let Err(error) = noted {
            error.tell("that something was done is not noted: it may be done again, or wait for a minute");
        }
    }
}

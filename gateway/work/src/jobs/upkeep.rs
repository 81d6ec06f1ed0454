//! `upkeep`: what is too old is forgotten now, when somebody says so, beside what nodes do by themselves.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Kind, failure, read};
use crate::archiving::Archiving;
use gateway_core::inbox::Inbox;
use gateway_core::jobs::{Failure, Handler, Job};

/// Forgets what is too old.
#[derive(Debug)]
pub struct Upkeep {
    inbox: Arc<Inbox>,
    archiving: Option<Arc<Archiving>>,
}

/// What a job of this kind is about.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    of: Of,
}

/// Of what.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Of {
    Notifications,
    Archive,
}

#[derive(Serialize)]
struct Done {
    /// How much is gone.
    gone: u64,
}

impl Upkeep {
    /// Somebody who forgets what these have.
    #[must_use]
    pub fn new(inbox: Arc<Inbox>, archiving: Option<Arc<Archiving>>) -> Self {
        Self { inbox, archiving }
    }

    /// Looks whether such data say what is to be forgotten; `is_archived` is whether anything is archived.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check_data(is_archived: bool, data: &RawValue) -> Result<(), String> {
        of(is_archived, data).map(drop)
    }

    fn of(&self, data: &RawValue) -> Result<Of, String> {
        match of(self.archiving.is_some(), data)? {
            Of::Notifications if !self.inbox.keeps() => Err("this deployment has no database".into()),
            of => Ok(of),
        }
    }
}

/// Of what something is to be forgotten, if such data say so.
fn of(is_archived: bool, data: &RawValue) -> Result<Of, String> {
    let Data { of } = read(data)?;
    match of {
        Of::Archive if !is_archived => Err("nothing is archived: archive.rooms names no rooms".into()),
        of => Ok(of),
    }
}

impl Kind for Upkeep {
    fn check(&self, data: &RawValue) -> Result<(), String> {
        self.of(data).map(drop)
    }
}

#[async_trait]
impl Handler for Upkeep {
    async fn handle(&self, job: &Job) -> Result<Option<Box<RawValue>>, Failure> {
        let gone = match (self.of(&job.data).map_err(Failure::never)?, &self.archiving) {
            (Of::Archive, Some(archiving)) => {
                archiving.forget_now().await.map_err(|error| Failure::not_now(error.to_string()))?
            }
            _ => self.inbox.sweep().await.map_err(|refusal| failure(&refusal))?,
        };
        Ok(serde_json::value::to_raw_value(&Done { gone }).ok())
    }
}

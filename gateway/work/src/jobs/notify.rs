//! `notify`: users are told something that waits until they read it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Kind, failure, read};
use gateway_core::content::Bounds;
use gateway_core::domain::UserId;
use gateway_core::inbox::{Author, Inbox, Wish};
use gateway_core::jobs::{Failure, Handler, Job};

/// Users that one job may tell something.
const MAX_USERS: usize = 1_000;

/// Tells users something.
#[derive(Debug)]
pub struct Notify {
    inbox: Arc<Inbox>,
}

/// What a job of this kind is about.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Data<'a> {
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    users: Vec<String>,
    #[serde(borrow)]
    message: &'a RawValue,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    /// In seconds.
    #[serde(default)]
    ttl: Option<u64>,
    #[serde(default)]
    collapse: Option<String>,
}

#[derive(Serialize)]
struct Done {
    /// How many were told.
    told: usize,
    /// To how many of them it was told by an earlier attempt.
    duplicates: usize,
}

impl Notify {
    /// Somebody who tells through an inbox.
    #[must_use]
    pub fn new(inbox: Arc<Inbox>) -> Self {
        Self { inbox }
    }

    /// Looks whether users can be told such data within these bounds.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check_data(bounds: &Bounds, data: &RawValue) -> Result<(), String> {
        let mut wishes = wishes(data, "id")?.into_iter();
        wishes.try_for_each(|wish| wish.check(bounds)).map_err(|refusal| refusal.message())
    }
}

/// What is told, known again by the id of its job.
fn wishes(data: &RawValue, id: &str) -> Result<Vec<Wish>, String> {
    let Data { user, users, message, data, ttl, collapse } = read(data)?;
    let names: Vec<_> = user.into_iter().chain(users).collect();
    if !(1..=MAX_USERS).contains(&names.len()) {
        return Err(format!("user is one, or users are 1 to {MAX_USERS}"));
    }
    let wish = |name: String| {
        let receiver = UserId::parse(&name).ok_or_else(|| format!("{name:?}: {}", UserId::RULE))?;
        Ok(Wish {
            receiver,
            message: message.get().to_owned(),
            data: data.map(|data| data.get().to_owned()),
            ttl: ttl.map(Duration::from_secs),
            id: Some(id.to_owned()),
            collapse: collapse.clone(),
        })
    };
    names.into_iter().map(wish).collect()
}

impl Kind for Notify {
    fn check(&self, data: &RawValue) -> Result<(), String> {
        let author = Author::job("");
        for wish in wishes(data, "id")? {
            self.inbox.draft(&author, wish).map_err(|refusal| refusal.message())?;
        }
        Ok(())
    }
}

#[async_trait]
impl Handler for Notify {
    async fn handle(&self, job: &Job) -> Result<Option<Box<RawValue>>, Failure> {
        // Ids of jobs may be longer than those of notifications.
        let id = if job.id.as_str().len() > 128 { hash(job.id.as_str()) } else { job.id.as_str().to_owned() };
        let wishes = wishes(&job.data, &id).map_err(Failure::never)?;
        let told = self.inbox.tell(&Author::job(job.queue.as_str()), wishes).await;
        let told = told.map_err(|refusal| failure(&refusal))?;
        let done = Done { told: told.len(), duplicates: told.iter().filter(|told| told.kept.duplicate).count() };
        Ok(serde_json::value::to_raw_value(&done).ok())
    }
}

fn hash(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_told_what() {
        let wishes = |data: &str| wishes(&RawValue::from_string(data.to_owned()).unwrap(), "j1");
        let told = wishes(r#"{"users":["a","b"],"user":"c","message":{"n":1.10},"ttl":60}"#).unwrap();
        let users: Vec<_> = told.iter().map(|wish| wish.receiver.as_str()).collect();
        assert_eq!(
            (users, &*told[0].message, told[0].ttl),
            (vec!["c", "a", "b"], "{\"n\":1.10}", Some(Duration::from_secs(60)))
        );
        assert!(told.iter().all(|wish| wish.id.as_deref() == Some("j1")));
        for (data, word) in [
            (r#"{"message":1}"#, "users are 1 to 1000"),
            (r#"{"user":"","message":1}"#, "\"\": "),
            (r#"{"user":"a"}"#, "missing field `message`"),
            (r#"{"user":"a","message":1,"id":"x"}"#, "unknown field `id`"),
        ] {
            let said = wishes(data).unwrap_err();
            assert!(said.contains(word), "{said}");
        }
    }
}

//! What operators see of hooks, and decide about what was given up.

use serde::Serialize;

use super::{Hooks, Outboxes};
use gateway_core::outbox::{Decision, GivenUp, Happening, Place, Standing, Wants, What};
use gateway_core::port::PortError;

/// How much of what was given up is listed, and looked through at a time.
const PAGE: usize = 100;

/// A hook and how it stands.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Where it leads, without what could be secret; nothing if it is gone from the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Whether this node works on it.
    pub here: bool,
    /// How many events wait.
    pub waiting: usize,
    /// What they weigh, in bytes.
    pub bytes: usize,
    /// For how long the oldest waits, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_ms: Option<u64>,
    /// How many were dropped because as much waited as may wait, ever.
    pub dropped: u64,
    /// How many were given up and are kept.
    pub given_up: usize,
    /// The oldest of these.
    pub refused: Vec<Refused>,
}

/// Something that was given up.
#[derive(Clone, Debug, Serialize)]
pub struct Refused {
    /// Its id, or where it stands if this version cannot read it.
    pub id: String,
    /// What it is.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub what: Option<What>,
    /// When it happened, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<u64>,
    /// In which room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    /// Why it was not delivered.
    pub why: String,
}

/// There is no such hook, and nothing of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown;

impl Hooks {
    /// All hooks, those that are gone but for what is left of them too, by name.
    ///
    /// # Errors
    /// The store of outboxes cannot be reached.
    pub async fn list(&self) -> Result<Vec<Listed>, PortError> {
        let hooks = self.hooks.borrow().clone();
        let mut listed: Vec<Listed> = Vec::new();
        for source in &self.sources {
            let standings = self.survey(source).await?;
            for standing in standings.into_iter().filter(|standing| standing.name != Wants::ARCHIVE) {
                let refused =
                    if standing.given_up == 0 { Vec::new() } else { self.page(source, &standing.name, None).await? };
                let hook = hooks.iter().find(|hook| hook.name == standing.name);
                let oldest_ms = standing.oldest.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
                let refused: Vec<_> = refused.iter().map(refused_as).collect();
                if let Some(known) = listed.iter_mut().find(|known| known.name == standing.name) {
                    known.waiting += standing.waiting;
                    known.bytes += standing.bytes;
                    known.oldest_ms = known.oldest_ms.max(oldest_ms);
                    known.dropped += standing.dropped;
                    known.given_up += standing.given_up;
                    known.refused.extend(refused);
                    continue;
                }
                listed.push(Listed {
                    url: hook.map(|hook| hook.endpoint.shown()),
                    here: self.figures.has(&standing.name),
                    waiting: standing.waiting,
                    bytes: standing.bytes,
                    oldest_ms,
                    dropped: standing.dropped,
                    given_up: standing.given_up,
                    refused,
                    name: standing.name,
                });
            }
        }
        listed.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(listed)
    }

    /// Decides about what was given up: those with these ids, or all. Returns how many it was. What does not fit among what
    /// waits stays given up.
    ///
    /// # Errors
    /// The store of outboxes cannot be reached, or nobody knows of the hook.
    pub async fn decide(
        &self,
        name: &str,
        ids: Option<&[String]>,
        decision: Decision,
    ) -> Result<Result<usize, Unknown>, PortError> {
        let (mut done, mut is_known) = (0, false);
        for source in &self.sources {
            let standings = self.survey(source).await?;
            if name == Wants::ARCHIVE || !standings.iter().any(|standing| standing.name == name) {
                continue;
            }
            is_known = true;
            done += self.decide_in(source, name, ids, decision).await?;
        }
        Ok(if is_known { Ok(done) } else { Err(Unknown) })
    }

    async fn decide_in(
        &self,
        source: &Outboxes,
        name: &str,
        ids: Option<&[String]>,
        decision: Decision,
    ) -> Result<usize, PortError> {
        let (mut done, mut after) = (0, None);
        loop {
            let page = self.page(source, name, after.as_ref()).await?;
            let is_meant = |it: &&GivenUp| ids.is_none_or(|ids| ids.contains(&id(it)));
            let places: Vec<Place> = page.iter().filter(is_meant).map(|it| it.place.clone()).collect();
            if !places.is_empty() {
                let decided = source.outbox.decide(name, &places, decision).await;
                done += decided.inspect_err(|error| self.note(error))?;
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.place.clone()),
                _ => return Ok(done),
            }
        }
    }

    async fn survey(&self, source: &Outboxes) -> Result<Vec<Standing>, PortError> {
        source.outbox.survey(&source.names(), self.settings.keep).await.inspect_err(|error| self.note(error))
    }

    async fn page(&self, source: &Outboxes, name: &str, after: Option<&Place>) -> Result<Vec<GivenUp>, PortError> {
        source.outbox.given_up(name, after, PAGE).await.inspect_err(|error| self.note(error))
    }
}

fn id(given_up: &GivenUp) -> String {
    given_up.happening.as_ref().map_or_else(|| given_up.place.to_string(), Happening::id)
}

fn refused_as(given_up: &GivenUp) -> Refused {
    let happening = given_up.happening.as_ref();
    Refused {
        id: id(given_up),
        what: happening.map(|it| it.what),
        time: happening.map(|it| it.at_ms),
        room: happening.and_then(|it| it.place.shown()).map(str::to_owned),
        why: given_up.why.clone(),
    }
}

//! The archives of a deployment: one for each log, and which namespaces each has.

use std::fmt;
use std::sync::Arc;

use super::Archive;
use crate::config::{self, Config};
use crate::domain::RoomName;

/// The archives of all logs, in one place.
#[derive(Clone)]
pub struct Archives(Arc<[One]>);

struct One {
    /// What its log's Redis is called.
    redis: String,
    /// Those whose rooms it has; the main one's are all others.
    namespaces: Vec<String>,
    archive: Arc<dyn Archive>,
}

impl Archives {
    /// Those that a configuration has, in the place of the main one's.
    #[must_use]
    pub fn new(main: Arc<dyn Archive>, config: &Config) -> Self {
        let others = config.every_redis().into_iter().filter(|redis| !redis.settings.is_main()).map(|redis| {
            let name = redis.settings.name();
            One { redis: name.to_owned(), namespaces: redis.namespaces, archive: main.of_log(name) }
        });
        Self(std::iter::once(One::main(main.clone())).chain(others).collect())
    }

    /// The only one.
    #[must_use]
    pub fn one(main: Arc<dyn Archive>) -> Self {
        Self([One::main(main)].into())
    }

    /// That of the main log. It has what was said in all rooms, too, as all of them do.
    #[must_use]
    pub fn main(&self) -> &Arc<dyn Archive> {
        &self.0[0].archive
    }

    /// All of them, the main one first.
    pub fn all(&self) -> impl ExactSizeIterator<Item = &Arc<dyn Archive>> {
        self.0.iter().map(|one| &one.archive)
    }

    /// Which of them has the rooms of a namespace.
    #[must_use]
    pub fn number_of(&self, namespace: &str) -> usize {
        self.0.iter().position(|one| one.namespaces.iter().any(|name| name == namespace)).unwrap_or(0)
    }

    /// That of the log which has a room.
    #[must_use]
    pub fn of(&self, room: &RoomName) -> &Arc<dyn Archive> {
        &self.0[self.number_of(room.namespace().unwrap_or("/"))].archive
    }

    /// That of the log in a Redis; nothing for a name that none has.
    #[must_use]
    pub fn of_redis(&self, name: &str) -> Option<&Arc<dyn Archive>> {
        self.0.iter().find(|one| one.redis == name).map(|one| &one.archive)
    }
}

impl fmt::Debug for Archives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|one| &one.redis)).finish()
    }
}

impl One {
    fn main(archive: Arc<dyn Archive>) -> Self {
        Self { redis: config::Redis::MAIN.into(), namespaces: Vec::new(), archive }
    }
}

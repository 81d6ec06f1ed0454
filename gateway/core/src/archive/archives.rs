//! The archives of a deployment: one for each log, and which namespaces each has.

use std::fmt;
use std::sync::Arc;

use super::Archive;
use crate::domain::RoomName;

/// The archives of all logs, in one place.
#[derive(Clone)]
pub struct Archives {
    main: Arc<dyn Archive>,
    others: Arc<[Other]>,
}

struct Other {
    /// What its log's Redis is called.
    redis: String,
    /// Those whose rooms it has.
    namespaces: Vec<String>,
    archive: Arc<dyn Archive>,
}

impl fmt::Debug for Archives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.others.iter().map(|other| &other.redis)).finish()
    }
}

impl Archives {
    /// The only one.
    #[must_use]
    pub fn one(main: Arc<dyn Archive>) -> Self {
        Self::new(main, [])
    }

    /// That of the main log, and those of the logs that namespaces have of their own in a Redis of a name, in the same place.
    #[must_use]
    pub fn new(main: Arc<dyn Archive>, others: impl IntoIterator<Item = (String, Vec<String>)>) -> Self {
        let others = others.into_iter().map(|(redis, namespaces)| {
            let archive = main.of_log(&redis);
            Other { redis, namespaces, archive }
        });
        Self { others: others.collect(), main }
    }

    /// That of the main log. It has what was said in all rooms, too, as all of them do.
    #[must_use]
    pub fn main(&self) -> &Arc<dyn Archive> {
        &self.main
    }

    /// All of them, the main one first, each with a room of its log in which nothing is said: by that the log can be asked where
    /// it stands.
    pub fn all(&self) -> impl Iterator<Item = (RoomName, &Arc<dyn Archive>)> {
        let others = self.others.iter().map(|other| {
            let namespace = other.namespaces.first().map_or("", |name| name);
            (RoomName::internal(&format!("archive:{namespace}")), &other.archive)
        });
        std::iter::once((RoomName::internal("archive"), &self.main)).chain(others)
    }

    /// Which of them has the rooms of a namespace.
    #[must_use]
    pub fn number_of(&self, namespace: &str) -> usize {
        let has = |other: &Other| other.namespaces.iter().any(|name| name == namespace);
        self.others.iter().position(has).map_or(0, |other| other + 1)
    }

    /// That of the log which has a room.
    #[must_use]
    pub fn of(&self, room: &RoomName) -> &Arc<dyn Archive> {
        // Rooms that are in none are the main log's, as nodes have it.
        let number = room.namespace().map_or(0, |namespace| self.number_of(namespace));
        let other = number.checked_sub(1);
        other.map_or(&self.main, |other| &self.others[other].archive)
    }

    /// That of the log in a Redis: the main one's for a name that no other has.
    #[must_use]
    pub fn of_redis(&self, name: &str) -> &Arc<dyn Archive> {
        self.others.iter().find(|other| other.redis == name).map_or(&self.main, |other| &other.archive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::MemoryArchive;

    #[test]
    fn each_log_is_asked_by_a_room_of_its_own() {
        let others = [("chat", vec!["/chat", "/talk"]), ("front", vec!["/"])];
        let others = others.map(|(name, of)| (name.to_owned(), of.into_iter().map(str::to_owned).collect()));
        let archives = Archives::new(Arc::new(MemoryArchive::new(1)), others);
        let all: Vec<_> = archives.all().collect();
        assert_eq!(all.len(), 3);
        for (number, (nowhere, archive)) in all.iter().enumerate() {
            assert!(Arc::ptr_eq(archives.of(nowhere), archive), "{nowhere:?}");
            assert!(nowhere.shown().is_none(), "no client can be in it");
            let namespace = nowhere.namespace().unwrap_or("/nowhere");
            assert_eq!(archives.number_of(namespace), number);
        }
    }
}

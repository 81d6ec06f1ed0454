//! Formats: the form in which nodes leave things for each other in Redis, so that two versions can serve side by side.
//!
//! Each node reads all of [`Format::ALL`], says so where the others can see it, and writes the newest one that all living
//! nodes read. A version that needs another form adds a format, and goes on reading and writing the one before: a rolling
//! upgrade goes from each version to the next, and back.

use std::sync::Arc;

use tokio::sync::watch;

/// A form of what nodes write for others. They count up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Format {
    /// Of records of sessions and of their seats only the holder is known.
    Unordered = 3,
    /// Records and seats carry the holder's term as well, and seats its step: what comes late shows.
    Ordered = 4,
    /// Events may be for all but several.
    Excepting = 5,
}

impl Format {
    /// All that this version reads, in their order.
    pub const ALL: [Self; 3] = [Self::Unordered, Self::Ordered, Self::Excepting];
    /// What every node reads that may be there: those of the version before, which do not say what they read, too.
    pub const OLDEST: Self = Self::ALL[0];
    /// What nodes of this version write among themselves.
    pub const NEWEST: Self = Self::ALL[Self::ALL.len() - 1];

    /// Its number: the first byte of what is written in it.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The format of a number; nothing if this version does not read it.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.number() == number)
    }
}

/// The format that a node writes now. Cloning gives another handle of the same.
#[derive(Clone, Debug)]
pub struct Formats(Arc<watch::Sender<Format>>);

impl Formats {
    /// Begins with a format: the newest where no other node can read it, the oldest until the others are known.
    #[must_use]
    pub fn new(written: Format) -> Self {
        Self(Arc::new(watch::Sender::new(written)))
    }

    /// What is to be written now.
    #[must_use]
    pub fn written(&self) -> Format {
        *self.0.borrow()
    }

    /// Writes another one from now on.
    pub fn write(&self, format: Format) {
        self.0.send_if_modified(|written| std::mem::replace(written, format) != format);
    }

    /// Hears of each change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Format> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_count_up_and_are_known_by_their_numbers() {
        assert!(Format::ALL.is_sorted());
        assert!(Format::ALL.into_iter().all(|format| Format::of_number(format.number()) == Some(format)));
        assert_eq!(Format::of_number(Format::NEWEST.number() + 1), None);
        assert_eq!(Format::of_number(Format::OLDEST.number() - 1), None);
    }

    #[test]
    fn a_change_is_told_and_a_repetition_is_not() {
        let formats = Formats::new(Format::OLDEST);
        let mut changes = formats.changes();
        formats.write(Format::OLDEST);
        assert!(!changes.has_changed().unwrap());
        formats.clone().write(Format::NEWEST);
        assert_eq!((*changes.borrow_and_update(), formats.written()), (Format::NEWEST, Format::NEWEST));
    }
}

//! The life of a session on this node. It is one state, and whatever changes it is here.
//!
//! ```text
//!             store                   hang_up             depart
//! Beginning ──────────► Begun(Stored) ────────► Leaving ────────► Departed
//!     │                 ▲   │ store, unstore      ▲                  ▲
//!     │                 └───┘                     │                  │
//!     └─────────────────── hang_up ───────────────┘                  │
//!     └──── depart, as from every other stage ───────────────────────┘
//! ```
//!
//! Beside that a session has an ending: whoever ends it does not know how far it is, and it lives on until its connection is
//! over. So it is told, and closed, at any of these stages, and stays at it.

use super::outlet::CloseReason;
use crate::domain::Offset;

/// Where a session is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Life {
    stage: Stage,
    ending: Ending,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Until it is stored for the first time, only who begins it may do that.
    #[default]
    Beginning,
    Begun(Stored),
    /// Its connection is over, and what its client sent before is still done. Nothing of that is stored any more: others may
    /// have the session by now, or nobody may have it again.
    Leaving,
    /// It is in nothing, and nothing may be joined or stored any more: it would stay behind for ever.
    Departed,
}

/// How a session that has begun is stored, as far as this node knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node) struct Stored {
    /// How often it was to be stored.
    version: u32,
    /// Whether its record is as it is.
    pub(in crate::node) is_current: bool,
    /// Up to where its record says that a client has everything.
    pub(in crate::node) complete_to: Offset,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ending {
    /// Its client was told that it ends.
    is_told: bool,
    /// Why this node ends its connection, if it does.
    why: Option<CloseReason>,
}

impl Life {
    /// A record of it is made, by which a client has everything up to `complete_to`: it has begun. Returns the record's
    /// version; nothing if it has departed, and no record may be made.
    pub(super) fn store(&mut self, complete_to: Offset) -> Option<u32> {
        let before = match self.stage {
            Stage::Beginning => 0,
            Stage::Begun(stored) => stored.version,
            Stage::Leaving | Stage::Departed => return None,
        };
        let version = before + 1;
        self.stage = Stage::Begun(Stored { version, is_current: true, complete_to });
        Some(version)
    }

    /// What is stored is not as it is, or not there. That is nothing new of who is not stored yet, or not any more.
    pub(super) fn unstore(&mut self) {
        if let Stage::Begun(stored) = &mut self.stage {
            stored.is_current = false;
        }
    }

    /// Its connection is over.
    pub(super) fn hang_up(&mut self) {
        if self.stage != Stage::Departed {
            self.stage = Stage::Leaving;
        }
    }

    /// It is over.
    pub(super) fn depart(&mut self) {
        self.stage = Stage::Departed;
    }

    /// Its client is told that it ends; false if it was told before.
    pub(super) fn tell(&mut self) -> bool {
        !std::mem::replace(&mut self.ending.is_told, true)
    }

    /// This node ends its connection. The last reason of several counts, but who was ended for good stays so: however the
    /// connection ends, nobody gets the session back.
    pub(super) fn close(&mut self, why: CloseReason) {
        if self.ending.why != Some(CloseReason::Kicked) {
            self.ending.why = Some(why);
        }
    }

    /// How it is stored, from the end of its beginning until its connection is over.
    pub(super) fn stored(&self) -> Option<Stored> {
        match self.stage {
            Stage::Begun(stored) => Some(stored),
            Stage::Beginning | Stage::Leaving | Stage::Departed => None,
        }
    }

    pub(super) fn has_hung_up(&self) -> bool {
        matches!(self.stage, Stage::Leaving | Stage::Departed)
    }

    pub(super) fn has_departed(&self) -> bool {
        self.stage == Stage::Departed
    }

    /// Why this node ends its connection, if it does.
    pub(super) fn why(&self) -> Option<CloseReason> {
        self.ending.why
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGINNING: Stage = Stage::Beginning;
    const LEAVING: Stage = Stage::Leaving;
    const DEPARTED: Stage = Stage::Departed;

    fn begun(version: u32, is_current: bool, complete_to: u64) -> Stage {
        Stage::Begun(Stored { version, is_current, complete_to: Offset(complete_to) })
    }

    /// Every stage, once untouched and once told and closed.
    fn lives() -> Vec<Life> {
        let stages = [BEGINNING, begun(3, true, 50), begun(3, false, 50), LEAVING, DEPARTED];
        let told = Ending { is_told: true, why: Some(CloseReason::Draining) };
        let endings = [Ending::default(), told];
        stages.into_iter().flat_map(|stage| endings.map(|ending| Life { stage, ending })).collect()
    }

    fn after(life: Life, change: impl FnOnce(&mut Life)) -> Life {
        let mut life = life;
        change(&mut life);
        life
    }

    #[test]
    fn a_record_is_made_of_who_is_there_each_with_the_next_version() {
        for life in lives() {
            let (mut stored, expected) = match life.stage {
                Stage::Beginning => (life, Some((1, begun(1, true, 70)))),
                Stage::Begun(_) => (life, Some((4, begun(4, true, 70)))),
                Stage::Leaving | Stage::Departed => (life, None),
            };
            assert_eq!(stored.store(Offset(70)), expected.map(|(version, _)| version), "{life:?}");
            assert_eq!(stored, Life { stage: expected.map_or(life.stage, |(_, stage)| stage), ..life });
        }
    }

    #[test]
    fn only_who_has_begun_can_be_stored_wrongly() {
        for life in lives() {
            let stage = match life.stage {
                Stage::Begun(_) => begun(3, false, 50),
                stage => stage,
            };
            assert_eq!(after(life, Life::unstore), Life { stage, ..life });
        }
    }

    #[test]
    fn everybody_departs_once_for_all() {
        for life in lives() {
            let mut gone = after(life, Life::depart);
            assert_eq!(gone, Life { stage: DEPARTED, ..life });
            gone.unstore();
            gone.depart();
            assert_eq!((gone.store(Offset(70)), gone.stored()), (None, None), "{life:?}");
            assert_eq!(gone, Life { stage: DEPARTED, ..life });
        }
    }

    #[test]
    fn who_hangs_up_is_not_stored_any_more_and_who_has_departed_stays_so() {
        for life in lives() {
            let mut left = after(life, Life::hang_up);
            let stage = if life.stage == DEPARTED { DEPARTED } else { LEAVING };
            assert_eq!(left, Life { stage, ..life });
            left.unstore();
            assert_eq!((left.store(Offset(70)), left.stored(), left.has_hung_up()), (None, None, true), "{life:?}");
            assert_eq!(left, Life { stage, ..life });
        }
    }

    #[test]
    fn it_is_told_once_at_whatever_stage_and_stays_at_it() {
        for life in lives() {
            let mut told = life;
            assert_eq!(told.tell(), !life.ending.is_told);
            assert!(!told.tell());
            assert_eq!(told, Life { ending: Ending { is_told: true, ..life.ending }, ..life });
        }
    }

    #[test]
    fn the_last_reason_counts_but_who_was_ended_for_good_stays_so() {
        for life in lives() {
            let mut closed = life;
            for why in [CloseReason::Draining, CloseReason::Replaced, CloseReason::Kicked] {
                closed.close(why);
                assert_eq!(closed, Life { ending: Ending { why: Some(why), ..life.ending }, ..life });
            }
            closed.close(CloseReason::Slow);
            assert_eq!((closed.why(), closed.stage), (Some(CloseReason::Kicked), life.stage));
        }
    }

    #[test]
    fn what_is_asked_of_it_is_what_it_is() {
        for life in lives() {
            let stored = life.stored().map(|stored| (stored.is_current, stored.complete_to));
            let (expected, has_departed) = match life.stage {
                Stage::Beginning | Stage::Leaving => (None, false),
                Stage::Begun(stored) => (Some((stored.is_current, Offset(50))), false),
                Stage::Departed => (None, true),
            };
            assert_eq!((stored, life.has_departed(), life.why()), (expected, has_departed, life.ending.why));
        }
        let born = Life::default();
        assert_eq!((born.stage, born.ending), (BEGINNING, Ending::default()));
    }
}

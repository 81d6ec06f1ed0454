//! What a client went through lately, for whoever has to find out why something is missing.

use std::collections::VecDeque;
use std::time::Duration;

use super::plan::Habit;
use super::wire::Upgrade;

/// Steps that are remembered per client: about a minute's.
const STEPS: usize = 1_000;
/// Steps that are told.
const TOLD: usize = 100;

/// One thing that happened to a client.
#[derive(Debug)]
#[expect(dead_code, reason = "it is there to be printed")]
pub(crate) enum Step {
    Dialled { node: usize, habit: Habit },
    Upgraded(Upgrade),
    Hello { pid: Option<String>, offset: Option<String> },
    Session { recovered: bool, reason: Option<String>, rooms: Option<usize>, offset: Option<String> },
    Asked { room: usize, after: Option<u64> },
    Joined { room: usize, offset: u64, recovered: Option<bool> },
    Heard { room: usize, offset: u64, replayed: bool },
    Replayed { room: usize, events: Option<u64>, offset: Option<String> },
    Gap { room: usize, reason: Option<String> },
    Sent { room: usize, number: u32 },
    Kept { room: usize, number: u32, offset: u64 },
    Refused { room: usize, code: String },
    StoppedReading(Duration),
    Ended(String),
}

impl Step {
    /// The room that it is about; nothing for what concerns all.
    fn room(&self) -> Option<usize> {
        match self {
            Self::Asked { room, .. }
            | Self::Joined { room, .. }
            | Self::Heard { room, .. }
            | Self::Replayed { room, .. }
            | Self::Gap { room, .. }
            | Self::Sent { room, .. }
            | Self::Kept { room, .. }
            | Self::Refused { room, .. } => Some(*room),
            Self::Dialled { .. }
            | Self::Upgraded(_)
            | Self::Hello { .. }
            | Self::Session { .. }
            | Self::StoppedReading(_)
            | Self::Ended(_) => None,
        }
    }
}

/// The latest steps of one client.
#[derive(Debug, Default)]
pub(crate) struct Trail(VecDeque<(Duration, Step)>);

impl Trail {
    pub(crate) fn note(&mut self, at: Duration, step: Step) {
        if self.0.len() == STEPS {
            self.0.pop_front();
        }
        self.0.push_back((at, step));
    }

    /// The latest steps that have to do with a room or with all, a line each; without a room, all steps.
    pub(crate) fn about(&self, room: Option<usize>) -> String {
        let is_about = |step: &Step| step.room().is_none() || room.is_none() || step.room() == room;
        let mut steps: Vec<_> = self.0.iter().rev().filter(|(_, step)| is_about(step)).take(TOLD).collect();
        steps.reverse();
        steps.into_iter().map(|(at, step)| format!("    {:9.3} {step:?}\n", at.as_secs_f64())).collect()
    }
}

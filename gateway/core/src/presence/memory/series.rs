//! Numbered places, in the state that the nodes of one process share.

use std::collections::{BTreeSet, HashMap};

use super::State;
use crate::presence::{Arrival, Attendee, Entry, Numbered};

/// Numbered places of which some are in use.
#[derive(Debug)]
pub(super) struct Series {
    capacity: usize,
    /// Below it every number is full or open.
    high: u32,
    /// The numbers below `high` that are not full.
    open: BTreeSet<u32>,
    in_use: usize,
    /// Where each member is that was seated here.
    seats: HashMap<String, u32>,
}

impl State {
    pub(super) fn enter_first(
        &mut self,
        instance: u64,
        who: &Attendee,
        numbered: &Numbered,
        capacity: usize,
        arrival: Arrival,
    ) -> (u32, Entry) {
        let new = || Series { capacity, high: 1, open: BTreeSet::new(), in_use: 0, seats: HashMap::new() };
        let series = self.series.entry(numbered.clone()).or_insert_with(new);
        if let Some(&seat) = series.seats.get(&who.member) {
            return (seat, self.enter(instance, who, &numbered.name(seat), None, arrival));
        }
        // With another capacity full is something else: all are looked at anew, once.
        if series.capacity != capacity {
            *series = Series { capacity, high: 1, open: BTreeSet::new(), ..std::mem::replace(series, new()) };
        }
        loop {
            let (number, is_open) = self.candidate(numbered);
            let room = numbered.name(number);
            let is_full = self.places.get(&room).is_some_and(|place| place.members.len() >= capacity);
            let entered = (!is_full).then(|| self.enter(instance, who, &room, None, arrival));
            let (Some(series), Some(place)) = (self.series.get_mut(numbered), self.places.get_mut(&room)) else {
                unreachable!("who entered is in the place, or others fill it");
            };
            // It may have been entered by its name alone until now.
            if place.number.is_none() {
                place.number = Some((numbered.clone(), number));
                series.in_use += 1;
            }
            if place.members.len() >= capacity {
                if is_open {
                    series.open.remove(&number);
                } else {
                    series.high += 1;
                }
            }
            if let Some(entered) = entered {
                series.seats.insert(who.member.clone(), number);
                return (number, entered);
            }
        }
    }

    /// The first number that may not be full, and whether it is one that was reopened.
    fn candidate(&self, numbered: &Numbered) -> (u32, bool) {
        let Some(series) = self.series.get(numbered) else { return (1, false) };
        series.open.first().map_or((series.high, false), |number| (*number, true))
    }

    /// A member has left a numbered place: its number can be had again.
    pub(super) fn reopen(&mut self, numbered: &Numbered, number: u32, member: &str, is_empty: bool) {
        let Some(series) = self.series.get_mut(numbered) else { return };
        if series.seats.get(member) == Some(&number) {
            series.seats.remove(member);
        }
        series.in_use -= usize::from(is_empty);
        if series.in_use == 0 {
            self.series.remove(numbered);
        } else if number < series.high {
            series.open.insert(number);
        }
    }
}

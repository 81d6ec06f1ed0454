//! Random operations beside a model.

use super::*;

/// Presence as one would write it without caring for speed: who is where, in lists.
#[derive(Default)]
struct Model {
    entries: Vec<ModelEntry>,
    /// Members that were seated in numbered places, and are still there.
    seats: HashMap<String, u32>,
}

struct ModelEntry {
    room: RoomName,
    session: SessionId,
    member: String,
    holder: u64,
    term: u32,
    step: u32,
    lingers: bool,
    is_due: bool,
}

impl Model {
    fn members(&self, room: &RoomName) -> Vec<String> {
        let here = self.entries.iter().filter(|entry| entry.room == *room).map(|entry| entry.member.clone());
        here.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }

    fn enter(&mut self, who: &Attendee, place: &Place, arrival: Arrival) -> Entered {
        let is_it = |entry: &&mut ModelEntry| entry.room == place.room && entry.session == who.session;
        if let Some(entry) = self.entries.iter_mut().find(is_it) {
            if entry.holder == who.holder && entry.step > who.step {
                return Entered::Again;
            }
            if entry.holder != who.holder && (arrival == Arrival::Restored || entry.term > who.term) {
                return Entered::Elsewhere;
            }
            (entry.holder, entry.term, entry.step) = (who.holder, who.term, who.step);
            (entry.lingers, entry.is_due) = (false, false);
            return Entered::Again;
        }
        let members = self.members(&place.room);
        let was_there = members.contains(&who.member);
        if !was_there && place.capacity.is_some_and(|capacity| members.len() >= capacity) {
            return Entered::Full;
        }
        self.entries.push(ModelEntry {
            room: place.room.clone(),
            session: who.session,
            member: who.member.clone(),
            holder: who.holder,
            term: who.term,
            step: who.step,
            lingers: false,
            is_due: false,
        });
        if was_there { Entered::Again } else { Entered::First }
    }

    fn enter_first(&mut self, who: &Attendee, numbered: &Numbered, capacity: usize) -> (u32, Entered) {
        if let Some(&seat) = self.seats.get(&who.member) {
            let place = Place { room: numbered.name(seat), capacity: None };
            return (seat, self.enter(who, &place, Arrival::Newest));
        }
        let has_room = |number: &u32| self.members(&numbered.name(*number)).len() < capacity;
        let number = (1..).find(has_room).unwrap();
        let place = Place { room: numbered.name(number), capacity: None };
        self.seats.insert(who.member.clone(), number);
        (number, self.enter(who, &place, Arrival::Newest))
    }

    fn leave(&mut self, who: &Attendee, room: &RoomName, time: Duration, numbered: &Numbered) -> Vec<String> {
        let is_its = |entry: &ModelEntry| entry.holder == who.holder && entry.step <= who.step;
        let is_it = |entry: &ModelEntry| entry.room == *room && entry.session == who.session && is_its(entry);
        if time.is_zero() {
            return self.take_out(numbered, is_it);
        }
        if let Some(entry) = self.entries.iter_mut().find(|entry| is_it(entry) && !entry.lingers) {
            (entry.lingers, entry.is_due, entry.step) = (true, time < LONG, who.step);
        }
        Vec::new()
    }

    /// Removes entries; returns who is no longer where.
    fn take_out(&mut self, numbered: &Numbered, is_over: impl Fn(&ModelEntry) -> bool) -> Vec<String> {
        let over: Vec<_> = self.entries.extract_if(.., |entry| is_over(entry)).collect();
        let mut gone: Vec<_> = over.iter().map(|entry| (entry.room.clone(), entry.member.clone())).collect();
        gone.sort();
        gone.dedup();
        gone.retain(|(room, member)| !self.members(room).contains(member));
        self.seats.retain(|member, seat| !gone.contains(&(numbered.name(*seat), member.clone())));
        let mut gone: Vec<_> = gone.into_iter().map(|(room, member)| format!("{member} in {room}")).collect();
        gone.sort();
        gone
    }
}

fn told(departed: Vec<Departed>) -> Vec<String> {
    let mut told: Vec<_> = departed.into_iter().map(|gone| format!("{} in {}", gone.member, gone.place)).collect();
    told.sort();
    told
}

pub(super) async fn random_operations_do_what_a_model_does(store: Store) {
    for seed in 0..12 {
        let nodes = [store.node(LONG), store.node(LONG), store.node(LONG)];
        one_random_run(seed, &nodes).await;
        assert_no_places(&store).await;
    }
}

async fn one_random_run(seed: u64, nodes: &[Node]) {
    const CAPACITY: usize = 2;
    let mut random = StdRng::seed_from_u64(seed);
    let mut model = Model::default();
    let games = games();
    let rooms: Vec<_> = (1..=5).map(|number| games.name(number)).chain([room("a"), room("b")]).collect();
    // Twelve sessions of eight members; each remembers the holders it had, newest last.
    let mut sessions: Vec<_> = (0..12).map(|number| vec![one_of(&format!("m{}", number % 8))]).collect();
    for step in 0..250 {
        let node = nodes.choose(&mut random).unwrap();
        let holders = sessions.choose_mut(&mut random).unwrap();
        if random.random_bool(0.2) {
            holders.push(back(holders.last().unwrap()));
        }
        // What is asked now, or was asked before and comes late.
        let mut some_step = || if random.random_bool(0.7) { step } else { random.random_range(0..=step) };
        let steps = [some_step(), some_step()];
        let newest = at(steps[0], holders.last().unwrap());
        let any = at(steps[1], holders.choose(&mut random).unwrap());
        let place = rooms.choose(&mut random).unwrap().clone();
        let context = format!("seed {seed}, step {step}, {} in {place}", any.member);
        match random.random_range(0..9) {
            0..3 => {
                let capacity = [None, Some(1), Some(3)][random.random_range(0..3)];
                let place = Place { room: place, capacity };
                let who = if random.random_bool(0.2) { &any } else { &newest };
                let expected = model.enter(who, &place, Arrival::Newest);
                assert_eq!(enter(node, who, place).await, expected, "{context}: enters");
            }
            3 => {
                let place = Place { room: place, capacity: None };
                let expected = model.enter(&any, &place, Arrival::Restored);
                assert_eq!(restore(node, &any, place).await, expected, "{context}: is restored");
            }
            4 => {
                let expected = model.enter_first(&newest, &games, CAPACITY);
                let seated = seated(node, &newest, &games, CAPACITY).await;
                assert_eq!(seated, expected, "{context}: is seated");
            }
            5..8 => {
                let time = [Duration::ZERO, Duration::from_millis(1), LONG][random.random_range(0..3)];
                let expected = model.leave(&any, &place, time, &games);
                let departed = node.leave(&any, &[place], time).await.unwrap();
                assert_eq!(told(departed), expected, "{context}: leaves");
            }
            _ => {
                sleep(Duration::from_millis(4)).await;
                let expected = model.take_out(&games, |entry| entry.is_due);
                assert_eq!(told(node.beat(Beating::default()).await.unwrap().departed), expected, "{context}: a beat");
            }
        }
        let place = rooms.choose(&mut random).unwrap();
        let expected = model.members(place);
        let page = node.list(place, None, PAGE).await.unwrap();
        assert_eq!(page.count, expected.len() as u64, "{context}: count of {place}");
        let listed: Vec<_> = page.members.into_iter().map(|member| member.member).collect();
        assert_eq!(listed, expected, "{context}: list of {place}");
    }
    let rooms: Vec<_> = rooms.into_iter().chain((6..20).map(|number| games.name(number))).collect();
    for who in sessions.iter().flatten() {
        nodes[0].leave(&at(u32::MAX, who), &rooms, Duration::ZERO).await.unwrap();
    }
}

//! What schedules call the events, and how events are found by that.
//!
//! Guarantees: a name says who takes part and what is said, so it survives small changes of the code
//!             under test; two enabled events with one name do the same: where the words are the same and
//!             the messages are not, the name ends with `#2`, `#3` and so on.

use std::fmt::{self, Write as _};
use std::hash::Hash as _;

use raft_core::{Address, Envelope};

use super::{Event, World};
use crate::event::{EventClass, Names, Pick};
use crate::fingerprint::StateHasher;
use crate::network::InFlight;
use crate::written::{Rest, is_written};

impl World {
    pub(super) fn event_name(&self, event: Event) -> String {
        let mut name = String::new();
        self.write_name(&mut name, event).expect("a string takes every name");
        name
    }

    pub(super) fn write_name(&self, f: &mut dyn fmt::Write, event: Event) -> fmt::Result {
        match event {
            Event::Deliver(slot) => write!(f, "deliver {}", self.network.message(slot)),
            Event::Duplicate(slot) => write!(f, "duplicate {}", self.network.message(slot)),
            Event::Drop(slot) => {
                let Envelope { from, to, message, .. } = self.network.message(slot);
                write!(f, "drop {from}")?;
                if let (Address::Server(_), Some(term)) = (from, message.term()) {
                    write!(f, "@{term}")?;
                }
                write!(f, " ⇥ {to} {message}")
            }
            Event::Timeout(place) => write!(f, "timeout {}", self.hosts[place].id),
            Event::Saved(place) => write!(f, "saved {}", self.hosts[place].id),
            Event::Take(place) => write!(f, "take {}", self.hosts[place].id),
            Event::Applied(place) => write!(f, "applied {}", self.hosts[place].id),
            Event::Taken(place) => write!(f, "taken {}", self.hosts[place].id),
            Event::Snapshot(place) => write!(f, "snapshot {}", self.hosts[place].id),
            Event::Change(place, which) => {
                write!(f, "change {} {}", self.hosts[place].id, self.changes(place)[which])
            }
            Event::Transfer(place, which) => {
                write!(f, "transfer {} to ", self.hosts[place].id)?;
                match self.successors(place)[which] {
                    Some(server) => write!(f, "{server}"),
                    None => f.write_str("anyone"),
                }
            }
            Event::Cut(cut) => cut.write_name(f, self.hosts.len(), |place| self.hosts[place].id),
            Event::Heal => f.write_str("heal all"),
            Event::FailDisk(place) => write!(f, "fail-disk {}", self.hosts[place].id),
            Event::Stall(place) => write!(f, "stall {}", self.hosts[place].id),
            Event::Unstall(place) => write!(f, "unstall {}", self.hosts[place].id),
            Event::Propose(place) => write!(f, "propose {}", self.hosts[place].id),
            Event::Read(place) => write!(f, "read {}", self.hosts[place].id),
            Event::Pause(place) => write!(f, "pause {}", self.hosts[place].id),
            Event::Resume(place) => write!(f, "resume {}", self.hosts[place].id),
            Event::Crash(place) => write!(f, "crash {}", self.hosts[place].id),
            Event::Restart(place) => write!(f, "restart {}", self.hosts[place].id),
            Event::Request(place) => write!(f, "request {}", self.clients[place].id()),
            Event::Retry(place) => write!(f, "retry {}", self.clients[place].id()),
        }
    }
}

impl World {
    /// Which of the different messages with the event's name it is about, from 1. They are ordered by what
    /// is in them: when they were sent does not do, since of two twins either may be gone.
    fn rank(&self, pick: Pick, name: &str) -> usize {
        let Some(slot) = self.event(pick).slot() else { return 1 };
        let content = |message: &Envelope| {
            let mut state = StateHasher::new();
            message.hash(&mut state);
            state.state()
        };
        let own = self.network.message(slot);
        let named = self.picks_named(pick.class, name).map(|it| &it.message);
        let mut before: Vec<_> = named.filter(|&other| other != own).map(content).collect();
        before.retain(|&other| other < content(own));
        before.sort_unstable();
        before.dedup();
        before.len() + 1
    }

    /// What the enabled events of a class with this name are about.
    fn picks_named(
        &self,
        class: EventClass,
        name: &str,
    ) -> impl Iterator<Item = &InFlight<Envelope>> {
        let picks = (0..self.count(class)).map(move |index| Pick { class, index });
        let named = picks.filter(move |&pick| self.is_named(pick, name));
        named.filter_map(|pick| Some(self.network.in_flight_at(self.event(pick).slot()?)))
    }

    fn is_named(&self, pick: Pick, name: &str) -> bool {
        let mut rest = Rest(name);
        self.write_name(&mut rest, self.event(pick)).is_ok() && rest.0.is_empty()
    }
}

/// What a message is called, and which of those that are called so.
fn split_rank(name: &str) -> (&str, usize) {
    let split = name.rsplit_once(" #");
    split.and_then(|(name, rank)| Some((name, rank.parse().ok()?))).unwrap_or((name, 1))
}

impl Names for World {
    fn name(&self, pick: Pick) -> String {
        let mut name = self.event_name(self.event(pick));
        match self.rank(pick, &name) {
            1 => {}
            rank => write!(name, " #{rank}").expect("a string takes every name"),
        }
        name
    }

    fn find(&self, name: &str) -> Option<Pick> {
        let (base, rank) = split_rank(name);
        let class = EventClass::of_verb(base.split(' ').next()?)?;
        let picks = (0..self.count(class)).map(|index| Pick { class, index });
        let mut named = picks.filter(|&pick| self.is_named(pick, base));
        let first = named.next()?;
        let is_plain = rank == 1 && named.next().is_none();
        if is_plain || self.event(first).slot().is_none() {
            return Some(first);
        }
        let mut picks = (0..self.count(class)).map(|index| Pick { class, index });
        picks.find(|&pick| self.is_named(pick, base) && self.rank(pick, base) == rank)
    }

    fn find_like(&self, name: &str) -> Option<Pick> {
        // `deliver s1@2 → s3 VoteRequest last=1@1`: what follows the message's name may differ, and
        // the nearest term is meant.
        let (name, _) = split_rank(name);
        if let Some(first) = self.find(name) {
            return Some(first);
        }
        let mut words = name.split(' ');
        let class = EventClass::of_verb(words.next()?)?;
        let (from, term) = words.next()?.split_once('@')?;
        let (term, to, message) = (term.parse::<u64>().ok()?, words.nth(1)?, words.next()?);
        let picks = (0..self.count(class)).map(|index| Pick { class, index });
        let distances = picks.filter_map(|pick| {
            let envelope = self.network.message(self.event(pick).slot()?);
            let is_like = envelope.message.name() == message
                && is_written(&envelope.from, from)
                && is_written(&envelope.to, to);
            is_like.then_some((envelope.message.term()?.0.abs_diff(term), pick))
        });
        distances.min_by_key(|&(distance, _)| distance).map(|(_, pick)| pick)
    }
}

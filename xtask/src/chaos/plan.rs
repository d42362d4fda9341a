//! What goes wrong, and in which order: a schedule that repeats with its seed.
//!
//! Guarantees: every kind that was asked for comes once before any comes by its weight; the steps depend
//!             on the seed and on what was asked for alone.
//! Elsewhere:  when a step is over depends on the servers: see `nemesis.rs`.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;

use super::dice::Dice;

/// How often the favourite comes: more often than all others together.
const FAVOURITE: u64 = 40;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Fault {
    /// SIGKILL to the leader
    LeaderKill,
    /// SIGKILL to as many others as the cluster survives
    Kill,
    /// SIGKILL to all servers at once
    KillAll,
    /// SIGSTOP to the leader for a while
    LeaderPause,
    /// SIGSTOP to another server for a while
    Pause,
    /// A server is asked to stop, and started again
    Restart,
    /// A server finds its disk full, stops by itself, and is started again with more room
    DiskFull,
    /// SIGKILL to those who just voted, while messages are late and come twice
    VoteRace,
    /// Deliveries are lost
    Drop,
    /// Deliveries come late
    Delay,
    /// Deliveries come twice
    Duplicate,
    /// The broker is too busy to take anything
    Throttle,
    /// All connections are cut
    Cut,
    /// All connections are cut, and new ones are refused for a while
    Refuse,
}

impl Fault {
    /// The name it has on the command line and in the summary.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// True if it befalls the bus, and not servers.
    pub(super) fn is_of_bus(self) -> bool {
        self.weight().1
    }

    /// How often it comes among its like, and whether it befalls the bus.
    fn weight(self) -> (u64, bool) {
        match self {
            Self::LeaderKill => (9, false),
            Self::Kill | Self::KillAll | Self::Pause => (2, false),
            Self::LeaderPause => (3, false),
            Self::Restart | Self::DiskFull | Self::VoteRace => (1, false),
            Self::Drop | Self::Delay | Self::Duplicate => (3, true),
            Self::Throttle => (2, true),
            Self::Cut | Self::Refuse => (1, true),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// A while in which something goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// What befalls servers.
    pub(super) servers: Option<Fault>,
    /// What befalls the bus meanwhile.
    pub(super) bus: Option<Fault>,
    /// How long it goes wrong.
    pub(super) hold: Duration,
    /// How long nothing does, afterwards.
    pub(super) rest: Duration,
    /// Chooses whom it befalls.
    pub(super) choice: u64,
}

/// The steps of one run, without end.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    dice: Dice,
    kinds: Vec<Fault>,
    /// What comes more often than anything else.
    favourite: Option<Fault>,
    /// What has not come yet, of servers and of the bus.
    first: [Vec<Fault>; 2],
}

impl Plan {
    pub(super) fn new(seed: u64, kinds: &[Fault], favourite: Option<Fault>) -> Self {
        let mut dice = Dice::new(seed, 0);
        let mut kinds = kinds.to_vec();
        kinds.sort_unstable();
        kinds.dedup();
        let mut shuffled = kinds.clone();
        dice.shuffle(&mut shuffled);
        let (bus, servers) = shuffled.into_iter().partition(|fault| fault.is_of_bus());
        Self { dice, kinds, favourite, first: [servers, bus] }
    }

    /// True as long as some kind has not come yet.
    pub(super) fn is_first_round(&self) -> bool {
        self.first.iter().any(|faults| !faults.is_empty())
    }

    fn choose(&mut self, is_of_bus: bool) -> Option<Fault> {
        if let Some(fault) = self.first[usize::from(is_of_bus)].pop() {
            return Some(fault);
        }
        let kinds = self.kinds.iter().filter(|fault| fault.is_of_bus() == is_of_bus);
        let weight =
            |fault| if Some(fault) == self.favourite { FAVOURITE } else { fault.weight().0 };
        let weighted: Vec<_> = kinds.map(|&fault| (fault, weight(fault))).collect();
        self.dice.weighted(&weighted)
    }
}

impl Iterator for Plan {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let is_calm = !self.is_first_round() && self.dice.percent(35);
        let servers = self.choose(false);
        let bus = if is_calm && servers.is_some() { None } else { self.choose(true) };
        let millis = |dice: &mut Dice, from, width| Duration::from_millis(from + dice.below(width));
        let hold = millis(&mut self.dice, 200, 1_500);
        let rest = millis(&mut self.dice, 100, 900);
        Some(Step { servers, bus, hold, rest, choice: self.dice.next() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_schedule_repeats_with_its_seed_and_differs_with_another() {
        let steps =
            |seed| Plan::new(seed, Fault::value_variants(), None).take(200).collect::<Vec<_>>();
        assert_eq!(steps(7), steps(7));
        assert_ne!(steps(7), steps(8));
    }

    #[test]
    fn every_kind_comes_in_the_first_round() {
        for seed in 0..20 {
            let mut plan = Plan::new(seed, Fault::value_variants(), None);
            let mut seen = Vec::new();
            while plan.is_first_round() {
                let step = plan.next().unwrap();
                seen.extend(step.servers.into_iter().chain(step.bus));
            }
            for fault in Fault::value_variants() {
                assert!(seen.contains(fault), "{fault} with seed {seed}");
            }
            assert!(seen.len() <= 2 * Fault::value_variants().len());
        }
    }

    #[test]
    fn only_what_was_asked_for_comes() {
        let asked = [Fault::Cut, Fault::LeaderKill];
        for step in Plan::new(1, &asked, None).take(100) {
            assert!(step.servers.into_iter().chain(step.bus).all(|fault| asked.contains(&fault)));
        }
        assert!(
            Plan::new(1, &[Fault::Drop], None).take(20).all(|step| step.bus == Some(Fault::Drop))
        );
    }

    #[test]
    fn the_favourite_comes_most_often() {
        let plan = Plan::new(3, Fault::value_variants(), Some(Fault::VoteRace));
        let races = plan.take(1_000).filter(|step| step.servers == Some(Fault::VoteRace)).count();
        assert!((550..750).contains(&races), "{races}");
    }

    #[test]
    fn leaders_are_killed_most_often() {
        let mut counts = BTreeMap::new();
        for step in Plan::new(3, Fault::value_variants(), None).take(1_000) {
            *counts.entry(step.servers).or_insert(0) += 1;
        }
        let leader_kills = counts.remove(&Some(Fault::LeaderKill)).unwrap();
        assert!((350..550).contains(&leader_kills), "{leader_kills}");
        assert!(counts.values().all(|&count| count < leader_kills && count > 10), "{counts:?}");
    }
}

//! What is asked of every server before every event, kept so that only who has changed is asked again.
//!
//! Guarantees: a view is that of its host as it is, from one event to the next.

use raft_core::Server;

use super::World;
use super::abstraction::Abstraction;
use super::host::Host;
use crate::raft::scenario::Clocks;

/// What a host is like, as far as what may happen next and the abstract state depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    /// A one in the lane of each [`Trait`] that it has.
    traits: u128,
    pub(super) term: u64,
    pub(super) commit: u64,
    pub(super) last: u64,
    pub(super) last_term: u64,
    pub(super) durable: u64,
    /// Role, vote, snapshot and configuration, in one number.
    pub(super) shape: u64,
    /// What it adds to the abstract state, as soon as that was told.
    pub(super) abstraction: Option<u64>,
}

/// What may be true of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trait {
    Up,
    Runs,
    MaySave,
    Taking,
    Applying,
    HasArrivals,
    KnowsLeader,
    Leads,
    HasDeadline,
    Stalled,
    Delicate,
}

/// Wide enough for as many hosts as there may be, so that the traits of all are counted by addition.
const LANE_BITS: u32 = 11;

/// How many hosts have each trait.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traits(u128);

impl Traits {
    pub(super) fn count(self, which: Trait) -> usize {
        (self.0 >> (which as u32 * LANE_BITS)) as usize & ((1 << LANE_BITS) - 1)
    }
}

impl View {
    fn of(host: &Host) -> Self {
        let traits = [
            (Trait::Up, host.is_up()),
            (Trait::Runs, host.runs()),
            (Trait::MaySave, host.may_save()),
            (Trait::Taking, host.is_taking()),
            (Trait::Applying, host.is_applying()),
            (Trait::HasArrivals, host.has_arrivals()),
            (Trait::KnowsLeader, host.knows_leader()),
            (Trait::Leads, host.leads()),
            (Trait::HasDeadline, host.deadline().is_some()),
            (Trait::Stalled, host.is_stalled()),
            (Trait::Delicate, host.is_delicate()),
        ];
        let lane = |(which, is_so): (Trait, bool)| u128::from(is_so) << (which as u32 * LANE_BITS);
        let view = Self { traits: traits.into_iter().map(lane).sum(), ..Self::default() };
        host.server.as_ref().map_or(view, |server| view.with(server))
    }

    fn with(self, server: &Server) -> Self {
        let (log, hard_state) = (server.log(), server.hard_state());
        // Roles have names of different length.
        let shape = (server.role().name().len() as u64 & 15) << 3
            | u64::from(hard_state.voted_for.is_some()) << 2
            | u64::from(server.snapshot().is_some()) << 1
            | u64::from(server.configuration().is_joint());
        Self {
            term: hard_state.current_term.0,
            commit: server.commit_index().0,
            last: log.last_index().0,
            last_term: log.last_term().0,
            durable: server.durable_index().0,
            shape: shape | 1 << 7,
            ..self
        }
    }

    /// True if the abstract state is the same with either.
    fn is_alike(&self, other: &Self) -> bool {
        let numbers = |it: &Self| [it.term, it.commit, it.last, it.last_term, it.durable, it.shape];
        self.is_up() == other.is_up() && numbers(self) == numbers(other)
    }

    /// True if the server is up.
    pub(super) fn is_up(self) -> bool {
        Traits(self.traits).count(Trait::Up) > 0
    }
}

impl World {
    /// Looks again at every host that has changed.
    pub(super) fn look(&mut self) {
        let mut is_same = true;
        for (host, view) in self.hosts.iter_mut().zip(&mut self.views) {
            if host.take_change() {
                let now = View::of(host);
                self.traits.0 = self.traits.0 - view.traits + now.traits;
                let abstraction = view.abstraction.filter(|_| now.is_alike(view));
                is_same &= abstraction.is_some();
                *view = View { abstraction, ..now };
            }
        }
        if !is_same {
            self.abstraction = Abstraction::of(self.abstraction, &mut self.views);
        }
    }

    /// How many timers may fire next.
    pub(super) fn due_count(&self) -> usize {
        let is_any = self.scenario.clocks == Clocks::Free && self.scenario.term_max == 0;
        if is_any { self.traits.count(Trait::HasDeadline) } else { self.due().count() }
    }
}

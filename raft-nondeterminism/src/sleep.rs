//! Sleep sets: which events need not happen in a state, because what they lead to is reached on another
//! way (Godefroid, *Partial-Order Methods for the Verification of Concurrent Systems*, chapter 5).
//!
//! Guarantees: every state is still reached; only ways to states are left out.
//! Relies on:  an [`Action`] changing the state at one place and sending from there, and what monitors hear
//!             of it being no more than its [`Publicity`].
//!
//! If two events have nothing to do with each other, both orders lead to one state. Once one of them has
//! been tried first, it sleeps while the other happens, until something does that has to do with it. A
//! state that is reached again with less asleep than before wakes the rest.

use std::mem;

/// An event as far as others depend on it: whoever is at another place and takes from another budget does
/// not, unless both are heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// Tells it from every other event that can happen in the same state, and is the same on every way
    /// there. Events that are equal, as one message twice, have one.
    pub id: u64,
    /// Whose state it changes.
    pub place: usize,
    /// What there is only so much of for everyone, and is less after it: a small number for each such
    /// thing. 0 for nothing.
    pub budget: u64,
}

/// What monitors hear of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Publicity {
    /// Nothing.
    #[default]
    Private,
    /// What is so at its place, in the order of all that is heard.
    Public,
    /// How others are as well.
    Global,
}

/// An event that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tried {
    pub(crate) action: Action,
    pub(crate) publicity: Publicity,
}

impl Tried {
    fn is_independent_of(&self, other: &Self) -> bool {
        let (one, two) = (self.action, other.action);
        let are_heard = self.publicity.max(other.publicity) == Publicity::Global
            || self.publicity.min(other.publicity) == Publicity::Public;
        one.place != two.place && (one.budget == 0 || one.budget != two.budget) && !are_heard
    }
}

/// What need not happen in a state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SleepSet(Vec<Tried>);

impl SleepSet {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn has(&self, action: &Action) -> bool {
        self.0.iter().any(|it| it.action.id == action.id)
    }

    /// It has been tried here.
    pub(crate) fn add(&mut self, tried: Tried) {
        self.0.push(tried);
    }

    /// What still sleeps when this has happened.
    pub(crate) fn after(&self, tried: &Tried) -> Self {
        Self(self.0.iter().filter(|it| it.is_independent_of(tried)).copied().collect())
    }

    /// True if the other set has all that is in this one.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        self.0.iter().all(|it| other.has(&it.action))
    }

    /// The state was reached again, with this asleep. Returns what slept and does not any more.
    pub(crate) fn wake(&mut self, asleep: &Self) -> Self {
        let (still, woken) =
            mem::take(&mut self.0).into_iter().partition(|it| asleep.has(&it.action));
        self.0 = still;
        Self(woken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(id: u64, place: usize, budget: u64, publicity: Publicity) -> Tried {
        Tried { action: Action { id, place, budget }, publicity }
    }

    #[test]
    fn who_shares_a_place_a_budget_or_the_public_wakes_up() {
        use Publicity::{Global, Private, Public};
        let sleeping =
            [(1, 1, 0, Private), (2, 2, 0, Private), (3, 2, 7, Private), (4, 3, 8, Public)];
        let set = SleepSet(sleeping.map(|(id, at, budget, it)| tried(id, at, budget, it)).into());
        let after = |place, budget, publicity| {
            let after = set.after(&tried(9, place, budget, publicity));
            after.0.iter().map(|it| it.action.id).collect::<Vec<_>>()
        };
        assert_eq!(after(1, 0, Private), [2, 3, 4], "whoever is there");
        assert_eq!(after(1, 7, Private), [2, 4], "whoever takes from it");
        assert_eq!(after(4, 0, Private), [1, 2, 3, 4]);
        assert_eq!(after(4, 0, Public), [1, 2, 3], "whoever is heard of");
        assert!(after(4, 0, Global).is_empty(), "everyone");
    }

    #[test]
    fn what_is_awake_on_any_way_to_a_state_is_awake_there() {
        let tried = |&id: &u64| tried(id, 1, 0, Publicity::Private);
        let set = |ids: &[u64]| SleepSet(ids.iter().map(tried).collect());
        let mut known = set(&[1, 2, 3]);
        assert_eq!(known.wake(&set(&[2, 4])), set(&[1, 3]));
        assert_eq!(known, set(&[2]));
        assert!(known.wake(&set(&[2])).is_empty());
    }
}

//! What an operator may ask a leader to change.

use std::fmt;

use raft_core::{Configuration, MembershipChange, ServerId};

/// Changes that are made together, as an event's name says them: `add-voter s4, remove s2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Changes(pub(crate) Vec<MembershipChange>);

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, change) in self.0.iter().enumerate() {
            let verb = match change {
                MembershipChange::AddLearner(_) => "add-learner",
                MembershipChange::AddVoter(_) => "add-voter",
                MembershipChange::Demote(_) => "demote",
                MembershipChange::Remove(_) => "remove",
            };
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{verb} {}", change.server_id())?;
        }
        Ok(())
    }
}

/// What the operators of a run are after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Aim {
    /// All of it.
    #[default]
    Any,
    /// More servers: they only add and promote.
    More,
    /// Fewer voters: they only demote and remove.
    Fewer,
    /// One more voter after the other: they add a learner, and then ask for nothing but its vote until it
    /// has one.
    Promotion,
}

impl Aim {
    /// True if operators with this aim may ask for these changes of a cluster with this configuration.
    pub(crate) fn allows(self, Changes(changes): &Changes, configuration: &Configuration) -> bool {
        use MembershipChange::{AddLearner, AddVoter};
        let adds = |change: &MembershipChange| matches!(change, AddLearner(_) | AddVoter(_));
        match self {
            Self::Any => true,
            Self::More => changes.iter().all(adds),
            Self::Fewer => !changes.iter().any(adds),
            Self::Promotion => match changes[..] {
                [AddLearner(_)] => configuration.learners().next().is_none(),
                [AddVoter(server)] => configuration.is_learner(server),
                _ => false,
            },
        }
    }
}

/// Everything an operator may ask of a cluster with this configuration, when these servers are there:
/// each server one step in or out, a learner for a voter, and all learners for as many voters. And what
/// has to be refused: that a server votes that was no learner before, not even a moment ago.
pub(crate) fn possible_changes(
    configuration: &Configuration,
    everyone: impl Iterator<Item = ServerId>,
) -> Vec<Changes> {
    use MembershipChange::{AddLearner, AddVoter, Demote, Remove};
    // How many these are is told by `change_count`.
    let strangers = everyone.filter(|&server| !configuration.contains(server));
    let of_stranger = |server| {
        let at_once = vec![AddLearner(server), AddVoter(server)];
        [vec![AddLearner(server)], vec![AddVoter(server)], at_once]
    };
    let mut changes: Vec<_> = strangers.flat_map(of_stranger).collect();
    let (voters, learners) = (configuration.voters(), configuration.learners());
    for &voter in voters {
        changes.extend([vec![Demote(voter)], vec![Remove(voter)]]);
    }
    let learners: Vec<_> = learners.collect();
    for &learner in &learners {
        changes.extend([vec![AddVoter(learner)], vec![Remove(learner)]]);
        for &voter in voters {
            changes.push(vec![AddVoter(learner), Remove(voter)]);
        }
    }
    if learners.len() > 1 {
        let promoted = || learners.iter().map(|&learner| AddVoter(learner));
        let out = || voters.iter().take(learners.len()).map(|&voter| Remove(voter));
        let down = || voters.iter().rev().take(learners.len()).map(|&voter| Demote(voter));
        changes.push(promoted().collect());
        changes.push(promoted().chain(out()).collect());
        changes.push(promoted().chain(down()).collect());
    }
    changes.into_iter().map(Changes).collect()
}

/// How many of [`possible_changes`] operators with this aim may ask for, of so many servers; they are not
/// made for that, because this is asked before every event.
pub(crate) fn change_count(configuration: &Configuration, everyone: usize, aim: Aim) -> usize {
    let (voters, learners) = (configuration.voters().len(), configuration.learners().count());
    let strangers = everyone - voters - learners;
    let all_learners = usize::from(learners > 1);
    let only_add = 3 * strangers + learners + all_learners;
    let only_remove = 2 * voters + learners;
    match aim {
        Aim::Any => only_add + only_remove + learners * voters + 2 * all_learners,
        Aim::More => only_add,
        Aim::Fewer => only_remove,
        Aim::Promotion => learners + if learners == 0 { strangers } else { 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_changes_are_counted_as_there_are() {
        for (voters, learners, strangers) in (0..81).map(|n| (n % 3 + 1, n / 3 % 5, n / 15)) {
            let ids = |from: u64, count: u64| (from + 1..=from + count).map(ServerId);
            let configuration = Configuration::new(ids(0, voters), ids(voters, learners));
            let everyone = || ids(0, voters + learners + strangers);
            for aim in [Aim::Any, Aim::More, Aim::Fewer, Aim::Promotion] {
                let mut changes = possible_changes(&configuration, everyone());
                changes.retain(|changes| aim.allows(changes, &configuration));
                let counted = change_count(&configuration, everyone().count(), aim);
                assert_eq!(counted, changes.len(), "{configuration:?}, {strangers}, {aim:?}");
            }
        }
    }
}

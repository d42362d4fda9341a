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
}

impl Aim {
    /// True if operators with this aim may ask for these changes.
    pub(crate) fn allows(self, Changes(changes): &Changes) -> bool {
        use MembershipChange::{AddLearner, AddVoter};
        let adds = |change: &MembershipChange| matches!(change, AddLearner(_) | AddVoter(_));
        match self {
            Self::Any => true,
            Self::More => changes.iter().all(adds),
            Self::Fewer => !changes.iter().any(adds),
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

//! Which servers decide, and that they do (Raft §6).

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash as _;

use raft_core::{Configuration, Index, Log, Payload, ServerId};

use crate::fingerprint::StateHasher;

use super::{Fact, Monitor};

/// Any two configurations that follow on each other share a majority, so that they cannot decide
/// apart; and none is used before the one before it is committed (Raft §6; dissertation §4.3).
#[derive(Clone, Debug, Default, Hash)]
pub struct ConfigurationSafety {
    /// Where each committed configuration stands; the one at 0 is that before the first entry.
    committed: BTreeMap<Index, Configuration>,
    /// Everything up to here was looked at.
    commit_index: Index,
}

impl Monitor for ConfigurationSafety {
    fn property(&self) -> &'static str {
        "configuration-safety"
    }

    fn hash_state(&self, state: &mut StateHasher) -> bool {
        self.hash(state);
        true
    }

    fn begin(&mut self) {
        self.committed.clear();
        self.commit_index = Index::ZERO;
    }

    fn observe(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Configured { server, index, configuration, log } => {
                self.configured(server, index, configuration, log)
            }
            Fact::Committed { index, log, .. } => self.commit(index, log),
            _ => Ok(()),
        }
    }
}

impl ConfigurationSafety {
    fn commit(&mut self, index: Index, log: &Log) -> Result<(), String> {
        let new = log.from(self.commit_index.next()).take_while(|entry| entry.index <= index);
        for entry in new {
            let Payload::Configuration(configuration) = &entry.payload else { continue };
            if let Some((at, before)) = self.committed.last_key_value()
                && !share_a_majority(before, configuration)
            {
                return Err(format!("{entry} was committed after {before} at {at}"));
            }
            self.committed.insert(entry.index, configuration.as_ref().clone());
        }
        self.commit_index = self.commit_index.max(index);
        Ok(())
    }

    fn configured(
        &mut self,
        server: ServerId,
        index: Index,
        configuration: &Configuration,
        log: &Log,
    ) -> Result<(), String> {
        let entry = log.entry(index);
        if !matches!(entry.map(|entry| &entry.payload), Some(Payload::Configuration(_))) {
            // That of a snapshot, or the one that a cluster begins with.
            let first = || configuration.clone();
            let known = self.committed.range(..=index).next_back();
            let known = known.map_or_else(first, |(_, known)| known.clone());
            if known != *configuration {
                return Err(format!("{server} uses {configuration} at {index}, not {known}"));
            }
            self.committed.entry(Index::ZERO).or_insert(known);
            return Ok(());
        }
        let in_log = log.iter().take_while(|entry| entry.index < index);
        let in_log = in_log.filter_map(|entry| match &entry.payload {
            Payload::Configuration(configuration) => Some((entry.index, configuration.as_ref())),
            _ => None,
        });
        // Without another one in its log, a server has used what was in force where that begins.
        let compacted = self.committed.range(..=log.start().index).next_back();
        let (at, before) = match (in_log.last(), compacted) {
            (Some((at, before)), _) => (at, before),
            (None, Some((&at, before))) => (at, before),
            (None, None) => return Ok(()),
        };
        if self.committed.get(&at) != Some(before) {
            return Err(format!(
                "{server} uses {configuration} at {index}, but {before} at {at} is not committed"
            ));
        }
        if !share_a_majority(before, configuration) {
            return Err(format!("{server} uses {configuration} at {index} after {before} at {at}"));
        }
        Ok(())
    }
}

/// True if no two decisions by the two configurations can be made without a server in common, because
/// a majority of the same voters takes part in both.
fn share_a_majority(before: &Configuration, after: &Configuration) -> bool {
    let quorums = |configuration: &Configuration| {
        let old = configuration.old_voters().map(<[_]>::to_vec);
        [Some(configuration.voters().to_vec()), old].into_iter().flatten().collect::<Vec<_>>()
    };
    quorums(before).iter().any(|voters| quorums(after).contains(voters))
}

/// True if these servers may decide; counted here, so that the servers' own way of counting is watched
/// too.
fn has_majority(configuration: &Configuration, supporters: &BTreeSet<ServerId>) -> bool {
    let is_majority = |voters: &[ServerId]| {
        2 * voters.iter().filter(|voter| supporters.contains(voter)).count() > voters.len()
    };
    is_majority(configuration.voters()) && configuration.old_voters().is_none_or(is_majority)
}

/// What a majority has to agree on is on the disks of a majority at that moment: votes, and committed
/// entries (Raft §5.2, §5.3; both majorities while the configuration is joint, Raft §6).
///
/// It is no standard monitor, because it looks where nobody in the cluster can: it finds a decision that
/// was made too early at once, and not only when another decision contradicts it.
#[derive(Clone, Debug, Default, Hash)]
pub struct DurableMajority;

impl Monitor for DurableMajority {
    fn property(&self) -> &'static str {
        "durable-majority"
    }

    fn hash_state(&self, state: &mut StateHasher) -> bool {
        self.hash(state);
        true
    }

    fn begin(&mut self) {}

    fn observe(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Decided { server, what, configuration, supporters }
                if !has_majority(configuration, supporters) =>
            {
                Err(format!(
                    "{server} {what}, but of {configuration} only {supporters:?} saved that"
                ))
            }
            _ => Ok(()),
        }
    }
}

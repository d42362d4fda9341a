//! Linearizable reads (dissertation §6.4).

use std::collections::BTreeMap;
use std::hash::Hash as _;

use raft_core::{Index, ReadId};

use crate::fingerprint::StateHasher;

use super::{Fact, Monitor};

/// A read sees every write that was answered before it was asked for, and whatever an earlier read
/// saw.
#[derive(Clone, Debug, Default, Hash)]
pub struct LinearizableReads {
    /// The last entry that anyone was told of.
    told: Index,
    /// What each read under way has to see.
    asked: BTreeMap<ReadId, Index>,
}

impl Monitor for LinearizableReads {
    fn property(&self) -> &'static str {
        "linearizable-reads"
    }

    fn hash_state(&self, state: &mut StateHasher) -> bool {
        self.hash(state);
        true
    }

    fn begin(&mut self) {
        self.told = Index::ZERO;
        self.asked.clear();
    }

    fn observe(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Answered { log_id, .. } => {
                self.told = self.told.max(log_id.index);
                Ok(())
            }
            Fact::ReadAsked { id, .. } => {
                self.asked.insert(id, self.told);
                Ok(())
            }
            Fact::ReadServed { server, id, index } => {
                self.told = self.told.max(index);
                match self.asked.remove(&id) {
                    Some(least) if index >= least => Ok(()),
                    Some(least) => Err(format!(
                        "{server} served {id} at {index}, but {least} was known when it was asked"
                    )),
                    None => Err(format!("{server} served {id}, which nobody asked, or twice")),
                }
            }
            Fact::ReadFailed { server, id } => match self.asked.remove(&id) {
                Some(_) => Ok(()),
                None => Err(format!("{server} failed {id}, which nobody asked, or twice")),
            },
            _ => Ok(()),
        }
    }
}

//! Sets of servers and their majorities (Raft §5.1, §6), counted here and not by the code under test.
//!
//! Guarantees: a set is a value of 32 bytes, so counting votes allocates nothing.

use std::fmt;

use raft_core::{Configuration, ServerId};

const WORDS: usize = 4;

/// A set of servers with small numbers; a scenario has no others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Servers([u64; WORDS]);

impl Servers {
    fn bit(server: ServerId) -> Option<(usize, u64)> {
        let word = usize::try_from(server.0 / 64).ok().filter(|&word| word < WORDS)?;
        Some((word, 1 << (server.0 % 64)))
    }

    pub(super) fn insert(&mut self, server: ServerId) {
        if let Some((word, bit)) = Self::bit(server) {
            self.0[word] |= bit;
        }
    }

    pub(super) fn contains(self, server: ServerId) -> bool {
        Self::bit(server).is_some_and(|(word, bit)| self.0[word] & bit != 0)
    }
}

impl FromIterator<ServerId> for Servers {
    fn from_iter<I: IntoIterator<Item = ServerId>>(servers: I) -> Self {
        let mut set = Self::default();
        servers.into_iter().for_each(|server| set.insert(server));
        set
    }
}

/// `s1 s3`, or `nobody`.
impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = (0..64 * WORDS as u64).map(ServerId);
        let mut separator = "";
        for server in all.filter(|&server| self.contains(server)) {
            write!(f, "{separator}{server}")?;
            separator = " ";
        }
        if separator.is_empty() { f.write_str("nobody") } else { Ok(()) }
    }
}

/// Something that is known of each server, and mostly never falls: how much it holds, when it answered last.
/// Nothing is known of a server that is not there.
#[derive(Clone, Debug, Default)]
pub(super) struct ByServer<T>(Vec<T>);

impl<T: Copy + Default> ByServer<T> {
    /// The same of this many servers.
    pub(super) fn of(servers: usize) -> Self {
        Self(vec![T::default(); servers + 1])
    }

    fn place(server: ServerId) -> usize {
        usize::try_from(server.0).unwrap_or(usize::MAX)
    }

    pub(super) fn get(&self, server: ServerId) -> T {
        self.0.get(Self::place(server)).copied().unwrap_or_default()
    }

    /// It is this much by now, unless it was more.
    pub(super) fn raise(&mut self, server: ServerId, to: T)
    where
        T: Ord,
    {
        if let Some(known) = self.0.get_mut(Self::place(server)) {
            *known = to.max(*known);
        }
    }

    /// It is this much, whatever it was: it is another server that is meant from now on.
    pub(super) fn set(&mut self, server: ServerId, to: T) {
        if let Some(known) = self.0.get_mut(Self::place(server)) {
            *known = to;
        }
    }

    /// It is the same of all again.
    pub(super) fn fill(&mut self, value: T) {
        self.0.fill(value);
    }

    /// By number, from 0.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = T> {
        self.0.iter().copied()
    }
}

/// True if `agrees` holds for more than half of the voters; of a joint configuration, for more than
/// half of the old ones and of the new ones (Raft §6).
pub(super) fn is_majority(
    configuration: &Configuration,
    agrees: impl Fn(ServerId) -> bool,
) -> bool {
    let is_half_exceeded = |voters: &[ServerId]| {
        let agreeing = voters.iter().filter(|&&voter| agrees(voter)).count();
        2 * agreeing > voters.len()
    };
    is_half_exceeded(configuration.voters())
        && configuration.old_voters().is_none_or(is_half_exceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(ids: &[u64]) -> Servers {
        ids.iter().copied().map(ServerId).collect()
    }

    #[test]
    fn a_majority_is_more_than_half_of_each_set_of_voters() {
        let ids = |ids: &[u64]| ids.iter().copied().map(ServerId).collect::<Vec<_>>();
        let simple = Configuration::new(ids(&[1, 2, 3, 4]), ids(&[5]));
        let joint = Configuration::joint(ids(&[1, 2, 3]), ids(&[3, 4, 5]), []);
        let cases = [
            (&simple, servers(&[1, 2, 3]), true),
            (&simple, servers(&[1, 2]), false),
            (&simple, servers(&[1, 2, 5]), false),
            (&joint, servers(&[1, 2, 3]), false),
            (&joint, servers(&[3, 4, 5]), false),
            (&joint, servers(&[1, 3, 4]), true),
            (&joint, servers(&[2, 3, 5]), true),
        ];
        for (configuration, agreeing, expected) in cases {
            let found = is_majority(configuration, |voter| agreeing.contains(voter));
            assert_eq!(found, expected, "{agreeing} of {configuration}");
        }
    }

    #[test]
    fn a_set_holds_each_server_once_and_prints_them_in_order() {
        assert_eq!(servers(&[65, 2, 2, 1]).to_string(), "s1 s2 s65");
        assert_eq!(servers(&[]).to_string(), "nobody");
        assert!(!servers(&[3]).contains(ServerId(1 << 40)));
    }
}

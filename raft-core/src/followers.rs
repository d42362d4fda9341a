//! A small map by server: a sorted list, which is faster than a tree for as few as a cluster has.
//!
//! Guarantees: iteration in ascending order of servers.

use std::ops::Index;

use crate::progress::Progress;
use crate::types::ServerId;

/// What a leader knows of each of its followers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Followers {
    /// Sorted by server, each once.
    list: Vec<(ServerId, Progress)>,
}

impl Followers {
    fn place(&self, server: ServerId) -> Result<usize, usize> {
        self.list.binary_search_by_key(&server, |(other, _)| *other)
    }

    /// What is known of this one, if it is a follower.
    #[must_use]
    pub fn get(&self, server: &ServerId) -> Option<&Progress> {
        self.list.iter().find(|(other, _)| other == server).map(|(_, progress)| progress)
    }

    pub(crate) fn get_mut(&mut self, server: &ServerId) -> Option<&mut Progress> {
        self.list.iter_mut().find(|(other, _)| other == server).map(|(_, progress)| progress)
    }

    /// Each follower, in ascending order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&ServerId, &Progress)> + '_ {
        self.list.iter().map(|(server, progress)| (server, progress))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&ServerId, &mut Progress)> + '_ {
        self.list.iter_mut().map(|(server, progress)| (&*server, progress))
    }

    /// What is known of each, in ascending order.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &Progress> + '_ {
        self.list.iter().map(|(_, progress)| progress)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn retain(&mut self, is_kept: impl Fn(ServerId) -> bool) {
        self.list.retain(|(server, _)| is_kept(*server));
    }

    /// Adds a follower, unless it is one.
    pub(crate) fn add(&mut self, server: ServerId, progress: Progress) {
        if let Err(place) = self.place(server) {
            self.list.insert(place, (server, progress));
        }
    }
}

impl<'a> IntoIterator for &'a Followers {
    type Item = (ServerId, &'a Progress);
    type IntoIter = std::iter::Map<
        std::slice::Iter<'a, (ServerId, Progress)>,
        fn(&'a (ServerId, Progress)) -> (ServerId, &'a Progress),
    >;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter().map(|(server, progress)| (*server, progress))
    }
}

impl Index<&ServerId> for Followers {
    type Output = Progress;

    fn index(&self, server: &ServerId) -> &Progress {
        self.get(server).expect("the server is a follower")
    }
}

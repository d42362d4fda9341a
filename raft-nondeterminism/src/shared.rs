//! A value that copies of a world share until one of them changes it.
//!
//! Guarantees: a copy costs a counter; a change concerns nobody else, and forgets the hash that stood for
//!             the value before.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// A value, shared until it is changed.
#[derive(Debug)]
pub(crate) struct Shared<T> {
    value: Arc<T>,
    /// What was last asked about the value as it is.
    hash: Cell<Option<u128>>,
    /// It may have changed since somebody looked.
    is_changed: bool,
}

impl<T> Shared<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Arc::new(value), hash: Cell::new(None), is_changed: true }
    }

    /// True if it may have changed since this was last asked.
    pub(crate) fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.is_changed)
    }

    /// The hash of the value, which `hash` computes unless it is known.
    pub(crate) fn hash_with(&self, hash: impl FnOnce(&T) -> u128) -> u128 {
        let known = self.hash.get().unwrap_or_else(|| hash(&self.value));
        self.hash.set(Some(known));
        known
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        let Self { value, hash, is_changed } = self;
        Self { value: Arc::clone(value), hash: hash.clone(), is_changed: *is_changed }
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.hash.set(None);
        self.is_changed = true;
        Arc::make_mut(&mut self.value)
    }
}

impl<T: Default> Default for Shared<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_concerns_one_copy_and_forgets_its_hash() {
        let mut one = Shared::new(vec![1, 2]);
        let hash = |value: &Vec<i32>| value.iter().map(|&number| number as u128).sum();
        assert_eq!(one.hash_with(hash), 3);
        let other = one.clone();
        one.push(4);
        assert_eq!((one.len(), other.len()), (3, 2));
        assert_eq!(one.hash_with(hash), 7);
        assert_eq!(other.hash_with(|_| unreachable!("it is known")), 3);
    }
}

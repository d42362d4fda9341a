//! The numbers of the protocol, each in a type of its own, so that a term cannot be passed for an
//! index.
//!
//! Elsewhere: how they are printed together (`s1@2`, `7@2`) is in [`crate::status`].

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Declares a number with a name: ordered, hashable, printable with a prefix.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

number! {
    /// A logical clock: each term has at most one leader (Raft §5.1). Terms start at 0, in which
    /// nobody has been elected yet.
    Term, ""
}
number! {
    /// The place of an entry in the log. The first entry is 1; [`Index::ZERO`] is the place before
    /// it, where the paper's `commitIndex` and `lastApplied` start (Raft, Fig. 2).
    Index, ""
}
number! {
    /// One server of the cluster.
    ServerId, "s"
}
number! {
    /// One client, for as long as it lives: a restarted client takes a new id (dissertation §6.3).
    ClientId, "c"
}
number! {
    /// Numbers the requests of one client; each request has a higher number than those before it.
    SequenceNumber, "#"
}
number! {
    /// One session of one client: the index of the entry that opened it (dissertation §6.3);
    /// [`SessionId::NONE`] for a client that did not register.
    SessionId, "session "
}
number! {
    /// Tells the reads of one server apart. Its host chooses it and never uses one twice, not even
    /// after a restart: a late answer to an old read would be taken for the new one's.
    ReadId, "read "
}
number! {
    /// Numbers the rounds of heartbeats of one leader in one term.
    Round, "round "
}
number! {
    /// Numbers the saves of one server since it started; a higher number is durable later.
    SaveNumber, "save "
}

impl Term {
    /// The term that follows.
    ///
    /// # Panics
    ///
    /// At `u64::MAX`. [`crate::Server`] refuses messages and recovered terms near that bound, so that
    /// nobody can drive it there.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("terms fit in 64 bits"))
    }
}

impl Index {
    /// The place before the first entry.
    pub const ZERO: Self = Self(0);
    /// The place of the first entry.
    pub const FIRST: Self = Self(1);

    /// The place that follows.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The place before, or [`Index::ZERO`] if there is none.
    #[must_use]
    pub fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl Add<u64> for Index {
    type Output = Self;

    fn add(self, entries: u64) -> Self {
        Self(self.0 + entries)
    }
}

impl Sub for Index {
    type Output = u64;

    /// How many entries lie between two places; 0 if `earlier` is the later one.
    fn sub(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl SequenceNumber {
    /// The number of the next request.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl SessionId {
    /// No session: the client did not register.
    pub const NONE: Self = Self(0);
}

impl Round {
    /// The round that follows.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl SaveNumber {
    /// The number of the next save.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Which cluster a message belongs to, so that two clusters on one bus cannot mix.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ClusterId(pub u64);

impl ClusterId {
    /// The id of the cluster with this name: FNV-1a over its UTF-8 bytes, 64 bits.
    ///
    /// It keeps strangers apart by accident, not by force: it is no secret and no signature.
    ///
    /// ```
    /// use raft_core::ClusterId;
    /// assert_eq!(ClusterId::from_name("rafttopic"), ClusterId::from_name("rafttopic"));
    /// assert_ne!(ClusterId::from_name("rafttopic"), ClusterId::from_name("other"));
    /// ```
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self(hash)
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A moment on the clock of one server: nanoseconds since an origin that its driver chose.
///
/// Only differences matter to the core, and moments of two servers are never compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    nanos: u64,
}

impl Timestamp {
    /// The origin.
    pub const ZERO: Self = Self { nanos: 0 };

    /// The moment `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self { nanos }
    }

    /// The moment `millis` milliseconds after the origin.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self { nanos: millis * 1_000_000 }
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.nanos
    }

    /// How long after `earlier` this is; zero if it is before.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(earlier.nanos))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// The moment `duration` later; the end of time (584 years after the origin) is a wall.
    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self { nanos: self.nanos.saturating_add(nanos) }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}ms", self.nanos as f64 / 1e6)
    }
}

/// Where an entry stands and in which term it was made: two logs that hold the same `LogId` are
/// identical up to it (Log Matching, Raft §5.3).
///
/// Ordered as §5.4.1 compares logs: by term first, then by index.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct LogId {
    /// The term of the leader that made the entry; 0 before the first entry.
    pub term: Term,
    /// The place of the entry.
    pub index: Index,
}

impl LogId {
    /// Before the first entry.
    pub const ZERO: Self = Self { term: Term(0), index: Index::ZERO };

    /// An entry's place and term.
    #[must_use]
    pub const fn new(term: Term, index: Index) -> Self {
        Self { term, index }
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_term_is_more_up_to_date_even_with_the_shorter_log() {
        assert!(LogId::new(Term(3), Index(1)) > LogId::new(Term(2), Index(9)));
        assert!(LogId::new(Term(2), Index(9)) > LogId::new(Term(2), Index(8)));
    }

    #[test]
    fn one_notation_prints_every_number() {
        assert_eq!(LogId::new(Term(2), Index(7)).to_string(), "7@2");
        assert_eq!(ServerId(1).to_string(), "s1");
        assert_eq!(ClientId(4).to_string(), "c4");
        assert_eq!(SequenceNumber(3).to_string(), "#3");
        assert_eq!(Timestamp::from_millis(1500).to_string(), "1500.000ms");
    }

    #[test]
    fn time_stops_at_its_ends_instead_of_wrapping() {
        let end = Timestamp::from_nanos(u64::MAX);
        assert_eq!(end + Duration::from_secs(1), end);
        assert_eq!(Timestamp::ZERO.since(end), Duration::ZERO);
    }
}

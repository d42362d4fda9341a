//! What can happen next: events, in classes, and the view of them that a strategy chooses from.
//!
//! Guarantees: a strategy sees counts and names, never the system under test; so it fits any system.
//! Elsewhere:  which events are enabled, and what they do, is in `world.rs`.

use std::fmt;

/// A kind of event. Choosing the kind by weight first, and one of that kind second, keeps the flood
/// of messages from crowding out everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventClass {
    /// A message arrives.
    Deliver,
    /// The timer of a server fires.
    Timeout,
    /// A client asks, or asks again.
    Client,
    /// The oldest save of a server becomes durable, or its state machine gives a snapshot.
    Save,
    /// A message in flight gets a twin.
    Duplicate,
    /// A message in flight is lost.
    Drop,
    /// A server stops, and forgets what it did not save.
    Crash,
    /// A stopped server starts again from what it saved.
    Restart,
    /// A server is asked to take a snapshot.
    Snapshot,
    /// A leader is asked to change the cluster.
    Change,
    /// A leader is asked to hand over.
    Transfer,
    /// A server is asked for a read.
    Read,
    /// A leader's application proposes a command.
    Propose,
    /// Some servers are cut off from the others, or are not any more.
    Partition,
    /// A disk fails, stalls, or goes on.
    Disk,
}

impl EventClass {
    /// How many there are.
    pub const COUNT: usize = 15;
    /// Every class.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Deliver,
        Self::Timeout,
        Self::Client,
        Self::Save,
        Self::Duplicate,
        Self::Drop,
        Self::Crash,
        Self::Restart,
        Self::Snapshot,
        Self::Change,
        Self::Transfer,
        Self::Read,
        Self::Propose,
        Self::Partition,
        Self::Disk,
    ];

    /// The name it has in lists.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Deliver => "deliver",
            Self::Timeout => "timeout",
            Self::Client => "client",
            Self::Save => "save",
            Self::Duplicate => "duplicate",
            Self::Drop => "drop",
            Self::Crash => "crash",
            Self::Restart => "restart",
            Self::Snapshot => "snapshot",
            Self::Change => "change",
            Self::Transfer => "transfer",
            Self::Read => "read",
            Self::Propose => "propose",
            Self::Partition => "partition",
            Self::Disk => "disk",
        }
    }
}

impl fmt::Display for EventClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One of the enabled events: the `index`-th of its class, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Its class.
    pub class: EventClass,
    /// Its place among the enabled events of the class.
    pub index: usize,
}

/// Gives events names that survive small changes of the code under test, and finds events by them.
pub(crate) trait Names {
    /// The event's name; a schedule holds one per line.
    fn name(&self, pick: Pick) -> String;
    /// The enabled event with this name.
    fn find(&self, name: &str) -> Option<Pick>;
    /// The enabled event that comes closest to this name: the same thing happening between the same
    /// parties, though terms or indices may differ.
    fn find_like(&self, name: &str) -> Option<Pick>;
}

/// Everything that can happen next.
#[derive(Clone, Copy)]
pub struct EnabledView<'a> {
    counts: [usize; EventClass::COUNT],
    names: &'a dyn Names,
}

impl<'a> EnabledView<'a> {
    pub(crate) fn new(counts: [usize; EventClass::COUNT], names: &'a dyn Names) -> Self {
        Self { counts, names }
    }

    /// How many events of a class are enabled.
    #[must_use]
    pub fn count(&self, class: EventClass) -> usize {
        self.counts[class as usize]
    }

    /// How many events are enabled.
    #[must_use]
    pub fn total(&self) -> usize {
        self.counts.iter().sum()
    }

    /// The `place`-th enabled event of all, from 0; `None` if there are fewer.
    #[must_use]
    pub fn nth(&self, place: usize) -> Option<Pick> {
        let mut index = place;
        for class in EventClass::ALL {
            if index < self.count(class) {
                return Some(Pick { class, index });
            }
            index -= self.count(class);
        }
        None
    }

    /// True if the event is one of the enabled ones.
    #[must_use]
    pub fn contains(&self, pick: Pick) -> bool {
        pick.index < self.count(pick.class)
    }

    /// What a schedule calls the event: `deliver s1@2 → s3 VoteRequest last=1@1`.
    #[must_use]
    pub fn name(&self, pick: Pick) -> String {
        self.names.name(pick)
    }

    /// The enabled event with this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Pick> {
        self.names.find(name)
    }

    /// The enabled event that comes closest to this name: the same thing happening between the same
    /// parties, though terms or indices may differ.
    #[must_use]
    pub fn find_like(&self, name: &str) -> Option<Pick> {
        self.find(name).or_else(|| self.names.find_like(name))
    }
}

impl fmt::Debug for EnabledView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnabledView").field("counts", &self.counts).finish_non_exhaustive()
    }
}

//! What can happen next: events, in classes, and the view of them that a strategy chooses from.
//!
//! Guarantees: a strategy sees counts and names, never the system under test; so it fits any system.
//! Elsewhere:  which events are enabled, and what they do, is the world's business: [`crate::World`].

use std::fmt;

use crate::model::World;

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
    /// A server stops, and forgets what it did not save; or it pauses, and forgets nothing.
    Crash,
    /// A stopped server starts again from what it saved, or a paused one goes on.
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
    /// Some servers do not hear some others, or do again.
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

    /// The class of the events whose names start with this word.
    #[must_use]
    pub fn of_verb(verb: &str) -> Option<Self> {
        Some(match verb {
            "deliver" | "take" => Self::Deliver,
            "duplicate" => Self::Duplicate,
            "drop" => Self::Drop,
            "timeout" => Self::Timeout,
            "saved" | "taken" | "applied" => Self::Save,
            "crash" | "pause" => Self::Crash,
            "restart" | "resume" => Self::Restart,
            "request" | "retry" => Self::Client,
            "snapshot" => Self::Snapshot,
            "change" => Self::Change,
            "transfer" => Self::Transfer,
            "read" => Self::Read,
            "cut" | "mute" | "deafen" | "bridge" | "heal" => Self::Partition,
            "propose" => Self::Propose,
            "fail-disk" | "stall" | "unstall" => Self::Disk,
            _ => return None,
        })
    }

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
pub trait Names {
    /// The event's name; a schedule holds one per line. Two enabled events with one name do the same.
    fn name(&self, pick: Pick) -> String;
    /// The enabled event with this name.
    fn find(&self, name: &str) -> Option<Pick>;
    /// The enabled event that comes closest to this name: the same thing happening between the same
    /// parties, though terms or indices may differ.
    fn find_like(&self, name: &str) -> Option<Pick>;
}

/// What a view asks a world about its enabled events.
pub(crate) trait Enabled: Names {
    fn place(&self, pick: Pick) -> usize;
    fn key(&self, pick: Pick) -> u64;
    fn survey(&self, class: EventClass, visit: &mut dyn FnMut(usize, u64));
}

impl<W: World> Enabled for W {
    fn place(&self, pick: Pick) -> usize {
        World::place(self, pick)
    }

    fn key(&self, pick: Pick) -> u64 {
        World::key(self, pick)
    }

    fn survey(&self, class: EventClass, visit: &mut dyn FnMut(usize, u64)) {
        World::survey(self, class, visit);
    }
}

/// Everything that can happen next.
#[derive(Clone, Copy)]
pub struct EnabledView<'a> {
    counts: [usize; EventClass::COUNT],
    world: &'a dyn Enabled,
}

impl<'a> EnabledView<'a> {
    pub(crate) fn new(counts: [usize; EventClass::COUNT], world: &'a dyn Enabled) -> Self {
        Self { counts, world }
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

    /// All enabled events, class by class.
    pub fn picks(&self) -> impl Iterator<Item = Pick> + use<'_> {
        EventClass::ALL
            .into_iter()
            .flat_map(|class| (0..self.count(class)).map(move |index| Pick { class, index }))
    }

    /// Whose state the event changes: the place of a server or client, or, for what concerns everyone, a
    /// number larger than that of any.
    #[must_use]
    pub fn place(&self, pick: Pick) -> usize {
        self.world.place(pick)
    }

    /// A number that stays with the event as long as it is enabled, and is that of no other.
    #[must_use]
    pub fn key(&self, pick: Pick) -> u64 {
        self.world.key(pick)
    }

    /// Tells of each enabled event of a class its pick, its place and its key. Cheaper than asking for
    /// them one by one.
    pub fn survey(&self, class: EventClass, mut visit: impl FnMut(Pick, usize, u64)) {
        let mut index = 0;
        self.world.survey(class, &mut |place, key| {
            visit(Pick { class, index }, place, key);
            index += 1;
        });
    }

    /// What a schedule calls the event: `deliver s1@2 → s3 VoteRequest last=1@1`.
    #[must_use]
    pub fn name(&self, pick: Pick) -> String {
        self.world.name(pick)
    }

    /// The enabled event with this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Pick> {
        self.world.find(name)
    }

    /// The enabled event that comes closest to this name: the same thing happening between the same
    /// parties, though terms or indices may differ.
    #[must_use]
    pub fn find_like(&self, name: &str) -> Option<Pick> {
        self.find(name).or_else(|| self.world.find_like(name))
    }
}

impl fmt::Debug for EnabledView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnabledView").field("counts", &self.counts).finish_non_exhaustive()
    }
}

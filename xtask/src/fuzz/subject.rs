//! What can be fuzzed: the targets of `raft-core`, and those of the emulator.

use std::path::PathBuf;

use raft_mocking::emulator::fuzz as emulator;

use super::targets::{Seen, Target};

/// A target of one crate or the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Core(Target),
    Emulator(emulator::Target),
}

impl Subject {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let core = Target::ALL.into_iter().map(Self::Core);
        core.chain(emulator::Target::ALL.into_iter().map(Self::Emulator))
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Core(target) => target.name(),
            Self::Emulator(target) => target.name(),
        }
    }

    /// Runs the target.
    ///
    /// # Panics
    /// If something is wrong.
    pub(super) fn run(self, data: &[u8], seen: &mut Seen) {
        match self {
            Self::Core(target) => target.run(data, seen),
            Self::Emulator(target) => target.run(data, &mut |(who, what, outcome)| {
                seen.note(who, what, outcome);
                seen.trace(|| format!("{who}: {what} {outcome}"));
            }),
        }
    }

    /// Whether it only reads bytes, which takes a fraction of the time.
    pub(super) fn is_quick(self) -> bool {
        !matches!(self, Self::Core(Target::Step) | Self::Emulator(emulator::Target::Connection))
    }

    /// Where its inputs are kept; `cargo fuzz` reads and writes those of `raft-core` there as well.
    pub(super) fn corpus(self) -> PathBuf {
        let package = match self {
            Self::Core(_) => "raft-core",
            Self::Emulator(_) => "raft-mocking",
        };
        crate::root().join(package).join("fuzz").join("corpus").join(self.name())
    }
}

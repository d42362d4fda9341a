//! A handful of planted bugs, each one line of the protocol gone wrong (feature `defects`).
//!
//! They exist to be found: in the tutorials, in the demonstration, and in the test that proves that
//! the tester works. A server runs at most one, and none unless its configuration names it.

use std::fmt;
use std::str::FromStr;

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Defect {
    /// A candidate counts votes instead of voters, so that a duplicated response elects it: the bug
    /// of the CloudMessaging sample.
    VoteCountedTwice,
    /// The term is saved without the vote, so that a server that comes back votes once more in it.
    VoteNotSaved,
    /// What depends on a save does not wait for it. The server itself does nothing wrong: its host has
    /// to say that saves are durable before they are, as `raft-azure` does.
    AcknowledgedBeforeDurable,
    /// A leader takes repeated requests into its log, which does no harm by itself; and a server that
    /// comes back applies those that it finds there, so that whatever stands last in the log wins.
    LastWriterWinsOnRestart,
}

impl Defect {
    /// Every planted bug.
    pub const ALL: [Self; 4] = [
        Self::VoteCountedTwice,
        Self::VoteNotSaved,
        Self::AcknowledgedBeforeDurable,
        Self::LastWriterWinsOnRestart,
    ];

    /// The name it has on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::VoteCountedTwice => "vote-counted-twice",
            Self::VoteNotSaved => "vote-not-saved",
            Self::AcknowledgedBeforeDurable => "acknowledged-before-durable",
            Self::LastWriterWinsOnRestart => "last-writer-wins-on-restart",
        }
    }

    /// The kind of mistake, by its row in the table of mutants.
    #[must_use]
    pub fn row(self) -> &'static str {
        match self {
            Self::VoteCountedTwice => "E01",
            Self::VoteNotSaved => "E06",
            Self::AcknowledgedBeforeDurable => "P01",
            Self::LastWriterWinsOnRestart => "K01",
        }
    }

    /// What is wrong, in a line.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::VoteCountedTwice => "a candidate counts votes instead of voters",
            Self::VoteNotSaved => "a server saves its term without its vote",
            Self::AcknowledgedBeforeDurable => "a server acknowledges before its save is durable",
            Self::LastWriterWinsOnRestart => {
                "a repeated request runs again when a server comes back"
            }
        }
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Defect {
    type Err = UnknownDefect;

    fn from_str(name: &str) -> Result<Self, UnknownDefect> {
        let found = Self::ALL.into_iter().find(|defect| defect.name() == name);
        found.ok_or_else(|| UnknownDefect { name: name.to_owned() })
    }
}

/// No planted bug has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no planted defect is called {name:?}; there is: {}", Defect::ALL.map(Defect::name).join(", "))]
pub struct UnknownDefect {
    /// The name that was given.
    pub name: String,
}

//! What is fuzzed, once for both who do it: `cargo xtask fuzz` on stable, and `cargo fuzz` on nightly.
//!
//! A target takes any bytes and panics if something is wrong that no bytes may cause. On its way it
//! notes what it saw, which tells how far the bytes reached.

pub(crate) mod client;
pub(crate) mod codec;
pub(crate) mod host;
pub(crate) mod message;
pub(crate) mod seen;
pub(crate) mod source;
pub(crate) mod step;

pub(crate) use self::seen::Seen;

/// A function of bytes that must not panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A server in any role, with all that a host and other servers may do to it.
    Step,
    /// The bytes of one bus message.
    Frame,
    /// The bytes of an entry in a file.
    Entry,
    /// The bytes of a snapshot, and a server that starts from it.
    Snapshot,
    /// A client and what servers may answer.
    Client,
}

impl Target {
    /// All of them.
    pub(crate) const ALL: [Self; 5] =
        [Self::Step, Self::Frame, Self::Entry, Self::Snapshot, Self::Client];

    /// The target's name: of its program, its corpus, and on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Frame => "frame",
            Self::Entry => "entry",
            Self::Snapshot => "snapshot",
            Self::Client => "client",
        }
    }

    /// Runs the target.
    ///
    /// # Panics
    ///
    /// If something is wrong.
    pub(crate) fn run(self, data: &[u8], seen: &mut Seen) {
        match self {
            Self::Step => step::run(data, seen),
            Self::Frame => codec::run_frame(data, seen),
            Self::Entry => codec::run_entry(data, seen),
            Self::Snapshot => codec::run_snapshot(data, seen),
            Self::Client => client::run(data, seen),
        }
    }
}

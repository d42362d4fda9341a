//! What is fuzzed: the bytes of frames and messages, and all that a peer may do to a connection.
//!
//! Guarantees: the same bytes do the same; a target panics if something is wrong that no bytes may
//!             cause. On its way it tells what it saw, which says how far the bytes reached.
//! Elsewhere:  `cargo xtask fuzz` makes the bytes; the tests of the engine run the same targets.

mod connection;
mod frame;

/// Who did what, and what became of it.
pub type Sight = (&'static str, &'static str, &'static str);

/// A function of bytes that must not panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Frames, performatives, values and messages, read and written again.
    Frame,
    /// A connection, and a peer that does anything in any order.
    Connection,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Frame, Self::Connection];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Frame => "amqp-frame",
            Self::Connection => "amqp-connection",
        }
    }

    /// Inputs to begin with: what peers really say.
    pub fn samples(self) -> Vec<Vec<u8>> {
        match self {
            Self::Frame => frame::samples(),
            Self::Connection => Vec::new(),
        }
    }

    /// Runs the target, which tells `see` what it saw.
    ///
    /// # Panics
    /// If something is wrong.
    pub fn run(self, data: &[u8], see: &mut dyn FnMut(Sight)) {
        match self {
            Self::Frame => frame::run(data, see),
            Self::Connection => connection::run(data, see),
        }
    }
}

/// Bytes as decisions. At their end every choice is the first one.
#[derive(Debug)]
struct Source<'a> {
    rest: &'a [u8],
}

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.rest.split_first().unwrap_or((&0, &[]));
        self.rest = rest;
        *first
    }

    /// A number below `count`, which is 256 at most.
    fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A small number mostly; now and then one at the edge of what fits.
    fn number(&mut self) -> u32 {
        match self.byte() {
            byte @ 0..240 => u32::from(byte % 16),
            byte @ 240..248 => 1 << (byte - 230),
            byte => u32::MAX - u32::from(byte - 248),
        }
    }

    fn bytes(&mut self) -> &[u8] {
        let length = self.below(64).min(self.rest.len());
        let (head, rest) = self.rest.split_at(length);
        self.rest = rest;
        head
    }
}

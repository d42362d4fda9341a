//! Bytes as decisions: every byte string is a sequence of choices, and a changed byte changes few.

use bytes::Bytes;

/// The rest of the bytes. At their end every choice is the first one.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    rest: &'a [u8],
}

impl<'a> Source<'a> {
    pub(crate) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((&first, rest)) => {
                self.rest = rest;
                first
            }
            None => 0,
        }
    }

    /// A number below `count`.
    pub(crate) fn below(&mut self, count: u64) -> u64 {
        u64::from(self.byte()) % count.max(1)
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number near one that matters; now and then a small one, or one at the edge of what is taken
    /// or of what fits.
    pub(crate) fn near(&mut self, base: u64) -> u64 {
        const EDGES: [u64; 8] = [
            1 << 60,
            (1 << 60) - 1,
            u64::MAX,
            u64::MAX - 1,
            1 << 32,
            (1 << 32) + 1,
            1 << 24,
            (1 << 60) + 1,
        ];
        match self.byte() {
            0..128 => base,
            byte @ 128..160 => base.saturating_add(u64::from(byte - 127) % 4),
            byte @ 160..192 => base.saturating_sub(u64::from(byte - 159) % 4),
            byte @ 192..248 => u64::from(byte % 8),
            byte => EDGES[usize::from(byte - 248)],
        }
    }

    /// A few bytes of a command or a chunk.
    pub(crate) fn bytes(&mut self) -> Bytes {
        let length = match self.byte() {
            byte @ 0..240 => usize::from(byte % 8),
            byte => usize::from(byte - 239) * 16,
        };
        let length = length.min(self.rest.len());
        let (head, rest) = self.rest.split_at(length);
        self.rest = rest;
        Bytes::copy_from_slice(head)
    }
}

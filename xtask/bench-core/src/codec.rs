//! What it costs to encode and to decode one request with 64 entries of 256 bytes.
//!
//! A decoded message must be usable after the call: its payloads are copies, or slices of the frame.

use std::hint::black_box;

use bytes::Bytes;

use crate::clock::{median, nanoseconds};
use crate::cluster::command;
use crate::counting;
use crate::measure::{Figures, per_piece};

/// How many entries the message has.
pub const ENTRIES: usize = 64;
/// How long the command in each is.
pub const COMMAND_BYTES: usize = 256;
/// How many messages lie between two looks at the clock.
const ROUNDS: u64 = 2000;
/// How often a figure is taken; the median counts.
const REPEATS: usize = 9;

/// Turns a message into bytes and back.
pub trait Codec {
    /// A message with these commands.
    fn new(commands: Vec<Bytes>) -> Self;

    /// Appends the message to an empty buffer, whose memory is used again.
    fn encode(&self, buffer: &mut Vec<u8>);

    /// Reads a message, and says how many bytes of commands it holds.
    fn decode(frame: &Bytes) -> usize;
}

/// Which half is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Half {
    /// From a message to bytes.
    Encode,
    /// From bytes to a message.
    Decode,
}

/// Does one half `count` times, for a tool that counts instructions from outside.
pub fn run_once<C: Codec>(half: Half, count: u64) {
    Bench::<C>::new(half).rounds(count);
}

/// CPU time and allocations of one message.
pub fn measure<C: Codec>(half: Half) -> Figures {
    let mut bench = Bench::<C>::new(half);
    bench.rounds(ROUNDS / 10);
    let before = counting::now();
    let mut times = [(); REPEATS].map(|()| nanoseconds(|| bench.rounds(ROUNDS)));
    let allocations = counting::now().allocations - before.allocations;
    per_piece(median(&mut times), allocations / REPEATS as u64, ROUNDS)
}

/// One message, as it is in memory and as it is on the wire.
struct Bench<C> {
    half: Half,
    message: C,
    frame: Bytes,
    buffer: Vec<u8>,
}

impl<C: Codec> Bench<C> {
    fn new(half: Half) -> Self {
        let commands = (0..ENTRIES as u64).map(|number| command(number, COMMAND_BYTES).into());
        let message = C::new(commands.collect());
        let mut buffer = Vec::new();
        message.encode(&mut buffer);
        Self { half, message, frame: Bytes::from(buffer.clone()), buffer }
    }

    fn rounds(&mut self, count: u64) {
        for _ in 0..count {
            match self.half {
                Half::Encode => {
                    self.buffer.clear();
                    black_box(&self.message).encode(black_box(&mut self.buffer));
                }
                Half::Decode => {
                    let bytes = C::decode(black_box(&self.frame));
                    assert_eq!(bytes, ENTRIES * COMMAND_BYTES, "what was encoded is decoded");
                }
            }
        }
        assert_eq!(self.buffer, self.frame, "a message has one encoding");
    }
}

//! Peers that do anything: bytes that mean nothing, conversations with a few bytes changed, and whatever
//! else the fuzz targets can think of.

use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::peer::Peer;
use crate::emulator::amqp::frame::{FrameKind, put_frame};
use crate::emulator::amqp::outcome::Outcome;
use crate::emulator::amqp::performative::{Attach, Detach, Disposition, Flow, put_ending};
use crate::emulator::amqp::value::{put_described_list, put_value};
use crate::emulator::fuzz;

proptest! {
    #[test]
    fn garbage_never_panics(chunks in vec(vec(any::<u8>(), 0..200), 1..8), is_opened in any::<bool>()) {
        let mut peer = if is_opened { Peer::opened(false) } else { Peer::new(true) };
        for chunk in chunks {
            peer.write(&chunk);
            peer.take_output();
        }
    }

    #[test]
    fn mutated_conversations_never_panic(
        mutations in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut conversation = BytesMut::new();
        let mut terminus = BytesMut::new();
        put_described_list(&mut terminus, 0x28, 1, |out| put_value(out, &"t/Subscriptions/s".into()));
        let attach = Attach { is_receiver: true, source: Some(terminus.freeze()), ..Attach::default() };
        let flow = Flow { handle: Some(0), link_credit: Some(9), incoming_window: 9, ..Flow::default() };
        let outcome = Some(Outcome::Accepted);
        let disposition = Disposition { is_receiver: true, first: 0, last: 2, settled: false, outcome };
        let detach = Detach { handle: 0, closed: true, error: None };
        put_frame(&mut conversation, FrameKind::Amqp, 0, |out| attach.encode(out));
        put_frame(&mut conversation, FrameKind::Amqp, 0, |out| flow.encode(out));
        put_frame(&mut conversation, FrameKind::Amqp, 0, |out| disposition.encode(out));
        put_frame(&mut conversation, FrameKind::Amqp, 0, |out| detach.encode(out));
        put_frame(&mut conversation, FrameKind::Amqp, 0, |out| put_ending(out, 0x17, None));
        for (place, byte) in mutations {
            let place = place.index(conversation.len());
            conversation[place] = byte;
        }
        let mut peer = Peer::opened(false);
        peer.publish(3);
        peer.write(&conversation);
    }
}

/// The same inputs each time; `cargo xtask fuzz` looks for others.
fn steadily(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(steadily(2_000))]
    #[test]
    fn no_conduct_of_a_peer_panics_or_leaves_anything_behind(data in vec(any::<u8>(), 1..600)) {
        fuzz::Target::Connection.run(&data, &mut |_| {});
    }

    #[test]
    fn what_can_be_read_is_written_and_read_the_same(data in vec(any::<u8>(), 1..200)) {
        fuzz::Target::Frame.run(&data, &mut |_| {});
    }
}

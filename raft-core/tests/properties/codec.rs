//! Bytes on the wire: what was written is read, nothing else is, and the format is pinned.

use bytes::Bytes;
use proptest::prelude::*;
use raft_core::codec::{
    DecodeError, EncodeError, FRAME_BYTES_MAX, decode_entry, decode_frame, decode_value,
    encode_entry, encode_frame, encode_value,
};
use raft_core::{
    Address, ClientId, ClientResponse, ClientResult, ClusterId, Entry, Envelope, Index, LogId,
    Message, Payload, SequenceNumber, ServerId, Term,
};

use crate::any;
use crate::bench::{
    append_all, command, conflict, entries, request, stale, success, vote, vote_request,
};

fn encode(envelopes: &[Envelope]) -> Bytes {
    let mut buffer = Vec::new();
    encode_frame(envelopes, &mut buffer).unwrap();
    Bytes::from(buffer)
}

/// Envelopes of one sender.
fn frame() -> impl Strategy<Value = Vec<Envelope>> {
    prop::collection::vec(any::envelope(), 1..4).prop_map(|mut envelopes| {
        let (cluster_id, from) = (envelopes[0].cluster_id, envelopes[0].from);
        for envelope in &mut envelopes {
            (envelope.cluster_id, envelope.from) = (cluster_id, from);
        }
        envelopes
    })
}

proptest! {
    #![proptest_config(crate::cases(256))]

    #[test]
    fn what_was_written_is_read(envelopes in frame()) {
        prop_assert_eq!(decode_frame(&encode(&envelopes)).unwrap(), envelopes);
    }

    #[test]
    fn a_frame_is_written_behind_what_is_there(envelopes in frame()) {
        let mut buffer = b"before".to_vec();
        encode_frame(&envelopes, &mut buffer).unwrap();
        prop_assert_eq!(&buffer[..6], b"before");
        prop_assert_eq!(&buffer[6..], &encode(&envelopes)[..]);
    }

    #[test]
    fn a_frame_that_is_cut_off_or_goes_on_is_refused(envelopes in frame(), extra in 1..20_usize) {
        let bytes = encode(&envelopes);
        for length in 0..bytes.len() {
            prop_assert!(decode_frame(&bytes.slice(..length)).is_err(), "{} bytes", length);
        }
        let longer = [&bytes[..], &vec![0; extra]].concat();
        let error = decode_frame(&Bytes::from(longer)).unwrap_err();
        let is_trailing = matches!(error, DecodeError::Trailing { bytes } if bytes == extra);
        prop_assert!(is_trailing, "{}", error);
    }

    /// A changed byte is noticed or makes another frame, which then is exactly the one that says so.
    #[test]
    fn a_changed_frame_is_refused_or_is_another_frame(
        envelopes in frame(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = encode(&envelopes).to_vec();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let bytes = Bytes::from(bytes);
        if let Ok(read) = decode_frame(&bytes) {
            prop_assert_eq!(encode(&read), bytes);
        }
    }

    #[test]
    fn garbage_is_refused_or_is_a_frame(
        tail in prop::collection::vec(prop_oneof![3 => 0..4_u8, 1 => any::<u8>()], 0..200),
        has_head in any::<bool>(),
    ) {
        let head: &[u8] = if has_head { b"RAFT\x01\x00" } else { b"" };
        let bytes = Bytes::from([head, &tail].concat());
        if let Ok(read) = decode_frame(&bytes) {
            prop_assert_eq!(encode(&read), bytes);
        }
    }

    #[test]
    fn an_entry_fills_its_bytes_exactly(entry in any::entry(), cut in any::<prop::sample::Index>()) {
        let mut buffer = Vec::new();
        encode_entry(&entry, &mut buffer).unwrap();
        prop_assert!(buffer.len() <= entry.size_bytes(), "the size is not underestimated");
        prop_assert!(buffer.len() + 48 >= entry.size_bytes());
        let bytes = Bytes::from(buffer);
        prop_assert_eq!(decode_entry(&bytes).unwrap(), entry);
        prop_assert!(decode_entry(&bytes.slice(..cut.index(bytes.len()))).is_err());
        let longer = Bytes::from([&bytes[..], b"x"].concat());
        let is_trailing = matches!(decode_entry(&longer), Err(DecodeError::Trailing { bytes: 1 }));
        prop_assert!(is_trailing);
    }

    #[test]
    fn a_value_fills_its_bytes_exactly(value in any::<(u64, String, Option<i8>)>()) {
        let bytes = encode_value(&value);
        let read: (u64, String, Option<i8>) = decode_value(&bytes).unwrap();
        prop_assert_eq!(read, value);
        let longer = [&bytes[..], b"xy"].concat();
        let error = decode_value::<(u64, String, Option<i8>)>(&longer).unwrap_err();
        prop_assert_eq!(error.to_string(), "2 bytes are left over");
        for length in 0..bytes.len() {
            prop_assert!(decode_value::<(u64, String, Option<i8>)>(&bytes[..length]).is_err());
        }
    }
}

fn from_server_2(message: Message) -> Envelope {
    Envelope {
        cluster_id: ClusterId(0x0102_0304_0506_0708),
        from: ServerId(2).into(),
        to: ServerId(1).into(),
        message,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Version 2 of the format, message by message: bytes that servers of other versions, and files, hold.
#[test]
fn version_2_of_the_format_is_pinned() {
    let response = |result| {
        let (client_id, sequence_number) = (ClientId(0xc), SequenceNumber(0xd));
        Message::ClientResponse(ClientResponse { client_id, sequence_number, result })
    };
    let log_id = LogId::new(Term(0xa), Index(0xb));
    let answered = Bytes::from_static(b"ok");
    let both = vec![entries(6, &[5]).remove(0), command((7, 5), 9, "xy")];
    // Behind the receiver, s1: `00` and eight bytes.
    let table = [
        (
            vote_request(9, 2, (7, 5)),
            "00 0900000000000000 0200000000000000 0700000000000000 0500000000000000 00",
        ),
        (vote(9, true), "01 0900000000000000 01"),
        (vote(9, false), "01 0900000000000000 00"),
        (
            append_all(9, 2, (5, 4), both, 3),
            "02 0900000000000000 0200000000000000 0500000000000000 0400000000000000 0300000000000000 \
             0000000000000000 02000000 \
             0500000000000000 0600000000000000 00 \
             0500000000000000 0700000000000000 01 \
             0100000000000000 0000000000000000 0900000000000000 0900000000000000 02000000 7879",
        ),
        (success(9, 7), "03 0900000000000000 0000000000000000 00 0700000000000000"),
        (
            conflict(9, 7, 6, None),
            "03 0900000000000000 0000000000000000 01 0700000000000000 00 0600000000000000",
        ),
        (
            conflict(9, 7, 6, Some(4)),
            "03 0900000000000000 0000000000000000 01 0700000000000000 01 0400000000000000 0600000000000000",
        ),
        (stale(9), "03 0900000000000000 0000000000000000 02"),
        (
            Message::ClientRequest(request(8, 3, "abc")),
            "04 0800000000000000 0000000000000000 0300000000000000 0300000000000000 03000000 616263",
        ),
        (
            response(ClientResult::Applied { log_id, response: answered }),
            "05 0c00000000000000 0d00000000000000 00 0a00000000000000 0b00000000000000 02000000 6f6b",
        ),
        (
            response(ClientResult::NotLeader { leader: None }),
            "05 0c00000000000000 0d00000000000000 01 00",
        ),
        (
            response(ClientResult::NotLeader { leader: Some(ServerId(3)) }),
            "05 0c00000000000000 0d00000000000000 01 01 0300000000000000",
        ),
        (response(ClientResult::Superseded), "05 0c00000000000000 0d00000000000000 02"),
        (
            response(ClientResult::TooLarge { command_bytes: 5, command_bytes_max: 4 }),
            "05 0c00000000000000 0d00000000000000 03 0500000000000000 0400000000000000",
        ),
    ];
    for (message, expected) in table {
        let bytes = encode(&[from_server_2(message.clone())]);
        let expected: String = expected.split_whitespace().collect();
        let length = 9 + expected.len() / 2;
        let head = "52414654 0200 0807060504030201 00 0200000000000000 01000000";
        let head: String = head.split_whitespace().collect();
        let envelope_head = format!("{}000000 00 0100000000000000", hex(&[length as u8]));
        let envelope_head: String = envelope_head.split_whitespace().collect();
        assert_eq!(hex(&bytes), format!("{head}{envelope_head}{expected}"), "{message}");
    }
    let to = |to: Address| hex(&encode(&[Envelope { to, ..from_server_2(stale(9)) }])[31..]);
    assert_eq!(&to(ClientId(4).into())[..18], "010400000000000000");
    assert_eq!(&to(Address::AllServers)[..4], "0203");
}

#[test]
fn what_is_no_frame_is_told_from_what_is_broken() {
    let good = encode(&[from_server_2(vote(9, true))]);
    let with = |place: usize, byte: u8| {
        let mut bytes = good.to_vec();
        bytes[place] = byte;
        decode_frame(&Bytes::from(bytes)).unwrap_err().to_string()
    };
    let error = |bytes: &'static [u8]| decode_frame(&Bytes::from_static(bytes)).unwrap_err();
    assert!(matches!(error(b""), DecodeError::NotAFrame));
    assert!(matches!(error(b"RAF"), DecodeError::NotAFrame));
    assert!(matches!(error(b"TFAR\x01\x00"), DecodeError::NotAFrame));
    assert_eq!(with(4, 1), "frame format 1 is not known here, only 2");
    assert_eq!(with(14, 9), "malformed: unknown kind of Address");
    let vote_granted = good.len() - 1;
    assert!(with(vote_granted, 2).starts_with("malformed: "), "neither true nor false");
}

/// No encoder writes a frame without envelopes, so none is read.
#[test]
fn a_frame_without_envelopes_is_refused() {
    let mut bytes = encode(&[from_server_2(stale(9))]).to_vec();
    bytes.truncate(23);
    bytes.extend_from_slice(&[0; 4]);
    let error = decode_frame(&Bytes::from(bytes)).unwrap_err();
    assert_eq!(error.to_string(), "malformed: no envelope");
}

/// A hostile length asks for memory in vain: it is compared with the bytes that are there.
#[test]
fn no_length_asks_for_more_than_the_frame_holds() {
    let good = encode(&[from_server_2(append_all(9, 2, (5, 4), entries(6, &[5]), 3))]);
    let with_u32 = |place: usize, value: u32| {
        let mut bytes = good.to_vec();
        bytes[place..place + 4].copy_from_slice(&value.to_le_bytes());
        decode_frame(&Bytes::from(bytes))
    };
    let (envelopes, length, count) = (23, 27, 27 + 4 + 9 + 1 + 48);
    assert_eq!(good[envelopes..envelopes + 4], 1_u32.to_le_bytes());
    assert_eq!(good[count..count + 4], 1_u32.to_le_bytes());
    for value in [0, 2, 20, 1 << 16, 1 << 24, u32::MAX] {
        for place in [envelopes, length, count] {
            assert!(with_u32(place, value).is_err(), "{value} at {place}");
        }
    }
    let error = with_u32(envelopes, u32::MAX).unwrap_err();
    assert_eq!(error.to_string(), "malformed: more envelopes than bytes");
    let error = with_u32(count, u32::MAX).unwrap_err();
    assert_eq!(error.to_string(), "malformed: more items than bytes");
}

#[test]
fn frames_end_at_the_limit() {
    let command_of = |bytes: usize| {
        let entry = Entry {
            term: Term(1),
            index: Index(1),
            payload: Payload::Command(request(1, 1, &"x".repeat(bytes)).into()),
        };
        from_server_2(append_all(9, 2, (0, 0), vec![entry], 0))
    };
    let overhead = encode(&[command_of(0)]).len();
    let largest = command_of(FRAME_BYTES_MAX - overhead);
    let bytes = encode(std::slice::from_ref(&largest));
    assert_eq!(bytes.len(), FRAME_BYTES_MAX);
    assert_eq!(decode_frame(&bytes).unwrap(), [largest]);

    let mut buffer = b"before".to_vec();
    let too_large = command_of(FRAME_BYTES_MAX - overhead + 1);
    assert_eq!(encode_frame(&[too_large], &mut buffer), Err(EncodeError::TooLong));
    let much_too_large = command_of(2 * FRAME_BYTES_MAX);
    assert_eq!(encode_frame(&[much_too_large], &mut buffer), Err(EncodeError::TooLong));
    assert_eq!(encode_frame(&[], &mut buffer), Err(EncodeError::Empty));
    let (one, mut two) = (from_server_2(stale(9)), from_server_2(stale(9)));
    two.from = ServerId(3).into();
    assert_eq!(encode_frame(&[one.clone(), two], &mut buffer), Err(EncodeError::MixedSenders));
    let mut two = one.clone();
    two.cluster_id = ClusterId(9);
    assert_eq!(encode_frame(&[one, two], &mut buffer), Err(EncodeError::MixedSenders));
    assert_eq!(buffer, b"before", "a frame that cannot be leaves nothing behind");

    let longer = Bytes::from(vec![0; FRAME_BYTES_MAX + 1]);
    assert!(matches!(decode_frame(&longer), Err(DecodeError::TooLong { .. })));
}

/// A large payload is a slice of its frame; a small one is not, so that it does not keep it alive.
#[test]
fn large_payloads_are_not_copied() {
    for (bytes, is_slice) in [(64, false), (65, true)] {
        let envelope = Envelope {
            from: ClientId(1).into(),
            ..from_server_2(Message::ClientRequest(request(1, 1, &"x".repeat(bytes))))
        };
        let frame = encode(&[envelope]);
        let Message::ClientRequest(read) = decode_frame(&frame).unwrap().remove(0).message else {
            panic!("a request was written");
        };
        let range = frame.as_ptr_range();
        assert_eq!(range.contains(&read.command.as_ptr()), is_slice, "{bytes} bytes");
    }
}

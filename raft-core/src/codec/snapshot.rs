//! How a snapshot begins: with all that a server knows at its last entry besides the state machine's
//! state (Raft §7; dissertation §6.3 for the sessions).
//!
//! | bytes | what |
//! | --- | --- |
//! | 4 | magic `SNAP` |
//! | 2 | format version, that of frames |
//! | 8 | length of the rest |
//! | the rest | last entry, configuration, sessions with the answers that their clients may ask for again |
//!
//! Guarantees: as in [`crate::codec`]; memory is taken only for what is there.

use std::collections::BTreeMap;

use bincode::de::{BorrowDecode, BorrowDecoder};
use bincode::enc::{Encode, Encoder};
use bincode::error::{DecodeError as BincodeError, EncodeError as BincodeEncodeError};
use bytes::Bytes;

use super::{
    DecodeError, FORMAT_VERSION, Field, UNLIMITED, append_up_to, decode_bytes, encode_bytes,
    malformed, take,
};
use crate::membership::Configuration;
use crate::session::{Session, Sessions};
use crate::types::LogId;

/// The first bytes of every snapshot.
const SNAPSHOT_MAGIC: [u8; 4] = *b"SNAP";

/// Encodes all of a snapshot but the state machine's state: magic, format version, the length of the
/// rest in 8 bytes, and the rest. It holds answers to clients, which may be long, so nothing limits it.
pub(crate) fn encode_snapshot_header(
    last: LogId,
    configuration: &Configuration,
    sessions: &Sessions,
) -> Bytes {
    let mut buffer = SNAPSHOT_MAGIC.to_vec();
    buffer.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    let length_at = buffer.len();
    buffer.extend_from_slice(&[0; 8]);
    append_up_to(&(last, configuration, sessions), &mut buffer, usize::MAX, UNLIMITED)
        .expect("every part of it has a length");
    let length = (buffer.len() - length_at - 8) as u64;
    buffer[length_at..length_at + 8].copy_from_slice(&length.to_le_bytes());
    buffer.into()
}

/// Reads what [`encode_snapshot_header`] wrote from the start of a snapshot, and says how long it is.
pub(crate) fn decode_snapshot_header(
    snapshot: &Bytes,
) -> Result<(LogId, Configuration, Sessions, usize), DecodeError> {
    let mut rest = snapshot.strip_prefix(&SNAPSHOT_MAGIC).ok_or(DecodeError::NotAFrame)?;
    let version = u16::from_le_bytes(*take(&mut rest)?);
    if version != FORMAT_VERSION {
        return Err(DecodeError::UnknownVersion { found: version });
    }
    let length = usize::try_from(u64::from_le_bytes(*take(&mut rest)?)).unwrap_or(usize::MAX);
    let body = rest.get(..length).ok_or_else(|| malformed("a snapshot is cut off"))?;
    let ((last, configuration, sessions), read) =
        bincode::borrow_decode_from_slice_with_context(body, UNLIMITED, snapshot.clone())?;
    if read != length {
        return Err(DecodeError::Trailing { bytes: length - read });
    }
    Ok((last, configuration, sessions, snapshot.len() - rest.len() + length))
}

impl Encode for Sessions {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), BincodeEncodeError> {
        (self.len() as u32).encode(encoder)?;
        for (client_id, session) in self.iter() {
            let Session { id, registration, floor, used_at, requests } = session;
            (client_id, id, registration, floor, used_at).encode(encoder)?;
            (requests.len() as u32).encode(encoder)?;
            for (number, (log_id, response)) in requests {
                // Everything handed out is applied when a snapshot is taken, so the answer is there.
                let response = response.clone().unwrap_or_default();
                (number, log_id).encode(encoder)?;
                encode_bytes(&response, encoder)?;
            }
        }
        Ok(())
    }
}

impl<'de> BorrowDecode<'de, Bytes> for Sessions {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Bytes>>(
        decoder: &mut D,
    ) -> Result<Self, BincodeError> {
        let count = u32::decode(decoder)?;
        let mut sessions = Vec::new();
        for _ in 0..count {
            let (client_id, id, registration, floor, used_at) = Field::decode(decoder)?;
            let mut requests = BTreeMap::new();
            for _ in 0..u32::decode(decoder)? {
                let (number, log_id) = Field::decode(decoder)?;
                // A copy: an answer is kept longer than the snapshot, and must not keep it alive.
                let response = Bytes::copy_from_slice(&decode_bytes(decoder)?);
                requests.insert(number, (log_id, Some(response)));
            }
            sessions.push((client_id, Session { id, registration, floor, used_at, requests }));
        }
        Ok(sessions.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ClientRequest;
    use crate::types::{ClientId, Index, SequenceNumber, ServerId, Term};

    fn header(answer_bytes: usize) -> (Bytes, Sessions) {
        let mut sessions = Sessions::default();
        let request = ClientRequest::new(ClientId(7), SequenceNumber(1), Bytes::new());
        let last = LogId::new(Term(2), Index(5));
        sessions.start(&request, last);
        sessions.finish(&request, vec![1; answer_bytes].into());
        let configuration =
            Configuration::joint([1, 2].map(ServerId), [3].map(ServerId), [4].map(ServerId));
        (encode_snapshot_header(last, &configuration, &sessions), sessions)
    }

    #[test]
    fn a_header_is_read_back_and_says_where_it_ends() {
        let (header, sessions) = header(3);
        let snapshot = Bytes::from([&header[..], b"state"].concat());
        let (last, configuration, found, length) = decode_snapshot_header(&snapshot).unwrap();
        assert_eq!((last, found, length), (LogId::new(Term(2), Index(5)), sessions, header.len()));
        assert_eq!(configuration.old_voters(), Some(&[1, 2].map(ServerId)[..]));
        assert!(configuration.learners().eq([ServerId(4)]));
    }

    #[test]
    fn the_answers_of_a_server_may_be_longer_than_any_value() {
        let (header, sessions) = header(super::super::VALUE_BYTES_MAX + 1);
        assert_eq!(decode_snapshot_header(&header).unwrap().2, sessions);
    }

    #[test]
    fn a_header_cut_off_anywhere_or_changed_is_no_header() {
        let (header, _) = header(3);
        for length in 0..header.len() {
            assert!(decode_snapshot_header(&header.slice(..length)).is_err(), "{length}");
        }
        for at in 0..14 {
            let mut other = header.to_vec();
            other[at] ^= 0x80;
            assert!(decode_snapshot_header(&other.into()).is_err(), "byte {at}");
        }
    }
}

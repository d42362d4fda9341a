//! Envelopes to bus messages and back.
//!
//! | property | what it holds |
//! | --- | --- |
//! | `To` | the receiver's address: `server-3`, `client-9` or `all-servers`; the rules compare it |
//! | `ReplyTo` | the sender's address |
//! | `Subject` | the name of the (first) message, for people who look at the topic |
//! | `CorrelationId` | the request a client's message is about, `c9#4` |
//! | body | a frame of [`raft_core::codec`] |
//!
//! Only the body counts: what a message says and who sent it is read from there alone.

use std::time::Duration;

use bytes::Bytes;
use raft_core::codec::{self, DecodeError, EncodeError};
use raft_core::{Envelope, Message};

use crate::transport::{BusMessage, ReceivedMessage};

/// The media type of a body that is a frame.
pub const CONTENT_TYPE: &str = "application/vnd.raft.frame";

/// Puts an envelope into a bus message that dies after `time_to_live`.
///
/// # Errors
///
/// If it is longer than a frame may be.
pub fn to_bus_message(
    envelope: &Envelope,
    time_to_live: Duration,
) -> Result<BusMessage, EncodeError> {
    let mut body = Vec::new();
    codec::encode_frame(std::slice::from_ref(envelope), &mut body)?;
    let correlation_id = match &envelope.message {
        Message::ClientRequest(request) => {
            Some(format!("{}{}", request.client_id, request.sequence_number))
        }
        Message::ClientResponse(response) => {
            Some(format!("{}{}", response.client_id, response.sequence_number))
        }
        Message::RegisterClient(request) => {
            Some(format!("{}{}", request.client_id, request.registration))
        }
        Message::PreVoteRequest(_)
        | Message::PreVoteResponse(_)
        | Message::VoteRequest(_)
        | Message::VoteResponse(_)
        | Message::AppendEntriesRequest(_)
        | Message::AppendEntriesResponse(_)
        | Message::InstallSnapshotRequest(_)
        | Message::InstallSnapshotResponse(_)
        | Message::TimeoutNow(_)
        | Message::ReadIndexRequest(_)
        | Message::ReadIndexResponse(_) => None,
    };
    Ok(BusMessage {
        to: Some(envelope.to.routing_name()),
        reply_to: Some(envelope.from.routing_name()),
        subject: Some(envelope.message.name().to_owned()),
        correlation_id,
        time_to_live: Some(time_to_live),
        content_type: Some(CONTENT_TYPE.to_owned()),
        body: Bytes::from(body),
        ..BusMessage::default()
    })
}

/// Reads the envelopes of a bus message.
///
/// # Errors
///
/// If its body is no frame of ours.
pub fn from_bus_message(message: &ReceivedMessage) -> Result<Vec<Envelope>, DecodeError> {
    codec::decode_frame(message.body())
}

#[cfg(test)]
mod tests {
    use raft_core::{ClientId, ClientRequest, ClusterId, SequenceNumber, ServerId};

    use super::*;

    fn request() -> Envelope {
        Envelope {
            cluster_id: ClusterId(7),
            from: ClientId(9).into(),
            to: ServerId(3).into(),
            message: Message::ClientRequest(ClientRequest::new(
                ClientId(9),
                SequenceNumber(4),
                Bytes::from_static(b"x"),
            )),
        }
    }

    #[test]
    fn an_envelope_survives_the_bus_and_shows_where_it_goes() {
        let message = to_bus_message(&request(), Duration::from_secs(2)).unwrap();
        assert_eq!(message.to.as_deref(), Some("server-3"));
        assert_eq!(message.reply_to.as_deref(), Some("client-9"));
        assert_eq!(message.subject.as_deref(), Some("ClientRequest"));
        assert_eq!(message.correlation_id.as_deref(), Some("c9#4"));
        assert_eq!(message.time_to_live, Some(Duration::from_secs(2)));
        let received = ReceivedMessage { sequence_number: None, enqueued_time: None, message };
        assert_eq!(from_bus_message(&received).unwrap(), [request()]);
    }

    #[test]
    fn a_strangers_message_is_an_error_and_no_panic() {
        let message = BusMessage { body: Bytes::from_static(b"hello"), ..BusMessage::default() };
        let received = ReceivedMessage { sequence_number: None, enqueued_time: None, message };
        assert!(matches!(from_bus_message(&received), Err(DecodeError::NotAFrame)));
    }
}

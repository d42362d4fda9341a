//! What an AMQP error means for us.
//!
//! Source: <https://learn.microsoft.com/azure/service-bus-messaging/service-bus-messaging-exceptions>.

use std::sync::Arc;

use fe2o3_amqp::link::{
    DetachError, LinkStateError, ReceiverAttachError, RecvError, SendError, SenderAttachError,
    SessionStopReason,
};
use fe2o3_amqp_types::definitions;
use fe2o3_amqp_types::messaging::Outcome;

use crate::sas::without_signatures;
use crate::transport::{BrokerError, Cause, TransportError};

/// What went wrong in the library's words. Its own error types stay behind this door.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Description(String);

pub(super) fn cause(text: impl std::fmt::Display) -> Cause {
    Arc::new(Description(without_signatures(&text.to_string())))
}

/// The condition as text, whatever variant it came as.
fn condition_text(condition: &definitions::ErrorCondition) -> String {
    // Every variant serializes as a symbol, so this is the one way that covers all of them.
    match serde_amqp::to_value(condition) {
        Ok(serde_amqp::Value::Symbol(symbol)) => symbol.0,
        _ => format!("{condition:?}"),
    }
}

pub(super) fn broker_error(error: &definitions::Error) -> BrokerError {
    BrokerError {
        condition: condition_text(&error.condition),
        description: without_signatures(error.description.as_deref().unwrap_or_default()),
    }
}

/// Sorts what the broker said by what to do about it.
pub(super) fn from_broker(entity: &str, error: &definitions::Error) -> TransportError {
    let entity = entity.to_owned();
    let source = broker_error(error);
    match source.condition.as_str() {
        "amqp:not-found" | "amqp:resource-deleted" | "com.microsoft:entity-disabled" => {
            TransportError::NotFound { entity, source }
        }
        "amqp:unauthorized-access" | "com.microsoft:auth-failed" => {
            TransportError::Unauthorized { entity, source }
        }
        "amqp:link:message-size-exceeded" => TransportError::MessageTooLarge { size: 0, limit: 0 },
        "com.microsoft:server-busy" => TransportError::Throttled { entity, source },
        "amqp:resource-limit-exceeded" => TransportError::QuotaExceeded { entity, source },
        _ => TransportError::Detached { entity, source: Arc::new(source) },
    }
}

fn from_session_stop(entity: &str, reason: &SessionStopReason) -> TransportError {
    match reason {
        SessionStopReason::RemoteEndedWithError(error)
        | SessionStopReason::EndedWithError(error) => from_broker(entity, error),
        SessionStopReason::Ended | SessionStopReason::RemoteEnded => {
            TransportError::Detached { entity: entity.to_owned(), source: cause("session ended") }
        }
        SessionStopReason::ConnectionStopped(_) => {
            TransportError::ConnectionLost { source: cause("connection stopped") }
        }
    }
}

fn detached(entity: &str, text: impl std::fmt::Display) -> TransportError {
    TransportError::Detached { entity: entity.to_owned(), source: cause(text) }
}

fn from_link_state(entity: &str, error: &LinkStateError) -> TransportError {
    match error {
        LinkStateError::SessionStopped(reason) => from_session_stop(entity, reason),
        LinkStateError::RemoteDetachedWithError(error)
        | LinkStateError::RemoteClosedWithError(error) => from_broker(entity, error),
        LinkStateError::IllegalState
        | LinkStateError::RemoteDetached
        | LinkStateError::RemoteClosed
        | LinkStateError::ExpectImmediateDetach => detached(entity, error),
    }
}

pub(super) fn from_detach(entity: &str, error: &DetachError) -> TransportError {
    match error {
        DetachError::SessionStopped(reason) => from_session_stop(entity, reason),
        DetachError::RemoteDetachedWithError(error) | DetachError::RemoteClosedWithError(error) => {
            from_broker(entity, error)
        }
        _ => detached(entity, error),
    }
}

pub(super) fn from_send(entity: &str, error: &SendError) -> TransportError {
    match error {
        SendError::LinkStateError(error) => from_link_state(entity, error),
        SendError::Detached(error) => from_detach(entity, error),
        SendError::MessageSizeExceeded(exceeded) => {
            TransportError::MessageTooLarge { size: exceeded.size, limit: exceeded.max_size }
        }
        SendError::NonTerminalDeliveryState
        | SendError::IllegalDeliveryState
        | SendError::MessageEncodeError => {
            TransportError::Other { operation: "send", source: cause(error) }
        }
    }
}

pub(super) fn from_outcome(entity: &str, outcome: Outcome) -> Result<(), TransportError> {
    match outcome {
        Outcome::Accepted(_) => Ok(()),
        Outcome::Rejected(rejected) => match rejected.error {
            Some(error) => match from_broker(entity, &error) {
                // A message can be refused without the link being detached.
                TransportError::Detached { source, .. } => {
                    Err(TransportError::Other { operation: "send", source })
                }
                error => Err(error),
            },
            None => Err(TransportError::Other { operation: "send", source: cause("rejected") }),
        },
        Outcome::Released(_) | Outcome::Modified(_) => {
            Err(TransportError::Other { operation: "send", source: cause("not taken") })
        }
    }
}

pub(super) fn from_receive(entity: &str, error: &RecvError) -> TransportError {
    match error {
        RecvError::LinkStateError(error) => from_link_state(entity, error),
        RecvError::MessageDecode(_) => TransportError::Undecodable { entity: entity.to_owned() },
        _ => detached(entity, error),
    }
}

/// A refused attach: what it means, and whether the library lost the broker's reason on the way.
pub(super) struct AttachRefused {
    pub(super) error: TransportError,
    pub(super) reason_is_lost: bool,
}

pub(super) fn from_sender_attach(entity: &str, error: &SenderAttachError) -> AttachRefused {
    let reason_is_lost = matches!(
        error,
        SenderAttachError::IllegalState
            | SenderAttachError::IncomingTargetIsNone
            | SenderAttachError::ExpectImmediateDetach
            | SenderAttachError::NonAttachFrameReceived
    );
    let error = match error {
        SenderAttachError::RemoteClosedWithError(error) => from_broker(entity, error),
        SenderAttachError::SessionStopped(reason) => from_session_stop(entity, reason),
        error => detached(entity, error),
    };
    AttachRefused { error, reason_is_lost }
}

pub(super) fn from_receiver_attach(entity: &str, error: &ReceiverAttachError) -> AttachRefused {
    let reason_is_lost = matches!(
        error,
        ReceiverAttachError::IllegalState
            | ReceiverAttachError::IncomingSourceIsNone
            | ReceiverAttachError::InitialDeliveryCountIsNone
            | ReceiverAttachError::ExpectImmediateDetach
            | ReceiverAttachError::NonAttachFrameReceived
    );
    let error = match error {
        ReceiverAttachError::RemoteClosedWithError(error) => from_broker(entity, error),
        ReceiverAttachError::SessionStopped(reason) => from_session_stop(entity, reason),
        error => detached(entity, error),
    };
    AttachRefused { error, reason_is_lost }
}

#[cfg(test)]
mod tests {
    use fe2o3_amqp_types::definitions::{AmqpError, ErrorCondition, LinkError};

    use super::*;

    #[test]
    fn conditions_are_told_apart() {
        let custom = |text: &str| ErrorCondition::Custom(text.into());
        let table: [(ErrorCondition, &str); 8] = [
            (AmqpError::NotFound.into(), "NotFound"),
            (AmqpError::UnauthorizedAccess.into(), "Unauthorized"),
            (AmqpError::ResourceLimitExceeded.into(), "QuotaExceeded"),
            (LinkError::MessageSizeExceeded.into(), "MessageTooLarge"),
            (LinkError::DetachForced.into(), "Detached"),
            (custom("com.microsoft:server-busy"), "Throttled"),
            (custom("com.microsoft:timeout"), "Detached"),
            (custom("com.microsoft:entity-disabled"), "NotFound"),
        ];
        for (condition, expected) in table {
            let error = definitions::Error::new(condition, Some("why sig=abc".to_owned()), None);
            let sorted = from_broker("t", &error);
            assert!(format!("{sorted:?}").starts_with(expected), "{sorted:?}");
            assert!(!format!("{sorted:?}").contains("abc"), "{sorted:?}");
        }
    }
}

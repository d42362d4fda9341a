//! What peers are told when something fails: the service's conditions and wording, which its
//! clients match on.

use std::time::Duration;

use super::Context;
use crate::broker::BrokerError;
use crate::emulator::amqp::outcome::AmqpError;

pub(super) const DECODE_ERROR: &str = "amqp:decode-error";
pub(super) const FRAMING_ERROR: &str = "amqp:connection:framing-error";
pub(super) const CONNECTION_FORCED: &str = "amqp:connection:forced";
pub(super) const DETACH_FORCED: &str = "amqp:link:detach-forced";
pub(super) const ILLEGAL_STATE: &str = "amqp:illegal-state";
pub(super) const INVALID_FIELD: &str = "amqp:invalid-field";
pub(super) const NOT_ALLOWED: &str = "amqp:not-allowed";
pub(super) const NOT_IMPLEMENTED: &str = "amqp:not-implemented";
pub(super) const RESOURCE_LIMIT: &str = "amqp:resource-limit-exceeded";
pub(super) const MESSAGE_SIZE: &str = "amqp:link:message-size-exceeded";
pub(super) const TRANSFER_LIMIT: &str = "amqp:link:transfer-limit-exceeded";
pub(super) const HANDLE_IN_USE: &str = "amqp:session:handle-in-use";
pub(super) const UNATTACHED_HANDLE: &str = "amqp:session:unattached-handle";
pub(super) const UNKNOWN_TRANSACTION: &str = "amqp:transaction:unknown-id";
const UNAUTHORIZED: &str = "amqp:unauthorized-access";
const NOT_FOUND: &str = "amqp:not-found";
const ARGUMENT_ERROR: &str = "com.microsoft:argument-error";
pub(super) const SERVER_BUSY: &str = "com.microsoft:server-busy";
const LOCK_LOST: &str = "com.microsoft:message-lock-lost";
const SESSION_LOCK_LOST: &str = "com.microsoft:session-lock-lost";
const SESSION_CANNOT_BE_LOCKED: &str = "com.microsoft:session-cannot-be-locked";
const MESSAGE_NOT_FOUND: &str = "com.microsoft:message-not-found";
const ENTITY_DISABLED: &str = "com.microsoft:entity-disabled";
const ENTITY_EXISTS: &str = "com.microsoft:entity-already-exists";
pub(super) const TIMEOUT: &str = "com.microsoft:timeout";

/// Whether a failure ends the session or the whole connection.
#[derive(Debug)]
pub(super) enum Failure {
    Session(AmqpError),
    Connection(AmqpError),
}

impl Failure {
    pub(super) fn session(condition: &str, description: impl Into<String>) -> Self {
        Self::Session(AmqpError::new(condition, description))
    }

    pub(super) fn connection(condition: &str, description: impl Into<String>) -> Self {
        Self::Connection(AmqpError::new(condition, description))
    }
}

impl Context {
    /// The error of an entity that does not exist. JavaScript looks for the first sentence.
    pub(super) fn entity_not_found(&self, path: &str) -> AmqpError {
        let tracking = self.tracking();
        let description = format!(
            "The messaging entity 'sb://localhost/{path}' could not be found. To know more visit \
             https://aka.ms/sbResourceMgrExceptions. {tracking}"
        );
        AmqpError::new(NOT_FOUND, description)
    }

    /// The error of what names a transaction: none can have been declared.
    pub(super) fn no_transaction(&self) -> AmqpError {
        let description = format!("There is no such transaction. {}", self.tracking());
        AmqpError::new(UNKNOWN_TRANSACTION, description)
    }

    /// The error of a link for which no valid token was put.
    pub(super) fn unauthorized(&self, path: &str, claim: &str) -> AmqpError {
        let tracking = self.tracking();
        let description = format!(
            "Unauthorized access. '{claim}' claim(s) are required to perform this operation. \
             Resource: 'sb://localhost/{path}'. {tracking}"
        );
        AmqpError::new(UNAUTHORIZED, description)
    }

    /// The error of a link that nobody used for too long.
    pub(super) fn idle(&self, is_sender: bool, limit: Duration) -> AmqpError {
        let kind = if is_sender { "AmqpMessagePublisher" } else { "AmqpMessageConsumer" };
        let seconds = limit.as_secs();
        let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        let description = format!(
            "The link is force detached. Details: {kind}.IdleTimerExpired: Idle timeout: \
             {hours:02}:{minutes:02}:{seconds:02}. {}",
            self.tracking()
        );
        AmqpError::new(DETACH_FORCED, description)
    }

    /// The error of a receiver for which no session became free in time.
    pub(super) fn no_session(&self) -> AmqpError {
        let description = format!(
            "The operation did not complete within the allotted time: no session is available. {}",
            self.tracking()
        );
        AmqpError::new(TIMEOUT, description)
    }

    /// The error of a link whose token ran out.
    pub(super) fn token_expired(&self, path: &str) -> AmqpError {
        let tracking = self.tracking();
        let description =
            format!("ExpiredToken: The token for 'sb://localhost/{path}' is expired. {tracking}");
        AmqpError::new(UNAUTHORIZED, description)
    }

    /// What the broker's refusal is called on the wire.
    pub(super) fn broker_error(&self, path: &str, error: &BrokerError) -> AmqpError {
        let condition = match error {
            BrokerError::NotFound { .. } | BrokerError::Deleted => {
                return self.entity_not_found(path);
            }
            BrokerError::MessageTooLarge { .. } => MESSAGE_SIZE,
            BrokerError::QuotaExceeded { .. } | BrokerError::TooManyEntities { .. } => {
                RESOURCE_LIMIT
            }
            BrokerError::LockLost => LOCK_LOST,
            BrokerError::SessionLockLost => SESSION_LOCK_LOST,
            BrokerError::SessionCannotBeLocked { .. } => SESSION_CANNOT_BE_LOCKED,
            BrokerError::MessageNotFound { .. } => MESSAGE_NOT_FOUND,
            BrokerError::EntityDisabled { .. } => ENTITY_DISABLED,
            BrokerError::AlreadyExists { .. } => ENTITY_EXISTS,
            BrokerError::SessionRequired { .. }
            | BrokerError::SessionReceiverRequired { .. }
            | BrokerError::SessionsNotSupported { .. }
            | BrokerError::ForwardingEnabled { .. } => NOT_ALLOWED,
            BrokerError::ServerBusy => {
                let description = format!(
                    "{error}. Error code : 50009. Please wait 2 seconds and try again. {}",
                    self.tracking()
                );
                return AmqpError::new(SERVER_BUSY, description);
            }
            BrokerError::PropertiesTooLarge { .. }
            | BrokerError::PropertyTooLong { .. }
            | BrokerError::MessageIdTooLong { .. }
            | BrokerError::InvalidName { .. }
            | BrokerError::InvalidOption { .. } => ARGUMENT_ERROR,
        };
        AmqpError::new(condition, format!("{error}. {}", self.tracking()))
    }

    /// What support would ask for; here it only makes two errors differ.
    fn tracking(&self) -> String {
        format!("TrackingId:00000000-0000-0000-0000-{:012x}_E0", self.settings.next_number())
    }
}

//! Links on which the peer sends: credit, messages in parts, and publishing.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::Context;
use super::error::{
    DECODE_ERROR, INVALID_FIELD, MESSAGE_SIZE, RESOURCE_LIMIT, SERVER_BUSY, TRANSFER_LIMIT,
};
use super::service::ServiceNode;
use crate::broker::BusMessage;
use crate::bus::BusError;
use crate::emulator::amqp::message::{self, BATCH_FORMAT};
use crate::emulator::amqp::outcome::AmqpError;
use crate::emulator::amqp::performative::Transfer;

/// Messages a sender may have under way.
const CREDIT: u32 = 1_000;
/// The smallest bound for the unfinished messages of one connection.
const PARTIAL_BYTES_MIN: usize = 16 * 1024 * 1024;
/// What may surround the bare message that the size limit is for.
const ENVELOPE_BYTES: u64 = 16 * 1024;

/// A link on which the peer sends.
pub(super) struct Incoming {
    pub(super) path: String,
    pub(super) node: IncomingNode,
    pub(super) delivery_count: u32,
    pub(super) credit: u32,
    pub(super) used_at: Duration,
    partial: Option<Delivery>,
}

/// Where the messages of the link go.
pub(super) enum IncomingNode {
    /// A queue or a topic.
    Entity,
    Service(ServiceNode),
}

/// A message that has arrived, or is arriving.
pub(super) struct Delivery {
    pub(super) id: u32,
    pub(super) is_settled: bool,
    is_transactional: bool,
    format: u32,
    /// Bytes that came, of which `data` holds none if they are too many.
    size: u64,
    data: BytesMut,
}

impl Incoming {
    pub(super) fn new(now: Duration, path: String, node: IncomingNode) -> Self {
        Self { path, node, delivery_count: 0, credit: CREDIT, used_at: now, partial: None }
    }

    pub(super) fn partial_bytes(&self) -> usize {
        self.partial.as_ref().map_or(0, |delivery| delivery.data.len())
    }

    /// Whether the sender should get fresh credit; if so it has it.
    pub(super) fn replenish(&mut self) -> bool {
        let is_low = self.credit <= CREDIT / 2;
        if is_low {
            self.credit = CREDIT;
        }
        is_low
    }

    /// Takes a part of a message; returns the message when it is complete. `Err` ends the link.
    pub(super) fn add(
        &mut self,
        cx: &mut Context,
        transfer: Transfer,
        payload: &Bytes,
    ) -> Result<Option<Delivery>, AmqpError> {
        self.used_at = cx.now;
        let mut delivery = match self.partial.take() {
            Some(delivery) => {
                cx.partial_bytes -= delivery.data.len();
                delivery
            }
            None => self.begin(&transfer, payload.len())?,
        };
        if transfer.aborted {
            return Ok(None);
        }
        delivery.is_settled |= transfer.settled == Some(true);
        delivery.size += payload.len() as u64;
        if delivery.size > cx.message_bytes_max + ENVELOPE_BYTES {
            // The rest is passed over, and the whole rejected: clients report the detach that the
            // standard suggests as an unknown error.
            delivery.data = BytesMut::new();
        } else {
            // Copied, so that a waiting message does not keep a whole read buffer alive.
            delivery.data.extend_from_slice(payload);
        }
        if !transfer.more {
            return Ok(Some(delivery));
        }
        let bytes_max = PARTIAL_BYTES_MIN.max(4 * cx.message_bytes_max as usize);
        if cx.partial_bytes + delivery.data.len() > bytes_max {
            let description = "too many unfinished messages on one connection";
            return Err(AmqpError::new(RESOURCE_LIMIT, description));
        }
        cx.partial_bytes += delivery.data.len();
        self.partial = Some(delivery);
        Ok(None)
    }

    fn begin(&mut self, transfer: &Transfer, size: usize) -> Result<Delivery, AmqpError> {
        let Some(id) = transfer.delivery_id else {
            let description = "the first transfer of a delivery has no delivery-id";
            return Err(AmqpError::new(INVALID_FIELD, description));
        };
        if self.credit == 0 {
            return Err(AmqpError::new(TRANSFER_LIMIT, "a transfer came without link credit"));
        }
        self.credit -= 1;
        self.delivery_count = self.delivery_count.wrapping_add(1);
        let format = transfer.message_format.unwrap_or(0);
        Ok(Delivery {
            id,
            is_settled: false,
            is_transactional: transfer.is_transactional,
            format,
            size: 0,
            data: BytesMut::with_capacity(size),
        })
    }

    /// Publishes a message, or the messages of a batch. `Err` is why it was rejected.
    pub(super) fn publish(&self, cx: &Context, delivery: Delivery) -> Result<(), AmqpError> {
        if delivery.is_transactional {
            return Err(cx.no_transaction());
        }
        if delivery.size > delivery.data.len() as u64 {
            let description = format!(
                "The received message (delivery-id:{}, size:{} bytes) exceeds the limit ({} bytes) \
                 currently allowed on the link.",
                delivery.id, delivery.size, cx.message_bytes_max
            );
            return Err(AmqpError::new(MESSAGE_SIZE, description));
        }
        let data = delivery.data.freeze();
        let fresh_id = || format!("{:032x}", cx.settings.next_number());
        let messages: Result<Vec<BusMessage>, _> = match delivery.format {
            BATCH_FORMAT => message::decode_batch(data, fresh_id),
            _ => message::decode(data, fresh_id).map(|message| vec![message]),
        };
        let messages = messages.map_err(|error| {
            AmqpError::new(DECODE_ERROR, format!("The message cannot be read: {error}."))
        })?;
        match cx.bus.publish_batch(&self.path, messages) {
            Ok(_) => Ok(()),
            Err(BusError::Broker(error)) => Err(cx.broker_error(&self.path, &error)),
            Err(BusError::Closed) => Err(AmqpError::new(SERVER_BUSY, "The bus is closed.")),
        }
    }
}

impl Delivery {
    pub(super) fn into_data(self) -> Bytes {
        self.data.freeze()
    }
}

//! Links: how they attach, and what is remembered of each.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Context;
use super::error::{NOT_ALLOWED, NOT_IMPLEMENTED, RESOURCE_LIMIT};
use super::incoming::{Incoming, IncomingNode};
use super::outgoing::{Outgoing, OutgoingNode};
use super::service::ServiceNode;
use crate::broker::QueueId;
use crate::emulator::amqp::outcome::AmqpError;
use crate::emulator::amqp::performative::Attach;
use crate::emulator::sas;

/// One end of a link.
pub(super) enum Link {
    /// The peer sends.
    Incoming(Incoming),
    /// We send.
    Outgoing(Outgoing),
    /// We detached it and ignore what the peer still says of it, until it detaches too.
    Detaching,
}

impl Link {
    /// Decides on an attach. `Err` says why the link is refused.
    pub(super) fn attach(cx: &mut Context, attach: &Attach) -> Result<Self, AmqpError> {
        if cx.link_count >= cx.settings.links_max {
            let description = format!("more than {} links", cx.settings.links_max);
            return Err(AmqpError::new(RESOURCE_LIMIT, description));
        }
        let address =
            if attach.is_receiver { &attach.source_address } else { &attach.target_address };
        let Some(address) = address.as_deref().filter(|_| !attach.is_dynamic) else {
            let description = "a link needs the address of an entity; transactions, anonymous and \
                               dynamic nodes are not implemented";
            return Err(AmqpError::new(NOT_IMPLEMENTED, description));
        };
        let path = sas::entity_address(address).to_owned();
        if let Some(node) = ServiceNode::from_path(&path) {
            if let ServiceNode::Management { entity } = &node {
                authorise(cx, entity, "Manage")?;
            }
            return Ok(if attach.is_receiver {
                let reply_to = attach.target_address.clone();
                Self::Outgoing(Outgoing::new(
                    path,
                    true,
                    OutgoingNode::replies(node, reply_to, &attach.name),
                ))
            } else {
                Self::Incoming(Incoming::new(path, IncomingNode::Service(node)))
            });
        }
        if attach.is_receiver { receiver(cx, attach, path) } else { sender(cx, path) }
    }

    /// The entity whose token the link needs.
    pub(super) fn entity(&self) -> Option<&str> {
        match self {
            Self::Incoming(Incoming { node: IncomingNode::Topic, path, .. })
            | Self::Outgoing(Outgoing { node: OutgoingNode::Queue { .. }, path, .. }) => Some(path),
            _ => None,
        }
    }

    /// Forgets what the connection counts for this link.
    pub(super) fn release(&self, cx: &mut Context) {
        match self {
            Self::Incoming(incoming) => cx.partial_bytes -= incoming.partial_bytes(),
            Self::Outgoing(Outgoing { node: OutgoingNode::Queue { queue }, .. }) => {
                cx.bus.stop_listening(*queue, &cx.listener);
            }
            Self::Outgoing(_) => {}
            Self::Detaching => return,
        }
        cx.link_count -= 1;
    }
}

/// A receiver of a subscription.
fn receiver(cx: &mut Context, attach: &Attach, path: String) -> Result<Link, AmqpError> {
    authorise(cx, &path, "Listen")?;
    let Some((topic, subscription)) = subscription_of(&path) else {
        let is_topic = cx.bus.with_broker(|broker, _| broker.topic(&path).is_ok());
        return Err(if is_topic {
            AmqpError::new(NOT_ALLOWED, format!("'{path}' is a topic; receive from a subscription"))
        } else if path.contains('$') {
            AmqpError::new(
                NOT_IMPLEMENTED,
                format!("sub-queues such as '{path}' are not implemented"),
            )
        } else {
            cx.entity_not_found(&path)
        });
    };
    let found = cx.bus.with_broker(|broker, _| broker.subscription(topic, subscription));
    let queue: QueueId = found.map_err(|error| cx.broker_error(&path, &error))?.queue;
    if attach.is_sessionful {
        let description = format!(
            "A sessionful message receiver cannot be created on an entity that does not require \
             sessions: '{path}'. Sessions are not implemented by this emulator."
        );
        return Err(AmqpError::new(NOT_ALLOWED, description));
    }
    cx.bus.listen(queue, &Arc::clone(&cx.listener));
    let is_settled = attach.sender_settle_mode == 1;
    Ok(Link::Outgoing(Outgoing::new(path, is_settled, OutgoingNode::Queue { queue })))
}

/// A sender to a topic.
fn sender(cx: &mut Context, path: String) -> Result<Link, AmqpError> {
    authorise(cx, &path, "Send")?;
    match cx.bus.with_broker(|broker, _| broker.topic(&path)) {
        Ok(_) => Ok(Link::Incoming(Incoming::new(path, IncomingNode::Topic))),
        Err(_) if subscription_of(&path).is_some() => Err(AmqpError::new(
            NOT_ALLOWED,
            format!("'{path}' is a subscription; send to its topic"),
        )),
        Err(error) => Err(cx.broker_error(&path, &error)),
    }
}

fn authorise(cx: &Context, path: &str, claim: &str) -> Result<(), AmqpError> {
    if cx.is_authorised(path) { Ok(()) } else { Err(cx.unauthorized(path, claim)) }
}

/// Topic and subscription in `topic/Subscriptions/name`, in any case.
fn subscription_of(path: &str) -> Option<(&str, &str)> {
    let (rest, name) = path.rsplit_once('/')?;
    let (topic, word) = rest.rsplit_once('/')?;
    word.eq_ignore_ascii_case("subscriptions").then_some((topic, name))
}

/// A lock that the peer holds: a delivery it has not settled.
#[derive(Debug, Clone)]
pub(super) struct Unsettled {
    pub(super) handle: u32,
    pub(super) queue: QueueId,
    pub(super) token: crate::broker::LockToken,
    pub(super) locked_until: Duration,
}

/// The delivery tag of a lock: the token as a little-endian GUID, which is how Service Bus
/// clients read it.
pub(super) fn delivery_tag(token: crate::broker::LockToken) -> Bytes {
    let mut tag = token.0;
    tag[0..4].reverse();
    tag[4..6].reverse();
    tag[6..8].reverse();
    Bytes::copy_from_slice(&tag)
}

//! Links: how they attach, and what is remembered of each.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::error::{INVALID_FIELD, NOT_ALLOWED, NOT_IMPLEMENTED, RESOURCE_LIMIT};
use super::incoming::{Incoming, IncomingNode};
use super::outgoing::{Outgoing, OutgoingNode};
use super::service::ServiceNode;
use super::{Context, HeldSession};
use crate::broker::{BrokerError, LockToken, QueueId};
use crate::emulator::amqp::outcome::AmqpError;
use crate::emulator::amqp::performative::Attach;
use crate::emulator::amqp::value::Value;
use crate::emulator::sas::{self, Rights};

pub(super) const SEND: Rights = Rights { send: true, listen: false, manage: false };
pub(super) const LISTEN: Rights = Rights { send: false, listen: true, manage: false };
const ANY: Rights = Rights { send: true, listen: true, manage: false };
/// How long a receiver waits for a session to become free, unless it says.
const SESSION_TIMEOUT: Duration = Duration::from_secs(60);
/// What an attach says that is kept for as long as its link.
const ATTACH_BYTES_MAX: usize = 8 * 1024;
/// The epoch of the service's ticks of 100 ns, in ticks before that of Unix.
const TICKS_AT_UNIX_EPOCH: i64 = 621_355_968_000_000_000;

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
        let parts = [&attach.source, &attach.target].into_iter().flatten();
        if attach.name.len() + parts.map(Bytes::len).sum::<usize>() > ATTACH_BYTES_MAX {
            let description = "the name, source and target of the link are too long";
            return Err(AmqpError::new(INVALID_FIELD, description));
        }
        if attach.is_coordinator {
            let description = "Transactions are not supported by this emulator.";
            return Err(AmqpError::new(NOT_IMPLEMENTED, description));
        }
        let address =
            if attach.is_receiver { &attach.source_address } else { &attach.target_address };
        let Some(address) = address.as_deref().filter(|_| !attach.is_dynamic) else {
            let description = "a link needs the address of an entity; anonymous and dynamic nodes are \
                               not implemented";
            return Err(AmqpError::new(NOT_IMPLEMENTED, description));
        };
        let path = sas::entity_address(address).to_owned();
        if let Some(node) = ServiceNode::from_path(&path) {
            if let ServiceNode::Management { entity } = &node {
                // A token may be for the entity, or for the node itself.
                authorise(cx, &path, ANY, "Listen' or 'Send")?;
                check_entity(cx, entity)?;
            }
            return Ok(if attach.is_receiver {
                let reply_to = attach.target_address.clone();
                let node = OutgoingNode::replies(node, reply_to, &attach.name);
                Self::Outgoing(Outgoing::new(cx.now, attach, path, true, node))
            } else {
                Self::Incoming(Incoming::new(cx.now, path, IncomingNode::Service(node)))
            });
        }
        if attach.is_receiver { receiver(cx, attach, path) } else { sender(cx, path) }
    }

    /// The entity whose token the link needs, and for what.
    pub(super) fn entity(&self) -> Option<(&str, Rights)> {
        match self {
            Self::Incoming(Incoming { node: IncomingNode::Entity, path, .. }) => Some((path, SEND)),
            Self::Outgoing(Outgoing { node, path, .. }) if node.queue().is_some() => {
                Some((path, LISTEN))
            }
            _ => None,
        }
    }

    /// When it was used last, and whether the peer sends, if it is one that may idle.
    pub(super) fn used_at(&self) -> Option<(Duration, bool)> {
        match self {
            // Requests come seldom, and clients expect these links to stay.
            Self::Incoming(Incoming { node: IncomingNode::Service(_), .. })
            | Self::Outgoing(Outgoing { node: OutgoingNode::Replies { .. }, .. }) => None,
            Self::Incoming(incoming) => Some((incoming.used_at, true)),
            // A receiver that waits for a session has a time-out of its own.
            Self::Outgoing(Outgoing { node: OutgoingNode::Waiting { .. }, .. }) => None,
            Self::Outgoing(outgoing) => Some((outgoing.used_at, false)),
            Self::Detaching => None,
        }
    }

    /// Forgets what the connection counts for this link.
    pub(super) fn release(&self, cx: &mut Context) {
        match self {
            Self::Incoming(incoming) => cx.partial_bytes -= incoming.partial_bytes(),
            Self::Outgoing(outgoing) => {
                if let Some(queue) = outgoing.node.queue() {
                    cx.bus.stop_listening(queue, &cx.listener);
                }
                if let OutgoingNode::Session { queue, id, token, .. } = &outgoing.node {
                    let is_ours = |held: &HeldSession| held.token == *token;
                    if cx.held_sessions.get(&outgoing.name).is_some_and(is_ours) {
                        cx.held_sessions.remove(&outgoing.name);
                    }
                    let now = cx.now;
                    // A lock that is lost already needs no release.
                    _ = cx
                        .bus
                        .with_broker(|broker, _| broker.release_session(now, *queue, id, *token));
                }
            }
            Self::Detaching => return,
        }
        cx.link_count -= 1;
    }
}

/// A receiver of a queue, a subscription, a dead-letter queue, or a session of one of the first two.
fn receiver(cx: &mut Context, attach: &Attach, path: String) -> Result<Link, AmqpError> {
    authorise(cx, &path, LISTEN, "Listen")?;
    let queue = match cx.bus.with_broker(|broker, _| broker.queue_at(&path)) {
        Ok(queue) => queue,
        Err(_) if cx.bus.with_broker(|broker, _| broker.topic(&path).is_ok()) => {
            let description = format!("'{path}' is a topic; receive from a subscription");
            return Err(AmqpError::new(NOT_ALLOWED, description));
        }
        Err(error) => return Err(cx.broker_error(&path, &error)),
    };
    let now = cx.now;
    let checked = cx.bus.with_broker(|broker, _| {
        broker.check_receivable(now, queue)?;
        match (broker.requires_session(queue)?, &attach.session) {
            (true, None) => Err(BrokerError::SessionReceiverRequired { path: path.clone() }),
            (false, Some(_)) => Err(BrokerError::SessionsNotSupported { path: path.clone() }),
            _ => Ok(()),
        }
    });
    checked.map_err(|error| cx.broker_error(&path, &error))?;
    let is_settled = attach.sender_settle_mode == 1;
    let node = match &attach.session {
        None => OutgoingNode::Queue { queue },
        Some(wanted) => {
            let timeout = attach.timeout_ms.map_or(SESSION_TIMEOUT, Duration::from_millis);
            let node = OutgoingNode::Waiting {
                queue,
                wanted: wanted.clone(),
                until: cx.now.saturating_add(timeout),
                attach: Box::new(attach.clone()),
            };
            match accept_session(cx, &attach.name, queue, wanted.as_deref()) {
                Ok(Some(session)) => session,
                Ok(None) => node,
                Err(error) => return Err(cx.broker_error(&path, &error)),
            }
        }
    };
    cx.bus.listen(queue, &Arc::clone(&cx.listener));
    Ok(Link::Outgoing(Outgoing::new(cx.now, attach, path, is_settled, node)))
}

/// Locks a session for a link, if there is one.
pub(super) fn accept_session(
    cx: &mut Context,
    link_name: &str,
    queue: QueueId,
    wanted: Option<&str>,
) -> Result<Option<OutgoingNode>, BrokerError> {
    let now = cx.now;
    let accepted = cx.bus.with_broker(|broker, _| broker.accept_session(now, queue, wanted))?;
    Ok(accepted.map(|session| {
        let (id, token) = (session.id, session.lock.token);
        let held = HeldSession { queue, id: id.clone(), token };
        cx.held_sessions.insert(link_name.to_owned(), held);
        OutgoingNode::Session { queue, id, token, locked_until: session.lock.locked_until }
    }))
}

/// Completes the answer to an attach with the session that was accepted.
pub(super) fn note_session(answer: &mut Attach, id: &str, locked_until: Duration) {
    answer.source = Some(answer.source_with_session(id));
    let ticks = i64::try_from(locked_until.as_nanos() / 100).unwrap_or(i64::MAX);
    let ticks = ticks.saturating_add(TICKS_AT_UNIX_EPOCH);
    answer.properties.push(("com.microsoft:locked-until-utc", Value::Long(ticks)));
}

/// A sender to a queue or topic.
fn sender(cx: &mut Context, path: String) -> Result<Link, AmqpError> {
    authorise(cx, &path, SEND, "Send")?;
    let is_there =
        cx.bus.with_broker(|broker, _| broker.topic(&path).is_ok() || broker.queue(&path).is_ok());
    if is_there {
        return Ok(Link::Incoming(Incoming::new(cx.now, path, IncomingNode::Entity)));
    }
    Err(match cx.bus.with_broker(|broker, _| broker.queue_at(&path)) {
        Ok(_) => AmqpError::new(
            NOT_ALLOWED,
            format!("'{path}' is no queue or topic; nothing can be sent to it"),
        ),
        Err(error) => cx.broker_error(&path, &error),
    })
}

/// Refuses a management node of what does not exist.
fn check_entity(cx: &Context, entity: &str) -> Result<(), AmqpError> {
    let is_there = cx.bus.with_broker(|broker, _| {
        entity.is_empty() || broker.topic(entity).is_ok() || broker.queue_at(entity).is_ok()
    });
    if is_there { Ok(()) } else { Err(cx.entity_not_found(entity)) }
}

fn authorise(cx: &Context, path: &str, wanted: Rights, claim: &str) -> Result<(), AmqpError> {
    if cx.is_authorised(path, wanted) { Ok(()) } else { Err(cx.unauthorized(path, claim)) }
}

/// A lock that the peer holds: a delivery it has not settled.
#[derive(Debug, Clone)]
pub(super) struct Unsettled {
    pub(super) handle: u32,
    pub(super) queue: QueueId,
    pub(super) token: LockToken,
    pub(super) is_of_session: bool,
}

/// The delivery tag of a lock: the token as a little-endian GUID, which is how Service Bus
/// clients read it.
pub(super) fn delivery_tag(token: LockToken) -> Bytes {
    let mut tag = token.0;
    tag[0..4].reverse();
    tag[4..6].reverse();
    tag[6..8].reverse();
    Bytes::copy_from_slice(&tag)
}

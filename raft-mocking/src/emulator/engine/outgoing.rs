//! Links on which we send: credit, drain, and messages in as many frames as the peer wants.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::Context;
use super::link::{Unsettled, delivery_tag};
use super::service::ServiceNode;
use super::session::Window;
use crate::broker::{BrokerError, Lock, LockToken, QueueId, ReceiveMode, ReceivedMessage};
use crate::emulator::amqp::message;
use crate::emulator::amqp::performative::{Attach, Transfer};

/// Answers that wait for credit; a peer that asks more without reading is refused.
const REPLIES_MAX: usize = 64;
/// Messages one link may send before the next has its turn.
const MESSAGES_PER_TURN: usize = 32;
/// What the frame and the transfer performative take of a frame, at most.
const TRANSFER_BYTES: usize = 96;

/// A link on which we send.
pub(super) struct Outgoing {
    pub(super) name: String,
    pub(super) path: String,
    /// ReceiveAndDelete; otherwise the peer settles.
    pub(super) is_settled: bool,
    pub(super) node: OutgoingNode,
    pub(super) delivery_count: u32,
    pub(super) credit: u32,
    pub(super) is_draining: bool,
    pub(super) used_at: Duration,
    /// A message of which some frames did not fit the session window.
    partial: Option<Partial>,
}

/// Where the messages of the link come from.
pub(super) enum OutgoingNode {
    Queue {
        queue: QueueId,
    },
    /// One session of a queue.
    Session {
        queue: QueueId,
        id: String,
        token: LockToken,
        locked_until: Duration,
    },
    /// No session is free yet; the attach is answered when one is, or when time is up.
    Waiting {
        queue: QueueId,
        wanted: Option<String>,
        until: Duration,
        attach: Box<Attach>,
    },
    Replies {
        node: ServiceNode,
        names: Vec<String>,
        answers: VecDeque<Bytes>,
    },
}

impl OutgoingNode {
    /// A node that answers requests whose reply address is the link's target or name.
    pub(super) fn replies(node: ServiceNode, target: Option<String>, link_name: &str) -> Self {
        let names = target.into_iter().chain([link_name.to_owned()]).collect();
        Self::Replies { node, names, answers: VecDeque::new() }
    }

    /// The queue it is about.
    pub(super) fn queue(&self) -> Option<QueueId> {
        match self {
            Self::Queue { queue } | Self::Session { queue, .. } | Self::Waiting { queue, .. } => {
                Some(*queue)
            }
            Self::Replies { .. } => None,
        }
    }

    /// Keeps an answer until there is credit; `false` if too many wait.
    pub(super) fn push_answer(&mut self, answer: Bytes) -> bool {
        match self {
            Self::Replies { answers, .. } if answers.len() < REPLIES_MAX => {
                answers.push_back(answer);
                true
            }
            _ => false,
        }
    }
}

struct Partial {
    delivery_id: u32,
    tag: Bytes,
    head: Bytes,
    bare: Bytes,
    sent: usize,
}

/// What a turn came to.
pub(super) enum Turn {
    /// There is nothing more to send, or no credit.
    Idle,
    /// The session window or the output is full, or the turn is over: there may be more.
    More,
    /// Nothing can be received any more: the queue is gone or off, or the session lost.
    Ended(BrokerError),
}

impl Outgoing {
    pub(super) fn new(
        now: Duration,
        attach: &Attach,
        path: String,
        is_settled: bool,
        node: OutgoingNode,
    ) -> Self {
        Self {
            name: attach.name.clone(),
            path,
            is_settled,
            node,
            delivery_count: 0,
            credit: 0,
            is_draining: false,
            used_at: now,
            partial: None,
        }
    }

    /// Whether a turn might send something.
    pub(super) fn is_ready(&self) -> bool {
        let is_waiting = matches!(self.node, OutgoingNode::Waiting { .. });
        is_waiting || self.credit > 0 || self.partial.is_some() || self.is_draining
    }

    /// Sends what credit, window and output allow.
    pub(super) fn take_turn(
        &mut self,
        cx: &mut Context,
        channel: u16,
        handle: u32,
        window: &mut Window,
    ) -> (Turn, Vec<(u32, Unsettled)>) {
        let mut unsettled = Vec::new();
        for _ in 0..MESSAGES_PER_TURN {
            if let Some(partial) = self.partial.take() {
                self.put_frames(cx, channel, handle, window, partial);
            }
            if self.partial.is_some() || cx.is_output_high() || window.remote_incoming == 0 {
                return (Turn::More, unsettled);
            }
            if self.credit == 0 {
                return (Turn::Idle, unsettled);
            }
            let (head, bare, lock) = match self.next_message(cx) {
                Ok(Some(message)) => message,
                Ok(None) => return (Turn::Idle, unsettled),
                Err(error) => return (Turn::Ended(error), unsettled),
            };
            let delivery_id = window.next_delivery_id;
            window.next_delivery_id = delivery_id.wrapping_add(1);
            self.credit -= 1;
            self.delivery_count = self.delivery_count.wrapping_add(1);
            self.used_at = cx.now;
            let tag = match (self.node.queue(), lock) {
                (Some(queue), Some(Lock { token, .. })) => {
                    let is_of_session = matches!(self.node, OutgoingNode::Session { .. });
                    let lock = Unsettled { handle, queue, token, is_of_session };
                    unsettled.push((delivery_id, lock));
                    delivery_tag(token)
                }
                _ => Bytes::copy_from_slice(&delivery_id.to_be_bytes()),
            };
            self.partial = Some(Partial { delivery_id, tag, head, bare, sent: 0 });
        }
        (Turn::More, unsettled)
    }

    /// The next message in two parts, of which the second is shared.
    fn next_message(
        &mut self,
        cx: &Context,
    ) -> Result<Option<(Bytes, Bytes, Option<Lock>)>, BrokerError> {
        match &mut self.node {
            OutgoingNode::Replies { answers, .. } => {
                Ok(answers.pop_front().map(|answer| (Bytes::new(), answer, None)))
            }
            OutgoingNode::Queue { queue } => {
                let (now, mode) = (cx.now, mode(self.is_settled));
                let received = cx.bus.with_broker(|broker, _| broker.receive(now, *queue, mode))?;
                Ok(received.map(|received| encode(&received)))
            }
            OutgoingNode::Session { queue, id, token, .. } => {
                let (now, mode) = (cx.now, mode(self.is_settled));
                let received = cx.bus.with_broker(|broker, _| {
                    broker.receive_from_session(now, *queue, id, *token, mode)
                })?;
                Ok(received.map(|received| encode(&received)))
            }
            OutgoingNode::Waiting { .. } => Ok(None),
        }
    }

    fn put_frames(
        &mut self,
        cx: &mut Context,
        channel: u16,
        handle: u32,
        window: &mut Window,
        mut partial: Partial,
    ) {
        let size = partial.head.len() + partial.bare.len();
        let chunk_max = cx.peer_frame_bytes_max.saturating_sub(TRANSFER_BYTES).max(1);
        loop {
            if window.remote_incoming == 0 || cx.is_output_high() {
                self.partial = Some(partial);
                return;
            }
            window.remote_incoming -= 1;
            window.next_outgoing_id = window.next_outgoing_id.wrapping_add(1);
            let is_first = partial.sent == 0;
            let end = size.min(partial.sent + chunk_max);
            // Format 0 must be written: the JavaScript library never decodes a message without.
            let transfer = Transfer {
                handle,
                delivery_id: is_first.then_some(partial.delivery_id),
                delivery_tag: is_first.then(|| partial.tag.clone()),
                message_format: is_first.then_some(0),
                settled: Some(self.is_settled),
                more: end < size,
                ..Transfer::default()
            };
            let Partial { head, bare, sent, .. } = &mut partial;
            cx.put_frame(channel, |out| {
                transfer.encode(out);
                let split = head.len();
                out.extend_from_slice(&head[(*sent).min(split)..end.min(split)]);
                out.extend_from_slice(&bare[sent.saturating_sub(split)..end.saturating_sub(split)]);
            });
            *sent = end;
            if end >= size {
                return;
            }
        }
    }
}

fn mode(is_settled: bool) -> ReceiveMode {
    if is_settled { ReceiveMode::ReceiveAndDelete } else { ReceiveMode::PeekLock }
}

fn encode(received: &ReceivedMessage) -> (Bytes, Bytes, Option<Lock>) {
    let mut head = BytesMut::with_capacity(192);
    message::put_delivery_sections(&mut head, received);
    (head.freeze(), message::bare_message(&received.message), received.lock)
}

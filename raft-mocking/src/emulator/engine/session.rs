//! Sessions: windows, the links of a session, and settlement (part 2, sections 2.5 and 2.6).

use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

use bytes::Bytes;

use super::error::{
    DECODE_ERROR, Failure, HANDLE_IN_USE, NOT_ALLOWED, RESOURCE_LIMIT, UNATTACHED_HANDLE,
};
use super::incoming::{Delivery, Incoming, IncomingNode};
use super::link::{Link, Unsettled, accept_session, note_session};
use super::outgoing::{Outgoing, OutgoingNode, Turn};
use super::service::ServiceNode;
use super::{Context, HANDLE_MAX, is_within};
use crate::broker::{BrokerError, Properties, QueueId};
use crate::emulator::amqp::message::property_value;
use crate::emulator::amqp::outcome::{AmqpError, Outcome};
use crate::emulator::amqp::performative::{Attach, Begin, Detach, Disposition, Flow, Transfer};
use crate::emulator::amqp::value::Value;

/// Locks one session may hold; a peer that never settles gets no more messages.
const UNSETTLED_MAX: usize = 5_000;
/// Handles of a connection beyond its links: of links that the peer has not detached yet as we have.
const DETACHING_MAX: usize = 1_024;
/// Transfer frames the peer may have under way.
const INCOMING_WINDOW: u32 = 5_000;

/// What a session may still send.
pub(super) struct Window {
    pub(super) next_outgoing_id: u32,
    pub(super) remote_incoming: u32,
    pub(super) next_delivery_id: u32,
}

/// One session. Both directions use the peer's channel number, and the peer's handles.
pub(super) struct Session {
    channel: u16,
    next_incoming_id: u32,
    incoming_window: u32,
    window: Window,
    links: BTreeMap<u32, Link>,
    /// Deliveries under lock, by delivery id.
    unsettled: BTreeMap<u32, Unsettled>,
    /// A run of accepted deliveries, told in one disposition.
    accepted: Option<(u32, u32)>,
    /// We ended it and ignore what the peer still says, until it ends too.
    pub(super) is_ending: bool,
}

impl Session {
    pub(super) fn begin(cx: &mut Context, channel: u16, begin: &Begin) -> Self {
        let answer = Begin {
            remote_channel: Some(channel),
            next_outgoing_id: 1,
            incoming_window: INCOMING_WINDOW,
            outgoing_window: INCOMING_WINDOW,
            handle_max: Some(HANDLE_MAX),
        };
        cx.put_frame(channel, |out| answer.encode(out));
        Self {
            channel,
            next_incoming_id: begin.next_outgoing_id,
            incoming_window: INCOMING_WINDOW,
            window: Window {
                next_outgoing_id: 1,
                remote_incoming: begin.incoming_window,
                next_delivery_id: 0,
            },
            links: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            accepted: None,
            is_ending: false,
        }
    }

    /// Gives back every lock and forgets every link.
    pub(super) fn release(&mut self, cx: &mut Context) {
        self.release_locks(cx, |_| true);
        cx.handle_count -= self.links.len();
        mem::take(&mut self.links).values().for_each(|link| link.release(cx));
    }

    /// Gives a handle its link; returns the one that it had.
    fn put_link(&mut self, cx: &mut Context, handle: u32, link: Link) -> Option<Link> {
        let known = self.links.insert(handle, link);
        cx.handle_count += usize::from(known.is_none());
        known
    }

    // --- links ---

    pub(super) fn handle_attach(
        &mut self,
        cx: &mut Context,
        attach: Attach,
    ) -> Result<(), Failure> {
        let handle = attach.handle;
        if handle > HANDLE_MAX {
            let description = format!("handle {handle} exceeds the limit of {HANDLE_MAX}");
            return Err(Failure::connection("amqp:connection:framing-error", description));
        }
        if self.links.get(&handle).is_some_and(|link| !matches!(link, Link::Detaching)) {
            return Err(Failure::session(HANDLE_IN_USE, format!("handle {handle} is in use")));
        }
        if cx.handle_count >= cx.settings.links_max + DETACHING_MAX {
            let description =
                "too many links were refused or detached, and not by the peer as well";
            return Err(Failure::connection(RESOURCE_LIMIT, description));
        }
        self.flush_accepted(cx);
        let link = Link::attach(cx, &attach);
        let mut answer = Attach {
            is_receiver: !attach.is_receiver,
            max_message_size: Some(cx.message_bytes_max),
            initial_delivery_count: attach.is_receiver.then_some(0),
            ..attach
        };
        match link {
            Err(error) => {
                tracing::debug!(condition = error.condition, error.description, "link refused");
                // Null in place of what we cannot provide tells the peer that a detach follows.
                if attach.is_receiver {
                    answer.source = None
                } else {
                    answer.target = None
                }
                cx.put_frame(self.channel, |out| answer.encode(out));
                self.detach(cx, handle, Some(error));
            }
            Ok(mut link) => {
                let mut is_answered = true;
                match &mut link {
                    // A Python sender asks for `second` and then waits for ever if it gets it.
                    Link::Incoming(incoming) => {
                        answer.receiver_settle_mode = 0;
                        incoming.delivery_count = attach.initial_delivery_count.unwrap_or(0);
                    }
                    Link::Outgoing(outgoing) => {
                        answer.sender_settle_mode = u8::from(outgoing.is_settled);
                        match &mut outgoing.node {
                            OutgoingNode::Session { id, locked_until, .. } => {
                                note_session(&mut answer, id, *locked_until);
                            }
                            OutgoingNode::Waiting { attach, .. } => {
                                **attach = answer.clone();
                                is_answered = false;
                            }
                            OutgoingNode::Queue { .. } | OutgoingNode::Replies { .. } => {}
                        }
                    }
                    Link::Detaching => {}
                }
                cx.link_count += 1;
                if is_answered {
                    cx.put_frame(self.channel, |out| answer.encode(out));
                }
                let is_incoming = matches!(link, Link::Incoming(_));
                self.put_link(cx, handle, link);
                if is_incoming {
                    self.put_flow(cx, Some(handle));
                }
            }
        }
        Ok(())
    }

    pub(super) fn handle_detach(&mut self, cx: &mut Context, detach: &Detach) {
        let handle = detach.handle;
        self.flush_accepted(cx);
        let Some(link) = self.links.remove(&handle) else { return };
        cx.handle_count -= 1;
        self.release_locks(cx, |unsettled| unsettled.handle == handle);
        link.release(cx);
        if !matches!(link, Link::Detaching) {
            self.answer_waiting(cx, &link);
            let answer = Detach { handle, closed: detach.closed, error: None };
            cx.put_frame(self.channel, |out| answer.encode(out));
        }
    }

    /// Detaches a link for good and waits for the peer's detach.
    fn detach(&mut self, cx: &mut Context, handle: u32, error: Option<AmqpError>) {
        self.flush_accepted(cx);
        let link = self.put_link(cx, handle, Link::Detaching);
        if let Some(link) = &link {
            self.answer_waiting(cx, link);
        }
        let detach = Detach { handle, closed: true, error };
        cx.put_frame(self.channel, |out| detach.encode(out));
        // Messages first: with the session they would count as delivered.
        self.release_locks(cx, |unsettled| unsettled.handle == handle);
        if let Some(link) = link {
            link.release(cx);
        }
    }

    /// Answers an attach that waits for a session by a refusal, which a detach follows.
    fn answer_waiting(&mut self, cx: &mut Context, link: &Link) {
        let Link::Outgoing(Outgoing { node: OutgoingNode::Waiting { attach, .. }, .. }) = link
        else {
            return;
        };
        let answer = Attach { source: None, ..(**attach).clone() };
        cx.put_frame(self.channel, |out| answer.encode(out));
    }

    /// Gives a session that has become free to a link that waits for one; `true` if it need not wait.
    fn try_session(&mut self, cx: &mut Context, handle: u32) -> bool {
        let Some(Link::Outgoing(outgoing)) = self.links.get_mut(&handle) else { return false };
        let OutgoingNode::Waiting { queue, wanted, attach, .. } = &outgoing.node else {
            return true;
        };
        let accepted = accept_session(cx, &outgoing.name, *queue, wanted.as_deref());
        match accepted {
            Ok(None) => false,
            Ok(Some(node)) => {
                let mut answer = (**attach).clone();
                if let OutgoingNode::Session { id, locked_until, .. } = &node {
                    note_session(&mut answer, id, *locked_until);
                }
                outgoing.node = node;
                outgoing.used_at = cx.now;
                cx.put_frame(self.channel, |out| answer.encode(out));
                true
            }
            Err(error) => {
                let error = cx.broker_error(&outgoing.path, &error);
                self.detach(cx, handle, Some(error));
                false
            }
        }
    }

    /// Detaches the links whose tokens have expired.
    pub(super) fn detach_unauthorised(&mut self, cx: &mut Context) {
        let entities =
            self.links.iter().filter_map(|(&handle, link)| Some((handle, link.entity()?)));
        let expired: Vec<_> = entities
            .filter(|(_, (entity, rights))| !cx.is_authorised(entity, *rights))
            .map(|(handle, (entity, _))| (handle, cx.token_expired(entity)))
            .collect();
        for (handle, error) in expired {
            self.detach(cx, handle, Some(error));
        }
    }

    /// Detaches the links that nobody used for `limit`, those whose session was lost, and those for
    /// which no session came in time.
    pub(super) fn detach_late(&mut self, cx: &mut Context, limit: Duration) {
        let now = cx.now;
        let mut late = Vec::new();
        for (&handle, link) in &mut self.links {
            if let Some((used_at, is_sender)) = link.used_at()
                && used_at.saturating_add(limit) <= now
            {
                late.push((handle, cx.idle(is_sender, limit)));
                continue;
            }
            let Link::Outgoing(outgoing) = link else { continue };
            match &mut outgoing.node {
                OutgoingNode::Waiting { until, .. } if *until <= now => {
                    late.push((handle, cx.no_session()));
                }
                OutgoingNode::Session { queue, id, token, locked_until } => {
                    if *locked_until > now {
                        continue;
                    }
                    // It may have been renewed meanwhile.
                    let held = cx.bus.with_broker(|broker, _| {
                        broker.session_locked_until(now, *queue, id, *token)
                    });
                    match held {
                        Ok(until) => *locked_until = until,
                        Err(error) => late.push((handle, cx.broker_error(&outgoing.path, &error))),
                    }
                }
                _ => {}
            }
        }
        for (handle, error) in late {
            self.detach(cx, handle, Some(error));
        }
    }

    /// When [`Session::detach_late`] may have work.
    pub(super) fn next_late(&self, limit: Duration) -> Option<Duration> {
        let times = self.links.values().filter_map(|link| {
            let idle = link.used_at().map(|(used_at, _)| used_at.saturating_add(limit));
            let own = match link {
                Link::Outgoing(outgoing) => match &outgoing.node {
                    OutgoingNode::Waiting { until, .. } => Some(*until),
                    OutgoingNode::Session { locked_until, .. } => Some(*locked_until),
                    _ => None,
                },
                _ => None,
            };
            [idle, own].into_iter().flatten().min()
        });
        times.min()
    }

    pub(super) fn has_links(&self) -> bool {
        !self.links.is_empty()
    }

    // --- what the peer sends ---

    pub(super) fn handle_transfer(
        &mut self,
        cx: &mut Context,
        transfer: Transfer,
        payload: &Bytes,
    ) -> Result<(), Failure> {
        self.next_incoming_id = self.next_incoming_id.wrapping_add(1);
        self.incoming_window = self.incoming_window.saturating_sub(1);
        let handle = transfer.handle;
        let arrived = match self.links.get_mut(&handle) {
            None => {
                let description = format!("no link has handle {handle}");
                return Err(Failure::session(UNATTACHED_HANDLE, description));
            }
            Some(Link::Outgoing(_)) => {
                return Err(Failure::session(
                    NOT_ALLOWED,
                    "a transfer on a link that only receives",
                ));
            }
            Some(Link::Detaching) => Ok(None),
            Some(Link::Incoming(incoming)) => incoming.add(cx, transfer, payload),
        };
        match arrived {
            Ok(None) => {}
            Ok(Some(delivery)) => self.handle_delivery(cx, handle, delivery),
            Err(error) => self.detach(cx, handle, Some(error)),
        }
        if self.incoming_window <= INCOMING_WINDOW / 2 {
            self.put_flow(cx, None);
        }
        Ok(())
    }

    fn handle_delivery(&mut self, cx: &mut Context, handle: u32, delivery: Delivery) {
        let Some(Link::Incoming(incoming)) = self.links.get_mut(&handle) else { return };
        let (id, is_settled) = (delivery.id, delivery.is_settled);
        let result = match &incoming.node {
            IncomingNode::Entity => incoming.publish(cx, delivery),
            IncomingNode::Service(node) => {
                let node = node.clone();
                self.answer(cx, &node, delivery.into_data())
            }
        };
        match result {
            Ok(()) if is_settled => {}
            Ok(()) => self.accept(cx, id),
            // A deleted topic ends the link, as in the service; so does what nobody waits for.
            Err(error) if error.condition == "amqp:not-found" || is_settled => {
                self.detach(cx, handle, Some(error));
            }
            Err(error) => self.settle(cx, true, id, Outcome::Rejected(Some(error))),
        }
        if let Some(Link::Incoming(incoming)) = self.links.get_mut(&handle)
            && incoming.replenish()
        {
            self.put_flow(cx, Some(handle));
        }
    }

    fn answer(
        &mut self,
        cx: &mut Context,
        node: &ServiceNode,
        data: Bytes,
    ) -> Result<(), AmqpError> {
        let (reply_to, answer) = node.answer(cx, data).map_err(|error| {
            AmqpError::new(DECODE_ERROR, format!("The request cannot be read: {error}."))
        })?;
        let replies = self.links.values_mut().filter_map(|link| match link {
            Link::Outgoing(outgoing) => match &outgoing.node {
                OutgoingNode::Replies { node: known, names, .. } if known == node => {
                    let is_named = reply_to.as_ref().is_some_and(|to| names.contains(to));
                    Some((is_named, outgoing))
                }
                _ => None,
            },
            _ => None,
        });
        // Python gives no reply address: the only link from this node will do.
        let Some((_, outgoing)) = replies.max_by_key(|(is_named, _)| *is_named) else {
            return Err(AmqpError::new(NOT_ALLOWED, "no link is attached for the answer"));
        };
        if outgoing.node.push_answer(answer) {
            cx.is_pump_due = true;
            Ok(())
        } else {
            Err(AmqpError::new(RESOURCE_LIMIT, "too many answers wait for credit"))
        }
    }

    pub(super) fn handle_flow(&mut self, cx: &mut Context, flow: &Flow) -> Result<(), Failure> {
        // Part 2, section 2.5.6: what the peer can still take, given what it had not seen.
        let seen = flow.next_incoming_id.unwrap_or(1);
        let under_way = self.window.next_outgoing_id.wrapping_sub(seen);
        self.window.remote_incoming = flow.incoming_window.saturating_sub(under_way);
        let Some(handle) = flow.handle else {
            if flow.echo {
                self.put_flow(cx, None);
            }
            return Ok(());
        };
        match self.links.get_mut(&handle) {
            None => {
                let description = format!("no link has handle {handle}");
                return Err(Failure::session(UNATTACHED_HANDLE, description));
            }
            Some(Link::Detaching) => return Ok(()),
            Some(Link::Incoming(incoming)) => {
                // The sender may have used up credit by a drain; it knows best.
                if let Some(count) = flow.delivery_count {
                    let used = count.wrapping_sub(incoming.delivery_count);
                    if used <= incoming.credit {
                        incoming.credit -= used;
                        incoming.delivery_count = count;
                    }
                }
            }
            Some(Link::Outgoing(outgoing)) => {
                outgoing.used_at = cx.now;
                if let Some(credit) = flow.link_credit {
                    let seen = flow.delivery_count.unwrap_or(0);
                    let under_way = outgoing.delivery_count.wrapping_sub(seen);
                    outgoing.credit = credit.saturating_sub(under_way);
                }
                outgoing.is_draining = flow.drain;
            }
        }
        if flow.echo {
            self.put_flow(cx, Some(handle));
        }
        Ok(())
    }

    pub(super) fn handle_disposition(&mut self, cx: &mut Context, disposition: &Disposition) {
        if !disposition.is_receiver {
            return;
        }
        // There may be room for locks again.
        cx.is_pump_due |= self.unsettled.len() >= UNSETTLED_MAX;
        let (first, last) = (disposition.first, disposition.last);
        let ids: Vec<_> =
            self.unsettled.keys().copied().filter(|&id| is_within(id, first, last)).collect();
        for id in ids {
            let outcome = match &disposition.outcome {
                // Nothing is decided yet.
                None | Some(Outcome::Other) if !disposition.settled => continue,
                None | Some(Outcome::Other) => Outcome::Released,
                Some(outcome) => outcome.clone(),
            };
            let Some(unsettled) = self.unsettled.remove(&id) else { continue };
            if let Some(Link::Outgoing(outgoing)) = self.links.get_mut(&unsettled.handle) {
                outgoing.used_at = cx.now;
            }
            let answer = settle_lock(cx, &unsettled, outcome);
            if !disposition.settled {
                self.settle(cx, false, id, answer);
            }
        }
    }

    // --- what we send ---

    /// Handles of links that might have something to send because of `told` queues.
    pub(super) fn ready_links(&self) -> impl Iterator<Item = (u32, Option<QueueId>)> {
        self.links.iter().filter_map(|(&handle, link)| match link {
            Link::Outgoing(outgoing) if outgoing.is_ready() && self.may_send(outgoing) => {
                Some((handle, outgoing.node.queue()))
            }
            _ => None,
        })
    }

    fn may_send(&self, outgoing: &Outgoing) -> bool {
        !self.is_ending && (outgoing.is_settled || self.unsettled.len() < UNSETTLED_MAX)
    }

    /// Lets one link send; `true` if there may be more to send.
    pub(super) fn pump(&mut self, cx: &mut Context, handle: u32) -> bool {
        if !self.try_session(cx, handle) {
            return false;
        }
        let has_room = self.unsettled.len() < UNSETTLED_MAX;
        let Some(Link::Outgoing(outgoing)) = self.links.get_mut(&handle) else { return false };
        if !has_room && !outgoing.is_settled {
            return false;
        }
        let (turn, unsettled) = outgoing.take_turn(cx, self.channel, handle, &mut self.window);
        self.unsettled.extend(unsettled);
        match turn {
            Turn::More => true,
            Turn::Idle => {
                self.finish_drain(cx, handle);
                false
            }
            Turn::Ended(error) => {
                let path = match self.links.get(&handle) {
                    Some(Link::Outgoing(Outgoing { path, .. })) => path.clone(),
                    _ => String::new(),
                };
                let error = cx.broker_error(&path, &error);
                self.detach(cx, handle, Some(error));
                false
            }
        }
    }

    /// A drained link uses up the credit it has no messages for, and says so.
    fn finish_drain(&mut self, cx: &mut Context, handle: u32) {
        let Some(Link::Outgoing(outgoing)) = self.links.get_mut(&handle) else { return };
        if outgoing.is_draining {
            outgoing.delivery_count = outgoing.delivery_count.wrapping_add(outgoing.credit);
            outgoing.credit = 0;
            self.put_flow(cx, Some(handle));
            if let Some(Link::Outgoing(outgoing)) = self.links.get_mut(&handle) {
                outgoing.is_draining = false;
            }
        }
    }

    /// Tells the peer of the deliveries accepted since the last call.
    pub(super) fn flush_accepted(&mut self, cx: &mut Context) {
        if let Some((first, last)) = self.accepted.take() {
            let outcome = Some(Outcome::Accepted);
            let disposition =
                Disposition { is_receiver: true, first, last, settled: true, outcome };
            cx.put_frame(self.channel, |out| disposition.encode(out));
        }
    }

    fn accept(&mut self, cx: &mut Context, id: u32) {
        self.accepted = match self.accepted {
            Some((first, last)) if last.wrapping_add(1) == id => Some((first, id)),
            _ => {
                self.flush_accepted(cx);
                Some((id, id))
            }
        };
    }

    fn settle(&mut self, cx: &mut Context, is_receiver: bool, id: u32, outcome: Outcome) {
        self.flush_accepted(cx);
        let outcome = Some(outcome);
        let disposition = Disposition { is_receiver, first: id, last: id, settled: true, outcome };
        cx.put_frame(self.channel, |out| disposition.encode(out));
    }

    fn put_flow(&mut self, cx: &mut Context, handle: Option<u32>) {
        self.incoming_window = INCOMING_WINDOW;
        let mut flow = Flow {
            next_incoming_id: Some(self.next_incoming_id),
            incoming_window: INCOMING_WINDOW,
            next_outgoing_id: self.window.next_outgoing_id,
            outgoing_window: INCOMING_WINDOW,
            ..Flow::default()
        };
        match handle.and_then(|handle| Some((handle, self.links.get(&handle)?))) {
            Some((handle, Link::Incoming(Incoming { delivery_count, credit, .. }))) => {
                flow.handle = Some(handle);
                flow.delivery_count = Some(*delivery_count);
                flow.link_credit = Some(*credit);
            }
            Some((handle, Link::Outgoing(outgoing))) => {
                flow.handle = Some(handle);
                flow.delivery_count = Some(outgoing.delivery_count);
                flow.link_credit = Some(outgoing.credit);
                flow.drain = outgoing.is_draining;
            }
            _ => {}
        }
        cx.put_frame(self.channel, |out| flow.encode(out));
    }

    /// Whether the peer's window leaves room for a frame.
    pub(super) fn can_send(&self) -> bool {
        self.window.remote_incoming > 0
    }

    // --- locks ---

    /// Gives back locks without blaming the message: its receiver went away.
    fn release_locks(&mut self, cx: &mut Context, is_wanted: impl Fn(&Unsettled) -> bool) {
        let now = cx.now;
        self.unsettled.retain(|_, unsettled| {
            let is_released = is_wanted(unsettled);
            if is_released {
                let Unsettled { queue, token, .. } = *unsettled;
                // A lock that is lost already needs no release.
                _ = cx.bus.with_broker(|broker, _| broker.release(now, queue, token));
            }
            !is_released
        });
    }
}

/// Does what the peer decided about a locked message; returns what it is told.
///
/// The answer is of the kind that was asked for, without what came with it: clients take any other for
/// a failure.
fn settle_lock(cx: &mut Context, unsettled: &Unsettled, outcome: Outcome) -> Outcome {
    let Unsettled { queue, token, is_of_session, .. } = *unsettled;
    let now = cx.now;
    let result = cx.bus.with_broker(|broker, _| match &outcome {
        Outcome::Accepted => broker.complete(now, queue, token),
        Outcome::Released | Outcome::Transactional | Outcome::Other => {
            broker.release(now, queue, token)
        }
        Outcome::Modified { undeliverable_here, annotations, .. } => {
            let properties = properties(annotations);
            // How clients defer a message.
            if *undeliverable_here {
                broker.defer(now, queue, token, properties)
            } else {
                broker.abandon_with(now, queue, token, properties)
            }
        }
        Outcome::Rejected(error) => {
            let info = error.as_ref().map_or(&[][..], |error| &error.info);
            let text = |name| error.as_ref().and_then(|error| error.info_text(name));
            let (reason, description) = (text(REASON), text(DESCRIPTION));
            broker.dead_letter(now, queue, token, reason, description, properties(info))
        }
    });
    match (result, outcome) {
        (Err(BrokerError::LockLost), _) if is_of_session => {
            let error = cx.broker_error("", &BrokerError::SessionLockLost);
            Outcome::Rejected(Some(error))
        }
        (Err(error), _) => Outcome::Rejected(Some(cx.broker_error("", &error))),
        (Ok(()), Outcome::Transactional) => Outcome::Rejected(Some(cx.no_transaction())),
        (Ok(()), Outcome::Rejected(_)) => Outcome::Rejected(None),
        (Ok(()), outcome) => outcome,
    }
}

/// What says why a message is dead-lettered.
const REASON: &str = "DeadLetterReason";
const DESCRIPTION: &str = "DeadLetterErrorDescription";

/// Application properties to set, from what came with an outcome.
fn properties(pairs: &[(Value, Value)]) -> Properties {
    let named = pairs.iter().filter_map(|(key, value)| Some((key.as_text()?, value)));
    let others = named.filter(|(name, _)| ![REASON, DESCRIPTION].contains(name));
    others.map(|(name, value)| (name.to_owned(), property_value(value.clone()))).collect()
}

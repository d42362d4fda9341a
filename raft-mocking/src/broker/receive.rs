//! Messages out of the broker: received, peeked at, asked for by number.

use std::time::Duration;

use super::entity::QueueEntry;
use super::error::BrokerError;
use super::message::{Lock, LockToken, ReceiveMode, ReceivedMessage};
use super::meter::OperationKind;
use super::{Broker, Happening, QueueId};
use crate::dice::Dice;

/// Receiving.
impl Broker {
    /// Hands out the next message of a queue, if there is one that has not expired, and credit for it.
    ///
    /// # Errors
    /// `Deleted`, `EntityDisabled`, `SessionReceiverRequired`, `ForwardingEnabled`.
    pub fn receive(
        &mut self,
        now: Duration,
        queue: QueueId,
        mode: ReceiveMode,
    ) -> Result<Option<ReceivedMessage>, BrokerError> {
        let lock = self.lock_for(now, queue, mode)?;
        let entry = self.receiving(now, queue)?;
        if entry.options.requires_session {
            return Err(BrokerError::SessionReceiverRequired { path: entry.path.clone() });
        }
        if self.is_starving(now, queue) {
            return Ok(None);
        }
        let entry = self.entry_mut(queue)?;
        let received = match lock {
            None => entry.queue.pop(now, None),
            Some(lock) => entry.queue.lock(now, None, lock),
        };
        Ok(self.delivered(now, queue, received))
    }

    /// Hands out the next message of a session, to its holder.
    ///
    /// # Errors
    /// `Deleted`, `EntityDisabled`, `SessionLockLost`.
    pub fn receive_from_session(
        &mut self,
        now: Duration,
        queue: QueueId,
        session: &str,
        holder: LockToken,
        mode: ReceiveMode,
    ) -> Result<Option<ReceivedMessage>, BrokerError> {
        let lock = self.lock_for(now, queue, mode)?;
        let entry = self.receiving(now, queue)?;
        entry.queue.expire_locks(now);
        let held = entry.queue.sessions.holder(session, holder);
        if held.is_ok() && self.is_starving(now, queue) {
            return Ok(None);
        }
        let entry = self.entry_mut(queue)?;
        let received = match (entry.queue.sessions.holder(session, holder), lock) {
            (Err(error), _) => Err(error),
            (Ok(_), None) => Ok(entry.queue.pop(now, Some(session))),
            // The lock of the message is the session's.
            (Ok(held), Some(Lock { token, .. })) => {
                let lock = Lock { token, locked_until: held.locked_until };
                Ok(entry.queue.lock(now, Some(session), lock))
            }
        };
        match received {
            Ok(received) => Ok(self.delivered(now, queue, received)),
            Err(error) => {
                self.after(now, queue);
                Err(error)
            }
        }
    }

    /// Hands out deferred messages by their numbers: all of them, or none. Those of a session are its
    /// holder's.
    ///
    /// # Errors
    /// `Deleted`, `EntityDisabled`, `MessageNotFound`, `SessionLockLost`, `ServerBusy`.
    pub fn receive_deferred(
        &mut self,
        now: Duration,
        queue: QueueId,
        sequence_numbers: &[u64],
        session: Option<(&str, LockToken)>,
        mode: ReceiveMode,
    ) -> Result<Vec<ReceivedMessage>, BrokerError> {
        let locks = sequence_numbers.iter().map(|_| self.lock_for(now, queue, mode));
        let locks = locks.collect::<Result<Vec<_>, _>>()?;
        let entry = self.receiving(now, queue)?;
        entry.queue.expire_locks(now);
        if let Some((id, token)) = session {
            entry.queue.sessions.holder(id, token)?;
        }
        let session = session.map(|(id, _)| id);
        let is_there = |number: &&u64| {
            entry.queue.deferred.get(*number).is_some_and(|stored| {
                !stored.is_expired(now)
                    && (!entry.options.requires_session || stored.message.session_id() == session)
            })
        };
        if let Some(&missing) = sequence_numbers.iter().find(|number| !is_there(number)) {
            return Err(BrokerError::MessageNotFound { sequence_number: missing });
        }
        if self.faults.is_throttled(now, sequence_numbers.len() as u64) {
            return Err(BrokerError::ServerBusy);
        }
        let mut received = Vec::with_capacity(sequence_numbers.len());
        for (&number, lock) in sequence_numbers.iter().zip(locks) {
            let entry = self.entry_mut(queue)?;
            let one = match lock {
                None => entry.queue.pop_deferred(now, number, session),
                Some(lock) => entry.queue.lock_deferred(now, number, session, lock),
            };
            received.extend(self.handed_out(now, queue, one));
        }
        Ok(received)
    }

    /// Looks at up to `count` messages from a number on, without locks; those of one session if it is
    /// given. Billed like receiving.
    ///
    /// # Errors
    /// `Deleted`, `ServerBusy`.
    pub fn peek(
        &mut self,
        now: Duration,
        queue: QueueId,
        from: u64,
        count: usize,
        session: Option<&str>,
    ) -> Result<Vec<ReceivedMessage>, BrokerError> {
        let entry = self.queues.get(&queue).ok_or(BrokerError::Deleted)?;
        let mut found = entry.queue.peek(now, from, count, session);
        let owner = self.queue_entities.values().find(|owner| owner.queue == queue);
        if let Some(owner) = owner {
            let scheduled = owner.intake.peek(from, count);
            let is_wanted = |received: &ReceivedMessage| {
                session.is_none_or(|id| received.message.session_id.as_deref() == Some(id))
            };
            found.extend(scheduled.filter(is_wanted));
            found.sort_by_key(|received| received.sequence_number);
            found.truncate(count);
        }
        if self.faults.is_throttled(now, found.len() as u64) {
            return Err(BrokerError::ServerBusy);
        }
        for received in &found {
            let bytes = received.message.size_bytes();
            self.meter.record(&entry.path, OperationKind::Receive, bytes);
        }
        if found.is_empty() {
            self.meter.record(&entry.path, OperationKind::Receive, 0);
        }
        Ok(found)
    }

    /// Whether anything can be received from a queue at all.
    ///
    /// # Errors
    /// `Deleted`, `EntityDisabled`, `ForwardingEnabled`.
    pub fn check_receivable(&mut self, now: Duration, queue: QueueId) -> Result<(), BrokerError> {
        self.receiving(now, queue).map(drop)
    }

    /// The entry of a queue that may be received from.
    pub(super) fn receiving(
        &mut self,
        now: Duration,
        queue: QueueId,
    ) -> Result<&mut QueueEntry, BrokerError> {
        let entry = self.entry_mut(queue)?;
        if !entry.options.status.may_receive() {
            return Err(BrokerError::EntityDisabled { path: entry.path.clone() });
        }
        if entry.options.forward_to.is_some() {
            return Err(BrokerError::ForwardingEnabled { path: entry.path.clone() });
        }
        entry.accessed_at = now;
        Ok(entry)
    }

    pub(super) fn new_lock(&mut self, now: Duration, queue: QueueId) -> Result<Lock, BrokerError> {
        let lock_duration = self.entry(queue)?.options.lock_duration;
        let token = lock_token(self.config.seed, self.next_token);
        self.next_token += 1;
        Ok(Lock { token, locked_until: now.saturating_add(lock_duration) })
    }

    fn lock_for(
        &mut self,
        now: Duration,
        queue: QueueId,
        mode: ReceiveMode,
    ) -> Result<Option<Lock>, BrokerError> {
        match mode {
            ReceiveMode::ReceiveAndDelete => Ok(None),
            ReceiveMode::PeekLock => self.new_lock(now, queue).map(Some),
        }
    }

    /// Whether the messages of a queue have to wait because there is no credit for one.
    fn is_starving(&mut self, now: Duration, queue: QueueId) -> bool {
        let Some(until) = self.faults.no_credit_until(now) else { return false };
        let is_empty = self.queues.get(&queue).is_none_or(|entry| entry.queue.len() == 0);
        if !is_empty && self.starving.insert(queue) {
            self.faults.counts.held_back += 1;
        }
        self.note_due(until);
        true
    }

    /// As [`Broker::handed_out`], of what costs a credit.
    fn delivered(
        &mut self,
        now: Duration,
        queue: QueueId,
        received: Option<ReceivedMessage>,
    ) -> Option<ReceivedMessage> {
        if received.is_some() {
            self.faults.pay_delivery(now);
        }
        self.handed_out(now, queue, received)
    }

    fn handed_out(
        &mut self,
        now: Duration,
        queue: QueueId,
        received: Option<ReceivedMessage>,
    ) -> Option<ReceivedMessage> {
        self.after(now, queue);
        if let (Some(received), Some(entry)) = (&received, self.queues.get(&queue)) {
            let bytes = received.message.size_bytes();
            self.meter.record(&entry.path, OperationKind::Receive, bytes);
            if let Some(lock) = received.lock {
                self.note_due(lock.locked_until);
            }
            self.note(now, queue, || Happening::Received {
                sequence_number: received.sequence_number,
                delivery_count: received.delivery_count,
                is_locked: received.lock.is_some(),
            });
        }
        received
    }
}

/// A token that looks random, differs for each lock, and repeats with the seed.
fn lock_token(seed: u64, number: u64) -> LockToken {
    let mix = |seed| Dice::new(seed).bits();
    let high = mix(seed ^ mix(number));
    // The low half is a bijection of the number alone, so tokens never collide.
    LockToken((u128::from(high) << 64 | u128::from(mix(number))).to_be_bytes())
}

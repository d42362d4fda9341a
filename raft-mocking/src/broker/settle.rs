//! How received messages end: completed, given back, deferred, dead-lettered; and what fell out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::error::BrokerError;
use super::message::{BusMessage, LockToken, PropertyValue};
use super::meter::OperationKind;
use super::queue::{Arrival, Fall, Fallen, Locked, Origin, Resting, Stored};
use super::{Broker, Happening, QueueId};

/// Application properties to set when a message is given back, deferred or dead-lettered.
pub type Properties = BTreeMap<String, PropertyValue>;

/// The application properties that say why a message is in a dead-letter queue.
const REASON: &str = "DeadLetterReason";
const DESCRIPTION: &str = "DeadLetterErrorDescription";
/// The service cuts what is longer.
const REASON_LENGTH_MAX: usize = 4_096;

/// Settlement.
impl Broker {
    /// Deletes a locked message: it has been handled.
    ///
    /// # Errors
    /// `Deleted`, `LockLost`.
    pub fn complete(
        &mut self,
        now: Duration,
        queue: QueueId,
        token: LockToken,
    ) -> Result<(), BrokerError> {
        let locked = self.unlock(now, queue, token)?;
        self.entry_mut(queue)?.queue.forget(&locked.stored);
        let sequence_number = locked.stored.sequence_number;
        self.note(now, queue, || Happening::Completed { sequence_number });
        self.record_settlement(queue);
        Ok(())
    }

    /// Gives a locked message back; its delivery count rises.
    ///
    /// # Errors
    /// `Deleted`, `LockLost`.
    pub fn abandon(
        &mut self,
        now: Duration,
        queue: QueueId,
        token: LockToken,
    ) -> Result<(), BrokerError> {
        self.abandon_with(now, queue, token, Properties::new())
    }

    /// As [`Broker::abandon`], with properties to set.
    ///
    /// # Errors
    /// `Deleted`, `LockLost`.
    pub fn abandon_with(
        &mut self,
        now: Duration,
        queue: QueueId,
        token: LockToken,
        properties: Properties,
    ) -> Result<(), BrokerError> {
        let locked = self.unlock_with(now, queue, token, properties)?;
        let sequence_number = locked.stored.sequence_number;
        self.entry_mut(queue)?.queue.give_back(locked, true);
        self.note(now, queue, || Happening::Abandoned { sequence_number });
        self.after(now, queue);
        self.wake(queue);
        self.record_settlement(queue);
        Ok(())
    }

    /// Sets a locked message aside: only [`Broker::receive_deferred`] gets it.
    ///
    /// # Errors
    /// `Deleted`, `LockLost`.
    pub fn defer(
        &mut self,
        now: Duration,
        queue: QueueId,
        token: LockToken,
        properties: Properties,
    ) -> Result<(), BrokerError> {
        let locked = self.unlock_with(now, queue, token, properties)?;
        let sequence_number = locked.stored.sequence_number;
        self.entry_mut(queue)?.queue.defer(locked);
        self.note(now, queue, || Happening::Deferred { sequence_number });
        self.record_settlement(queue);
        Ok(())
    }

    /// Moves a locked message to the dead-letter queue. In that queue itself it is given back.
    ///
    /// # Errors
    /// `Deleted`, `LockLost`.
    pub fn dead_letter(
        &mut self,
        now: Duration,
        queue: QueueId,
        token: LockToken,
        reason: Option<&str>,
        description: Option<&str>,
        properties: Properties,
    ) -> Result<(), BrokerError> {
        let mut locked = self.unlock_with(now, queue, token, properties)?;
        let entry = self.entry_mut(queue)?;
        if entry.dead_letter.is_none() {
            entry.queue.give_back(locked, true);
            self.wake(queue);
        } else {
            entry.queue.forget(&locked.stored);
            locked.stored.delivery_count += 1;
            self.bury(now, queue, locked.stored, reason, description);
        }
        self.record_settlement(queue);
        Ok(())
    }

    /// Gives back a locked message whose receiver went away; not billed, not counted.
    ///
    /// # Errors
    /// `Deleted`, `LockLost`.
    pub fn release(
        &mut self,
        now: Duration,
        queue: QueueId,
        token: LockToken,
    ) -> Result<(), BrokerError> {
        let locked = self.unlock(now, queue, token)?;
        self.entry_mut(queue)?.queue.give_back(locked, false);
        self.wake(queue);
        Ok(())
    }

    /// Prolongs a lock by the lock duration; returns when it will end.
    ///
    /// # Errors
    /// `Deleted`, `LockLost`.
    pub fn renew_lock(
        &mut self,
        now: Duration,
        queue: QueueId,
        token: LockToken,
    ) -> Result<Duration, BrokerError> {
        let entry = self.entry_mut(queue)?;
        let locked_until = now.saturating_add(entry.options.lock_duration);
        let renewed = entry.queue.renew(now, token, locked_until);
        self.after(now, queue);
        renewed?;
        self.record_settlement(queue);
        self.note_due(locked_until);
        Ok(locked_until)
    }

    fn unlock(
        &mut self,
        now: Duration,
        queue: QueueId,
        token: LockToken,
    ) -> Result<Locked, BrokerError> {
        let unlocked = self.entry_mut(queue)?.queue.unlock(now, token);
        self.after(now, queue);
        unlocked
    }

    /// The same, with properties to set; the message still counts as one of its queue.
    fn unlock_with(
        &mut self,
        now: Duration,
        queue: QueueId,
        token: LockToken,
        properties: Properties,
    ) -> Result<Locked, BrokerError> {
        let mut locked = self.unlock(now, queue, token)?;
        let bytes = &mut self.entry_mut(queue)?.queue.bytes;
        set_properties(bytes, &mut locked.stored, properties);
        Ok(locked)
    }

    pub(super) fn record_settlement(&mut self, queue: QueueId) {
        if let Some(entry) = self.queues.get_mut(&queue) {
            self.meter.record(&entry.path, OperationKind::Settle, 0);
        }
    }

    /// Deals with what fell out of a queue.
    pub(super) fn after(&mut self, now: Duration, queue: QueueId) {
        let Some(entry) = self.queues.get_mut(&queue) else { return };
        let fallen = entry.queue.take_fallen();
        if fallen.is_empty() {
            return;
        }
        let keeps_expired = entry.options.dead_letters_expired;
        let count_max = entry.options.max_delivery_count;
        for Fallen { stored, cause } in fallen {
            if cause == Fall::Expired {
                let sequence_number = stored.sequence_number;
                self.note(now, queue, || Happening::Expired { sequence_number });
            }
            match cause {
                Fall::Expired if !keeps_expired => {}
                Fall::Expired => {
                    let description = "The message expired and was dead lettered.";
                    let reason = Some("TTLExpiredException");
                    self.bury(now, queue, stored, reason, Some(description));
                }
                Fall::DeliveredTooOften => {
                    let description = format!(
                        "Message could not be consumed after {count_max} delivery attempts."
                    );
                    let reason = Some("MaxDeliveryCountExceeded");
                    self.bury(now, queue, stored, reason, Some(&description));
                }
            }
        }
    }

    /// Puts a message into the dead-letter queue of the queue it was in, or where that forwards to.
    fn bury(
        &mut self,
        now: Duration,
        queue: QueueId,
        mut stored: Stored,
        reason: Option<&str>,
        description: Option<&str>,
    ) {
        let sequence_number = stored.sequence_number;
        self.note(now, queue, || Happening::DeadLettered {
            sequence_number,
            reason: reason.map(str::to_owned),
        });
        let Some(entry) = self.queues.get(&queue) else { return };
        let Some(dead_letter) = entry.dead_letter else { return };
        let path = entry.path.clone();
        let forward_to = entry.options.forward_dead_letters_to.clone();
        explain(&mut stored, &path, reason, description);
        if let Some(target) = forward_to {
            let Stored { sequence_number, hops, origin, message, .. } = stored;
            let message = message.whole();
            let arrival = Arrival { time_to_live: None, hops, origin, message };
            return self.forward(now, dead_letter, &path, &target, sequence_number, arrival);
        }
        self.lay(dead_letter, stored);
    }

    fn lay(&mut self, dead_letter: QueueId, stored: Stored) {
        if let Some(entry) = self.queues.get_mut(&dead_letter) {
            entry.queue.push_moved(stored);
            self.wake(dead_letter);
        }
    }

    /// Dead-letters a message that never was in the queue it was meant for.
    pub(super) fn dead_letter_sent(
        &mut self,
        now: Duration,
        queue: QueueId,
        message: Arc<BusMessage>,
        reason: &str,
        description: &str,
    ) {
        let Some(entry) = self.queues.get_mut(&queue) else { return };
        // A dead-letter queue that cannot forward keeps the message itself.
        let dead_letter = entry.dead_letter.unwrap_or(queue);
        let mut stored = Stored {
            sequence_number: entry.queue.next_sequence_number(),
            enqueued_time: now,
            expires_at: None,
            delivery_count: 0,
            hops: 0,
            origin: None,
            message: Resting::Whole(message),
        };
        explain(&mut stored, &entry.path, Some(reason), Some(description));
        self.lay(dead_letter, stored);
    }

    /// Keeps a message that could not be forwarded.
    pub(super) fn fail_transfer(
        &mut self,
        now: Duration,
        queue: QueueId,
        message: Arc<BusMessage>,
        description: &str,
    ) {
        let transfer = self.queues.get(&queue).and_then(|entry| entry.transfer_dead_letter);
        let place = transfer.unwrap_or(queue);
        self.dead_letter_sent(now, place, message, "TransferFailed", description);
    }
}

/// Has a message say why it is in a dead-letter queue, and from where. Nothing expires there.
fn explain(stored: &mut Stored, path: &str, reason: Option<&str>, description: Option<&str>) {
    let mut message = BusMessage::clone(&stored.message.whole());
    for (name, text) in [(REASON, reason), (DESCRIPTION, description)] {
        if let Some(text) = text {
            let text: String = text.chars().take(REASON_LENGTH_MAX).collect();
            message.application_properties.insert(name.to_owned(), text.into());
            message.is_changed = true;
        }
    }
    stored.message = Resting::Whole(Arc::new(message));
    let sequence_number = stored.sequence_number;
    let dead_letter_source = Some(path.to_owned());
    stored.origin = Some(Arc::new(Origin { dead_letter_source, sequence_number }));
    stored.expires_at = None;
}

fn set_properties(bytes: &mut u64, stored: &mut Stored, properties: Properties) {
    if properties.is_empty() {
        return;
    }
    let mut message = BusMessage::clone(&stored.message.whole());
    message.application_properties.extend(properties);
    message.is_changed = true;
    *bytes = *bytes - stored.message.size_bytes() + message.size_bytes();
    stored.message = Resting::Whole(Arc::new(message));
}

//! One queue of messages: what a subscription holds for its receivers.
//!
//! Guarantees: sequence numbers rise by one; ready messages leave in their order; an expired
//! message never leaves; a locked message leaves only by its lock, or returns to its place; a late
//! message takes its place when it arrives.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::error::BrokerError;
use super::message::{BusMessage, Lock, LockToken, ReceivedMessage};

/// Messages of one subscription: ready, locked or late.
///
/// - `ready` is sorted by sequence number.
/// - `bytes` is the sum over `ready`, `locked` and `late`.
/// - `lock_order` holds exactly the tokens of `locked`.
/// - No message in `ready` or `late` expires before `earliest_expiry`.
#[derive(Debug, Clone, Default)]
pub(super) struct MessageQueue {
    ready: VecDeque<Stored>,
    locked: BTreeMap<LockToken, (Duration, Stored)>,
    lock_order: BTreeSet<(Duration, LockToken)>,
    /// By when they arrive, and in the order in which they were sent. They have no number yet.
    late: BTreeMap<(Duration, u64), Stored>,
    late_count: u64,
    last_sequence_number: u64,
    earliest_expiry: Option<Duration>,
    bytes: u64,
}

#[derive(Debug, Clone)]
struct Stored {
    sequence_number: u64,
    enqueued_time: Duration,
    expires_at: Option<Duration>,
    delivery_count: u32,
    message: Arc<BusMessage>,
}

impl Stored {
    fn is_expired(&self, now: Duration) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    fn received(&self, lock: Option<Lock>) -> ReceivedMessage {
        ReceivedMessage {
            message: Arc::clone(&self.message),
            sequence_number: self.sequence_number,
            enqueued_time: self.enqueued_time,
            expires_at: self.expires_at,
            delivery_count: self.delivery_count,
            lock,
        }
    }
}

impl MessageQueue {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Messages held: ready, locked or late.
    pub(super) fn len(&self) -> u64 {
        (self.ready.len() + self.locked.len() + self.late.len()) as u64
    }

    pub(super) fn push(
        &mut self,
        now: Duration,
        time_to_live: Option<Duration>,
        message: Arc<BusMessage>,
    ) -> u64 {
        self.last_sequence_number += 1;
        let expires_at = time_to_live.and_then(|time_to_live| now.checked_add(time_to_live));
        self.note_expiry(expires_at);
        self.bytes += message.size_bytes();
        self.ready.push_back(Stored {
            sequence_number: self.last_sequence_number,
            enqueued_time: now,
            expires_at,
            delivery_count: 0,
            message,
        });
        self.last_sequence_number
    }

    /// Takes a message that arrives only after this long. Its time to live has begun.
    pub(super) fn push_late(
        &mut self,
        now: Duration,
        late: Duration,
        time_to_live: Option<Duration>,
        message: Arc<BusMessage>,
    ) {
        let expires_at = time_to_live.and_then(|time_to_live| now.checked_add(time_to_live));
        self.note_expiry(expires_at);
        self.bytes += message.size_bytes();
        self.late_count += 1;
        let stored = Stored {
            sequence_number: 0,
            enqueued_time: now,
            expires_at,
            delivery_count: 0,
            message,
        };
        self.late.insert((now.saturating_add(late), self.late_count), stored);
    }

    /// Lets in what was late and has arrived; `true` if there was any.
    pub(super) fn let_in(&mut self, now: Duration) -> bool {
        let mut has_arrived = false;
        while let Some(first) = self.late.first_entry() {
            if first.key().0 > now {
                break;
            }
            self.last_sequence_number += 1;
            let sequence_number = self.last_sequence_number;
            self.ready.push_back(Stored { sequence_number, ..first.remove() });
            has_arrived = true;
        }
        has_arrived
    }

    /// When the next late message arrives.
    pub(super) fn next_arrival(&self) -> Option<Duration> {
        self.late.first_key_value().map(|(&(at, _), _)| at)
    }

    /// Takes the next message for good.
    pub(super) fn pop(&mut self, now: Duration) -> Option<ReceivedMessage> {
        let stored = self.next_alive(now)?;
        self.bytes -= stored.message.size_bytes();
        Some(stored.received(None))
    }

    /// Hands out the next message under a lock.
    pub(super) fn lock(&mut self, now: Duration, lock: Lock) -> Option<ReceivedMessage> {
        let stored = self.next_alive(now)?;
        let received = stored.received(Some(lock));
        self.locked.insert(lock.token, (lock.locked_until, stored));
        self.lock_order.insert((lock.locked_until, lock.token));
        Some(received)
    }

    /// Ends a lock by deleting its message, which is returned.
    pub(super) fn complete(
        &mut self,
        now: Duration,
        token: LockToken,
    ) -> Result<Arc<BusMessage>, BrokerError> {
        let stored = self.unlock(now, token)?;
        self.bytes -= stored.message.size_bytes();
        Ok(stored.message)
    }

    /// Ends a lock by making its message available again, in its old place.
    pub(super) fn abandon(
        &mut self,
        now: Duration,
        token: LockToken,
        is_counted: bool,
    ) -> Result<(), BrokerError> {
        let mut stored = self.unlock(now, token)?;
        stored.delivery_count += u32::from(is_counted);
        self.put_back(stored);
        Ok(())
    }

    /// Prolongs a lock.
    pub(super) fn renew(
        &mut self,
        now: Duration,
        token: LockToken,
        locked_until: Duration,
    ) -> Result<(), BrokerError> {
        self.expire_locks(now);
        let (until, _) = self.locked.get_mut(&token).ok_or(BrokerError::LockLost)?;
        self.lock_order.remove(&(*until, token));
        self.lock_order.insert((locked_until, token));
        *until = locked_until;
        Ok(())
    }

    /// Returns messages whose lock ended to their places; `true` if there were any.
    pub(super) fn expire_locks(&mut self, now: Duration) -> bool {
        let mut has_expired = false;
        while let Some(&(until, token)) = self.lock_order.first() {
            if until > now {
                break;
            }
            self.lock_order.pop_first();
            let (_, mut stored) = self.locked.remove(&token).expect("lock_order mirrors locked");
            stored.delivery_count += 1;
            self.put_back(stored);
            has_expired = true;
        }
        has_expired
    }

    pub(super) fn next_lock_expiry(&self) -> Option<Duration> {
        self.lock_order.first().map(|&(until, _)| until)
    }

    /// Drops expired messages; costs nothing while none can have expired.
    pub(super) fn sweep(&mut self, now: Duration) {
        if self.earliest_expiry.is_none_or(|at| at > now) {
            return;
        }
        let bytes = &mut self.bytes;
        let mut is_alive = |stored: &Stored| {
            let is_expired = stored.is_expired(now);
            if is_expired {
                *bytes -= stored.message.size_bytes();
            }
            !is_expired
        };
        self.ready.retain(&mut is_alive);
        self.late.retain(|_, stored| is_alive(stored));
        let left = self.ready.iter().chain(self.late.values());
        self.earliest_expiry = left.filter_map(|stored| stored.expires_at).min();
    }

    fn next_alive(&mut self, now: Duration) -> Option<Stored> {
        self.let_in(now);
        self.expire_locks(now);
        loop {
            let stored = self.ready.pop_front()?;
            if !stored.is_expired(now) {
                return Some(stored);
            }
            self.bytes -= stored.message.size_bytes();
        }
    }

    fn unlock(&mut self, now: Duration, token: LockToken) -> Result<Stored, BrokerError> {
        self.expire_locks(now);
        let (until, stored) = self.locked.remove(&token).ok_or(BrokerError::LockLost)?;
        self.lock_order.remove(&(until, token));
        Ok(stored)
    }

    fn put_back(&mut self, stored: Stored) {
        self.note_expiry(stored.expires_at);
        let place = self.ready.partition_point(|s| s.sequence_number < stored.sequence_number);
        self.ready.insert(place, stored);
    }

    fn note_expiry(&mut self, expires_at: Option<Duration>) {
        let known = [self.earliest_expiry, expires_at];
        self.earliest_expiry = known.into_iter().flatten().min();
    }
}

//! One queue of messages: what a queue, a subscription or a dead-letter queue holds for its receivers.
//!
//! Guarantees: sequence numbers rise by one; ready messages leave in their order, those of one session
//! in the session's; an expired message never leaves; a locked message leaves only by its lock, or
//! returns to its place; a late message takes its place when it arrives.
//! Elsewhere:  sessions are in [`super::session`]; what has fallen out of the queue is dead-lettered or
//! forgotten by [`super::settle`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::error::BrokerError;
use super::message::{BusMessage, Lock, LockToken, MessageState, ReceivedMessage, Unpack};
use super::session::Sessions;

/// Messages of one queue: ready, locked, deferred or late.
///
/// - Each line (`ready`, and one in each session) is sorted by sequence number.
/// - `bytes` is the sum over all messages held.
/// - `lock_order` holds exactly the tokens of `locked` that end by themselves: those of a session end
///   with it.
/// - No message in a line, in `deferred` or `late` expires before `earliest_expiry`.
#[derive(Debug, Clone, Default)]
pub(super) struct MessageQueue {
    pub(super) ready: Line,
    pub(super) sessions: Sessions,
    pub(super) locked: BTreeMap<LockToken, Locked>,
    lock_order: BTreeSet<(Duration, LockToken)>,
    pub(super) deferred: BTreeMap<u64, Stored>,
    /// By when they arrive, and in the order in which they were sent. They have no number yet.
    late: BTreeMap<(Duration, u64), Stored>,
    late_count: u64,
    last_sequence_number: u64,
    earliest_expiry: Option<Duration>,
    pub(super) bytes: u64,
    /// What left without being received, until somebody asks.
    fallen: Vec<Fallen>,
    /// Whether anybody asks.
    pub(super) keeps_fallen: bool,
    pub(super) max_delivery_count: Option<u32>,
}

#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) sequence_number: u64,
    pub(super) enqueued_time: Duration,
    pub(super) expires_at: Option<Duration>,
    pub(super) delivery_count: u32,
    /// How often it was forwarded.
    pub(super) hops: u8,
    /// Where it was before, if it was elsewhere.
    pub(super) origin: Option<Arc<Origin>>,
    pub(super) message: Resting,
}

/// A message that waits: as it is, or, in a long line, as the bytes it came in.
#[derive(Debug, Clone)]
pub(super) enum Resting {
    Whole(Arc<BusMessage>),
    Packed(Box<Packed>),
}

/// All that is needed to read a message again.
#[derive(Debug, Clone)]
pub(super) struct Packed {
    encoded: Bytes,
    time_to_live: Option<Duration>,
    unpack: Unpack,
}

/// Lines longer than this hold their messages packed: memory counts for more than speed there.
const PACKED_FROM: usize = 10_000;

impl Resting {
    /// The message, read again if it was packed.
    pub(super) fn whole(&self) -> Arc<BusMessage> {
        match self {
            Self::Whole(message) => Arc::clone(message),
            Self::Packed(packed) => {
                let Packed { encoded, time_to_live, unpack } = &**packed;
                let message = (unpack.0)(encoded.clone());
                Arc::new(BusMessage { time_to_live: *time_to_live, ..message })
            }
        }
    }

    pub(super) fn size_bytes(&self) -> u64 {
        match self {
            Self::Whole(message) => message.size_bytes(),
            Self::Packed(packed) => packed.encoded.len() as u64,
        }
    }

    pub(super) fn session_id(&self) -> Option<&str> {
        match self {
            Self::Whole(message) => message.session_id.as_deref(),
            // Messages of sessions are never packed.
            Self::Packed(_) => None,
        }
    }

    /// The message packed, if all that it is can be read again.
    fn packed(self) -> Self {
        let Self::Whole(message) = &self else { return self };
        let is_all = !message.is_changed
            && message.session_id.is_none()
            && message.scheduled_at.is_none()
            && message.annotations.is_empty();
        match (&message.encoded, message.unpack) {
            (Some(encoded), Some(unpack)) if is_all => {
                let (encoded, time_to_live) = (encoded.clone(), message.time_to_live);
                Self::Packed(Box::new(Packed { encoded, time_to_live, unpack }))
            }
            _ => self,
        }
    }
}

/// Where a message was before it came here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) dead_letter_source: Option<String>,
    pub(super) sequence_number: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Locked {
    /// `None` if the lock ends with its session.
    pub(super) until: Option<Duration>,
    pub(super) was_deferred: bool,
    pub(super) stored: Stored,
}

/// A message that left without being received, and why.
#[derive(Debug, Clone)]
pub(super) struct Fallen {
    pub(super) stored: Stored,
    pub(super) cause: Fall,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fall {
    Expired,
    DeliveredTooOften,
}

impl Stored {
    pub(super) fn is_expired(&self, now: Duration) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    pub(super) fn received(&self, lock: Option<Lock>, state: MessageState) -> ReceivedMessage {
        let origin = self.origin.as_deref();
        ReceivedMessage {
            message: self.message.whole(),
            sequence_number: self.sequence_number,
            enqueued_sequence_number: origin.map_or(0, |origin| origin.sequence_number),
            enqueued_time: self.enqueued_time,
            expires_at: self.expires_at,
            delivery_count: self.delivery_count,
            dead_letter_source: origin.and_then(|origin| origin.dead_letter_source.clone()),
            state,
            lock,
        }
    }
}

/// Messages in the order in which they leave.
#[derive(Debug, Clone, Default)]
pub(super) struct Line(VecDeque<Stored>);

impl Line {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn first(&self) -> Option<&Stored> {
        self.0.front()
    }

    pub(super) fn push(&mut self, stored: Stored) {
        self.0.push_back(stored);
    }

    pub(super) fn pop(&mut self) -> Option<Stored> {
        self.0.pop_front()
    }

    pub(super) fn put_back(&mut self, stored: Stored) {
        let place = self.0.partition_point(|s| s.sequence_number < stored.sequence_number);
        self.0.insert(place, stored);
    }

    pub(super) fn from(&self, sequence_number: u64) -> impl Iterator<Item = &Stored> {
        let place = self.0.partition_point(|s| s.sequence_number < sequence_number);
        self.0.range(place..)
    }

    fn retain(&mut self, keep: impl FnMut(&Stored) -> bool) {
        self.0.retain(keep);
    }

    fn iter(&self) -> impl Iterator<Item = &Stored> {
        self.0.iter()
    }
}

/// How a message gets into a queue.
pub(super) struct Arrival {
    pub(super) time_to_live: Option<Duration>,
    pub(super) hops: u8,
    pub(super) origin: Option<Arc<Origin>>,
    pub(super) message: Arc<BusMessage>,
}

impl MessageQueue {
    /// Messages held: ready, locked, deferred or late.
    pub(super) fn len(&self) -> u64 {
        let waiting = self.ready.len() + self.sessions.message_count();
        (waiting + self.locked.len() + self.deferred.len() + self.late.len()) as u64
    }

    pub(super) fn deferred_count(&self) -> u64 {
        self.deferred.len() as u64
    }

    /// The number for the next message, which is taken by asking.
    pub(super) fn next_sequence_number(&mut self) -> u64 {
        self.last_sequence_number += 1;
        self.last_sequence_number
    }

    pub(super) fn push(&mut self, now: Duration, arrival: Arrival) -> u64 {
        let sequence_number = self.next_sequence_number();
        let stored = self.take_in(now, sequence_number, arrival);
        self.line_up(now, stored);
        sequence_number
    }

    /// Takes a message that arrives only after this long. Its time to live has begun.
    pub(super) fn push_late(&mut self, now: Duration, late: Duration, arrival: Arrival) {
        let stored = self.take_in(now, 0, arrival);
        self.late_count += 1;
        self.late.insert((now.saturating_add(late), self.late_count), stored);
    }

    /// Takes a message as it was elsewhere, to its place.
    pub(super) fn push_moved(&mut self, stored: Stored) {
        self.last_sequence_number = self.last_sequence_number.max(stored.sequence_number);
        self.bytes += stored.message.size_bytes();
        self.put_back(stored);
    }

    fn take_in(&mut self, now: Duration, sequence_number: u64, arrival: Arrival) -> Stored {
        let Arrival { time_to_live, hops, origin, message } = arrival;
        let expires_at = time_to_live.and_then(|time_to_live| now.checked_add(time_to_live));
        self.note_expiry(expires_at);
        self.bytes += message.size_bytes();
        Stored {
            sequence_number,
            enqueued_time: now,
            expires_at,
            delivery_count: 0,
            hops,
            origin,
            message: Resting::Whole(message),
        }
    }

    fn line_up(&mut self, now: Duration, mut stored: Stored) {
        match stored.message.session_id() {
            Some(id) if self.sessions.is_required => {
                let id = id.to_owned();
                self.sessions.push(now, &id, stored);
            }
            _ => {
                if self.ready.len() >= PACKED_FROM {
                    stored.message = stored.message.packed();
                }
                self.ready.push(stored);
            }
        }
    }

    /// Lets in what was late and has arrived; `true` if there was any.
    pub(super) fn let_in(&mut self, now: Duration) -> bool {
        let mut has_arrived = false;
        while let Some(first) = self.late.first_entry() {
            if first.key().0 > now {
                break;
            }
            let stored = first.remove();
            let sequence_number = self.next_sequence_number();
            self.line_up(now, Stored { sequence_number, ..stored });
            has_arrived = true;
        }
        has_arrived
    }

    /// When the next late message arrives.
    pub(super) fn next_arrival(&self) -> Option<Duration> {
        self.late.first_key_value().map(|(&(at, _), _)| at)
    }

    /// Takes the next message of the queue, or of a session, for good.
    pub(super) fn pop(&mut self, now: Duration, session: Option<&str>) -> Option<ReceivedMessage> {
        let stored = self.next_alive(now, session)?;
        self.bytes -= stored.message.size_bytes();
        Some(stored.received(None, MessageState::Active))
    }

    /// Hands out the next message under a lock, which ends by itself unless it is a session's.
    pub(super) fn lock(
        &mut self,
        now: Duration,
        session: Option<&str>,
        lock: Lock,
    ) -> Option<ReceivedMessage> {
        let stored = self.next_alive(now, session)?;
        let received = stored.received(Some(lock), MessageState::Active);
        self.keep_locked(session.is_some(), lock, false, stored);
        Some(received)
    }

    /// Takes a deferred message for good.
    pub(super) fn pop_deferred(
        &mut self,
        now: Duration,
        sequence_number: u64,
        session: Option<&str>,
    ) -> Option<ReceivedMessage> {
        let stored = self.take_deferred(now, sequence_number, session)?;
        self.bytes -= stored.message.size_bytes();
        Some(stored.received(None, MessageState::Deferred))
    }

    /// Hands out a deferred message under a lock.
    pub(super) fn lock_deferred(
        &mut self,
        now: Duration,
        sequence_number: u64,
        session: Option<&str>,
        lock: Lock,
    ) -> Option<ReceivedMessage> {
        let stored = self.take_deferred(now, sequence_number, session)?;
        let received = stored.received(Some(lock), MessageState::Deferred);
        self.keep_locked(session.is_some(), lock, true, stored);
        Some(received)
    }

    fn take_deferred(
        &mut self,
        now: Duration,
        sequence_number: u64,
        session: Option<&str>,
    ) -> Option<Stored> {
        self.expire_locks(now);
        let is_theirs =
            |stored: &Stored| !self.sessions.is_required || stored.message.session_id() == session;
        self.deferred.get(&sequence_number).filter(|stored| is_theirs(stored))?;
        let stored = self.deferred.remove(&sequence_number)?;
        if stored.is_expired(now) {
            self.fall(stored, Fall::Expired);
            return None;
        }
        Some(stored)
    }

    fn keep_locked(&mut self, is_of_session: bool, lock: Lock, was_deferred: bool, stored: Stored) {
        let until = (!is_of_session).then_some(lock.locked_until);
        if let Some(until) = until {
            self.lock_order.insert((until, lock.token));
        }
        self.locked.insert(lock.token, Locked { until, was_deferred, stored });
    }

    /// Ends a lock; the message is the caller's.
    pub(super) fn unlock(
        &mut self,
        now: Duration,
        token: LockToken,
    ) -> Result<Locked, BrokerError> {
        self.expire_locks(now);
        let locked = self.locked.remove(&token).ok_or(BrokerError::LockLost)?;
        if let Some(until) = locked.until {
            self.lock_order.remove(&(until, token));
        }
        Ok(locked)
    }

    /// Forgets a message that the caller has.
    pub(super) fn forget(&mut self, stored: &Stored) {
        self.bytes -= stored.message.size_bytes();
    }

    /// Makes a message available again whose lock has ended; it falls out if that was once too often.
    pub(super) fn give_back(&mut self, locked: Locked, is_counted: bool) {
        let Locked { was_deferred, mut stored, .. } = locked;
        stored.delivery_count += u32::from(is_counted);
        if is_counted && self.max_delivery_count.is_some_and(|max| stored.delivery_count >= max) {
            self.fall(stored, Fall::DeliveredTooOften);
        } else if was_deferred {
            self.deferred.insert(stored.sequence_number, stored);
        } else {
            self.put_back(stored);
        }
    }

    pub(super) fn defer(&mut self, locked: Locked) {
        let mut stored = locked.stored;
        stored.delivery_count += 1;
        self.note_expiry(stored.expires_at);
        self.deferred.insert(stored.sequence_number, stored);
    }

    /// Prolongs a lock.
    pub(super) fn renew(
        &mut self,
        now: Duration,
        token: LockToken,
        locked_until: Duration,
    ) -> Result<(), BrokerError> {
        self.expire_locks(now);
        let locked = self.locked.get_mut(&token).ok_or(BrokerError::LockLost)?;
        if let Some(until) = &mut locked.until {
            self.lock_order.remove(&(*until, token));
            self.lock_order.insert((locked_until, token));
            *until = locked_until;
        }
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
            let locked = self.locked.remove(&token).expect("lock_order mirrors locked");
            self.give_back(locked, true);
            has_expired = true;
        }
        for id in self.sessions.expired_locks(now) {
            self.end_session(&id, true);
            has_expired = true;
        }
        has_expired
    }

    /// Ends the lock of a session, and with it those of its messages.
    pub(super) fn end_session(&mut self, id: &str, is_counted: bool) {
        self.sessions.unlock(id);
        let is_theirs = |locked: &Locked| {
            locked.until.is_none() && locked.stored.message.session_id() == Some(id)
        };
        let tokens: Vec<_> = self
            .locked
            .iter()
            .filter(|(_, locked)| is_theirs(locked))
            .map(|(token, _)| *token)
            .collect();
        for token in tokens {
            let locked = self.locked.remove(&token).expect("it was there a moment ago");
            self.give_back(locked, is_counted);
        }
    }

    pub(super) fn next_lock_expiry(&self) -> Option<Duration> {
        let message = self.lock_order.first().map(|&(until, _)| until);
        [message, self.sessions.next_lock_expiry()].into_iter().flatten().min()
    }

    /// When the next message may expire.
    pub(super) fn next_expiry(&self) -> Option<Duration> {
        self.earliest_expiry
    }

    /// Drops expired messages; costs nothing while none can have expired.
    pub(super) fn sweep(&mut self, now: Duration) {
        if self.earliest_expiry.is_none_or(|at| at > now) {
            return;
        }
        let mut fallen = Vec::new();
        let mut is_alive = |stored: &Stored| {
            let is_expired = stored.is_expired(now);
            if is_expired {
                fallen.push(stored.clone());
            }
            !is_expired
        };
        self.ready.retain(&mut is_alive);
        self.sessions.lines_mut().for_each(|line| line.retain(&mut is_alive));
        self.deferred.retain(|_, stored| is_alive(stored));
        self.late.retain(|_, stored| is_alive(stored));
        fallen.into_iter().for_each(|stored| self.fall(stored, Fall::Expired));
        let in_line = self.ready.iter().chain(self.sessions.lines().flat_map(Line::iter));
        let left = in_line.chain(self.deferred.values()).chain(self.late.values());
        self.earliest_expiry = left.filter_map(|stored| stored.expires_at).min();
    }

    /// Up to `count` messages from a sequence number on, in their order, wherever they are.
    pub(super) fn peek(
        &self,
        now: Duration,
        from: u64,
        count: usize,
        session: Option<&str>,
    ) -> Vec<ReceivedMessage> {
        let is_wanted = |stored: &&Stored| {
            !stored.is_expired(now)
                && session.is_none_or(|id| stored.message.session_id() == Some(id))
        };
        let active = |stored: &Stored| stored.received(None, MessageState::Active);
        let mut found: Vec<ReceivedMessage> =
            self.ready.from(from).filter(is_wanted).take(count).map(active).collect();
        for line in self.sessions.lines() {
            found.extend(line.from(from).filter(is_wanted).take(count).map(active));
        }
        let locked = self.locked.values().map(|locked| &locked.stored);
        let locked = locked.filter(|stored| stored.sequence_number >= from);
        found.extend(locked.filter(is_wanted).map(active));
        let deferred = self.deferred.range(from..).map(|(_, stored)| stored);
        let deferred = deferred.filter(is_wanted).take(count);
        found.extend(deferred.map(|stored| stored.received(None, MessageState::Deferred)));
        found.sort_by_key(|received| received.sequence_number);
        found.truncate(count);
        found
    }

    /// What fell out since the last call.
    pub(super) fn take_fallen(&mut self) -> Vec<Fallen> {
        std::mem::take(&mut self.fallen)
    }

    fn fall(&mut self, stored: Stored, cause: Fall) {
        self.bytes -= stored.message.size_bytes();
        if self.keeps_fallen {
            self.fallen.push(Fallen { stored, cause });
        }
    }

    fn next_alive(&mut self, now: Duration, session: Option<&str>) -> Option<Stored> {
        self.let_in(now);
        self.expire_locks(now);
        loop {
            let stored = match session {
                None => self.ready.pop()?,
                Some(id) => self.sessions.pop(id)?,
            };
            if !stored.is_expired(now) {
                return Some(stored);
            }
            self.fall(stored, Fall::Expired);
        }
    }

    fn put_back(&mut self, stored: Stored) {
        self.note_expiry(stored.expires_at);
        match stored.message.session_id() {
            Some(id) if self.sessions.is_required => {
                let id = id.to_owned();
                self.sessions.put_back(&id, stored);
            }
            _ => self.ready.put_back(stored),
        }
    }

    fn note_expiry(&mut self, expires_at: Option<Duration>) {
        let known = [self.earliest_expiry, expires_at];
        self.earliest_expiry = known.into_iter().flatten().min();
    }
}

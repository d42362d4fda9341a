//! Sessions: messages with one session id, in order, for one receiver at a time.
//!
//! Guarantees: a session has one holder at most; only its holder gets its messages, in their order.
//! A session is there as long as it has messages, a holder or a state.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::entity::QueueEntry;
use super::error::BrokerError;
use super::message::{Lock, LockToken};
use super::queue::{Line, Stored};
use super::{Broker, QueueId};

/// The sessions of one queue.
///
/// - `lock_order` holds exactly the sessions that are locked, with the end of their locks.
#[derive(Debug, Clone, Default)]
pub(super) struct Sessions {
    pub(super) is_required: bool,
    sessions: BTreeMap<String, Session>,
    lock_order: BTreeSet<(Duration, String)>,
}

#[derive(Debug, Clone, Default)]
struct Session {
    ready: Line,
    lock: Option<Lock>,
    state: Option<Bytes>,
    updated_at: Duration,
}

/// A session that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedSession {
    /// Its id.
    pub id: String,
    /// Who may receive from it, and until when.
    pub lock: Lock,
}

impl Sessions {
    pub(super) fn message_count(&self) -> usize {
        self.lines().map(Line::len).sum()
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = &Line> {
        self.sessions.values().map(|session| &session.ready)
    }

    pub(super) fn lines_mut(&mut self) -> impl Iterator<Item = &mut Line> {
        self.sessions.values_mut().map(|session| &mut session.ready)
    }

    pub(super) fn push(&mut self, now: Duration, id: &str, stored: Stored) {
        let session = self.session(id);
        session.updated_at = now;
        session.ready.push(stored);
    }

    pub(super) fn put_back(&mut self, id: &str, stored: Stored) {
        self.session(id).ready.put_back(stored);
    }

    pub(super) fn pop(&mut self, id: &str) -> Option<Stored> {
        self.sessions.get_mut(id)?.ready.pop()
    }

    fn session(&mut self, id: &str) -> &mut Session {
        // Looked up first, so that only the first message of a session allocates its id.
        if !self.sessions.contains_key(id) {
            self.sessions.insert(id.to_owned(), Session::default());
        }
        self.sessions.get_mut(id).expect("it is there by now")
    }

    /// The session that nobody holds whose first message is the oldest.
    fn next_free(&self) -> Option<&str> {
        let free = self.sessions.iter().filter(|(_, session)| session.lock.is_none());
        let waiting = free.filter_map(|(id, session)| Some((session.ready.first()?, id)));
        waiting.min_by_key(|(first, _)| first.sequence_number).map(|(_, id)| id.as_str())
    }

    fn lock(&mut self, id: &str, lock: Lock) -> bool {
        let session = self.session(id);
        if session.lock.is_some() {
            return false;
        }
        session.lock = Some(lock);
        self.lock_order.insert((lock.locked_until, id.to_owned()));
        true
    }

    pub(super) fn unlock(&mut self, id: &str) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        if let Some(lock) = session.lock.take() {
            self.lock_order.remove(&(lock.locked_until, id.to_owned()));
        }
        if session.ready.is_empty() && session.state.is_none() {
            self.sessions.remove(id);
        }
    }

    /// The session of this lock, if the lock still holds.
    fn held(&mut self, id: &str, token: LockToken) -> Result<&mut Session, BrokerError> {
        let session = self.sessions.get_mut(id);
        session
            .filter(|session| session.lock.is_some_and(|lock| lock.token == token))
            .ok_or(BrokerError::SessionLockLost)
    }

    /// Prolongs the lock of a session.
    fn relock(&mut self, id: &str, lock: Lock) -> Result<(), BrokerError> {
        let old = self.holder(id, lock.token)?;
        self.held(id, lock.token)?.lock = Some(lock);
        self.lock_order.remove(&(old.locked_until, id.to_owned()));
        self.lock_order.insert((lock.locked_until, id.to_owned()));
        Ok(())
    }

    /// The lock of a session, if it is this one.
    pub(super) fn holder(&self, id: &str, token: LockToken) -> Result<Lock, BrokerError> {
        let lock = self.sessions.get(id).and_then(|session| session.lock);
        lock.filter(|lock| lock.token == token).ok_or(BrokerError::SessionLockLost)
    }

    pub(super) fn expired_locks(&self, now: Duration) -> Vec<String> {
        let expired = self.lock_order.iter().take_while(|(until, _)| *until <= now);
        expired.map(|(_, id)| id.clone()).collect()
    }

    pub(super) fn next_lock_expiry(&self) -> Option<Duration> {
        self.lock_order.first().map(|(until, _)| *until)
    }
}

/// Sessions.
impl Broker {
    /// Locks a session for one receiver: the named one, or the next that has messages and no holder.
    /// `None` if there is no such session now.
    ///
    /// # Errors
    /// `Deleted`, `SessionsNotSupported`, `SessionCannotBeLocked`, `EntityDisabled`.
    pub fn accept_session(
        &mut self,
        now: Duration,
        queue: QueueId,
        id: Option<&str>,
    ) -> Result<Option<AcceptedSession>, BrokerError> {
        let lock = self.new_lock(now, queue)?;
        let entry = self.receiving(now, queue)?;
        if !entry.queue.sessions.is_required {
            return Err(BrokerError::SessionsNotSupported { path: entry.path.clone() });
        }
        entry.queue.let_in(now);
        entry.queue.expire_locks(now);
        entry.queue.sweep(now);
        let sessions = &mut entry.queue.sessions;
        let found = id.or_else(|| sessions.next_free()).map(str::to_owned);
        let Some(id) = found else {
            self.after(now, queue);
            return Ok(None);
        };
        let is_locked = sessions.lock(&id, lock);
        self.after(now, queue);
        if !is_locked {
            return Err(BrokerError::SessionCannotBeLocked { id });
        }
        self.note_due(lock.locked_until);
        Ok(Some(AcceptedSession { id, lock }))
    }

    /// Prolongs the lock of a session by the lock duration; returns when it will end.
    ///
    /// # Errors
    /// `Deleted`, `SessionLockLost`.
    pub fn renew_session_lock(
        &mut self,
        now: Duration,
        queue: QueueId,
        id: &str,
        token: LockToken,
    ) -> Result<Duration, BrokerError> {
        let locked_until = self.in_session(now, queue, |entry| {
            let locked_until = now.saturating_add(entry.options.lock_duration);
            entry.queue.sessions.relock(id, Lock { token, locked_until })?;
            Ok(locked_until)
        })?;
        self.record_settlement(queue);
        self.note_due(locked_until);
        Ok(locked_until)
    }

    /// When the lock of a session ends.
    ///
    /// # Errors
    /// `Deleted`, `SessionLockLost`.
    pub fn session_locked_until(
        &mut self,
        now: Duration,
        queue: QueueId,
        id: &str,
        token: LockToken,
    ) -> Result<Duration, BrokerError> {
        self.in_session(now, queue, |entry| {
            entry.queue.sessions.holder(id, token).map(|lock| lock.locked_until)
        })
    }

    /// Gives a session back; what was received of it and not settled returns, and is not counted.
    ///
    /// # Errors
    /// `Deleted`, `SessionLockLost`.
    pub fn release_session(
        &mut self,
        now: Duration,
        queue: QueueId,
        id: &str,
        token: LockToken,
    ) -> Result<(), BrokerError> {
        self.in_session(now, queue, |entry| {
            entry.queue.sessions.holder(id, token)?;
            entry.queue.end_session(id, false);
            Ok(())
        })?;
        self.wake(queue);
        Ok(())
    }

    /// The state of a session, which is its holder's to read.
    ///
    /// # Errors
    /// `Deleted`, `SessionLockLost`.
    pub fn session_state(
        &mut self,
        now: Duration,
        queue: QueueId,
        id: &str,
        token: LockToken,
    ) -> Result<Option<Bytes>, BrokerError> {
        let state = self.in_session(now, queue, |entry| {
            entry.queue.sessions.held(id, token).map(|session| session.state.clone())
        });
        self.record_settlement(queue);
        state
    }

    /// Sets or clears the state of a session, which is its holder's to write.
    ///
    /// # Errors
    /// `Deleted`, `SessionLockLost`, `MessageTooLarge`.
    pub fn set_session_state(
        &mut self,
        now: Duration,
        queue: QueueId,
        id: &str,
        token: LockToken,
        state: Option<Bytes>,
    ) -> Result<(), BrokerError> {
        let bytes_max = self.config.message_bytes_max;
        let bytes = state.as_ref().map_or(0, |state| state.len() as u64);
        if bytes > bytes_max {
            return Err(BrokerError::MessageTooLarge { bytes, bytes_max });
        }
        let set = self.in_session(now, queue, |entry| {
            let session = entry.queue.sessions.held(id, token)?;
            (session.state, session.updated_at) = (state, now);
            Ok(())
        });
        self.record_settlement(queue);
        set
    }

    /// Does something with the sessions of a queue as they are now, and deals with what fell out of it.
    fn in_session<T>(
        &mut self,
        now: Duration,
        queue: QueueId,
        act: impl FnOnce(&mut QueueEntry) -> Result<T, BrokerError>,
    ) -> Result<T, BrokerError> {
        let entry = self.entry_mut(queue)?;
        entry.queue.expire_locks(now);
        let done = act(entry);
        self.after(now, queue);
        done
    }

    /// Sessions whose state was set after `since`, or, without it, those that have messages; by id.
    ///
    /// # Errors
    /// `Deleted`, `SessionsNotSupported`.
    pub fn sessions(
        &self,
        queue: QueueId,
        since: Option<Duration>,
    ) -> Result<Vec<String>, BrokerError> {
        let entry = self.entry(queue)?;
        let sessions = &entry.queue.sessions;
        if !sessions.is_required {
            return Err(BrokerError::SessionsNotSupported { path: entry.path.clone() });
        }
        let is_wanted = |session: &Session| match since {
            Some(since) => session.state.is_some() && session.updated_at > since,
            None => !session.ready.is_empty(),
        };
        let wanted = sessions.sessions.iter().filter(|(_, session)| is_wanted(session));
        Ok(wanted.map(|(id, _)| id.clone()).collect())
    }
}

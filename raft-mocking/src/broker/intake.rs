//! What lies between a sender and the queues: messages that are not due, and ids that were seen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::message::{BusMessage, MessageState, ReceivedMessage};

/// Scheduled messages of a queue or topic, and the history of its duplicate detection.
///
/// - `due` has exactly the messages of `scheduled`, by their times.
/// - `order` has every id of `seen` with the time when it was sent, the oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Intake {
    scheduled: BTreeMap<u64, Scheduled>,
    due: BTreeSet<(Duration, u64)>,
    bytes: u64,
    seen: BTreeSet<String>,
    order: VecDeque<(Duration, String)>,
}

#[derive(Debug, Clone)]
struct Scheduled {
    at: Duration,
    sent_at: Duration,
    message: Arc<BusMessage>,
}

impl Intake {
    /// Bytes of scheduled messages.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn scheduled_count(&self) -> u64 {
        self.scheduled.len() as u64
    }

    pub(super) fn schedule(
        &mut self,
        now: Duration,
        at: Duration,
        sequence_number: u64,
        message: Arc<BusMessage>,
    ) {
        self.bytes += message.size_bytes();
        self.due.insert((at, sequence_number));
        self.scheduled.insert(sequence_number, Scheduled { at, sent_at: now, message });
    }

    /// Forgets a scheduled message; `false` if there is none with this number.
    pub(super) fn cancel(&mut self, sequence_number: u64) -> bool {
        let Some(scheduled) = self.scheduled.remove(&sequence_number) else { return false };
        self.due.remove(&(scheduled.at, sequence_number));
        self.bytes -= scheduled.message.size_bytes();
        true
    }

    pub(super) fn is_scheduled(&self, sequence_number: u64) -> bool {
        self.scheduled.contains_key(&sequence_number)
    }

    /// Takes the next message that is due.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<Arc<BusMessage>> {
        let &(at, number) = self.due.first()?;
        if at > now {
            return None;
        }
        self.due.pop_first();
        let scheduled = self.scheduled.remove(&number)?;
        self.bytes -= scheduled.message.size_bytes();
        Some(scheduled.message)
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        self.due.first().map(|&(at, _)| at)
    }

    /// Scheduled messages from a number on.
    pub(super) fn peek(&self, from: u64, count: usize) -> impl Iterator<Item = ReceivedMessage> {
        self.scheduled.range(from..).take(count).map(|(&sequence_number, scheduled)| {
            ReceivedMessage {
                message: Arc::clone(&scheduled.message),
                sequence_number,
                enqueued_sequence_number: 0,
                enqueued_time: scheduled.sent_at,
                expires_at: None,
                delivery_count: 0,
                dead_letter_source: None,
                state: MessageState::Scheduled,
                lock: None,
            }
        })
    }

    /// Whether this id was sent within the window; from now on it was.
    pub(super) fn is_duplicate(&mut self, now: Duration, window: Duration, id: &str) -> bool {
        while let Some((at, _)) = self.order.front() {
            if at.saturating_add(window) > now {
                break;
            }
            if let Some((_, id)) = self.order.pop_front() {
                self.seen.remove(&id);
            }
        }
        if self.seen.contains(id) {
            return true;
        }
        self.seen.insert(id.to_owned());
        self.order.push_back((now, id.to_owned()));
        false
    }
}

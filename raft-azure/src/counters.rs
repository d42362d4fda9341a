//! What one process did on the bus, and what it is billed for.

use std::sync::atomic::{AtomicU64, Ordering};

/// One billable operation covers this much of a message.
const BILLING_UNIT: usize = 64 * 1024;

/// Counts since the bus was opened, read at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Messages the broker took.
    pub sent: u64,
    /// Messages received.
    pub received: u64,
    /// Connections opened after the first one.
    pub reconnects: u64,
    /// Messages dropped, or refused to the caller, because the outbox was full.
    pub dropped_full: u64,
    /// Messages that outlived their time to live in the outbox.
    pub expired: u64,
    /// Messages handed to the broker that it refused or never answered.
    pub send_failures: u64,
    /// Of these, refused because the tier's rate was exceeded.
    pub throttled: u64,
    /// Messages received that were not a message of anybody we know.
    pub undecodable: u64,
    /// Links attached, again after each loss.
    pub attaches: u64,
    /// Tokens put for links, renewals included.
    pub tokens: u64,
    /// Estimated billable operations: one per message sent or received and 64 KiB started.
    pub billable_operations: u64,
}

/// The same, counted from many tasks. Each number is exact; together they are a snapshot only
/// while nothing happens.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    sent: AtomicU64,
    received: AtomicU64,
    reconnects: AtomicU64,
    dropped_full: AtomicU64,
    expired: AtomicU64,
    send_failures: AtomicU64,
    throttled: AtomicU64,
    undecodable: AtomicU64,
    attaches: AtomicU64,
    tokens: AtomicU64,
    billable_operations: AtomicU64,
}

impl Meter {
    pub(crate) fn count_sent(&self, bytes: usize) {
        add(&self.sent, 1);
        add(&self.billable_operations, operations(bytes));
    }

    pub(crate) fn count_received(&self, bytes: usize) {
        add(&self.received, 1);
        add(&self.billable_operations, operations(bytes));
    }

    pub(crate) fn count_undecodable(&self) {
        add(&self.undecodable, 1);
        add(&self.billable_operations, 1);
    }

    pub(crate) fn count_reconnect(&self) {
        add(&self.reconnects, 1);
    }

    pub(crate) fn count_dropped_full(&self, messages: u64) {
        add(&self.dropped_full, messages);
    }

    pub(crate) fn count_expired(&self) {
        add(&self.expired, 1);
    }

    pub(crate) fn count_send_failures(&self, messages: u64) {
        add(&self.send_failures, messages);
    }

    pub(crate) fn count_throttled(&self) {
        add(&self.throttled, 1);
    }

    pub(crate) fn count_attach(&self) {
        add(&self.attaches, 1);
    }

    pub(crate) fn count_token(&self) {
        add(&self.tokens, 1);
    }

    pub(crate) fn snapshot(&self) -> Counters {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            sent: load(&self.sent),
            received: load(&self.received),
            reconnects: load(&self.reconnects),
            dropped_full: load(&self.dropped_full),
            expired: load(&self.expired),
            send_failures: load(&self.send_failures),
            throttled: load(&self.throttled),
            undecodable: load(&self.undecodable),
            attaches: load(&self.attaches),
            tokens: load(&self.tokens),
            billable_operations: load(&self.billable_operations),
        }
    }
}

fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::Relaxed);
}

fn operations(bytes: usize) -> u64 {
    bytes.div_ceil(BILLING_UNIT).max(1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_64_kib_started_is_an_operation() {
        for (bytes, expected) in [(0, 1), (1, 1), (65_536, 1), (65_537, 2), (262_144, 4)] {
            assert_eq!(operations(bytes), expected, "{bytes}");
        }
    }
}

//! The bill: what the calls would have cost on the Standard tier.
//!
//! One *operation* is one API call: a send, a message received, a settlement, a management call.
//! A message counts once for each 64 KB started. A copy that a rule kept out is never made, hence
//! never billed. Whether a batch of n messages is one operation or n is not documented, so we
//! count n: an estimate should not be too low.
//! *Credits* are what the tier throttles by: 1 per message sent or received, 1 per filter
//! evaluated, 10 per management call.

use std::collections::BTreeMap;
use std::fmt;

/// A message is billed once for each block of this size that it starts.
const BILLED_BLOCK_BYTES: u64 = 64 * 1024;

/// What a management call costs of what the tier throttles by.
pub(super) const MANAGEMENT_CREDITS: u64 = 10;

/// The list price of a million operations from the 13 millionth to the 100 millionth of a month, before
/// which they are included in the base fee of about USD 10.
const USD_PER_MILLION: f64 = 0.80;

/// What kind of call an operation was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum OperationKind {
    /// A message sent to a topic.
    Send,
    /// A message received from a subscription.
    Receive,
    /// A message completed, abandoned or dead-lettered, or its lock renewed.
    Settle,
    /// An entity created, read, changed or deleted.
    Management,
}

impl fmt::Display for OperationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Send => "send",
            Self::Receive => "receive",
            Self::Settle => "settle",
            Self::Management => "management",
        })
    }
}

/// How often something happened, and what it costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls, or messages.
    pub calls: u64,
    /// Billable operations: at least one per call.
    pub operations: u64,
    /// Payload bytes moved.
    pub bytes: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.operations += other.operations;
        self.bytes += other.bytes;
    }
}

/// Everything that was billed so far, by entity and kind.
///
/// A snapshot is a value: subtract an earlier [`Meter::operations`] to bill a period.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meter {
    entities: BTreeMap<String, BTreeMap<OperationKind, Tally>>,
    filter_evaluations: u64,
}

impl Meter {
    /// All billable operations.
    pub fn operations(&self) -> u64 {
        self.rows().map(|(_, _, tally)| tally.operations).sum()
    }

    /// Billable operations of one kind.
    pub fn operations_of(&self, kind: OperationKind) -> u64 {
        self.total(kind).operations
    }

    /// The sum over all entities for one kind.
    pub fn total(&self, kind: OperationKind) -> Tally {
        let mut total = Tally::default();
        self.rows().filter(|row| row.1 == kind).for_each(|(_, _, tally)| total.add(tally));
        total
    }

    /// What all operations would cost in US dollars at the first rate beyond those that the Standard
    /// tier's base fee includes. An estimate from list prices: check them before you rely on it.
    pub fn marginal_usd(&self) -> f64 {
        self.operations() as f64 * USD_PER_MILLION / 1e6
    }

    /// How many filters were asked about messages.
    pub fn filter_evaluations(&self) -> u64 {
        self.filter_evaluations
    }

    /// One row per entity path and kind, in a fixed order.
    pub fn rows(&self) -> impl Iterator<Item = (&str, OperationKind, Tally)> {
        self.entities.iter().flat_map(|(path, kinds)| {
            kinds.iter().map(|(&kind, &tally)| (path.as_str(), kind, tally))
        })
    }

    /// Credits used, by which the Standard tier throttles (1,000 a second).
    pub fn credits(&self) -> u64 {
        let messages =
            [OperationKind::Send, OperationKind::Receive].map(|kind| self.total(kind).calls);
        messages.iter().sum::<u64>()
            + self.filter_evaluations
            + MANAGEMENT_CREDITS * self.total(OperationKind::Management).calls
    }

    pub(super) fn record(&mut self, path: &str, kind: OperationKind, bytes: u64) {
        let operations = bytes.div_ceil(BILLED_BLOCK_BYTES).max(1);
        let tally = Tally { calls: 1, operations, bytes };
        // Looked up first, so that only the first call for an entity allocates its name.
        let kinds = match self.entities.get_mut(path) {
            Some(kinds) => kinds,
            None => self.entities.entry(path.to_owned()).or_default(),
        };
        kinds.entry(kind).or_default().add(tally);
    }

    pub(super) fn record_filter_evaluations(&mut self, count: u64) {
        self.filter_evaluations += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_started_block_of_64_kb_is_one_operation() {
        for (bytes, operations) in [(0, 1), (1, 1), (65_536, 1), (65_537, 2), (262_144, 4)] {
            let mut meter = Meter::default();
            meter.record("t", OperationKind::Send, bytes);
            assert_eq!(meter.operations(), operations, "{bytes} bytes");
            assert_eq!(meter.operations_of(OperationKind::Receive), 0);
        }
    }

    #[test]
    fn credits_count_messages_filters_and_management() {
        let mut meter = Meter::default();
        meter.record("t", OperationKind::Send, 100_000);
        meter.record("t/Subscriptions/s", OperationKind::Receive, 1);
        meter.record("t", OperationKind::Management, 0);
        meter.record_filter_evaluations(3);
        assert_eq!(meter.credits(), 1 + 1 + 10 + 3);
    }
}

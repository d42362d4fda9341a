//! What goes wrong on purpose: lost, repeated and late deliveries, and a broker that is busy.
//!
//! Guarantees: the same calls with the same seed lose, repeat and delay the same copies; what did not
//!             happen is not counted; without faults no dice are thrown.
//! Elsewhere:  cut and refused connections are the emulator's business, which has some.

use std::ops::Range;
use std::time::Duration;

use crate::dice::Dice;

/// What goes wrong with deliveries from now on. The default is nothing.
///
/// The chances are between 0 and 1, and hold for each copy of a message.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Faults {
    /// The chance that a copy is lost.
    pub drop: f64,
    /// The chance that a copy comes twice.
    pub duplicate: f64,
    /// The chance that a copy comes late; each half of a pair has its own.
    pub delay: f64,
    /// How late it comes then.
    pub delay_range: Range<Duration>,
    /// The chance that a copy lets those pass that are sent within the next moment.
    pub reorder: f64,
    /// Every send is refused because the broker is busy.
    pub is_busy: bool,
    /// Every send is refused because its entity is full.
    pub is_full: bool,
    /// What all calls together may cost per second, in the credits of the service: 1 per message sent,
    /// received or peeked at, 1 per filter, 10 per management call. Up to one second's credits may be
    /// saved up. What is beyond is refused, except deliveries, which wait.
    pub credits_per_second: Option<u64>,
}

/// How long a copy is held back at most that lets others pass.
const REORDER_MAX: Duration = Duration::from_millis(20);

impl Faults {
    /// What the Standard tier allows a namespace.
    pub const STANDARD_CREDITS_PER_SECOND: u64 = 1_000;
}

/// How often something went wrong on purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Copies that were lost.
    pub dropped: u64,
    /// Copies that came twice.
    pub duplicated: u64,
    /// Copies that came late.
    pub delayed: u64,
    /// Copies that let others pass.
    pub reordered: u64,
    /// Calls that were refused because the broker was busy.
    pub throttled: u64,
    /// Times that the messages of a queue had to wait for credits.
    pub held_back: u64,
    /// Connections that were cut; only an emulator has any.
    pub connections_cut: u64,
    /// Connections that were refused; only an emulator has any.
    pub connections_refused: u64,
}

/// The faults, with the dice and what they came to.
#[derive(Debug, Clone, Default)]
pub(super) struct FaultPlan {
    pub(super) faults: Faults,
    pub(super) counts: FaultCounts,
    dice: Dice,
    bucket: Bucket,
}

/// How late one copy comes.
pub(super) type Lateness = Duration;

impl FaultPlan {
    pub(super) fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed), ..Self::default() }
    }

    /// True if a send that costs so many credits is refused now; else it is paid for.
    pub(super) fn is_send_throttled(&mut self, now: Duration, credits: u64) -> bool {
        let is_busy = self.faults.is_busy;
        self.counts.throttled += u64::from(is_busy);
        is_busy || self.is_throttled(now, credits)
    }

    /// True if a call that costs so many credits is refused now; else it is paid for.
    pub(super) fn is_throttled(&mut self, now: Duration, credits: u64) -> bool {
        let is_paid = self
            .faults
            .credits_per_second
            .is_none_or(|per_second| self.bucket.pay(now, per_second, credits));
        self.counts.throttled += u64::from(!is_paid);
        !is_paid
    }

    /// When there is credit for a delivery, if there is none now.
    pub(super) fn no_credit_until(&mut self, now: Duration) -> Option<Duration> {
        self.bucket.next_credit(now, self.faults.credits_per_second?)
    }

    /// Pays for a delivery, for which there is credit.
    pub(super) fn pay_delivery(&mut self, now: Duration) {
        if let Some(per_second) = self.faults.credits_per_second {
            self.bucket.pay(now, per_second, 1);
        }
    }

    /// What becomes of one copy: nothing, itself, or itself twice, each now or late.
    pub(super) fn copies(&mut self) -> [Option<Lateness>; 2] {
        let Faults { drop, duplicate, .. } = self.faults;
        if self.dice.chance(drop) {
            self.counts.dropped += 1;
            return [None, None];
        }
        let first = Some(self.lateness());
        if self.dice.chance(duplicate) {
            self.counts.duplicated += 1;
            return [first, Some(self.lateness())];
        }
        [first, None]
    }

    fn lateness(&mut self) -> Lateness {
        self.delay() + self.hold_back()
    }

    fn hold_back(&mut self) -> Lateness {
        if !self.dice.chance(self.faults.reorder) {
            return Duration::ZERO;
        }
        self.counts.reordered += 1;
        let width = u64::try_from(REORDER_MAX.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(1 + self.dice.below(width))
    }

    fn delay(&mut self) -> Lateness {
        if !self.dice.chance(self.faults.delay) {
            return Duration::ZERO;
        }
        self.counts.delayed += 1;
        let Range { start, end } = self.faults.delay_range;
        let width = u64::try_from(end.saturating_sub(start).as_micros()).unwrap_or(u64::MAX);
        start + Duration::from_micros(self.dice.below(width.max(1)))
    }
}

/// Credits saved up: those of one second at most.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    /// In millionths.
    level: u64,
    /// When it was filled last; a bucket that was never used is full.
    filled_at: Option<Duration>,
}

/// What the level of a bucket is counted in.
const MILLION: u64 = 1_000_000;

impl Bucket {
    /// Adds what was earned by now; returns what the bucket holds at most.
    fn fill(&mut self, now: Duration, per_second: u64) -> u64 {
        let full = per_second.saturating_mul(MILLION);
        let Some(at) = self.filled_at else {
            (self.level, self.filled_at) = (full, Some(now));
            return full;
        };
        let micros = u64::try_from(now.saturating_sub(at).as_micros()).unwrap_or(u64::MAX);
        // Whole microseconds are paid; what is over counts the next time.
        self.filled_at = Some(at.saturating_add(Duration::from_micros(micros)));
        self.level = self.level.saturating_add(micros.saturating_mul(per_second)).min(full);
        full
    }

    /// When there is one credit, if there is none now.
    fn next_credit(&mut self, now: Duration, per_second: u64) -> Option<Duration> {
        self.fill(now, per_second);
        let missing = MILLION.checked_sub(self.level).filter(|&missing| missing > 0)?;
        let at = self.filled_at.unwrap_or(now);
        Some(at.saturating_add(Duration::from_micros(missing.div_ceil(per_second.max(1)))))
    }

    fn pay(&mut self, now: Duration, per_second: u64, credits: u64) -> bool {
        let full = self.fill(now, per_second);
        // What costs more than a second's credits could never be paid; a full bucket pays for it.
        let price = credits.saturating_mul(MILLION).min(full);
        let is_paid = self.level >= price;
        if is_paid {
            self.level -= price;
        }
        is_paid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(faults: Faults) -> FaultPlan {
        FaultPlan { faults, ..FaultPlan::new(7) }
    }

    #[test]
    fn what_happens_is_counted_and_repeats_with_the_seed() {
        let delay_range = Duration::from_millis(5)..Duration::from_millis(9);
        let faults =
            Faults { drop: 0.3, duplicate: 0.3, delay: 0.5, delay_range, ..Faults::default() };
        let (mut one, mut other) = (plan(faults.clone()), plan(faults.clone()));
        let mut counts = FaultCounts::default();
        for _ in 0..1_000 {
            let copies = one.copies();
            assert_eq!(copies, other.copies());
            counts.dropped += u64::from(copies == [None, None]);
            counts.duplicated += u64::from(copies[1].is_some());
            for late in copies.into_iter().flatten().filter(|late| !late.is_zero()) {
                assert!(faults.delay_range.contains(&late), "{late:?}");
                counts.delayed += 1;
            }
        }
        assert_eq!(one.counts, counts);
        assert!((200..400).contains(&counts.dropped), "{counts:?}");
        assert!((130..300).contains(&counts.duplicated), "{counts:?}");
        assert!((350..600).contains(&counts.delayed), "{counts:?}");
    }

    #[test]
    fn without_faults_nothing_happens() {
        let mut plan = plan(Faults::default());
        assert_eq!(plan.copies(), [Some(Duration::ZERO), None]);
        assert!(!plan.is_throttled(Duration::ZERO, u64::MAX));
        assert_eq!(plan.counts, FaultCounts::default());
        assert_eq!(plan.dice, Dice::new(7), "no dice were thrown");
    }

    #[test]
    fn credits_come_back_with_time_and_are_not_saved_up_for_long() {
        let at = Duration::from_millis;
        let mut plan = plan(Faults { credits_per_second: Some(1_000), ..Faults::default() });
        assert!(!plan.is_throttled(at(0), 900), "it begins full");
        assert!(plan.is_throttled(at(0), 101));
        assert!(!plan.is_throttled(at(1), 101), "a thousandth of a second is a credit");
        assert!(!plan.is_throttled(at(60_000), 1_000));
        assert!(plan.is_throttled(at(60_000), 1), "a minute of silence saved one second's");
        assert!(!plan.is_throttled(at(61_000), u64::MAX), "nothing is too dear for ever");
        assert_eq!(plan.counts.throttled, 2);
    }

    #[test]
    fn credits_are_earned_however_often_somebody_looks() {
        let mut plan = plan(Faults { credits_per_second: Some(1_000), ..Faults::default() });
        assert!(!plan.is_throttled(Duration::ZERO, 1_000));
        let ready = plan.no_credit_until(Duration::ZERO).unwrap();
        assert_eq!(ready, Duration::from_millis(1));
        for nanos in (0..1_000_000).step_by(300) {
            assert_eq!(plan.no_credit_until(Duration::from_nanos(nanos)), Some(ready));
        }
        assert_eq!(plan.no_credit_until(ready), None);
        plan.pay_delivery(ready);
        assert_eq!(plan.no_credit_until(ready), Some(Duration::from_millis(2)));
    }
}

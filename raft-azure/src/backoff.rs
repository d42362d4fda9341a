//! Waiting between attempts: exponential, bounded, and jittered so that servers that lost the bus
//! together do not return together.
//!
//! Guarantees: the same seed gives the same waits; a wait is never above the bound.

use std::time::Duration;

/// How long to wait before the next attempt, and the one after that.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
    attempt: u32,
    state: u64,
}

impl Backoff {
    pub(crate) fn new(first: Duration, max: Duration, seed: u64) -> Self {
        Self { first, max, attempt: 0, state: seed }
    }

    /// The next wait: between half of and the whole doubled step.
    pub(crate) fn next_wait(&mut self) -> Duration {
        let step = self.first.saturating_mul(1 << self.attempt.min(20)).min(self.max);
        self.attempt = self.attempt.saturating_add(1);
        let half = step / 2;
        half + half.mul_f64(self.next_fraction())
    }

    /// Starts over: something worked.
    pub(crate) fn reset(&mut self) {
        self.attempt = 0;
    }

    /// Whether nothing failed since the last [`Backoff::reset`].
    pub(crate) fn is_fresh(&self) -> bool {
        self.attempt == 0
    }

    /// A number in `0.0..1.0` from SplitMix64, which is enough to spread servers out.
    fn next_fraction(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^= bits >> 31;
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_repeat_with_the_seed() {
        let (first, max) = (Duration::from_millis(50), Duration::from_secs(5));
        let mut backoff = Backoff::new(first, max, 7);
        let waits: Vec<_> = (0..40).map(|_| backoff.next_wait()).collect();
        for (attempt, wait) in waits.iter().enumerate() {
            let step = first.saturating_mul(1 << attempt.min(20)).min(max);
            assert!(*wait >= step / 2 && *wait <= step, "attempt {attempt}: {wait:?}");
        }
        let mut again = Backoff::new(first, max, 7);
        assert!(waits.iter().all(|wait| *wait == again.next_wait()));
        assert_ne!(waits[0], Backoff::new(first, max, 8).next_wait());
        backoff.reset();
        assert!(backoff.next_wait() <= first);
    }
}

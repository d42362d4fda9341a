//! Random numbers from a seed: the only randomness the core knows.

use std::time::Duration;

/// A splitmix64 generator (Steele, Lea and Flood 2014): small, fast, and good enough to keep two
/// candidates apart. No secret depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rng {
    state: u64,
}

impl Rng {
    /// A generator that differs with each seed and each stream.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut mixed = Self { state: stream };
        let offset = mixed.next();
        Self { state: seed ^ offset }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A duration in `min..max`, to the nanosecond.
    pub(crate) fn duration_between(&mut self, min: Duration, max: Duration) -> Duration {
        let span = u64::try_from((max - min).as_nanos()).unwrap_or(u64::MAX);
        // The bias of the remainder is below one in a billion for any time-out of less than years.
        min + Duration::from_nanos(self.next() % span.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_streams_differ() {
        let draw = |seed, stream| {
            let mut rng = Rng::new(seed, stream);
            [rng.next(), rng.next(), rng.next()]
        };
        assert_eq!(draw(7, 1), draw(7, 1));
        assert_ne!(draw(7, 1), draw(7, 2));
        assert_ne!(draw(7, 1), draw(8, 1));
    }

    #[test]
    fn a_duration_stays_in_its_range() {
        let (min, max) = (Duration::from_millis(300), Duration::from_millis(600));
        let mut rng = Rng::new(1, 1);
        let drawn: Vec<_> = (0..1000).map(|_| rng.duration_between(min, max)).collect();
        assert!(drawn.iter().all(|duration| (min..max).contains(duration)));
        let late = drawn.iter().filter(|&&duration| duration > Duration::from_millis(450)).count();
        assert!((400..600).contains(&late), "{late} of 1000 are in the upper half");
    }
}

//! Who hears whom: partitions of every shape that real networks show.
//!
//! Guarantees: messages on a link that is cut are kept, and arrive after the cut is healed.

use std::fmt;

/// One way to cut some of the links between servers, which are named by their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// These, a bit for each, and the others hear nothing of each other.
    Halves(u64),
    /// Nobody hears this one, which hears everyone.
    Mute(usize),
    /// This one hears nobody, and everybody hears it.
    Deafen(usize),
    /// These and the others hear nothing of each other, but for one server, which hears both and is heard
    /// by both.
    Bridge {
        /// The one in between.
        between: usize,
        /// One side, a bit for each.
        side: u64,
    },
}

/// How many servers a cut is chosen among: the number of cuts doubles with each.
const PLACES_MAX: usize = 10;

impl Cut {
    /// How many cuts there are among so many servers.
    pub(crate) fn count(servers: usize) -> usize {
        let servers = servers.min(PLACES_MAX);
        Self::halves(servers) + Self::one_sided(servers) + Self::bridges(servers)
    }

    /// The `index`-th of them.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    pub(crate) fn nth(servers: usize, index: usize) -> Self {
        let servers = servers.min(PLACES_MAX);
        let mut index = index;
        if index < Self::halves(servers) {
            return Self::Halves(index as u64 + 1);
        }
        index -= Self::halves(servers);
        if index < Self::one_sided(servers) {
            let place = index / 2;
            return if index.is_multiple_of(2) { Self::Mute(place) } else { Self::Deafen(place) };
        }
        index -= Self::one_sided(servers);
        assert!(index < Self::bridges(servers), "there are fewer cuts");
        let (between, first) = (index / (servers - 2), index % (servers - 2));
        // The first few of the others stand against the rest.
        let others = (0..servers).filter(|&place| place != between);
        let side = others.take(first + 1).fold(0, |side, place| side | 1 << place);
        Self::Bridge { between, side }
    }

    /// The last one stays where it is, so that no cut is counted twice.
    fn halves(servers: usize) -> usize {
        (1 << servers.saturating_sub(1)) - 1
    }

    fn one_sided(servers: usize) -> usize {
        if servers < 2 { 0 } else { 2 * servers }
    }

    fn bridges(servers: usize) -> usize {
        servers * servers.saturating_sub(2)
    }

    /// True if the server at `receiver` hears the one at `sender`.
    pub(crate) fn hears(self, receiver: usize, sender: usize) -> bool {
        match self {
            Self::Halves(side) => is_among(side, receiver) == is_among(side, sender),
            Self::Mute(place) => sender != place,
            Self::Deafen(place) => receiver != place,
            Self::Bridge { between, side } => {
                receiver == between
                    || sender == between
                    || is_among(side, receiver) == is_among(side, sender)
            }
        }
    }

    /// Writes its name in schedules: `cut s1 s4`, `mute s2`, `deafen s2`, `bridge s3 s1 s2`.
    pub(crate) fn write_name<N: fmt::Display>(
        self,
        f: &mut dyn fmt::Write,
        servers: usize,
        name: impl Fn(usize) -> N,
    ) -> fmt::Result {
        let side = match self {
            Self::Mute(place) => return write!(f, "mute {}", name(place)),
            Self::Deafen(place) => return write!(f, "deafen {}", name(place)),
            Self::Halves(side) => {
                f.write_str("cut")?;
                side
            }
            Self::Bridge { between, side } => {
                write!(f, "bridge {}", name(between))?;
                side
            }
        };
        let mut places = (0..servers).filter(|&place| is_among(side, place));
        places.try_for_each(|place| write!(f, " {}", name(place)))
    }

    /// A number that no other cut has.
    pub(crate) fn number(self) -> u64 {
        match self {
            Self::Halves(side) => side << 2,
            Self::Mute(place) => (place as u64) << 2 | 1,
            Self::Deafen(place) => (place as u64) << 2 | 2,
            Self::Bridge { between, side } => (side << 8 | between as u64) << 2 | 3,
        }
    }
}

fn is_among(side: u64, place: usize) -> bool {
    place < 64 && side >> place & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn all(servers: usize) -> impl Iterator<Item = Cut> {
        (0..Cut::count(servers)).map(move |index| Cut::nth(servers, index))
    }

    #[test]
    fn every_cut_separates_someone_and_none_is_there_twice() {
        for servers in 1..=PLACES_MAX {
            let mut numbers = BTreeSet::new();
            for cut in all(servers) {
                assert!(numbers.insert(cut.number()), "{cut:?} of {servers}");
                let pairs = (0..servers).flat_map(|one| (0..servers).map(move |two| (one, two)));
                let mut others = pairs.filter(|(one, two)| one != two);
                assert!(others.any(|(one, two)| !cut.hears(one, two)), "{cut:?} of {servers}");
            }
        }
        assert_eq!(Cut::count(1), 0, "one server cannot be cut off");
    }

    #[test]
    fn a_one_sided_cut_leaves_the_other_direction() {
        assert!(!Cut::Mute(1).hears(0, 1) && Cut::Mute(1).hears(1, 0));
        assert!(Cut::Deafen(1).hears(0, 1) && !Cut::Deafen(1).hears(1, 0));
    }

    #[test]
    fn a_bridge_hears_both_sides_that_do_not_hear_each_other() {
        let cut = Cut::Bridge { between: 2, side: 0b00011 };
        assert!(cut.hears(2, 0) && cut.hears(4, 2) && cut.hears(0, 1) && cut.hears(3, 4));
        assert!(!cut.hears(0, 3) && !cut.hears(4, 1));
    }

    #[test]
    fn names_say_who_is_cut_off() {
        let name = |cut: Cut| {
            let mut name = String::new();
            cut.write_name(&mut name, 5, |place| format!("s{}", place + 1)).unwrap();
            name
        };
        assert_eq!(name(Cut::Halves(0b1001)), "cut s1 s4");
        assert_eq!(name(Cut::Mute(1)), "mute s2");
        assert_eq!(name(Cut::Deafen(1)), "deafen s2");
        assert_eq!(name(Cut::Bridge { between: 2, side: 0b11 }), "bridge s3 s1 s2");
    }
}

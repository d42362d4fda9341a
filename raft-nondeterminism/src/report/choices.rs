//! A histogram of choices: how often which kind was made, and among how many alternatives.
//!
//! Guarantees: it follows from the tapes of the runs alone, so it does not depend on the number of
//!             workers, and costs nothing unless it is asked for.

use std::collections::BTreeMap;
use std::fmt;

use crate::event::EventClass;
use crate::oracle::Choice;

/// How often each kind of choice was made: see [`Explorer::count_choices`](crate::Explorer::count_choices).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChoiceCounts {
    /// For each class, the events that were taken.
    events: [ChoiceCount; EventClass::COUNT],
    /// For each label, the numbers that were taken.
    values: BTreeMap<&'static str, ChoiceCount>,
}

/// How often one kind of choice was made, and how many alternatives there were, itself with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChoiceCount {
    count: u64,
    fewest: usize,
    most: usize,
    total: u64,
    /// How often there were at most 1, 2, 4, 8 and so on, and more than half of that.
    buckets: Vec<u64>,
}

impl ChoiceCount {
    fn add(&mut self, arity: usize) {
        self.fewest = if self.count == 0 { arity } else { self.fewest.min(arity) };
        self.most = self.most.max(arity);
        self.count += 1;
        self.total += arity as u64;
        let bucket = arity.next_power_of_two().ilog2() as usize;
        if bucket >= self.buckets.len() {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
    }

    /// How often it was made.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The fewest and the most alternatives there were.
    #[must_use]
    pub fn alternatives(&self) -> (usize, usize) {
        (self.fewest, self.most)
    }

    /// How many alternatives there were on average, rounded down; 0 if it was never made.
    #[must_use]
    pub fn average(&self) -> u64 {
        self.total.checked_div(self.count).unwrap_or_default()
    }

    /// How often there were how many alternatives: powers of two, each with how often there were at most
    /// so many, but more than the power before.
    pub fn histogram(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let powers = self.buckets.iter().enumerate().map(|(power, &count)| (1 << power, count));
        powers.filter(|(_, count)| *count > 0)
    }
}

impl ChoiceCounts {
    /// Adds the choices of a run.
    pub(crate) fn add(&mut self, tape: &[Choice]) {
        for choice in tape {
            match *choice {
                Choice::Event { pick, arity } => self.events[pick.class as usize].add(arity),
                Choice::Value { label, arity, .. } => {
                    self.values.entry(label).or_default().add(arity);
                }
            }
        }
    }

    /// Every kind of choice that was made, as a schedule calls it: the classes of events, which were
    /// chosen among all that could happen, then what else was left open, as `choose saves_kept`.
    pub fn iter(&self) -> impl Iterator<Item = (String, &ChoiceCount)> {
        let events = EventClass::ALL
            .iter()
            .map(|&class| (class.name().to_owned(), &self.events[class as usize]));
        let values = self.values.iter().map(|(label, count)| (format!("choose {label}"), count));
        events.chain(values).filter(|(_, it)| it.count > 0)
    }
}

/// Coyote's way of a section and its lines.
impl fmt::Display for ChoiceCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "... Scheduling choices, and among how many alternatives:")?;
        for (name, it) in self.iter() {
            let ((fewest, most), average) = (it.alternatives(), it.average());
            let count = it.count;
            write!(f, "..... {name}: {count}, {fewest} (min), {average} (avg), {most} (max);")?;
            for (place, (power, count)) in it.histogram().enumerate() {
                let comma = if place == 0 { "" } else { "," };
                write!(f, "{comma} ≤{power}: {count}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Pick;

    #[test]
    fn choices_are_counted_by_kind_and_by_the_number_of_alternatives() {
        let event = |class, arity| Choice::Event { pick: Pick { class, index: 0 }, arity };
        let value = |arity| Choice::Value { label: "saves_kept", value: 0, arity };
        let mut counts = ChoiceCounts::default();
        counts.add(&[event(EventClass::Timeout, 5), event(EventClass::Deliver, 1), value(2)]);
        counts.add(&[event(EventClass::Timeout, 8), event(EventClass::Timeout, 9)]);
        let expected = "\
... Scheduling choices, and among how many alternatives:
..... deliver: 1, 1 (min), 1 (avg), 1 (max); ≤1: 1
..... timeout: 3, 5 (min), 7 (avg), 9 (max); ≤8: 2, ≤16: 1
..... choose saves_kept: 1, 2 (min), 2 (avg), 2 (max); ≤2: 1
";
        assert_eq!(counts.to_string(), expected);
    }
}

//! A trace as a log with vector clocks, which ShiViz draws and compares.
//!
//! Guarantees: one event happened before another in the log's clocks if and only if it could have known
//!             of it through messages that arrived; twins arrive with the clock of their original.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::escape;
use crate::trace::{Carried, Fate, MessageId, Trace};

/// What ShiViz is to be told in its field "Log parsing regular expression".
pub const SHIVIZ_EXPRESSION: &str = r"(?<host>\S+) (?<clock>\{.*\})\n(?<event>.*)";

/// The log, with the expression that reads it in its first line.
#[must_use]
pub fn shiviz(trace: &Trace) -> String {
    let names: Vec<String> = trace.lanes.iter().map(|lane| host(&lane.name)).collect();
    let mut clocks = vec![vec![0_u64; names.len()]; names.len()];
    // The clock that a message carries.
    let mut carried: BTreeMap<MessageId, Vec<u64>> = BTreeMap::new();
    let mut out = format!("{SHIVIZ_EXPRESSION}\n\n");
    let mut write = |clocks: &mut Vec<Vec<u64>>, lane: usize, event: &str| {
        clocks[lane][lane] += 1;
        let known = names.iter().zip(&clocks[lane]).filter(|(_, count)| **count > 0);
        let known: Vec<_> = known.map(|(name, count)| format!("\"{name}\":{count}")).collect();
        let event = escape::line(event);
        let _ = writeln!(out, "{} {{{}}}\n{event}", names[lane], known.join(", "));
    };
    for lane in 0..names.len() {
        write(&mut clocks, lane, "start");
    }
    for message in &trace.sent {
        carried.insert(message.id, clocks[message.from].clone());
    }
    for step in &trace.steps {
        match step.carried {
            // What the network does is no event of anyone who takes part.
            Some(Carried { message, fate: Fate::Doubled }) => {
                let clock = carried.get(&message).cloned().unwrap_or_default();
                carried.extend(step.sent.iter().map(|twin| (twin.id, clock.clone())));
                continue;
            }
            Some(Carried { fate: Fate::Lost, .. }) => continue,
            Some(Carried { message, fate: Fate::Delivered }) => {
                if let (Some(lane), Some(clock)) = (step.lane, carried.get(&message)) {
                    for (mine, theirs) in clocks[lane].iter_mut().zip(clock) {
                        *mine = (*mine).max(*theirs);
                    }
                }
            }
            None => {}
        }
        let Some(lane) = step.lane else { continue };
        write(&mut clocks, lane, &format!("{} {}", step.number, step.name));
        for message in &step.sent {
            carried.insert(message.id, clocks[message.from].clone());
        }
    }
    out
}

/// A name without what would end it.
fn host(name: &str) -> String {
    let is_plain = |letter: char| letter.is_alphanumeric() || "-_.#".contains(letter);
    name.chars().map(|letter| if is_plain(letter) { letter } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::golden;
    use crate::trace::example::{hostile, two_leaders};

    #[test]
    fn clocks_tell_who_could_know_of_what() {
        golden::check("two-leaders.shiviz.txt", &shiviz(&two_leaders()));
    }

    #[test]
    fn every_event_has_two_lines_whatever_its_name_is() {
        let lines = |out: String| out.lines().count();
        assert_eq!(lines(shiviz(&hostile())), lines(shiviz(&two_leaders())));
    }
}

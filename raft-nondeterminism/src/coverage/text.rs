//! Coverage as text, with the sections of Coyote's `NAME.coverage.txt`.

use std::fmt;

use super::names::shown;
use super::{Coverage, Meeting, percent};

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.plan.is_empty() {
            return header(f, "Total actor coverage: N/A");
        }
        header(f, &format!("Total actor coverage: {}%", percent(self.total_covered())))?;
        for (kind, declared) in self.plan.kinds.iter().enumerate() {
            header(f, &format!("StateMachine: {}", shown(&declared.name)))?;
            writeln!(f, "Event coverage: {}%", percent(self.covered(kind, None)))?;
            for state in 0..declared.states.len() {
                self.write_state(f, kind, state)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl Coverage {
    fn write_state(&self, f: &mut fmt::Formatter<'_>, kind: usize, state: usize) -> fmt::Result {
        let declared = &self.plan.kinds[kind];
        let (covered, all) = self.covered(kind, Some(state));
        let is_uncovered = all > 0 && covered == 0;
        let name = shown(&declared.states[state]);
        writeln!(f)?;
        writeln!(f, "\tState: {name}{}", if is_uncovered { " is uncovered" } else { "" })?;
        if all == 0 {
            writeln!(f, "\t\tState has no expected events, so coverage is 100%")?;
        } else if !is_uncovered {
            writeln!(f, "\t\tState event coverage: {}%", percent((covered, all)))?;
        }
        let events = |is_meant: &dyn Fn(usize) -> bool| {
            let meant = (0..declared.events.len()).filter(|&event| is_meant(event));
            let mut names: Vec<_> = meant.map(|event| shown(&declared.events[event])).collect();
            names.sort_unstable();
            names.join(", ")
        };
        let count = |event, meeting| self.count(kind, state, event, meeting);
        let is_ignored =
            |event| count(event, Meeting::Ignored) > 0 && count(event, Meeting::Handled) == 0;
        let is_missing =
            |event| self.is_declared(kind, state, event) && self.received(kind, state, event) == 0;
        list(f, "Events received", &events(&|event| self.received(kind, state, event) > 0))?;
        list(f, "Events only ignored", &events(&is_ignored))?;
        list(f, "Events sent", &events(&|event| count(event, Meeting::Sent) > 0))?;
        list(f, "Events not covered", &events(&is_missing))?;
        let states = |is_meant: &dyn Fn(usize) -> bool| {
            let meant = (0..declared.states.len()).filter(|&other| is_meant(other));
            let mut names: Vec<_> = meant.map(|other| shown(&declared.states[other])).collect();
            names.sort_unstable();
            names.join(", ")
        };
        list(f, "Previous states", &states(&|other| self.move_count(kind, other, state) > 0))?;
        list(f, "Next states", &states(&|other| self.move_count(kind, state, other) > 0))
    }
}

fn header(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    writeln!(f, "{text}\n{}", "=".repeat(text.chars().count()))
}

fn list(f: &mut fmt::Formatter<'_>, title: &str, names: &str) -> fmt::Result {
    if names.is_empty() { Ok(()) } else { writeln!(f, "\t\t{title}: {names}") }
}

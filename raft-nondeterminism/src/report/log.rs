//! A trace as Coyote's readable log: a line for whatever an actor does.

use std::fmt::Write as _;

use super::escape;
use crate::trace::{Carried, Fate, LaneState, Trace};

/// The log.
#[must_use]
pub fn readable_log(trace: &Trace) -> String {
    let mut out = String::new();
    let name = |lane: usize| escape::line(&trace.lanes[lane].name);
    for lane in 0..trace.lanes.len() {
        let _ = writeln!(out, "<CreateLog> {} was created.", name(lane));
        let role = in_state(&trace.lanes[lane].start);
        if !role.is_empty() {
            let _ = writeln!(
                out,
                "<StateLog> {} enters state {}.",
                name(lane),
                &role[" in state ".len()..]
            );
        }
    }
    let labels = trace.flights();
    let label = |id| {
        let place = labels.binary_search_by_key(&id, |flight| flight.message.id);
        place.map_or(String::new(), |place| escape::line(&labels[place].message.label))
    };
    for step in &trace.steps {
        let before = step.lane.map(|lane| in_state(trace.state_before(lane, step.number)));
        let who = step.lane.map_or("everyone".to_owned(), name);
        let state = before.unwrap_or_default();
        let _ = match step.carried {
            Some(Carried { message, fate: Fate::Delivered }) => {
                writeln!(out, "<DequeueLog> {who} dequeued event '{}'{state}.", label(message))
            }
            Some(Carried { message, fate: Fate::Lost }) => {
                writeln!(out, "<DropLog> event '{}' to {who} was lost.", label(message))
            }
            Some(Carried { message, fate: Fate::Doubled }) => {
                writeln!(out, "<DuplicateLog> event '{}' to {who} was duplicated.", label(message))
            }
            None => writeln!(out, "<EventLog> {who}{state}: {}.", escape::line(&step.name)),
        };
        for change in &step.changes {
            let before = trace.state_before(change.lane, step.number);
            if before.role != change.state.role {
                let (from, to) = (escape::line(&before.role), escape::line(&change.state.role));
                let who = name(change.lane);
                let _ = writeln!(
                    out,
                    "<GotoLog> {who} is transitioning from state '{from}' to state '{to}'."
                );
            }
        }
        for message in step.sent.iter().filter(|message| message.twin_of.is_none()) {
            let state = in_state(trace.state_after(message.from, step.number));
            let _ = writeln!(
                out,
                "<SendLog> {}{state} sent event '{}' to {}.",
                name(message.from),
                escape::line(&message.label),
                name(message.to)
            );
        }
    }
    if let Some(violation) = &trace.violation {
        let _ = writeln!(out, "<ErrorLog> {}", escape::line(&violation.to_string()));
        let _ = writeln!(
            out,
            "<StrategyLog> Found bug using '{}' strategy.",
            escape::line(&trace.strategy)
        );
    }
    out
}

/// ` in state 'follower'`, if there is a state to speak of.
fn in_state(state: &LaneState) -> String {
    if state.role.is_empty() {
        return String::new();
    }
    format!(" in state '{}'", escape::line(&state.role))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::golden;
    use crate::trace::example::{hostile, two_leaders};

    #[test]
    fn a_run_reads_as_coyote_tells_it() {
        golden::check("two-leaders.log.txt", &readable_log(&two_leaders()));
    }

    #[test]
    fn every_entry_is_one_line_whatever_the_names_are() {
        assert!(readable_log(&hostile()).lines().all(|line| line.starts_with('<')));
    }
}

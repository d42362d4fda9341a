//! A trace as Mermaid, which issues and Markdown documents show as pictures.
//!
//! Guarantees: what is written is read by Mermaid whatever the text of the trace is.
//! Relies on:  the reader of a large picture raising Mermaid's `maxTextSize`; a shrunk run is small.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::escape;
use crate::trace::{Carried, Fate, Flight, MessageId, Step, Trace};

/// Who said what to whom, as a `sequenceDiagram`: a message is drawn where it arrives or is lost.
#[must_use]
pub fn mermaid_sequence(trace: &Trace) -> String {
    let mut out = String::from("sequenceDiagram\n");
    for (place, lane) in trace.lanes.iter().enumerate() {
        let kind = if lane.kind == "client" { "actor" } else { "participant" };
        let _ = writeln!(out, "    {kind} L{place} as {}", text(&lane.name));
    }
    let flights = trace.flights();
    let by_id: BTreeMap<MessageId, &Flight<'_>> =
        flights.iter().map(|flight| (flight.message.id, flight)).collect();
    for step in &trace.steps {
        sequence_step(&mut out, trace, step, &by_id);
    }
    if let Some(violation) = &trace.violation
        && !trace.lanes.is_empty()
    {
        let (property, message) = (text(&violation.property), text(&violation.message));
        let _ = writeln!(out, "    note over {}: {property}: {message}", everyone(trace));
    }
    out
}

/// All lanes, as a note stands over them.
fn everyone(trace: &Trace) -> String {
    match trace.lanes.len() {
        0 | 1 => "L0".to_owned(),
        lanes => format!("L0,L{}", lanes - 1),
    }
}

fn sequence_step(
    out: &mut String,
    trace: &Trace,
    step: &Step,
    flights: &BTreeMap<MessageId, &Flight<'_>>,
) {
    let number = step.number;
    let flight = step.carried.and_then(|Carried { message, .. }| flights.get(&message));
    match (flight, step.carried) {
        (Some(flight), Some(Carried { fate, .. })) => {
            let message = flight.message;
            let (from, to, label) = (message.from, message.to, text(&message.label));
            let term = message.term.map_or(String::new(), |term| format!(" @{term}"));
            let _ = match fate {
                Fate::Delivered if message.twin_of.is_some() => {
                    writeln!(out, "    L{from}-->>L{to}: {number} {label}{term} (twin)")
                }
                Fate::Delivered => writeln!(out, "    L{from}->>L{to}: {number} {label}{term}"),
                Fate::Lost => writeln!(out, "    L{from}-xL{to}: {number} {label}{term} lost"),
                Fate::Doubled => {
                    writeln!(out, "    note over L{from},L{to}: {number} {label}{term} doubled")
                }
            };
        }
        (None, _) | (_, None) => {
            let over = step.lane.map_or_else(|| everyone(trace), |lane| format!("L{lane}"));
            if !trace.lanes.is_empty() {
                let _ = writeln!(out, "    note over {over}: {number} {}", text(&step.name));
            }
        }
    }
    for change in &step.changes {
        let role_before = trace.state_before(change.lane, number);
        let (before, after) = (role_before, &change.state);
        if before.role != after.role {
            let _ = writeln!(
                out,
                "    note right of L{}: {}",
                change.lane,
                role(after.role.as_str(), after.term)
            );
        }
    }
}

fn role(role: &str, term: Option<u64>) -> String {
    let role = text(if role.is_empty() { "no role" } else { role });
    term.map_or(role.clone(), |term| format!("{role} {term}"))
}

/// Which role followed on which, and how often, as a `stateDiagram-v2`.
#[must_use]
pub fn mermaid_states(trace: &Trace) -> String {
    let roles = trace.all_roles();
    let place = |role: &str| roles.iter().position(|known| *known == role);
    let mut counts: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    for step in &trace.steps {
        for change in &step.changes {
            let before = place(&trace.state_before(change.lane, step.number).role);
            if let (Some(before), Some(after)) = (before, place(&change.state.role))
                && before != after
            {
                *counts.entry((before, after)).or_default() += 1;
            }
        }
    }
    let mut out = String::from("stateDiagram-v2\n");
    for (place, role) in roles.iter().enumerate() {
        let _ = writeln!(out, "    state \"{}\" as R{place}", text(role));
    }
    let starts = trace.lanes.iter().filter_map(|lane| place(&lane.start.role));
    let starts: std::collections::BTreeSet<_> = starts.collect();
    for start in starts {
        let _ = writeln!(out, "    [*] --> R{start}");
    }
    for ((before, after), count) in counts {
        let _ = writeln!(out, "    R{before} --> R{after}: {}", escape::counted(count, "time"));
    }
    out
}

/// Text that means nothing to Mermaid: what might is written as its number.
fn text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in escape::line(text).chars() {
        // Mermaid reads `#59;` as the letter with this number. A word that it knows, such as `end`, is
        // only one at the start of a line, where ours never stand.
        match letter {
            '#' | ';' | ':' | '<' | '>' | '"' | '\'' | '&' | '%' | '{' | '}' | '`' | '$' | '\\' => {
                let _ = write!(escaped, "#{};", u32::from(letter));
            }
            letter => escaped.push(letter),
        }
    }
    if escaped.trim().is_empty() { "–".to_owned() } else { escaped }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::golden;
    use crate::trace::example::{hostile, two_leaders};

    #[test]
    fn a_run_is_a_conversation() {
        golden::check("two-leaders.sequence.mmd", &mermaid_sequence(&two_leaders()));
    }

    #[test]
    fn roles_follow_on_each_other() {
        golden::check("two-leaders.states.mmd", &mermaid_states(&two_leaders()));
    }

    #[test]
    fn no_text_of_a_trace_means_anything_to_mermaid() {
        let out = mermaid_sequence(&hostile()) + &mermaid_states(&hostile());
        golden::check("hostile.sequence.mmd", &mermaid_sequence(&hostile()));
        golden::check("hostile.states.mmd", &mermaid_states(&hostile()));
        for part in ["<", "`", "\u{2028}", "%%", "throw new Error('"] {
            assert!(!out.contains(part), "{part} in {out}");
        }
        let empty = crate::trace::TraceRecorder::new().finish(None);
        assert_eq!(mermaid_sequence(&empty), "sequenceDiagram\n");
    }
}

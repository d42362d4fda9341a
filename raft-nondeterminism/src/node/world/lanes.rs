//! What a reader of a trace sees of the nodes: what they call their state, and the fields that `Debug`
//! prints of them.
//!
//! Guarantees: asked for only if a trace is recorded; a node that is down shows what is on its disk.

use super::{Event, Host, NodeWorld};
use crate::event::EventClass;
use crate::node::Node;
use crate::trace::{Detail, Lane, LaneState};

impl<N: Node> NodeWorld<N> {
    pub(super) fn all_lanes(&self) -> Vec<Lane> {
        let lane = |(place, host): (usize, &Host<N>)| Lane {
            name: host.name.to_string(),
            kind: "node".to_owned(),
            start: self.state_of(place, host),
        };
        self.hosts.iter().enumerate().map(lane).collect()
    }

    fn state_of(&self, place: usize, host: &Host<N>) -> LaneState {
        let node = host.node.as_ref().unwrap_or(&host.disk);
        let text = format!("{node:?}");
        let mut details = fields(&text);
        let summary = if details.is_empty() { text } else { String::new() };
        let mut tell = |key: &str, value: String| {
            if !value.is_empty() {
                details.push(Detail { key: key.to_owned(), value });
            }
        };
        tell("timers", host.timers.keys().copied().collect::<Vec<_>>().join(" "));
        let unsynced = host.unsynced.len();
        tell("unsynced", if unsynced > 0 { unsynced.to_string() } else { String::new() });
        tell("paused", if host.is_paused { "yes".to_owned() } else { String::new() });
        if let Some((cut, _)) = self.cut {
            let unheard = (0..self.hosts.len()).filter(|&it| it != place && !cut.hears(place, it));
            let names: Vec<_> = unheard.map(|it| &*self.hosts[it].name).collect();
            tell("deaf to", names.join(" "));
        }
        let role = if host.is_up() { node.state_name() } else { "down" };
        LaneState {
            role: role.to_owned(),
            is_up: host.is_up(),
            summary,
            details,
            ..LaneState::default()
        }
    }
}

impl Event {
    /// Its class.
    pub(super) fn class(self) -> EventClass {
        match self {
            Self::Deliver(_) => EventClass::Deliver,
            Self::Drop(_) => EventClass::Drop,
            Self::Duplicate(_) => EventClass::Duplicate,
            Self::Timeout(..) => EventClass::Timeout,
            Self::Request(_) => EventClass::Client,
            Self::Crash(_) | Self::Pause(_) => EventClass::Crash,
            Self::Restart(_) | Self::Resume(_) => EventClass::Restart,
            Self::Cut(_) | Self::Heal => EventClass::Partition,
        }
    }
}

/// The fields of what `Debug` derives for a struct: `Counter { last: 1, mine: [2, 3] }`. None, if it is
/// anything else.
fn fields(text: &str) -> Vec<Detail> {
    let inside = text.split_once(" { ").and_then(|(name, rest)| {
        let is_name = name.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
        rest.strip_suffix(" }").filter(|_| is_name)
    });
    let parts = inside.map(split).unwrap_or_default();
    let fields = parts.iter().map(|part| {
        let (key, value) = part.split_once(": ")?;
        Some(Detail { key: key.to_owned(), value: value.to_owned() })
    });
    fields.collect::<Option<_>>().unwrap_or_default()
}

/// Splits at the commas that are in no bracket and in no text.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_usize);
    let (mut is_text, mut is_escaped) = (false, false);
    for (place, letter) in text.char_indices() {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' if is_text => is_escaped = true,
            '"' => is_text = !is_text,
            _ if is_text => {}
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(text[start..place].trim());
                start = place + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_a_struct_are_found_and_nothing_else_is_taken_for_fields() {
        let found = |text: &str| {
            let pairs = fields(text).into_iter().map(|it| format!("{}={}", it.key, it.value));
            pairs.collect::<Vec<_>>()
        };
        let text =
            r#"Node { last: 1, mine: [2, 3], inner: In { a: 1, b: (2, 3) }, said: "a, \" { b" }"#;
        let expected =
            ["last=1", "mine=[2, 3]", "inner=In { a: 1, b: (2, 3) }", r#"said="a, \" { b""#];
        assert_eq!(found(text), expected);
        for text in ["Unit", "Tuple(1, 2)", "{1: 2}", "", "Odd { so so }", "7"] {
            assert!(found(text).is_empty(), "{text}");
        }
    }
}

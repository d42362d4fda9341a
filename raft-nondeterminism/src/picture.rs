//! Pictures of a violation: who did what when, and which operation cannot be explained.
//!
//! Guarantees: the text is at most [`COLUMNS`] wide as far as the lanes go; no two bars overlap, and
//!             each is as long as what is written on it; the SVG needs no other file.
//! Elsewhere:  what is worth drawing was chosen in [`crate::linearizability`].
//!
//! Time is drawn as order: two events are next to each other if nothing that is drawn happened between
//! them, however long that took.

mod layout;
mod svg;

use std::fmt::Write as _;

use crate::history::{Action, Operation};
use crate::linearizability::{Possible, Violation};
use layout::{Bar, Layout, Role};

pub use svg::svg;

/// How wide a terminal has to be.
pub const COLUMNS: usize = 100;

/// Draws a violation for a terminal.
#[must_use]
pub fn text(violation: &Violation) -> String {
    let layout = Layout::new(violation, COLUMNS);
    let mut text = format!("{}\n{}\n\n", headline(violation), reason(violation));
    for (lane, name) in layout.lanes.iter().enumerate() {
        let mut columns = vec![' '; layout.width];
        for bar in layout.bars.iter().filter(|bar| bar.lane == lane) {
            draw(&mut columns, bar);
        }
        for mark in layout.marks.iter().filter(|mark| mark.lane == lane) {
            columns[mark.column] = '!';
        }
        let columns: String = columns.into_iter().collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:>width$}  {}", columns.trim_end(), width = layout.name_width);
    }
    text.push('\n');
    for possible in &violation.possible {
        let _ = writeln!(text, "{}", held(possible));
    }
    for bar in &layout.bars {
        let operation = bar.operation;
        let what = match bar.role {
            Role::Impossible => "impossible",
            Role::Core => "needed",
            Role::Around => "meanwhile",
        };
        let (process, lines) = (&operation.process, lines(operation));
        let _ = writeln!(text, "{what:>10}: {}, process {process}, {lines}", bar.label);
    }
    for mark in &layout.marks {
        let _ = writeln!(text, "         !: {}, line {}", mark.label, mark.line);
    }
    if let Some(note) = not_drawn(layout.left_out + violation.left_out) {
        let _ = writeln!(text, "{note}");
    }
    text
}

fn not_drawn(operations: usize) -> Option<String> {
    match operations {
        0 => None,
        1 => Some("1 other operation of this key is not drawn".to_owned()),
        _ => Some(format!("{operations} other operations of this key are not drawn")),
    }
}

/// `[write 3──]` took effect, `[write 3┄┄┄` nobody knows, `[read → 1══]✗` cannot be.
fn draw(columns: &mut [char], bar: &Bar<'_>) {
    let fill = match (bar.role, bar.is_open) {
        (Role::Impossible, _) => '═',
        (_, true) => '┄',
        (_, false) => '─',
    };
    columns[bar.from..=bar.to].fill(fill);
    columns[bar.from] = '[';
    for (column, letter) in columns[bar.from + 1..].iter_mut().zip(bar.label.chars()) {
        *column = letter;
    }
    if !bar.is_open {
        columns[bar.to] = ']';
    }
    if bar.role == Role::Impossible
        && let Some(column) = columns.get_mut(bar.to + 1)
    {
        *column = '✗';
    }
}

fn headline(violation: &Violation) -> String {
    let Violation { key, impossible, .. } = violation;
    let register = match key.is_null() {
        true => String::new(),
        false => format!(" key {},", short(&key.to_string())),
    };
    let (what, process) = (short(&impossible.to_string()), &impossible.process);
    format!(
        "not linearizable:{register} `{what}` of process {process} ({}) cannot be explained",
        lines(impossible)
    )
}

fn reason(violation: &Violation) -> String {
    let needs = match &violation.impossible.action {
        Action::Read(found) => {
            format!("It found {}", short(&found.clone().unwrap_or_default().to_string()))
        }
        Action::Cas { expected, .. } => format!("It found {}", short(&expected.to_string())),
        Action::Append(_) => "It found something to append to".to_owned(),
        Action::Write(_) => "It took effect".to_owned(),
    };
    format!("{needs}, which no order of these operations allows:")
}

/// One line on what the register may have held.
fn held(possible: &Possible) -> String {
    let value = short(&possible.to_string());
    match &possible.writer {
        None => format!("just before, it may have held {value}, as at the beginning"),
        Some(writer) => {
            let (process, lines) = (&writer.process, lines(writer));
            let what = short(&writer.to_string());
            let by = format!("`{what}` of process {process}, {lines}");
            match possible.is_under_way {
                true => format!("or {value}, if that took effect in time ({by})"),
                false => format!("just before, it may have held {value} ({by})"),
            }
        }
    }
}

fn lines(operation: &Operation) -> String {
    match operation.completed_line {
        Some(completed) => format!("lines {} and {completed}", operation.line),
        None => format!("line {}", operation.line),
    }
}

/// Text that is not too long for a bar.
fn short(text: &str) -> String {
    const LETTERS_MAX: usize = 24;
    match text.chars().count() > LETTERS_MAX {
        // A long list differs at its end.
        true => {
            let letters: Vec<_> = text.chars().collect();
            let begin: String = letters[..LETTERS_MAX / 2].iter().collect();
            let end: String = letters[letters.len() - LETTERS_MAX / 2 + 1..].iter().collect();
            format!("{begin}…{end}")
        }
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_keeps_both_ends() {
        assert_eq!(short("write 3"), "write 3");
        assert_eq!(short("read → [1,2,3,4,5,6,7,8,9,10,11]"), "read → [1,2,…,8,9,10,11]");
    }
}

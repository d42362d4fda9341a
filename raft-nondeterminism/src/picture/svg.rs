//! The picture as one SVG file.

use std::fmt::Write as _;

use super::layout::{Bar, Layout, Role};
use super::{headline, held, lines, not_drawn, reason};
use crate::linearizability::Violation;
use crate::report::escape::markup;

/// Columns that fit without scrolling on most screens.
const COLUMNS: usize = 150;
/// A letter of the monospaced font at its size, with some room for fonts that are wider.
const LETTER: usize = 9;
const LANE: usize = 40;
const BAR: usize = 26;
const MARGIN: usize = 24;
const LINE: usize = 22;

/// Draws a violation as an SVG that needs no other file.
#[must_use]
pub fn svg(violation: &Violation) -> String {
    let layout = Layout::new(violation, COLUMNS);
    let left = MARGIN + (layout.name_width + 2) * LETTER;
    let top = MARGIN + 3 * LINE;
    let bottom = top + layout.lanes.len() * LANE;
    let headline = headline(violation);
    let mut notes: Vec<_> = violation.possible.iter().map(held).collect();
    notes.extend(layout.marks.iter().map(|mark| format!("! {}, line {}", mark.label, mark.line)));
    notes.extend(not_drawn(layout.left_out + violation.left_out));
    let texts = notes.iter().chain([&headline]).map(|text| text.chars().count() * LETTER);
    let width = texts.max().unwrap_or(0).max(LEGEND_WIDTH) + 2 * MARGIN;
    let width = width.max(left + layout.width * LETTER + MARGIN);
    let height = bottom + (notes.len() + 2) * LINE + MARGIN + LINE / 2;

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">\n<style>{STYLE}</style>\n\
         <rect class=\"page\" width=\"{width}\" height=\"{height}\"/>\n"
    );
    write_text(&mut svg, MARGIN, MARGIN + LINE / 2, "headline", &headline);
    write_text(&mut svg, MARGIN, MARGIN + LINE / 2 + LINE, "note", &reason(violation));
    for (lane, name) in layout.lanes.iter().enumerate() {
        let middle = top + lane * LANE + LANE / 2;
        let end = left + layout.width * LETTER;
        let _ = writeln!(
            svg,
            "<line class=\"lane\" x1=\"{left}\" y1=\"{middle}\" x2=\"{end}\" y2=\"{middle}\"/>"
        );
        write_text(&mut svg, MARGIN, middle + 5, "name", name);
    }
    for mark in &layout.marks {
        let x = left + mark.column * LETTER + LETTER / 2;
        let _ = writeln!(
            svg,
            "<line class=\"mark\" x1=\"{x}\" y1=\"{top}\" x2=\"{x}\" y2=\"{bottom}\"/>"
        );
        write_text(&mut svg, x + 3, top + mark.lane * LANE + LANE / 2 - 4, "sign", "!");
    }
    for bar in &layout.bars {
        draw(&mut svg, bar, left, top, bottom);
    }
    for (number, note) in notes.iter().enumerate() {
        write_text(&mut svg, MARGIN, bottom + (number + 1) * LINE, "note", note);
    }
    draw_legend(&mut svg, bottom + (notes.len() + 1) * LINE + LINE / 2);
    svg.push_str("</svg>\n");
    svg
}

const STYLE: &str = "
text { font: 14px 'DejaVu Sans Mono', 'Menlo', 'Consolas', monospace; fill: #1f2933; }
.page { fill: #ffffff; } .headline { font-weight: bold; } .note { fill: #3e4c59; } .name { fill: #52606d; }
.lane { stroke: #e4e7eb; } .mark { stroke: #8d6cc8; stroke-dasharray: 2 3; } .sign { fill: #6b46c1; }
.ok rect { fill: #d5ecd4; stroke: #3b7f36; } .info rect { fill: #fff3d1; stroke: #b7791f; stroke-dasharray: 5 3; }
.impossible rect { fill: #fbd5d2; stroke: #c0211a; stroke-width: 2.5; } .impossible text { font-weight: bold; fill: #8e1410; }
.around { opacity: 0.5; } .moment { stroke: #c0211a; stroke-dasharray: 4 4; }
";

fn class(bar: &Bar<'_>) -> &'static str {
    match (bar.role, bar.is_open) {
        (Role::Impossible, _) => "impossible",
        (Role::Core, true) => "info",
        (Role::Core, false) => "ok",
        (Role::Around, true) => "info around",
        (Role::Around, false) => "ok around",
    }
}

fn draw(svg: &mut String, bar: &Bar<'_>, left: usize, top: usize, bottom: usize) {
    // A little shorter than its columns, so that bars that follow on each other do not touch.
    let (x, width) = (left + bar.from * LETTER + 1, (bar.to - bar.from + 1) * LETTER - 2);
    let y = top + bar.lane * LANE + (LANE - BAR) / 2;
    if bar.role == Role::Impossible {
        // The moment at which no order is left.
        let end = x + width;
        let _ = writeln!(
            svg,
            "<line class=\"moment\" x1=\"{end}\" y1=\"{top}\" x2=\"{end}\" y2=\"{bottom}\"/>"
        );
    }
    let operation = bar.operation;
    let hint = format!("{operation}, process {}, {}", operation.process, lines(operation));
    let _ = writeln!(
        svg,
        "<g class=\"{}\"><title>{}</title><rect x=\"{x}\" y=\"{y}\" width=\"{width}\" \
         height=\"{BAR}\" rx=\"5\"/>",
        class(bar),
        markup(&hint)
    );
    write_text(svg, x + LETTER, y + 18, "label", &bar.label);
    svg.push_str("</g>\n");
}

const LEGEND: [(&str, &str); 4] = [
    ("ok", "took effect"),
    ("info", "may have"),
    ("impossible", "cannot be explained"),
    ("ok around", "meanwhile, not needed"),
];
const LEGEND_WIDTH: usize = 4 * 230;

fn draw_legend(svg: &mut String, y: usize) {
    for (number, (class, what)) in LEGEND.iter().enumerate() {
        let x = MARGIN + number * 230;
        let _ = writeln!(
            svg,
            "<g class=\"{class}\"><rect x=\"{x}\" y=\"{y}\" width=\"24\" height=\"14\" rx=\"3\"/></g>"
        );
        write_text(svg, x + 32, y + 12, "note", what);
    }
}

fn write_text(svg: &mut String, x: usize, y: usize, class: &str, text: &str) {
    let text = markup(text);
    let _ = writeln!(svg, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{text}</text>");
}

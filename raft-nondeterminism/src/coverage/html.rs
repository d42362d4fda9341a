//! Coverage as a page: a matrix of states and events for each kind, which needs no other file.

use std::fmt::Write as _;

use super::names::shown;
use super::{Coverage, Meeting, percent};
use crate::report::escape::markup;

const STYLE: &str = include_str!("matrix.css");

impl Coverage {
    /// The page.
    #[must_use]
    pub fn to_html(&self, title: &str) -> String {
        let title = markup(title);
        let mut out = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
             style-src 'unsafe-inline'\">\n<title>Coverage: {title}</title>\n<style>\n{STYLE}</style>\n\
             </head>\n<body>\n<h1>Coverage: {title}</h1>\n"
        );
        let total = self.total_covered();
        let _ = writeln!(
            out,
            "<p><b>{}%</b> of what can be received in a state was received there: {} of {}.</p>\n{LEGEND}",
            percent(total),
            total.0,
            total.1
        );
        for kind in 0..self.plan.kinds.len() {
            self.write_matrix(&mut out, kind);
            self.write_moves(&mut out, kind);
        }
        out.push_str("</body>\n</html>\n");
        out
    }

    fn write_matrix(&self, out: &mut String, kind: usize) {
        let declared = &self.plan.kinds[kind];
        let name = markup(&shown(&declared.name));
        let share = percent(self.covered(kind, None));
        let _ =
            writeln!(out, "<h2>{name} <small>{share}%</small></h2>\n<div class=\"wide\"><table>");
        let titles: String = declared
            .states
            .iter()
            .map(|state| format!("<th>{}</th>", markup(&shown(state))))
            .collect();
        let _ = writeln!(out, "<thead><tr><th></th>{titles}</tr></thead>\n<tbody>");
        for (event, event_name) in declared.events.iter().enumerate() {
            let cells: String = (0..declared.states.len())
                .map(|state| self.cell_html(kind, state, event))
                .collect();
            let _ = writeln!(out, "<tr><th>{}</th>{cells}</tr>", markup(&shown(event_name)));
        }
        let shares = (0..declared.states.len())
            .map(|state| format!("<td>{}%</td>", percent(self.covered(kind, Some(state)))))
            .collect::<String>();
        let _ = writeln!(
            out,
            "</tbody>\n<tfoot><tr><th>covered</th>{shares}</tr></tfoot>\n</table></div>"
        );
    }

    fn cell_html(&self, kind: usize, state: usize, event: usize) -> String {
        let count = |meeting| self.count(kind, state, event, meeting);
        let (handled, ignored) = (count(Meeting::Handled), count(Meeting::Ignored));
        let sent = count(Meeting::Sent);
        let is_declared = self.is_declared(kind, state, event);
        let class = match (handled, ignored, is_declared) {
            (1.., _, _) => "handled",
            (0, 1.., _) => "ignored",
            (0, 0, true) => "missing",
            (0, 0, false) => "none",
        };
        let received = match (handled + ignored, is_declared) {
            (0, true) => "never".to_owned(),
            (0, false) => String::new(),
            (received, _) => received.to_string(),
        };
        let sent_too = if sent > 0 { format!("<i>→ {sent}</i>") } else { String::new() };
        format!(
            "<td class=\"{class}\" title=\"handled {handled}, ignored {ignored}, sent {sent}\">\
             {received}{sent_too}</td>"
        )
    }

    fn write_moves(&self, out: &mut String, kind: usize) {
        let declared = &self.plan.kinds[kind];
        let places = 0..declared.states.len();
        let ways = places.clone().flat_map(|from| places.clone().map(move |to| (from, to)));
        let taken: Vec<_> =
            ways.filter(|&(from, to)| self.move_count(kind, from, to) > 0).collect();
        if taken.is_empty() {
            return;
        }
        out.push_str("<p class=\"moves\">");
        for (from, to) in taken {
            let names = [from, to].map(|state| markup(&shown(&declared.states[state])));
            let count = self.move_count(kind, from, to);
            let _ = write!(out, "<span>{} ⇨ {} <b>{count}</b></span> ", names[0], names[1]);
        }
        out.push_str("</p>\n");
    }
}

const LEGEND: &str = "<p class=\"legend\"><span class=\"handled\">received, and something came of it</span> \
<span class=\"ignored\">received, and nothing came of it</span> \
<span class=\"missing\">never received</span> <i>→ sent</i></p>";

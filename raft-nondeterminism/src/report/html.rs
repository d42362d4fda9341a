//! A player of a trace: one page that needs no other file and no network.
//!
//! Guarantees: whatever the text of a trace is, it is shown and never carried out: it stands in the page
//!             as JSON or escaped, and the page's scripts put it into elements as text only.
//! Elsewhere:  what the page does is in `assets/`: `model.js` knows the trace, `diagram.js` and `ring.js` draw it,
//!             `inspector.js` tells of one step, `player.js` goes from step to step, and `selftest.js`
//!             tries all that, in the test beside this file and for everyone who adds `#selftest`.

use super::escape::{counted, json_in_script, markup};
use crate::trace::Trace;

const PAGE: &str = include_str!("assets/player.html");
const STYLE: &str = include_str!("assets/player.css");
const SCRIPTS: [&str; 6] = [
    include_str!("assets/model.js"),
    include_str!("assets/diagram.js"),
    include_str!("assets/ring.js"),
    include_str!("assets/inspector.js"),
    include_str!("assets/selftest.js"),
    include_str!("assets/player.js"),
];

/// The page.
#[must_use]
pub fn html(trace: &Trace) -> String {
    let scripts = SCRIPTS.concat();
    fill(PAGE, |name| match name {
        "title" => markup(&trace.title),
        "meta" => meta(trace),
        "verdict" => verdict(trace),
        "replay" => markup(&trace.replay),
        "style" => STYLE.to_owned(),
        // Nothing in the page reads the schedule.
        "trace" => {
            let shown = Trace { schedule: String::new(), ..trace.clone() };
            json_in_script(&shown.to_json())
        }
        "script" => scripts.clone(),
        name => unreachable!("the page has no place for {name}"),
    })
}

/// A template with every `{{name}}` replaced, once: what is put there is not looked at again.
pub(super) fn fill(template: &str, value: impl Fn(&str) -> String) -> String {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").expect("our own template is whole");
        filled.push_str(before);
        filled.push_str(&value(name));
        rest = after;
    }
    filled + rest
}

/// Where the run comes from.
fn meta(trace: &Trace) -> String {
    let Trace { model, strategy, seed, iteration, defect, .. } = trace;
    let mut meta = format!(
        "<b>{}</b> · {} · seed {seed} · iteration {iteration} · {}",
        markup(model),
        markup(strategy),
        counted(trace.steps.len() as u64, "step"),
    );
    if let Some(defect) = defect {
        meta.push_str(&format!(" · planted bug <b>{}</b>", markup(defect)));
    }
    meta
}

/// What the run has shown.
fn verdict(trace: &Trace) -> String {
    match &trace.violation {
        Some(violation) => format!(
            "<button class=\"verdict broken\" id=\"verdict\" title=\"Go to the step that breaks it\">\
             <b>{}</b><span>{}</span></button>",
            markup(&violation.property),
            markup(&violation.message)
        ),
        None => "<p class=\"verdict fine\">No property was broken.</p>".to_owned(),
    }
}

#[cfg(test)]
mod browser;
#[cfg(test)]
mod tests;

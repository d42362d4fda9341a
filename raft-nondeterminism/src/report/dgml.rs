//! Graphs as DGML, which Visual Studio and its relatives draw, in the shape in which Coyote writes them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::escape::markup;
use crate::trace::Trace;

/// A graph whose nodes and links are in the order of their names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    nodes: BTreeMap<String, Attributes>,
    links: BTreeMap<(String, String, usize), Attributes>,
}

type Attributes = Vec<(&'static str, String)>;

impl Graph {
    /// A node, unless it is there.
    pub(crate) fn node(&mut self, id: &str, label: &str, category: &str) -> &mut Attributes {
        self.nodes
            .entry(id.to_owned())
            .or_insert_with(|| vec![("Label", label.to_owned()), ("Category", category.to_owned())])
    }

    /// The `index`-th link from one node to another, unless it is there.
    pub(crate) fn link(
        &mut self,
        (from, to): (&str, &str),
        index: usize,
        label: &str,
        category: &str,
    ) {
        let key = (from.to_owned(), to.to_owned(), index);
        self.links.entry(key).or_insert_with(|| {
            let mut attributes = Vec::new();
            for (name, value) in [("Label", label), ("Category", category)] {
                if !value.is_empty() {
                    attributes.push((name, value.to_owned()));
                }
            }
            if index > 0 {
                attributes.push(("Index", index.to_string()));
            }
            attributes
        });
    }

    /// A group with this in it.
    pub(crate) fn contains(&mut self, group: &str, member: &str) {
        self.link((group, member), 0, "", "Contains");
    }

    pub(crate) fn to_dgml(&self) -> String {
        let mut out = String::from(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
             <DirectedGraph xmlns=\"http://schemas.microsoft.com/vs/2009/dgml\">\n  <Nodes>\n",
        );
        for (id, attributes) in &self.nodes {
            let _ = writeln!(out, "    <Node Id=\"{}\"{}/>", markup(id), written(attributes));
        }
        out.push_str("  </Nodes>\n  <Links>\n");
        for ((from, to, _), attributes) in &self.links {
            let (from, to) = (markup(from), markup(to));
            let _ = writeln!(
                out,
                "    <Link Source=\"{from}\" Target=\"{to}\"{}/>",
                written(attributes)
            );
        }
        out.push_str("  </Links>\n  <Styles>\n");
        for (target, category, property, color) in STYLES {
            let _ = writeln!(
                out,
                "    <Style TargetType=\"{target}\" GroupLabel=\"{category}\" ValueLabel=\"True\">\n      \
                 <Condition Expression=\"HasCategory('{category}')\"/>\n      \
                 <Setter Property=\"{property}\" Value=\"{color}\"/>\n    </Style>"
            );
        }
        out.push_str("  </Styles>\n</DirectedGraph>\n");
        out
    }
}

/// Colours by category: those of Coyote, and some for what it does not have.
const STYLES: [(&str, &str, &str, &str); 6] = [
    ("Node", "Error", "Background", "#FFC15656"),
    ("Node", "Actor", "Background", "#FF57AC56"),
    ("Node", "Monitor", "Background", "#FF558FDA"),
    ("Node", "Uncovered", "Background", "#FFB0B7C3"),
    ("Link", "Lost", "Stroke", "#FFFF6C6C"),
    ("Link", "Twin", "Stroke", "#FF7380F5"),
];

fn written(attributes: &Attributes) -> String {
    let one = |(name, value): &(&str, String)| format!(" {name}=\"{}\"", markup(value));
    attributes.iter().map(one).collect()
}

/// The run as a graph: everyone who takes part is a group, each step at it a node, in the order in which
/// they happened; a message is a link from the step that sent it to the one that took it out.
#[must_use]
pub fn dgml_trace(trace: &Trace) -> String {
    let mut graph = Graph::default();
    for lane in &trace.lanes {
        let group = graph.node(&lane.name, &lane.name, "Actor");
        group.push(("Group", "Expanded".to_owned()));
    }
    // Who has no lane stands beside them: a step about everyone.
    let width = trace.steps.len().to_string().len();
    let id = |step: usize| {
        let number = format!("{step:0width$}");
        match trace.steps.get(step.wrapping_sub(1)).and_then(|step| step.lane) {
            Some(lane) => format!("{}.{number}", trace.lanes[lane].name),
            None => number,
        }
    };
    let mut last_of: Vec<Option<usize>> = vec![None; trace.lanes.len()];
    for step in &trace.steps {
        let is_broken = trace.violation.is_some() && step.number == trace.steps.len();
        let category = if is_broken { "Error" } else { "Step" };
        let label = format!("{} {}", step.number, step.name);
        let node = graph.node(&id(step.number), &label, category);
        if trace.does_matter(step.number) {
            node.push(("Matters", "True".to_owned()));
        }
        let Some(lane) = step.lane else { continue };
        graph.contains(&trace.lanes[lane].name, &id(step.number));
        if let Some(last) = last_of[lane].replace(step.number) {
            graph.link((&id(last), &id(step.number)), 0, "", "Next");
        }
    }
    for flight in trace.flights() {
        let Some((end, fate)) = flight.end else { continue };
        let category = match (fate, flight.message.twin_of) {
            (crate::trace::Fate::Lost, _) => "Lost",
            (_, Some(_)) => "Twin",
            (_, None) => "Message",
        };
        if flight.sent_at > 0 {
            let ids = (id(flight.sent_at), id(end));
            graph.link((&ids.0, &ids.1), 1, &flight.message.label, category);
        }
    }
    if let Some(violation) = &trace.violation {
        graph.node("violation", &violation.to_string(), "Error");
        if !trace.steps.is_empty() {
            graph.link((&id(trace.steps.len()), "violation"), 0, "breaks", "");
        }
    }
    graph.to_dgml()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::golden;
    use crate::trace::example::{hostile, two_leaders};

    #[test]
    fn a_run_is_a_graph_of_its_steps() {
        golden::check("two-leaders.trace.dgml", &dgml_trace(&two_leaders()));
    }

    #[test]
    fn no_text_of_a_trace_becomes_a_tag() {
        let count = |out: String| out.matches('<').count();
        assert_eq!(count(dgml_trace(&hostile())), count(dgml_trace(&two_leaders())));
    }
}

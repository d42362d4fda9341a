//! Coverage as a graph: states in the group of their kind, and what was received on the way from one to
//! another; what was never received hangs from its state.

use super::Coverage;
use super::names::shown;
use crate::report::dgml::Graph;
use crate::report::escape::counted;

impl Coverage {
    /// The graph.
    #[must_use]
    pub fn to_dgml(&self) -> String {
        let mut graph = Graph::default();
        for (kind, declared) in self.plan.kinds.iter().enumerate() {
            let group = graph.node(&declared.name, &shown(&declared.name), "StateMachine");
            group.push(("Group", "Expanded".to_owned()));
            let id = |state: usize| format!("{}.{}", declared.name, declared.states[state]);
            for (state, name) in declared.states.iter().enumerate() {
                let is_reached = (0..declared.events.len())
                    .any(|event| self.received(kind, state, event) > 0)
                    || (0..declared.states.len())
                        .any(|from| self.move_count(kind, from, state) > 0);
                let category = if is_reached { "State" } else { "Uncovered" };
                graph.node(&id(state), &shown(name), category);
                graph.contains(&declared.name, &id(state));
                for (event, event_name) in declared.events.iter().enumerate() {
                    let received = self.received(kind, state, event);
                    if received > 0 {
                        let label = format!("{}: {received}", shown(event_name));
                        graph.link((&id(state), &id(state)), event + 1, &label, "Received");
                    } else if self.is_declared(kind, state, event) {
                        let missing = format!("{}.{event_name}", id(state));
                        graph.node(&missing, &shown(event_name), "Uncovered");
                        graph.contains(&declared.name, &missing);
                        graph.link((&id(state), &missing), 0, "never received", "Uncovered");
                    }
                }
                for to in (0..declared.states.len()).filter(|&to| to != state) {
                    let count = self.move_count(kind, state, to);
                    if count > 0 {
                        graph.link((&id(state), &id(to)), 0, &counted(count, "time"), "Goto");
                    }
                }
            }
        }
        graph.to_dgml()
    }
}

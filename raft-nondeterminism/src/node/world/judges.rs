//! Everyone who judges a run: monitors, what must become true, and what should happen in some runs.

use crate::node::Node;
use crate::node::property::{Eventually, Monitor, Sometimes, View};
use crate::node::simulation::Simulation;
use crate::watch::Watch;

/// The property that a world breaks in which nothing can happen and something should.
const DEADLOCK: &str = "deadlock";

/// The judges of one run.
#[derive(Clone, Debug)]
pub(super) struct Judges<N: Node> {
    monitors: Vec<Box<dyn Monitor<N>>>,
    eventually: Vec<Eventually<N>>,
    /// Since which event each of these is false; `None` if it is true.
    hot_since: Vec<Option<usize>>,
    sometimes: Vec<Sometimes<N>>,
    /// A bit for each that has happened.
    reached: u64,
}

impl<N: Node> Judges<N> {
    pub(super) fn new(simulation: &Simulation<N>) -> Self {
        Self {
            monitors: simulation.monitors.clone(),
            eventually: simulation.eventually.clone(),
            hot_since: vec![None; simulation.eventually.len()],
            sometimes: simulation.sometimes.clone(),
            reached: 0,
        }
    }

    /// Looks at the world after an event, the `steps`-th; `waiting_since` is when that began which has
    /// waited longest.
    pub(super) fn judge(
        &mut self,
        view: &View<'_, N>,
        steps: usize,
        waiting_since: Option<usize>,
        watch: &mut Watch,
    ) {
        for monitor in &mut self.monitors {
            watch.enter_monitor(monitor.property());
            if let Err(message) = monitor.observe(view) {
                watch.break_property(monitor.property(), message);
            }
        }
        for (place, it) in self.sometimes.iter().enumerate() {
            let Some(is_reached) = &it.is_reached else { continue };
            watch.enter_monitor(it.goal);
            if self.reached >> place & 1 == 0 && is_reached(view) {
                self.reached |= 1 << place;
            }
        }
        for (it, hot_since) in self.eventually.iter().zip(&mut self.hot_since) {
            watch.enter_monitor(it.property);
            if (it.is_cold)(view) {
                *hot_since = None;
                continue;
            }
            let since = *hot_since.get_or_insert(steps);
            let Some(steps_max) = it.steps_max else { continue };
            let is_fair = waiting_since.is_none_or(|began| steps - began <= steps_max);
            if steps - since > steps_max && is_fair {
                let message = format!(
                    "it has not become true in the last {} events, though nothing had to wait longer \
                     than that",
                    steps - since
                );
                watch.break_property(it.property, message);
            }
        }
        watch.leave();
    }

    /// Nothing can happen any more: then everything has to be as it should be in the end.
    pub(super) fn find_deadlock(&self, watch: &mut Watch) {
        if let Some(property) = self.hot() {
            let message = format!("nothing can happen any more, and {property} is not true");
            watch.break_property(DEADLOCK, message);
        }
    }

    /// The first of what must become true and is not.
    pub(super) fn hot(&self) -> Option<&'static str> {
        let mut pairs = self.eventually.iter().zip(&self.hot_since);
        pairs.find(|(_, hot_since)| hot_since.is_some()).map(|(it, _)| it.property)
    }

    /// True if some property counts events.
    pub(super) fn counts_steps(&self) -> bool {
        self.eventually.iter().any(|it| it.steps_max.is_some())
    }

    pub(super) fn monitors(&self) -> &[Box<dyn Monitor<N>>] {
        &self.monitors
    }

    /// A node says that it has reached a goal.
    pub(super) fn reach(&mut self, goal: &'static str) {
        let place = self.sometimes.iter().position(|it| it.goal == goal);
        let place = place.unwrap_or_else(|| {
            panic!("the simulation does not know the goal {goal:?}: add .goal({goal:?})")
        });
        self.reached |= 1 << place;
    }

    pub(super) fn reached(&self) -> u64 {
        self.reached
    }
}

//! Everyone who watches a run: the monitors, the goals, and the reader of its trace.
//!
//! Guarantees: watching changes nothing, so a run with a trace goes as the same run without one.

use std::fmt;

use crate::goal::Goals;
use crate::monitor::{Fact, Monitor, Violation};

/// The watchers of one run.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    monitors: &'a mut [Box<dyn Monitor>],
    pub(crate) goals: Goals,
    /// The first property that was broken.
    pub(crate) violation: Option<Violation>,
    /// What happened as text, if somebody will read it.
    trace: Option<String>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(monitors: &'a mut [Box<dyn Monitor>], is_recording: bool) -> Self {
        for monitor in monitors.iter_mut() {
            monitor.begin();
        }
        let trace = is_recording.then(String::new);
        Self { monitors, goals: Goals::default(), violation: None, trace }
    }

    /// Tells everyone of a fact.
    pub(crate) fn fact(&mut self, fact: &Fact<'_>) {
        self.goals.observe(fact);
        for monitor in self.monitors.iter_mut() {
            if let Err(message) = monitor.observe(fact)
                && self.violation.is_none()
            {
                let property = monitor.property().to_owned();
                self.violation = Some(Violation { property, message });
            }
        }
    }

    /// True if somebody will read the trace.
    pub(crate) fn is_tracing(&self) -> bool {
        self.trace.is_some()
    }

    /// Adds a line to the trace.
    pub(crate) fn line(&mut self, line: fmt::Arguments<'_>) {
        if let Some(trace) = &mut self.trace {
            fmt::Write::write_fmt(trace, line).expect("a string takes every line");
            trace.push('\n');
        }
    }

    pub(crate) fn into_trace(self) -> Option<String> {
        self.trace
    }
}

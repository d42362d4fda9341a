//! Everyone who watches a run of a cluster: the monitors, the goals, and the reader of its trace.
//!
//! Guarantees: watching changes nothing, so a run with a trace goes as the same run without one.

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::raft::goal::Goals;
use crate::raft::monitor::{Fact, Monitor};
use crate::raft::spec::{self, Refinement};
use crate::shared::Shared;
use crate::sleep::Publicity;
use crate::watch;

/// Who is told of every fact of one run.
#[derive(Debug)]
pub(super) struct Observers {
    pub(super) monitors: Vec<Shared<Box<dyn Monitor>>>,
    pub(super) goals: Goals,
    /// The specification beside the cluster, if every step must be one of its own.
    pub(super) refinement: Option<Refinement>,
}

impl Clone for Observers {
    fn clone(&self) -> Self {
        let Self { monitors, goals, refinement } = self;
        let (monitors, goals) = (monitors.clone(), goals.clone());
        Self { monitors, goals, refinement: refinement.clone() }
    }

    fn clone_from(&mut self, source: &Self) {
        let Self { monitors, goals, refinement } = source;
        self.monitors.clone_from(monitors);
        self.goals.clone_from(goals);
        self.refinement.clone_from(refinement);
    }
}

impl Observers {
    pub(super) fn new(monitors: &[Box<dyn Monitor>], refinement: Option<Refinement>) -> Self {
        let monitors = monitors.iter().cloned().map(Shared::new).collect();
        Self { monitors, goals: Goals::default(), refinement }
    }
}

/// The watchers of one run.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    pub(super) observers: &'a mut Observers,
    pub(super) notes: &'a mut watch::Watch,
}

impl Watch<'_> {
    /// Tells everyone of a fact.
    pub(super) fn fact(&mut self, fact: &Fact<'_>) {
        self.notes.publish(match fact {
            // Whose disks agree is asked of all.
            Fact::Decided { .. } => Publicity::Global,
            _ => Publicity::Public,
        });
        self.observers.goals.observe(fact);
        for monitor in &mut self.observers.monitors {
            self.notes.enter_monitor(monitor.property());
            if let Err(message) = monitor.observe(fact) {
                self.notes.break_property(monitor.property(), message);
            }
        }
        self.notes.leave();
    }

    /// Tells the specification of something that may break it.
    pub(super) fn refine(&mut self, told: impl FnOnce(&mut Refinement) -> Result<(), String>) {
        if let Some(Err(message)) = self.observers.refinement.as_mut().map(told) {
            self.notes.break_property(spec::PROPERTY, message);
        }
    }

    /// Adds a line to the trace.
    pub(super) fn line(&mut self, line: fmt::Arguments<'_>) {
        self.notes.line(line);
    }
}

impl Deref for Watch<'_> {
    type Target = watch::Watch;

    fn deref(&self) -> &watch::Watch {
        self.notes
    }
}

impl DerefMut for Watch<'_> {
    fn deref_mut(&mut self) -> &mut watch::Watch {
        self.notes
    }
}

//! One run: from a fresh world to the first violation, the last step, or the end of the schedule.
//!
//! Guarantees: the same scenario, defect and answers give the same run, and a panic of a server is a
//!             violation like any other.

use raft_core::{Defect, NewServerError};

use crate::fault::FaultCounts;
use crate::fingerprint::Fingerprint;
use crate::goal::Goals;
use crate::monitor::{Monitor, Violation};
use crate::operation::OperationCounts;
use crate::oracle::{Choice, Oracle};
use crate::panic;
use crate::scenario::Scenario;
use crate::schedule::Line;
use crate::strategy::{NotReproducible, Strategy};
use crate::watch::Watch;
use crate::world::{Variant, World};

/// What a run needs to know besides its strategy and its monitors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) defect: Option<Defect>,
    pub(crate) max_steps: usize,
    pub(crate) record: Record,
}

/// What of a run is written down. It changes nothing but the time the run takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Record {
    /// The tape only: all that exploring needs.
    Tape,
    /// The choices by name too.
    Lines,
    /// And what each of them caused.
    Trace,
}

/// What one run came to.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) tape: Vec<Choice>,
    pub(crate) steps: usize,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) violation: Option<Violation>,
    pub(crate) faults: FaultCounts,
    pub(crate) operations: OperationCounts,
    pub(crate) goals: Goals,
    /// Empty unless they were to be recorded.
    pub(crate) lines: Vec<Line>,
    pub(crate) trace: String,
}

/// Why a run came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Server(#[from] NewServerError),
    #[error(transparent)]
    NotReproducible(#[from] NotReproducible),
}

/// Runs once. `strategy` has begun already; `tape` is a buffer to reuse.
pub(crate) fn run(
    setting: Setting<'_>,
    strategy: &mut dyn Strategy,
    monitors: &mut [Box<dyn Monitor>],
    mut tape: Vec<Choice>,
) -> Result<Run, RunError> {
    tape.clear();
    let mut watch = Watch::new(monitors, setting.record >= Record::Trace);
    let mut oracle = Oracle::new(strategy, setting.record >= Record::Lines, tape);
    let variant = Variant::choose(setting.scenario, &mut oracle)?;
    let mut world = World::new(setting.scenario, setting.defect, variant, &mut watch)?;
    let mut fingerprint = Fingerprint::default();
    let mut steps = 0;
    while steps < setting.max_steps && watch.violation.is_none() {
        let enabled = world.enabled();
        if enabled.total() == 0 {
            break;
        }
        let Some(pick) = oracle.pick(&enabled)? else { break };
        steps += 1;
        if watch.is_tracing() {
            watch.line(format_args!("{steps:5}  {}", enabled.name(pick)));
        }
        let event = world.event(pick);
        // The world may be broken after a panic, but nobody looks at it again.
        match panic::catch(|| world.perform(event, &mut oracle, &mut watch)) {
            Ok(outcome) => outcome?,
            Err(message) => {
                watch.violation = Some(Violation { property: "no-panic".to_owned(), message });
                break;
            }
        }
        world.mix_into(&mut fingerprint, pick.class, event);
    }
    if let Some(violation) = watch.violation.clone() {
        watch.line(format_args!("       violated: {violation}"));
    }
    let (tape, lines) = oracle.into_parts();
    Ok(Run {
        tape,
        steps,
        fingerprint,
        violation: watch.violation.clone(),
        faults: world.faults(),
        operations: world.operations(),
        goals: std::mem::take(&mut watch.goals),
        lines: lines.unwrap_or_default(),
        trace: watch.into_trace().unwrap_or_default(),
    })
}

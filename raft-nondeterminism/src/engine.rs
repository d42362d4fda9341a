//! One run: from a fresh world to the first violation, the last step, or the end of the schedule.
//!
//! Guarantees: the same model and answers give the same run, and a panic of the system under test is a
//!             violation like any other.

use std::sync::Arc;
use std::time::Instant;

use crate::coverage::{Coverage, CoveragePlan, NameError};
use crate::coverage_map::Novelty;
use crate::fault::FaultCounts;
use crate::fingerprint::Fingerprint;
use crate::model::{Model, ModelError, World};
use crate::operation::OperationCounts;
use crate::oracle::{Choice, Oracle};
use crate::panic;
use crate::repeat::Print;
use crate::schedule::Line;
use crate::strategy::{MaxSteps, Step, Strategy};
use crate::trace::Trace;
use crate::violation::Violation;
use crate::watch::Watch;

/// What a run needs to know besides its strategy.
#[derive(Debug)]
pub(crate) struct Setting<'a, M> {
    pub(crate) model: &'a M,
    pub(crate) max_steps: MaxSteps,
    /// A run that goes so far fails.
    pub(crate) fails_at_max_steps: bool,
    /// Nothing goes wrong after the last step, and everything has to come to rest.
    pub(crate) settles: bool,
    pub(crate) record: Record,
    /// What there is to cover, if that is to be recorded.
    pub(crate) coverage: Option<&'a Arc<CoveragePlan>>,
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
    /// How many it had at most.
    pub(crate) max_steps: usize,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) violation: Option<Violation>,
    pub(crate) faults: FaultCounts,
    pub(crate) operations: OperationCounts,
    pub(crate) goals: u64,
    /// Empty unless they were to be recorded.
    pub(crate) lines: Vec<Line>,
    pub(crate) trace: String,
    pub(crate) data: Option<Trace>,
    pub(crate) coverage: Option<Coverage>,
    /// The first name that cannot stand in it.
    pub(crate) bad_name: Option<NameError>,
    /// It was cut off because the time was over: it says nothing.
    pub(crate) is_out_of_time: bool,
    /// How it stood after each event, and whose that was; empty without a trace.
    pub(crate) prints: Vec<Print>,
}

/// The property that whoever does not come to rest breaks.
pub(crate) const COMES_TO_REST: &str = "comes-to-rest";

/// The property that whoever does not end by itself breaks.
pub(crate) const MAX_STEPS: &str = "max-steps";

/// Each so many events somebody looks at the clock. Shorter runs never do.
const EVENTS_PER_LOOK: usize = 1_024;

/// Runs once. `strategy` has begun already; `tape` is a buffer to reuse; `novelty` hears of every
/// abstract state.
pub(crate) fn run<M: Model>(
    setting: &Setting<'_, M>,
    strategy: &mut dyn Strategy,
    tape: Vec<Choice>,
    novelty: &mut Novelty<'_>,
) -> Result<Run, ModelError> {
    run_until(None, setting, strategy, tape, novelty)
}

/// The same, but a long run is cut off soon after this moment. A run that ends by itself does not depend
/// on it.
pub(crate) fn run_until<M: Model>(
    deadline: Option<Instant>,
    setting: &Setting<'_, M>,
    strategy: &mut dyn Strategy,
    mut tape: Vec<Choice>,
    novelty: &mut Novelty<'_>,
) -> Result<Run, ModelError> {
    tape.clear();
    let max_steps = setting.max_steps.of(strategy.is_fair());
    let mut watch = Watch::new(setting.record >= Record::Trace);
    watch.coverage = setting.coverage.map(|plan| Coverage::new(Arc::clone(plan)));
    let mut oracle = Oracle::new(strategy, setting.record >= Record::Lines, tape);
    let mut world = match panic::catch(|| setting.model.start(&mut oracle, &mut watch)) {
        Ok(world) => world?,
        Err(message) => {
            watch.panicked(message);
            return Ok(finish::<M>(oracle, watch, None));
        }
    };
    watch.observe(|| world.lanes());
    let (mut steps, mut prints, mut is_out_of_time) = (0, Vec::new(), false);
    while steps < max_steps && watch.violation.is_none() {
        let enabled = world.enabled();
        if enabled.total() == 0 {
            break;
        }
        if steps > 0 && steps.is_multiple_of(EVENTS_PER_LOOK) {
            is_out_of_time = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        }
        if is_out_of_time {
            break;
        }
        let Some(pick) = oracle.pick(&enabled)? else { break };
        steps += 1;
        let place = enabled.place(pick);
        if watch.is_tracing() {
            watch.begin(steps, pick.class, &enabled.name(pick), place);
        }
        watch.fingerprint.mix(pick.class as u64);
        // The world may be broken after a panic, but nobody looks at it again.
        match panic::catch(|| world.perform(pick, &mut oracle, &mut watch)) {
            Ok(outcome) => outcome?,
            Err(message) => {
                watch.panicked(message);
                break;
            }
        }
        watch.observe(|| world.lanes());
        if setting.record >= Record::Trace {
            prints.push((watch.fingerprint, world.place_name(place)));
        }
        let state = world.abstract_state();
        let is_new = novelty.visit(state);
        oracle.observe(&Step { class: pick.class, place, state, is_new });
    }
    let is_cut_off = steps == max_steps && watch.violation.is_none();
    if setting.fails_at_max_steps && is_cut_off && world.enabled().total() > 0 {
        watch.break_property(MAX_STEPS, format!("there is more to do after {steps} events"));
    }
    if setting.settles && watch.violation.is_none() && !is_out_of_time {
        match panic::catch(|| world.settle(&mut watch)) {
            Ok(Ok(())) => {}
            Ok(Err(message)) => watch.break_property(COMES_TO_REST, message),
            Err(message) => watch.panicked(message),
        }
    }
    let mut run = finish::<M>(oracle, watch, Some(&world));
    if let Some(data) = &mut run.data {
        let plan = setting.model.coverage_plan();
        // What is not declared stands in the order in which it turns up.
        data.roles = if plan.is_open() { Vec::new() } else { plan.states() };
    }
    Ok(Run { steps, max_steps, is_out_of_time, prints, ..run })
}

/// What a run came to in its end; `None` if there never was a world.
fn finish<M: Model>(oracle: Oracle<'_>, mut watch: Watch, world: Option<&M::World>) -> Run {
    let (tape, lines) = oracle.into_parts();
    let (fingerprint, violation) = (watch.fingerprint, watch.violation.clone());
    let (coverage, bad_name) = (watch.coverage.take(), watch.bad_name.take());
    let (trace, data) = watch.into_trace().map_or((String::new(), None), |it| (it.0, Some(it.1)));
    Run {
        tape,
        steps: 0,
        max_steps: 0,
        fingerprint,
        violation,
        faults: world.map(World::faults).unwrap_or_default(),
        operations: world.map(World::operations).unwrap_or_default(),
        goals: world.map(World::goals).unwrap_or_default(),
        lines: lines.unwrap_or_default(),
        trace,
        data,
        coverage,
        bad_name,
        is_out_of_time: false,
        prints: Vec::new(),
    }
}

//! What may come next after one state.

use super::ExhaustiveError;
use super::origin::Origin;
use super::script::Script;
use super::search::Visited;
use crate::fault::FaultCounts;
use crate::model::{ModelError, World};
use crate::operation::OperationCounts;
use crate::oracle::Oracle;
use crate::panic;
use crate::sleep::{Publicity, SleepSet, Tried};
use crate::watch::Watch;

/// A state that was reached.
#[derive(Debug)]
pub(super) struct Arrival<W> {
    pub(super) origin: Origin,
    pub(super) state: u128,
    /// `None` if nothing is to happen there any more.
    pub(super) world: Option<Box<W>>,
}

/// What came of everything that may happen in one state, and has to.
#[derive(Debug)]
pub(super) struct Expansion<W> {
    pub(super) arrivals: Vec<Arrival<W>>,
    /// What broke a property, if anything did; nothing was tried after it.
    pub(super) broken: Option<Origin>,
    pub(super) transitions: u64,
    pub(super) faults: FaultCounts,
    pub(super) operations: OperationCounts,
    pub(super) goals: u64,
}

/// A copy, made of a world that nobody needs any more, if there is one: most ways lead to states that were
/// reached before, so most copies are short-lived.
fn copy<W: World>(world: &W, spare: Option<Box<W>>) -> Option<Box<W>> {
    match spare {
        Some(mut copy) => world.fork_into(&mut copy).then_some(copy),
        None => world.fork().map(Box::new),
    }
}

impl<W: World> Expansion<W> {
    pub(super) fn of(
        world: &W,
        (number, origins): (u32, &[Origin]),
        woken: Option<&SleepSet>,
        reduces: bool,
        visited: &Visited,
        spares: &mut Vec<Box<W>>,
    ) -> Result<Self, ExhaustiveError> {
        let mut all = Self {
            arrivals: Vec::new(),
            broken: None,
            transitions: 0,
            faults: FaultCounts::default(),
            operations: OperationCounts::default(),
            goals: 0,
        };
        let origin = &origins[number as usize];
        let mut asleep = origin.asleep.clone();
        let enabled = world.enabled();
        let arity = u32::try_from(enabled.total()).expect("so much cannot happen at once");
        for pick in enabled.picks() {
            let action = world.action(pick).filter(|_| reduces);
            let is_left_out = match (&action, woken) {
                // Whoever has woken up may look redundant on this way here, and not on the one before.
                (Some(action), Some(woken)) => !woken.has(action) || asleep.has(action),
                (None, Some(_)) => true,
                (Some(action), None) => asleep.has(action) || world.is_redundant(pick),
                (None, None) => world.is_redundant(pick),
            };
            if is_left_out {
                continue;
            }
            let mut script = Script::default();
            let mut publicity = Publicity::Private;
            loop {
                let mut next = copy(world, spares.pop()).ok_or(ExhaustiveError::Unknowable)?;
                let mut watch = Watch::new(false);
                let mut oracle = Oracle::new(&mut script, false, Vec::new());
                match panic::catch(|| next.perform(pick, &mut oracle, &mut watch)) {
                    Ok(outcome) => outcome.map_err(ModelError::from)?,
                    Err(message) => watch.panicked(message),
                }
                let (chosen, _) = oracle.into_parts();
                all.transitions += 1;
                all.faults.add_new(&world.faults(), &next.faults());
                all.operations.add_new(&world.operations(), &next.operations());
                all.goals |= next.goals();
                // What is left open is tried again on every way.
                let is_open = !chosen.is_empty();
                publicity = publicity.max(watch.publicity());
                publicity = if is_open { Publicity::Global } else { publicity };
                let tried = action.map(|action| Tried { action, publicity });
                let origin = Origin {
                    from: number,
                    depth: origin.depth + 1,
                    event: Some((pick, arity)),
                    chosen: chosen.into_boxed_slice(),
                    asleep: tried.map(|tried| asleep.after(&tried)).unwrap_or_default(),
                    is_left: false,
                };
                if watch.is_broken() {
                    all.broken = Some(origin);
                    return Ok(all);
                }
                let state = next.exact_state().ok_or(ExhaustiveError::Unknowable)?;
                let known = visited.get(&state).map(|&known| &origins[known as usize]);
                // Another way there may wake nothing up.
                let is_over =
                    known.is_some_and(|it| !it.is_left || it.asleep.is_within(&origin.asleep));
                let world = if is_over {
                    spares.push(next);
                    None
                } else {
                    Some(next)
                };
                all.arrivals.push(Arrival { origin, state, world });
                if !script.advance() {
                    break;
                }
            }
            if let Some(action) = action {
                asleep.add(Tried { action, publicity });
            }
        }
        Ok(all)
    }
}

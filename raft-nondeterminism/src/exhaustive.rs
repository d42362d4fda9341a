//! Everything that can happen, in a world so small that it ends.
//!
//! Guarantees: every state that any schedule reaches is visited once, and checked, if what is chosen before
//!             the first event, as settings are, stays at its first value; what is called
//!             exhausted was, but for states that servers nobody has heard of could have reached under
//!             each other's names, and for one chance in `2^64` that two states were taken for one.
//! Relies on:  [`World::fork`] and [`World::exact_state`]; a world in which only so much can happen.
//! Elsewhere:  which ways to a state are left out because another one leads there is in `sleep.rs`.

use std::collections::{HashMap, VecDeque, hash_map};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::coverage_map::{CoverageMap, Novelty};
use crate::engine::{self, Record};
use crate::event::{EnabledView, EventClass, Pick};
use crate::fault::FaultCounts;
use crate::model::{Model, ModelError, StartError, World};
use crate::operation::OperationCounts;
use crate::oracle::{Choice, Oracle};
use crate::panic;
use crate::recording;
use crate::report::Bug;
use crate::sleep::{Publicity, SleepSet, Tried};
use crate::strategy::{MaxSteps, NotReproducible, Strategy, TapeReplay};
use crate::watch::Watch;

/// Explores everything that can happen in a model.
///
/// ```
/// use raft_nondeterminism::{Exhaustive, Raft, Scenario};
///
/// let scenario = Scenario::small().timeouts_max(1);
/// let exhausted = Exhaustive::new(&Raft::new(scenario)).run()?;
/// assert!(exhausted.is_complete());
/// assert_eq!(exhausted.bug(), None);
/// # Ok::<(), raft_nondeterminism::ExhaustiveError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Exhaustive<M: Model> {
    model: M,
    states_max: u64,
    is_depth_first: bool,
    /// Leaves out ways to states that others lead to as well.
    reduces: bool,
}

/// What an exhaustive exploration found.
#[derive(Clone, Debug)]
pub struct Exhausted {
    states: u64,
    transitions: u64,
    depth: u32,
    is_complete: bool,
    bug: Option<Bug>,
    faults: FaultCounts,
    operations: OperationCounts,
    goals: u64,
    elapsed: Duration,
}

impl<M: Model> Exhaustive<M> {
    /// Explores breadth first, so that the first bug is one with the fewest events, and at most a hundred
    /// million states.
    #[must_use]
    pub fn new(model: &M) -> Self {
        let model = model.exhaustible();
        Self { model, states_max: 100_000_000, is_depth_first: false, reduces: true }
    }

    /// Changes after how many states the search gives up.
    #[must_use]
    pub fn states_max(mut self, states_max: u64) -> Self {
        self.states_max = states_max;
        self
    }

    /// Goes deep first, which takes less memory.
    #[must_use]
    pub fn depth_first(mut self) -> Self {
        self.is_depth_first = true;
        self
    }

    /// Lets every event of every state happen, though two that have nothing to do with each other lead to
    /// one state in either order. The states are the same; it takes longer.
    #[must_use]
    pub fn without_sleep_sets(mut self) -> Self {
        self.reduces = false;
        self
    }

    /// Explores.
    ///
    /// # Errors
    ///
    /// If the model does not start, or cannot be explored this way.
    pub fn run(&self) -> Result<Exhausted, ExhaustiveError> {
        self.run_watched(|_| ControlFlow::Continue(()))
    }

    /// Explores, and asks now and then whether to go on: see [`Exhaustive::run`].
    ///
    /// # Errors
    ///
    /// If the model does not start, or cannot be explored this way.
    pub fn run_watched(
        &self,
        progress: impl FnMut(&Exhausted) -> ControlFlow<()>,
    ) -> Result<Exhausted, ExhaustiveError> {
        self.model.validate()?;
        if self.states_max == 0 {
            return Err(ExhaustiveError::ZeroBound);
        }
        let mut script = Script::default();
        let mut watch = Watch::new(false);
        let mut oracle = Oracle::new(&mut script, false, Vec::new());
        let world = self.model.start(&mut oracle, &mut watch)?;
        let (start, _) = oracle.into_parts();
        if world.exact_state().is_none() || world.fork().is_none() {
            return Err(ExhaustiveError::Unknowable);
        }
        let mut search = Search::new(self, start);
        search.explore(world, progress)?;
        Ok(search.exhausted)
    }
}

impl Exhausted {
    /// How many different states there are.
    #[must_use]
    pub fn states(&self) -> u64 {
        self.states
    }

    /// How many events led from one of them to one of them, without those that sleep sets leave out.
    #[must_use]
    pub fn transitions(&self) -> u64 {
        self.transitions
    }

    /// How many events the longest of the shortest ways to a state has; breadth first only.
    #[must_use]
    pub fn depth(&self) -> u32 {
        self.depth
    }

    /// True if nothing is left to explore.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// The first bug, at which the search ended.
    #[must_use]
    pub fn bug(&self) -> Option<&Bug> {
        self.bug.as_ref()
    }

    /// How often each fault happened, on all the ways from a state to a next one.
    #[must_use]
    pub fn faults(&self) -> &FaultCounts {
        &self.faults
    }

    /// How often each operation was taken, likewise.
    #[must_use]
    pub fn operations(&self) -> &OperationCounts {
        &self.operations
    }

    /// Which of the model's goals were reached, a bit for each.
    #[must_use]
    pub fn goals(&self) -> u64 {
        self.goals
    }

    /// How long it took.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }
}

/// Why there can be no exhaustive exploration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExhaustiveError {
    /// The model makes no sense, or does not start.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The model makes no sense.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The model's worlds cannot be copied, or cannot tell their state.
    #[error(
        "this cannot be explored exhaustively: its states cannot be told apart (there are files, or a \
         monitor that does not tell what it remembers)"
    )]
    Unknowable,
    /// No state was to be visited.
    #[error("the number of states must be more than zero")]
    ZeroBound,
}

/// How one state was first reached.
#[derive(Clone, Debug)]
struct Origin {
    /// The state before, by number.
    from: u32,
    depth: u32,
    /// The event between the two.
    event: Choice,
    /// What was chosen meanwhile; mostly nothing.
    chosen: Box<[Choice]>,
    /// What need not happen there.
    asleep: SleepSet,
    /// What may happen there has happened.
    is_left: bool,
}

/// A state to go on from.
#[derive(Debug)]
struct Waiting<W> {
    number: usize,
    world: W,
    /// Only what has woken up since it was left; `None` for all that is not asleep.
    woken: Option<SleepSet>,
}

/// States are hashes already.
#[derive(Debug, Default)]
struct Unchanged(u64);

impl Hasher for Unchanged {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.0 = self.0 << 8 | u64::from(byte));
    }

    fn write_u128(&mut self, state: u128) {
        self.0 = state as u64;
    }
}

struct Search<'a, M: Model> {
    setting: &'a Exhaustive<M>,
    /// What was chosen before the first event.
    start: Vec<Choice>,
    /// Each state, and its number.
    visited: HashMap<u128, u32, BuildHasherDefault<Unchanged>>,
    origins: Vec<Origin>,
    exhausted: Exhausted,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(setting: &'a Exhaustive<M>, start: Vec<Choice>) -> Self {
        let exhausted = Exhausted {
            states: 0,
            transitions: 0,
            depth: 0,
            is_complete: false,
            bug: None,
            faults: FaultCounts::default(),
            operations: OperationCounts::default(),
            goals: 0,
            elapsed: Duration::ZERO,
        };
        let visited = HashMap::default();
        Self { setting, start, visited, origins: Vec::new(), exhausted }
    }

    fn explore(
        &mut self,
        world: M::World,
        mut progress: impl FnMut(&Exhausted) -> ControlFlow<()>,
    ) -> Result<(), ExhaustiveError> {
        let started = Instant::now();
        let root = Origin {
            from: 0,
            depth: 0,
            event: Choice::Event { pick: Pick { class: EventClass::Deliver, index: 0 }, arity: 0 },
            chosen: Box::default(),
            asleep: SleepSet::default(),
            is_left: false,
        };
        let mut frontier = VecDeque::new();
        self.visited.extend(world.exact_state().map(|state| (state, 0)));
        self.origins.push(root);
        frontier.push_back(Waiting { number: 0, world, woken: None });
        loop {
            let next = if self.setting.is_depth_first {
                frontier.pop_back()
            } else {
                frontier.pop_front()
            };
            let Some(waiting) = next else {
                self.exhausted.is_complete = true;
                break;
            };
            if waiting.woken.is_none() {
                if self.exhausted.states >= self.setting.states_max {
                    break;
                }
                self.exhausted.states += 1;
                self.exhausted.depth = self.exhausted.depth.max(self.origins[waiting.number].depth);
                if self.exhausted.states.is_multiple_of(1 << 12) {
                    self.exhausted.elapsed = started.elapsed();
                    if progress(&self.exhausted).is_break() {
                        break;
                    }
                }
            }
            if self.visit_successors(&waiting, &mut frontier)? {
                break;
            }
        }
        self.exhausted.elapsed = started.elapsed();
        Ok(())
    }

    /// Puts what may come next into the frontier. True if a property is broken.
    fn visit_successors(
        &mut self,
        Waiting { number, world, woken }: &Waiting<M::World>,
        frontier: &mut VecDeque<Waiting<M::World>>,
    ) -> Result<bool, ExhaustiveError> {
        let number = *number;
        self.origins[number].is_left = true;
        let mut asleep = self.origins[number].asleep.clone();
        let enabled = world.enabled();
        for pick in enabled.picks() {
            let action = world.action(pick).filter(|_| self.setting.reduces);
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
                let mut next = world.fork().ok_or(ExhaustiveError::Unknowable)?;
                let mut watch = Watch::new(false);
                let mut oracle = Oracle::new(&mut script, false, Vec::new());
                let outcome = panic::catch(|| next.perform(pick, &mut oracle, &mut watch));
                match outcome {
                    Ok(outcome) => outcome.map_err(ModelError::from)?,
                    Err(message) => watch.panicked(message),
                }
                self.exhausted.transitions += 1;
                self.exhausted.faults.add_new(&world.faults(), &next.faults());
                self.exhausted.operations.add_new(&world.operations(), &next.operations());
                self.exhausted.goals |= next.goals();
                let depth = self.origins[number].depth + 1;
                let from = u32::try_from(number).expect("so many states do not fit into memory");
                let (chosen, _) = oracle.into_parts();
                let chosen = chosen.into_boxed_slice();
                let event = Choice::Event { pick, arity: enabled.total() };
                // What is left open is tried again on every way.
                let is_open = !chosen.is_empty();
                publicity = publicity.max(watch.publicity());
                publicity = if is_open { Publicity::Global } else { publicity };
                let tried = action.map(|action| Tried { action, publicity });
                let after = tried.map(|tried| asleep.after(&tried)).unwrap_or_default();
                let is_broken = watch.is_broken();
                let origin = Origin { from, depth, event, chosen, asleep: after, is_left: false };
                if is_broken {
                    self.origins.push(origin);
                    self.exhausted.bug = Some(self.bug(self.origins.len() - 1)?);
                    return Ok(true);
                }
                frontier.extend(self.reach(origin, next)?);
                if !script.advance() {
                    break;
                }
            }
            if let Some(action) = action {
                asleep.add(Tried { action, publicity });
            }
        }
        Ok(false)
    }

    /// A state was reached. Returns it if something is to happen there that has not.
    fn reach(
        &mut self,
        origin: Origin,
        world: M::World,
    ) -> Result<Option<Waiting<M::World>>, ExhaustiveError> {
        let state = world.exact_state().ok_or(ExhaustiveError::Unknowable)?;
        match self.visited.entry(state) {
            hash_map::Entry::Vacant(entry) => {
                let number = self.origins.len();
                entry.insert(u32::try_from(number).expect("so many do not fit into memory"));
                self.origins.push(origin);
                Ok(Some(Waiting { number, world, woken: None }))
            }
            hash_map::Entry::Occupied(entry) => {
                let number = *entry.get() as usize;
                let known = &mut self.origins[number];
                let woken = known.asleep.wake(&origin.asleep);
                let is_new = known.is_left && !woken.is_empty();
                Ok(is_new.then_some(Waiting { number, world, woken: Some(woken) }))
            }
        }
    }

    /// The run that leads to a state.
    fn bug(&self, number: usize) -> Result<Bug, ExhaustiveError> {
        let mut way = Vec::new();
        let mut number = number;
        while number > 0 {
            let origin = &self.origins[number];
            way.push(origin);
            number = origin.from as usize;
        }
        let mut tape = self.start.clone();
        for Origin { event, chosen, .. } in way.into_iter().rev() {
            tape.push(*event);
            tape.extend_from_slice(chosen);
        }
        let model = &self.setting.model;
        let setting = engine::Setting {
            model,
            max_steps: MaxSteps::all(usize::MAX),
            fails_at_max_steps: false,
            settles: false,
            record: Record::Trace,
            coverage: None,
        };
        let map = CoverageMap::empty();
        let mut replay = TapeReplay::new(&tape);
        let run = engine::run(&setting, &mut replay, Vec::new(), &mut Novelty::new(&map))?;
        let name = if self.setting.is_depth_first { "dfs" } else { "bfs" };
        let full = recording::recording(model, false, name.to_owned(), (0, 0), run);
        let shrunk = recording::shrunk(model, &full);
        Ok(Bug::new(full, shrunk))
    }
}

/// Answers with what was chosen last time, but for the last number that can be larger by one.
#[derive(Clone, Debug, Default)]
struct Script {
    /// Each number, and what it was below.
    chosen: Vec<(usize, usize)>,
    next: usize,
}

impl Script {
    /// Goes on to the next combination of numbers. False if there is none.
    fn advance(&mut self) -> bool {
        self.next = 0;
        while let Some((value, arity)) = self.chosen.last_mut() {
            if *value + 1 < *arity {
                *value += 1;
                return true;
            }
            self.chosen.pop();
        }
        false
    }
}

impl Strategy for Script {
    fn begin(&mut self, _seed: u64) {}

    fn pick(&mut self, _enabled: &EnabledView<'_>) -> Result<Option<Pick>, NotReproducible> {
        unreachable!("the search picks every event itself")
    }

    fn choose(&mut self, arity: usize, _label: &str) -> Result<usize, NotReproducible> {
        if self.next == self.chosen.len() {
            self.chosen.push((0, arity));
        }
        self.next += 1;
        Ok(self.chosen[self.next - 1].0)
    }

    fn describe(&self) -> String {
        "exhaustive".to_owned()
    }
}
